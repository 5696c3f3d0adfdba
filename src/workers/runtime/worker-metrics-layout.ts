/**
 * The layout of a worker's counters. The main thread, which serves them, and every worker build it from the same
 * definitions, so that slot numbers agree without being sent.
 */
import type { Protocol } from '../../core/ports/protocol.ts';
import { MetricsLayout } from '../../observability/metrics.ts';
import { type ListenerLabels, workerMetricDefinitions } from '../../observability/worker-metrics.ts';

/**
 * `protocols` are those in use, in the order of the registry; `listeners` in the order of the configuration; `settings` the validated
 * sections by name of the protocol.
 */
export function workerMetricsLayout(
  listeners: readonly ListenerLabels[],
  protocols: readonly Protocol[],
  settings: ReadonlyMap<string, unknown>,
): MetricsLayout {
  const groups = protocols.flatMap((each) => [each.metrics, each.metricsOf?.(settings.get(each.name)) ?? []]);
  return new MetricsLayout([workerMetricDefinitions(listeners), ...groups]);
}

/** The registered protocols that at least one listener speaks, in the order of the registry. */
export function protocolsInUse(registered: readonly Protocol[], listeners: readonly ListenerLabels[]): Protocol[] {
  return registered.filter((protocol) => listeners.some((listener) => listener.protocol === protocol.name));
}
