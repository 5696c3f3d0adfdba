/** When each replica was heard of last, in ticks. Thread: the Raft worker; used by `replica.ts`. */
import type { ReplicaId } from '../consensus/types.ts';

export class Activity {
  private readonly limitTicks: number;
  private readonly lastTick = new Map<ReplicaId, number>();
  private now = 0;

  /** Silent for longer than `limitTicks` counts as gone. */
  constructor(limitTicks: number) {
    this.limitTicks = limitTicks;
  }

  tick(): void {
    this.now++;
  }

  heard(replica: ReplicaId): void {
    this.lastTick.set(replica, this.now);
  }

  isActive(replica: ReplicaId): boolean {
    const last = this.lastTick.get(replica);
    return last !== undefined && this.now - last <= this.limitTicks;
  }
}
