/** What a connection worker counts of the shared groups that it owns and keeps messages for. Thread: the definitions any, the values the worker's. */
import type { MetricDefinition, ThreadMetrics } from './metrics.ts';

const groups = 'ringmq_durable_groups';
const members = 'ringmq_durable_group_members';
const waiting = 'ringmq_durable_group_waiting_messages';
const inFlight = 'ringmq_durable_group_in_flight_messages';
const oldest = 'ringmq_durable_group_oldest_message_seconds';
const counters = {
  given: {
    name: 'ringmq_durable_group_given_total',
    help: 'Messages of kept groups that were given to members, again included.',
  },
  redelivered: {
    name: 'ringmq_durable_group_redelivered_total',
    help: 'Messages of kept groups that were given to a member and may have been given before.',
  },
  settled: {
    name: 'ringmq_durable_group_settled_total',
    help: 'Messages of kept groups that members have acknowledged.',
  },
  dropped: {
    name: 'ringmq_durable_group_dropped_total',
    help: 'Messages of kept groups that went by limits or age, or could not be read any more.',
  },
} as const;
type Counter = keyof typeof counters;
const counterNames = Object.keys(counters) as Counter[];

export function groupMetricDefinitions(): MetricDefinition[] {
  return [
    { name: groups, help: 'Shared groups that messages are kept for.', kind: 'gauge' },
    { name: members, help: 'Connected members of kept groups.', kind: 'gauge' },
    { name: waiting, help: 'Messages that wait for a member of a kept group.', kind: 'gauge' },
    { name: inFlight, help: 'Messages that members of kept groups have and have not acknowledged.', kind: 'gauge' },
    { name: oldest, help: 'Age of the oldest message that waits or is in flight in a kept group.', kind: 'gauge' },
    ...Object.values(counters).map((counter): MetricDefinition => ({ ...counter, kind: 'counter' })),
  ];
}

/** Of the groups of one opened slot. */
export interface GroupMetricTotals extends Readonly<Record<Counter, number>> {
  readonly groups: number;
  readonly members: number;
  readonly waiting: number;
  readonly inFlight: number;
  /** Milliseconds since 1970; null: none. */
  readonly oldestAtMs: number | null;
}

export class GroupMetrics {
  readonly #metrics: ThreadMetrics;
  readonly #slots: Readonly<Record<'groups' | 'members' | 'waiting' | 'inFlight' | 'oldest', number>>;
  readonly #counters: ReadonlyMap<Counter, number>;
  readonly #seen = new WeakMap<object, Map<Counter, number>>();

  constructor(metrics: ThreadMetrics) {
    this.#metrics = metrics;
    const slot = (name: string): number => metrics.slot(name);
    this.#slots = {
      ...{ groups: slot(groups), members: slot(members), waiting: slot(waiting) },
      ...{ inFlight: slot(inFlight), oldest: slot(oldest) },
    };
    this.#counters = new Map(counterNames.map((name) => [name, slot(counters[name].name)]));
  }

  /** `all`: the slots that are open, each with what it is known by. */
  update(all: readonly { readonly owner: object; readonly totals: GroupMetricTotals }[], nowMs: number): void {
    const metrics = this.#metrics;
    const sum = { groups: 0, members: 0, waiting: 0, inFlight: 0 };
    let oldestAtMs = nowMs;
    for (const { owner, totals } of all) {
      sum.groups += totals.groups;
      sum.members += totals.members;
      sum.waiting += totals.waiting;
      sum.inFlight += totals.inFlight;
      oldestAtMs = Math.min(oldestAtMs, totals.oldestAtMs ?? nowMs);
      const seen = this.#seen.get(owner) ?? new Map<Counter, number>();
      for (const [name, slot] of this.#counters) {
        metrics.add(slot, totals[name] - (seen.get(name) ?? 0));
        seen.set(name, totals[name]);
      }
      this.#seen.set(owner, seen);
    }
    metrics.set(this.#slots.groups, sum.groups);
    metrics.set(this.#slots.members, sum.members);
    metrics.set(this.#slots.waiting, sum.waiting);
    metrics.set(this.#slots.inFlight, sum.inFlight);
    metrics.set(this.#slots.oldest, (nowMs - oldestAtMs) / 1000);
  }
}
