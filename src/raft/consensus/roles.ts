/** The four roles and how a replica comes into them. Raft worker; used by the other parts of the consensus core. */
import { assert } from '../../std/assert.ts';
import { type Core, Leadership } from './core.ts';
import { membersOf, votersOf } from './membership.ts';
import { entryKinds, type ReplicaId, type Role, type Term } from './types.ts';

/** @param leader 0 when it is not known. */
export function becomeFollower(core: Core, term: Term, leader: ReplicaId): void {
  enter(core, 'follower', term, leader);
}

/** Asks around first: neither term nor vote change. */
export function becomePreCandidate(core: Core): void {
  enter(core, 'pre-candidate', core.term, 0);
}

/** A new term with the vote for itself, which counts when it is durable. */
export function becomeCandidate(core: Core): void {
  enter(core, 'candidate', core.term + 1, 0);
  core.vote = core.replica;
}

/** Begins the term with an empty entry: with it, everything before it is committed too (Raft, section 5.4.2). */
export function becomeLeader(core: Core): void {
  assert(core.role === 'candidate', 'Only a candidate is elected');
  enter(core, 'leader', core.term, core.replica);
  const leadership = new Leadership(core.log.lastIndex);
  for (const replica of membersOf(core.membership)) {
    if (replica !== core.replica) leadership.progress.set(replica, core.newProgress(replica, false));
  }
  core.leadership = leadership;
  core.log.append([
    { term: core.term, index: core.log.lastIndex + 1, kind: entryKinds.command, data: new Uint8Array(0) },
  ]);
}

/** Ticks between the campaigns of two voters that lose their leader at the same moment: enough for one election. */
const campaignSpacing = 2;

/**
 * The leader cannot be reached any more. The voters campaign soon and one after the other, the lowest id first, so that they
 * do not split the vote; the next one's turn comes when the one before it was not elected.
 */
export function loseLeader(core: Core): void {
  const { leader, replica, electionElapsed } = core;
  core.leader = 0;
  const rank = votersOf(core.membership).filter((voter) => voter !== leader && voter < replica).length;
  core.electionTimeout = Math.min(core.electionTimeout, electionElapsed + 1 + campaignSpacing * rank);
}

function enter(core: Core, role: Role, term: Term, leader: ReplicaId): void {
  assert(term >= core.term, 'Terms only grow');
  if (term > core.term) {
    core.term = term;
    core.vote = 0;
  }
  core.role = role;
  core.leader = leader;
  core.leadership = null;
  core.votes.clear();
  core.electionElapsed = 0;
  core.heartbeatElapsed = 0;
  core.randomizeElectionTimeout();
}
