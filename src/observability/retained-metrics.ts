/** What each connection worker counts of retained messages. Definitions for all threads. */
import type { MetricDefinition } from './metrics.ts';

/** Label values of `ringmq_retained_refused_total`: the core's `RetainedRefusal`; a unit test keeps the two equal. */
export const retainedLimits = ['count', 'bytes', 'value-bytes', 'tenant-count', 'tenant-bytes', 'storage'] as const;

export function retainedMetricDefinitions(): MetricDefinition[] {
  return [
    gauge('ringmq_retained_messages', "Retained messages in this worker's replica."),
    gauge('ringmq_retained_bytes', "Bytes of the retained messages in this worker's replica."),
    gauge('ringmq_retained_unsaved', 'Changes of retained messages made on this worker that are not stored yet.'),
    counter('ringmq_retained_stored_total', 'Changes of retained messages that were stored.'),
    counter('ringmq_retained_store_failures_total', 'Times that changes of retained messages could not be stored.'),
    counter('ringmq_retained_rewrites_total', 'Times that the stream of retained messages was written anew.'),
    counter('ringmq_retained_expired_total', "Retained messages whose time was over, in this worker's replica."),
    ...retainedLimits.map((limit) =>
      counter('ringmq_retained_refused_total', 'Messages that were not retained, by the limit that refused them.', {
        limit,
      }),
    ),
  ];
}

function counter(name: string, help: string, labels: Record<string, string> = {}): MetricDefinition {
  return { name, help, kind: 'counter', labels };
}

function gauge(name: string, help: string): MetricDefinition {
  return { name, help, kind: 'gauge', labels: {} };
}
