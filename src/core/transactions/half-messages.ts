/**
 * Half messages: stored and seen by nobody until their producer says commit or rollback. When it says nothing, its group is asked, so often
 * and so many times; then they are rolled back or go to the dead letters. A committed message is in its target exactly once. Thread:
 * the one that holds the object, who calls `tick` at least every 100 ms. docs/internals/transactions.md.
 */

import { assert } from '../../std/assert.ts';
import { TimingWheel, WheelTimer } from '../../std/timing-wheel.ts';
import type { NewRecord } from '../batch/batch-builder.ts';
import { readInt64 } from '../batch/batch-format.ts';
import { GatheringStream } from '../delayed/gathering-stream.ts';
import { IntentLog } from '../delayed/intent-log.ts';
import { type IntentReplay, readIntents } from '../delayed/intent-replay.ts';
import {
  decodeHalf,
  encodeChecked,
  encodeHalf,
  encodeMessage,
  encodeRollback,
  recordOf,
  storedKind,
  targetOf,
} from '../delayed/stored-message.ts';
import { type MessageSource, TargetWriter } from '../delayed/target-writer.ts';
import type { StreamPartition, StreamStore } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import type { Pauses } from './backoff.ts';
import { BlockAllocator } from './block-allocator.ts';
import { type HalfEvent, type HalfState, halfTransitions } from './half-state.ts';
import { openInternalStream, readRecords } from './internal-stream.ts';
import type { ProducerIdentity } from './producer-registry.ts';
import { TransactionError } from './transaction-error.ts';

export interface HalfCheck {
  /** What `commit` and `rollback` take. */
  readonly number: number;
  readonly group: string;
  readonly target: string;
  readonly record: NewRecord;
  /** From 1 on. */
  readonly count: number;
}

export interface HalfMessagesOptions {
  readonly store: StreamStore;
  readonly producers: { open(name: string): Promise<ProducerIdentity>; allocate(): Promise<ProducerIdentity> };
  /** Attempts that failed wait here; `tick` lets its time pass. */
  readonly pauses: Pauses;
  /** Milliseconds since 1970. */
  now(): number;
  /** Asks somebody of the group; the answer comes as `commit` or `rollback`, now, later or never. */
  onCheck(check: HalfCheck): void;
  /** Beginning of the names of the internal streams. Default `__half`. */
  readonly prefix?: string;
  /** After so long the group is asked for the first time. Default 6 s. */
  readonly firstCheckMs?: number;
  /** Default 30 s. */
  readonly checkMs?: number;
  /** Default 15. */
  readonly checksMax?: number;
  /** Where undecided messages go in the end, and those that their target refuses; null: they are rolled back. Default null. */
  readonly deadLetterTarget?: string | null;
  /** Default 200,000. */
  readonly pendingMax?: number;
  /** Bodies that are kept in memory; others are read again. Default 64 MiB. */
  readonly bodyBytesMax?: number;
  /** A newer owner has taken over: nothing is written any more. */
  onStopped?(error: StorageError): void;
}

interface Half {
  readonly number: number;
  readonly offset: number;
  readonly group: string;
  readonly target: string;
  readonly size: number;
  readonly preparedMs: number;
  state: HalfState;
  /** Null: it has to be read. */
  body: Buffer | null;
  checks: number;
  isChecking: boolean;
  /** Its group was asked since the service was opened. */
  wasAsked: boolean;
  readonly timer: WheelTimer;
  /** Wait for its end. */
  waiting: ((error: Error | null) => void)[];
}

export type PrepareDone = (error: StorageError | TransactionError | null, number: number) => void;

const tickMs = 100;
const numberBlock = 2 ** 24;
const source = 0;
const groupBytesMax = 1024;
const targetPattern = /^[A-Za-z0-9._-]{1,249}$/;
const trimEveryMs = 1000;

interface Parts {
  readonly numbers: BlockAllocator;
  readonly intentPartition: StreamPartition;
  readonly producer: ProducerIdentity;
}

