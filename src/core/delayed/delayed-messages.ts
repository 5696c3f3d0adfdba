/**
 * Messages that are written to a stream later: at a time, or after a delay, exact to the owner's tick, over restarts, each exactly once.
 * A persisted timing wheel over internal streams: docs/internals/delayed.md. Thread: the one that holds the object, who calls `tick`
 * every 10 ms; everything is told on the same thread, never inside of a call.
 */

import { assert } from '../../std/assert.ts';
import type { NewRecord } from '../batch/batch-builder.ts';
import type { StreamPartition, StreamStore } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import { backoffMs, type Pauses } from '../transactions/backoff.ts';
import { BlockAllocator } from '../transactions/block-allocator.ts';
import { codeOf, openInternalStream, toStorageError } from '../transactions/internal-stream.ts';
import type { ProducerIdentity } from '../transactions/producer-registry.ts';
import { SlabBudget } from './body-slabs.ts';
import { Bucket, type BucketCounts, type WaitingMessage } from './bucket.ts';
import { type BucketLevel, BucketLevels, bucketName, defaultLevels, parseBucketName } from './bucket-levels.ts';
import { moveBucket } from './bucket-mover.ts';
import { DelayedError } from './delayed-error.ts';
import { IntentLog } from './intent-log.ts';
import { type IntentReplay, readIntents } from './intent-replay.ts';
import { encodeCancel, encodeMessage } from './stored-message.ts';
import { TargetWriter, type TargetWriterCounts } from './target-writer.ts';

/** What gives the service a producer of its own; `ProducerRegistry` does. */
export interface ProducerSource {
  open(name: string): Promise<ProducerIdentity>;
  allocate(): Promise<ProducerIdentity>;
}

export interface DelayedMessagesOptions {
  readonly store: StreamStore;
  readonly producers: ProducerSource;
  /** Attempts that failed wait here. `tick` lets its time pass; while `open` is under way the owner does. */
  readonly pauses: Pauses;
  /** Milliseconds since 1970. It may go back: then what waits waits longer, and nothing comes twice. */
  now(): number;
  /** Beginning of the names of the internal streams. Default `__delayed`. */
  readonly prefix?: string;
  /** Default 500 days. */
  readonly delayMsMax?: number;
  /** Default 10 million. */
  readonly pendingMax?: number;
  /** Default 1 MiB: key, value and headers together. */
  readonly recordBytesMax?: number;
  /** Bodies of messages that are due soon are kept in memory up to this; others are read when they are due. Default 64 MiB. */
  readonly bodyBytesMax?: number;
  /** No further minute is loaded while so many messages are in memory; 41 bytes each. Default 4 million. */
  readonly inMemoryMax?: number;
  /** Where messages go whose target refuses them for good; null: they are dropped, and counted. Default null. */
  readonly deadLetterTarget?: string | null;
  readonly levels?: readonly BucketLevel[];
  /** A newer owner has taken over, or the store was closed: nothing is written any more. */
  onStopped?(error: StorageError): void;
}

/** Names a message that was accepted. */
export interface DelayedHandle {
  /** Ascends with acceptance. */
  readonly number: number;
  readonly dueMs: number;
}

export interface DelayedMessage {
  /** Name of the partition that it is written to. */
  readonly target: string;
  /** Kept byte for byte. Its timestamp, too: targets that forget by age go by it, so it should be the due time or later. */
  readonly record: NewRecord;
}

/** `handle` is null with an error. A message is accepted when it is durable. */
export type AcceptDone = (error: StorageError | DelayedError | null, handle: DelayedHandle | null) => void;

/**
 * `cancelled`: it will not be written. `recorded`: the same, if there is such a message: its bucket is not in memory. `tooLate`: it is
 * written, or is just being. `unknown`: there is no such message.
 */
export type CancelOutcome = 'cancelled' | 'recorded' | 'tooLate' | 'unknown';
export type CancelDone = (error: StorageError | DelayedError | null, outcome: CancelOutcome | null) => void;

const dayMs = 24 * 60 * 60 * 1000;
const idleMsMax = 1000;
/** Numbers that are claimed at once: 2^53 / 2^24 claims are enough for a restart a minute over a thousand years. */
const numberBlock = 2 ** 24;
const targetPattern = /^[A-Za-z0-9._-]{1,249}$/;

