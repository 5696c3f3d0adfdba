/** What bindings and subscriptions to streams count. Single writer: the worker's thread. */
import type { MetricDefinition, ThreadMetrics } from '../../../observability/metrics.ts';

const bound = 'ringmq_mqtt_bound_messages_total';
const delivered = 'ringmq_mqtt_stream_records_total';
const feeds = 'ringmq_mqtt_stream_subscriptions';

const boundOutcomes = ['stored', 'failed', 'dropped'] as const;
const deliveredOutcomes = ['sent', 'expired', 'unmatched', 'too-large'] as const;

export const streamMetrics: readonly MetricDefinition[] = [
  ...boundOutcomes.map((outcome): MetricDefinition => {
    const help = 'Publications that bindings copied into streams, by what became of the copy.';
    return { name: bound, help, kind: 'counter', labels: { outcome } };
  }),
  ...deliveredOutcomes.map((outcome): MetricDefinition => {
    return {
      name: delivered,
      help: 'Records that subscriptions to streams came to.',
      kind: 'counter',
      labels: { outcome },
    };
  }),
  { name: feeds, help: 'Subscriptions to streams whose clients are connected.', kind: 'gauge' },
];

export class StreamMetrics {
  private readonly block: ThreadMetrics;
  private readonly bound: ReadonlyMap<(typeof boundOutcomes)[number], number>;
  private readonly delivered: ReadonlyMap<(typeof deliveredOutcomes)[number], number>;
  private readonly feeds: number;

  constructor(block: ThreadMetrics) {
    this.block = block;
    this.bound = new Map(boundOutcomes.map((outcome) => [outcome, block.slot(bound, { outcome })]));
    this.delivered = new Map(deliveredOutcomes.map((outcome) => [outcome, block.slot(delivered, { outcome })]));
    this.feeds = block.slot(feeds);
  }

  countBound(outcome: (typeof boundOutcomes)[number], count: number): void {
    this.block.add(this.bound.get(outcome) as number, count);
  }

  countDelivered(outcome: (typeof deliveredOutcomes)[number], count = 1): void {
    this.block.add(this.delivered.get(outcome) as number, count);
  }

  setFeeds(count: number): void {
    this.block.set(this.feeds, count);
  }
}
