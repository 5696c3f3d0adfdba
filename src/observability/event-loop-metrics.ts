/**
 * How late the event loop of a thread is, how busy it is and how much heap it uses. One per thread that counts, started
 * by the thread's composition root.
 *
 * A timer that the thread has anyhow measures its own lateness. The histogram that Node offers takes a sample at its resolution in a
 * native timer of its own; ten samples a second that cost a clock read each are enough to see a blocked loop, and a timer
 * more is a wake-up more of an idle thread.
 */
import { performance } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { MetricDefinition, ThreadMetrics } from './metrics.ts';

/** The other figures cost a few microseconds; once per second is enough. */
const slowSampleMs = 1_000;
/** Scrapes up to this far apart see every spike, since the maximum covers the last one to two windows. */
const windowMs = 15_000;

const delayMax = 'ringmq_event_loop_delay_max_seconds';
const delayMean = 'ringmq_event_loop_delay_mean_seconds';
const activeSeconds = 'ringmq_event_loop_active_seconds_total';
const heapUsed = 'ringmq_heap_used_bytes';

/** The definitions of the event-loop figures of one thread. */
export function eventLoopMetricDefinitions(): MetricDefinition[] {
  return [
    { name: delayMax, help: 'Longest delay of the event loop in the last 15 to 30 seconds.', kind: 'gauge' },
    { name: delayMean, help: 'Mean delay of the event loop in the last 15 to 30 seconds.', kind: 'gauge' },
    {
      name: activeSeconds,
      help: 'Time that the event loop did not wait; its rate is the utilization.',
      kind: 'counter',
    },
    { name: heapUsed, help: 'Bytes of the JavaScript heap of the thread in use.', kind: 'gauge' },
  ];
}

/** Lateness of a periodic timer over two windows; pure, so that time is an argument. Times are milliseconds. */
export class EventLoopDelay {
  private readonly periodMs: number;
  private readonly windowSize: number;
  private dueMs: number;
  private previousMaxMs = 0;
  private previousSumMs = 0;
  private previousCount = 0;
  private currentMaxMs = 0;
  private currentSumMs = 0;
  private currentCount = 0;

  /** The first sample is expected `periodMs` after `nowMs`; a window holds `windowSize` samples. */
  constructor(nowMs: number, periodMs: number, windowSize: number) {
    this.periodMs = periodMs;
    this.windowSize = windowSize;
    this.dueMs = nowMs + periodMs;
  }

  /** The timer ran at `nowMs`. */
  sample(nowMs: number): void {
    const lateMs = Math.max(0, nowMs - this.dueMs);
    // The next period begins now: a timer of libuv does not catch up after a delay either.
    this.dueMs = nowMs + this.periodMs;
    if (this.currentCount === this.windowSize) this.nextWindow();
    this.currentCount++;
    this.currentSumMs += lateMs;
    if (lateMs > this.currentMaxMs) this.currentMaxMs = lateMs;
  }

  /** Longest delay of the running and the previous window. */
  get maxMs(): number {
    return Math.max(this.previousMaxMs, this.currentMaxMs);
  }

  /** Mean delay of the running and the previous window; 0 before the first sample. */
  get meanMs(): number {
    const count = this.previousCount + this.currentCount;
    return count === 0 ? 0 : (this.previousSumMs + this.currentSumMs) / count;
  }

  private nextWindow(): void {
    this.previousMaxMs = this.currentMaxMs;
    this.previousSumMs = this.currentSumMs;
    this.previousCount = this.currentCount;
    this.currentMaxMs = 0;
    this.currentSumMs = 0;
    this.currentCount = 0;
  }
}

/** Measures the calling thread into `metrics`. Its owner has a timer of `periodMs`, which calls `sample`. */
export class EventLoopMeter {
  private readonly metrics: ThreadMetrics;
  private readonly delay: EventLoopDelay;
  private readonly samplesPerSlowOne: number;
  private readonly maxSlot: number;
  private readonly meanSlot: number;
  private readonly activeSlot: number;
  private readonly heapSlot: number;
  private readonly activeBefore: number;
  private samples = 0;

  constructor(metrics: ThreadMetrics, periodMs: number) {
    this.metrics = metrics;
    this.delay = new EventLoopDelay(performance.now(), periodMs, Math.ceil(windowMs / periodMs));
    this.samplesPerSlowOne = Math.max(1, Math.round(slowSampleMs / periodMs));
    this.maxSlot = metrics.slot(delayMax);
    this.meanSlot = metrics.slot(delayMean);
    this.activeSlot = metrics.slot(activeSeconds);
    this.heapSlot = metrics.slot(heapUsed);
    this.activeBefore = metrics.get(this.activeSlot);
    this.sampleSlowly();
  }

  sample(): void {
    const { metrics, delay } = this;
    delay.sample(performance.now());
    metrics.set(this.maxSlot, delay.maxMs / 1000);
    metrics.set(this.meanSlot, delay.meanMs / 1000);
    if (this.samples++ % this.samplesPerSlowOne === 0) this.sampleSlowly();
  }

  private sampleSlowly(): void {
    // Added to what a dead predecessor had counted in this block: a counter never falls.
    const active = performance.eventLoopUtilization().active / 1000;
    this.metrics.set(this.activeSlot, this.activeBefore + active);
    this.metrics.set(this.heapSlot, getHeapStatistics().used_heap_size);
  }
}
