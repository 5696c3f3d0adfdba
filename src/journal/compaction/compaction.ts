/**
 * Compaction by key: of the records with the same key only the newest stays. Two passes over the sealed segments: the first
 * finds the newest offset of each key, the second writes clean segments beside the old ones and puts them in their places. Thread:
 * the journal worker, a step at a time between rounds.
 *
 * Offsets stay dense: a batch keeps its range of offsets though records in it are gone, and where whole batches are gone an empty
 * batch stands for all of them. So a reader sees the same chain of offsets as before, and a wrong offset is still found.
 *
 * What stays: all records without a key, markers of transactions, compressed batches (they are not opened), tombstones (a key
 * without a value) that are younger than `tombstoneMs`. What goes: older records of a key, older tombstones, and what was written in
 * aborted transactions.
 *
 * A crash: a clean segment is written as `<base>.log.new`, synced with a proof that it is complete, and renamed over the first
 * segment that it replaces; the others are removed after that is durable. When they come back they lie in the range of a segment
 * with a generation above 0, and are removed when the log is opened. Segments are replaced oldest first, so that a tombstone
 * never goes before what it deletes.
 */

import { BatchBuilder } from '../../core/batch/batch-builder.ts';
import {
  type BatchHeader,
  isCompressed,
  isControl,
  isTransactional,
  readBatchHeader,
} from '../../core/batch/batch-format.ts';
import { RecordCursor } from '../../core/batch/record-cursor.ts';
import { isOutOfSpace } from '../../core/files/file-errors.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { toError } from '../../std/errors.ts';
import type { PartitionReader } from '../partition-reader.ts';
import { behindDamage } from '../partition-recovery.ts';
import type { PartitionState } from '../partition-state.ts';
import type { Segment } from '../segment/segment.ts';
import { batchesStart } from '../segment/segment-format.ts';
import { CleanSegment } from './clean-segment.ts';

export interface CompactionOptions {
  readonly nowMs: number;
  /** Tombstones are kept so long. */
  readonly tombstoneMs: number;
  /** Bound on the keys in memory; behind it the log is left as it is until the next time. Default 1,000,000. */
  readonly keysMax?: number;
}

export interface Compaction {
  /**
   * Does a part of the work, about a mebibyte; answers whether there is more. It does nothing while a sync is on its way: whoever calls
   * it lets the event loop turn in between. Throws the disk's errors.
   */
  step(): boolean;
  readonly recordsDropped: number;
}

const stepBytes = 1024 * 1024;

export function compactPartition(
  state: PartitionState,
  reader: PartitionReader,
  options: CompactionOptions,
): Compaction {
  return new PartitionCompaction(state, reader, options);
}

class PartitionCompaction implements Compaction {
  recordsDropped = 0;
  readonly #state: PartitionState;
  readonly #reader: PartitionReader;
  readonly #options: CompactionOptions;
  readonly #work: Iterator<void>;
  /** Newest offset of each key. */
  readonly #newest = new Map<string, number>();
  readonly #cursor = new RecordCursor();

  constructor(state: PartitionState, reader: PartitionReader, options: CompactionOptions) {
    this.#state = state;
    this.#reader = reader;
    this.#options = options;
    this.#work = this.#run();
  }

  step(): boolean {
    const { failure, isRetired, options } = this.#state;
    if (failure !== null) throw failure;
    if (isRetired) throw new StorageError('STORAGE_CLOSED', `Cannot compact "${options.name}": it was closed`);
    try {
      return this.#work.next().done !== true;
    } catch (error) {
      if (!(error instanceof StorageError) && !isOutOfSpace(error)) this.#state.fail(toError(error));
      throw error;
    }
  }

