/** What a worker knows of the whole node, and what it answers. */
import { describe, expect, it } from 'vitest';
import type { AlarmChange } from '../../../../src/core/ports/alarms.ts';
import { MetricsLayout } from '../../../../src/observability/metrics.ts';
import { CounterBlock, createCounters } from '../../../../src/shm/counters.ts';
import type { NodeToMain } from '../../../../src/workers/node-messages.ts';
import { WorkerNode } from '../../../../src/workers/runtime/worker-node.ts';

function fixture() {
  const layout = new MetricsLayout([[{ name: 'a', help: 'Of a test.', kind: 'gauge' }]]);
  const counters = [1, 2].map((value) => {
    const buffer = createCounters(layout.slotCount);
    new CounterBlock(buffer).set(0, value);
    return buffer;
  });
  const posted: NodeToMain[] = [];
  const node = new WorkerNode({ version: '1.2.3', startedAtMs: 5, counters }, layout, (each) => posted.push(each));
  return { node, posted };
}

describe('WorkerNode', () => {
  it('knows counters of all workers, and the newest facts', () => {
    const { node } = fixture();
    expect([node.version, node.startedAtMs, node.counter('a').sum(), node.facts.name]).toEqual(['1.2.3', 5, 3, '']);
    const facts = { name: 'n1', nodes: ['n1', 'n2'], ports: [1] };
    node.handle({ type: 'node-facts', facts });
    expect(node.facts).toEqual(facts);
  });

  it('tells all handlers of alarms', () => {
    const { node } = fixture();
    const told: AlarmChange[] = [];
    for (let at = 0; at < 2; at++) node.onAlarm((change) => told.push(change));
    const change = { type: 'activated', alarm: {} } as AlarmChange;
    node.handle({ type: 'alarm-change', change });
    expect(told).toEqual([change, change]);
  });

  it('answers what it is asked, with null where nobody knows the subject', () => {
    const { node, posted } = fixture();
    node.onQuestion('x', (request) => [request]);
    node.handle({ type: 'question', id: 1, subject: 'x', request: 'r' });
    node.handle({ type: 'question', id: 2, subject: 'y', request: 'r' });
    expect(posted).toEqual([
      { type: 'answer', id: 1, answer: ['r'] },
      { type: 'answer', id: 2, answer: null },
    ]);
    expect(() => node.onQuestion('x', () => null)).toThrow('one handler per subject');
  });
});
