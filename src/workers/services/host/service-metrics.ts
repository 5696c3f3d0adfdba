/**
 * What the services count, for the node as a whole: names of queues and groups come from clients and are no labels. The definitions
 * are read on the main thread too; a `ServiceMetrics` lives on the journal worker.
 */
import type { AcknowledgementSet } from '../../../core/queues/acknowledgement-set.ts';
import type { SetCounters } from '../../../core/queues/set-types.ts';
import { durationBounds, Histogram, histogramDefinitions } from '../../../observability/histogram.ts';
import type { MetricDefinition, ThreadMetrics } from '../../../observability/metrics.ts';

const settleSeconds = 'ringmq_queue_settle_seconds';
const commitSeconds = 'ringmq_cursor_commit_seconds';
const endSeconds = 'ringmq_transaction_end_seconds';

const counters = {
  calls: ['ringmq_services_calls_total', 'Calls to queues, cursors, delayed messages and transactions.'],
  delivered: ['ringmq_queue_delivered_total', 'Messages that consumers of queues got.'],
  redelivered: ['ringmq_queue_redelivered_total', 'Messages that consumers of queues got once more.'],
  settled: ['ringmq_queue_settled_total', 'Messages of queues that were acknowledged.'],
  timedOut: ['ringmq_queue_timed_out_total', 'Deliveries that were not settled in time.'],
  deadLettered: ['ringmq_queue_dead_lettered_total', 'Messages of queues that went to dead letters.'],
  dropped: ['ringmq_queue_dropped_total', 'Messages of queues that failed and had no dead letters to go to.'],
  expired: ['ringmq_queue_expired_total', 'Messages of queues whose lifetime ended before delivery.'],
  lost: ['ringmq_queue_lost_total', 'Messages that left their stream before a queue had settled them.'],
  delayedAccepted: ['ringmq_delayed_accepted_total', 'Messages that were accepted for later.'],
  delayedWritten: ['ringmq_delayed_written_total', 'Messages that were written when they were due.'],
  delayedCancelled: ['ringmq_delayed_cancelled_total', 'Messages that were cancelled before they were due.'],
  delayedDead: ['ringmq_delayed_dead_lettered_total', 'Messages that were due and that their target refused.'],
  committed: ['ringmq_transactions_committed_total', 'Transactions that were committed.'],
  aborted: ['ringmq_transactions_aborted_total', 'Transactions that were aborted, by their producer or by time.'],
  halvesCommitted: ['ringmq_half_messages_committed_total', 'Half messages that were committed.'],
  halvesRolledBack: ['ringmq_half_messages_rolled_back_total', 'Half messages that were rolled back or given up.'],
} as const satisfies Record<string, readonly [string, string]>;

const gauges = {
  queues: ['ringmq_queues_open', 'Queues that are open.'],
  consumers: ['ringmq_queue_consumers', 'Consumers of queues.'],
  ready: ['ringmq_queue_ready_messages', 'Messages of queues that are at hand and wait for a consumer.'],
  inFlight: ['ringmq_queue_in_flight_messages', 'Messages that consumers of queues have and have not settled.'],
  delayed: ['ringmq_queue_delayed_messages', 'Messages of queues that failed and wait until they are delivered again.'],
  dying: ['ringmq_queue_dying_messages', 'Messages of queues that are on their way to dead letters.'],
  problems: ['ringmq_queue_groups_failed', 'Groups of queues that have ended with an error.'],
  groups: ['ringmq_cursor_groups', 'Groups that have cursors.'],
  pending: ['ringmq_delayed_pending_messages', 'Messages that wait for their time.'],
  late: ['ringmq_delayed_late_seconds', 'How late the oldest message is that is due and not written.'],
  transactions: ['ringmq_transactions_open', 'Transactions that are under way.'],
  halves: ['ringmq_half_messages_pending', 'Half messages that are undecided.'],
} as const satisfies Record<string, readonly [string, string]>;

type Counter = keyof typeof counters;
type Gauge = keyof typeof gauges;

export function serviceMetricDefinitions(): MetricDefinition[] {
  const define = (table: Readonly<Record<string, readonly [string, string]>>, kind: MetricDefinition['kind']) =>
    Object.values(table).map(([name, help]): MetricDefinition => ({ name, help, kind }));
  return [
    ...histogramDefinitions(settleSeconds, 'Time until settlements were durable.', durationBounds),
    ...histogramDefinitions(commitSeconds, 'Time until a commit of cursors was durable.', durationBounds),
    ...histogramDefinitions(endSeconds, 'Time until the end of a transaction was decided.', durationBounds),
    ...define(counters, 'counter'),
    ...define(gauges, 'gauge'),
  ];
}

/** The counters of a set that count upwards, by the metric that they go into. */
const setCounters = [
  'delivered',
  'redelivered',
  'settled',
  'timedOut',
  'deadLettered',
  'dropped',
  'expired',
  'lost',
] as const;

export class ServiceMetrics {
  readonly #metrics: ThreadMetrics;
  readonly #slots = new Map<Counter | Gauge, number>();
  readonly #histograms: Readonly<Record<'settle' | 'commit' | 'end', Histogram>>;
  /** What was counted of each set already. */
  readonly #told = new WeakMap<AcknowledgementSet, SetCounters>();
  readonly #totals = new Map<Counter, number>();

  /** `metrics` has the definitions of this file in its layout. */
  constructor(metrics: ThreadMetrics) {
    this.#metrics = metrics;
    for (const [key, [name]] of Object.entries({ ...counters, ...gauges })) {
      this.#slots.set(key as Counter | Gauge, metrics.slot(name));
    }
    this.#histograms = {
      settle: new Histogram(metrics, settleSeconds, durationBounds),
      commit: new Histogram(metrics, commitSeconds, durationBounds),
      end: new Histogram(metrics, endSeconds, durationBounds),
    };
  }

  add(counter: Counter, amount: number): void {
    if (amount !== 0) this.#metrics.add(this.#slots.get(counter) as number, amount);
  }

  set(gauge: Gauge, value: number): void {
    this.#metrics.set(this.#slots.get(gauge) as number, value);
  }

  took(what: 'settle' | 'commit' | 'end', startMs: number): void {
    this.#histograms[what].observe((performance.now() - startMs) / 1000);
  }

  /** A count that its service has from its own start on. */
  total(counter: Counter, value: number): void {
    const before = this.#totals.get(counter) ?? 0;
    // A service that was opened anew begins at 0.
    this.add(counter, value >= before ? value - before : value);
    this.#totals.set(counter, value);
  }

  /** Adds what a set has counted since it was looked at last. */
  takeFrom(set: AcknowledgementSet): void {
    const before = this.#told.get(set);
    const now = { ...set.counters };
    for (const name of setCounters) this.add(name, now[name] - (before?.[name] ?? 0));
    this.#told.set(set, now);
  }
}
