/**
 * Delayed messages, accepted and cancelled at random. What must hold: each one that was accepted is written exactly once, not before its
 * time, in the order of due times; one that was cancelled never. Thread of the test.
 */
import type { Random } from '../fuzz/random.ts';
import { type Client, type Link, together } from './link.ts';
import { delayedTargets } from './store-lines.ts';
import { type ReadRecord, StreamReader } from './stream-reader.ts';

interface Message {
  readonly value: string;
  readonly target: string;
  dueMs: number;
  /** `maybe`: nobody was told. */
  state: 'asked' | 'accepted' | 'maybe';
  cancel: 'none' | 'asked' | 'done' | 'maybe';
  /** Names it; ascends with acceptance. −1: not told. */
  number: number;
  /** From then on it must be written in its turn; infinity: it may come later, since a cancellation held it back. */
  acceptedMs: number;
  isSeen: boolean;
}

const inFlightMax = 40;
const pendingMax = 600;
const aheadMs = [0, 0, 20, 80, 80, 300, 300, 1000, 2500];
const keptRecords = 2_000;
/** Order is checked against so many of the newest ones. */
const comparedMax = 100;

export class DelayedClient implements Client {
  readonly name = 'delayed';
  readonly needs = ['accepted', 'written', 'cancelled', 'writtenLater', 'unanswered'];
  readonly progress = ['accepted', 'written'];
  readonly counts = { accepted: 0, written: 0, writtenLater: 0, cancelled: 0, tooLate: 0, unanswered: 0 };
  readonly #random: Random;
  readonly #readers = delayedTargets.map((name) => new StreamReader(name));
  readonly #newest = new Map<string, Message[]>();
  /** Known, and not forgotten: those that are written are remembered by their value alone. */
  readonly #messages = new Map<string, Message>();
  readonly #written = new Set<string>();
  /** Those that are to come, as far as is known. */
  readonly #waiting = new Set<Message>();
  #number = 0;
  #inFlight = 0;
  #crashedMs = 0;
  #failure: Error | null = null;

  constructor(random: Random) {
    this.#random = random;
  }

  async check(link: Link, isFull: boolean): Promise<void> {
    this.#crashedMs = link.now();
    await together(this.#readers.map((reader) => this.#checkStream(link, reader, isFull)));
  }

  async #checkStream(link: Link, reader: StreamReader, isFull: boolean): Promise<void> {
    await this.#readNew(link, reader);
    if (!isFull) return;
    await reader.readAgain(link);
    await reader.trim(link, keptRecords);
  }

