/**
 * Appends to one stream what bindings copy: one batch for each partition and turn of the event loop. Thread: one connection worker.
 *
 * The stream is made by worker 0 alone, since the attempt of another at the same time would clear away what it has made so far; the
 * others wait until it is there. Until then publishers are held back. When it cannot be had, publications are refused with the reason,
 * and it is tried again.
 */
import { BatchBuilder, type NewRecord } from '../../../core/batch/batch-builder.ts';
import type { PacedStore, StreamPartition, StreamSettings } from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { StreamCatalog, StreamError } from '../../../core/streams/stream-catalog.ts';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import { hashBytes } from '../../../std/hash.ts';
import { isCodeOf, reasonCodeOf } from './storage-codes.ts';

/** A batch goes at once when it is this long. */
const batchBytes = 262_144;
/** Longest key, topic, headers and payload of one record are far below what a batch may have. */
const retryMsMin = 100;
const retryMsMax = 5_000;
/** How often a stream is looked at for new partitions, while something is appended. */
const refreshMs = 30_000;

/** Publications that are acknowledged together. */
export class CopyReceipt {
  /** Batches that are not answered yet. */
  left = 0;
  /** The first reason why a copy failed, 0 for none. */
  reasonCode = 0;
  private readonly done: (reasonCode: number) => void;

  constructor(done: (reasonCode: number) => void) {
    this.done = done;
  }

  finish(reasonCode: number): void {
    this.left -= 1;
    if (this.reasonCode === 0) this.reasonCode = reasonCode;
    if (this.left === 0) this.done(this.reasonCode);
  }
}

interface OpenBatch {
  readonly builder: BatchBuilder;
  receipts: CopyReceipt[];
}

export interface StreamWriterOptions {
  readonly name: string;
  readonly partitions: number;
  readonly settings: StreamSettings;
  readonly isMaker: boolean;
  readonly store: PacedStore;
  readonly log: Logger;
  /** The stream is missing: whoever makes it is to look. */
  onMissing(): void;
  /** Of so many copies an append was answered; 0: they are stored. */
  onAnswer(reasonCode: number, count: number): void;
}

export class StreamWriter {
  readonly name: string;
  private readonly options: StreamWriterOptions;
  private readonly catalog: StreamCatalog;
  private partitions: readonly StreamPartition[] = [];
  private batches: OpenBatch[] = [];
  private isFlushDue = false;
  /** Why there is no stream; null while it is opened for the first time, or there. */
  private failure: Error | null = null;
  private waiting: (() => void)[] = [];
  private retryMs = retryMsMin;
  private lookedAtMs = 0;
  private timer: NodeJS.Timeout | null = null;
  private isClosed = false;

  constructor(options: StreamWriterOptions) {
    this.options = options;
    this.name = options.name;
    this.catalog = new StreamCatalog(options.store);
    void this.open();
  }

  /** False: nothing is to be copied now; `whenRoom` tells when. */
  get hasRoom(): boolean {
    if (this.options.store.isCongested) return false;
    return this.partitions.length > 0 || this.failure !== null;
  }

  /** Called once. */
  whenRoom(callback: () => void): void {
    if (this.partitions.length === 0 && this.failure === null) {
      this.waiting.push(callback);
      return;
    }
    if (!this.options.store.isCongested) {
      setImmediate(callback);
      return;
    }
    const end = this.options.store.onDrained(() => {
      end();
      callback();
    });
  }

  /** Its bytes are copied now. `receipt` is told once for each batch that has a record of it. */
  add(record: NewRecord, placeKey: Uint8Array, receipt: CopyReceipt | null): void {
    const { length } = this.partitions;
    if (length === 0) {
      this.refuse(receipt);
      return;
    }
    // Without a seed: the place of a key must be the same after a restart, and for other producers.
    const number = length === 1 ? 0 : (hashBytes(placeKey, 0, placeKey.length) >>> 0) % length;
    const batch = this.batches[number] as OpenBatch;
    batch.builder.add(record);
    if (receipt !== null && batch.receipts.at(-1) !== receipt) {
      receipt.left += 1;
      batch.receipts.push(receipt);
    }
    if (batch.builder.size >= batchBytes) this.send(number);
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    setImmediate(() => this.flush());
  }

