/** What groups say of themselves, for metrics and administrators. Thread: the owner of the groups; `GroupFigures` is plain data. */
import type { GroupStrategy } from '../../broker/group-strategies.ts';

/** One group, as its owner sees it. */
export interface GroupFigures {
  readonly tenant: string;
  readonly name: string;
  readonly filter: string;
  readonly strategy: GroupStrategy;
  /** Members that are there, those without a stored session included. */
  readonly members: number;
  /** Stored sessions that are subscribed, connected or not. */
  readonly sessions: number;
  /** Messages that no member has. */
  readonly waiting: number;
  /** Bytes of their records; those that were given before and came back are not in it. */
  readonly waitingBytes: number;
  /** False: more wait than is counted, in a part of the log that the index does not cover. */
  readonly isCounted: boolean;
  /** Messages that members have and have not acknowledged. */
  readonly inFlight: number;
  /** When the oldest message was stored that is in flight or waits, milliseconds since 1970; null: there is none, or it is being looked up. */
  readonly oldestAtMs: number | null;
  /** Since when no stored session is subscribed; null: one is. */
  readonly emptySinceMs: number | null;
  // Since the group was opened here.
  readonly given: number;
  readonly redelivered: number;
  readonly settled: number;
  readonly dropped: number;
}

/** What is counted as it happens, of one group or of all groups of an owner. */
export interface GroupCounts {
  /** Messages that were given to members, again included. */
  given: number;
  /** Those that may have been given before. */
  redelivered: number;
  settled: number;
  /** By limits, by their age, or since they could not be read any more. */
  dropped: number;
}

/** Of all groups of an owner. */
export interface GroupTotals extends Readonly<GroupCounts> {
  readonly groups: number;
  readonly members: number;
  readonly waiting: number;
  readonly inFlight: number;
  /** As in `GroupFigures`. */
  readonly oldestAtMs: number | null;
}

export function noCounts(): GroupCounts {
  return { given: 0, redelivered: 0, settled: 0, dropped: 0 };
}
