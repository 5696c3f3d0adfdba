/**
 * Goes through the batches of a segment that comes in pieces, on its way to the tier or from it: each must be the one that belongs there.
 * Pure. Thread: the journal worker, or the one of an offline tool.
 */

import {
  baseOffsetAt,
  batchHeaderBytes,
  batchSizeAt,
  hasSoundCrc,
  lastOffsetDeltaAt,
  leaderEpochAt,
  maxTimestampAt,
  readBatchHeader,
} from '../../core/batch/batch-format.ts';
import type { StorageError } from '../../core/streams/storage-error.ts';
import { type EpochStart, EpochTable } from '../checkpoint.ts';
import { storedBatchBytesMax } from '../partition-options.ts';
import { batchesStart, decodeSegmentHeader } from '../segment/segment-format.ts';
import { SparseIndex } from '../segment/sparse-index.ts';
import { corrupted } from '../segment-chain.ts';

export interface CheckedSegment {
  /** For errors: the file or the object. */
  readonly name: string;
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly end: number;
  readonly epochs: readonly EpochStart[];
  readonly indexIntervalBytes: number;
}

export class SegmentCheck {
  readonly #segment: CheckedSegment;
  readonly #epochs: EpochTable;
  readonly #index: SparseIndex;
  /** Of a batch that is not whole yet. */
  #rest: Buffer = Buffer.alloc(0);
  #position = batchesStart;
  #offset: number;
  #maxTimestamp = -1;
  #records = 0;
  #batches = 0;

  constructor(segment: CheckedSegment) {
    this.#segment = segment;
    this.#epochs = new EpochTable(segment.epochs);
    this.#index = new SparseIndex(segment.indexIntervalBytes);
    this.#offset = segment.baseOffset;
  }

  /** The bytes from `position` on, behind those before. @throws StorageError STORAGE_CORRUPTED */
  take(bytes: Buffer, position: number): void {
    let fresh = bytes;
    if (position < batchesStart) {
      const { name, baseOffset } = this.#segment;
      const front = decodeSegmentHeader(bytes, baseOffset);
      if (position > 0 || bytes.length < batchesStart) throw corrupted(name, position, 'the first part is too short');
      if (typeof front === 'string') throw corrupted(name, 0, front);
      fresh = bytes.subarray(batchesStart);
    }
    const data = this.#rest.length === 0 ? fresh : Buffer.concat([this.#rest, fresh]);
    let at = 0;
    while (at + batchHeaderBytes <= data.length) {
      const size = batchSizeAt(data, at);
      if (size < batchHeaderBytes || size > storedBatchBytesMax) throw this.#damaged();
      if (at + size > data.length) break;
      this.#batch(data, at, size);
      at += size;
    }
    // A copy: a view would keep all of the part.
    this.#rest = Buffer.from(data.subarray(at));
  }

  /** @throws StorageError STORAGE_CORRUPTED when the batches do not end where they should */
  finish(): { readonly index: SparseIndex; readonly records: number; readonly batches: number } {
    const { end, nextOffset } = this.#segment;
    if (this.#rest.length > 0 || this.#position !== end || this.#offset !== nextOffset) throw this.#damaged();
    return { index: this.#index, records: this.#records, batches: this.#batches };
  }

  #batch(data: Buffer, at: number, size: number): void {
    const epoch = this.#epochs.epochOf(this.#offset);
    const isInPlace = baseOffsetAt(data, at) === this.#offset && (epoch === -1 || leaderEpochAt(data, at) === epoch);
    const next = this.#offset + lastOffsetDeltaAt(data, at) + 1;
    if (!isInPlace || next <= this.#offset || !hasSoundCrc(data, at, size)) throw this.#damaged();
    this.#index.add(this.#offset, this.#position, this.#maxTimestamp);
    this.#maxTimestamp = Math.max(this.#maxTimestamp, maxTimestampAt(data, at));
    this.#records += readBatchHeader(data, at).recordCount;
    this.#batches += 1;
    this.#position += size;
    this.#offset = next;
  }

  #damaged(): StorageError {
    return corrupted(this.#segment.name, this.#position, `offset ${this.#offset} is damaged`);
  }
}
