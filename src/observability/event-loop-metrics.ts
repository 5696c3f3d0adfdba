/**
 * How late the event loop of a thread is, how busy it is and how much heap it uses. One per thread that counts, started
 * by the thread's composition root.
 *
 * A timer measures its own lateness every 100 ms. The histogram that Node offers takes a sample at its resolution in a
 * native timer of its own; ten samples a second that cost a clock read each are enough to see a blocked loop.
 */
import { performance } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { MetricDefinition, ThreadMetrics } from './metrics.ts';

const tickMs = 100;
/** The other figures cost a few microseconds; once per second is enough. */
const ticksPerSlowSample = 10;
/** Scrapes up to this far apart see every spike, since the maximum covers the last one to two windows. */
const windowTicks = 150;

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
  constructor(nowMs: number, periodMs = tickMs, windowSize = windowTicks) {
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

/** Starts to measure the calling thread into `metrics` and returns what stops it. The timer keeps no thread alive. */
export function startEventLoopMetrics(metrics: ThreadMetrics): () => void {
  const slots = [delayMax, delayMean, activeSeconds, heapUsed].map((name) => metrics.slot(name));
  const [maxSlot = 0, meanSlot = 0, activeSlot = 0, heapSlot = 0] = slots;
  const delay = new EventLoopDelay(performance.now());
  const activeBefore = metrics.get(activeSlot);
  let ticks = 0;
  const sampleSlowly = (): void => {
    // Added to what a dead predecessor had counted in this block: a counter never falls.
    metrics.set(activeSlot, activeBefore + performance.eventLoopUtilization().active / 1000);
    metrics.set(heapSlot, getHeapStatistics().used_heap_size);
  };
  const timer = setInterval(() => {
    delay.sample(performance.now());
    metrics.set(maxSlot, delay.maxMs / 1000);
    metrics.set(meanSlot, delay.meanMs / 1000);
    if (ticks++ % ticksPerSlowSample === 0) sampleSlowly();
  }, tickMs);
  timer.unref();
  sampleSlowly();
  return () => clearInterval(timer);
}
