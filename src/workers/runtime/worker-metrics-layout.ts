/**
 * The layout of a worker's counters. The main thread, which serves them, and every worker build it from the same
 * definitions, so that slot numbers agree without being sent.
 */
import type { Protocol } from '../../core/ports/protocol.ts';
import { MetricsLayout } from '../../observability/metrics.ts';
import { type ListenerLabels, workerMetricDefinitions } from '../../observability/worker-metrics.ts';

/** `protocols` are those in use, in the order of the registry; `listeners` in the order of the configuration. */
export function workerMetricsLayout(
  listeners: readonly ListenerLabels[],
  protocols: readonly Protocol[],
): MetricsLayout {
  return new MetricsLayout([workerMetricDefinitions(listeners), ...protocols.map((protocol) => protocol.metrics)]);
}

/** The registered protocols that at least one listener speaks, in the order of the registry. */
export function protocolsInUse(registered: readonly Protocol[], listeners: readonly ListenerLabels[]): Protocol[] {
  return registered.filter((protocol) => listeners.some((listener) => listener.protocol === protocol.name));
}
