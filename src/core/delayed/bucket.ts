/**
 * One bucket of delayed messages: its stream, and, for a minute that is near, its messages in memory. Thread: the owner of the delayed
 * messages.
 */

import { StorageError } from '../streams/storage-error.ts';
import { readRecords } from '../transactions/internal-stream.ts';
import { BodySlabs, type SlabBudget } from './body-slabs.ts';
import type { BucketPlace } from './bucket-levels.ts';
import {
  type BucketEvent,
  type BucketState,
  type MessageEvent,
  messageCode,
  messageStates,
  nextBucketState,
  nextMessageState,
} from './delayed-state.ts';
import { DueEntries, noBody } from './due-entries.ts';
import { type AddDone, GatheringStream, type GatheringStreamOptions } from './gathering-stream.ts';
import { dueMsOf, numberOf, storedKind, targetOf } from './stored-message.ts';
import type { MessageSource } from './target-writer.ts';

export interface BucketCounts {
  /** In all buckets, as far as is known: those that are not in memory count their records. */
  pending: number;
  /** Messages that are in memory, those that are done included. */
  inMemory: number;
  cancelled: number;
  /** Places in streams that could not be read. */
  damages: number;
}

/** A message that waits, as it is shown. */
export interface WaitingMessage {
  readonly number: number;
  readonly dueMs: number;
  readonly target: string;
  /** As it is stored. */
  readonly bytes: number;
}

export type BucketOptions = Omit<GatheringStreamOptions, 'onGap'> & {
  readonly place: BucketPlace;
  readonly budget: SlabBudget;
  readonly counts: BucketCounts;
};

const loadBytes = 256 * 1024;
const waiting = messageCode('waiting');
const queued = messageCode('queued');
const nothing: ReadonlySet<number> = new Set();

export class Bucket implements MessageSource {
  readonly place: BucketPlace;
  readonly stream: GatheringStream;
  readonly entries = new DueEntries();
  /** Offset of the first intent that names messages of this bucket; infinity while there is none. */
  firstIntentOffset = Number.POSITIVE_INFINITY;
  /** Messages in memory that are not done. */
  left = 0;
  /** What it lacks is being read. */
  isBusy = false;
  #state: BucketState = 'stored';
  /** Of what `counts.pending` holds, the part of this bucket. */
  #pending = 0;
  readonly #counts: BucketCounts;
  readonly #slabs: BodySlabs;
  /** Bodies that were read because they are due. */
  readonly #fetched = new Map<number, Buffer>();
  readonly #targets: string[] = [];
  readonly #targetIndexes = new Map<string, number>();
  /** Numbers of messages that are there more than once, perhaps. */
  readonly #moved = new Set<number>();
  /** Cancelled while they were not in memory. */
  readonly #cancelled = new Set<number>();
  /** Cancellations that were asked for while the message was not in memory, and are being stored. */
  readonly #awaited = new Set<number>();
  /** Of these messages, those that became due meanwhile: number → entry. */
  readonly #held = new Map<number, number>();
  /** Named by intents of an earlier life. */
  #fired: ReadonlySet<number> = nothing;
  /** Number → entry. */
  readonly #inDoubt = new Map<number, number>();
  #readEnd = 0;
  #gaps: { readonly from: number; readonly to: number }[] = [];

