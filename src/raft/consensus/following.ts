/** What a follower does with its leader's messages (Raft, section 5.3). Raft worker; used by `consensus.ts`. */
import { assert } from '../../std/assert.ts';
import type { Core } from './core.ts';
import { enforceMembership } from './reconfiguration.ts';
import { becomeFollower } from './roles.ts';
import type { AppendRequest, HeartbeatRequest, SnapshotPosition, SnapshotRequest } from './types.ts';

export function handleAppend(core: Core, request: AppendRequest): void {
  const { log } = core;
  if (request.previousIndex < log.commit) {
    // Committed here, so it agrees with the leader: nothing to compare, and perhaps compacted.
    core.acknowledge(request.from, log.commit);
    return;
  }
  const last = log.merge(request.previousIndex, request.previousTerm, request.entries);
  if (last === null) {
    rejectAppend(core, request);
    return;
  }
  log.commitTo(Math.min(request.commit, last));
  core.acknowledge(request.from, last);
}

export function handleHeartbeat(core: Core, request: HeartbeatRequest): void {
  core.log.commitTo(request.commit);
  core.send({
    type: 'heartbeat-response',
    from: core.replica,
    to: request.from,
    term: core.term,
    readSequence: request.readSequence,
  });
}

export function handleSnapshot(core: Core, request: SnapshotRequest): void {
  takeSnapshot(core, request.position);
  core.acknowledge(request.from, core.log.commit);
}

/**
 * The driver has installed the state at `position`, if that is newer than what it had applied. So the core follows, even when
 * the leader who sent it leads no more: what it had applied is committed for all time.
 *
 * The log is kept where it leads to that position, since entries behind it may have been acknowledged; otherwise it begins
 * anew. The membership of the position may lack this replica: it was taken before the replica was added, and entries behind
 * it will say so.
 */
export function takeSnapshot(core: Core, position: SnapshotPosition): void {
  const { log } = core;
  if (position.index <= log.applied) return;
  if (position.index <= log.commit || log.term(position.index) === position.term) log.skipTo(position.index);
  else restore(core, position);
  enforceMembership(core, position.membership);
}

function restore(core: Core, position: SnapshotPosition): void {
  assert(core.role !== 'leader', 'A leader holds everything that is committed');
  if (core.role !== 'follower') becomeFollower(core, core.term, 0);
  core.log.restore(position);
}

/** Tells the leader the last place where the logs may agree, so that it need not go back entry by entry. */
function rejectAppend(core: Core, request: AppendRequest): void {
  const hint = core.log.lastNotAbove(request.previousTerm, request.previousIndex, core.log.commit);
  core.sendAfterPersist({
    type: 'append-response',
    from: core.replica,
    to: request.from,
    term: core.term,
    index: request.previousIndex,
    isRejected: true,
    hintIndex: hint.index,
    hintTerm: hint.term,
  });
}
