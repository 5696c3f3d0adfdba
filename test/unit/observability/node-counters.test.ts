/** Counters of several threads, added up. */
import { describe, expect, it } from 'vitest';
import { MetricsLayout, ThreadMetrics } from '../../../src/observability/metrics.ts';
import { NodeCounters } from '../../../src/observability/node-counters.ts';
import { CounterBlock, createCounters } from '../../../src/shm/counters.ts';

const help = 'Of a test.';
const layout = new MetricsLayout([
  [
    { name: 'a_total', help, kind: 'counter', labels: { kind: 'x', way: 'in' } },
    { name: 'a_total', help, kind: 'counter', labels: { kind: 'x', way: 'out' } },
    { name: 'a_total', help, kind: 'counter', labels: { kind: 'y', way: 'in' } },
    { name: 'b', help, kind: 'gauge' },
  ],
]);

describe('NodeCounters', () => {
  const blocks = [1, 2].map(() => new CounterBlock(createCounters(layout.slotCount)));
  const counters = new NodeCounters(layout, blocks);
  for (const [index, block] of blocks.entries()) {
    const metrics = new ThreadMetrics(layout, block);
    for (let slot = 0; slot < layout.slotCount; slot++) metrics.set(slot, 10 ** slot * (index + 1));
  }

  it('counter() adds up all series with these labels on all threads', () => {
    expect(counters.counter('a_total').sum()).toBe(333);
    expect(counters.counter('a_total', { kind: 'x' }).sum()).toBe(33);
    expect(counters.counter('a_total', { way: 'in' }).sum()).toBe(303);
    expect(counters.counter('a_total', { kind: 'y', way: 'out' }).sum()).toBe(0);
    expect(counters.counter('unknown').sum()).toBe(0);
  });

  it('largest() is that of one thread', () => {
    expect(counters.counter('b').largest()).toBe(2_000);
    expect(counters.counter('unknown').largest()).toBe(0);
  });
});
