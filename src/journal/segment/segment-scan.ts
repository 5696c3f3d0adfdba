/**
 * Reads a segment from its first batch to its last, checks all of it, and tells a torn tail from damage by the rule in
 * `segment-format.ts`. Thread: the journal worker; called when a log is opened after a crash, and when a read met damage.
 */

import {
  baseOffsetAt,
  batchHeaderBytes,
  batchMagic,
  batchSizeAt,
  hasSoundCrc,
  lastOffsetDeltaAt,
  leaderEpochAt,
  maxTimestampAt,
} from '../../core/batch/batch-format.ts';
import type { RandomAccessFile } from '../../core/ports/file-system.ts';
import { batchesStart } from './segment-format.ts';
import { SparseIndex } from './sparse-index.ts';

/** Bytes that were durable and cannot be read any more, with the offsets that were in them. */
export interface Damage {
  readonly position: number;
  readonly end: number;
  readonly firstOffset: number;
  /** The first offset behind it that can be read, or could be written. */
  readonly nextOffset: number;
}

export interface ScanResult {
  readonly index: SparseIndex;
  readonly damages: readonly Damage[];
  /** Where the last batch ends, and what offset follows it. */
  readonly end: number;
  readonly nextOffset: number;
  readonly maxTimestamp: number;
  /** How many bytes behind `end` are no batch and were not zero. */
  readonly tornBytes: number;
}

export interface ScanOptions {
  readonly baseOffset: number;
  /** All bytes below it were durable. */
  readonly provenEnd: number;
  /** What offset follows at `provenEnd`. */
  readonly provenNextOffset: number;
  /** Whether to go on behind `provenEnd`: only in the last segment of a log. */
  readonly goesOn: boolean;
  readonly intervalBytes: number;
  readonly batchBytesMax: number;
  /** Leader epoch that belongs to an offset; -1: any. */
  epochOf(offset: number): number;
  /**
   * Told of each sound batch, in order: the bytes begin with it and are valid until it returns. True ends the scan there: what is behind
   * is not looked at, and not in the result.
   */
  take?(bytes: Buffer, size: number, position: number): boolean;
}

export type ReadableFile = Pick<RandomAccessFile, 'read'>;

const windowBytes = 1024 * 1024;

/** A part of a file in memory, moved along as it is read. */
export class FileWindow {
  readonly #file: ReadableFile;
  #bytes: Buffer = Buffer.alloc(0);
  #position = 0;
  readonly size: number;

  constructor(file: ReadableFile, size: number) {
    this.#file = file;
    this.size = size;
  }

  /** The bytes from `position`, at least `length` of them unless the file ends. Valid until the next call. */
  at(position: number, length: number): Buffer {
    const end = Math.min(this.size, position + length);
    if (position < this.#position || end > this.#position + this.#bytes.length) {
      const wanted = Math.max(0, Math.min(this.size - position, Math.max(length, windowBytes)));
      const bytes = Buffer.allocUnsafeSlow(wanted);
      this.#bytes = bytes.subarray(0, this.#file.read(bytes, position));
      this.#position = position;
    }
    return this.#bytes.subarray(position - this.#position);
  }

  /** How many bytes from `position` on are in memory. */
  rest(position: number): number {
    return this.#position + this.#bytes.length - position;
  }
}

/** Whether the batch at `at` of `bytes`, which is whole, is the one that belongs there. */
export function isExpectedBatch(bytes: Buffer, at: number, size: number, offset: number, epoch: number): boolean {
  return (
    baseOffsetAt(bytes, at) === offset &&
    (epoch === -1 || leaderEpochAt(bytes, at) === epoch) &&
    lastOffsetDeltaAt(bytes, at) >= 0 &&
    hasSoundCrc(bytes, at, size)
  );
}

export function scanSegment(file: ReadableFile, size: number, options: ScanOptions): ScanResult {
  return new SegmentScan(file, size, options).run();
}

class SegmentScan {
  readonly #options: ScanOptions;
  readonly #window: FileWindow;
  readonly #index: SparseIndex;
  readonly #damages: Damage[] = [];
  #position = batchesStart;
  #offset: number;
  #maxTimestamp = -1;
  #isStopped = false;

  constructor(file: ReadableFile, size: number, options: ScanOptions) {
    this.#options = options;
    this.#window = new FileWindow(file, size);
    this.#index = new SparseIndex(options.intervalBytes);
    this.#offset = options.baseOffset;
  }

