/**
 * Reads batches of a partition: from the tail in memory, or from the files, where each is checked before it is handed out.
 * What is damaged is never skipped: a read of it fails and names the place, a read that runs into it ends before it. Thread: the
 * journal worker; owned by the partition log.
 */

import { baseOffsetAt, batchHeaderBytes, batchSizeAt, lastOffsetDeltaAt } from '../core/batch/batch-format.ts';
import type { StorageError } from '../core/streams/storage-error.ts';
import type { Segment } from './segment/segment.ts';
import { batchesStart } from './segment/segment-format.ts';
import { type Damage, isExpectedBatch } from './segment/segment-scan.ts';
import { corrupted, type SegmentChain } from './segment-chain.ts';
import type { TailOfLog } from './tail-cache.ts';

/** Read at once when a reader asks for less, to find out where batches begin. */
const readBytesMin = 32 * 1024;
const hintsMax = 64;

interface Place {
  readonly segment: Segment;
  readonly position: number;
  readonly offset: number;
}

/** Whole batches, as views. */
export interface BatchSlices {
  readonly slices: readonly Buffer[];
  readonly bytes: number;
  /** What follows the last of them; the offset that was asked for when there is none. */
  readonly nextOffset: number;
}

class Collector {
  readonly slices: Buffer[] = [];
  bytes = 0;
  nextOffset: number;
  readonly from: number;
  readonly limit: number;
  readonly bytesMax: number;
  isDone = false;

  constructor(from: number, limit: number, bytesMax: number) {
    this.from = from;
    this.limit = limit;
    this.bytesMax = bytesMax;
    this.nextOffset = from;
  }
}

export class PartitionReader {
  readonly #chain: SegmentChain;
  readonly #tail: TailOfLog;
  /** Where readers that go on from their last answer find the next batch. */
  readonly #hints = new Map<number, Place>();

  constructor(chain: SegmentChain, tail: TailOfLog) {
    this.#chain = chain;
    this.#tail = tail;
  }

  /** Forgets where readers were; call it when bytes move. */
  forget(): void {
    this.#hints.clear();
  }

  /**
   * The batches from the one with `offset` on that end below `limit`, up to `bytesMax` bytes and at least one. `offset` is in
   * the log and all below `limit` is durable.
   *
   * @throws StorageError STORAGE_CORRUPTED when `offset` itself cannot be read, and the disk's errors
   */
  read(offset: number, limit: number, bytesMax: number): BatchSlices {
    const collector = new Collector(offset, limit, bytesMax);
    const { segments } = this.#chain;
    let number = this.#chain.find(offset);
    if (number < 0) throw corrupted(segments[0].name, 0, `the segment with offset ${offset} before it is missing`);
    for (; number < segments.length && !collector.isDone && collector.nextOffset < limit; number += 1) {
      this.#readSegment(segments[number], collector);
      const next = segments[number + 1];
      if (next === undefined || collector.nextOffset >= next.baseOffset) continue;
      if (collector.isDone || collector.slices.length > 0) break;
      // Nothing was found where something must be: a file between the two is gone.
      throw corrupted(next.name, 0, `the segment with offset ${offset} before it is missing`);
    }
    return collector;
  }

