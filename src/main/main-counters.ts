/** What the main thread counts, with its slots looked up once. Main thread, called by acceptor and supervisor. */
import type { ListenerInfo } from '../core/ports/connection.ts';
import { type RefusalReason, type RestartCause, refusalReasons, restartCauses } from '../observability/main-metrics.ts';
import type { ThreadMetrics } from '../observability/metrics.ts';
import type { ListenerLabels } from '../observability/worker-metrics.ts';

export class MainCounters {
  private readonly metrics: ThreadMetrics;
  private readonly acceptedSlots: readonly number[];
  /** By listener. */
  private readonly refusedSlots: readonly ReadonlyMap<RefusalReason, number>[];
  private readonly restartSlots: ReadonlyMap<RestartCause, number>;
  private readonly servingSlot: number;

  /** `listeners` in the order of the configuration. */
  constructor(metrics: ThreadMetrics, listeners: readonly ListenerLabels[]) {
    this.metrics = metrics;
    const labels = listeners.map(({ name, protocol }) => ({ listener: name, protocol }));
    this.acceptedSlots = labels.map((label) => metrics.slot('ringmq_connections_accepted_total', label));
    this.refusedSlots = labels.map(
      (label) =>
        new Map(
          refusalReasons.map((reason) => [
            reason,
            metrics.slot('ringmq_connections_refused_total', { ...label, reason }),
          ]),
        ),
    );
    this.restartSlots = new Map(
      restartCauses.map((cause) => [cause, metrics.slot('ringmq_worker_restarts_total', { cause })]),
    );
    this.servingSlot = metrics.slot('ringmq_workers_serving');
  }

  accepted(listener: ListenerInfo): void {
    this.metrics.increment(this.acceptedSlots[listener.index]);
  }

  refused(listener: ListenerInfo, reason: RefusalReason): void {
    this.metrics.increment(this.refusedSlots[listener.index].get(reason) as number);
  }

  replaced(cause: RestartCause): void {
    this.metrics.increment(this.restartSlots.get(cause) as number);
  }

  /** Workers that were replaced, for whatever reason. */
  get replacedCount(): number {
    let count = 0;
    for (const slot of this.restartSlots.values()) count += this.metrics.get(slot);
    return count;
  }

  serving(workerCount: number): void {
    this.metrics.set(this.servingSlot, workerCount);
  }
}
