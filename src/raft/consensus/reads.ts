/** ReadIndex on the leader: from the request to the answer (Ongaro's thesis, section 6.4). Raft worker. */
import type { Core, Leadership } from './core.ts';
import { isVoter } from './membership.ts';
import { quorumValue } from './quorum.ts';
import { sendHeartbeat } from './replication.ts';
import type { ReplicaId } from './types.ts';

export function beginRead(core: Core, leadership: Leadership, from: ReplicaId, context: number): void {
  if (core.log.commit < leadership.firstIndex) leadership.reads.hold({ from, context });
  else leadership.reads.begin(from, context, core.log.commit);
}

/** Asks for proof of leadership when there are new requests, and answers the ones that are proven. Once per round. */
export function advanceReads(core: Core, leadership: Leadership): void {
  const { reads, progress } = leadership;
  if (reads.takeUnsent()) {
    for (const follower of progress.values()) {
      if (isVoter(core.membership, follower.replica)) sendHeartbeat(core, leadership, follower);
    }
  }
  if (!reads.hasWaiting) return;
  const proven = quorumValue(core.membership, (replica) =>
    replica === core.replica ? reads.sequence : (progress.get(replica)?.readSequence ?? 0),
  );
  for (const { from, context, index } of reads.confirm(Math.min(proven, reads.sequence))) {
    if (from === core.replica) core.readStates.push({ context, index });
    else {
      core.send({ type: 'read-index-response', from: core.replica, to: from, term: core.term, context, index });
      // The read waits there until it has applied as much.
      progress.get(from)?.wants(index, index);
    }
  }
}
