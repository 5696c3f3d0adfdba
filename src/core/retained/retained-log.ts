/**
 * Keeps the retained values in a stream, so that they outlive the node. One per connection worker, each writes what its own clients
 * publish; all read everything when they start. Thread: the worker.
 *
 * A record says topic, value and stamp, and of two records of a topic the one with the higher stamp wins, wherever in the log it
 * lies: two workers may append in another order than they published. That is why the stream is not compacted by the store, which goes
 * by offsets, but by `RetainedRewrite`; and why an append whose outcome is unknown is simply made again.
 *
 * What waits to be written is a set of topics, not of values: the value is looked up when its batch is made, so that a topic that
 * changes often is written as often as the disk can, and a slow disk costs no memory for values.
 */
import type { Logger } from '../../observability/log.ts';
import { BatchBuilder } from '../batch/batch-builder.ts';
import type { StreamPartition, StreamStore } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import { backoffMs } from '../transactions/backoff.ts';
import { codeOf, openInternalStream, readRecords, toStorageError } from '../transactions/internal-stream.ts';
import { decodeChange, encodeTombstone, encodeValue } from './retained-record.ts';
import { RetainedRewrite } from './retained-rewrite.ts';
import type { RetainedSource } from './retained-source.ts';

export const retainedStream = '__retained';
/** Longest frame that fits a batch of the stream beside its topic. */
export const storedValueBytesMax = 16 * 1024 * 1024;
const batchBytesMax = 2 * storedValueBytesMax;
/** Small files: what is written anew gives back the space of whole ones. */
const segmentBytes = 16 * 1024 * 1024;
/** A batch is closed at this size. */
const batchBytes = 256 * 1024;
/** Batches on their way at a time; what comes meanwhile makes the next ones larger. */
const batchesMax = 4;
/** Topics that may wait, beyond which publishers are held back, or refused while the store fails. */
const changesMax = 65_536;
/** Publishers that may wait for an answer, likewise. */
const waitersMax = 65_536;
const pause = { firstMs: 100, lastMs: 5_000 };

/** Told, not inside of the call, when the change is durable; or why that is not known to be so. */
export type RetainedDone = (error: StorageError | null) => void;

export interface RetainedLogObserver {
  stored(records: number): void;
  failed(): void;
  rewritten(): void;
}

export interface RetainedLogOptions {
  readonly store: StreamStore;
  readonly source: RetainedSource;
  /** This worker writes the stream anew when it has grown; one of the node does. */
  readonly isKeeper: boolean;
  readonly observer: RetainedLogObserver;
  readonly log: Logger;
  /** The stream is not written anew before it has grown by so much. Default 64 MiB. */
  readonly rewriteBytesMin?: number;
}

interface Change {
  stamp: number;
  dones: RetainedDone[] | null;
}

type Changes = readonly (readonly [string, Change])[];

export class RetainedLog {
  readonly #options: RetainedLogOptions;
  readonly #dirty = new Map<string, Change>();
  readonly #builder = new BatchBuilder({}, batchBytes);
  readonly #rewrite: RetainedRewrite;
  #partition: StreamPartition | null = null;
  #isOpening = false;
  #underWay = 0;
  #waiters = 0;
  #batches = 0;
  #isFlushDue = false;
  #failures = 0;
  #retry: NodeJS.Timeout | null = null;
  #isClosed = false;
  #isLoaded = false;
  #waiting: (() => void)[] = [];

