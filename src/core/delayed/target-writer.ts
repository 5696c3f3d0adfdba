/**
 * Writes stored messages to their targets, each exactly once, whatever crashes: first a durable intent says which messages become which
 * batch with which sequence, then the batch is sent until its fate is known. One batch is under way for each target, so the order of
 * a target is that of the queue, and a target that does not answer keeps nobody else waiting. Thread: the owner of the service; used
 * by the delayed and the half messages.
 */

import { assert } from '../../std/assert.ts';
import type { NewRecordHeader } from '../batch/batch-builder.ts';
import type { StreamPartition, StreamStore } from '../ports/stream-store.ts';
import { deadLetterHeaders } from '../queues/dead-letter.ts';
import { StorageError } from '../streams/storage-error.ts';
import { backoffMs, type Pauses } from '../transactions/backoff.ts';
import { append, toStorageError } from '../transactions/internal-stream.ts';
import type { ProducerIdentity } from '../transactions/producer-registry.ts';
import type { IntentLog } from './intent-log.ts';
import { encodeIntent, type Intent, storedKind, targetOf, withHeaders } from './stored-message.ts';
import { buildTargetBatch } from './target-batch.ts';

/** Where messages lie that are written later. Entries are numbers that mean something to the source alone. */
export interface MessageSource {
  /** Under which intents name it. */
  readonly sourceId: number;
  numberOf(entry: number): number;
  sizeOf(entry: number): number;
  /** As `encodeMessage` makes it; null when it has to be read first. */
  bodyOf(entry: number): Buffer | null;
  /** Afterwards `bodyOf` answers for these, until they are written. Rejects with StorageError. */
  fetchBodies(entries: readonly number[]): Promise<void>;
  /** An intent that names these messages, or takes one back that did, is durable. */
  onIntent(offset: number, entries: readonly number[]): void;
  /** The target has them; or, when `isDropped`, nobody ever will. */
  onWritten(entries: readonly number[], isDropped: boolean): void;
}

export interface TargetWriterOptions {
  readonly store: StreamStore;
  readonly intents: IntentLog;
  readonly producer: ProducerIdentity;
  /** A fresh producer, for a target whose sequences are not what they were. Rejects with StorageError. */
  allocate(): Promise<ProducerIdentity>;
  readonly pauses: Pauses;
  /** Where messages go that their target refuses for good; null: they are dropped. */
  readonly deadLetterTarget: string | null;
  /** Longest batch. A target may allow less: then its messages go one by one. */
  readonly batchBytesMax: number;
}

interface TargetQueue {
  readonly name: string;
  partition: StreamPartition | null;
  producer: ProducerIdentity;
  sequence: number;
  sources: MessageSource[];
  entries: number[];
  reasons: string[];
  head: number;
  isRunning: boolean;
}

export interface TargetWriterCounts {
  written: number;
  batches: number;
  deadLetters: number;
  dropped: number;
  retries: number;
}

const recordsMax = 2000;
const sequenceLimit = 0x8000_0000;

export class TargetWriter {
  readonly counts: TargetWriterCounts = { written: 0, batches: 0, deadLetters: 0, dropped: 0, retries: 0 };
  readonly #options: TargetWriterOptions;
  /** Sequences go on for as long as the producer lives, so targets are remembered. */
  readonly #queues = new Map<string, TargetQueue>();
  #touched: TargetQueue[] = [];
  #running = 0;
  #isStopped = false;

  constructor(options: TargetWriterOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#running === 0 && this.#touched.length === 0;
  }

  /** Puts a message in line for a target; `flush` begins to write. */
  enqueue(target: string, source: MessageSource, entry: number, reason = ''): void {
    const queue = this.#queueOf(target);
    queue.sources.push(source);
    queue.entries.push(entry);
    queue.reasons.push(reason);
    if (queue.isRunning) return;
    queue.isRunning = true;
    this.#touched.push(queue);
  }

  flush(): void {
    const touched = this.#touched;
    if (touched.length === 0) return;
    this.#touched = [];
    for (const queue of touched) void this.#run(queue);
  }

  /** Nothing is sent any more; what is under way is decided when the messages are opened again. */
  stop(): void {
    this.#isStopped = true;
  }

