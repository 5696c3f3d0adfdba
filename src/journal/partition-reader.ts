/**
 * Reads batches of a partition: from the tail in memory, or from the files, where each is checked before it is handed out.
 * What is damaged is never skipped: a read of it fails and names the place, a read that runs into it ends before it. Thread: the
 * journal worker; owned by the partition log.
 */

import { batchSizeAt } from '../core/batch/batch-format.ts';
import { type CheckedBatches, checkBatches } from '../core/batch/check-batches.ts';
import type { StorageError } from '../core/streams/storage-error.ts';
import { storedBatchBytesMax } from './partition-options.ts';
import type { Segment } from './segment/segment.ts';
import { batchesStart } from './segment/segment-format.ts';
import type { Damage } from './segment/segment-scan.ts';
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

/** Where a reader in another thread finds the batches from `offset` on. */
export interface FilePlace {
  readonly segment: Segment;
  /** Where the batch of `offset` begins. */
  readonly position: number;
  readonly offset: number;
  /** What is in front of it is durable and not known to be damaged. */
  readonly end: number;
}

class Collector {
  /** What is not in memory ends the answer. */
  isTailOnly = false;
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

  /** The same, as far as all of it is in memory; null when the batch of `offset` is not. */
  readTail(offset: number, limit: number, bytesMax: number): BatchSlices | null {
    if (this.#tail.isEmpty) return null;
    const collector = new Collector(offset, limit, bytesMax);
    collector.isTailOnly = true;
    const { segments } = this.#chain;
    for (let number = this.#chain.find(offset); number >= 0 && number < segments.length; number += 1) {
      const segment = segments[number];
      if (collector.isDone || collector.nextOffset >= limit || this.#chain.peek(segment) === null) break;
      if (segment.damages.length > 0 || this.#collect(segment, collector) !== null) break;
    }
    return collector.slices.length > 0 ? collector : null;
  }

  /** Where the batches from `offset` on lie in a file; null when that cannot be said without reading, or they are damaged. */
  locate(offset: number): FilePlace | null {
    const segment = this.#chain.segments[this.#chain.find(offset)];
    if (segment === undefined || offset >= segment.durableNextOffset || this.#chain.peek(segment) === null) return null;
    const place = this.#placeOf(segment, offset);
    let end = segment.durableEnd;
    for (const damage of segment.damages) {
      if (damage.end <= place.position && damage.nextOffset <= place.offset) continue;
      if (damage.firstOffset <= offset) return null;
      end = Math.min(end, damage.position);
    }
    return { ...place, end };
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
      if (cached === null && collector.isTailOnly) {
        collector.isDone = true;
        break;
      }
      const bytes = cached ?? this.#readFile(segment, position, collector.bytesMax - collector.bytes);
      const { end, nextOffset, stop, nextSize } = this.#takeBatches(bytes, offset, collector, cached !== null);
      position += end;
      offset = nextOffset;
      const isStuck = stop === 'short' && end === 0;
      // A length that leads out of the segment is wrong, and bytes that are not there were there.
      const isTooLong = stop === 'short' && nextSize > segment.durableEnd - position;
      if (stop === 'short' && !isStuck && !isTooLong) continue;
      collector.isDone = true;
      if (stop === 'fault' || stop === 'short') return position;
      break;
    }
    if (collector.bytes > 0) this.#hint({ segment, position, offset: collector.nextOffset }, offset);
    return null;
  }

  /** Takes what it can of `bytes`, which begin with the batch of `offset`. */
  #takeBatches(bytes: Buffer, offset: number, collector: Collector, isTrusted: boolean): CheckedBatches {
    const checked = checkBatches(bytes, {
      offset,
      from: collector.from,
      limit: collector.limit,
      bytesMax: collector.bytesMax - collector.bytes,
      takesOne: collector.bytes === 0,
      batchBytesMax: storedBatchBytesMax,
      epochs: this.#chain.epochs.entries,
      isTrusted,
    });
    const { start, end, nextOffset } = checked;
    if (start === end) return checked;
    collector.slices.push(bytes.subarray(start, end));
    collector.bytes += end - start;
    collector.nextOffset = nextOffset;
    return checked;
  }

  /** The bytes at `position`, with at least one whole batch when it is sound. */
  #readFile(segment: Segment, position: number, wanted: number): Buffer {
    const file = segment.file();
    const rest = segment.durableEnd - position;
    const length = Math.min(rest, Math.max(wanted, readBytesMin));
    const bytes = Buffer.allocUnsafeSlow(length);
    const read = bytes.subarray(0, file.read(bytes, position));
    const size = batchSizeAt(read, 0);
    if (size <= read.length || size > rest || size > storedBatchBytesMax) return read;
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