export class HalfMessages implements MessageSource {
  readonly sourceId = source;
  readonly counts = { prepared: 0, committed: 0, rolledBack: 0, dead: 0, checks: 0 };
  readonly #options: HalfMessagesOptions;
  readonly #log: GatheringStream;
  readonly #numbers: BlockAllocator;
  readonly #intents: IntentLog;
  readonly #intentPartition: StreamPartition;
  readonly #writer: TargetWriter;
  readonly #wheel = new TimingWheel(tickMs);
  /** By number, in the order of their offsets. */
  readonly #halves = new Map<number, Half>();
  /** Intents, by offset, and the farthest message that each names. */
  #named: { readonly intentOffset: number; readonly offset: number }[] = [];
  #gaps: { readonly from: number; readonly to: number }[] = [];
  #bodyBytes = 0;
  #lastMs: number;
  #passedMs = 0;
  #trimmedMs = 0;
  #trimmed = 0;
  #chores = 0;
  #isClosed = false;

  private constructor(options: HalfMessagesOptions, { numbers, intentPartition, producer }: Parts) {
    const { store, pauses, prefix = '__half' } = options;
    const now = (): number => options.now();
    this.#options = options;
    this.#numbers = numbers;
    this.#intentPartition = intentPartition;
    this.#lastMs = now();
    this.#log = new GatheringStream({
      store,
      name: `${prefix}.log`,
      now,
      onGap: (from, to) => this.#gaps.push({ from, to }),
    });
    const onFenced = (error: StorageError): void => {
      if (this.#isClosed) return;
      this.close();
      options.onStopped?.(error);
    };
    this.#intents = new IntentLog({ partition: intentPartition, producer, pauses, now, onFenced });
    this.#writer = new TargetWriter({
      store,
      intents: this.#intents,
      producer,
      allocate: () => options.producers.allocate(),
      pauses,
      deadLetterTarget: options.deadLetterTarget ?? null,
      batchBytesMax: 1024 * 1024,
    });
  }

  /** Reads what is undecided, and completes what was decided. Rejects with StorageError. */
  static async open(options: HalfMessagesOptions): Promise<HalfMessages> {
    const { store, producers, prefix = '__half' } = options;
    const producer = await producers.open(prefix);
    const now = (): number => options.now();
    const numbers = await BlockAllocator.open({ store, stream: `${prefix}.numbers`, blockSize: numberBlock, now });
    const intentPartition = await openInternalStream(store, `${prefix}.intents`);
    const halves = new HalfMessages(options, { numbers, intentPartition, producer });
    await halves.#recover();
    return halves;
  }

  /** Undecided, or on their way. */
  get pending(): number {
    return this.#halves.size;
  }

  get isIdle(): boolean {
    return this.#chores === 0 && this.#log.underWay === 0 && this.#writer.isIdle && this.#intents.isIdle;
  }

  /** Stores a message that nobody sees. `done` is told when it is durable, with the number that decides it. */
  prepare(group: string, target: string, record: NewRecord, done: PrepareDone): void {
    const refusal = this.#refusal(group, target);
    const number = refusal === null ? this.#numbers.take() : -1;
    if (number < 0) {
      const error =
        refusal ?? new StorageError('STORAGE_UNAVAILABLE', 'Cannot prepare a message: no number is at hand');
      queueMicrotask(() => done(error, -1));
      return;
    }
    const preparedMs = this.#options.now();
    const value = encodeHalf(preparedMs, group, encodeMessage(number, 0, target, record));
    this.#log.add(value, (error, offset) => {
      if (error === null) {
        this.counts.prepared += 1;
        this.#addHalf(value, offset);
      }
      done(error, error === null ? number : -1);
    });
  }

  /**
   * Lets everybody see it: resolves when its target has it. Rejects with TransactionError: TRANSACTION_UNKNOWN when there is none, or
   * it was ended long ago, TRANSACTION_STATE when it is being rolled back.
   */
  commit(number: number): Promise<void> {
    return this.#decide(number, 'commit', (half) => {
      this.#writer.enqueue(half.target, this, number);
      this.#writer.flush();
    });
  }

  /** Forgets it: resolves when that is durable. Rejects like `commit`, and with StorageError. */
  rollback(number: number): Promise<void> {
    return this.#decide(number, 'rollback', (half) => this.#rollBack(half));
  }

  /** Lets time pass: asks groups, tries again what has failed. */
  tick(): void {
    if (this.#isClosed) return;
    const nowMs = this.#options.now();
    this.#options.pauses.tick(nowMs);
    this.#passedMs += Math.max(0, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    this.#wheel.advance(Math.floor(this.#passedMs / tickMs));
    if (this.#gaps.length > 0 && this.#chores === 0) void this.#chore(() => this.#readGaps());
    if (this.#passedMs - this.#trimmedMs < trimEveryMs || this.#chores > 0) return;
    this.#trimmedMs = this.#passedMs;
    void this.#chore(() => this.#trim());
  }

  /** Stops. What is decided goes on when they are opened again. */
  close(): void {
    this.#isClosed = true;
    this.#writer.stop();
    for (const { timer } of this.#halves.values()) this.#wheel.cancel(timer);
  }

  // --- as a source of batches; entries are numbers ---

  numberOf(entry: number): number {
    return entry;
  }

  sizeOf(entry: number): number {
    return this.#half(entry).size;
  }

  bodyOf(entry: number): Buffer | null {
    return this.#half(entry).body;
  }

  async fetchBodies(entries: readonly number[]): Promise<void> {
    const partition = await this.#log.open();
    for (const entry of entries) {
      const half = this.#halves.get(entry);
      // It may have ended while others were read.
      if (half === undefined) continue;
      let isFirst = true;
      await readRecords(
        partition,
        half.offset,
        () => (isFirst ? half.offset + 1 : 0),
        ({ value, offset }) => {
          isFirst = false;
          const isWanted = offset === half.offset && this.#halves.get(entry) === half;
          if (isWanted && value !== null) this.#keep(half, Buffer.from(decodeHalf(value).message));
        },
        { bytesMax: 1 },
      );
      if (half.body === null)
        throw new StorageError('STORAGE_CORRUPTED', `Cannot read half message ${entry}: it is gone`);
    }
  }

  onIntent(intentOffset: number, entries: readonly number[]): void {
    let offset = -1;
    for (const entry of entries) offset = Math.max(offset, this.#half(entry).offset);
    this.#named.push({ intentOffset, offset });
  }

  onWritten(entries: readonly number[], isDropped: boolean): void {
    for (const entry of entries) {
      const half = this.#half(entry);
      this.#move(half, isDropped ? 'lost' : 'written');
      this.#end(half);
    }
  }

  // --- inside ---

  async #recover(): Promise<void> {
    await this.#intents.begin();
    const { fired, newest } = await readIntents(this.#intentPartition);
    const partition = await this.#log.open();
    const { logStartOffset, highWatermark } = await partition.places();
    this.#log.knowUpTo(highWatermark);
    const done = fired.get(source) ?? new Set<number>();
    const inDoubt = new Set([...newest.values()].flatMap(({ numbers }) => numbers));
    const rolledBack: number[] = [];
    const end = await readRecords(
      partition,
      logStartOffset,
      () => highWatermark,
      ({ value, offset }) => {
        if (value === null) return;
        const number = readInt64(value, 1);
        if (value[0] === storedKind.half && (!done.has(number) || inDoubt.has(number))) {
          this.#addHalf(Buffer.from(value), offset);
        } else this.#replay(value, number, rolledBack);
      },
    );
    if (end < highWatermark) throw notYetRead(end);
    // Those that are in an intent were committed, whatever came before that.
    for (const number of rolledBack) if (!inDoubt.has(number)) this.#drop(number);
    // Intents of earlier lives stay until all of the log that was there is gone; in front of what is written from now on.
    this.#named.push({ intentOffset: this.#intents.endOffset, offset: highWatermark - 1 });
    for (const intent of newest.values()) await this.#resend(intent);
  }

  #replay(value: Buffer, number: number, rolledBack: number[]): void {
    if (value[0] === storedKind.rollback) rolledBack.push(number);
    const half = this.#halves.get(number);
    if (value[0] !== storedKind.checked || half === undefined) return;
    half.checks = value.readUInt32BE(9);
    this.#startTimer(half);
  }

  async #resend(intent: IntentReplay['newest'] extends ReadonlyMap<string, infer I> ? I : never): Promise<void> {
    const { numbers, reason } = intent;
    if (!numbers.every((number) => this.#halves.has(number))) {
      // The log is trimmed below what is done: with one of them all of the batch was written.
      for (const number of numbers) this.#drop(number);
      return;
    }
    for (const number of numbers) this.#move(this.#half(number), reason === '' ? 'commit' : 'giveUp');
    await this.#writer.resend(this, intent, numbers);
  }

  #refusal(group: string, target: string): TransactionError | null {
    if (this.#isClosed) return refusal('TRANSACTION_CLOSED', 'the service is closed');
    if (group === '' || Buffer.byteLength(group) > groupBytesMax || !targetPattern.test(target)) {
      return refusal('TRANSACTION_INVALID', 'its group or its target is no name');
    }
    const { pendingMax = 200_000 } = this.#options;
    return this.#halves.size < pendingMax ? null : refusal('TRANSACTION_LIMIT', `${pendingMax} wait already`);
  }

  #addHalf(value: Buffer, offset: number): void {
    const { preparedMs, group, message } = decodeHalf(value);
    const number = readInt64(value, 1);
    if (this.#halves.has(number)) return;
    const half: Half = {
      number,
      offset,
      group,
      target: targetOf(message),
      size: message.length,
      preparedMs,
      state: 'prepared',
      body: null,
      checks: 0,
      isChecking: false,
      wasAsked: false,
      timer: new WheelTimer(() => this.#onTime(number)),
      waiting: [],
    };
    this.#halves.set(number, half);
    if (this.#bodyBytes + message.length <= (this.#options.bodyBytesMax ?? 64 * 1024 * 1024)) this.#keep(half, message);
    this.#startTimer(half);
  }

  #release(half: Half): void {
    if (half.body !== null) this.#bodyBytes -= half.size;
    half.body = null;
  }

  #keep(half: Half, body: Buffer): void {
    if (half.body === null) this.#bodyBytes += half.size;
    half.body = body;
  }

  #startTimer(half: Half): void {
    const { firstCheckMs = 6000, checkMs = 30_000 } = this.#options;
    const dueMs = half.preparedMs + firstCheckMs + half.checks * checkMs;
    // A clock that jumped must not make it wait longer than between two checks.
    const leftMs = Math.min(dueMs - this.#options.now(), Math.max(firstCheckMs, checkMs));
    this.#wheel.start(half.timer, Math.max(0, leftMs));
  }

  #onTime(number: number): void {
    const half = this.#halves.get(number);
    if (half === undefined || this.#isClosed) return;
    this.#move(half, 'check');
    if (half.state !== 'prepared') return;
    const { checksMax = 15, deadLetterTarget = null } = this.#options;
    // A crash may have come between a count and its question, each time: nothing is given up of which nobody was asked.
    if (half.checks < checksMax || !half.wasAsked) {
      void this.#chore(() => this.#check(half));
      return;
    }
    if (deadLetterTarget === null) {
      this.#move(half, 'rollback');
      this.#rollBack(half);
      return;
    }
    this.#move(half, 'giveUp');
    this.#writer.enqueue(deadLetterTarget, this, number, 'undecided');
    this.#writer.flush();
  }

  /**
   * The count is durable before the group is asked: it is never asked more often than it may be, but that the last question is repeated
   * after a restart.
   */
  async #check(half: Half): Promise<void> {
    const { checkMs = 30_000, bodyBytesMax = 64 * 1024 * 1024 } = this.#options;
    // Should something fail, it is tried again soon.
    this.#wheel.start(half.timer, Math.min(checkMs, 10 * tickMs));
    if (half.isChecking) return;
    half.isChecking = true;
    const isCounted = await this.#count(half).finally(() => {
      half.isChecking = false;
    });
    if (!isCounted || this.#isClosed || half.state !== 'prepared' || half.body === null) return;
    this.counts.checks += 1;
    half.wasAsked = true;
    this.#wheel.start(half.timer, checkMs);
    const { number, group, target, checks: count } = half;
    this.#options.onCheck({ number, group, target, record: recordOf(half.body), count });
    if (this.#bodyBytes > bodyBytesMax && half.state === 'prepared') this.#release(half);
  }

  async #count(half: Half): Promise<boolean> {
    const { checksMax = 15 } = this.#options;
    if (half.body === null) await this.fetchBodies([half.number]);
    // Counted before a restart, and perhaps never asked.
    if (half.checks >= checksMax) return true;
    const count = half.checks + 1;
    const error = await new Promise<StorageError | null>((resolve) => {
      this.#log.add(encodeChecked(half.number, count), (failed) => resolve(failed));
    });
    if (error === null) half.checks = count;
    return error === null;
  }

  #decide(number: number, event: 'commit' | 'rollback', begin: (half: Half) => void): Promise<void> {
    if (this.#isClosed) return Promise.reject(refusal('TRANSACTION_CLOSED', 'the service is closed'));
    const half = this.#halves.get(number);
    if (half === undefined) return Promise.reject(refusal('TRANSACTION_UNKNOWN', 'there is none'));
    const before = half.state;
    const outcome = halfTransitions[before][event];
    if (typeof outcome !== 'string') return Promise.reject(refusal(outcome.refused, `it is ${before}`));
    this.#move(half, event);
    const ended = new Promise<void>((resolve, reject) => {
      half.waiting.push((error) => (error === null ? resolve() : reject(error)));
    });
    if (before === 'prepared') begin(half);
    return ended;
  }

  #rollBack(half: Half): void {
    this.#log.add(encodeRollback(half.number), (error) => {
      if (this.#halves.get(half.number) !== half || half.state !== 'rollingBack') return;
      this.#move(half, error === null ? 'stored' : 'failed');
      if (error === null) this.#end(half);
      else {
        this.#wheel.start(half.timer, tickMs);
        tell(half, error);
      }
    });
  }

  #move(half: Half, event: HalfEvent): void {
    const outcome = halfTransitions[half.state][event];
    assert(typeof outcome === 'string' && outcome !== 'never', `a half message that is ${half.state} cannot ${event}`);
    half.state = outcome;
  }

  #end(half: Half): void {
    if (half.state === 'committed') this.counts.committed += 1;
    else if (half.state === 'rolledBack') this.counts.rolledBack += 1;
    else this.counts.dead += 1;
    this.#drop(half.number);
    tell(half, half.state === 'dead' ? refusal('TRANSACTION_STATE', 'its target refuses it') : null);
  }

  #drop(number: number): void {
    const half = this.#halves.get(number);
    if (half === undefined) return;
    this.#wheel.cancel(half.timer);
    this.#release(half);
    this.#halves.delete(number);
  }

  #half(number: number): Half {
    const half = this.#halves.get(number);
    assert(half !== undefined, 'what is written is known');
    return half;
  }

  /** What appends have left whose fate was unknown. */
  async #readGaps(): Promise<void> {
    const partition = await this.#log.open();
    for (let gap = this.#gaps[0]; gap !== undefined; gap = this.#gaps[0]) {
      const { from, to } = gap;
      const end = await readRecords(
        partition,
        from,
        () => to,
        ({ value, offset }) => {
          if (value === null || offset >= to) return;
          const number = readInt64(value, 1);
          const half = this.#halves.get(number);
          if (value[0] === storedKind.half) this.#addHalf(Buffer.from(value), offset);
          else if (value[0] === storedKind.rollback && half !== undefined) {
            this.#move(half, 'stored');
            if (half.state === 'rolledBack') this.#end(half);
          }
        },
      );
      if (end < to) throw notYetRead(end);
      this.#gaps.shift();
    }
  }

  /** Forgets the log below the oldest message, and then the intents that name nothing that is left in it. */
  async #trim(): Promise<void> {
    let keep = this.#log.knownEnd;
    for (const { offset } of this.#halves.values()) keep = Math.min(keep, offset);
    for (const { from } of this.#gaps) keep = Math.min(keep, from);
    if (keep <= this.#trimmed) return;
    const start = await (await this.#log.open()).deleteBefore(keep);
    this.#trimmed = keep;
    let intentOffset = -1;
    while (this.#named.length > 0 && this.#named[0].offset < start) {
      intentOffset = this.#named[0].intentOffset;
      this.#named.shift();
    }
    if (intentOffset >= 0) await this.#intentPartition.deleteBefore(intentOffset);
  }

  async #chore(work: () => Promise<void>): Promise<void> {
    this.#chores += 1;
    try {
      await work();
    } catch (error) {
      // The next tick, or the next check, tries again.
      if (!(error instanceof StorageError)) throw error;
    } finally {
      this.#chores -= 1;
    }
  }
}

function notYetRead(offset: number): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `Cannot read half messages from ${offset} on: it is not readable yet`);
}

function tell(half: Half, error: Error | null): void {
  const { waiting } = half;
  half.waiting = [];
  for (const told of waiting) told(error);
}

function refusal(code: TransactionError['code'], state: string): TransactionError {
  return new TransactionError(code, `Cannot decide a half message: ${state}`);
}
