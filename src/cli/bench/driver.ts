/**
 * Decides when publishers send: as fast as possible with a bound on what is on its way, or at fixed times regardless of
 * how the broker fares (an open loop, so that a slow answer cannot hide the delay of the messages behind it).
 * Thread of the harness; created by `run.ts`.
 */
import type { BenchPlan } from './options.ts';
import type { Publisher } from './publisher.ts';
import { createSchedule, type Schedule } from './schedule.ts';
import { nowMs, type Statistics } from './statistics.ts';

/** Shorter waits are spun away: timers are good to a millisecond, latencies are wanted in microseconds. */
const SPIN_MS = 2.5;
/** Delays of sends are sampled beyond this many a second. */
const DELAY_SAMPLES_PER_S = 50_000;

export interface Driver {
  start(): void;
  stop(): void;
  /** `publisher` may be able to send more. */
  onPublisherProgress(publisher: Publisher): void;
  /** Messages arrived at subscribers. */
  onDelivery?(): void;
  /** Once a second: notices that nothing moves. */
  onSecond?(): void;
}

export function createDriver(
  plan: BenchPlan,
  publishers: readonly Publisher[],
  statistics: Statistics,
  fanOut: number,
): Driver {
  if (plan.ratePerS > 0) return new FixedRateDriver(plan, publishers);
  return new FullSpeedDriver(plan, publishers, statistics, fanOut);
}

class FullSpeedDriver implements Driver {
  private readonly plan: BenchPlan;
  private readonly publishers: readonly Publisher[];
  private readonly statistics: Statistics;
  /** Deliveries per message sent. */
  private readonly fanOut: number;
  private isRunning = false;
  private isScheduled = false;
  private startedMs = 0;
  private first = 0;
  /** Deliveries that are taken for lost, so that a broker which drops is not waited for. */
  private writtenOff = 0;
  private receivedBefore = 0;
  private rampTimer: NodeJS.Timeout | undefined;

  constructor(plan: BenchPlan, publishers: readonly Publisher[], statistics: Statistics, fanOut: number) {
    this.plan = plan;
    this.publishers = publishers;
    this.statistics = statistics;
    this.fanOut = fanOut;
  }

  start(): void {
    this.isRunning = true;
    this.startedMs = nowMs();
    if (this.plan.rampUpMs > 0) this.rampTimer = setInterval(() => this.wake(), 20);
    this.wake();
  }

  stop(): void {
    this.isRunning = false;
    clearInterval(this.rampTimer);
  }

  onPublisherProgress(): void {
    this.wake();
  }

  onDelivery(): void {
    this.wake();
  }

  onSecond(): void {
    const { ownReceived } = this.statistics;
    if (ownReceived === this.receivedBefore && this.allowance() <= 0) {
      this.writtenOff = this.statistics.sent * this.fanOut - ownReceived;
      this.wake();
    }
    this.receivedBefore = ownReceived;
  }

  private wake(): void {
    if (this.isScheduled || !this.isRunning) return;
    this.isScheduled = true;
    setImmediate(this.turn);
  }

  private readonly turn = (): void => {
    this.isScheduled = false;
    if (!this.isRunning) return;
    let allowance = this.allowance();
    let sent = 0;
    const active = this.activePublishers();
    for (let i = 0; i < active && allowance > 0; i++) {
      const amount = this.publishers[(this.first + i) % active].sendNow(allowance);
      allowance -= amount;
      sent += amount;
    }
    this.first = (this.first + 1) % Math.max(1, active);
    // With nothing sent, an acknowledgement, a delivery or a finished write wakes it.
    if (sent > 0) this.wake();
  };

  /** Messages that may be sent before deliveries catch up; QoS 1 and 2 have their window instead. */
  private allowance(): number {
    if (this.plan.qos > 0 || this.fanOut === 0) return Number.MAX_SAFE_INTEGER;
    const { sent, ownReceived } = this.statistics;
    const outstanding = sent * this.fanOut - ownReceived - this.writtenOff;
    return Math.floor(this.plan.undeliveredMax - outstanding / this.fanOut);
  }

  /** While ramping up publishers start one after the other. */
  private activePublishers(): number {
    const count = this.publishers.length;
    if (this.rampTimer === undefined) return count;
    const share = (nowMs() - this.startedMs) / this.plan.rampUpMs;
    if (share >= 1) {
      clearInterval(this.rampTimer);
      this.rampTimer = undefined;
      return count;
    }
    return Math.max(1, Math.ceil(count * share));
  }
}

class FixedRateDriver implements Driver {
  private readonly publishers: readonly Publisher[];
  private readonly schedule: Schedule;
  private readonly delayStride: number;
  private isRunning = false;
  private startedMs = 0;
  /** Number of the next message over all publishers. */
  private next = 0;
  private readonly touched: Publisher[] = [];

  constructor(plan: BenchPlan, publishers: readonly Publisher[]) {
    this.publishers = publishers;
    this.schedule = createSchedule(plan.ratePerS, plan.rampUpMs);
    this.delayStride = Math.max(1, Math.ceil(plan.ratePerS / DELAY_SAMPLES_PER_S));
  }

  start(): void {
    this.isRunning = true;
    this.startedMs = nowMs();
    this.turn();
  }

  stop(): void {
    this.isRunning = false;
  }

  onPublisherProgress(publisher: Publisher): void {
    if (this.isRunning && publisher.due > 0) this.sendDue(publisher);
  }

  private readonly turn = (): void => {
    if (!this.isRunning) return;
    const elapsedMs = nowMs() - this.startedMs;
    const { publishers, schedule, touched } = this;
    while (schedule.dueMs(this.next) <= elapsedMs) {
      const publisher = publishers[this.next++ % publishers.length];
      if (publisher.due++ === 0) touched.push(publisher);
    }
    for (const publisher of touched) this.sendDue(publisher);
    touched.length = 0;
    const waitMs = schedule.dueMs(this.next) - elapsedMs;
    if (waitMs > SPIN_MS) setTimeout(this.turn, Math.floor(waitMs - SPIN_MS / 2));
    else setImmediate(this.turn);
  };

  private sendDue(publisher: Publisher): void {
    const { publishers, schedule, startedMs } = this;
    // The messages of publisher i are number i, i + count, i + 2 * count, … of the schedule.
    const dueAtMs = (sequence: number): number =>
      startedMs + schedule.dueMs(sequence * publishers.length + publisher.index);
    while (publisher.due > 0 && publisher.sendDue(dueAtMs, this.delayStride) > 0);
  }
}