  async live(link: Link): Promise<void> {
    await together([this.#ask(link), this.#watch(link)]);
  }

  onPush(): void {
    // Nothing is pushed for delayed messages.
  }

  onCrash(): void {
    this.#inFlight = 0;
    for (const message of this.#waiting) {
      if (message.state === 'asked') {
        message.state = 'maybe';
        this.counts.unanswered += 1;
      }
      if (message.cancel === 'asked') {
        message.cancel = 'maybe';
        message.acceptedMs = Number.POSITIVE_INFINITY;
      }
      if (message.state === 'maybe' || message.cancel === 'maybe') this.#waiting.delete(message);
    }
    if (this.#failure !== null) throw this.#failure;
  }

  async finish(link: Link): Promise<void> {
    for (;;) {
      for (const reader of this.#readers) await this.#readNew(link, reader);
      if (this.#failure !== null) throw this.#failure;
      const { delayed, isIdle } = await link.ask('pending', {});
      if (delayed === 0 && isIdle && this.#inFlight === 0) break;
      await link.pause(20);
    }
    for (const reader of this.#readers) {
      await this.#readNew(link, reader);
      await reader.readAgain(link);
    }
    for (const { value, state, cancel, isSeen, dueMs } of this.#messages.values()) {
      if (state === 'accepted' && cancel === 'none' && !isSeen) {
        throw new Error(`"${value}", due ${dueMs}, was accepted and is lost`);
      }
    }
  }

  async #ask(link: Link): Promise<void> {
    for (;;) {
      for (let left = this.#random.below(6); left > 0; left -= 1) {
        if (this.#inFlight < inFlightMax && this.#waiting.size < pendingMax) this.#accept(link);
      }
      if (this.#random.oneIn(3)) this.#cancel(link);
      await link.pause(this.#random.between(1, 4));
      if (this.#failure !== null) throw this.#failure;
    }
  }

  async #watch(link: Link): Promise<void> {
    for (;;) {
      for (const reader of this.#readers) await this.#readNew(link, reader);
      await link.pause(10);
    }
  }

  #accept(link: Link): void {
    this.#number += 1;
    const value = `delayed-${this.#number}`;
    const target = this.#random.pick(delayedTargets);
    const dueMs = link.now() + this.#random.pick(aheadMs) + this.#random.below(20);
    const message: Message = {
      value,
      target,
      dueMs,
      state: 'asked',
      cancel: 'none',
      number: -1,
      acceptedMs: Number.POSITIVE_INFINITY,
      isSeen: false,
    };
    this.#messages.set(value, message);
    this.#waiting.add(message);
    this.#inFlight += 1;
    link.send('delay', { target, dueMs, value }, (failure, answer) => {
      this.#inFlight -= 1;
      if (failure !== null) {
        this.#failure ??= new Error(`A sound delayed message was refused: ${failure.code}: ${failure.message}`);
        return;
      }
      if (answer.dueMs < dueMs)
        this.#failure ??= new Error(`"${value}" was asked for ${dueMs}, and is due ${answer.dueMs}`);
      message.state = 'accepted';
      message.dueMs = answer.dueMs;
      message.number = answer.message;
      message.acceptedMs = link.now();
      this.counts.accepted += 1;
      // It may have been read before it was answered.
      if (message.isSeen) this.#forget(message);
    });
  }

  #cancel(link: Link): void {
    const known = [...this.#waiting].filter(({ state, cancel }) => state === 'accepted' && cancel === 'none');
    if (known.length === 0) return;
    const message = this.#random.pick(known);
    message.cancel = 'asked';
    const wasSeen = message.isSeen;
    link.send('cancel', { message: message.number, dueMs: message.dueMs }, (failure, answer) => {
      if (failure !== null) {
        this.#failure ??= new Error(`A sound cancellation was refused: ${failure.code}: ${failure.message}`);
        return;
      }
      const isDone = answer.outcome === 'cancelled' || (answer.outcome === 'recorded' && !wasSeen);
      message.cancel = isDone ? 'done' : 'none';
      if (!isDone) {
        this.counts.tooLate += 1;
        message.acceptedMs = Number.POSITIVE_INFINITY;
        if (answer.outcome === 'unknown' && !message.isSeen && message.dueMs > link.now()) {
          this.#failure ??= new Error(`"${message.value}" was accepted, and is unknown when it is cancelled`);
        }
      } else if (message.isSeen) this.#failure ??= new Error(`"${message.value}" was cancelled, and is written`);
      else {
        this.counts.cancelled += 1;
        this.#waiting.delete(message);
      }
    });
  }

  #readNew(link: Link, reader: StreamReader): Promise<void> {
    return reader.readNew(link, (record) => this.#onSeen(link, reader.stream, record));
  }

  #onSeen(link: Link, target: string, { value, offset }: ReadRecord): void {
    const message = this.#messages.get(value);
    const place = `"${value}" at ${offset} of "${target}"`;
    if (this.#written.has(value)) throw new Error(`${place} was written before`);
    if (message === undefined || message.target !== target) throw new Error(`${place} came from nowhere`);
    if (message.cancel === 'done') throw new Error(`${place} was cancelled`);
    const earlyMs = message.dueMs - link.now();
    if (earlyMs > 0) throw new Error(`${place} came ${earlyMs} ms early`);
    this.counts.written += 1;
    if (message.acceptedMs < this.#crashedMs) this.counts.writtenLater += 1;
    message.isSeen = true;
    this.#waiting.delete(message);
    this.#written.add(value);
    this.#checkOrder(message, place);
    if (message.state !== 'asked' && message.cancel !== 'asked') this.#forget(message);
  }

  #checkOrder(message: Message, place: string): void {
    const { target, dueMs, number, acceptedMs } = message;
    const newest = this.#newest.get(target) ?? [];
    for (const other of newest) {
      const isLater = other.dueMs > dueMs || (other.dueMs === dueMs && other.number > number && number >= 0);
      // When the other one was written, this one had been there for some time.
      if (isLater && acceptedMs < other.dueMs) {
        throw new Error(`${place}, due ${dueMs}, came behind "${other.value}", due ${other.dueMs}`);
      }
    }
    newest.push(message);
    this.#newest.set(target, newest.slice(-comparedMax));
  }

  #forget(message: Message): void {
    this.#messages.delete(message.value);
  }
}
