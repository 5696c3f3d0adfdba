/**
 * The log of one partition: dense offsets, batches as they came, in segment files. What it guarantees
 *   - an append is answered when it is durable; after a crash all that was answered is there, with the same offsets
 *   - nothing that was refused is ever seen; what was under way is there as a whole batch, or not at all
 *   - stored bytes are checked before they are handed out; damage is named, never skipped
 * Thread: the journal worker. Appends go through `GroupCommit`; everything else is called between its rounds.
 */

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
import type { Segment } from './segment/segment.ts';
import { nextToTier, type SegmentToTier } from './tier/segment-to-tier.ts';
import { findTimeIn } from './time-search.ts';

const timeStepBytes = 64 * 1024;

export class PartitionLog {
  readonly name: string;
  readonly #fileSystem: FileSystem;
  readonly #options: PartitionOptions;
  #state: PartitionState;
  #reader: PartitionReader;
  #writer: PartitionWriter;
  #isClosed = false;

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

  /** The first offset that can be read, here or in the tier. */
  get logStartOffset(): number {
    return this.#state.startOffset;
  }

  /** Where the part of the log begins that is on this disk. */
  get localStartOffset(): number {
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

  /** Of what is on this disk, and of what the tier alone has. */
  get sizeBytes(): number {
    const { chain } = this.#state;
    return sizeOf(chain) + (this.#options.tier?.bytesBelow(chain.segments[0].baseOffset) ?? 0);
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
    const { chain, startOffset, highWatermark, producers } = this.#state;
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
        logStartOffset: startOffset,
        highWatermark,
        lastStableOffset: this.lastStableOffset,
        aborted,
      },
    };
  }

  /**
   * The first committed record on this disk with this timestamp or a later one, in the order of the log; null when there is none. Of a
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

  /** Whether `offset` is one that the tier alone has, or has perhaps while its list is lost. */
  isTiered(offset: number): boolean {
    this.#assertUsable();
    const { logStartOffset, startOffset } = this.#state;
    return offset < logStartOffset && (offset >= startOffset || this.#options.tier?.lost != null);
  }

  /** The segment that the tier gets next; null when there is none that is full, committed, decided and sound. */
  nextToTier(): SegmentToTier | null {
    return this.failure === null && !this.#isClosed ? nextToTier(this.#state) : null;
  }

  /** Bytes of full segments that the tier does not have. */
  get untieredBytes(): number {
    const end = this.#options.tier?.endOffset ?? -1;
    const full = this.#state.chain.segments.slice(0, -1).filter(({ nextOffset }) => nextOffset > end);
    return full.reduce((sum, segment) => sum + segment.end, 0);
  }

  /** Whether this is still a segment of the log, and ends where it did. */
  has(segment: Segment, nextOffset: number): boolean {
    const { segments } = this.#state.chain;
    return this.failure === null && segments.includes(segment) && segment.isSealed && segment.nextOffset === nextOffset;
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
    return this.#state.startOffset;
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
    settings: Partial<
      Pick<PartitionOptions, 'batchBytesMax' | 'retentionBytes' | 'retentionMs' | 'segmentBytes' | 'tier'>
    >,
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
    const { logStartOffset, startOffset, highWatermark } = this.#state;
    const end = isolation === 'durable' ? this.durableOffset : highWatermark;
    if (offset < logStartOffset || offset > end) {
      if (this.isTiered(offset)) throw inTier(this.name, offset, 'it lies in the cold tier');
      const range = `the log has ${startOffset} to ${end}`;
      throw new StorageError('STORAGE_OFFSET_OUT_OF_RANGE', `Cannot read offset ${offset} of "${this.name}": ${range}`);
    }
    return isolation === 'stable' ? this.lastStableOffset : end;
  }

  #answer({ offset, isolation }: ReadRequest, { slices, bytes, nextOffset }: BatchSlices): ReadAnswer {
    const { startOffset: logStartOffset, highWatermark, producers } = this.#state;
    const { lastStableOffset } = this;
    const aborted = isolation === 'stable' ? producers.abortedIn(offset, nextOffset) : [];
    return { slices, bytes, nextOffset, logStartOffset, highWatermark, lastStableOffset, aborted };
  }

  #searchTime(from: number, end: number, timestamp: number): TimedOffset | null {
    for (let offset = from; offset < end; ) {
      const { slices, nextOffset } = this.#readOrSkip(offset, end);
      const found = findTimeIn(slices, from, timestamp);
      if (found !== null) return found;
      offset = nextOffset;
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

/** Why an offset that is in the log cannot be read now. */
export function inTier(name: string, offset: number, reason: string): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `Cannot read offset ${offset} of "${name}": ${reason}`);
}

function nothingAt(offset: number): BatchSlices {
  return { slices: [], bytes: 0, nextOffset: offset };
}
