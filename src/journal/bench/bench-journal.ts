/**
 * The journal of a benchmark: the real engine on one directory, with what is measured in its partitions. Thread: the one of the
 * benchmark, which owns the journal as the journal worker does.
 */

import type { EndedRound } from '../group-commit.ts';
import { Journal } from '../journal.ts';
import type { PartitionSettings } from '../log-directory.ts';
import { openLogFolders } from '../log-folders.ts';
import type { PartitionLog } from '../partition-log.ts';
import type { AppendTarget } from './append-load.ts';

/** Small, so that most reads of the benchmark come from files. */
const tailBytes = 8 * 1024 * 1024;

export class BenchJournal {
  /** Told of each round that has ended. */
  onRound: (round: EndedRound) => void = () => undefined;
  readonly #journal: Journal;

  /** Throws Node's errors. What the journal reports (damage, failures) becomes an error of the next append. */
  constructor(folder: string) {
    this.#journal = new Journal({
      directories: [{ path: folder, open: () => openLogFolders(folder) }],
      now: () => Date.now(),
      onEvent: (event) => {
        throw new Error(`The journal reports ${JSON.stringify(event)}`);
      },
      tailBytes,
      onRound: (round) => this.onRound(round),
    });
    const [error] = this.#journal.failedDirectories.values();
    if (error !== undefined) throw error;
  }

  create(name: string, settings: PartitionSettings = {}): PartitionLog {
    return this.#journal.create(name, settings);
  }

  target(log: PartitionLog): AppendTarget {
    const { commit } = this.#journal.directoryOf(log.name);
    const options = { leaderEpoch: 1 };
    return {
      append: (batch, done) => commit.submit(log, batch, options, ({ error }) => done(error)),
      flush: () => commit.flush(),
    };
  }

  /** Rounds of group commit until now. */
  get rounds(): number {
    return this.#journal.directories.reduce((sum, { commit }) => sum + commit.counts.rounds, 0);
  }

  /** Appends copies of `batch` until the partition has `bytes`. */
  async fill(log: PartitionLog, batch: Buffer, bytes: number): Promise<void> {
    const target = this.target(log);
    const chunk = Buffer.concat(Array.from({ length: Math.max(1, Math.floor((1 << 20) / batch.length)) }, () => batch));
    while (log.sizeBytes < bytes) {
      await new Promise<void>((resolve, reject) => {
        target.append(chunk, (error) => (error === null ? resolve() : reject(error)));
        target.flush();
      });
    }
  }

  /** Applies retention. */
  tick(): void {
    this.#journal.tick(Date.now());
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#journal.close(resolve));
  }
}
