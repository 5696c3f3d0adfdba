/** The log as the consensus core reads it. Thread: the Raft worker; used by `replica.ts`. */
import type { LogReader } from '../consensus/types.ts';
import type { PlacementState } from '../placement/placement-state.ts';

/** The log knows its entries, the state machine knows which snapshot it could send. */
export function readerOf(log: LogReader, state: PlacementState): LogReader {
  return {
    initialState: () => log.initialState(),
    firstIndex: () => log.firstIndex(),
    lastIndex: () => log.lastIndex(),
    term: (index) => log.term(index),
    entries: (low, high, bytesMax) => log.entries(low, high, bytesMax),
    snapshotPosition: () => state.durablePosition,
  };
}
