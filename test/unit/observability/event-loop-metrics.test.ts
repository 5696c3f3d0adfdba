import { afterEach, describe, expect, it } from 'vitest';
import {
  EventLoopDelay,
  EventLoopMeter,
  eventLoopMetricDefinitions,
} from '../../../src/observability/event-loop-metrics.ts';
import { MetricsLayout, ThreadMetrics } from '../../../src/observability/metrics.ts';
import { CounterBlock, createCounters } from '../../../src/shm/counters.ts';

describe('EventLoopDelay', () => {
  it('sample() measures lateness against the tick before', () => {
    const delay = new EventLoopDelay(0, 100, 10);
    delay.sample(100); // on time
    delay.sample(230); // 30 late
    delay.sample(330); // on time again
    expect([delay.maxMs, delay.meanMs]).toEqual([30, 10]);
  });

  it('sample() takes an early timer as punctual', () => {
    const delay = new EventLoopDelay(0, 100, 10);
    delay.sample(99.2);
    expect(delay.maxMs).toBe(0);
  });

  it('maxMs keeps a spike through the next window and forgets it after that', () => {
    const delay = new EventLoopDelay(0, 100, 3);
    let nowMs = 500; // 400 late
    delay.sample(nowMs);
    const seen: number[] = [];
    for (let tick = 0; tick < 7; tick++) {
      nowMs += 100;
      delay.sample(nowMs);
      seen.push(delay.maxMs);
    }
    expect(seen).toEqual([400, 400, 400, 400, 400, 0, 0]);
  });

  it('meanMs is 0 before the first sample', () => {
    expect(new EventLoopDelay(0, 100, 10).meanMs).toBe(0);
  });
});

describe('EventLoopMeter', () => {
  let timer: NodeJS.Timeout | undefined;
  afterEach(() => clearInterval(timer));

  it('sample() publishes heap and activity at once and the delay of a blocked loop later', async () => {
    const layout = new MetricsLayout([eventLoopMetricDefinitions()]);
    const metrics = new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount)));
    const value = (name: string): number => metrics.get(metrics.slot(name));
    metrics.set(metrics.slot('ringmq_event_loop_active_seconds_total'), 1000); // left by a predecessor
    const meter = new EventLoopMeter(metrics, 100);
    timer = setInterval(() => meter.sample(), 100);
    expect(value('ringmq_heap_used_bytes')).toBeGreaterThan(1_000_000);
    expect(value('ringmq_event_loop_active_seconds_total')).toBeGreaterThanOrEqual(1000);
    const startMs = performance.now();
    while (performance.now() < startMs + 250); // blocks the loop past the first tick
    while (value('ringmq_event_loop_delay_max_seconds') === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(value('ringmq_event_loop_delay_max_seconds')).toBeGreaterThan(0.1);
    expect(value('ringmq_event_loop_delay_mean_seconds')).toBeGreaterThan(0);
  });
});
