/** What delayed publications count. Single writer: the worker's thread. */
import type { MetricDefinition, ThreadMetrics } from '../../../observability/metrics.ts';

const name = 'ringmq_mqtt_delayed_messages_total';
const outcomes = ['accepted', 'refused', 'failed', 'published', 'denied', 'expired', 'unreadable'] as const;
export type DelayedOutcome = (typeof outcomes)[number];

export const delayedMetrics: readonly MetricDefinition[] = outcomes.map((outcome) => {
  const help = 'Delayed publications: what became of them when they came and when they were due.';
  return { name, help, kind: 'counter', labels: { outcome } };
});

export class DelayedMetrics {
  private readonly block: ThreadMetrics;
  private readonly slots: ReadonlyMap<DelayedOutcome, number>;

  constructor(block: ThreadMetrics) {
    this.block = block;
    this.slots = new Map(outcomes.map((outcome) => [outcome, block.slot(name, { outcome })]));
  }

  count(outcome: DelayedOutcome, count = 1): void {
    this.block.add(this.slots.get(outcome) as number, count);
  }
}
