/**
 * What is counted when a limit of the configuration is met. The names are label values; which limit each stands for is told
 * in `docs/limits.md`. Used on every thread.
 */
import type { MetricDefinition } from './metrics.ts';

export const limitKinds = [
  'tenant-connections',
  'user-connections',
  'address-connections',
  'tenant-connect-rate',
  'address-connect-rate',
  'client-publish-rate',
  'client-publish-bytes',
  'tenant-publish-rate',
  'tenant-publish-bytes',
  'packet-bytes',
  'handshake-bytes',
  'topic-bytes',
  'topic-levels',
  'client-subscriptions',
  'tenant-subscriptions',
  'sessions',
  'unfinished-messages',
] as const;
export type LimitKind = (typeof limitKinds)[number];

export const limitMetric = 'ringmq_limits_exceeded_total';

/** On each connection worker. */
export function limitMetricDefinitions(): MetricDefinition[] {
  return limitKinds.map((limit) => ({
    name: limitMetric,
    help: 'What was refused or slowed down because of a limit, by limit.',
    kind: 'counter',
    labels: { limit },
  }));
}
