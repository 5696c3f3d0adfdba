import { describe, expect, expectTypeOf, it } from 'vitest';
import type { CloseReason } from '../../../src/core/ports/connection.ts';
import { mainMetricDefinitions } from '../../../src/observability/main-metrics.ts';
import { MetricsLayout, ThreadMetrics } from '../../../src/observability/metrics.ts';
import {
  ConnectionCounters,
  closeReasons,
  workerMetricDefinitions,
} from '../../../src/observability/worker-metrics.ts';
import { CounterBlock, createCounters } from '../../../src/shm/counters.ts';

const listeners = [
  { name: 'first', protocol: 'echo' },
  { name: 'second', protocol: 'other' },
];

function createMetrics(): ThreadMetrics {
  const layout = new MetricsLayout([workerMetricDefinitions(listeners)]);
  return new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount)));
}

describe('ConnectionCounters', () => {
  it('counts what the transport reports at the listener that it names', () => {
    const metrics = createMetrics();
    const counters = new ConnectionCounters(metrics, listeners);
    const second = { index: 1 };
    counters.opened(second);
    counters.opened(second);
    counters.received(second, 100);
    counters.received(second, 20);
    counters.sent(second, 7);
    counters.closed(second, 'keep-alive');
    const value = (name: string, labels: Record<string, string>): number => metrics.get(metrics.slot(name, labels));
    const labels = { listener: 'second', protocol: 'other' };
    expect(value('ringmq_connections_opened_total', labels)).toBe(2);
    expect(value('ringmq_connections_open', labels)).toBe(1);
    expect(value('ringmq_received_bytes_total', labels)).toBe(120);
    expect(value('ringmq_sent_bytes_total', labels)).toBe(7);
    expect(value('ringmq_connections_closed_total', { ...labels, reason: 'keep-alive' })).toBe(1);
    expect(value('ringmq_connections_opened_total', { listener: 'first', protocol: 'echo' })).toBe(0);
  });

  it('closed() has a series of its own for each reason', () => {
    const metrics = createMetrics();
    const counters = new ConnectionCounters(metrics, listeners);
    for (const reason of closeReasons) counters.closed({ index: 0 }, reason);
    for (const reason of closeReasons) {
      const slot = metrics.slot('ringmq_connections_closed_total', { listener: 'first', protocol: 'echo', reason });
      expect(metrics.get(slot), reason).toBe(1);
    }
  });

  it('closeReasons are the reasons of the core', () => {
    expectTypeOf<(typeof closeReasons)[number]>().toEqualTypeOf<CloseReason>();
    const total: Record<CloseReason, true> = Object.fromEntries(closeReasons.map((reason) => [reason, true])) as never;
    expect(Object.keys(total)).toHaveLength(closeReasons.length);
  });

  it('received() throws for a listener that does not exist', () => {
    const counters = new ConnectionCounters(createMetrics(), listeners);
    expect(() => counters.received({ index: 2 }, 1)).toThrow();
  });
});

describe('mainMetricDefinitions()', () => {
  it('makes a valid layout that agrees with that of the workers on shared families', () => {
    expect(() => new MetricsLayout([mainMetricDefinitions(listeners)])).not.toThrow();
    const worker = new Map(workerMetricDefinitions(listeners).map((definition) => [definition.name, definition]));
    for (const definition of mainMetricDefinitions(listeners)) {
      const shared = worker.get(definition.name);
      if (shared !== undefined) expect(definition).toEqual(shared);
    }
  });
});
