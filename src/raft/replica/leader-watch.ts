/**
 * How long the group has been without a leader, as far as this replica can tell: then nobody's call should wait here, since
 * another replica may know more. Thread: the Raft worker; used by `replica.ts`.
 */
import { isQuorum } from '../consensus/quorum.ts';
import type { Activity } from './activity.ts';
import type { CoreStatus } from './status.ts';

export class LeaderWatch {
  private readonly limitTicks: number;
  private readonly activity: Activity;
  private ticksWithout = 0;

  /** `limitTicks`: one election time-out. */
  constructor(limitTicks: number, activity: Activity) {
    this.limitTicks = limitTicks;
    this.activity = activity;
  }

  /**
   * Whether what waits is to be answered now: no leader was known for an election time-out (a silent one counts for that
   * long, too), and once more after each further one. So a call that comes meanwhile waits no longer either.
   */
  get isTimeToAnswer(): boolean {
    return this.ticksWithout > 0 && this.ticksWithout % this.limitTicks === 0;
  }

  tick(core: CoreStatus): void {
    if (this.hasLeader(core)) this.ticksWithout = 0;
    else this.ticksWithout++;
  }

  /** A leader was found. */
  found(): void {
    this.ticksWithout = 0;
  }

  /** Leads a majority, or hears of who leads. */
  private hasLeader({ role, leader, replica, membership }: CoreStatus): boolean {
    if (role !== 'leader') return leader !== 0 && this.activity.isActive(leader);
    return isQuorum(membership, (member) => member === replica || this.activity.isActive(member));
  }
}
