/**
 * The log of one partition: dense offsets, batches as they came, in segment files. What it guarantees
 *   - an append is answered when it is durable; after a crash all that was answered is there, with the same offsets
 *   - nothing that was refused is ever seen; what was under way is there as a whole batch, or not at all
 *   - stored bytes are checked before they are handed out; damage is named, never skipped
 * Thread: the journal worker. Appends go through `GroupCommit`; everything else is called between its rounds.
 */

import { isCompressed, readBatchHeader } from '../core/batch/batch-format.ts';
import { RecordCursor } from '../core/batch/record-cursor.ts';
import type { FileSystem, RandomAccessFile } from '../core/ports/file-system.ts';
import type { ReadPlan } from '../core/ports/read-plan.ts';
import type { ReadAnswer, ReadRequest, TimedOffset } from '../core/ports/stream-store.ts';
import type { AbortedTransaction, ProducerEntry } from '../core/streams/producer-state.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { toError } from '../std/errors.ts';
import type { Append } from './append.ts';
import { type Compaction, type CompactionOptions, compactPartition } from './compaction/compaction.ts';
import { type PartitionOptions, partitionOptions, storedBatchBytesMax } from './partition-options.ts';
import { type BatchSlices, PartitionReader } from './partition-reader.ts';
import { behindDamage, recoverPartition, sizeOf, storeProducers } from './partition-recovery.ts';
import type { PartitionState } from './partition-state.ts';
import { deleteBefore, retain, truncateLog } from './partition-trim.ts';
import { PartitionWriter, refuse } from './partition-writer.ts';

const timeStepBytes = 64 * 1024;

export class PartitionLog {
  readonly name: string;
  readonly #fileSystem: FileSystem;
  readonly #options: PartitionOptions;
  #state: PartitionState;
  #reader: PartitionReader;
  #writer: PartitionWriter;
  #isClosed = false;
  readonly #cursor = new RecordCursor();

  /**
   * Opens the log in a folder, or begins one. Blocks while it reads. `isClean`: the folder was closed in order.
   *
   * @throws StorageError STORAGE_CORRUPTED when nothing can be said about the end of the log, and the disk's errors
   */
  constructor(fileSystem: FileSystem, options: Parameters<typeof partitionOptions>[0], nowMs: number, isClean = false) {
    this.#fileSystem = fileSystem;
    this.#options = partitionOptions(options);
    this.name = this.#options.name;
    this.#state = recoverPartition(fileSystem, this.#options, nowMs, isClean);
    this.#reader = new PartitionReader(this.#state.chain, this.#state.tailOfLog);
    this.#writer = new PartitionWriter(this.#state);
  }

  get logStartOffset(): number {
    return this.#state.logStartOffset;
  }

  /** The offset that the next batch gets; what is under way counts. */
  get logEndOffset(): number {
    return this.#state.chain.active.nextOffset;
  }

  /** All below it is durable. */
  get durableOffset(): number {
    return this.#state.chain.active.durableNextOffset;
  }

  /** All below it is committed: readers see it. */
  get highWatermark(): number {
    return this.#state.highWatermark;
  }

  /** Where the oldest transaction begins that is not decided; the high watermark when there is none. */
  get lastStableOffset(): number {
    return this.#state.producers.lastStableOffset(this.#state.highWatermark);
  }

  get leaderEpoch(): number {
    return this.#state.chain.epochs.latestEpoch;
  }

  get segmentCount(): number {
    return this.#state.chain.segments.length;
  }

