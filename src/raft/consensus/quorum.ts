/**
 * Majorities of joint configurations: free functions over a membership. Raft worker.
 *
 * In a joint configuration both halves must agree, each by its own majority. An empty half agrees with everything.
 */
import type { Membership, ReplicaId } from './types.ts';

export type Outcome = 'won' | 'lost' | 'open';

/** Highest value that a majority of both halves has reached; infinite without voters. */
export function quorumValue(membership: Membership, reachedBy: (replica: ReplicaId) => number): number {
  const incoming = majorityValue(membership.voters, reachedBy);
  if (membership.outgoing.length === 0) return incoming;
  return Math.min(incoming, majorityValue(membership.outgoing, reachedBy));
}

/** Whether a vote is decided: lost as soon as one half cannot win any more. */
export function voteOutcome(membership: Membership, votes: ReadonlyMap<ReplicaId, boolean>): Outcome {
  const incoming = majorityOutcome(membership.voters, votes);
  if (membership.outgoing.length === 0) return incoming;
  const outgoing = majorityOutcome(membership.outgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'open';
}

/** Whether `holds` is true of a majority in both halves. */
export function isQuorum(membership: Membership, holds: (replica: ReplicaId) => boolean): boolean {
  return quorumValue(membership, (replica) => (holds(replica) ? 1 : 0)) >= 1;
}

/** Reused between calls: this runs for every answer of a follower, and never inside itself. */
const scratch: number[] = [];

function majorityValue(voters: readonly ReplicaId[], reachedBy: (replica: ReplicaId) => number): number {
  const count = voters.length;
  if (count === 0) return Number.POSITIVE_INFINITY;
  // Insertion sort, descending: groups are small.
  for (let i = 0; i < count; i++) {
    const value = reachedBy(voters[i]!);
    let at = i;
    for (; at > 0 && scratch[at - 1]! < value; at--) scratch[at] = scratch[at - 1]!;
    scratch[at] = value;
  }
  return scratch[Math.floor(count / 2)]!;
}

function majorityOutcome(voters: readonly ReplicaId[], votes: ReadonlyMap<ReplicaId, boolean>): Outcome {
  const needed = Math.floor(voters.length / 2) + 1;
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === true) granted++;
    else if (vote === false) refused++;
  }
  if (voters.length === 0 || granted >= needed) return 'won';
  return voters.length - refused < needed ? 'lost' : 'open';
}
