/** What a connection worker counts of its durable sessions. Thread: the definitions any, the values the worker's. */
import type { MetricDefinition, ThreadMetrics } from './metrics.ts';

const sessions = 'ringmq_durable_sessions';
const connected = 'ringmq_durable_sessions_connected';
const batches = 'ringmq_durable_batches_stored_total';
const stateBytes = 'ringmq_durable_state_bytes_total';
const expired = 'ringmq_durable_sessions_expired_total';
const dropped = 'ringmq_durable_messages_dropped_total';

/** Of a message that waited for a durable session: why it was not delivered. */
const dropReasons = ['expired', 'aged', 'limited', 'tooLarge', 'gone', 'damaged'] as const;
const labelOf: Readonly<Record<(typeof dropReasons)[number], string>> = {
  expired: 'expired', // its lifetime ended
  aged: 'aged', // older than sessions.ageMsMax
  limited: 'limited', // more waited than sessions.countMax or sessions.bytesMax allow
  tooLarge: 'too-large', // larger than what the client accepts
  gone: 'gone', // in flight when a bound of the log removed it
  damaged: 'damaged', // its place in the log cannot be read
};

export function sessionMetricDefinitions(): MetricDefinition[] {
  return [
    { name: sessions, help: 'Durable sessions, connected or not.', kind: 'gauge' },
    { name: connected, help: 'Durable sessions with a client.', kind: 'gauge' },
    { name: batches, help: 'Batches of messages stored for durable sessions.', kind: 'counter' },
    { name: stateBytes, help: 'Bytes of state of durable sessions that were stored.', kind: 'counter' },
    { name: expired, help: 'Durable sessions that ended because their time was over.', kind: 'counter' },
    ...dropReasons.map((reason): MetricDefinition => {
      const help = 'Messages for durable sessions that were not delivered, by reason.';
      return { name: dropped, help, kind: 'counter', labels: { reason: labelOf[reason] } };
    }),
  ];
}

/** Totals of one opened slot since it was opened. */
export interface SessionTotals {
  readonly sessions: number;
  readonly connected: number;
  readonly batches: number;
  readonly stateBytes: number;
  readonly expired: number;
  readonly drops: Readonly<Record<(typeof dropReasons)[number], number>>;
}

export class SessionMetrics {
  readonly #metrics: ThreadMetrics;
  readonly #counters: readonly { readonly slot: number; readonly of: (totals: SessionTotals) => number }[];
  readonly #seen = new WeakMap<object, number[]>();

  constructor(metrics: ThreadMetrics) {
    this.#metrics = metrics;
    this.#counters = [
      { slot: metrics.slot(batches), of: (totals) => totals.batches },
      { slot: metrics.slot(stateBytes), of: (totals) => totals.stateBytes },
      { slot: metrics.slot(expired), of: (totals) => totals.expired },
      ...dropReasons.map((reason) => ({
        slot: metrics.slot(dropped, { reason: labelOf[reason] }),
        of: (totals: SessionTotals) => totals.drops[reason],
      })),
    ];
  }

  /** `all`: the slots that are open, each with what it is known by. */
  update(all: readonly { readonly owner: object; readonly totals: SessionTotals }[]): void {
    let sessionCount = 0;
    let connectedCount = 0;
    for (const { owner, totals } of all) {
      sessionCount += totals.sessions;
      connectedCount += totals.connected;
      const seen = this.#seen.get(owner) ?? this.#counters.map(() => 0);
      for (const [index, { slot, of }] of this.#counters.entries()) {
        const value = of(totals);
        this.#metrics.add(slot, value - seen[index]);
        seen[index] = value;
      }
      this.#seen.set(owner, seen);
    }
    this.#metrics.set(this.#metrics.slot(sessions), sessionCount);
    this.#metrics.set(this.#metrics.slot(connected), connectedCount);
  }
}
