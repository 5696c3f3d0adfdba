/**
 * This worker's copy of the retained values. Every worker has all of them, so that subscribing reads locally; values
 * written on several workers at once are ordered by a stamp from one shared counter, and the highest wins everywhere.
 * Memory: the configured limits apply to each worker. Thread: one connection worker.
 */
import { ownedCopy } from '../../std/owned-copy.ts';
import type { RetainedStore } from '../retained/retained-store.ts';
import type { Run } from './run.ts';

export interface RetainedLimits {
  readonly countMax: number;
  readonly bytesMax: number;
}

/** One publication as it was encoded, see `Run`. */
export interface RetainedValue {
  readonly layout: number;
  readonly frame: Buffer;
  readonly detailA: number;
  readonly detailB: number;
  readonly detailC: number;
  readonly stamp: number;
  readonly storedAtMs: number;
  /** Unix time in seconds from which on it is gone; 0 for never. */
  readonly expiresAtS: number;
}

/** How long a stamp of a forgotten value is remembered, so that an older value that arrives late does not come back. */
const forgottenForMs = 60_000;
const forgottenMax = 65_536;
/** Bytes that a value costs beside its frame and topic. */
const overheadBytes = 200;

export class RetainedReplica {
  private readonly store: RetainedStore<RetainedValue>;
  private readonly stamps: Int32Array;
  private readonly forgotten = new Map<string, { stamp: number; atMs: number }>();

  constructor(store: RetainedStore<RetainedValue>, stamp: SharedArrayBuffer) {
    this.store = store;
    this.stamps = new Int32Array(stamp);
  }

  /** Any order between concurrent writers will do, as long as all replicas agree on it: an atomic add is enough. */
  nextStamp(): number {
    return Atomics.add(this.stamps, 0, 1) + 1;
  }

  /** False when a limit refuses the value. */
  keep(topic: string, value: RetainedValue): boolean {
    if (this.isOlder(topic, value.stamp)) return true;
    this.forgotten.delete(topic);
    return this.store.set(topic, value, value.frame.length + topic.length + overheadBytes);
  }

  forget(topic: string, stamp: number): void {
    if (this.isOlder(topic, stamp)) return;
    this.store.delete(topic);
    this.forgotten.delete(topic);
    this.forgotten.set(topic, { stamp, atMs: Date.now() });
    this.dropOldForgotten();
  }

  /** Wrapping comparison: stamps are 32 bits wide. */
  private isOlder(topic: string, stamp: number): boolean {
    const known = this.store.get(topic)?.stamp ?? this.forgotten.get(topic)?.stamp;
    return known !== undefined && ((stamp - known) | 0) < 0;
  }

  private dropOldForgotten(): void {
    const limit = Date.now() - forgottenForMs;
    // The map keeps the order of insertion, so the oldest come first.
    for (const [topic, { atMs }] of this.forgotten) {
      if (atMs > limit && this.forgotten.size <= forgottenMax) return;
      this.forgotten.delete(topic);
    }
  }

  match(filter: string, nowMs: number, visit: (topic: string, value: RetainedValue) => void): void {
    const expired: string[] = [];
    this.store.match(filter, (topic, value) => {
      if (value.expiresAtS !== 0 && value.expiresAtS * 1000 <= nowMs) expired.push(topic);
      else visit(topic, value);
    });
    for (const topic of expired) this.store.delete(topic);
  }

  all(): [string, RetainedValue][] {
    const entries: [string, RetainedValue][] = [];
    // A leading wildcard leaves topics that begin with `$` out; clients cannot publish to those.
    this.store.match('#', (topic, value) => entries.push([topic, value]));
    return entries;
  }

  get count(): number {
    return this.store.count;
  }

  get bytes(): number {
    return this.store.bytes;
  }
}

/** The one publication in `run` as a value; the bytes are copied. */
export function retainedValueOf(run: Run, stamp: number): RetainedValue {
  return {
    layout: run.layout,
    frame: ownedCopy(run.buffer, run.start, run.end),
    detailA: run.detailA,
    detailB: run.detailB,
    detailC: run.detailC,
    stamp,
    storedAtMs: Date.now(),
    expiresAtS: run.detailD,
  };
}

/** Puts a value into `run`. */
export function fillRun(run: Run, value: RetainedValue): void {
  run.layout = value.layout;
  run.buffer = value.frame;
  run.start = 0;
  run.end = value.frame.length;
  run.count = 1;
  run.detailA = value.detailA;
  run.detailB = value.detailB;
  run.detailC = value.detailC;
  run.detailD = value.expiresAtS;
  run.publisher = null;
}
