/**
 * One directory of the journal, on one disk: its partitions, their group commit, and whether there is room. A disk that
 * fails or is full takes down what is on it and nothing else. Thread: the journal worker; owned by the journal.
 *
 * File `clean` says that the directory was closed in order and nothing was written since: the partitions can be opened without
 * reading their last segments. It is removed, durably, before anything else is written. Content: magic "RINGDONE" 8, CRC-32C 4.
 */

import { isOutOfSpace } from '../core/files/file-errors.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { toError } from '../std/errors.ts';
import { readWholeFile, replaceFile } from './atomic-file.ts';
import { type EndedRound, GroupCommit } from './group-commit.ts';
import type { LogFolders } from './log-folders.ts';
import { PartitionLog } from './partition-log.ts';
import type { PartitionEvent, PartitionOptions } from './partition-options.ts';
import type { TailCache } from './tail-cache.ts';

const cleanName = 'clean';
const cleanContent = Buffer.from('RINGDONE', 'latin1');
const removedSuffix = '.removed';
const namePattern = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/;
/** Room is asked for again after so many bytes. */
const roomBytes = 16 * 1024 * 1024;
/** While the disk is full, every so many refused appends. */
const roomRefusals = 64;
/** Partitions of which upkeep changes files in one go: each takes some syncs that block the thread. */
const sweepChangesMax = 4;

/** What a partition can be told when it is made or opened. */
export type PartitionSettings = Partial<Omit<PartitionOptions, 'name' | 'tail' | 'onEvent'>>;

export interface LogDirectoryOptions {
  /** For messages: where it is. */
  readonly path: string;
  readonly tail: TailCache;
  now(): number;
  onEvent(event: PartitionEvent): void;
  /** Settings of a partition that is found in the directory. */
  settingsOf(name: string): PartitionSettings;
  /** Appends are refused below so much free room. Default 256 MiB. */
  readonly freeBytesMin?: number;
  /** As in `GroupCommitOptions`. */
  mayBlock?(): boolean;
  onRound?(round: EndedRound): void;
}

export class LogDirectory {
  readonly path: string;
  readonly commit: GroupCommit;
  /** Whether it was closed in order the last time. */
  readonly wasClean: boolean;
  readonly #folders: LogFolders;
  readonly #options: LogDirectoryOptions;
  readonly #freeBytesMin: number;
  readonly #logs = new Map<string, PartitionLog>();
  /** Partitions that could not be opened, and why. */
  readonly #failed = new Map<string, StorageError>();
  #isFull = false;
  #roomBytesLeft = 0;
  #refusals = 0;
  #isSweeping = false;
  #isClosed = false;

  /** Opens all partitions in the directory. One that cannot be opened is `failed`; throws when the directory itself is. */
  constructor(folders: LogFolders, options: LogDirectoryOptions) {
    this.path = options.path;
    this.#folders = folders;
    this.#options = options;
    this.#freeBytesMin = options.freeBytesMin ?? 256 * 1024 * 1024;
    this.commit = new GroupCommit({
      now: () => options.now(),
      hasRoom: (bytes) => this.#hasRoom(bytes),
      ...(options.mayBlock === undefined ? {} : { mayBlock: options.mayBlock }),
      ...(options.onRound === undefined ? {} : { onRound: options.onRound }),
    });
    this.wasClean = this.#takeCleanMark();
    for (const name of folders.list()) {
      if (name.endsWith(removedSuffix)) folders.remove(name);
      else if (namePattern.test(name)) this.#open(name);
    }
    this.askRoom();
  }

