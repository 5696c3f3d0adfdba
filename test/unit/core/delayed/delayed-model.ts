/**
 * Random operations on delayed messages, with faults of the store and crashes at any point, against what must hold: what was accepted is
 * written exactly once and never early, what was cancelled never, and each target gets its messages in order.
 */

import type { BucketLevel } from '../../../../src/core/delayed/bucket-levels.ts';
import type { DelayedHandle } from '../../../../src/core/delayed/delayed-messages.ts';
import { Random } from '../../../fuzz/random.ts';
import { type AppendFate, type FaultPlan, FaultyStore } from '../../../support/faulty-store.ts';
import { recordsOf, turn } from '../../../support/stream-records.ts';
import { DelayedWorld } from './delayed-world.ts';

/** Minutes of a second, so that all levels are used within one of them. */
const levels: readonly BucketLevel[] = [
  { widthMs: 1000, leadMs: 100 },
  { widthMs: 10_000, leadMs: 500 },
  { widthMs: 60_000, leadMs: 2000 },
];
const targets = ['t0', 't1', 't2'];

interface Message {
  readonly name: string;
  readonly target: string;
  dueMs: number;
  /** `maybe`: nobody was told whether it was accepted. */
  state: 'asked' | 'accepted' | 'refused' | 'maybe';
  /** `maybe`: nobody was told. */
  cancel: 'none' | 'asked' | 'done' | 'maybe';
  handle: DelayedHandle | null;
  acceptedMs: number;
  /** When it was first seen; -1 while it was not. */
  seenMs: number;
}

export interface ModelOptions {
  readonly seed: number;
  readonly steps: number;
  readonly hasFaults: boolean;
  /** Plants a fault that the checks must find. */
  readonly change?: FaultPlan['change'];
}

export interface ModelCounts {
  accepted: number;
  cancelled: number;
  crashes: number;
  seen: number;
}

export class DelayedModel {
  readonly counts: ModelCounts = { accepted: 0, cancelled: 0, crashes: 0, seen: 0 };
  readonly #random: Random;
  readonly #world: DelayedWorld;
  readonly #options: ModelOptions;
  readonly #messages = new Map<string, Message>();
  readonly #readTo = new Map<string, number>();
  readonly #newest = new Map<string, Message[]>();
  #faultRate = 0;
  #farthestMs = 0;

