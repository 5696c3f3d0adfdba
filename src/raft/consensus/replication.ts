/**
 * The leader's side of the log: taking proposals on, sending them, counting who holds them (Raft, sections 5.3 and 5.4).
 * Raft worker; used by `consensus.ts`, `reconfiguration.ts` and `transfer.ts`.
 *
 * Nothing is sent at the moment something happens. `replicate` runs once per round of the driver and sends what is due then,
 * so that a round full of proposals and answers costs one append per follower.
 */
import type { Core, Leadership } from './core.ts';
import { entryBytes, totalBytes } from './entry-bytes.ts';
import type { Proposal } from './options.ts';
import type { Progress } from './progress.ts';
import { isQuorum, quorumValue } from './quorum.ts';
import { becomeFollower } from './roles.ts';
import { sendTimeoutNowIfCaughtUp } from './timeout-now.ts';
import type { AppendResponse, Entry, HeartbeatResponse, LogIndex, ReplicaId } from './types.ts';

const none: readonly Entry[] = [];

/** Whether the leader takes on so much more. One proposal is always taken on when nothing is uncommitted. */
export function hasRoom(core: Core, leadership: Leadership, proposals: readonly Proposal[]): boolean {
  if (leadership.uncommittedBytes === 0) return true;
  let bytes = leadership.uncommittedBytes;
  for (const proposal of proposals) bytes += entryBytes(proposal);
  return bytes <= core.options.uncommittedBytesMax;
}

/** Adds the proposals to the leader's log. Answers the index of the last one. */
export function appendProposals(core: Core, leadership: Leadership, proposals: readonly Proposal[]): LogIndex {
  const entries = new Array<Entry>(proposals.length);
  let index = core.log.lastIndex;
  for (let i = 0; i < proposals.length; i++) {
    const { kind, data } = proposals[i]!;
    index++;
    entries[i] = { term: core.term, index, kind, data };
  }
  core.log.append(entries);
  leadership.uncommittedBytes += totalBytes(entries);
  return index;
}

/** Entries were handed out for applying: what this leader took on is no longer uncommitted. */
export function releaseUncommitted(core: Core, leadership: Leadership, committed: readonly Entry[]): void {
  for (const entry of committed) {
    if (entry.term === core.term && entry.index > leadership.firstIndex) {
      leadership.uncommittedBytes -= entryBytes(entry);
    }
  }
}

/** Commits what a quorum holds durably. Only entries of the own term are counted (Raft, figure 8); the rest follows. */
export function advanceCommit(core: Core, leadership: Leadership): void {
  const { log } = core;
  const index = quorumValue(core.membership, (replica) => matchOf(core, leadership, replica));
  if (index <= log.commit || index < leadership.firstIndex) return;
  log.commitTo(index);
  leadership.reads.release(index);
}

/** Sends every follower what is due. */
export function replicate(core: Core, leadership: Leadership): void {
  const { pendingMembershipIndex, announcedCommit } = leadership;
  // Whoever a change concerns hears of it before the leader, who applies it, forgets a member that it removes.
  const isMembershipCommitted = core.log.commit >= pendingMembershipIndex;
  const announced = isMembershipCommitted ? Math.max(announcedCommit, pendingMembershipIndex) : announcedCommit;
  for (const progress of leadership.progress.values()) sendDue(core, progress, announced);
}

/** Newest commit index that some follower may hear of only with the next entries; 0 for none. */
export function untoldCommit(core: Core, leadership: Leadership): LogIndex {
  const { commit } = core.log;
  for (const progress of leadership.progress.values()) if (progress.isCommitNews(commit)) return commit;
  return 0;
}

