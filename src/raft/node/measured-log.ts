/** The log with its writes counted and timed. Thread: the Raft worker. */
import type { LogIndex, LogReader, SnapshotPosition } from '../consensus/types.ts';
import type { Done, LogWrite, RaftLog } from '../ports.ts';
import type { RaftCounts } from './raft-metrics.ts';

export class MeasuredLog implements RaftLog {
  private readonly log: RaftLog;
  private readonly counts: RaftCounts;

  constructor(log: RaftLog, counts: RaftCounts) {
    this.log = log;
    this.counts = counts;
  }

  append(write: LogWrite, done: Done): void {
    const { counts } = this;
    if (!write.mustSync) {
      this.log.append(write, done);
      return;
    }
    const startMs = performance.now();
    counts.logWrites++;
    counts.logEntries += write.entries.length;
    this.log.append(write, (error) => {
      counts.logSeconds += (performance.now() - startMs) / 1000;
      done(error);
    });
  }

  initialState(): ReturnType<LogReader['initialState']> {
    return this.log.initialState();
  }

  firstIndex(): LogIndex {
    return this.log.firstIndex();
  }

  lastIndex(): LogIndex {
    return this.log.lastIndex();
  }

  term(index: LogIndex): ReturnType<LogReader['term']> {
    return this.log.term(index);
  }

  entries(low: LogIndex, high: LogIndex, bytesMax: number): ReturnType<LogReader['entries']> {
    return this.log.entries(low, high, bytesMax);
  }

  snapshotPosition(): SnapshotPosition | null {
    return this.log.snapshotPosition();
  }

  reset(...parameters: Parameters<RaftLog['reset']>): void {
    this.log.reset(...parameters);
  }

  compact(position: SnapshotPosition): void {
    this.log.compact(position);
  }

  sizeBytes(): number {
    return this.log.sizeBytes();
  }

  close(): void {
    this.log.close();
  }
}