  constructor(options: RetainedLogOptions) {
    this.#options = options;
    this.#rewrite = new RetainedRewrite({
      source: options.source,
      bytesMin: options.rewriteBytesMin ?? 64 * 1024 * 1024,
      log: options.log,
      done: () => options.observer.rewritten(),
    });
  }

  // ---- reading

  /**
   * Reads everything that is stored and gives it to the source. Resolves when that is done, or at `close`: while the store cannot be
   * read it is tried again.
   */
  async load(): Promise<void> {
    for (let attempt = 1; !this.#isClosed; attempt++) {
      try {
        const partition = await this.#options.store.open(retainedStream);
        await this.#read(partition);
        this.#partition ??= partition;
        this.#isLoaded = true;
        return;
      } catch (error) {
        if (this.#isClosed || codeOf(error) === 'STORAGE_CLOSED') return;
        // Nothing was ever retained: the stream is made with the first value.
        this.#isLoaded = codeOf(error) === 'STORAGE_PARTITION_UNKNOWN';
        if (this.#isLoaded) return;
        if (!(error instanceof StorageError)) throw error;
        this.#options.log.warn('Cannot read the retained values; it is tried again', {
          code: error.code,
          reason: error.message,
        });
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      setTimeout(resolve, backoffMs(attempt, pause)).unref();
      await promise;
    }
  }

  async #read(partition: StreamPartition): Promise<void> {
    const { source, log } = this.#options;
    const { logStartOffset, highWatermark, sizeBytes } = await partition.places();
    let unknown = 0;
    const onDamage = (error: StorageError): void =>
      log.error('Retained values are damaged and left out', { reason: error.message });
    await readRecords(
      partition,
      logStartOffset,
      () => highWatermark,
      ({ key, value, timestamp }) => {
        if (key === null || value === null) return;
        const change = decodeChange(value);
        if (change === null) unknown++;
        else if (change.kind === 'value') source.load(key.toString(), change.value);
        else source.loadRemoval(key.toString(), change.stamp, timestamp);
      },
      { onDamage },
    );
    if (unknown > 0) log.error('Records in the stream of retained values are none, and are left out', { unknown });
    this.#rewrite.opened(sizeBytes);
  }

  // ---- writing

  /** Changes that are not durable yet. */
  get unsaved(): number {
    return this.#dirty.size + this.#underWay;
  }

  /** So much waits that nothing more should be taken, see `whenRoom`. */
  get isFull(): boolean {
    return this.unsaved >= changesMax || this.#waiters >= waitersMax;
  }

  /** The store has refused the latest attempt. */
  get isFailing(): boolean {
    return this.#failures > 0;
  }

  whenRoom(callback: () => void): void {
    this.#waiting.push(callback);
  }

  /** A topic changed here, with this stamp. Written at the end of the turn. */
  save(topic: string, stamp: number, done: RetainedDone | null): void {
    if (this.#isClosed) {
      if (done !== null) setImmediate(done, closed());
      return;
    }
    if (done !== null) this.#waiters++;
    const present = this.#dirty.get(topic);
    if (present === undefined) this.#dirty.set(topic, { stamp, dones: done === null ? null : [done] });
    else {
      present.stamp = Math.max(present.stamp, stamp);
      if (done !== null && present.dones === null) present.dones = [done];
      else if (done !== null) present.dones?.push(done);
    }
    this.#flushLater();
  }

  /** Any worker changed so many bytes of the stream. Only the keeper has to know. */
  grew(bytes: number): void {
    const { isKeeper } = this.#options;
    // What was not read must not be forgotten.
    if (!isKeeper || this.#isClosed || !this.#isLoaded) return;
    if (this.#rewrite.grew(bytes)) void this.#writeAnew();
  }

  /** Writes nothing more; what waits is told so. */
  close(): void {
    this.#isClosed = true;
    this.#rewrite.stop();
    if (this.#retry !== null) clearTimeout(this.#retry);
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    this.#tell(dirty, closed());
    this.#release();
  }

  #flushLater(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    setImmediate(() => {
      this.#isFlushDue = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#isClosed || this.#retry !== null) return;
    const partition = this.#partition;
    if (partition === null) {
      if (this.#dirty.size > 0) void this.#open();
      return;
    }
    while (this.#dirty.size > 0 && this.#batches < batchesMax) this.#append(partition);
  }

  async #open(): Promise<void> {
    if (this.#isOpening) return;
    this.#isOpening = true;
    try {
      await this.#opened();
    } catch (error) {
      const taken = [...this.#dirty];
      this.#dirty.clear();
      this.#failed(taken, toStorageError(error));
      return;
    } finally {
      this.#isOpening = false;
    }
    this.#flush();
  }

  async #opened(): Promise<StreamPartition> {
    const settings = { segmentBytes, batchBytesMax };
    this.#partition ??= await openInternalStream(this.#options.store, retainedStream, settings);
    return this.#partition;
  }

  #append(partition: StreamPartition): void {
    const taken: (readonly [string, Change])[] = [];
    const timestampMs = Date.now();
    for (const [topic, change] of this.#dirty) {
      this.#dirty.delete(topic);
      taken.push([topic, change]);
      this.#builder.add({ timestampMs, key: Buffer.from(topic), value: this.#recordOf(topic, change.stamp) });
      if (this.#builder.size >= batchBytes) break;
    }
    this.#underWay += taken.length;
    this.#batches++;
    partition.append(this.#builder.build(), ({ error }) => {
      this.#underWay -= taken.length;
      this.#batches--;
      if (error === null) this.#stored(taken);
      else this.#failed(taken, error);
    });
  }

  /** The newest change of the topic, which may be another worker's: what was published here must not be durable without it. */
  #recordOf(topic: string, stamp: number): Buffer {
    const { source } = this.#options;
    const value = source.stored(topic);
    if (value !== undefined && value.stamp >= stamp) return encodeValue(value);
    return encodeTombstone(Math.max(stamp, source.stampOf(topic)));
  }

  #stored(taken: Changes): void {
    const { log, observer } = this.#options;
    if (this.#failures > 0) log.info('Retained values can be stored again');
    this.#failures = 0;
    observer.stored(taken.length);
    this.#tell(taken, null);
    this.#flush();
    this.#release();
  }

  #failed(taken: Changes, error: StorageError): void {
    const { log, observer } = this.#options;
    observer.failed();
    if (error.code === 'STORAGE_CLOSED') {
      this.close();
      this.#tell(taken, error);
      return;
    }
    if (this.#failures === 0) log.warn('Cannot store retained values', { code: error.code, reason: error.message });
    this.#failures++;
    // It was removed by hand: the next attempt makes it again.
    if (error.code === 'STORAGE_PARTITION_UNKNOWN') this.#partition = null;
    for (const [topic, { stamp }] of taken) {
      const newer = this.#dirty.get(topic);
      if (newer === undefined) this.#dirty.set(topic, { stamp, dones: null });
      else newer.stamp = Math.max(newer.stamp, stamp);
    }
    this.#tell(taken, error);
    this.#retry ??= setTimeout(
      () => {
        this.#retry = null;
        this.#flush();
      },
      backoffMs(this.#failures, pause),
    ).unref();
    this.#release();
  }

  #tell(changes: Changes, error: StorageError | null): void {
    for (const [, { dones }] of changes) {
      if (dones === null) continue;
      this.#waiters -= dones.length;
      for (const done of dones) done(error);
    }
  }

  #release(): void {
    if (this.#waiting.length === 0 || (this.isFull && !this.isFailing && !this.#isClosed)) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const callback of waiting) callback();
  }

  async #writeAnew(): Promise<void> {
    await this.#rewrite.run(() => this.#opened());
  }
}

function closed(): StorageError {
  return new StorageError('STORAGE_CLOSED', 'Cannot store a retained value: the node stops');
}
