/**
 * The log of a replica in segment files: entries, hard state, and where the log begins. What is appended while a sync is
 * under way is gathered and goes out with one write and one sync when that is done. The format, what a crash can leave
 * and how it is repaired are described in `record.ts`. Thread: the Raft worker; opened by the driver of the replica, and
 * by the simulator over a simulated disk.
 */

import { isOutOfSpace } from '../../core/files/file-errors.ts';
import { assert } from '../../std/assert.ts';
import { toError } from '../../std/errors.ts';
import type { Entry, HardState, LogIndex, ReplicaId, SnapshotPosition, Term } from '../consensus/types.ts';
import type { Done, FileSystem, LogWrite, RaftLog } from '../ports.ts';
import { Batch, markRecord, startRecord } from './batch.ts';
import { EntryCache } from './entry-cache.ts';
import { readStoredEntries } from './entry-reader.ts';
import { LogUnusableError } from './log-errors.ts';
import { type LogState, recordHeaderBytes, recordsStart, sequenceOf } from './record.ts';
import { recoverLog, type TornTail } from './recovery.ts';
import { findSegment, type Segment } from './segment.ts';
import { SegmentPreparer } from './segment-preparer.ts';

export interface SegmentLogOptions {
  /** Owner of the log; files of another replica are refused. */
  readonly replica: ReplicaId;
  /** A random whole number below `below`; tells lives of a file apart. */
  random(below: number): number;
  /** Length of a segment file; one that is begun with a larger batch is longer. Default 16 MiB, below 1 GiB. */
  readonly segmentBytes?: number;
  /** Bound on the newest entries that are kept in memory beside those that are not written yet. Default 32 MiB. */
  readonly cacheBytes?: number;
  /** Entries are packed into records of about this size, the unit that is checked on read. Default 64 KiB. */
  readonly recordBytes?: number;
  /** The disk counts as nearly full below this. Default 256 MiB. */
  readonly freeBytesMin?: number;
}

/** `RaftLog` with what the driver asks of this one. */
export interface SegmentLog extends RaftLog {
  /** There was no log in the folder. A replica that has a state must not go on with it: its log was lost. */
  readonly isNew: boolean;
  /** What was cut from the end when the log was opened: a batch that was never acknowledged. Worth a line in the log. */
  readonly tornTail: TornTail | null;
  /** Why the log is dead; null while it is alive. */
  readonly failure: Error | null;
  /** New commands should be refused: there is little room left on the disk. Costs nothing. */
  isNearlyFull(): boolean;
}

/** A mark has a page of its own where there is one, so that one bad page cannot take it and the batch it speaks of. */
const pageBytes = 4096;
/** Written behind the end of a segment that was not prepared, so that only one sync in many has to store a new length. */
const aheadBytes = 1024 * 1024;
const zeros = Buffer.alloc(aheadBytes);
/** A batch of so few entries means that little else waits for the thread, and somebody for the batch. */
const quietEntriesMax = 4;
/** Free space is asked for again after so many bytes written, or so many questions. */
const freeBytesAge = 1024 * 1024;
const freeBytesQuestions = 64;

const emptyState: LogState = {
  hardState: { term: 0, vote: 0, commit: 0 },
  position: {
    index: 0,
    term: 0,
    membership: { voters: [], outgoing: [], learners: [], learnersNext: [], autoLeave: false },
  },
  lastIndex: 0,
};

/**
 * Opens the log in the folder of `fileSystem`, or begins one. Blocks while it reads the files.
 *
 * Beside what `RaftLog` says: `done` is called before `append` returns when nothing has to be written (only `commit` moved,
 * and nothing is under way), when the call may block and the disk is quick, or when the log is dead. A write that need not be synced waits in memory for the next one, or
 * for `close`. Reads of what is in memory still answer when the log is dead. The bytes of entries are kept by reference.
 *
 * @throws CorruptionError when acknowledged bytes are damaged; LogUnusableError for files of another replica or version.
 */