  constructor(options: ModelOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#world = new DelayedWorld(options.seed, { levels, bodyBytesMax: this.#random.oneIn(3) ? 0 : 1 << 20 });
    const plan: FaultPlan = {
      fateOf: () => this.#fate(),
      failureOf: () => (this.#faulty() ? 'STORAGE_UNAVAILABLE' : null),
      ...(options.change === undefined ? {} : { change: options.change }),
    };
    this.#world.wrap = (store) => new FaultyStore(store, plan);
  }

  async run(): Promise<void> {
    for (const target of targets) await this.#world.store.create(target);
    await this.#world.open();
    for (let step = 0; step < this.#options.steps; step += 1) {
      if (this.#options.hasFaults && step % 10 === 0) this.#faultRate = this.#random.oneIn(3) ? 8 : 0;
      await this.#step();
      await this.#look();
    }
    this.#faultRate = 0;
    // Everything is due in the end, and attempts that failed have passed.
    for (let second = 0; second < 150; second += 1) await this.#world.pass(1000, 500);
    await this.#look();
    this.#check();
    await this.#world.close();
  }

  async #step(): Promise<void> {
    const random = this.#random;
    const kind = random.below(100);
    if (kind < 45) for (let left = random.between(1, 8); left > 0; left -= 1) this.#accept();
    else if (kind < 60) this.#cancel();
    else if (kind < 64) await this.#crash();
    else {
      this.#world.nowMs += random.pick([1, 10, 10, 50, 400, 1500, 9000]);
      this.#farthestMs = Math.max(this.#farthestMs, this.#world.nowMs);
      if (random.oneIn(30)) this.#world.nowMs -= 3000;
      this.#farthestMs = Math.max(this.#farthestMs, this.#world.nowMs);
      this.#world.delayed.tick();
    }
    for (let left = random.below(6); left > 0; left -= 1) await turn();
  }

  #accept(): void {
    const name = `m${this.#messages.size}`;
    const target = this.#random.pick(targets);
    const ahead = this.#random.pick([-500, 0, 10, 300, 300, 2000, 2000, 15_000, 100_000]);
    const dueMs = this.#world.nowMs + ahead + this.#random.below(20);
    const message: Message = {
      name,
      target,
      dueMs,
      state: 'asked',
      cancel: 'none',
      handle: null,
      acceptedMs: Number.POSITIVE_INFINITY,
      seenMs: -1,
    };
    this.#messages.set(name, message);
    this.#farthestMs = Math.max(this.#farthestMs, this.#world.nowMs);
    const record = { timestampMs: dueMs, value: Buffer.from(name) };
    this.#world.delayed.acceptAt(dueMs, { target, record }, (error, handle) => {
      if (handle !== null) message.dueMs = handle.dueMs;
      if (error === null) {
        message.state = 'accepted';
        // While the clock is behind where it was, the order of what is due is not that of the minutes.
        const isBehind = this.#world.nowMs < this.#farthestMs;
        message.acceptedMs = isBehind ? Number.POSITIVE_INFINITY : this.#world.nowMs;
        message.handle = handle;
        this.counts.accepted += 1;
      } else message.state = error.code === 'STORAGE_UNCERTAIN' ? 'maybe' : 'refused';
    });
  }

  #cancel(): void {
    const known = [...this.#messages.values()].filter(({ handle, cancel }) => handle !== null && cancel === 'none');
    if (known.length === 0) return;
    const message = this.#random.pick(known);
    message.cancel = 'asked';
    const wasSeen = message.seenMs >= 0;
    this.#world.delayed.cancel(message.handle!, (error, outcome) => {
      if (error !== null) message.cancel = error.code === 'STORAGE_UNCERTAIN' ? 'maybe' : 'none';
      // Of a message that is written already it may be recorded, too: its bucket may be gone, and the clock back.
      else message.cancel = outcome === 'cancelled' || (outcome === 'recorded' && !wasSeen) ? 'done' : 'none';
      if (message.cancel === 'done') this.counts.cancelled += 1;
      // One that was held back comes when it comes.
      if (message.cancel !== 'done') message.acceptedMs = Number.POSITIVE_INFINITY;
    });
  }

  async #crash(): Promise<void> {
    this.counts.crashes += 1;
    for (const message of this.#messages.values()) {
      if (message.state === 'asked') message.state = 'maybe';
      if (message.cancel === 'asked') message.cancel = 'maybe';
    }
    await this.#world.crash(this.#random.pick(['mixed', 'drop', 'keep', 'kill']));
  }

  /** Reads what is new on the targets. */
  async #look(): Promise<void> {
    const { nowMs } = this.#world;
    for (const target of targets) {
      const { seen, nextOffset } = await this.#readNew(target);
      this.#readTo.set(target, nextOffset);
      for (const name of seen) this.#onSeen(target, name, nowMs);
    }
  }

  async #readNew(target: string): Promise<{ readonly seen: readonly string[]; readonly nextOffset: number }> {
    const from = this.#readTo.get(target) ?? 0;
    const records = await recordsOf(await this.#world.store.open(target), 'committed', from);
    return { seen: records.map(({ value }) => value ?? ''), nextOffset: (records.at(-1)?.offset ?? from - 1) + 1 };
  }

  #onSeen(target: string, name: string, nowMs: number): void {
    const message = this.#messages.get(name);
    if (message === undefined || message.target !== target) throw this.#error(`${name} came to ${target} from nowhere`);
    if (message.seenMs >= 0) throw this.#error(`${name} was written twice`);
    // The clock may have gone back since it was written.
    const latestMs = Math.max(this.#farthestMs, nowMs);
    if (message.dueMs > latestMs) throw this.#error(`${name} came ${message.dueMs - latestMs} ms early`);
    message.seenMs = nowMs;
    this.counts.seen += 1;
    const before = this.#newest.get(target) ?? [];
    const number = message.handle?.number ?? -1;
    for (const other of before) {
      const isLater =
        other.dueMs > message.dueMs || (other.dueMs === message.dueMs && (other.handle?.number ?? -1) > number);
      if (number < 0 || !isLater || message.acceptedMs >= Math.min(other.dueMs, other.seenMs) - 3000) continue;
      throw this.#error(`${name}, due ${message.dueMs}, came behind ${other.name}, due ${other.dueMs}`);
    }
    before.push(message);
    this.#newest.set(target, before.slice(-50));
  }

  #check(): void {
    for (const { name, state, cancel, seenMs } of this.#messages.values()) {
      if (state === 'accepted' && cancel === 'none' && seenMs < 0) throw this.#error(`${name} was accepted and lost`);
      if (state === 'accepted' && cancel === 'done' && seenMs >= 0)
        throw this.#error(`${name} was cancelled and written`);
      if (state === 'refused' && seenMs >= 0) throw this.#error(`${name} was refused and written`);
      if (state === 'asked' || cancel === 'asked') throw this.#error(`${name} was never answered`);
    }
    if (this.#world.delayed.pending !== 0) throw this.#error(`${this.#world.delayed.pending} wait after the end`);
  }

  #fate(): AppendFate {
    if (!this.#faulty()) return 'store';
    return this.#random.pick(['refuse', 'hide', 'lose']);
  }

  /** Opening asks for each bucket: with faults for ever, it would never come to its end. */
  #faulty(): boolean {
    return this.#world.attempts < 5 && this.#faultRate > 0 && this.#random.oneIn(this.#faultRate);
  }

  #error(what: string): Error {
    return new Error(`seed ${this.#options.seed}: ${what}`);
  }
}