export function handleAppendResponse(core: Core, leadership: Leadership, response: AppendResponse): void {
  const progress = leadership.progress.get(response.from);
  if (progress === undefined) return;
  progress.isActive = true;
  if (response.isRejected) {
    progress.reject(response.index, agreementHint(core, progress, response));
    return;
  }
  // Nobody can hold more than was sent.
  if (response.index > core.log.lastIndex) return;
  const isNews = progress.accept(response.index);
  if (!isNews && !(progress.state === 'probe' && response.index === progress.match)) return;
  if (progress.state === 'replicate') {
    progress.inflights.freeTo(response.index);
  } else if (progress.state === 'probe' || progress.match + 1 >= core.log.firstIndex) {
    // Of a snapshot: the follower has it, or has come far enough without it.
    progress.becomeReplicate();
  }
  advanceCommit(core, leadership);
  if (response.from === leadership.transferTarget) sendTimeoutNowIfCaughtUp(core, leadership);
}

export function handleHeartbeatResponse(core: Core, leadership: Leadership, response: HeartbeatResponse): void {
  const progress = leadership.progress.get(response.from);
  if (progress === undefined) return;
  progress.isActive = true;
  progress.isProbing = false;
  // Something that was sent may have been lost; an append after it makes the follower complain.
  if (progress.match < core.log.lastIndex || progress.state === 'probe') progress.mustPing = true;
  if (response.readSequence > progress.readSequence) progress.readSequence = response.readSequence;
}

/** `readSequence` asks for an answer; the same one goes to everybody. */
export function sendHeartbeat(core: Core, leadership: Leadership, progress: Progress): void {
  // Not beyond what the follower is known to hold: behind that its log may be another one.
  const commit = Math.min(progress.match, core.log.commit);
  progress.told(commit);
  core.send({
    type: 'heartbeat',
    from: core.replica,
    to: progress.replica,
    term: core.term,
    commit,
    readSequence: leadership.reads.sequence,
  });
}

/** Once per election time-out: a leader that does not hear of a quorum steps down (thesis, section 6.2). */
export function checkQuorum(core: Core, leadership: Leadership): void {
  const isHeard = (replica: ReplicaId) =>
    replica === core.replica || leadership.progress.get(replica)?.isActive === true;
  if (!isQuorum(core.membership, isHeard)) {
    becomeFollower(core, core.term, 0);
    return;
  }
  for (const progress of leadership.progress.values()) progress.isActive = false;
}

/** The leader counts itself by what its own disk holds. */
function matchOf(core: Core, leadership: Leadership, replica: ReplicaId): LogIndex {
  if (replica === core.replica) return core.log.durable;
  return leadership.progress.get(replica)?.match ?? 0;
}

/** Where the logs may agree, seen from both: the follower's hint, and where this log's terms are not above the follower's. */
function agreementHint(core: Core, progress: Progress, response: AppendResponse): LogIndex {
  if (response.hintTerm === 0) return response.hintIndex;
  const floor = Math.min(progress.match, response.hintIndex);
  return core.log.lastNotAbove(response.hintTerm, response.hintIndex, floor).index;
}

function sendDue(core: Core, progress: Progress, announced: LogIndex): void {
  const { log, options } = core;
  while (!progress.isPaused) {
    const previousIndex = progress.next - 1;
    const previousTerm = log.term(previousIndex);
    const isFull = progress.state === 'replicate' && progress.inflights.isFull;
    const entries = isFull ? none : log.entries(progress.next, log.lastIndex + 1, options.messageBytesMax);
    if (previousTerm === null || entries === null) {
      sendSnapshot(core, progress);
      return;
    }
    const isPing = progress.state === 'probe' || progress.mustPing;
    const isDue = entries.length > 0 || isPing || progress.isCommitDue(log.commit, announced);
    if (!isDue) return;
    core.send({
      type: 'append',
      from: core.replica,
      to: progress.replica,
      term: core.term,
      previousIndex,
      previousTerm,
      entries,
      commit: log.commit,
    });
    progress.sent(entries.length, totalBytes(entries), log.commit);
  }
}

/** What the follower needs next was compacted. One that is not heard of has to wait: a snapshot is expensive. */
function sendSnapshot(core: Core, progress: Progress): void {
  if (!progress.isActive) return;
  const position = core.log.snapshotPosition();
  if (position === null || position.index <= progress.match) return;
  progress.becomeSnapshot(position.index);
  core.send({ type: 'snapshot', from: core.replica, to: progress.replica, term: core.term, position });
}