  constructor(options: BucketOptions) {
    this.place = options.place;
    this.#counts = options.counts;
    this.#slabs = new BodySlabs(options.budget);
    this.stream = new GatheringStream({
      store: options.store,
      name: options.name,
      now: () => options.now(),
      onGap: (from, to) => {
        if (this.#state === 'loaded') this.#gaps.push({ from, to });
      },
    });
  }

  get state(): BucketState {
    return this.#state;
  }

  /** Of level 0, which intents name. */
  get sourceId(): number {
    return this.place.index;
  }

  get hasGaps(): boolean {
    return this.#gaps.length > 0;
  }

  on(event: BucketEvent): void {
    this.#state = nextBucketState(this.#state, event);
    if (this.#state === 'removed') this.#forget();
  }

  /** Records that are in the stream and were not read: at the start, and when they are acknowledged. */
  addPending(count: number): void {
    this.#pending += count;
    this.#counts.pending += count;
  }

  // --- reading into memory ---

  /** Numbers that intents of an earlier life name: those messages are written, or decided before anything else is. */
  expectFired(numbers: ReadonlySet<number>): void {
    this.#fired = numbers;
  }

  /** Whether a message is in memory. */
  holds(number: number): boolean {
    return this.entries.find(number) >= 0;
  }

  /**
   * Reads all of the stream. `inDoubt`: numbers whose batches have to be sent again; answers their entries. Rejects with StorageError;
   * called again, it goes on where it was.
   */
  async load(inDoubt: ReadonlySet<number> = nothing): Promise<ReadonlyMap<number, number>> {
    const partition = await this.stream.open();
    const { logStartOffset, highWatermark } = await partition.places();
    this.stream.knowUpTo(highWatermark);
    let offset = Math.max(logStartOffset, this.#readEnd);
    // What is acknowledged meanwhile is read as well; afterwards it is told by the answers.
    while (offset < this.stream.knownEnd) {
      const end = await readRecords(
        partition,
        offset,
        () => this.stream.knownEnd,
        (record) => {
          if (record.value !== null) this.#take(record.value, record.offset, inDoubt);
          this.#readEnd = record.offset + 1;
        },
        { bytesMax: loadBytes, onDamage: () => this.onDamage() },
      );
      if (end === offset) throw notYetRead(this.stream.name, offset);
      offset = end;
    }
    this.#readEnd = offset;
    this.addPending(this.left - this.#pending);
    this.on('read');
    return this.#inDoubt;
  }

  /** Reads what appends have left whose fate was unknown. */
  async readGaps(): Promise<void> {
    const gaps = this.#gaps;
    this.#gaps = [];
    const partition = await this.stream.open();
    for (const { from, to } of gaps) {
      await readRecords(
        partition,
        from,
        () => to,
        ({ value, offset }) => {
          if (value === null || offset >= to) return;
          const before = this.left;
          this.#take(value, offset, nothing);
          this.addPending(this.left - before);
        },
        { onDamage: () => this.onDamage() },
      );
    }
  }

  /** Whether the stream has no more than what the answers have told; what it has more becomes a gap. */
  async isComplete(): Promise<boolean> {
    const { logEndOffset, highWatermark } = await (await this.stream.open()).places();
    const { knownEnd } = this.stream;
    if (highWatermark > knownEnd) {
      this.#gaps.push({ from: knownEnd, to: highWatermark });
      this.stream.knowUpTo(highWatermark);
    }
    return logEndOffset === knownEnd;
  }

  /** A record is acknowledged: it comes into memory when its bucket is there, and was not read by `load` already. */
  onStored(value: Buffer, offset: number): void {
    if (value[0] === storedKind.cancel) {
      if (this.#state !== 'stored') this.#cancelled.add(numberOf(value));
      return;
    }
    const isTold = this.#state === 'loaded' || this.#state === 'removing';
    if (!isTold) {
      this.addPending(1);
      return;
    }
    if (offset < this.#readEnd) return;
    const before = this.left;
    this.#take(value, offset, nothing);
    this.addPending(this.left - before);
  }

  #take(value: Buffer, offset: number, inDoubt: ReadonlySet<number>): void {
    const kind = value[0];
    const number = numberOf(value);
    if (kind === storedKind.cancel) {
      this.#cancelled.add(number);
      return;
    }
    if (kind === storedKind.moved) {
      if (this.#moved.has(number)) return;
      this.#moved.add(number);
    }
    const isInDoubt = inDoubt.has(number);
    if (this.#fired.has(number) && !isInDoubt) return;
    const entry = this.entries.add(dueMsOf(value), number, offset, value.length, this.#targetIndex(targetOf(value)));
    this.entries.body[entry] = this.#slabs.keep(value);
    this.left += 1;
    this.#counts.inMemory += 1;
    if (isInDoubt) {
      this.entries.state[entry] = queued;
      this.#inDoubt.set(number, entry);
      return;
    }
    this.entries.state[entry] = waiting;
    this.entries.push(entry);
  }

  #targetIndex(target: string): number {
    const known = this.#targetIndexes.get(target);
    if (known !== undefined) return known;
    this.#targets.push(target);
    this.#targetIndexes.set(target, this.#targets.length - 1);
    return this.#targets.length - 1;
  }

  onDamage(): void {
    this.#counts.damages += 1;
  }

  /** Due time of the oldest message in memory that is not done; infinity when there is none. */
  get firstLeftMs(): number {
    const { state, due, count } = this.entries;
    let first = this.entries.firstDueMs;
    for (let entry = 0; entry < count; entry += 1) if (state[entry] === queued) first = Math.min(first, due[entry]);
    return first;
  }

  // --- showing what waits ---

  /** Adds messages that wait, up to `countMax` in all; answers how many records were looked at. Rejects with StorageError. */
  async list(messages: WaitingMessage[], countMax: number, scannedMax: number): Promise<number> {
    if (this.#state === 'loaded') return this.#listMemory(messages, countMax);
    const partition = await this.stream.open();
    const { logStartOffset, highWatermark } = await partition.places();
    const end = Math.min(highWatermark, logStartOffset + scannedMax);
    const found = new Map<number, WaitingMessage>();
    await readRecords(
      partition,
      logStartOffset,
      () => (found.size < scannedMax ? end : 0),
      ({ value }) => {
        if (value === null) return;
        const number = numberOf(value);
        if (value[0] === storedKind.cancel) found.delete(number);
        else found.set(number, { number, dueMs: dueMsOf(value), target: targetOf(value), bytes: value.length });
      },
      { onDamage: () => undefined },
    );
    const sorted = [...found.values()].sort((one, other) => one.dueMs - other.dueMs || one.number - other.number);
    messages.push(...sorted.slice(0, countMax - messages.length));
    return end - logStartOffset;
  }

  #listMemory(messages: WaitingMessage[], countMax: number): number {
    const { entries } = this;
    const order: number[] = [];
    for (let entry = 0; entry < entries.count; entry += 1) {
      const isLeft = entries.state[entry] === waiting || entries.state[entry] === queued;
      if (isLeft && !this.#cancelled.has(entries.number[entry])) order.push(entry);
    }
    order.sort((one, other) => entries.due[one] - entries.due[other] || entries.number[one] - entries.number[other]);
    for (const entry of order.slice(0, countMax - messages.length)) {
      const target = this.targetOf(entry);
      messages.push({ number: entries.number[entry], dueMs: entries.due[entry], target, bytes: entries.size[entry] });
    }
    return entries.count;
  }

  // --- becoming due ---

  /** The next message that is due at `nowMs`, which is queued then; -1 when there is none. */
  takeDue(nowMs: number): number {
    const { entries } = this;
    while (entries.firstDueMs <= nowMs) {
      const entry = entries.pop();
      // Cancelled, being cancelled, or a second place in the heap.
      if (entries.state[entry] !== waiting) continue;
      if (this.#awaited.size > 0 && this.#awaited.has(entries.number[entry])) {
        this.#held.set(entries.number[entry], entry);
        continue;
      }
      if (this.#cancelled.size > 0 && this.#cancelled.has(entries.number[entry])) {
        this.#move(entry, 'cancelStored');
        continue;
      }
      this.#move(entry, 'due');
      return entry;
    }
    return -1;
  }

  targetOf(entry: number): string {
    return this.#targets[this.entries.target[entry]];
  }

  // --- cancelling ---

  /**
   * Stores a cancellation. Of a message in memory that is not due, `done` says whether it will not be written; of one that is not in
   * memory, that it will not be when it comes.
   */
  cancel(
    value: Buffer,
    done: (outcome: 'cancelled' | 'recorded' | 'unknown' | 'tooLate' | StorageError) => void,
  ): void {
    const number = numberOf(value);
    if (this.#fired.has(number)) {
      queueMicrotask(() => done('tooLate'));
      return;
    }
    // In a bucket that is being removed all messages are done.
    if (this.#state !== 'loaded' && this.#state !== 'removing') {
      this.#awaited.add(number);
      this.stream.add(value, (error) => {
        this.#onAwaited(number, error);
        done(error ?? 'recorded');
      });
      return;
    }
    const entry = this.entries.find(number);
    const state = entry < 0 ? null : messageStates[this.entries.state[entry]];
    if (state === null || this.#cancelled.has(number)) queueMicrotask(() => done('unknown'));
    else if (state !== 'waiting') queueMicrotask(() => done(state === 'cancelled' ? 'unknown' : 'tooLate'));
    else this.#cancelWaiting(entry, value, done);
  }

  #onAwaited(number: number, error: StorageError | null): void {
    this.#awaited.delete(number);
    const entry = this.#held.get(number);
    this.#held.delete(number);
    if (error === null) this.#cancelled.add(number);
    if (entry === undefined) return;
    if (error === null) this.#move(entry, 'cancelStored');
    else this.entries.push(entry);
  }

  #cancelWaiting(entry: number, value: Buffer, done: (outcome: 'cancelled' | StorageError) => void): void {
    // Held back while the cancellation is on its way, so that it is decided one way.
    this.#move(entry, 'cancel');
    const onAdded: AddDone = (error) => {
      this.#move(entry, error === null ? 'cancelStored' : 'cancelFailed');
      // It may have left the heap meanwhile; a second place there does no harm.
      if (error !== null) this.entries.push(entry);
      done(error ?? 'cancelled');
    };
    this.stream.add(value, onAdded);
  }

  // --- as a source of batches ---

  numberOf(entry: number): number {
    return this.entries.number[entry];
  }

  sizeOf(entry: number): number {
    return this.entries.size[entry];
  }

  bodyOf(entry: number): Buffer | null {
    const { body, size } = this.entries;
    if (body[entry] === noBody) return this.#fetched.get(entry) ?? null;
    return this.#slabs.view(body[entry], size[entry]);
  }

  /** Reads from the smallest offset on; what lies close behind comes with the same read. */
  async fetchBodies(wanted: readonly number[]): Promise<void> {
    const partition = await this.stream.open();
    const byOffset = [...wanted].sort((one, other) => this.entries.offset[one] - this.entries.offset[other]);
    let at = 0;
    while (at < byOffset.length) {
      const offset = this.entries.offset[byOffset[at]];
      const before = at;
      let isFirst = true;
      await readRecords(
        partition,
        offset,
        () => (isFirst ? offset + 1 : 0),
        ({ value, offset: found }) => {
          isFirst = false;
          while (at < byOffset.length && this.entries.offset[byOffset[at]] < found) at += 1;
          if (at === byOffset.length || this.entries.offset[byOffset[at]] !== found || value === null) return;
          this.#fetched.set(byOffset[at], Buffer.from(value));
          at += 1;
        },
        { bytesMax: 64 * 1024 },
      );
      if (at === before || !this.#fetched.has(byOffset[before])) throw missingBody(this.stream.name, offset);
    }
  }

  onIntent(offset: number): void {
    this.firstIntentOffset = Math.min(this.firstIntentOffset, offset);
  }

  onWritten(entries: readonly number[], isDropped: boolean): void {
    for (const entry of entries) {
      this.#fetched.delete(entry);
      this.#move(entry, isDropped ? 'drop' : 'write');
    }
  }

  #move(entry: number, event: MessageEvent): void {
    const before = messageStates[this.entries.state[entry]];
    const after = nextMessageState(before, event);
    if (after === before) return;
    this.entries.state[entry] = messageCode(after);
    const isDone = after === 'written' || after === 'cancelled' || after === 'dropped';
    if (!isDone) return;
    this.left -= 1;
    this.addPending(-1);
    if (after === 'cancelled') this.#counts.cancelled += 1;
  }

  #forget(): void {
    this.addPending(-this.#pending);
    this.#counts.inMemory -= this.entries.count;
    this.#slabs.clear();
  }
}

function notYetRead(stream: string, offset: number): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `Cannot read offset ${offset} of "${stream}": it is not readable yet`);
}

function missingBody(stream: string, offset: number): StorageError {
  return new StorageError('STORAGE_CORRUPTED', `Cannot read offset ${offset} of "${stream}": it is not there any more`);
}