  #readSegment(segment: Segment, collector: Collector): void {
    if (collector.nextOffset >= segment.durableNextOffset) return;
    const fault = this.#collect(segment, collector);
    if (fault === null || collector.slices.length > 0) return;
    // A wrong index is made good by this; damage is noted.
    this.#chain.rescan(segment);
    this.forget();
    collector.isDone = false;
    const stillFault = this.#collect(segment, collector);
    if (stillFault !== null && collector.slices.length === 0) {
      throw damaged(segment, stillFault, collector.nextOffset);
    }
  }

  /** Answers the position of what could not be read; null when all is well. */
  #collect(segment: Segment, collector: Collector): number | null {
    let { position, offset } = this.#placeOf(segment, collector.nextOffset);
    while (position < segment.durableEnd && collector.nextOffset < collector.limit) {
      const damage = damageAt(segment, position, offset);
      if (damage !== null) {
        // In front of what was asked for it is passed over; behind it, it ends the answer.
        if (collector.nextOffset < damage.nextOffset) {
          if (collector.slices.length === 0) throw damaged(segment, damage.position, collector.nextOffset);
          collector.isDone = true;
          return null;
        }
        position = damage.end;
        offset = damage.nextOffset;
        continue;
      }
      const cached = this.#tail.find(segment, position);
      const bytes = cached ?? this.#readFile(segment, position, collector.bytesMax - collector.bytes);
      const taken = this.#takeBatches(segment, bytes, offset, collector, cached !== null);
      if (taken === null) {
        collector.isDone = true;
        return position;
      }
      position += taken.bytes;
      offset = taken.nextOffset;
      if (taken.fault) {
        collector.isDone = true;
        return position;
      }
      if (collector.isDone) break;
    }
    if (collector.bytes > 0) this.#hint({ segment, position, offset: collector.nextOffset }, offset);
    return null;
  }

  /** Takes what it can of `bytes`, which begin with the batch of `offset`; null when not even the first one is sound. */
  #takeBatches(
    segment: Segment,
    bytes: Buffer,
    firstOffset: number,
    collector: Collector,
    isTrusted: boolean,
  ): { readonly bytes: number; readonly nextOffset: number; readonly fault: boolean } | null {
    const { epochs } = this.#chain;
    let at = 0;
    let offset = firstOffset;
    let sliceAt = -1;
    let fault = false;
    while (at + batchHeaderBytes <= bytes.length) {
      const size = batchSizeAt(bytes, at);
      if (size === 0 || baseOffsetAt(bytes, at) !== offset) {
        fault = true;
        break;
      }
      if (at + size > bytes.length) {
        // A length that leads out of the segment is wrong.
        fault = size > segment.durableEnd - batchesStart || size > this.#chain.options.batchBytesMax;
        break;
      }
      const next = offset + lastOffsetDeltaAt(bytes, at) + 1;
      if (next > collector.from) {
        if (collector.bytes > 0 && collector.bytes + size > collector.bytesMax) {
          collector.isDone = true;
          break;
        }
        // Checked before its range is believed: a wrong one must not look like the end of what is committed.
        if (!isTrusted && !isExpectedBatch(bytes, at, size, offset, epochs.epochOf(offset))) {
          fault = true;
          break;
        }
        if (next > collector.limit) {
          collector.isDone = true;
          break;
        }
        if (sliceAt < 0) sliceAt = at;
        collector.bytes += size;
        collector.nextOffset = next;
      } else if (next <= offset) {
        fault = true;
        break;
      }
      at += size;
      offset = next;
    }
    if (sliceAt >= 0) collector.slices.push(bytes.subarray(sliceAt, at));
    if (at === 0 && !collector.isDone) return null;
    return { bytes: at, nextOffset: offset, fault };
  }

  /** The bytes at `position`, with at least one whole batch when it is sound. */
  #readFile(segment: Segment, position: number, wanted: number): Buffer {
    const file = segment.file();
    const rest = segment.durableEnd - position;
    const length = Math.min(rest, Math.max(wanted, readBytesMin));
    const bytes = Buffer.allocUnsafeSlow(length);
    const read = bytes.subarray(0, file.read(bytes, position));
    const size = batchSizeAt(read, 0);
    if (size <= read.length || size > rest || size > this.#chain.options.batchBytesMax) return read;
    const larger = Buffer.allocUnsafeSlow(size);
    return larger.subarray(0, file.read(larger, position));
  }

  /** A place at or before `offset` in the segment. */
  #placeOf(segment: Segment, offset: number): Place {
    const hint = this.#hints.get(offset);
    if (hint?.segment === segment) {
      this.#chain.touch(segment);
      return hint;
    }
    const index = this.#chain.use(segment);
    const entry = index.find(offset);
    if (entry < 0) return { segment, position: batchesStart, offset: segment.baseOffset };
    return { segment, position: index.positionOf(entry), offset: index.offsetOf(entry) };
  }

  #hint(place: Place, offset: number): void {
    if (place.offset !== offset) return;
    this.#hints.delete(offset);
    this.#hints.set(offset, place);
    if (this.#hints.size <= hintsMax) return;
    for (const oldest of this.#hints.keys()) {
      this.#hints.delete(oldest);
      break;
    }
  }
}

function damageAt(segment: Segment, position: number, offset: number): Damage | null {
  for (const damage of segment.damages) {
    if (damage.position <= position && position < damage.end) return damage;
    if (damage.position === position && damage.firstOffset === offset && damage.nextOffset > offset) return damage;
  }
  return null;
}

function damaged(segment: Segment, position: number, offset: number): StorageError {
  return corrupted(segment.name, position, `offset ${offset} is damaged`);
}
