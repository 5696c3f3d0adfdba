/**
 * Decides how far the log may be cut. Positions are remembered at flushes, because a cut needs the term and the
 * membership of its place. Thread: the Raft worker; used by `replica.ts`.
 */
import type { LogIndex, SnapshotPosition } from '../consensus/types.ts';

/** So many places are remembered among the entries that are kept. */
const PLACES_KEPT = 10;
/** With more places than that, every second one is forgotten. */
const PLACES_MAX = 1_000;
/** Beyond so many times the wanted size nobody is waited for. */
const HARD_FACTOR = 4;

export interface CompactionLimits {
  readonly keptEntries: number;
  readonly logBytesMax: number;
}

export interface CompactionView {
  readonly firstIndex: LogIndex;
  readonly logBytes: number;
  /** What is durable in the state machine. */
  readonly durable: SnapshotPosition;
  /** The last index that every follower that is being served has, or whose snapshot it receives. */
  readonly neededAfter: LogIndex;
}

export class CompactionPlan {
  private places: SnapshotPosition[] = [];
  private readonly limits: CompactionLimits;

  constructor(limits: CompactionLimits) {
    this.limits = limits;
  }

  remember(position: SnapshotPosition): void {
    const last = this.places.at(-1);
    const spacing = Math.max(1, Math.floor(this.limits.keptEntries / PLACES_KEPT));
    if (last !== undefined && position.index < last.index + spacing) return;
    this.places.push(position);
    if (this.places.length > PLACES_MAX) this.places = this.places.filter((_, index) => index % 2 === 1);
  }

  /** Up to where the log may be cut now; null when it is fine as it is. */
  next({ firstIndex, logBytes, durable, neededAfter }: CompactionView): SnapshotPosition | null {
    const { keptEntries, logBytesMax } = this.limits;
    const isHuge = logBytes > logBytesMax * HARD_FACTOR;
    const isLarge = logBytes > logBytesMax;
    // Cutting a few entries at a time would be work without gain.
    if (!isLarge && durable.index - firstIndex < keptEntries * 2) return null;
    const kept = isHuge ? 0 : isLarge ? Math.floor(keptEntries / 10) : keptEntries;
    const wanted = durable.index - kept;
    const limit = isHuge ? wanted : Math.min(wanted, neededAfter);
    const place = limit >= durable.index ? durable : this.places.findLast(({ index }) => index <= limit);
    if (place === undefined || place.index < firstIndex) return null;
    this.places = this.places.filter(({ index }) => index > place.index);
    return place;
  }

  /** A snapshot was installed: what was remembered is before the log's beginning. */
  reset(): void {
    this.places = [];
  }
}
