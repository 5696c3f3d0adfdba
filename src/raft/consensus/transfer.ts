/**
 * Handing leadership over to a chosen replica (Ongaro's thesis, section 3.10), and when a leader does so by itself. Raft
 * worker; used by `consensus.ts` and `reconfiguration.ts`.
 */
import type { Core, Leadership } from './core.ts';
import { isVoter } from './membership.ts';
import type { Progress } from './progress.ts';
import { sendTimeoutNowIfCaughtUp } from './timeout-now.ts';
import type { ReplicaId } from './types.ts';

/** The target gets what it lacks, then campaigns. Given up after an election time-out; another target replaces it. */
export function beginTransfer(core: Core, leadership: Leadership, target: ReplicaId): void {
  if (target === leadership.transferTarget) return;
  leadership.transferTarget = 0;
  const progress = leadership.progress.get(target);
  if (progress === undefined || !isVoter(core.membership, target)) return;
  leadership.transferTarget = target;
  leadership.transferElapsed = 0;
  if (progress.match < core.log.lastIndex) progress.mustPing = true;
  else sendTimeoutNowIfCaughtUp(core, leadership);
}

/** Whether this leader takes nothing on any more. */
export function isHandingOver(core: Core, leadership: Leadership): boolean {
  return leadership.transferTarget !== 0 || !core.isVoter;
}

/**
 * A leader that has no vote hands over to the voter that holds most of the log. Until then it leads on: should it just step
 * down, those who stay might need its vote to be elected, not having heard yet that its removal is committed, and not get it,
 * its log being longer than theirs.
 */
export function handOverIfDue(core: Core, leadership: Leadership): void {
  if (core.isVoter || leadership.transferTarget !== 0) return;
  let best: Progress | null = null;
  for (const progress of leadership.progress.values()) {
    const isFit = progress.isActive && core.membership.voters.includes(progress.replica);
    if (isFit && (best === null || progress.match > best.match)) best = progress;
  }
  if (best !== null) beginTransfer(core, leadership, best.replica);
}

export function tickTransfer(core: Core, leadership: Leadership): void {
  if (leadership.transferTarget !== 0) {
    leadership.transferElapsed++;
    if (leadership.transferElapsed >= core.options.electionTicks) leadership.transferTarget = 0;
    // Once more: the first may be lost, or have met a target that had a membership change left to apply.
    else sendTimeoutNowIfCaughtUp(core, leadership);
  }
  handOverIfDue(core, leadership);
}
