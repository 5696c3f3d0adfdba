/**
 * Keeps operations in flight: one per client, either the next as soon as the last is answered, or at fixed times that do
 * not wait for the servers (then a late answer also delays, and shows in, the operations that were due behind it).
 * Thread of the harness; created by `run.ts`.
 */
import { createHistogram } from 'node:perf_hooks';
import { count, nowMs, recordMs } from '../statistics.ts';
import type { KvPlan } from './options.ts';
import type { KvTarget } from './target.ts';

/** Shorter waits are spun away: timers are good to a millisecond, latencies are wanted in microseconds. */
const SPIN_MS = 2.5;
/** Sends at once in a row before the answers have their turn. */
const SENDS_PER_TURN_MAX = 256;

export class KvStatistics {
  /** From the intended time of sending until the answer. */
  readonly setLatency = createHistogram();
  readonly getLatency = createHistogram();
  /** Answered as they should since the last reset. */
  sets = 0;
  gets = 0;
  readonly errors = new Map<string, number>();

  reset(): void {
    this.setLatency.reset();
    this.getLatency.reset();
    this.sets = 0;
    this.gets = 0;
    this.errors.clear();
  }
}

export class KvLoad {
  private readonly plan: KvPlan;
  private readonly target: KvTarget;
  private readonly statistics: KvStatistics;
  private readonly keys: readonly Uint8Array[];
  private readonly values: readonly Uint8Array[];
  private readonly idle: number[] = [];
  private readonly onDrained = Promise.withResolvers<void>();
  private random: number;
  private isRunning = false;
  private inFlightCount = 0;
  private startedMs = 0;
  /** Operations whose intended time is earlier are not measured. */
  private measuredFromMs = Number.POSITIVE_INFINITY;
  /** Number of the next operation of a fixed rate. */
  private next = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(plan: KvPlan, target: KvTarget, statistics: KvStatistics) {
    this.plan = plan;
    this.target = target;
    this.statistics = statistics;
    this.random = plan.seed;
    this.keys = makeKeys(plan.keys, plan.keyBytes);
    this.values = makeValues(plan.valueBytes);
  }

  /** Sets every key once, so that every read finds something. Answers how many failed, by reason. */
  async fill(): Promise<ReadonlyMap<string, number>> {
    const errors = new Map<string, number>();
    let next = 0;
    const client = async (index: number): Promise<void> => {
      while (next < this.keys.length) {
        const key = next++;
        const value = this.values[key % this.values.length];
        const error = await new Promise<string | null>((done) => this.target.set(index, this.keys[key], value, done));
        if (error !== null) count(errors, error);
      }
    };
    const clients = Math.max(this.plan.clients, Math.min(64, this.keys.length));
    await Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
    return errors;
  }

  start(): void {
    this.isRunning = true;
    this.startedMs = nowMs();
    for (let client = this.plan.clients - 1; client >= 0; client--) this.idle.push(client);
    if (this.plan.ratePerS > 0) this.turn();
    else for (let client = this.idle.pop(); client !== undefined; client = this.idle.pop()) this.send(client, nowMs());
  }

  /** From now on operations count. */
  measure(): void {
    this.statistics.reset();
    this.measuredFromMs = nowMs();
  }

  /** Sends no more; resolves when nothing is in flight. */
  stop(): Promise<void> {
    this.isRunning = false;
    clearTimeout(this.timer);
    if (this.inFlightCount === 0) this.onDrained.resolve();
    return this.onDrained.promise;
  }

  get inFlight(): number {
    return this.inFlightCount;
  }

  /** Operations of a fixed rate that are due and that no client is free for. */
  get overdue(): number {
    return this.plan.ratePerS === 0 ? 0 : Math.max(0, this.dueCount() - this.next);
  }

  private dueCount(): number {
    return Math.floor(((nowMs() - this.startedMs) * this.plan.ratePerS) / 1000) + 1;
  }

  /** Sends what is due, as far as there are free clients, and comes back for the next. */
  private readonly turn = (): void => {
    if (!this.isRunning) return;
    this.sendDue();
    const waitMs = this.startedMs + (this.next * 1000) / this.plan.ratePerS - nowMs();
    // With all clients busy, answers send what is due.
    if (waitMs > SPIN_MS || this.idle.length === 0) {
      this.timer = setTimeout(this.turn, Math.max(1, Math.floor(waitMs - SPIN_MS / 2)));
    } else setImmediate(this.turn);
  };

  private sendDue(): void {
    const due = this.dueCount();
    for (let sends = 0; this.next < due && sends < SENDS_PER_TURN_MAX; sends++) {
      const client = this.idle.pop();
      if (client === undefined) return;
      this.send(client, this.startedMs + (this.next++ * 1000) / this.plan.ratePerS);
    }
  }

  private send(client: number, intendedMs: number): void {
    const key = this.keys[this.draw() % this.keys.length];
    this.inFlightCount++;
    if (this.isRead()) {
      const isSerializable = this.plan.operations === 'get-serializable';
      this.target.get(client, key, isSerializable, (error, isFound) => {
        this.finish(client, intendedMs, false, error ?? (isFound ? null : 'key not found'));
      });
    } else {
      this.target.set(client, key, this.values[this.draw() % this.values.length], (error) => {
        this.finish(client, intendedMs, true, error);
      });
    }
  }

  private finish(client: number, intendedMs: number, isSet: boolean, error: string | null): void {
    this.inFlightCount--;
    this.record(intendedMs, isSet, error);
    if (!this.isRunning) {
      if (this.inFlightCount === 0) this.onDrained.resolve();
      return;
    }
    if (this.plan.ratePerS === 0) {
      // A refusal that comes at once must not starve the event loop.
      if (error === null) this.send(client, nowMs());
      else setTimeout(() => this.resume(client), 1);
      return;
    }
    this.idle.push(client);
    this.sendDue();
  }

  private resume(client: number): void {
    if (this.isRunning) this.send(client, nowMs());
  }

  private record(intendedMs: number, isSet: boolean, error: string | null): void {
    const { statistics } = this;
    if (intendedMs < this.measuredFromMs || !this.isRunning) return;
    if (error !== null) {
      count(statistics.errors, error);
      return;
    }
    recordMs(isSet ? statistics.setLatency : statistics.getLatency, nowMs() - intendedMs);
    if (isSet) statistics.sets++;
    else statistics.gets++;
  }

  private isRead(): boolean {
    const { operations, readShare } = this.plan;
    if (operations === 'mixed') return this.draw() / 0x1_0000_0000 < readShare;
    return operations !== 'set';
  }

  /** Marsaglia's xorshift32: cheap, and good enough to pick keys. */
  private draw(): number {
    let value = this.random;
    value ^= value << 13;
    value ^= value >>> 17;
    value ^= value << 5;
    this.random = value >>> 0;
    return this.random;
  }
}

/** Keys `00000000`, `00000001`, … of the wanted length. */
function makeKeys(amount: number, keyBytes: number): Uint8Array[] {
  return Array.from({ length: amount }, (_, index) => Buffer.from(`${index}`.padStart(keyBytes, '0')));
}

/** A handful of different values: servers must not see the same bytes each time. */
function makeValues(valueBytes: number): Uint8Array[] {
  return Array.from({ length: 16 }, (_, index) => Buffer.alloc(valueBytes, 97 + index));
}
