/**
 * The segment that compaction writes in the place of others. Thread: the journal worker; used by `compaction.ts`, which
 * describes the order that a crash relies on.
 */

import { BatchBuilder } from '../../core/batch/batch-builder.ts';
import { assignPlace, type BatchHeader, maxTimestampAt } from '../../core/batch/batch-format.ts';
import type { RandomAccessFile } from '../../core/ports/file-system.ts';
import { assert } from '../../std/assert.ts';
import { temporarySuffix } from '../atomic-file.ts';
import type { PartitionState } from '../partition-state.ts';
import { removeSegments } from '../partition-trim.ts';
import { Segment } from '../segment/segment.ts';
import { batchesStart, encodeSegmentFront, slotFlags } from '../segment/segment-format.ts';
import { SparseIndex } from '../segment/sparse-index.ts';

const chunkBytes = 256 * 1024;
/** After so many bytes a sync begins beside the thread, so that little is left for the last one, which blocks it. */
const syncBytes = 4 * 1024 * 1024;
/** Offsets that one empty batch can stand for. */
const rangeMax = 0x7fff_fff0;

export class CleanSegment {
  readonly #state: PartitionState;
  readonly #group: readonly Segment[];
  readonly #name: string;
  readonly #index: SparseIndex;
  readonly #epochOf: (offset: number) => number;
  #file: RandomAccessFile | null;
  #parts: Buffer[] = [];
  #partBytes = 0;
  #end = batchesStart;
  #unsyncedBytes = 0;
  #isSyncing = false;
  /** Of a sync beside the thread: nobody would be told of it again. */
  #syncError: Error | null = null;
  #nextOffset: number;
  #maxTimestamp = -1;
  /** Offsets without a record that no empty batch stands for yet: from here to `#nextOffset`. */
  #emptyFrom: number;

  constructor(state: PartitionState, group: readonly Segment[]) {
    const [first] = group;
    this.#state = state;
    this.#group = group;
    this.#name = `${first.name}${temporarySuffix}`;
    this.#index = new SparseIndex(state.options.indexIntervalBytes);
    this.#epochOf = (offset) => state.chain.epochs.epochOf(offset);
    this.#nextOffset = first.baseOffset;
    this.#emptyFrom = first.baseOffset;
    if (state.fileSystem.list().includes(this.#name)) state.fileSystem.remove(this.#name);
    this.#file = state.fileSystem.open(this.#name, { create: true });
  }

  /** Whether it is worth taking the place of one segment. */
  get isSmaller(): boolean {
    return this.#end + this.#partBytes < this.#group.reduce((sum, { end }) => sum + end, 0);
  }

  /** A sync is on its way beside the thread: `swap` must wait for what it says. */
  get isSyncing(): boolean {
    return this.#isSyncing;
  }

  /** Whether the segments that it is made of are still in the log. */
  get isCurrent(): boolean {
    const { segments } = this.#state.chain;
    const number = segments.indexOf(this.#group[0]);
    return number >= 0 && this.#group.every((segment, at) => segments[number + at] === segment);
  }

  /** Takes a batch as it is. */
  keep(bytes: Buffer, at: number, header: BatchHeader): void {
    this.#flushEmpty();
    this.#push(Buffer.from(bytes.subarray(at, at + header.size)), header.lastOffset + 1);
  }

  /** Takes what is left of a batch. */
  add(batch: Buffer, header: BatchHeader): void {
    this.#flushEmpty();
    assignPlace(batch, 0, header.baseOffset, header.leaderEpoch);
    this.#push(batch, header.lastOffset + 1);
  }

  /** Nothing is left of a batch. */
  dropRange(header: BatchHeader): void {
    const isOtherEpoch = this.#epochOf(this.#emptyFrom) !== this.#epochOf(header.baseOffset);
    if (isOtherEpoch || header.lastOffset - this.#emptyFrom > rangeMax) this.#flushEmpty();
    this.#nextOffset = header.lastOffset + 1;
  }

  /** Puts it in the place of the segments it was made of; durable when it returns. */
  swap(): void {
    const { chain, fileSystem } = this.#state;
    const number = chain.segments.indexOf(this.#group[0]);
    assert(number >= 0, 'the segments that are replaced are in the chain');
    assert(!this.#isSyncing, 'a failure that is on its way is waited for');
    const file = this.#complete();
    file.syncNow();
    if (this.#syncError !== null) throw this.#syncError;
    file.close();
    this.#file = null;
    // While it is open its name can be given away without waiting for the system to let it go.
    this.#group[0].file();
    fileSystem.rename(this.#name, this.#group[0].name);
    fileSystem.syncFolder();
    const segment = Segment.open(fileSystem, this.#group[0].baseOffset, this.#group[0].createdMs);
    segment.index = this.#index;
    chain.splice(number, 1, segment);
    removeSegments(this.#state, number + 1, this.#group.length - 1);
    chain.writeIndex(segment);
    chain.touch(segment);
    fileSystem.syncFolder();
  }

  discard(): void {
    if (this.#file === null) return;
    this.#file.close();
    this.#file = null;
    this.#state.fileSystem.remove(this.#name);
  }

  #complete(): RandomAccessFile {
    const file = this.#file;
    assert(file !== null, 'the file is written once');
    this.#flushEmpty();
    this.#unsyncedBytes = 0;
    this.#flush();
    const [first] = this.#group;
    const generation = Math.max(...this.#group.map((segment) => segment.generation)) + 1;
    const { baseOffset, createdMs } = first;
    const front = encodeSegmentFront(
      { baseOffset, generation, createdMs },
      {
        counter: 1,
        end: this.#end,
        nextOffset: this.#nextOffset,
        maxTimestamp: this.#maxTimestamp,
        flags: slotFlags.sealed,
        generation,
      },
    );
    file.write(front, 0);
    return file;
  }

  #flushEmpty(): void {
    if (this.#emptyFrom === this.#nextOffset) return;
    const from = this.#emptyFrom;
    const batch = new BatchBuilder().buildEmpty(this.#nextOffset - 1 - from);
    assignPlace(batch, 0, from, this.#epochOf(from));
    const next = this.#nextOffset;
    this.#nextOffset = from;
    this.#push(batch, next);
  }

  #push(batch: Buffer, nextOffset: number): void {
    this.#index.add(this.#nextOffset, this.#end + this.#partBytes, this.#maxTimestamp);
    this.#maxTimestamp = Math.max(this.#maxTimestamp, maxTimestampAt(batch, 0));
    this.#parts.push(batch);
    this.#partBytes += batch.length;
    this.#nextOffset = nextOffset;
    this.#emptyFrom = nextOffset;
    if (this.#partBytes >= chunkBytes) this.#flush();
  }

  #flush(): void {
    if (this.#partBytes === 0) return;
    this.#file?.write(Buffer.concat(this.#parts), this.#end);
    this.#end += this.#partBytes;
    this.#unsyncedBytes += this.#partBytes;
    this.#parts = [];
    this.#partBytes = 0;
    if (this.#unsyncedBytes >= syncBytes) this.#beginSync();
  }

  #beginSync(): void {
    if (this.#isSyncing) return;
    this.#isSyncing = true;
    this.#unsyncedBytes = 0;
    this.#file?.sync((error) => {
      this.#isSyncing = false;
      this.#syncError ??= error;
    });
  }
}