  get names(): readonly string[] {
    return [...this.#logs.keys(), ...this.#failed.keys()];
  }

  /** Whether appends are refused for want of room. */
  get isFull(): boolean {
    return this.#isFull;
  }

  has(name: string): boolean {
    return this.#logs.has(name) || this.#failed.has(name);
  }

  /** @throws StorageError STORAGE_PARTITION_UNKNOWN, STORAGE_PARTITION_FAILED when it could not be opened */
  get(name: string): PartitionLog {
    const log = this.#logs.get(name);
    if (log !== undefined) return log;
    throw this.#failed.get(name) ?? unknownPartition(name);
  }

  /** Null when there is none, or it could not be opened. */
  find(name: string): PartitionLog | null {
    return this.#logs.get(name) ?? null;
  }

  /** @throws StorageError STORAGE_PARTITION_EXISTS, STORAGE_DISK_FULL; and the disk's errors */
  create(name: string, settings: PartitionSettings = {}): PartitionLog {
    if (!namePattern.test(name))
      throw new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot name a partition "${name}"`);
    if (this.has(name)) {
      throw new StorageError('STORAGE_PARTITION_EXISTS', `Cannot create partition "${name}": there is one`);
    }
    if (!this.#hasRoom(0)) {
      throw new StorageError('STORAGE_DISK_FULL', `Cannot create partition "${name}": the disk is nearly full`);
    }
    const files = this.#folders.open(name, { create: true });
    const log = new PartitionLog(files, this.#partitionOptions(name, settings), this.#options.now());
    this.#logs.set(name, log);
    return log;
  }

  /** Removes a partition with all its data. Nothing of it is under way. Durable when it returns. */
  remove(name: string): void {
    if (!this.has(name)) throw unknownPartition(name);
    this.#logs.get(name)?.close();
    this.#logs.delete(name);
    this.#failed.delete(name);
    // With another name it is not opened again, should the power go before all of it is gone.
    this.#folders.rename(name, `${name}${removedSuffix}`);
    this.#folders.remove(`${name}${removedSuffix}`);
  }

  /** Takes a failed partition back into service. @throws what keeps it from that */
  reopen(name: string): PartitionLog {
    const log = this.#logs.get(name);
    if (log !== undefined) {
      log.reopen(this.#options.now());
      return log;
    }
    if (!this.#failed.has(name)) throw unknownPartition(name);
    this.#open(name, false);
    return this.get(name);
  }

  /** Looks how much room there is; call it now and then, so that a disk that has room again is used again. */
  askRoom(): void {
    this.#roomBytesLeft = roomBytes;
    this.#refusals = 0;
    try {
      this.#isFull = this.#folders.root.freeBytes() < this.#freeBytesMin;
    } catch {
      // Without an answer it is safer to refuse than to run into a full disk.
      this.#isFull = true;
    }
  }

  /**
   * Applies retention to all partitions, between rounds. Where much is to be done it goes on later, so that appends get their turn; does
   * nothing while it is at it.
   */
  applyRetention(nowMs: number): void {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    this.#sweep(this.names, nowMs);
  }

  /** Closes all partitions and leaves the mark of it. Nothing is under way; see `GroupCommit.between`. */
  close(): void {
    this.#isClosed = true;
    this.commit.close();
    let isClean = this.#failed.size === 0;
    for (const log of this.#logs.values()) isClean = log.close() && isClean;
    if (isClean) replaceFile(this.#folders.root, cleanName, cleanContent);
  }

  #sweep(names: readonly string[], nowMs: number): void {
    this.commit.between(() => {
      let changes = 0;
      for (const [number, name] of names.entries()) {
        if (this.#isClosed) return;
        if (changes === sweepChangesMax) {
          setImmediate(() => this.#sweep(names.slice(number), nowMs));
          return;
        }
        const log = this.find(name);
        if (log !== null && log.failure === null && log.applyRetentionSafely(nowMs)) changes += 1;
      }
      this.#isSweeping = false;
    });
  }

  #open(name: string, isClean = this.wasClean): void {
    try {
      const files = this.#folders.open(name, { create: false });
      const options = this.#partitionOptions(name, this.#options.settingsOf(name));
      this.#logs.set(name, new PartitionLog(files, options, this.#options.now(), isClean));
      this.#failed.delete(name);
    } catch (thrown) {
      const cause = toError(thrown);
      const message = `Cannot open partition "${name}": ${cause.message}`;
      this.#failed.set(name, new StorageError('STORAGE_PARTITION_FAILED', message, { cause }));
      this.#options.onEvent({ type: 'failed', partition: name, reason: cause.message });
      if (isOutOfSpace(cause)) this.#isFull = true;
    }
  }

  #takeCleanMark(): boolean {
    const { root } = this.#folders;
    const content = readWholeFile(root, cleanName);
    if (content === 'missing') return false;
    root.remove(cleanName);
    root.syncFolder();
    return content !== 'damaged' && content.equals(cleanContent);
  }

  #hasRoom(bytes: number): boolean {
    this.#roomBytesLeft -= bytes;
    if (this.#isFull) this.#refusals += 1;
    if (this.#roomBytesLeft <= 0 || this.#refusals >= roomRefusals) this.askRoom();
    return !this.#isFull;
  }

  #partitionOptions(name: string, settings: PartitionSettings) {
    const { tail, onEvent } = this.#options;
    return { ...settings, name, tail, onEvent };
  }
}

function unknownPartition(name: string): StorageError {
  return new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot find partition "${name}": there is none of this name`);
}
