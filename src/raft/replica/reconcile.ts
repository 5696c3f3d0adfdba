/** Log and state after a crash, brought together. Thread: the Raft worker at start, the simulator, the offline commands. */
import { CorruptionError } from '../placement/errors.ts';
import type { PlacementState } from '../placement/placement-state.ts';
import type { RaftLog } from '../ports.ts';

/**
 * Call it before a replica is made. The state may be ahead of the log: what a quorum of others had made durable is applied
 * before it is durable here, and a received state is installed before the log begins after it. Then the log begins anew
 * behind the state. Throws `CorruptionError` when entries between the two are missing.
 */
export function reconcile(log: RaftLog, state: PlacementState): void {
  const applied = state.appliedIndex;
  const beforeFirst = log.firstIndex() - 1;
  if (applied < beforeFirst) {
    throw new CorruptionError(`The state ends at entry ${applied} and the log begins after ${beforeFirst}`);
  }
  if (applied <= log.lastIndex()) return;
  const { hardState } = log.initialState();
  const position = state.durablePosition;
  const term = Math.max(hardState.term, position.term);
  // A vote belongs to its term.
  const vote = term === hardState.term ? hardState.vote : 0;
  log.reset(position, { term, vote, commit: position.index });
}
