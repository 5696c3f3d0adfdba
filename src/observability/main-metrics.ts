/** What the main thread counts: accepted and refused connections, and the lives of the workers. Used on every thread. */
import { alarmMetricDefinitions } from './alarm-metrics.ts';
import { eventLoopMetricDefinitions } from './event-loop-metrics.ts';
import type { MetricDefinition } from './metrics.ts';
import type { ListenerLabels } from './worker-metrics.ts';

/** Label values of `ringmq_connections_refused_total`. */
export const refusalReasons = [
  'connections-max', // the node has as many connections as it may
  'listener-connections-max', // the listener has
  'accept-rate', // new connections come faster than allowed
  'listener-accept-rate', // the same for the listener
  'address-accept-rate', // the same for one address
  'overload', // the event loops of all workers are late
  'memory', // the process has as much memory as it may
  'proxy-untrusted', // the connection comes from no network of proxies
  'no-worker', // no worker serves at the moment
  'descriptors', // the process has no file descriptor left
  'network-error', // the connection broke before a worker had it
  'shutdown',
] as const;

export type RefusalReason = (typeof refusalReasons)[number];

/** Label values of `ringmq_worker_restarts_total`. */
export const restartCauses = ['error', 'stall', 'exit'] as const;

export type RestartCause = (typeof restartCauses)[number];

/** The definitions of the main thread. Give the listeners in the order of the configuration. */
export function mainMetricDefinitions(listeners: readonly ListenerLabels[]): MetricDefinition[] {
  return [
    ...listeners.flatMap(listenerDefinitions),
    ...restartCauses.map((cause) => ({
      name: 'ringmq_worker_restarts_total',
      help: 'Workers that were replaced: they threw, stalled or ended.',
      kind: 'counter' as const,
      labels: { cause },
    })),
    { name: 'ringmq_workers_serving', help: 'Connection workers that serve now.', kind: 'gauge' },
    ...alarmMetricDefinitions(),
    ...eventLoopMetricDefinitions(),
  ];
}

function listenerDefinitions({ name, protocol }: ListenerLabels): MetricDefinition[] {
  const labels = { listener: name, protocol };
  return [
    { name: 'ringmq_connections_accepted_total', help: 'Connections handed to a worker.', kind: 'counter', labels },
    ...refusalReasons.map((reason) => ({
      name: 'ringmq_connections_refused_total',
      help: 'Connections that were closed before a worker had them, by reason.',
      kind: 'counter' as const,
      labels: { ...labels, reason },
    })),
  ];
}