  /**
   * Sends a batch again whose fate a crash has hidden: the newest intent of its target, before anything else is written there. When the
   * store has it already it says so.
   */
  async resend(source: MessageSource, intent: Intent, entries: readonly number[]): Promise<void> {
    const queue = this.#queueOf(intent.target);
    const readable = await this.#readable(source, entries);
    // Without its messages the batch cannot be made again; nothing can be said about it.
    if (readable.length < entries.length) return;
    const bodies = bodiesOf(source, entries, intent.reason);
    const error = await this.#send(queue, buildTargetBatch(bodies, intent));
    if (error === null) {
      this.#onWritten(source, entries, intent.reason);
      return;
    }
    const isForgotten = error.code === 'STORAGE_SEQUENCE_OUT_OF_ORDER' || error.code === 'STORAGE_PRODUCER_FENCED';
    if (isForgotten) await this.#write(queue, source, entries, intent.reason);
    else await this.#refuse(queue, source, entries, intent, error);
  }

  async #run(queue: TargetQueue): Promise<void> {
    this.#running += 1;
    while (queue.head < queue.entries.length && !this.#isStopped) {
      const { source, entries, reason } = takeBatch(queue, this.#options.batchBytesMax);
      await this.#write(queue, source, entries, reason);
    }
    queue.isRunning = false;
    this.#running -= 1;
  }

  async #write(queue: TargetQueue, source: MessageSource, all: readonly number[], reason: string): Promise<void> {
    const entries = await this.#readable(source, all);
    if (entries.length === 0) return;
    const bodies = bodiesOf(source, entries, reason);
    const numbers = entries.map((entry) => source.numberOf(entry));
    while (!this.#isStopped) {
      const { producerId, producerEpoch } = queue.producer;
      const baseSequence = queue.sequence;
      const intent = {
        producerId,
        producerEpoch,
        baseSequence,
        source: source.sourceId,
        target: queue.name,
        reason,
        numbers,
      };
      source.onIntent(await this.#intend(encodeIntent(intent)), entries);
      const error = await this.#send(queue, buildTargetBatch(bodies, intent));
      if (error === null) {
        queue.sequence = (queue.sequence + entries.length) % sequenceLimit;
        this.#onWritten(source, entries, reason);
        return;
      }
      const isForgotten = error.code === 'STORAGE_SEQUENCE_OUT_OF_ORDER' || error.code === 'STORAGE_PRODUCER_FENCED';
      if (!isForgotten) return this.#refuse(queue, source, entries, intent, error);
      // It was refused, so it is not there; under a producer that nobody knows it is stored once.
      await this.#renew(queue);
    }
  }

