/**
 * All log directories of a node as one: which partition is where, and what is common to them. Thread: the journal worker, which
 * owns the only one.
 */

import type { AppendDone } from '../core/ports/stream-store.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { toError } from '../std/errors.ts';
import type { EndedRound, SubmitOptions } from './group-commit.ts';
import { LogDirectory, type PartitionSettings } from './log-directory.ts';
import type { LogFolders } from './log-folders.ts';
import type { PartitionLog } from './partition-log.ts';
import type { PartitionEvent } from './partition-options.ts';
import { TailCache } from './tail-cache.ts';

export interface JournalOptions {
  /** At least one. A directory that cannot be opened is left out and told. */
  readonly directories: readonly { readonly path: string; open(): LogFolders }[];
  now(): number;
  onEvent(event: JournalEvent): void;
  settingsOf?(name: string): PartitionSettings;
  /** Newest batches of all partitions that are kept in memory. Default 64 MiB. */
  readonly tailBytes?: number;
  /** Default 256 MiB. */
  readonly freeBytesMin?: number;
  /** Called once for each round of a directory that has ended, before its appends are answered. */
  onRound?(round: EndedRound): void;
}

export type JournalEvent =
  | PartitionEvent
  /** A directory could not be opened: its partitions are out of service. */
  | { readonly type: 'directory-failed'; readonly directory: string; readonly reason: string };

export class Journal {
  readonly tail: TailCache;
  readonly directories: readonly LogDirectory[];
  /** Directories that are out of service, and why. */
  readonly failedDirectories: ReadonlyMap<string, Error>;

  constructor(options: JournalOptions) {
    this.tail = new TailCache(options.tailBytes ?? 64 * 1024 * 1024);
    const directories: LogDirectory[] = [];
    const failed = new Map<string, Error>();
    for (const { path, open } of options.directories) {
      try {
        directories.push(
          new LogDirectory(open(), {
            path,
            tail: this.tail,
            now: () => options.now(),
            onEvent: (event) => options.onEvent(event),
            settingsOf: (name) => options.settingsOf?.(name) ?? {},
            // A thread that waits for one disk keeps the others from their next rounds.
            mayBlock: () => this.directories.filter(({ commit }) => commit.isUnderWay).length <= 1,
            ...(options.onRound === undefined ? {} : { onRound: options.onRound }),
            ...(options.freeBytesMin === undefined ? {} : { freeBytesMin: options.freeBytesMin }),
          }),
        );
      } catch (thrown) {
        const error = toError(thrown);
        failed.set(path, error);
        options.onEvent({ type: 'directory-failed', directory: path, reason: error.message });
      }
    }
    this.directories = directories;
    this.failedDirectories = failed;
  }

  /** The directory of a partition. @throws StorageError STORAGE_PARTITION_UNKNOWN */
  directoryOf(name: string): LogDirectory {
    const directory = this.directories.find((candidate) => candidate.has(name));
    if (directory !== undefined) return directory;
    throw new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot find partition "${name}": there is none of this name`);
  }

  /** @throws StorageError STORAGE_PARTITION_UNKNOWN, STORAGE_PARTITION_FAILED */
  get(name: string): PartitionLog {
    return this.directoryOf(name).get(name);
  }

  /** Makes a partition in the directory that has room and the fewest of them. Throws like `LogDirectory.create`. */
  create(name: string, settings: PartitionSettings = {}): PartitionLog {
    if (this.directories.some((directory) => directory.has(name))) {
      throw new StorageError('STORAGE_PARTITION_EXISTS', `Cannot create partition "${name}": there is one`);
    }
    let best: LogDirectory | null = null;
    for (const directory of this.directories) {
      if (directory.isFull) directory.askRoom();
      if (directory.isFull || (best !== null && best.names.length <= directory.names.length)) continue;
      best = directory;
    }
    if (best !== null) return best.create(name, settings);
    throw new StorageError('STORAGE_DISK_FULL', `Cannot create partition "${name}": no directory has room`);
  }

  /** Puts an append in line; `flush` begins with it. Answers come as `GroupCommit.submit` says. */
  submit(log: PartitionLog, bytes: Buffer, options: SubmitOptions, done: AppendDone): void {
    this.directoryOf(log.name).commit.submit(log, bytes, options, done);
  }

  /** Begins the rounds of all directories that have something to write. */
  flush(): void {
    for (const { commit } of this.directories) commit.flush();
  }

  /** Applies retention everywhere and looks for room; between rounds. Call it every few seconds. */
  tick(nowMs: number): void {
    for (const directory of this.directories) {
      directory.askRoom();
      directory.applyRetention(nowMs);
    }
  }

  /** Refuses what is new, and closes each directory when its round is done; `done` when all are closed. */
  close(done: () => void): void {
    let left = this.directories.length;
    if (left === 0) done();
    for (const directory of this.directories) {
      directory.commit.drain(() => {
        directory.close();
        left -= 1;
        if (left === 0) done();
      });
    }
  }
}
