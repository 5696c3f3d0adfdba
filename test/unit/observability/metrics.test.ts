import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MetricDefinition, MetricsLayout, ThreadMetrics } from '../../../src/observability/metrics.ts';
import { CounterBlock, createCounters } from '../../../src/shm/counters.ts';

const packets = (type: string, direction: string): MetricDefinition => ({
  name: 'ringmq_test_packets_total',
  help: 'Packets.',
  kind: 'counter',
  labels: { type, direction },
});
const open: MetricDefinition = { name: 'ringmq_test_open', help: 'Open.', kind: 'gauge' };

function metricsOf(layout: MetricsLayout, buffer = createCounters(layout.slotCount)): ThreadMetrics {
  return new ThreadMetrics(layout, new CounterBlock(buffer));
}

describe('MetricsLayout', () => {
  it('slot() is the same for the same definitions on each thread', () => {
    const groups = [[packets('publish', 'received'), packets('publish', 'sent')], [open]];
    const [one, two] = [new MetricsLayout(groups), new MetricsLayout(structuredClone(groups))];
    for (const { name, labels } of one.definitions) expect(one.slot(name, labels)).toBe(two.slot(name, labels));
    expect(one.slotCount).toBe(3);
  });

  it('slot() does not depend on the order of the labels', () => {
    const layout = new MetricsLayout([[packets('publish', 'sent')]]);
    expect(layout.slot('ringmq_test_packets_total', { direction: 'sent', type: 'publish' })).toBe(0);
  });

  it('slot() tells label values apart that look like labels', () => {
    const layout = new MetricsLayout([[packets('a","type="b', 'x'), packets('a', 'x')]]);
    expect(layout.slot('ringmq_test_packets_total', { type: 'a', direction: 'x' })).toBe(1);
  });

  it('slot() throws when the series is not defined', () => {
    const layout = new MetricsLayout([[open]]);
    expect(() => layout.slot('ringmq_test_closed')).toThrow('ringmq_test_closed');
    expect(() => layout.slot('ringmq_test_open', { listener: 'a' })).toThrow('ringmq_test_open');
  });

  it.each<[string, MetricDefinition[]]>([
    ['is defined once', [open, open]],
    ['one kind and one help', [packets('a', 'b'), { ...packets('a', 'c'), help: 'Other.' }]],
    ['snake case', [{ ...open, name: 'Open' }]],
    ['_total', [{ ...open, name: 'ringmq_test_total' }]],
    ['_total', [{ ...open, kind: 'counter' }]],
    ['label "worker"', [{ ...open, labels: { worker: '1' } }]],
    ['help text', [{ ...open, help: '' }]],
  ])('constructor() throws with "%s" when the rule is broken', (words, definitions) => {
    expect(() => new MetricsLayout([definitions])).toThrow(words);
  });
});

describe('ThreadMetrics', () => {
  it('add(), increment() and set() sum up as plain arithmetic does', () => {
    const layout = new MetricsLayout([[packets('a', 'x'), packets('b', 'x'), open]]);
    const operation = fc.record({
      slot: fc.integer({ min: 0, max: 2 }),
      kind: fc.constantFrom('add', 'increment', 'set'),
      amount: fc.integer({ min: -1000, max: 1_000_000 }),
    });
    fc.assert(
      fc.property(fc.array(operation), (operations) => {
        const metrics = metricsOf(layout);
        const expected = [0, 0, 0];
        for (const { slot, kind, amount } of operations) {
          if (kind === 'add') metrics.add(slot, amount);
          else if (kind === 'set') metrics.set(slot, amount);
          else metrics.increment(slot);
          expected[slot] = kind === 'set' ? amount : expected[slot] + (kind === 'add' ? amount : 1);
        }
        expect(expected.map((_, slot) => metrics.get(slot))).toEqual(expected);
      }),
      { numRuns: 100 },
    );
  });

  it('resetGauges() leaves counters alone, so that a successor goes on counting', () => {
    const layout = new MetricsLayout([[packets('a', 'x'), open]]);
    const buffer = createCounters(layout.slotCount);
    const dead = metricsOf(layout, buffer);
    dead.add(0, 5);
    dead.set(1, 7);
    const successor = metricsOf(layout, buffer);
    successor.resetGauges();
    successor.increment(0);
    expect([successor.get(0), successor.get(1)]).toEqual([6, 0]);
  });
});