  async #renew(queue: TargetQueue): Promise<void> {
    for (let attempts = 1; ; attempts += 1) {
      try {
        queue.producer = await this.#options.allocate();
        queue.sequence = 0;
        return;
      } catch (error) {
        if (!(error instanceof StorageError)) throw error;
        await this.#pause(attempts);
      }
    }
  }

  #onWritten(source: MessageSource, entries: readonly number[], reason: string): void {
    this.counts.batches += 1;
    if (reason === '') this.counts.written += entries.length;
    else this.counts.deadLetters += entries.length;
    source.onWritten(entries, false);
  }

  /** The target will never take this batch: each message alone, and then what is refused alone, to the dead letters. */
  async #refuse(
    queue: TargetQueue,
    source: MessageSource,
    entries: readonly number[],
    intent: Intent,
    error: StorageError,
  ): Promise<void> {
    if (this.#isStopped) return;
    // Durable before they are written anywhere else: a crash must not take the refused intent for a batch that was stored.
    source.onIntent(await this.#intend(encodeIntent(intent, storedKind.void)), entries);
    if (entries.length > 1) {
      for (const entry of entries) await this.#write(queue, source, [entry], intent.reason);
      return;
    }
    const { deadLetterTarget } = this.#options;
    if (deadLetterTarget === null || deadLetterTarget === queue.name) {
      this.#drop(source, entries);
      return;
    }
    this.enqueue(deadLetterTarget, source, entries[0], error.code);
    this.flush();
  }

  #intend(value: Buffer): Promise<number> {
    return new Promise((resolve) => this.#options.intents.add(value, resolve));
  }

  /** Null when the target has the batch; else why it never will. */
  async #send(queue: TargetQueue, bytes: Buffer): Promise<StorageError | null> {
    for (let attempts = 1; ; attempts += 1) {
      const error = await this.#sendOnce(queue, bytes);
      if (error === null || this.#isStopped) return error;
      if (error.code === 'STORAGE_CLOSED') queue.partition = null;
      else if (!error.canRetry) return error;
      this.counts.retries += 1;
      await this.#pause(attempts);
    }
  }

  async #sendOnce(queue: TargetQueue, bytes: Buffer): Promise<StorageError | null> {
    try {
      queue.partition ??= await this.#options.store.open(queue.name);
    } catch (error) {
      return toStorageError(error);
    }
    const { error } = await append(queue.partition, bytes);
    if (error?.code === 'STORAGE_PARTITION_UNKNOWN') queue.partition = null;
    return error;
  }

  /** Brings the bodies into memory; answers the entries that have one. What was damaged in the store is dropped. */
  async #readable(source: MessageSource, entries: readonly number[]): Promise<readonly number[]> {
    for (let attempts = 1; !this.#isStopped; attempts += 1) {
      const missing = entries.filter((entry) => source.bodyOf(entry) === null);
      if (missing.length === 0) break;
      const error = await fetchError(source, missing);
      if (error === null) continue;
      if (error.canRetry || error.code === 'STORAGE_CLOSED') {
        await this.#pause(attempts);
        continue;
      }
      this.#drop(source, missing);
      return entries.filter((entry) => source.bodyOf(entry) !== null);
    }
    return this.#isStopped ? [] : entries;
  }

  #drop(source: MessageSource, entries: readonly number[]): void {
    this.counts.dropped += entries.length;
    source.onWritten(entries, true);
  }

  #pause(attempts: number): Promise<void> {
    return this.#options.pauses.wait(backoffMs(attempts));
  }

  #queueOf(name: string): TargetQueue {
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const queue: TargetQueue = {
      name,
      partition: null,
      producer: this.#options.producer,
      sequence: 0,
      sources: [],
      entries: [],
      reasons: [],
      head: 0,
      isRunning: false,
    };
    this.#queues.set(name, queue);
    return queue;
  }
}

/** From the head of the queue: what lies in one source and goes for one reason, as much as one batch may have. */
function takeBatch(queue: TargetQueue, bytesMax: number) {
  const { sources, reasons, head } = queue;
  const source = sources[head];
  const reason = reasons[head];
  const entries: number[] = [];
  let bytes = 0;
  let at = head;
  while (at < queue.entries.length && entries.length < recordsMax && sources[at] === source && reasons[at] === reason) {
    bytes += source.sizeOf(queue.entries[at]);
    if (entries.length > 0 && bytes > bytesMax) break;
    entries.push(queue.entries[at]);
    at += 1;
  }
  queue.head = at;
  if (at === queue.entries.length || at > 10_000) {
    queue.sources = sources.slice(at);
    queue.entries = queue.entries.slice(at);
    queue.reasons = reasons.slice(at);
    queue.head = 0;
  }
  return { source, entries, reason };
}

async function fetchError(source: MessageSource, entries: readonly number[]): Promise<StorageError | null> {
  try {
    await source.fetchBodies(entries);
    return null;
  } catch (error) {
    return toStorageError(error);
  }
}

function bodiesOf(source: MessageSource, entries: readonly number[], reason: string): readonly Buffer[] {
  return entries.map((entry) => {
    const body = source.bodyOf(entry);
    assert(body !== null, 'what is written has been read');
    return reason === '' ? body : withHeaders(body, headersOf(reason, targetOf(body)));
  });
}

function headersOf(reason: string, origin: string): NewRecordHeader[] {
  return [
    { key: Buffer.from(deadLetterHeaders.reason), value: Buffer.from(reason) },
    { key: Buffer.from(deadLetterHeaders.stream), value: Buffer.from(origin) },
  ];
}
