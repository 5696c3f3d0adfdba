/**
 * This worker's copy of the retained values. Every worker has all of them, so that subscribing reads locally; values
 * written on several workers at once are ordered by a stamp from one shared counter, and the highest wins everywhere.
 * The worker whose client publishes a value asks `refusalOf` first; what it has sent the others keep, so that all hold the same.
 * Memory: the configured limits apply to each worker. Thread: one connection worker.
 */
import { RetainedExpiry } from '../retained/retained-expiry.ts';
import type { RetainedEntry } from '../retained/retained-node.ts';
import { RetainedStore } from '../retained/retained-store.ts';
import { type Present, RetainedUsage } from '../retained/retained-usage.ts';
import {
  bytesOf,
  frameOf,
  keptFrame,
  type RetainedLimits,
  type RetainedRefusal,
  type RetainedValue,
} from '../retained/retained-value.ts';
import type { RetainedWalk } from '../retained/retained-walk.ts';
import type { Run } from './run.ts';

/** How many stamps of forgotten values are remembered. */
const forgottenMax = 65_536;
/** At least how long, ms. */
const forgottenMsMin = 60_000;
/** Values that are looked at in one go when their time is over. */
const sweptMax = 2_000;
const boundless: RetainedLimits = { countMax: Number.POSITIVE_INFINITY, bytesMax: Number.POSITIVE_INFINITY };

interface Forgotten {
  readonly stamp: number;
  readonly atMs: number;
}

/** Nodes of a walk between two looks at the clock by whoever walks. */
const walkSteps = 256;

export class RetainedReplica {
  private readonly store = new RetainedStore<RetainedValue>(boundless);
  private readonly stamps: BigInt64Array;
  private readonly limits: RetainedLimits;
  private readonly usage: RetainedUsage;
  private readonly expiry = new RetainedExpiry();
  private readonly forgotten = new Map<string, Forgotten>();
  /** How long a stamp of a forgotten value is remembered, so that an older value that arrives late does not come back. */
  forgottenForMs = forgottenMsMin;

  constructor(limits: RetainedLimits, stamp: SharedArrayBuffer) {
    this.limits = limits;
    this.usage = new RetainedUsage(limits);
    this.stamps = new BigInt64Array(stamp);
  }

  /** Changes may arrive so much later than they were made, at the store for example. */
  allowLateness(ms: number): void {
    this.forgottenForMs = Math.max(forgottenMsMin, 2 * ms);
  }

  // ---- stamps

  /** Any order between concurrent writers will do, as long as all replicas agree on it: an atomic add is enough. */
  nextStamp(): number {
    return Number(Atomics.add(this.stamps, 0, 1n)) + 1;
  }

  /** The latest stamp that any worker has drawn. */
  get latestStamp(): number {
    return Number(Atomics.load(this.stamps, 0));
  }

  /** Stamps drawn from now on are above `stamp`. */
  raiseStamp(stamp: number): void {
    const wanted = BigInt(stamp);
    for (;;) {
      const present = Atomics.load(this.stamps, 0);
      if (present >= wanted || Atomics.compareExchange(this.stamps, 0, present, wanted) === present) return;
    }
  }

  /** Of the newest change of this topic that is known; -1 when none is. */
  stampOf(topic: string): number {
    return this.store.get(topic)?.stamp ?? this.forgotten.get(topic)?.stamp ?? -1;
  }

  // ---- changes

  /** Which limit refuses a value with a frame of `frameBytes`; null when none does. */
  refusalOf(topic: string, frameBytes: number, tenant: string): RetainedRefusal | null {
    const { valueBytesMax } = this.limits;
    if (valueBytesMax !== undefined && frameBytes > valueBytesMax) return 'value-bytes';
    const value = this.store.get(topic);
    const present: Present | null =
      value === undefined ? null : { tenant: value.tenant, bytes: bytesOf(topic, value.frame.length, value.tenant) };
    return this.usage.refusalOf(tenant, bytesOf(topic, frameBytes, tenant), present);
  }

  /** Keeps a value, unless a newer change of its topic is known; false then. */
  keep(topic: string, value: RetainedValue, nowMs = Date.now()): boolean {
    const present = this.store.get(topic);
    if (present !== undefined) {
      if (value.stamp < present.stamp) return false;
    } else if (this.forgotten.size > 0) {
      if (value.stamp < this.stampOf(topic)) return false;
      this.forgotten.delete(topic);
    }
    const { tenant, frame, expiresAtS } = value;
    const bytes = bytesOf(topic, frame.length, tenant);
    if (present !== undefined)
      this.usage.add(present.tenant, -1, -bytesOf(topic, present.frame.length, present.tenant));
    this.store.set(topic, value, bytes);
    this.usage.add(tenant, 1, bytes);
    if (expiresAtS !== 0) this.expiry.watch(topic, expiresAtS, nowMs / 1000);
    return true;
  }

