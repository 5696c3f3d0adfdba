/**
 * Sends one segment to the cold tier: every batch is checked on the way, the service checks every part, and in the end the object is
 * asked for its last bytes. Until then nobody knows of it. Thread: the journal worker, between other work: files are read and parts are
 * sent beside it. In memory: two parts, and what of a batch lies across their border.
 */

import { randomBytes } from 'node:crypto';
import { crc32c } from '../../core/batch/crc32c.ts';
import type { ObjectStore } from '../../core/ports/object-store.ts';
import { corrupted } from '../segment-chain.ts';
import { SegmentCheck } from './segment-check.ts';
import type { SegmentBytes, SegmentToTier } from './segment-to-tier.ts';
import { segmentKey, type TierEntry } from './tier-manifest.ts';
import { askTier, TierAwayError } from './tier-options.ts';
import { encodeDescription } from './tiered-segment.ts';

/** A part, or an object, is sent so often before the upload is given up. */
const triesMax = 3;

export interface UploadTarget {
  readonly objects: ObjectStore;
  readonly partBytes: number;
  /** Id and name of the partition. */
  readonly id: string;
  readonly name: string;
  /** Throws when the upload is of no use any more. */
  assertWanted(): void;
}

/**
 * Answers what is to be written into the manifest.
 *
 * @throws StorageError STORAGE_CORRUPTED when the segment is damaged, TierAwayError, what `assertWanted` throws, and the disk's errors
 */
export async function uploadSegment(work: SegmentToTier, target: UploadTarget): Promise<TierEntry> {
  const file = await work.openFile();
  try {
    return await new SegmentUpload(work, target, file).run();
  } finally {
    await file.close();
  }
}

class SegmentUpload {
  readonly #work: SegmentToTier;
  readonly #target: UploadTarget;
  readonly #file: SegmentBytes;
  readonly #check: SegmentCheck;
  /** Of the bytes so far. */
  #crc = 0;

  constructor(work: SegmentToTier, target: UploadTarget, file: SegmentBytes) {
    this.#work = work;
    this.#target = target;
    this.#file = file;
    const { segment, ...rest } = work;
    this.#check = new SegmentCheck({ ...rest, name: segment.name, baseOffset: segment.baseOffset });
  }

  async run(): Promise<TierEntry> {
    const { segment, nextOffset, end, maxTimestamp } = this.#work;
    const { objects, partBytes, id } = this.#target;
    const upload = randomBytes(8).toString('hex');
    const place = { baseOffset: segment.baseOffset, nextOffset, maxTimestamp, end, upload };
    const key = segmentKey(id, { ...place, objectBytes: 0, crc: 0 });
    let description: Buffer;
    if (end <= partBytes) {
      const bytes = await this.#read(0, end);
      description = this.#describe();
      const whole = Buffer.concat([bytes, description]);
      await this.#send(() => objects.put(key, whole, crc32c(whole)));
    } else description = await this.#sendParts(key);
    // One byte more, so that an object that is too long is noticed.
    const found = await this.#send(() => objects.get(key, end, description.length + 1));
    if (found === null || !found.equals(description)) {
      throw new TierAwayError(`Object "${key}" is not what was sent: its end differs`);
    }
    return { ...place, objectBytes: end + description.length, crc: this.#crc };
  }

  async #sendParts(key: string): Promise<Buffer> {
    const { end } = this.#work;
    const { objects, partBytes } = this.#target;
    const upload = await this.#send(() => objects.beginUpload(key));
    let sending: Promise<void> = Promise.resolve();
    try {
      let description: Buffer = Buffer.alloc(0);
      for (let number = 1, position = 0; position < end; number += 1) {
        const length = Math.min(partBytes, end - position);
        const read = await this.#read(position, length);
        position += length;
        if (position === end) description = this.#describe();
        const part = position < end ? read : Buffer.concat([read, description]);
        await sending;
        // The next one is read meanwhile.
        sending = this.#send(() => upload.part(number, part, crc32c(part)));
        sending.catch(() => undefined);
      }
      await sending;
      await this.#send(() => upload.complete());
      return description;
    } catch (error) {
      await sending.catch(() => undefined);
      // What stays of it is ended when the objects of the partition are looked through.
      await upload.abort().catch(() => undefined);
      throw error;
    }
  }

  async #read(position: number, length: number): Promise<Buffer> {
    this.#target.assertWanted();
    const bytes = Buffer.allocUnsafeSlow(length);
    const count = await this.#file.read(bytes, position);
    if (count < length) throw corrupted(this.#work.segment.name, position + count, 'the file is cut');
    this.#crc = crc32c(bytes, this.#crc);
    this.#check.take(bytes, position);
    return bytes;
  }

  #describe(): Buffer {
    const { segment, nextOffset, end, maxTimestamp, epochs, aborted, producers } = this.#work;
    const { id, name: partition } = this.#target;
    const { baseOffset, createdMs, generation } = segment;
    const { index, records } = this.#check.finish();
    const crc = this.#crc;
    const places = { baseOffset, nextOffset, maxTimestamp, createdMs, generation, end };
    return encodeDescription({ partition, id, ...places, crc, records, epochs, aborted }, index, producers());
  }

  /** To send something twice does no harm. */
  async #send<T>(request: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      this.#target.assertWanted();
      try {
        return await askTier(request);
      } catch (error) {
        if (!(error instanceof TierAwayError) || tries === triesMax) throw error;
      }
    }
  }
}
