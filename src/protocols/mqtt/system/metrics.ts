/** What is counted for `$SYS` alone. Definitions on every thread; the slots are part of a connection worker's block. */
import type { MetricDefinition } from '../../../observability/metrics.ts';

/** Values whose highest is kept; the label of `ringmq_mqtt_highest`. */
export const highestOf = [
  'connections',
  'sessions',
  'subscriptions',
  'shared-subscriptions',
  'durable-subscriptions',
  'subscribers',
  'filters',
  'retained',
  'delayed',
] as const;
export type HighestOf = (typeof highestOf)[number];

export const highestMetric = 'ringmq_mqtt_highest';
export const sharedSubscriptionsMetric = 'ringmq_mqtt_shared_subscriptions';
export const durableSubscriptionsMetric = 'ringmq_mqtt_durable_subscriptions';
export const subscribersMetric = 'ringmq_mqtt_subscribers';
export const delayedWaitingMetric = 'ringmq_mqtt_delayed_waiting';
export const filtersMetric = 'ringmq_mqtt_topic_filters';
export const eventsMetric = 'ringmq_mqtt_system_events_total';
export const messagesMetric = 'ringmq_mqtt_messages_total';

/** What counts dropped messages, each by `reason`: on their way to a client, and in the logs of durable sessions. */
export const dropMetrics = ['ringmq_messages_dropped_total', 'ringmq_durable_messages_dropped_total'] as const;

export const eventOutcomes = ['published', 'dropped'] as const;
export const directions = ['received', 'sent'] as const;

export const systemMetrics: readonly MetricDefinition[] = [
  ...directions.flatMap((direction) =>
    ['0', '1', '2'].map(
      (qos): MetricDefinition => ({
        name: messagesMetric,
        help: 'Messages that were accepted from clients and sent to clients, by QoS.',
        kind: 'counter',
        labels: { qos, direction },
      }),
    ),
  ),
  ...highestOf.map(
    (of): MetricDefinition => ({
      name: highestMetric,
      help: 'Most that there were at once on the node, as seen every five seconds; worker 0 keeps it.',
      kind: 'gauge',
      labels: { of },
    }),
  ),
  { name: sharedSubscriptionsMetric, help: 'Shared subscriptions of all sessions, connected or not.', kind: 'gauge' },
  { name: durableSubscriptionsMetric, help: 'Subscriptions of stored sessions, connected or not.', kind: 'gauge' },
  { name: subscribersMetric, help: 'Sessions with at least one subscription, connected or not.', kind: 'gauge' },
  {
    name: delayedWaitingMetric,
    help: 'Delayed messages of the node that wait for their time; worker 0 keeps it.',
    kind: 'gauge',
  },
  { name: filtersMetric, help: 'Different filters that are subscribed to on a worker.', kind: 'gauge' },
  ...eventOutcomes.map(
    (outcome): MetricDefinition => ({
      name: eventsMetric,
      help: 'Events below $SYS that somebody subscribed to: published, or dropped since too many came at once.',
      kind: 'counter',
      labels: { outcome },
    }),
  ),
];