export function openSegmentLog(fileSystem: FileSystem, options: SegmentLogOptions): SegmentLog {
  return new FileLog(fileSystem, options);
}

class FileLog implements SegmentLog {
  readonly isNew: boolean;
  readonly tornTail: TornTail | null;
  readonly #fileSystem: FileSystem;
  readonly #segmentBytes: number;
  readonly #freeBytesMin: number;
  readonly #preparer: SegmentPreparer;
  readonly #cache: EntryCache;
  readonly #batch: Batch;
  /** Oldest first; the last one is written to. */
  readonly #segments: Segment[];
  /** What was written, durable but for the batch under way. */
  #written: LogState;
  /** What was appended. */
  #hardState: HardState;
  #position: SnapshotPosition;
  #lastIndex: LogIndex;
  #nextBatch: number;
  /** What is gathered must not wait: it is more than a commit index. */
  #mustFlush = false;
  /** In the batch that is gathered. */
  #gatheredEntries = 0;
  #isSyncing = false;
  /** Of the batch under way, and of the one that is gathered. */
  #syncingDone: Done[] = [];
  #gatheredDone: Done[] = [];
  #failure: Error | null = null;
  #isClosed = false;
  #isFull = false;
  #freeBytesIn = 0;
  #questions = 0;

  constructor(fileSystem: FileSystem, options: SegmentLogOptions) {
    const { replica, segmentBytes = 16 * 1024 * 1024, recordBytes = 64 * 1024 } = options;
    assert(
      segmentBytes >= 2 * recordsStart && segmentBytes < 2 ** 30,
      'the length of a segment is between 8 KiB and 1 GiB',
    );
    this.#fileSystem = fileSystem;
    this.#segmentBytes = segmentBytes;
    this.#freeBytesMin = options.freeBytesMin ?? 256 * 1024 * 1024;
    const names = fileSystem.list().filter((name) => sequenceOf(name) > 0);
    const recovered = names.length === 0 ? null : recoverLog(fileSystem, names, replica);
    this.#preparer = new SegmentPreparer(fileSystem, {
      segmentBytes,
      replica,
      random: options.random,
      onError: (error) => this.#fail(error),
    });
    this.isNew = recovered === null;
    this.tornTail = recovered?.cut ?? null;
    this.#segments = recovered?.segments ?? [this.#createFirst()];
    this.#written = recovered?.state ?? emptyState;
    this.#nextBatch = recovered?.nextBatch ?? 2;
    this.#hardState = this.#written.hardState;
    this.#position = this.#written.position;
    this.#lastIndex = this.#written.lastIndex;
    this.#cache = new EntryCache(options.cacheBytes ?? 32 * 1024 * 1024, this.#lastIndex + 1);
    this.#batch = new Batch(recordBytes);
    this.#askFreeBytes();
    this.#mark();
  }

  get failure(): Error | null {
    return this.#failure;
  }

  // --- reading ---

  initialState(): { readonly hardState: HardState; readonly snapshot: SnapshotPosition } {
    return { hardState: this.#hardState, snapshot: this.#position };
  }

  firstIndex(): LogIndex {
    return this.#position.index + 1;
  }

  lastIndex(): LogIndex {
    return this.#lastIndex;
  }

  term(index: LogIndex): Term | null {
    assert(index <= this.#lastIndex, `entry ${index} is in the log, which ends at ${this.#lastIndex}`);
    if (index < this.#position.index) return null;
    if (index === this.#position.index) return this.#position.term;
    if (index >= this.#cache.first) return this.#cache.get(index).term;
    const segment = findSegment(this.#segments, index);
    assert(segment !== null, `entry ${index} of the log is in a segment`);
    return segment.index.termOf(segment.index.find(index));
  }

  entries(low: LogIndex, high: LogIndex, bytesMax: number): readonly Entry[] | null {
    assert(low <= high && high <= this.#lastIndex + 1, `entries ${low} to ${high} are in the log`);
    if (low <= this.#position.index) return null;
    const entries: Entry[] = [];
    const cached = this.#cache.first;
    let bytes = 0;
    if (low < cached) {
      try {
        bytes = readStoredEntries(this.#segments, low, Math.min(high, cached), bytesMax, entries);
      } catch (error) {
        // Damaged or unreadable: this replica must promise nothing more.
        this.#fail(toError(error));
        throw error;
      }
    }
    for (let index = low + entries.length; index >= cached && index < high; index += 1) {
      const entry = this.#cache.get(index);
      bytes += entry.data.length;
      if (bytes > bytesMax && entries.length > 0) break;
      entries.push(entry);
    }
    return entries;
  }

  snapshotPosition(): SnapshotPosition | null {
    return this.#position.index === 0 ? null : this.#position;
  }

  sizeBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.size, this.#preparer.sizeBytes);
  }

  isNearlyFull(): boolean {
    this.#questions += 1;
    if (this.#freeBytesIn <= 0 || this.#questions >= freeBytesQuestions) this.#askFreeBytes();
    return this.#isFull;
  }

  // --- writing ---

  append(write: LogWrite, done: Done): void {
    const failure = this.#unusable();
    if (failure !== null) {
      this.#refuse(failure, done);
      return;
    }
    const { entries, hardState } = write;
    const hasEntries = this.#gatherEntries(entries);
    const hasPromise = hardState !== null && this.#gatherHardState(hardState, write.mustSync);
    if (hasEntries || hasPromise) {
      this.#mustFlush = true;
      this.#gatheredDone.push(done);
      if (!this.#isSyncing) this.#flush(write.mayBlock ?? false);
      return;
    }
    // Nothing new to make durable, but the answer must not overtake the ones before.
    if (this.#gatheredDone.length > 0) this.#gatheredDone.push(done);
    else if (this.#isSyncing) this.#syncingDone.push(done);
    else done(null);
  }

  compact(position: SnapshotPosition): void {
    this.#assertUsable();
    if (position.index <= this.#position.index) return;
    assert(
      position.index <= this.#lastIndex,
      `the log ends at ${this.#lastIndex} and is compacted to ${position.index}`,
    );
    assert(this.term(position.index) === position.term, `the term of entry ${position.index} is the log's`);
    this.#batch.addPosition(position);
    this.#position = position;
    this.#cache.dropThrough(position.index);
    this.#mustFlush = true;
    if (!this.#isSyncing) this.#flush(false);
  }

  reset(position: SnapshotPosition, hardState: HardState): void {
    this.#assertUsable();
    try {
      this.#batch.addReset(position);
      this.#position = position;
      this.#lastIndex = position.index;
      this.#cache.clear(position.index + 1);
      this.#hardState = hardState;
      // What is under way must be durable before the next batch is written; its callers are told when its sync answers.
      if (this.#isSyncing) this.#current.file.syncNow();
      this.#write();
      this.#current.file.syncNow();
      this.#syncingDone.push(...this.#gatheredDone.splice(0));
      this.#drop(this.#droppable());
    } catch (error) {
      this.#fail(toError(error));
      throw error;
    }
    if (!this.#isSyncing) this.#mark();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#failure === null) this.#finish();
    for (const segment of this.#segments) segment.file.close();
    this.#preparer.close();
  }

  get #current(): Segment {
    return this.#segments[this.#segments.length - 1];
  }

  #createFirst(): Segment {
    return this.#preparer.take(1, (segment) => {
      const start = startRecord(emptyState, 1, segment.seed, recordsStart, true);
      segment.file.write(start, recordsStart);
      segment.end += start.length;
      segment.size = Math.max(segment.size, segment.end);
    });
  }

  #gatherEntries(entries: readonly Entry[]): boolean {
    if (entries.length === 0) return false;
    const first = entries[0].index;
    assert(first > this.#position.index && first <= this.#lastIndex + 1, `entry ${first} continues the log`);
    for (let at = 1; at < entries.length; at += 1) assert(entries[at].index === first + at, 'entries are dense');
    this.#cache.append(entries);
    this.#batch.addEntries(entries);
    this.#gatheredEntries += entries.length;
    this.#lastIndex = first + entries.length - 1;
    return true;
  }

  /** Whether it must be written now. */
  #gatherHardState(hardState: HardState, mustSync: boolean): boolean {
    // As `reset` has written it: a batch with nothing in it is none.
    if (hardState === this.#hardState && hardState === this.#written.hardState) return false;
    const { term, vote } = this.#hardState;
    this.#hardState = hardState;
    return mustSync || hardState.term !== term || hardState.vote !== vote;
  }

  /** Writes what is gathered and begins to make it durable. Nothing is under way. */
  #flush(mayBlock: boolean): void {
    let isDurable = false;
    try {
      isDurable = this.#startSync(mayBlock);
    } catch (error) {
      this.#fail(toError(error));
    }
    if (isDurable) this.#onSynced(null);
  }

  /** True: it is durable already, and `#onSynced` is to be called. */
  #startSync(mayBlock: boolean): boolean {
    this.#write();
    this.#syncingDone = this.#gatheredDone;
    this.#gatheredDone = [];
    this.#isSyncing = true;
    const isQuiet = this.#gatheredEntries <= quietEntriesMax;
    this.#gatheredEntries = 0;
    const { file } = this.#current;
    const isDurable = mayBlock && isQuiet && file.syncQuickly?.() === true;
    if (!isDurable) file.sync((error) => this.#onSynced(error), isQuiet);
    if (!this.#isFull) this.#preparer.advance(this.#current.sequence + 1, this.#current.end);
    return isDurable;
  }

  /** One batch, all that is gathered. Everything before it is durable. */
  #write(): void {
    const written: LogState = { hardState: this.#hardState, position: this.#position, lastIndex: this.#lastIndex };
    if (written.hardState !== this.#written.hardState) this.#batch.addHardState(written.hardState);
    const size = this.#batch.size;
    const isBegun = this.#current.end + size > this.#segmentBytes && this.#roll();
    const segment = this.#current;
    assert(segment.end + size < 2 ** 32, 'a segment is shorter than 4 GiB');
    this.#batch.write(segment, this.#segments, this.#nextBatch, isBegun);
    this.#nextBatch += 1;
    this.#written = written;
    this.#mustFlush = false;
    this.#cache.evict();
    this.#freeBytesIn -= size;
    if (this.#freeBytesIn <= 0) this.#askFreeBytes();
    if (segment.end > segment.size) this.#extend(segment);
  }

  /** Begins the next segment with the state as of the end of this one, as the beginning of the next batch. */
  #roll(): boolean {
    const segment = this.#preparer.take(this.#current.sequence + 1);
    const start = startRecord(this.#written, this.#nextBatch, segment.seed, recordsStart, false);
    segment.file.write(start, recordsStart);
    segment.end += start.length;
    this.#segments.push(segment);
    return true;
  }

  /** The segment was not written ahead: does that for the next batches. Can be done without when the disk is full. */
  #extend(segment: Segment): void {
    segment.size = segment.end;
    const length = Math.min(aheadBytes, this.#segmentBytes - segment.end);
    if (length <= 0 || this.#isFull) return;
    try {
      segment.file.write(zeros.subarray(0, length), segment.end);
      segment.size += length;
    } catch (error) {
      if (!isOutOfSpace(error)) throw error;
      this.#isFull = true;
    }
  }

  #onSynced(error: Error | null): void {
    if (this.#failure !== null) return;
    if (error !== null) {
      this.#fail(error);
      return;
    }
    this.#isSyncing = false;
    const done = this.#syncingDone;
    this.#syncingDone = [];
    // Decided now, when all that was written is durable.
    const droppable = this.#droppable();
    let failure: Error | null = null;
    if (this.#mustFlush && !this.#isClosed) {
      // The disk works on the next batch while the callers of this one are told.
      try {
        this.#startSync(false);
      } catch (thrown) {
        failure = toError(thrown);
        this.#failure = failure;
      }
    }
    for (const tell of done) tell(null);
    if (failure !== null) this.#tellFailure(failure);
    if (this.#isClosed || this.#failure !== null) return;
    if (droppable.length > 0) this.#dropSafely(droppable);
    if (!this.#isSyncing) this.#mark();
  }

  /** Says behind a log that has come to rest that all of it is durable; not synced, see `record.ts`. */
  #mark(): void {
    const { file, seed, end, size } = this.#current;
    const nextPage = Math.ceil(end / pageBytes) * pageBytes;
    const at = nextPage + recordHeaderBytes <= size ? nextPage : end;
    if (this.#failure !== null || at + recordHeaderBytes > size) return;
    try {
      file.write(markRecord(this.#nextBatch, seed, at), at);
    } catch (error) {
      this.#fail(toError(error));
    }
  }

  /** The oldest segments without an entry that is needed, by what is durable. Call it when nothing is under way. */
  #droppable(): Segment[] {
    const { index } = this.#written.position;
    const needed = this.#segments.findIndex((segment, at) => {
      return at === this.#segments.length - 1 || segment.index.lastIndex > index;
    });
    return this.#segments.slice(0, needed);
  }

  #drop(segments: readonly Segment[]): void {
    let isChanged = false;
    for (const segment of segments) {
      // A reset in between may have dropped it.
      if (this.#segments[0] !== segment) continue;
      this.#segments.shift();
      segment.file.close();
      if (!this.#preparer.recycle(segment.name, segment.size)) this.#fileSystem.remove(segment.name);
      isChanged = true;
    }
    if (isChanged) this.#fileSystem.syncFolder();
  }

  #dropSafely(segments: readonly Segment[]): void {
    try {
      this.#drop(segments);
    } catch (error) {
      this.#fail(toError(error));
    }
  }

  #askFreeBytes(): void {
    this.#questions = 0;
    this.#freeBytesIn = freeBytesAge;
    try {
      this.#isFull = this.#fileSystem.freeBytes() < this.#freeBytesMin;
    } catch {
      // Without an answer it is safer to refuse commands than to run into a full disk.
      this.#isFull = true;
    }
  }

  /** Makes all that was appended durable, blocking; the sync that is under way tells the callers when it answers. */
  #finish(): void {
    try {
      if (this.#isSyncing) this.#current.file.syncNow();
      if (this.#mustFlush || this.#hardState !== this.#written.hardState) {
        this.#write();
        this.#current.file.syncNow();
      }
      this.#syncingDone.push(...this.#gatheredDone.splice(0));
      this.#mark();
      this.#current.file.syncNow();
    } catch (error) {
      this.#fail(toError(error));
    }
  }

  #unusable(): Error | null {
    if (this.#failure !== null || !this.#isClosed) return this.#failure;
    return new LogUnusableError('RAFT_LOG_CLOSED', 'Cannot use the log: it is closed');
  }

  #assertUsable(): void {
    const failure = this.#unusable();
    if (failure !== null) throw failure;
  }

  /** In the order of the calls: not before those that still wait for the same news. */
  #refuse(failure: Error, done: Done): void {
    if (this.#gatheredDone.length > 0) this.#gatheredDone.push(done);
    else done(failure);
  }

  #fail(error: Error): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.#tellFailure(error);
  }

  #tellFailure(error: Error): void {
    const waiting = [...this.#syncingDone, ...this.#gatheredDone];
    this.#syncingDone = [];
    this.#gatheredDone = [];
    for (const tell of waiting) tell(error);
  }
}