  get sizeBytes(): number {
    return sizeOf(this.#state.chain);
  }

  get batchBytesMax(): number {
    return this.#options.batchBytesMax;
  }

  /** Why the partition is out of service; null while it serves. */
  get failure(): StorageError | null {
    return this.#state.failure;
  }

  // --- writing, called by the group commit ---

  /** Writes a round; answers the file to be synced, or null when nothing was written. Decides each append. */
  writeRound(appends: readonly Append[], nowMs: number): RandomAccessFile | null {
    const failure = this.#unusable();
    if (failure === null) return this.#writer.writeRound(appends, nowMs);
    refuse(appends, 0, failure);
    return null;
  }

  /** The sync of the round has answered. A failed one is never tried again: the partition goes out of service. */
  onSynced(appends: readonly Append[], error: Error | null): void {
    const { active } = this.#state.chain;
    if (error === null && this.#state.failure === null) {
      active.onSynced();
      if (!this.#options.isReplicated) this.#state.advanceHighWatermark(active.durableNextOffset);
      return;
    }
    refuse(appends, active.durableNextOffset, this.#state.fail(error ?? toError(this.#state.failure)));
  }

  /** Nothing is waiting to be written: says in the file that all of it is durable. */
  rest(): void {
    if (this.#unusable() !== null) return;
    try {
      this.#state.chain.active.prove();
    } catch (error) {
      this.#state.fail(toError(error));
    }
  }

  // --- reading ---

  /**
   * @throws StorageError STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_CORRUPTED with file and position, STORAGE_PARTITION_FAILED;
   * and the disk's errors
   */
  read(request: ReadRequest): ReadAnswer {
    const { offset, bytesMax } = request;
    const limit = this.#limitOf(request);
    return this.#answer(request, offset >= limit ? nothingAt(offset) : this.#reader.read(offset, limit, bytesMax));
  }

  /**
   * How another thread reads this by itself: the bytes when they are in memory, or where they are. Batches are read from a disk
   * only when their place is not known (an index is lost) or known to be damaged: then the answer is that of `read`, and so are the errors.
   */
  locate(request: ReadRequest): ReadPlan {
    const { offset, bytesMax } = request;
    const limit = this.#limitOf(request);
    const found = offset >= limit ? nothingAt(offset) : this.#reader.readTail(offset, limit, bytesMax);
    if (found !== null) return { type: 'answer', answer: this.#answer(request, found) };
    const place = this.#reader.locate(offset);
    const path = place === null ? null : (this.#fileSystem.pathOf?.(place.segment.name) ?? null);
    if (place === null || path === null) return { type: 'answer', answer: this.read(request) };
    const { segment, position, end } = place;
    const { chain, logStartOffset, highWatermark, producers } = this.#state;
    const { baseOffset, generation, createdMs } = segment;
    const aborted = request.isolation === 'stable' ? producers.abortedIn(offset, limit) : [];
    return {
      type: 'file',
      file: {
        path,
        identity: `${baseOffset}.${generation}.${createdMs}`,
        position,
        offset: place.offset,
        end,
        limit,
        batchBytesMax: storedBatchBytesMax,
        epochs: chain.epochs.within(place.offset, limit),
        logStartOffset,
        highWatermark,
        lastStableOffset: this.lastStableOffset,
        aborted,
      },
    };
  }

  /**
   * The first committed record with this timestamp or a later one, in the order of the log; null when there is none. Of a
   * compressed batch the first offset is answered. Damaged ranges are passed over. Throws the disk's errors.
   */
  offsetForTime(timestamp: number): TimedOffset | null {
    this.#assertUsable();
    const { chain, logStartOffset, highWatermark } = this.#state;
    for (const segment of chain.segments) {
      if (segment.maxTimestamp < timestamp || segment.nextOffset <= logStartOffset) continue;
      const index = chain.use(segment);
      const entry = Math.max(0, index.findTime(timestamp));
      const from = index.length === 0 ? segment.baseOffset : index.offsetOf(entry);
      const end = Math.min(segment.nextOffset, highWatermark);
      const found = this.#searchTime(Math.max(from, logStartOffset), end, timestamp);
      if (found !== null) return found;
    }
    return null;
  }

  /** The last batch of `epoch`, or of the largest known one below it, ends before this offset; null when none is known. */
  endOffsetForEpoch(epoch: number): { readonly epoch: number; readonly endOffset: number } | null {
    return this.#state.chain.epochs.endOffsetFor(epoch, this.durableOffset);
  }

  /** Aborted transactions with batches in [from, to). */
  abortedIn(from: number, to: number): readonly AbortedTransaction[] {
    return this.#state.producers.abortedIn(from, to);
  }

  /** What is known of a producer, what is under way included. */
  producer(producerId: number): ProducerEntry | null {
    return this.#state.producers.get(producerId);
  }

  // --- upkeep, called between rounds ---

  /** What the replicas have committed; never goes back, and never beyond what is durable here. */
  setHighWatermark(offset: number): void {
    this.#state.advanceHighWatermark(Math.min(offset, this.durableOffset));
  }

  /** Forgets all from `offset` on, durably: what a follower does that had more than its leader. Throws the disk's errors. */
  truncateTo(offset: number): void {
    this.#change(() => truncateLog(this.#state, offset));
  }

  /**
   * Forgets what lies below `offset`, up to the high watermark; answers the new start of the log. The whole segments below
   * it are removed.
   */
  deleteRecordsBefore(offset: number): number {
    this.#change(() => deleteBefore(this.#state, offset));
    return this.#state.logStartOffset;
  }

  /** Applies age and size limits, and forgets producers that are gone; answers how many segments went. */
  applyRetention(nowMs: number): number {
    const before = this.#state.chain.segments.length;
    this.#change(() => retain(this.#state, this.#writer, nowMs));
    return Math.max(0, before - this.#state.chain.segments.length);
  }

  /**
   * The same for a sweep over all partitions: one that fails is out of service, and has said so. Answers whether files were changed.
   */
  applyRetentionSafely(nowMs: number): boolean {
    const { segments } = this.#state.chain;
    const [first, last] = [segments[0], segments.at(-1)];
    try {
      this.applyRetention(nowMs);
      return first !== segments[0] || last !== segments.at(-1);
    } catch (error) {
      if (this.failure === null) throw error;
      return true;
    }
  }

  /** Ends the active segment, if it has batches. */
  roll(nowMs: number): void {
    if (this.#state.chain.active.hasBatches) this.#change(() => this.#writer.roll(nowMs));
  }

  /** Begins to compact by key: one `step` after the other between rounds, until it is done. */
  compact(options: CompactionOptions): Compaction {
    this.#assertUsable();
    return compactPartition(this.#state, this.#reader, options);
  }

  /** Changes how it is kept from now on. */
  configure(
    settings: Partial<Pick<PartitionOptions, 'batchBytesMax' | 'retentionBytes' | 'retentionMs' | 'segmentBytes'>>,
  ): void {
    // All parts of the partition look into this one object.
    Object.assign(this.#options, settings);
  }

  /** Opens the files anew, as after a crash: how a failed partition comes back when its disk is sound. Throws when not. */
  reopen(nowMs: number): void {
    this.#state.isRetired = true;
    this.#state.tail.clear(this.#state.tailOfLog);
    this.#state.chain.close();
    this.#state = recoverPartition(this.#fileSystem, this.#options, nowMs, false);
    this.#reader = new PartitionReader(this.#state.chain, this.#state.tailOfLog);
    this.#writer = new PartitionWriter(this.#state);
  }

  /** Leaves all in order for the next opening; answers whether that worked. Nothing is under way. */
  close(): boolean {
    if (this.#isClosed) return this.#state.failure === null;
    this.#isClosed = true;
    this.#state.isRetired = true;
    const { chain, tail, tailOfLog } = this.#state;
    try {
      if (this.#state.failure === null) {
        storeProducers(this.#state);
        this.#state.writeCheckpoint();
        chain.writeIndex(chain.active);
        this.#fileSystem.syncFolder();
        chain.active.markClosed();
      }
    } catch (error) {
      this.#state.fail(toError(error));
    }
    tail.clear(tailOfLog);
    chain.close();
    return this.#state.failure === null;
  }

  /** Up to where a reader sees. @throws StorageError STORAGE_OFFSET_OUT_OF_RANGE */
  #limitOf({ offset, isolation = 'committed' }: ReadRequest): number {
    this.#assertUsable();
    const { logStartOffset, highWatermark } = this.#state;
    const end = isolation === 'durable' ? this.durableOffset : highWatermark;
    if (offset < logStartOffset || offset > end) {
      const range = `the log has ${logStartOffset} to ${end}`;
      throw new StorageError('STORAGE_OFFSET_OUT_OF_RANGE', `Cannot read offset ${offset} of "${this.name}": ${range}`);
    }
    return isolation === 'stable' ? this.lastStableOffset : end;
  }

  #answer({ offset, isolation }: ReadRequest, { slices, bytes, nextOffset }: BatchSlices): ReadAnswer {
    const { logStartOffset, highWatermark, producers } = this.#state;
    const { lastStableOffset } = this;
    const aborted = isolation === 'stable' ? producers.abortedIn(offset, nextOffset) : [];
    return { slices, bytes, nextOffset, logStartOffset, highWatermark, lastStableOffset, aborted };
  }

  #searchTime(from: number, end: number, timestamp: number): TimedOffset | null {
    for (let offset = from; offset < end; ) {
      const found = this.#readOrSkip(offset, end);
      for (const slice of found.slices) {
        for (let at = 0; at < slice.length; ) {
          const header = readBatchHeader(slice, at);
          if (header.maxTimestamp >= timestamp && header.recordCount > 0) {
            const record = this.#firstRecord(slice, at, from, timestamp);
            if (record !== null) return record;
          }
          at += header.size;
        }
      }
      offset = found.nextOffset;
    }
    return null;
  }

  #firstRecord(bytes: Buffer, at: number, from: number, timestamp: number): TimedOffset | null {
    const { attributes, baseOffset, maxTimestamp } = readBatchHeader(bytes, at);
    if (isCompressed(attributes)) return { offset: Math.max(from, baseOffset), timestamp: maxTimestamp };
    const cursor = this.#cursor.reset(bytes, at);
    while (cursor.next()) {
      if (cursor.timestamp >= timestamp && cursor.offset >= from) {
        return { offset: cursor.offset, timestamp: cursor.timestamp };
      }
    }
    return null;
  }

  #readOrSkip(offset: number, end: number): { readonly slices: readonly Buffer[]; readonly nextOffset: number } {
    try {
      return this.#reader.read(offset, end, timeStepBytes);
    } catch (error) {
      const nextOffset = behindDamage(this.#state.chain, offset);
      if (nextOffset === null) throw error;
      return { slices: [], nextOffset };
    }
  }

  /** Changes files. When that fails half-way, only opening them anew can say what is there. */
  #change(change: () => void): void {
    this.#assertUsable();
    try {
      change();
      this.#reader.forget();
    } catch (error) {
      if (!(error instanceof StorageError)) this.#state.fail(toError(error));
      throw error;
    }
  }

  #unusable(): StorageError | null {
    if (this.#isClosed) return new StorageError('STORAGE_CLOSED', `Cannot use partition "${this.name}": it is closed`);
    return this.#state.failure;
  }

  #assertUsable(): void {
    const failure = this.#unusable();
    if (failure !== null) throw failure;
  }
}

function nothingAt(offset: number): BatchSlices {
  return { slices: [], bytes: 0, nextOffset: offset };
}