  flush(): void {
    this.isFlushDue = false;
    for (let number = 0; number < this.batches.length; number++) {
      if ((this.batches[number] as OpenBatch).builder.recordCount > 0) this.send(number);
    }
    if (performance.now() - this.lookedAtMs > refreshMs) void this.open();
  }

  /** Somebody misses the stream. */
  look(): void {
    if (performance.now() - this.lookedAtMs >= retryMsMin) void this.open();
  }

  close(): void {
    this.isClosed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.flush();
  }

  private refuse(receipt: CopyReceipt | null): void {
    const reasonCode = reasonCodeOf(this.failure);
    this.options.onAnswer(reasonCode, 1);
    if (receipt === null) return;
    receipt.left += 1;
    queueMicrotask(() => receipt.finish(reasonCode));
  }

  private send(number: number): void {
    const batch = this.batches[number] as OpenBatch;
    const { receipts, builder } = batch;
    const { recordCount } = builder;
    batch.receipts = [];
    (this.partitions[number] as StreamPartition).append(builder.build(), ({ error }) => {
      const reasonCode = error === null ? 0 : reasonCodeOf(error);
      if (error !== null) this.onFailure(error);
      this.options.onAnswer(reasonCode, recordCount);
      for (const receipt of receipts) receipt.finish(reasonCode);
    });
  }

  /** Somebody has removed the stream: it is made anew. */
  private onFailure(error: StorageError): void {
    this.options.log.warn('Cannot copy publications into a stream', {
      stream: this.name,
      code: error.code,
      reason: error.message,
    });
    const isGone = error.code === 'STORAGE_PARTITION_UNKNOWN' && this.partitions.length > 0;
    if (!isGone || performance.now() - this.lookedAtMs < retryMsMin) return;
    this.flush();
    this.partitions = [];
    void this.open();
  }

  private async open(): Promise<void> {
    if (this.isClosed) return;
    this.lookedAtMs = performance.now();
    try {
      const stream = await this.find();
      const opened = await Promise.all(stream.map((each) => this.options.store.open(each)));
      if (this.isClosed) return;
      this.use(opened);
    } catch (thrown) {
      this.tryLater(toError(thrown));
    }
  }

  private async find(): Promise<readonly string[]> {
    const { name, options, catalog } = this;
    try {
      return (await catalog.find(name)).partitions;
    } catch (error) {
      const isMissing = error instanceof StreamError && error.code === 'STREAM_UNKNOWN';
      if (isMissing && !options.isMaker) options.onMissing();
      if (!isMissing || !options.isMaker) throw error;
    }
    const made = await catalog.create(name, options.partitions, options.settings);
    options.log.info('Made a stream for what is copied', { stream: name, partitions: options.partitions });
    return made.partitions;
  }

  private use(opened: readonly StreamPartition[]): void {
    this.retryMs = retryMsMin;
    this.failure = null;
    // Partitions keep their batches; more of them change where later records of a key go.
    while (this.batches.length < opened.length) this.batches.push({ builder: new BatchBuilder(), receipts: [] });
    if (opened.length < this.batches.length) {
      this.flush();
      this.batches = this.batches.slice(0, opened.length);
    }
    this.partitions = opened;
    this.wakeWaiting();
  }

  private tryLater(error: Error): void {
    if (this.isClosed || this.partitions.length > 0) return;
    const isMissing = error instanceof StreamError && error.code === 'STREAM_UNKNOWN';
    // The second: it is just being made.
    const isNotMadeYet = this.failure === null && (isMissing || isCodeOf(error, 'STORAGE_PARTITION_UNKNOWN'));
    // The maker starts with the node; a second attempt is given before publishers are told.
    if (!isNotMadeYet || this.retryMs > 4 * retryMsMin) {
      if (this.failure === null)
        this.options.log.warn('Cannot open a stream for what is copied', { stream: this.name, reason: error.message });
      this.failure =
        error instanceof StorageError
          ? error
          : new StorageError('STORAGE_UNAVAILABLE', error.message, { cause: error });
      this.wakeWaiting();
    }
    this.timer = setTimeout(() => void this.open(), this.retryMs).unref();
    this.retryMs = Math.min(retryMsMax, 2 * this.retryMs);
  }

  private wakeWaiting(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const callback of waiting) setImmediate(callback);
  }
}
