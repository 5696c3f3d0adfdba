/**
 * Appends to the stream of a bridge, what comes in one turn of the event loop in one batch. Thread: each connection worker has one for
 * each bridge that stores.
 */
import { BatchBuilder, type NewRecord } from '../../../core/batch/batch-builder.ts';
import type { PacedStore, StreamPartition } from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';

export interface StoredWriterOptions {
  readonly store: PacedStore;
  /** The stream; asked again after it went out of service. Rejects with StorageError. */
  open(): Promise<StreamPartition>;
  /** Of so many records an append was answered; null: they are durable. */
  answered(error: Error | null, records: number): void;
}

/** Null: the record is durable. */
export type StoredDone = (error: Error | null) => void;

/** A batch goes at once when it is this long. */
const batchBytes = 262_144;
/** What nobody holds back may come before the stream is opened for the first time, bytes. */
const earlyBytesMax = 1_048_576;
const retryMs = 500;
const outOfService = new Set<string>(['STORAGE_PARTITION_UNKNOWN', 'STORAGE_PARTITION_FAILED']);

export class StoredWriter {
  readonly #options: StoredWriterOptions;
  #partition: StreamPartition | null = null;
  /** Why there is none; null while it is opened for the first time, or there. */
  #failure: Error | null = null;
  #builder = new BatchBuilder();
  #dones: StoredDone[] = [];
  #isDue = false;
  #waiting: (() => void)[] = [];
  #retry: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(options: StoredWriterOptions) {
    this.#options = options;
    void this.#open();
  }

  /** False: nothing is to be added now; `whenRoom` tells when. */
  get hasRoom(): boolean {
    if (this.#options.store.isCongested) return false;
    return this.#partition !== null || this.#failure !== null;
  }

  /** Called once, in a later turn. */
  whenRoom(callback: () => void): void {
    const { store } = this.#options;
    if (this.#partition === null && this.#failure === null) this.#waiting.push(callback);
    else if (!store.isCongested) setImmediate(callback);
    else {
      const end = store.onDrained(() => {
        end();
        callback();
      });
    }
  }

  /** Its bytes are copied now. `done` is told once, not inside of the call; null: nobody waits. */
  add(record: NewRecord, done: StoredDone | null): void {
    const isEarly = this.#partition === null && this.#failure === null;
    if (this.#partition === null && (!isEarly || this.#builder.size > earlyBytesMax)) {
      const reason = 'Cannot store a message: its stream is not open yet';
      const error = this.#failure ?? new StorageError('STORAGE_UNAVAILABLE', reason);
      this.#options.answered(error, 1);
      if (done !== null) queueMicrotask(() => done(error));
      return;
    }
    this.#builder.add(record);
    if (done !== null) this.#dones.push(done);
    if (this.#builder.size >= batchBytes) this.flush();
    if (this.#isDue || this.#builder.recordCount === 0) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.flush();
    });
  }

  /** Sends what was added. */
  flush(): void {
    const partition = this.#partition;
    const { recordCount } = this.#builder;
    if (partition === null || recordCount === 0) return;
    const dones = this.#dones;
    this.#dones = [];
    partition.append(this.#builder.build(), ({ error }) => {
      if (error !== null && outOfService.has(error.code)) this.#reopen(partition, error);
      this.#options.answered(error, recordCount);
      for (const done of dones) done(error);
    });
  }

  stop(): void {
    this.flush();
    this.#isStopped = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  #reopen(lost: StreamPartition, error: Error): void {
    if (this.#partition !== lost) return;
    this.#partition = null;
    this.#failure = error;
    void this.#open();
  }

  #failEarly(error: Error): void {
    const { recordCount } = this.#builder;
    if (recordCount === 0) return;
    const dones = this.#dones;
    this.#dones = [];
    this.#builder = new BatchBuilder();
    this.#options.answered(error, recordCount);
    for (const done of dones) done(error);
  }

  async #open(): Promise<void> {
    if (this.#isStopped) return;
    try {
      this.#partition = await this.#options.open();
      this.#failure = null;
      this.flush();
    } catch (error) {
      this.#failure = error as Error;
      this.#failEarly(this.#failure);
      if (!this.#isStopped) this.#retry = setTimeout(() => void this.#open(), retryMs).unref();
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const callback of waiting) setImmediate(callback);
  }
}
