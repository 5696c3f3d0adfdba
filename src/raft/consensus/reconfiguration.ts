/**
 * Changes of the membership on their way through the log. A change is in force when it is applied, not when it is appended;
 * at most one is on its way. Raft worker; used by `consensus.ts`.
 */
import type { Core, Leadership } from './core.ts';
import { changeMembership, isJoint, isVoter, membersOf } from './membership.ts';
import { encodeMembershipChange } from './membership-codec.ts';
import type { Proposal, ProposeMembershipResult } from './options.ts';
import { advanceCommit, appendProposals } from './replication.ts';
import { becomeFollower } from './roles.ts';
import { handOverIfDue, isHandingOver } from './transfer.ts';
import { entryKinds, type Membership, type MembershipChange } from './types.ts';

/** Appends the change, or says why not. */
export function proposeChange(core: Core, leadership: Leadership, change: MembershipChange): ProposeMembershipResult {
  if (isHandingOver(core, leadership)) return 'transferring';
  // A leader that has committed nothing yet may hold a change of an earlier term that is neither in force nor out of the
  // world; a second one beside it can make two majorities that do not overlap.
  if (core.log.commit < leadership.firstIndex) return 'not-ready';
  if (leadership.pendingMembershipIndex > core.log.applied) return 'pending';
  const next = changeMembership(core.membership, change.changes);
  if (typeof next === 'string') return next;
  appendChange(core, leadership, change);
  return 'accepted';
}

/** The change was applied: it is in force from now on. Null, or a change that is none: nothing happens. */
export function applyChange(core: Core, change: MembershipChange | null): Membership {
  if (change !== null) {
    const next = changeMembership(core.membership, change.changes);
    if (typeof next !== 'string') enforceMembership(core, next);
  }
  return core.membership;
}

/** The leader proposes to leave a joint configuration that asks for it, as soon as it is in force. */
export function leaveJointIfDue(core: Core, leadership: Leadership): void {
  const { log, membership } = core;
  if (!isJoint(membership) || !membership.autoLeave) return;
  if (log.commit < leadership.firstIndex || log.applied < leadership.pendingMembershipIndex) return;
  appendChange(core, leadership, { changes: [], context: new Uint8Array(0) });
}

function appendChange(core: Core, leadership: Leadership, change: MembershipChange): void {
  const proposal: Proposal = { kind: entryKinds.membership, data: encodeMembershipChange(change) };
  leadership.pendingMembershipIndex = appendProposals(core, leadership, [proposal]);
}

/** The membership is in force from now on. */
export function enforceMembership(core: Core, membership: Membership): void {
  core.membership = membership;
  const { leadership } = core;
  if (leadership !== null) enforceOnLeader(core, leadership);
  else if (core.role !== 'follower' && !core.isVoter) becomeFollower(core, core.term, 0);
}

function enforceOnLeader(core: Core, leadership: Leadership): void {
  const members = membersOf(core.membership);
  for (const replica of leadership.progress.keys()) {
    if (!members.includes(replica)) leadership.progress.delete(replica);
  }
  for (const replica of members) {
    // Counts as active: it had no time to be heard of before the next check of the quorum.
    if (replica !== core.replica && !leadership.progress.has(replica)) {
      leadership.progress.set(replica, core.newProgress(replica, true));
    }
  }
  if (!isVoter(core.membership, leadership.transferTarget)) leadership.transferTarget = 0;
  // A smaller group may have a majority for what the larger one had not.
  advanceCommit(core, leadership);
  handOverIfDue(core, leadership);
}
