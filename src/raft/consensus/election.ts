/**
 * Elections: pre-vote, vote, and who may ask for them (Ongaro's thesis, sections 3.4, 3.6 and 9.6). Raft worker; used by
 * `consensus.ts`.
 */
import type { Core } from './core.ts';
import { votersOf } from './membership.ts';
import { voteOutcome } from './quorum.ts';
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate } from './roles.ts';
import { entryKinds, type ReplicaId, type VoteRequest, type VoteResponse } from './types.ts';

/** Entries looked through at a time for a membership change. */
const scanBytes = 1024 * 1024;

/** Tries to become leader, if this replica is a voter. */
export function campaign(core: Core): void {
  if (core.isVoter && isFit(core)) askAround(core);
}

/** The leader hands over to this replica: nobody is asked first. */
export function campaignForTransfer(core: Core): void {
  if (core.isVoter && isFit(core)) stand(core, true);
}

/**
 * A replica that has lost its vote tries to become leader, after the voters had more than enough time.
 *
 * Example: 2 leads {1, 2}, is removed, applies that, and fails before 1 hears that it is committed. Now 1 needs the vote of 2, by
 * the membership that it knows, and 2 may never give it: its log is longer. But 2 needs only 1. Elected, it commits what it
 * has and hands over. Replicas that were removed long ago ask in vain, since their logs are old, and disturb nobody, since
 * they ask for pre-votes. Whoever leads, it takes a majority of voters: that is all that the safety of Raft asks for.
 */
export function campaignWithoutVote(core: Core): void {
  if (core.log.lastIndex > 0 && core.membership.voters.length > 0 && isFit(core)) askAround(core);
}

/** The vote for itself in the present term is durable. */
export function ownVotePersisted(core: Core): void {
  if (core.role === 'candidate') count(core, core.replica, true);
}

/** Whether the request may be looked at: one that would only disturb a live leader is not. Thesis, section 4.2.3. */
export function isVoteWelcome(core: Core, request: VoteRequest): boolean {
  return request.isTransfer || !core.hasLiveLeader;
}

/** The request's term is not below this replica's; only in a pre-vote it may be above. */
export function handleVoteRequest(core: Core, request: VoteRequest): void {
  const canVote =
    core.vote === request.from ||
    (core.vote === 0 && core.leader === 0) ||
    (request.preVote && request.term > core.term);
  // Learners and replicas outside of their own membership vote as well: theirs may be the older one. The candidate counts.
  if (!canVote || !core.log.isUpToDate(request.lastIndex, request.lastTerm)) {
    answerVote(core, request, core.term, false);
    return;
  }
  if (!request.preVote) {
    core.electionElapsed = 0;
    core.vote = request.from;
  }
  // With the term of the request: a pre-vote is for a term that this replica has not entered.
  answerVote(core, request, request.term, true);
}

/** A refusal, in this replica's own term: it tells a candidate that is behind of the newer term. */
export function refuseVote(core: Core, request: VoteRequest): void {
  answerVote(core, request, core.term, false);
}

export function handleVoteResponse(core: Core, response: VoteResponse): void {
  if (core.role !== (response.preVote ? 'pre-candidate' : 'candidate')) return;
  // A yes is for the term that was asked for: another one answers an earlier question.
  const asked = response.preVote ? core.term + 1 : core.term;
  if (response.isGranted && response.term !== asked) return;
  count(core, response.from, response.isGranted);
}

function isFit(core: Core): boolean {
  return core.role !== 'leader' && !core.log.isRestoring && !hasUnappliedMembership(core);
}

function askAround(core: Core): void {
  becomePreCandidate(core);
  requestVotes(core, true, false);
  count(core, core.replica, true);
}

function stand(core: Core, isTransfer: boolean): void {
  becomeCandidate(core);
  requestVotes(core, false, isTransfer);
}

function count(core: Core, from: ReplicaId, isGranted: boolean): void {
  if (!core.votes.has(from)) core.votes.set(from, isGranted);
  const outcome = voteOutcome(core.membership, core.votes);
  if (outcome === 'lost') becomeFollower(core, core.term, 0);
  if (outcome !== 'won') return;
  if (core.role === 'pre-candidate') stand(core, false);
  else becomeLeader(core);
}

function requestVotes(core: Core, preVote: boolean, isTransfer: boolean): void {
  for (const to of votersOf(core.membership)) {
    if (to === core.replica) continue;
    const request: VoteRequest = {
      type: 'vote',
      from: core.replica,
      to,
      term: preVote ? core.term + 1 : core.term,
      preVote,
      lastIndex: core.log.lastIndex,
      lastTerm: core.log.lastTerm,
      isTransfer,
    };
    // Elected by the others' votes before its own is durable, a replica could crash, forget the term, and lead it a second
    // time with other entries. So the request already waits for the disk.
    if (preVote) core.send(request);
    else core.sendAfterPersist(request);
  }
}

function answerVote(core: Core, request: VoteRequest, term: number, isGranted: boolean): void {
  const response: VoteResponse = {
    type: 'vote-response',
    from: core.replica,
    to: request.from,
    term,
    preVote: request.preVote,
    isGranted,
  };
  if (request.preVote) core.send(response);
  else core.sendAfterPersist(response);
}

/** Whether a change is committed that this replica does not follow yet: it would count by the wrong majority. */
function hasUnappliedMembership(core: Core): boolean {
  const { log } = core;
  for (let low = log.applied + 1; low <= log.commit; ) {
    const entries = log.entries(low, log.commit + 1, scanBytes);
    if (entries === null || entries.length === 0) return true;
    if (entries.some((entry) => entry.kind === entryKinds.membership)) return true;
    low += entries.length;
  }
  return false;
}