interface Parts {
  readonly numbers: BlockAllocator;
  readonly intentPartition: StreamPartition;
  readonly producer: ProducerIdentity;
}

export class DelayedMessages {
  readonly counts: BucketCounts & { accepted: number } = {
    accepted: 0,
    pending: 0,
    inMemory: 0,
    cancelled: 0,
    damages: 0,
  };
  readonly #options: DelayedMessagesOptions;
  readonly #prefix: string;
  readonly #delayMsMax: number;
  readonly #pendingMax: number;
  readonly #recordBytesMax: number;
  readonly #inMemoryMax: number;
  readonly #budget: SlabBudget;
  readonly #levels: BucketLevels;
  readonly #pauses: Pauses;
  readonly #numbers: BlockAllocator;
  readonly #intents: IntentLog;
  readonly #intentPartition: StreamPartition;
  readonly #writer: TargetWriter;
  readonly #buckets = new Map<string, Bucket>();
  /** Minutes that were opened, by time. */
  #near: Bucket[] = [];
  /** The first minute that was there at the start. */
  #earliest: Bucket | null = null;
  #openedAt = -1;
  /** Loads, moves and removals that are under way. */
  #chores = 0;
  #isLoading = false;
  /** Minutes from here on wait: one before them is not in memory yet, and what is late is to come in order. */
  #barrierMs = Number.POSITIVE_INFINITY;
  /** Cancellations that wait until a minute is read. */
  readonly #deferred: (() => void)[] = [];
  #intentsTrimmed = 0;
  #isClosed = false;

