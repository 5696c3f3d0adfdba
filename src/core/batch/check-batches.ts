/**
 * Checks a stretch of stored batches in one go: each must be the one that belongs there. Pure, and without an object for each batch:
 * it is what all reading goes through. Any thread; called by the journal's reader, and by whoever reads by a plan
 * (`ports/read-plan.ts`).
 */

import { batchHeaderBytes, batchLengthEnd, batchMagic, crcStart } from './batch-format.ts';
import { crc32c } from './crc32c.ts';

const two32 = 0x1_0000_0000;

export interface ExpectedBatches {
  /** Base offset of the batch that the bytes begin with. */
  readonly offset: number;
  /** Batches that end at or below it are passed over, unchecked but for their places. */
  readonly from: number;
  /** Only batches that end at or below it are taken. */
  readonly limit: number;
  /** Bytes that are taken at most... */
  readonly bytesMax: number;
  /** ...unless the first one alone is longer, and this is true. */
  readonly takesOne: boolean;
  /** No stored batch is longer. */
  readonly batchBytesMax: number;
  /** Leader epochs and where they begin, ascending; what is before the first is not checked for its epoch. */
  readonly epochs: readonly { readonly epoch: number; readonly startOffset: number }[];
  /** The bytes were checked before: only places count. Default false. */
  readonly isTrusted?: boolean;
}

/**
 * `short`: the next batch is not whole, read on from `end`. `full`: it does not fit into `bytesMax`. `limit`: it ends behind `limit`.
 * `fault`: at `end` there is not what belongs there.
 */
export type CheckStop = 'short' | 'full' | 'limit' | 'fault';

export interface CheckedBatches {
  /** What was taken is [start, end) of the bytes; empty when nothing was. */
  readonly start: number;
  readonly end: number;
  /** Base offset of the batch at `end`. */
  readonly nextOffset: number;
  readonly stop: CheckStop;
  /** Of the batch at `end`, as it says itself; 0 when not even that is known, or wrong. */
  readonly nextSize: number;
}

export function checkBatches(bytes: Buffer, expected: ExpectedBatches): CheckedBatches {
  const { from, limit, bytesMax, takesOne, batchBytesMax, isTrusted = false } = expected;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const epochs = new EpochWalk(expected.epochs);
  const { length } = bytes;
  let at = 0;
  let offset = expected.offset;
  let start = -1;
  let size = 0;
  let stop: CheckStop = 'short';
  while (at + batchHeaderBytes <= length) {
    size = batchLengthEnd + view.getInt32(at + 8);
    const isInPlace = view.getInt32(at) * two32 + view.getUint32(at + 4) === offset;
    const next = offset + view.getInt32(at + 23) + 1;
    if (!isInPlace || size < batchHeaderBytes || size > batchBytesMax || next <= offset) {
      size = 0;
      stop = 'fault';
      break;
    }
    const isTaken = next > from;
    if (isTaken && (start >= 0 || !takesOne) && at + size - Math.max(start, 0) > bytesMax) {
      stop = 'full';
      break;
    }
    if (at + size > length) break;
    if (isTaken) {
      // Checked before its range is believed: a wrong one must not look like the end of what is committed.
      if (!isTrusted && !isSound(bytes, view, at, size, epochs.epochOf(offset))) {
        stop = 'fault';
        break;
      }
      if (next > limit) {
        stop = 'limit';
        break;
      }
      if (start < 0) start = at;
    }
    at += size;
    size = 0;
    offset = next;
  }
  return { start: start < 0 ? at : start, end: at, nextOffset: offset, stop, nextSize: size };
}

function isSound(bytes: Buffer, view: DataView, at: number, size: number, epoch: number): boolean {
  if (view.getUint8(at + 16) !== batchMagic || (epoch !== -1 && view.getInt32(at + 12) !== epoch)) return false;
  return crc32c(bytes.subarray(at + crcStart, at + size)) === view.getUint32(at + 17);
}

/** The leader epoch of ascending offsets. */
class EpochWalk {
  readonly #epochs: ExpectedBatches['epochs'];
  #next = 0;
  #epoch = -1;
  /** Where the epoch behind this one begins. */
  #end: number;

  constructor(epochs: ExpectedBatches['epochs']) {
    this.#epochs = epochs;
    this.#end = epochs[0]?.startOffset ?? Number.POSITIVE_INFINITY;
  }

  /** -1: any. */
  epochOf(offset: number): number {
    while (offset >= this.#end) {
      this.#epoch = this.#epochs[this.#next].epoch;
      this.#next += 1;
      this.#end = this.#epochs[this.#next]?.startOffset ?? Number.POSITIVE_INFINITY;
    }
    return this.#epoch;
  }
}