  *#run(): Generator<void> {
    const end = yield* this.#findNewest();
    let number = 0;
    while (number < this.#state.chain.segments.length - 1) {
      const group = this.#groupAt(number, end);
      if (group.length === 0) return;
      yield* this.#clean(group);
      number += 1;
    }
  }

  /** First pass; answers the offset up to which all keys are known. */
  *#findNewest(): Generator<void, number> {
    const { chain } = this.#state;
    const { keysMax = 1_000_000 } = this.#options;
    const stable = this.#state.producers.lastStableOffset(this.#state.highWatermark);
    let known = chain.segments[0].baseOffset;
    for (const segment of chain.segments.slice(0, -1)) {
      if (segment.nextOffset > stable) break;
      for (const batches of this.#batchesOf(segment, segment.nextOffset)) {
        for (const [bytes, at, header] of batches) this.#noteKeys(bytes, at, header);
        yield;
        // Retention or truncation took it away in between.
        if (!chain.segments.includes(segment)) return known;
      }
      if (this.#newest.size > keysMax) break;
      known = segment.nextOffset;
    }
    return known;
  }

  #noteKeys(bytes: Buffer, at: number, header: BatchHeader): void {
    if (isCompressed(header.attributes) || isControl(header.attributes) || this.#isAborted(header)) return;
    const cursor = this.#cursor.reset(bytes, at);
    while (cursor.next()) {
      if (cursor.key !== null) this.#newest.set(cursor.key.toString('latin1'), cursor.offset);
    }
  }

  /** Sealed segments from `number` on that together are no longer than one, all below `end`, none damaged. */
  #groupAt(number: number, end: number): Segment[] {
    const { chain, options } = this.#state;
    const group: Segment[] = [];
    let bytes = batchesStart;
    for (const segment of chain.segments.slice(number, -1)) {
      bytes += segment.end - batchesStart;
      if (segment.nextOffset > end || (group.length > 0 && bytes > options.segmentBytes)) break;
      if (segment.damages.length > 0 && group.length > 0) break;
      group.push(segment);
      if (segment.damages.length > 0) break;
    }
    return group;
  }

  *#clean(group: readonly Segment[]): Generator<void> {
    const [first] = group;
    if (first.damages.length > 0) return;
    const clean = new CleanSegment(this.#state, group);
    try {
      for (const segment of group) {
        for (const batches of this.#batchesOf(segment, segment.nextOffset)) {
          for (const [bytes, at, header] of batches) this.#cleanBatch(clean, bytes, at, header);
          yield;
          if (clean.isCurrent) continue;
          clean.discard();
          return;
        }
      }
      while (clean.isSyncing) yield;
      // What is damaged stays as it is: nobody can say what was in it.
      const isDamaged = group.some(({ damages }) => damages.length > 0);
      if (isDamaged || !clean.isCurrent || (!clean.isSmaller && group.length === 1)) clean.discard();
      else clean.swap();
      this.#reader.forget();
    } catch (error) {
      clean.discard();
      throw error;
    }
  }

  #cleanBatch(clean: CleanSegment, bytes: Buffer, at: number, header: BatchHeader): void {
    if (isControl(header.attributes) || (isCompressed(header.attributes) && !this.#isAborted(header))) {
      clean.keep(bytes, at, header);
      return;
    }
    if (header.recordCount === 0 || this.#isAborted(header)) {
      this.recordsDropped += header.recordCount;
      clean.dropRange(header);
      return;
    }
    const cursor = this.#cursor.reset(bytes, at);
    const kept: number[] = [];
    for (let number = 0; cursor.next(); number += 1) if (this.#isKept()) kept.push(number);
    this.recordsDropped += header.recordCount - kept.length;
    if (kept.length === header.recordCount) clean.keep(bytes, at, header);
    else if (kept.length === 0) clean.dropRange(header);
    else clean.add(this.#rebuild(bytes, at, header, new Set(kept)), header);
  }

  /** Whether the record of the cursor stays. */
  #isKept(): boolean {
    const { key, value, offset, timestamp } = this.#cursor;
    if (key === null) return true;
    const newest = this.#newest.get(key.toString('latin1'));
    if (newest !== undefined && newest > offset) return false;
    return value !== null || timestamp >= this.#options.nowMs - this.#options.tombstoneMs;
  }

  /** The batch with the records of these numbers alone: same range of offsets, same producer, same sequence. */
  #rebuild(bytes: Buffer, at: number, header: BatchHeader, kept: ReadonlySet<number>): Buffer {
    const { attributes, producerId, producerEpoch, baseSequence } = header;
    const builder = new BatchBuilder({ attributes, producerId, producerEpoch, baseSequence }, header.size);
    const cursor = this.#cursor.reset(bytes, at);
    for (let number = 0; cursor.next(); number += 1) {
      if (!kept.has(number)) continue;
      const { timestamp: timestampMs, key, value, offsetDelta } = cursor;
      builder.add({ timestampMs, key, value, headers: cursor.headers() }, offsetDelta);
    }
    return builder.build(header.lastOffset - header.baseOffset);
  }

  #isAborted(header: BatchHeader): boolean {
    if (!isTransactional(header.attributes) || isControl(header.attributes)) return false;
    const { producerId, baseOffset } = header;
    const found = this.#state.producers.abortedIn(baseOffset, baseOffset + 1);
    return found.some((item) => item.producerId === producerId && item.firstOffset <= baseOffset);
  }

  /** All batches of a segment below `end`, a part at a time. */
  *#batchesOf(segment: Segment, end: number): Generator<(readonly [Buffer, number, BatchHeader])[]> {
    for (let offset = segment.baseOffset; offset < end; ) {
      const found = this.#readOrSkip(offset, end);
      const batches: (readonly [Buffer, number, BatchHeader])[] = [];
      for (const slice of found.slices) {
        for (let at = 0; at < slice.length; ) {
          const header = readBatchHeader(slice, at);
          batches.push([slice, at, header]);
          at += header.size;
        }
      }
      offset = found.nextOffset;
      yield batches;
    }
  }

  #readOrSkip(offset: number, end: number): { readonly slices: readonly Buffer[]; readonly nextOffset: number } {
    try {
      return this.#reader.read(offset, end, stepBytes);
    } catch (error) {
      const nextOffset = behindDamage(this.#state.chain, offset);
      if (!(error instanceof StorageError) || nextOffset === null) throw error;
      return { slices: [], nextOffset };
    }
  }
}
