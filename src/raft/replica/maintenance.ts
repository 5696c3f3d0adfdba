/**
 * Writes the state to its store in the background and cuts the log behind it. Thread: the Raft worker; used by
 * `replica.ts`.
 */
import type { LogIndex, ReplicaId } from '../consensus/types.ts';
import type { PlacementState } from '../placement/placement-state.ts';
import type { RaftLog } from '../ports.ts';
import type { Activity } from './activity.ts';
import { type CompactionLimits, CompactionPlan } from './compaction.ts';
import type { CoreStatus } from './status.ts';

export interface MaintenanceHost {
  readonly log: RaftLog;
  readonly state: PlacementState;
  readonly activity: Activity;
  now(): number;
  core(): CoreStatus;
  fail(fault: Error): void;
  /** Runs `work` unless the replica has stopped; what it throws is a fault. */
  guarded(work: () => void): void;
}

export class Maintenance {
  private readonly host: MaintenanceHost;
  private readonly plan: CompactionPlan;
  /** Position of the state that each follower is being sent. */
  private readonly outgoing = new Map<ReplicaId, LogIndex>();
  private isFlushing = false;
  private next: (() => void) | null = null;

  constructor(host: MaintenanceHost, limits: CompactionLimits) {
    this.host = host;
    this.plan = new CompactionPlan(limits);
  }

  /** Begins a flush when one is due. */
  run(): void {
    const { state, now } = this.host;
    if (this.isFlushing || !state.needsFlush(now())) return;
    this.isFlushing = true;
    state.flush((error) => {
      this.isFlushing = false;
      if (error !== null) this.host.fail(error);
      else this.host.guarded(() => this.compact());
      const { next } = this;
      this.next = null;
      next?.();
    });
  }

  /** Runs `work` when no flush is under way: now, or after it. At most one waits. */
  whenIdle(work: () => void): void {
    if (this.isFlushing) this.next = work;
    else work();
  }

  /** A follower is being sent the state as of `index`: it will need the entries after it. */
  snapshotBegins(follower: ReplicaId, index: LogIndex): void {
    this.outgoing.set(follower, index);
  }

  snapshotEnds(follower: ReplicaId): void {
    this.outgoing.delete(follower);
  }

  /** The state was replaced by a received one. */
  reset(): void {
    this.plan.reset();
  }

  private compact(): void {
    const { log, state } = this.host;
    const durable = state.durablePosition;
    this.plan.remember(durable);
    const place = this.plan.next({
      firstIndex: log.firstIndex(),
      logBytes: log.sizeBytes(),
      durable,
      neededAfter: this.neededAfter(),
    });
    if (place !== null) log.compact(place);
  }

  /** The last index that every follower has that is being served now. */
  private neededAfter(): LogIndex {
    const { role, replica: self, progress } = this.host.core();
    let index = Number.POSITIVE_INFINITY;
    if (role !== 'leader') return index;
    for (const [replica, { match, state }] of progress) {
      if (replica === self || !this.host.activity.isActive(replica)) continue;
      index = Math.min(index, state === 'snapshot' ? (this.outgoing.get(replica) ?? match) : match);
    }
    return index;
  }
}
