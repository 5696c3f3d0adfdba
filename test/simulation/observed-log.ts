/** The log of a replica with an observer in front of it. */
import type { RaftLog } from '../../src/raft/ports.ts';

export interface LogObserver {
  onAppend(write: Parameters<RaftLog['append']>[0]): void;
  onReset(position: Parameters<RaftLog['reset']>[0]): void;
}

export function observeLog(log: RaftLog, observer: LogObserver): RaftLog {
  return {
    initialState: () => log.initialState(),
    firstIndex: () => log.firstIndex(),
    lastIndex: () => log.lastIndex(),
    term: (index) => log.term(index),
    entries: (low, high, bytesMax) => log.entries(low, high, bytesMax),
    snapshotPosition: () => log.snapshotPosition(),
    append: (write, done) => {
      observer.onAppend(write);
      log.append(write, done);
    },
    reset: (position, hardState) => {
      observer.onReset(position);
      log.reset(position, hardState);
    },
    compact: (position) => log.compact(position),
    sizeBytes: () => log.sizeBytes(),
    close: () => log.close(),
  };
}
