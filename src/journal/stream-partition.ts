/**
 * One partition of the journal as services see it. Thread: the journal worker; owned by the stream store.
 */

import { isOutOfSpace } from '../core/files/file-errors.ts';
import type { LocatingPartition, ReadPlan } from '../core/ports/read-plan.ts';
import type {
  AppendAnswer,
  AppendDone,
  CommittedListener,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StreamSettings,
  TimedOffset,
} from '../core/ports/stream-store.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { unknownPartition } from '../core/streams/stream-settings.ts';
import { toError } from '../std/errors.ts';
import { failedAppend } from './append.ts';
import type { LogDirectory } from './log-directory.ts';
import { inTier, type PartitionLog } from './partition-log.ts';
import type { ColdTier } from './tier/cold-tier.ts';
import type { PartitionTier } from './tier/partition-tier.ts';
import type { TierReader } from './tier/tier-reader.ts';

/** What a partition needs of its store. */
export interface JournalHost {
  /** Null: this node has no cold tier. */
  readonly coldTier: ColdTier | null;
  /** Why nothing is served any more; null while it is. */
  closed(): StorageError | null;
  /** Something was put in line: a round begins when this turn of the event loop is over. */
  submitted(): void;
  /** An append was refused, or a file could not be read. */
  noteFault(): void;
}

/** Of a node that leads alone. */
const leaderEpoch = 0;

export class JournalPartition implements LocatingPartition {
  readonly name: string;
  settings: StreamSettings;
  readonly directory: LogDirectory;
  /** Of the partition in its directory. */
  readonly folder: string;
  /** Where its older segments are as well, or alone; null: nowhere. */
  tier: PartitionTier | null = null;
  readonly #host: JournalHost;
  #log: PartitionLog | null;
  #isRemoved = false;
  readonly #listeners = new Set<CommittedListener>();

  constructor(host: JournalHost, name: string, folder: string, directory: LogDirectory, settings: StreamSettings) {
    this.name = name;
    this.folder = folder;
    this.directory = directory;
    this.settings = settings;
    this.#host = host;
    this.#log = directory.find(folder);
  }

  append(bytes: Buffer, done: AppendDone): void {
    const log = this.#find();
    if (log instanceof StorageError) {
      queueMicrotask(() => done(failedAppend(log)));
      return;
    }
    const wasSound = log.failure === null;
    this.directory.commit.submit(log, bytes, { leaderEpoch }, (answer) => this.#answer(answer, wasSound, done));
    this.#host.submitted();
  }

  /** It was removed, or the store is closed. */
  get isGone(): boolean {
    return this.#isRemoved || this.#host.closed() !== null;
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    if (this.#ask((log) => log.isTiered(request.offset))) return this.#readTier(request);
    return this.#ask((log) => log.read(request));
  }

  async locate(request: ReadRequest): Promise<ReadPlan> {
    if (this.#ask((log) => log.isTiered(request.offset))) {
      return { type: 'answer', answer: await this.#readTier(request) };
    }
    return this.#ask((log) => log.locate(request));
  }

  async places(): Promise<PartitionPlaces> {
    return this.#ask(({ logStartOffset, durableOffset, highWatermark, lastStableOffset, sizeBytes }) => ({
      logStartOffset,
      logEndOffset: durableOffset,
      highWatermark,
      lastStableOffset,
      sizeBytes,
    }));
  }

  async offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    const { from, to } = this.#ask(({ logStartOffset: from, localStartOffset: to }) => ({ from, to }));
    if (from < to && this.tier !== null) {
      const found = await this.#tierReader(from).offsetForTime(this.tier, timestamp, from, to);
      if (found !== null) return found;
    }
    return this.#ask((log) => log.offsetForTime(timestamp));
  }

  deleteBefore(offset: number): Promise<number> {
    return this.between((log) => log.deleteRecordsBefore(offset));
  }

  onCommitted(listener: CommittedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Runs when no round is on its way. Rejects like `read`. */
  between<T>(task: (log: PartitionLog) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.directory.commit.between(() => {
        try {
          resolve(this.#ask(task));
        } catch (error) {
          reject(toError(error));
        }
      });
    });
  }

  /** Refuses everything from now on. */
  markRemoved(): void {
    this.#isRemoved = true;
  }

  async #readTier(request: ReadRequest): Promise<ReadAnswer> {
    const { tier } = this;
    if (tier === null) throw inTier(this.name, request.offset, 'this node has no cold tier');
    const reader = this.#tierReader(request.offset);
    try {
      const { slices, bytes, nextOffset, aborted } = await reader.read(tier, request);
      return this.#ask(({ logStartOffset, highWatermark, lastStableOffset }) => {
        const known = request.isolation === 'stable' ? aborted : [];
        return { slices, bytes, nextOffset, logStartOffset, highWatermark, lastStableOffset, aborted: known };
      });
    } catch (error) {
      // What was deleted while it was read: the log says so.
      const isThere = this.#ask((log) => log.isTiered(request.offset));
      if (isThere) throw error;
      return this.#ask((log) => log.read(request));
    }
  }

  #tierReader(offset: number): TierReader {
    const { coldTier } = this.#host;
    if (coldTier !== null) return coldTier.reader;
    throw inTier(this.name, offset, 'it lies in the cold tier, and none is configured');
  }

  #answer(answer: AppendAnswer, wasSound: boolean, done: AppendDone): void {
    if (answer.error !== null) {
      this.#refuse(answer.error, wasSound, done);
      return;
    }
    done(answer);
    if (!answer.isDuplicate) for (const listener of this.#listeners) listener(answer.lastOffset + 1);
  }

  #refuse(error: StorageError, wasSound: boolean, done: AppendDone): void {
    if (error.canRetry) this.#host.noteFault();
    if (error.code === 'STORAGE_CLOSED' && this.#isRemoved) done(failedAppend(unknownPartition(this.name)));
    else if (error.code === 'STORAGE_PARTITION_FAILED' && wasSound) {
      // It failed while the batches were on their way: they may be there when the partition is opened again.
      const uncertain = new StorageError('STORAGE_UNCERTAIN', error.message, { cause: error });
      done(failedAppend(uncertain));
    } else done(failedAppend(error));
  }

  #find(): PartitionLog | StorageError {
    const closed = this.#host.closed();
    if (closed !== null) return closed;
    if (this.#isRemoved) return unknownPartition(this.name);
    // One that could not be opened may have been opened since.
    this.#log ??= this.directory.find(this.folder);
    if (this.#log !== null) return this.#log;
    try {
      return this.directory.get(this.folder);
    } catch (error) {
      return asStorageError(this.name, error);
    }
  }

  #ask<T>(question: (log: PartitionLog) => T): T {
    const log = this.#find();
    if (log instanceof StorageError) throw log;
    try {
      return question(log);
    } catch (thrown) {
      const error = asStorageError(this.name, thrown);
      if (error.code !== 'STORAGE_OFFSET_OUT_OF_RANGE') this.#host.noteFault();
      throw error;
    }
  }
}

/** The disk's errors as what they mean for whoever asked. */
export function asStorageError(name: string, thrown: unknown): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const cause = toError(thrown);
  const code = isOutOfSpace(cause) ? 'STORAGE_DISK_FULL' : 'STORAGE_PARTITION_FAILED';
  return new StorageError(code, `Cannot use partition "${name}": ${cause.message}`, { cause });
}