  private constructor(options: DelayedMessagesOptions, parts: Parts) {
    this.#options = options;
    this.#prefix = options.prefix ?? '__delayed';
    this.#delayMsMax = options.delayMsMax ?? 500 * dayMs;
    this.#pendingMax = options.pendingMax ?? 10_000_000;
    this.#recordBytesMax = options.recordBytesMax ?? 1024 * 1024;
    this.#inMemoryMax = options.inMemoryMax ?? 4_000_000;
    this.#budget = new SlabBudget(options.bodyBytesMax ?? 64 * 1024 * 1024);
    this.#levels = new BucketLevels(options.levels ?? defaultLevels);
    const { producer, numbers, intentPartition } = parts;
    const { pauses } = options;
    this.#pauses = pauses;
    this.#numbers = numbers;
    this.#intentPartition = intentPartition;
    this.#intents = new IntentLog({
      partition: intentPartition,
      producer,
      pauses,
      now: () => options.now(),
      onFenced: (error) => this.#stop(error),
    });
    this.#writer = new TargetWriter({
      store: options.store,
      intents: this.#intents,
      producer,
      allocate: () => options.producers.allocate(),
      pauses,
      deadLetterTarget: options.deadLetterTarget ?? null,
      batchBytesMax: 1024 * 1024,
    });
  }

  /**
   * Takes over what is there: sends again what was under way, and begins to count time. Rejects with StorageError.
   */
  static async open(options: DelayedMessagesOptions): Promise<DelayedMessages> {
    const { store, producers, prefix = '__delayed' } = options;
    const producer = await producers.open(prefix);
    const now = (): number => options.now();
    const numbers = await BlockAllocator.open({ store, stream: `${prefix}.numbers`, blockSize: numberBlock, now });
    const intentPartition = await openInternalStream(store, `${prefix}.intents`);
    const delayed = new DelayedMessages(options, { numbers, intentPartition, producer });
    await delayed.#recover();
    return delayed;
  }

  /** Accepted and neither written nor cancelled; what is not in memory counts its records, cancellations included. */
  get pending(): number {
    return this.counts.pending;
  }

  get writerCounts(): Readonly<TargetWriterCounts> {
    return this.#writer.counts;
  }

  /** Bytes of bodies in memory. */
  get bodyBytes(): number {
    return this.#budget.bytes;
  }

  /** Nothing is under way: everything that is due was written. */
  get isIdle(): boolean {
    if (this.#chores > 0 || !this.#writer.isIdle || !this.#intents.isIdle) return false;
    for (const bucket of this.#buckets.values()) if (bucket.stream.underWay > 0) return false;
    return true;
  }

  /**
   * Milliseconds until `tick` has something to do: 0 when it should be called soon, infinity when nothing is stored at all. For an
   * owner who does not call it all the time; a message that is accepted can make it less.
   */
  get idleMs(): number {
    if (this.#isClosed || this.#buckets.size === 0) return Number.POSITIVE_INFINITY;
    if (!this.isIdle || this.#pauses.count > 0) return 0;
    let dueMs = Number.POSITIVE_INFINITY;
    for (const bucket of this.#near) dueMs = Math.min(dueMs, bucket.entries.firstDueMs);
    // Buckets are opened long before they begin, and removed when nobody waits for that.
    return Math.max(0, Math.min(dueMs - this.#options.now(), idleMsMax));
  }

  /** How late the oldest message is that is due and not written, ms; 0 when none is. */
  get lateMs(): number {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const bucket of this.#near) {
      const isWriting = !this.#writer.isIdle && bucket.left > 0;
      dueMs = Math.min(dueMs, isWriting ? bucket.firstLeftMs : bucket.entries.firstDueMs);
    }
    return Math.max(0, this.#options.now() - dueMs);
  }

  /**
   * Messages that wait, in the order of the spans of time that they lie in, at most `countMax` of them and out of at most
   * `scannedMax` records. Rejects with StorageError.
   */
  async list(countMax: number, scannedMax = 100_000): Promise<{ messages: WaitingMessage[]; isComplete: boolean }> {
    const messages: WaitingMessage[] = [];
    const buckets = [...this.#buckets.values()].filter(({ state }) => state !== 'removing' && state !== 'removed');
    buckets.sort((one, other) => this.#levels.beginMs(one.place) - this.#levels.beginMs(other.place));
    let scanned = 0;
    for (const bucket of buckets) {
      if (messages.length >= countMax || scanned >= scannedMax) return { messages, isComplete: false };
      scanned += await bucket.list(messages, countMax, scannedMax - scanned);
    }
    return { messages, isComplete: messages.length < countMax && scanned < scannedMax };
  }

  /** Accepts a message for a time, in milliseconds since 1970; a time in the past is taken for the present. */
  acceptAt(givenMs: number, message: DelayedMessage, done: AcceptDone): void {
    const refusal = this.#refusal(givenMs, message);
    if (refusal !== null) {
      queueMicrotask(() => done(refusal, null));
      return;
    }
    const number = this.#numbers.take();
    if (number < 0) {
      const error = new StorageError('STORAGE_UNAVAILABLE', 'Cannot accept a delayed message: no number is at hand');
      queueMicrotask(() => done(error, null));
      return;
    }
    const dueMs = Math.max(givenMs, this.#options.now());
    const value = encodeMessage(number, dueMs, message.target, message.record);
    const bucket = this.#bucketFor(dueMs);
    bucket.stream.add(value, (error, offset) => {
      if (error !== null) {
        done(error, null);
        return;
      }
      this.counts.accepted += 1;
      bucket.onStored(value, offset);
      done(null, { number, dueMs });
    });
  }

  /** Accepts a message for so many milliseconds from now. */
  acceptAfter(delayMs: number, message: DelayedMessage, done: AcceptDone): void {
    this.acceptAt(this.#options.now() + Math.max(0, delayMs), message, done);
  }

  /** Cancels a message that waits. With an error it is not known whether it is cancelled; it may be asked again. */
  cancel(handle: DelayedHandle, done: CancelDone): void {
    const { number, dueMs } = handle;
    if (this.#isClosed) {
      queueMicrotask(() => done(closed(), null));
      return;
    }
    const holder = this.#near.find((near) => near.holds(number));
    // It may be in what is just being read.
    if (this.#isLoading && holder?.state !== 'loaded') {
      this.#deferred.push(() => this.cancel(handle, done));
      return;
    }
    const bucket = holder ?? this.#bucketToCome(dueMs);
    if (bucket === null) {
      queueMicrotask(() => done(null, dueMs <= this.#options.now() ? 'tooLate' : 'unknown'));
      return;
    }
    bucket.cancel(encodeCancel(number, dueMs), (outcome) => {
      if (outcome instanceof StorageError) done(outcome, null);
      else done(null, outcome);
    });
  }

  /** Lets time pass: writes what is due, loads what is near, and tries again what has failed. */
  tick(): void {
    if (this.#isClosed) return;
    const nowMs = this.#options.now();
    this.#pauses.tick(nowMs);
    this.#levels.advance(nowMs);
    this.#open();
    this.#fire(nowMs);
    this.#finish(nowMs);
  }

  /** Stops. What is under way is decided when the messages are opened again. */
  close(): void {
    this.#isClosed = true;
    this.#writer.stop();
  }

  // --- inside ---

  async #recover(): Promise<void> {
    await this.#intents.begin();
    const { fired, newest, first } = await readIntents(this.#intentPartition);
    const nowMs = this.#options.now();
    for (const name of await this.#options.store.names()) {
      const place = parseBucketName(this.#prefix, name);
      if (place === null || place.level >= this.#levels.levels.length) continue;
      const bucket = this.#bucketAt(place.level, place.index);
      const { logStartOffset, highWatermark } = await (await bucket.stream.open()).places();
      bucket.addPending(highWatermark - logStartOffset);
      if (place.level > 0) continue;
      // When the clock was ahead before, messages may lie in a minute that it has not reached again: the first one is always opened.
      if (this.#earliest === null || place.index < this.#earliest.place.index) this.#earliest = bucket;
      bucket.firstIntentOffset = first.get(place.index) ?? Number.POSITIVE_INFINITY;
    }
    this.#levels.advance(nowMs);
    for (const [index, numbers] of fired) this.#buckets.get(this.#nameOf(0, index))?.expectFired(numbers);
    await this.#resend(newest);
    this.#open();
  }

  /** Decides what was under way: before anything else is written to the same targets. */
  async #resend(newest: IntentReplay['newest']): Promise<void> {
    const inDoubt = new Map<number, Set<number>>();
    for (const { source, numbers } of newest.values()) {
      const set = inDoubt.get(source) ?? new Set();
      for (const number of numbers) set.add(number);
      inDoubt.set(source, set);
    }
    for (const [index, numbers] of inDoubt) {
      const bucket = this.#buckets.get(this.#nameOf(0, index));
      // A bucket that was removed was done.
      if (bucket === undefined) continue;
      bucket.on('nearMinute');
      this.#addNear(bucket);
      const entries = await bucket.load(numbers);
      for (const intent of newest.values()) {
        if (intent.source !== index) continue;
        const found = intent.numbers.map((number) => entries.get(number)).filter((entry) => entry !== undefined);
        if (found.length === intent.numbers.length) await this.#writer.resend(bucket, intent, found);
      }
    }
  }

  #refusal(dueMs: number, { target, record }: DelayedMessage): DelayedError | null {
    if (this.#isClosed) return closed();
    if (!Number.isSafeInteger(dueMs) || dueMs < 0 || !targetPattern.test(target)) {
      return new DelayedError('DELAYED_INVALID', `Cannot delay a message to ${dueMs} for "${target}": it is no place`);
    }
    if (dueMs - this.#options.now() > this.#delayMsMax) {
      return new DelayedError('DELAYED_TOO_FAR', `Cannot delay a message to ${dueMs}: that is too far ahead`);
    }
    if (this.counts.pending >= this.#pendingMax) {
      return new DelayedError('DELAYED_FULL', `Cannot delay a message: ${this.counts.pending} wait already`);
    }
    const bytes = recordBytes(record);
    if (bytes <= this.#recordBytesMax) return null;
    return new DelayedError('DELAYED_TOO_LARGE', `Cannot delay a message of ${bytes} bytes: it is too large`);
  }

  #nameOf(level: number, index: number): string {
    return bucketName(this.#prefix, { level, index });
  }

  /** Where a message is put now. */
  #bucketFor(dueMs: number): Bucket {
    const level = this.#levels.levelFor(dueMs);
    let index = this.#levels.indexOf(level, dueMs);
    // A clock that went back can point at a minute that is just being removed.
    for (;;) {
      const bucket = this.#bucketAt(level, index);
      if (bucket.state !== 'removing') return bucket;
      index += 1;
    }
  }

  #bucketAt(level: number, index: number): Bucket {
    const name = this.#nameOf(level, index);
    const known = this.#buckets.get(name);
    if (known !== undefined) return known;
    const { store } = this.#options;
    const now = (): number => this.#options.now();
    const place = { level, index };
    const bucket = new Bucket({ store, name, now, place, budget: this.#budget, counts: this.counts });
    this.#buckets.set(name, bucket);
    this.#openedAt = -1;
    return bucket;
  }

  /** Where the cancellation of a message can wait for it that is not in memory; null when there is no such place. */
  #bucketToCome(dueMs: number): Bucket | null {
    // It is due, and so as good as written.
    if (dueMs <= this.#options.now()) return null;
    let isThere = false;
    for (let level = 0; level < this.#levels.levels.length; level += 1) {
      const bucket = this.#buckets.get(this.#nameOf(level, this.#levels.indexOf(level, dueMs)));
      if (bucket !== undefined && bucket.state !== 'loaded' && bucket.state !== 'removing') isThere = true;
    }
    if (!isThere) return null;
    const minute = this.#buckets.get(this.#nameOf(0, this.#levels.indexOf(0, dueMs)));
    const bucket = minute ?? this.#bucketFor(dueMs);
    return bucket.state === 'loaded' || bucket.state === 'removing' ? null : bucket;
  }

  #fire(nowMs: number): void {
    if (this.#isClosed) return;
    for (const bucket of this.#near) {
      if (this.#levels.beginMs(bucket.place) >= this.#barrierMs) break;
      if (bucket.state !== 'loaded') continue;
      for (let entry = bucket.takeDue(nowMs); entry >= 0; entry = bucket.takeDue(nowMs)) {
        this.#writer.enqueue(bucket.targetOf(entry), bucket, entry);
      }
    }
    this.#writer.flush();
  }

  /** Moves coarse buckets and loads minutes that are near; one load at a time, in order. */
  #open(): void {
    const mark = this.#levels.opened[0];
    if (this.#openedAt === mark || this.#isClosed) return;
    this.#openedAt = mark;
    const { opened } = this.#levels;
    let coarseBeginMs = Number.POSITIVE_INFINITY;
    let next: Bucket | null = null;
    for (const bucket of this.#buckets.values()) {
      const { level, index } = bucket.place;
      if (index > opened[level] && bucket !== this.#earliest) continue;
      if (level > 0) {
        coarseBeginMs = Math.min(coarseBeginMs, this.#levels.beginMs(bucket.place));
        if (bucket.state === 'stored' && !this.#hasCoarser(bucket)) void this.#moveBucket(bucket);
      } else if (bucket.state === 'stored' || bucket.state === 'loading') {
        if (next === null || index < next.place.index) next = bucket;
      }
    }
    const nextBeginMs = next === null ? Number.POSITIVE_INFINITY : this.#levels.beginMs(next.place);
    this.#barrierMs = Math.min(nextBeginMs, coarseBeginMs);
    // A coarse bucket may still bring messages for this minute, or for one before it.
    if (next === null || this.#isLoading || nextBeginMs >= coarseBeginMs) return;
    if (this.counts.inMemory > this.#inMemoryMax && this.#near.length > 0) this.#openedAt = -1;
    else void this.#load(next);
  }

  /** Whether a coarser bucket may still bring messages for this one: it must not be moved, and removed, meanwhile. */
  #hasCoarser({ place }: Bucket): boolean {
    const beginMs = this.#levels.beginMs(place);
    for (let level = place.level + 1; level < this.#levels.levels.length; level += 1) {
      if (this.#buckets.has(this.#nameOf(level, this.#levels.indexOf(level, beginMs)))) return true;
    }
    return false;
  }

  async #load(bucket: Bucket): Promise<void> {
    this.#isLoading = true;
    bucket.on('nearMinute');
    this.#addNear(bucket);
    await this.#chore(bucket, () => bucket.load());
    this.#isLoading = false;
    this.#openedAt = -1;
    for (const again of this.#deferred.splice(0)) again();
    this.#open();
    this.#fire(this.#options.now());
  }

  async #moveBucket(bucket: Bucket): Promise<void> {
    bucket.on('nearCoarse');
    const bucketAt = (level: number, index: number): Bucket => this.#bucketAt(level, index);
    const options = { levels: this.#levels, pauses: this.#pauses, bucketAt };
    if (!(await this.#chore(bucket, () => moveBucket(bucket, options)))) return;
    bucket.on('finished');
    await this.#remove(bucket);
    this.#open();
  }

  #addNear(bucket: Bucket): void {
    this.#near.push(bucket);
    this.#near.sort((one, other) => one.place.index - other.place.index);
  }

  /** Removes minutes that are over and in which nothing waits any more. */
  #finish(nowMs: number): void {
    for (const bucket of this.#near) {
      if (bucket.state !== 'loaded' || bucket.isBusy) continue;
      if (bucket.hasGaps) {
        void this.#readGaps(bucket);
        continue;
      }
      const endMs = this.#levels.beginMs({ level: 0, index: bucket.place.index + 1 });
      if (nowMs < endMs || bucket.left > 0 || bucket.stream.underWay > 0) continue;
      bucket.on('finished');
      void this.#finishBucket(bucket);
    }
  }

  async #readGaps(bucket: Bucket): Promise<void> {
    bucket.isBusy = true;
    await this.#chore(bucket, () => bucket.readGaps());
    bucket.isBusy = false;
    this.#fire(this.#options.now());
  }

  async #finishBucket(bucket: Bucket): Promise<void> {
    let isComplete = false;
    const isAsked = await this.#chore(bucket, async () => {
      isComplete = await bucket.isComplete();
    });
    if (!isAsked) return;
    if (!isComplete) {
      bucket.on('late');
      return;
    }
    if (!(await this.#remove(bucket))) return;
    this.#near = this.#near.filter((other) => other !== bucket);
    await this.#trimIntents();
    this.#openedAt = -1;
    this.#open();
  }

  async #remove(bucket: Bucket): Promise<boolean> {
    const isRemoved = await this.#chore(bucket, async () => {
      try {
        await this.#options.store.remove(bucket.stream.name);
      } catch (error) {
        // An earlier attempt has done it.
        if (codeOf(error) !== 'STORAGE_PARTITION_UNKNOWN') throw error;
      }
    });
    if (!isRemoved) return false;
    bucket.on('gone');
    this.#buckets.delete(bucket.stream.name);
    this.#openedAt = -1;
    return true;
  }

  /** Forgets intents that name no message any more. */
  async #trimIntents(): Promise<void> {
    let keep = this.#intents.endOffset;
    for (const bucket of this.#buckets.values()) keep = Math.min(keep, bucket.firstIntentOffset);
    if (keep <= this.#intentsTrimmed) return;
    this.#intentsTrimmed = keep;
    try {
      await this.#intentPartition.deleteBefore(keep);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
    }
  }

  /** Does something until it works; answers whether it has, which it has not when the service was closed. */
  async #chore(bucket: Bucket, work: () => Promise<unknown>): Promise<boolean> {
    this.#chores += 1;
    let isDone = false;
    for (let attempts = 1; !isDone && !this.#isClosed; attempts += 1) {
      try {
        await work();
        isDone = true;
      } catch (thrown) {
        const error = toStorageError(thrown);
        bucket.on('failed');
        if (error.code === 'STORAGE_CLOSED') this.#stop(error);
        else await this.#pauses.wait(backoffMs(attempts));
      }
    }
    this.#chores -= 1;
    return isDone;
  }

  #stop(error: StorageError): void {
    if (this.#isClosed) return;
    this.close();
    this.#options.onStopped?.(error);
  }
}

function recordBytes({ key, value, headers }: NewRecord): number {
  let bytes = (key?.length ?? 0) + (value?.length ?? 0);
  if (headers !== undefined) for (const header of headers) bytes += header.key.length + (header.value?.length ?? 0);
  assert(bytes >= 0, 'a record has a length');
  return bytes;
}

function closed(): DelayedError {
  return new DelayedError('DELAYED_CLOSED', 'Cannot use the delayed messages: they were closed');
}