  run(): ScanResult {
    const { provenEnd, provenNextOffset, goesOn } = this.#options;
    while (this.#position < provenEnd && !this.#isStopped) {
      if (this.#takeBatch(provenEnd)) continue;
      this.#skipDamage();
    }
    if (this.#isStopped) return this.#result(0);
    // Bytes that were proven and hold fewer or more offsets than they did: the last of them are another life's.
    if (this.#offset !== provenNextOffset && this.#offset < provenNextOffset) {
      this.#noteDamage(provenEnd, provenNextOffset);
    }
    if (goesOn) while (!this.#isStopped && this.#takeBatch(this.#window.size));
    return this.#result(goesOn && !this.#isStopped ? this.#countTornBytes() : 0);
  }

  #result(tornBytes: number): ScanResult {
    return {
      index: this.#index,
      damages: this.#damages,
      end: this.#position,
      nextOffset: this.#offset,
      maxTimestamp: this.#maxTimestamp,
      tornBytes,
    };
  }

  /** Goes over the batch at the present place when it is sound and ends by `limit`. */
  #takeBatch(limit: number): boolean {
    const size = this.#sizeAt(this.#position, limit);
    if (size === 0) return false;
    const bytes = this.#window.at(this.#position, size);
    if (bytes.length < size) return false;
    if (!isExpectedBatch(bytes, 0, size, this.#offset, this.#options.epochOf(this.#offset))) return false;
    const isBehindDamage = this.#damages.at(-1)?.end === this.#position;
    this.#index.add(this.#offset, this.#position, this.#maxTimestamp, isBehindDamage);
    this.#maxTimestamp = Math.max(this.#maxTimestamp, maxTimestampAt(bytes, 0));
    this.#isStopped = this.#options.take?.(bytes, size, this.#position) ?? false;
    this.#offset += lastOffsetDeltaAt(bytes, 0) + 1;
    this.#position += size;
    return true;
  }

  /** Size of what may be a batch at `position`; 0 when it cannot be one. */
  #sizeAt(position: number, limit: number): number {
    if (position + batchHeaderBytes > limit) return 0;
    const bytes = this.#window.at(position, batchHeaderBytes);
    if (bytes.length < batchHeaderBytes || bytes[16] !== batchMagic) return 0;
    const size = batchSizeAt(bytes, 0);
    return size > this.#options.batchBytesMax || position + size > limit ? 0 : size;
  }

  /**
   * Looks for the next sound batch below the proven end: first where the damaged one says that it ends, so that what looks
   * like a batch inside of a record is not taken for one; then byte by byte.
   */
  #skipDamage(): void {
    const { provenEnd, provenNextOffset } = this.#options;
    const size = this.#sizeAt(this.#position, provenEnd);
    if (size > 0 && this.#findsBatch(this.#position + size)) return;
    for (let at = this.#position + 1; at + batchHeaderBytes <= provenEnd; at += 1) {
      const magicAt = this.#window.at(at, batchHeaderBytes).indexOf(batchMagic, 16);
      if (magicAt < 0) {
        at += Math.max(0, this.#window.rest(at) - batchHeaderBytes);
        continue;
      }
      at += magicAt - 16;
      if (this.#findsBatch(at)) return;
    }
    this.#noteDamage(provenEnd, Math.max(provenNextOffset, this.#offset));
  }

  /** Whether a sound batch lies at `at`, behind the damage; notes the damage up to it then. */
  #findsBatch(at: number): boolean {
    const { provenEnd, provenNextOffset, epochOf } = this.#options;
    const size = this.#sizeAt(at, provenEnd);
    if (size === 0) return false;
    // Before a batch is read that may be as long as what is left of the file.
    const offset = baseOffsetAt(this.#window.at(at, batchHeaderBytes), 0);
    if (offset < this.#offset || offset >= provenNextOffset) return false;
    const bytes = this.#window.at(at, size);
    if (bytes.length < size) return false;
    if (!isExpectedBatch(bytes, 0, size, offset, epochOf(offset))) return false;
    this.#noteDamage(at, offset);
    return true;
  }

  #noteDamage(end: number, nextOffset: number): void {
    this.#damages.push({ position: this.#position, end, firstOffset: this.#offset, nextOffset });
    this.#position = end;
    this.#offset = nextOffset;
  }

  #countTornBytes(): number {
    let last = this.#position;
    for (let at = this.#position; at < this.#window.size; ) {
      const bytes = this.#window.at(at, 1);
      if (bytes.length === 0) break;
      for (let back = bytes.length - 1; back >= 0; back -= 1) {
        if (bytes[back] === 0) continue;
        last = at + back + 1;
        break;
      }
      at += bytes.length;
    }
    return last - this.#position;
  }
}