  /** Lets the value of the topic go, unless a newer change is known; false then. `atMs`: when that was. */
  forget(topic: string, stamp: number, atMs = Date.now()): boolean {
    if (stamp < this.stampOf(topic)) return false;
    this.remove(topic);
    this.forgotten.delete(topic);
    this.forgotten.set(topic, { stamp, atMs });
    this.dropOldForgotten(atMs);
    return true;
  }

  private remove(topic: string): void {
    const present = this.store.get(topic);
    if (present === undefined) return;
    this.store.delete(topic);
    this.usage.add(present.tenant, -1, -bytesOf(topic, present.frame.length, present.tenant));
    this.expiry.forget(topic);
  }

  private dropOldForgotten(nowMs: number): void {
    const limit = nowMs - this.forgottenForMs;
    // The map keeps the order of insertion, so the oldest come first.
    for (const [topic, { atMs }] of this.forgotten) {
      if (atMs > limit && this.forgotten.size <= forgottenMax) return;
      this.forgotten.delete(topic);
    }
  }

  // ---- expiry

  /** Milliseconds since 1970 at which `sweep` has something to do; infinity for never. */
  get sweepDueMs(): number {
    return this.expiry.dueS * 1000;
  }

  /** Lets go of values whose time is over, some of them at a time; answers how many. See `sweepDueMs` for whether there are more. */
  sweep(nowMs: number): number {
    let count = 0;
    for (const topic of this.expiry.take(nowMs / 1000, sweptMax)) {
      const value = this.store.get(topic);
      if (value === undefined || value.expiresAtS === 0) continue;
      if (isExpired(value, nowMs)) {
        this.forget(topic, value.stamp, nowMs);
        count++;
      } else this.expiry.watch(topic, value.expiresAtS, nowMs / 1000);
    }
    return count;
  }

  // ---- reading

  /** The value of a topic that has not expired. */
  get(topic: string, nowMs = Date.now()): RetainedValue | undefined {
    const value = this.store.get(topic);
    return value === undefined || isExpired(value, nowMs) ? undefined : value;
  }

  match(filter: string, nowMs: number, visit: (topic: string, value: RetainedValue) => void): void {
    this.store.match(filter, (topic, value) => {
      if (!isExpired(value, nowMs)) visit(topic, value);
    });
  }

  /** A walk over the topics that have a value now, with their values of when they are visited. */
  walk(filter: string): RetainedSelection {
    return new RetainedSelection(this.store.walk(filter));
  }

  /** All values, expired ones too, in an order that changes do not disturb. */
  all(): Iterable<[string, RetainedValue]> {
    return this.store.all();
  }

  /** Topics whose value was removed lately, with the stamp of that. */
  *lately(): Generator<[string, number]> {
    for (const [topic, { stamp }] of this.forgotten) yield [topic, stamp];
  }

  get count(): number {
    return this.store.count;
  }

  get bytes(): number {
    return this.store.bytes;
  }
}

/** A walk that leaves out what has expired. */
export class RetainedSelection {
  private readonly walk: RetainedWalk<RetainedValue>;

  constructor(walk: RetainedWalk<RetainedValue>) {
    this.walk = walk;
  }

  /** The next value; null for none yet, since much was passed over; undefined when there are no more. */
  next(nowMs: number): RetainedEntry<RetainedValue> | null | undefined {
    const entry = this.walk.next(walkSteps);
    if (entry === undefined || entry === null) return entry;
    return isExpired(entry.value, nowMs) ? null : entry;
  }

  /** Whether the topic, which the filter matches, will not be visited any more. */
  hasPassed(topic: string): boolean {
    return this.walk.hasPassed(topic);
  }
}

function isExpired({ expiresAtS }: RetainedValue, nowMs: number): boolean {
  return expiresAtS !== 0 && expiresAtS * 1000 <= nowMs;
}

/** The one publication in `run` as a value; the bytes are copied. */
export function retainedValueOf(run: Run, stamp: number, tenant = ''): RetainedValue {
  return {
    layout: run.layout,
    frame: keptFrame(run.buffer, run.start, run.end),
    detailA: run.detailA,
    detailB: run.detailB,
    detailC: run.detailC,
    stamp,
    storedAtMs: Date.now(),
    // A ring carries it as 32 bits without their sign.
    expiresAtS: run.detailD >>> 0,
    tenant,
  };
}

/** Puts a value into `run`. */
export function fillRun(run: Run, value: RetainedValue): void {
  run.layout = value.layout;
  run.buffer = frameOf(value);
  run.start = 0;
  run.end = run.buffer.length;
  run.count = 1;
  run.detailA = value.detailA;
  run.detailB = value.detailB;
  run.detailC = value.detailC;
  run.detailD = value.expiresAtS;
  run.publisher = null;
}
