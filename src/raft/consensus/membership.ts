/**
 * Changes of the membership as pure functions: from one configuration and a list of changes to the next. Raft worker.
 *
 * A change of at most one voter is made in one step, since old and new majorities always overlap. Anything larger goes
 * through a joint configuration (Ongaro's thesis, section 4.3), which the leader leaves by itself with an empty change.
 */
import type { MembershipRefusal } from './options.ts';
import type { MemberChange, Membership, ReplicaId } from './types.ts';

export function isJoint(membership: Membership): boolean {
  return membership.outgoing.length > 0;
}

/** Whether it may vote and be elected: in either half of a joint configuration. */
export function isVoter(membership: Membership, replica: ReplicaId): boolean {
  return membership.voters.includes(replica) || membership.outgoing.includes(replica);
}

/** Voters of both halves, in ascending order. */
export function votersOf(membership: Membership): readonly ReplicaId[] {
  return sorted(new Set([...membership.voters, ...membership.outgoing]));
}

/** Everybody who receives the log, in ascending order. */
export function membersOf(membership: Membership): readonly ReplicaId[] {
  const members = new Set([
    ...membership.voters,
    ...membership.outgoing,
    ...membership.learners,
    ...membership.learnersNext,
  ]);
  return sorted(members);
}

/** The configuration after the changes, or why there is none. No changes: the joint configuration is left. */
export function changeMembership(
  membership: Membership,
  changes: readonly MemberChange[],
): Membership | MembershipRefusal {
  if (changes.length === 0) return leaveJoint(membership);
  if (isJoint(membership)) return 'joint';
  if (!changes.every((change) => Number.isSafeInteger(change.replica) && change.replica > 0)) return 'invalid';
  const simple = edit(membership, [], changes);
  const next =
    differences(membership.voters, simple.voters) <= 1 ? simple : edit(membership, membership.voters, changes);
  return next.voters.length === 0 || isSame(next, membership) ? 'invalid' : next;
}

function leaveJoint(membership: Membership): Membership | MembershipRefusal {
  if (!isJoint(membership)) return 'not-joint';
  return {
    voters: membership.voters,
    outgoing: [],
    learners: sorted([...membership.learners, ...membership.learnersNext]),
    learnersNext: [],
    autoLeave: false,
  };
}

/** Makes the changes in order; what leaves the voters while it is still in `outgoing` becomes a learner later. */
function edit(membership: Membership, outgoing: readonly ReplicaId[], changes: readonly MemberChange[]): Membership {
  const voters = new Set(membership.voters);
  const learners = new Set(membership.learners);
  const learnersNext = new Set(membership.learnersNext);
  for (const { action, replica } of changes) {
    voters.delete(replica);
    learners.delete(replica);
    learnersNext.delete(replica);
    if (action === 'add-voter') voters.add(replica);
    else if (action === 'add-learner') (outgoing.includes(replica) ? learnersNext : learners).add(replica);
  }
  return {
    voters: sorted(voters),
    outgoing,
    learners: sorted(learners),
    learnersNext: sorted(learnersNext),
    autoLeave: outgoing.length > 0,
  };
}

function sorted(replicas: Iterable<ReplicaId>): readonly ReplicaId[] {
  return [...replicas].sort((a, b) => a - b);
}

function differences(before: readonly ReplicaId[], after: readonly ReplicaId[]): number {
  const added = after.filter((replica) => !before.includes(replica)).length;
  const removed = before.filter((replica) => !after.includes(replica)).length;
  return added + removed;
}

function isSame(a: Membership, b: Membership): boolean {
  return (
    a.outgoing.length === b.outgoing.length &&
    differences(a.voters, b.voters) === 0 &&
    differences(a.learners, b.learners) === 0
  );
}
