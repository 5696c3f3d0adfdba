/** What the tests of the log share: entries, a log on a simulated disk whose syncs are run by hand, and its content. */

import type { Entry, HardState, SnapshotPosition } from '../../../../src/raft/consensus/types.ts';
import { openSegmentLog, type SegmentLog, type SegmentLogOptions } from '../../../../src/raft/log/segment-log.ts';
import type { FileSystem, RaftLog } from '../../../../src/raft/ports.ts';
import { Random } from '../../../fuzz/random.ts';
import { SimulatedDisk } from '../../../support/simulated-disk.ts';

export const replica = 2 ** 53 - 1;

export function entry(index: number, term = 1, data: string | number = `data ${index}`): Entry {
  const bytes = typeof data === 'number' ? Buffer.alloc(data, index) : Buffer.from(data);
  return { term, index, kind: index % 7 === 0 ? 1 : 0, data: bytes };
}

export function entriesOf(first: number, last: number, term = 1, data?: number): Entry[] {
  return Array.from({ length: last - first + 1 }, (_, at) => entry(first + at, term, data));
}

export function positionOf(index: number, term = 1, voters: readonly number[] = [1, replica]): SnapshotPosition {
  return { index, term, membership: { voters, outgoing: [], learners: [5], learnersNext: [], autoLeave: true } };
}

export function hardStateOf(term: number, commit = 0, vote = replica): HardState {
  return { term, vote, commit };
}

/** Everything that the log holds, as plain values; reads in several steps, so that the cache and the files take part. */
export function contentOf(log: RaftLog): LogContent {
  const entries: string[] = [];
  for (let next = log.firstIndex(); next <= log.lastIndex(); ) {
    const some = log.entries(next, log.lastIndex() + 1, 700);
    if (some === null || some.length === 0) throw new Error(`entry ${next} cannot be read`);
    for (const { index, term, kind, data } of some) {
      if (index !== next || log.term(index) !== term) throw new Error(`entry ${next} has index ${index}, term ${term}`);
      entries.push(textOf({ index, term, kind, data }));
      next += 1;
    }
  }
  const { hardState, snapshot } = log.initialState();
  return { hardState, position: snapshot, lastIndex: log.lastIndex(), entries };
}

export function textOf({ index, term, kind, data }: Entry): string {
  return `${index}/${term}/${kind} ${Buffer.from(data).toString('latin1')}`;
}

export interface LogContent {
  readonly hardState: HardState;
  readonly position: SnapshotPosition;
  readonly lastIndex: number;
  readonly entries: readonly string[];
}

/** Small segments, records and cache, so that few entries reach every part. */
export const smallOptions = { segmentBytes: 16 * 1024, recordBytes: 256, cacheBytes: 2000, freeBytesMin: 0 };

export class LogFixture {
  readonly disk: SimulatedDisk;
  readonly random: Random;
  readonly tasks: (() => void)[] = [];
  /** `ok` or the code of the error, in the order of the answers, with the name of the call. */
  readonly answers: string[] = [];

  constructor(seed = 1, capacityBytes?: number) {
    this.random = new Random(seed);
    const schedule = (task: () => void): void => {
      this.tasks.push(task);
    };
    this.disk = new SimulatedDisk({ seed, schedule, ...(capacityBytes === undefined ? {} : { capacityBytes }) });
  }

  open(options: Partial<SegmentLogOptions> = {}, fileSystem: FileSystem = this.disk): SegmentLog {
    const random = (below: number): number => this.random.below(below);
    return openSegmentLog(fileSystem, { replica, random, ...smallOptions, ...options });
  }

  /** Appends and notes the answer under `name`. */
  append(
    log: RaftLog,
    entries: readonly Entry[],
    hardState: HardState | null = null,
    name = '',
    mayBlock = false,
  ): void {
    log.append({ entries, hardState, mustSync: true, mayBlock }, (error) => {
      this.answers.push(`${name}${error === null ? 'ok' : ((error as { code?: string }).code ?? error.message)}`);
    });
  }

  /** The disk, for which the thread waits itself while `isQuick` says so. */
  quickDisk(isQuick: () => boolean): FileSystem {
    const { disk } = this;
    return {
      list: () => disk.list(),
      open: (name, options) => {
        const file = disk.open(name, options);
        file.syncQuickly = () => {
          if (!isQuick()) return false;
          file.syncNow();
          return true;
        };
        return file;
      },
      rename: (from, to) => disk.rename(from, to),
      remove: (name) => disk.remove(name),
      syncFolder: () => disk.syncFolder(),
      freeBytes: () => disk.freeBytes(),
    };
  }

  /** Runs syncs until none is left. */
  settle(): void {
    for (let task = this.tasks.shift(); task !== undefined; task = this.tasks.shift()) task();
  }

  /** Appends entries one by one, each durable before the next. */
  fill(log: RaftLog, first: number, last: number, bytes = 100): void {
    for (let index = first; index <= last; index += 1) {
      this.append(log, [entry(index, 1, bytes)]);
      this.settle();
    }
  }
}
