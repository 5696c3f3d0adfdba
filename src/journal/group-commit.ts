/**
 * Group commit of one log directory. What is submitted while a round is on its way is gathered; a round writes each touched
 * partition once, syncs each touched file once, all at the same time, and answers when the last sync is done. Thread: the
 * journal worker. There is no clock and no timer in it: whoever submits calls `flush` when it has nothing more at hand.
 *
 * A round that is slow or fails in one file answers for the others as well, in order; a failed partition fails alone.
 */

import { validateBatches } from '../core/batch/validate-batch.ts';
import type { RandomAccessFile } from '../core/ports/file-system.ts';
import type { AppendDone } from '../core/ports/stream-store.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { assert } from '../std/assert.ts';
import { toError } from '../std/errors.ts';
import { type Append, failedAppend } from './append.ts';
import type { PartitionLog } from './partition-log.ts';

export interface GroupCommitOptions {
  /** Milliseconds since 1970. */
  now(): number;
  /** Asked before each append: false refuses it for want of room. `bytes` is its length. */
  hasRoom(bytes: number): boolean;
  /** Whether this thread may wait itself for a sync, because no other disk has work for it meanwhile. Default: it may. */
  mayBlock?(): boolean;
  /** Called once for each round that has ended and wrote something, before its appends are answered. */
  onRound?(round: EndedRound): void;
  /** Bytes of one partition that go into one round; what is left waits for the next. Default 32 MiB. */
  readonly roundBytesMax?: number;
}

export interface SubmitOptions {
  /** Epoch in which this node leads the partition, or `replica` for batches that have their offsets. */
  readonly leaderEpoch: number | 'replica';
}

/** What was done so far; differences give rates. */
export interface GroupCommitCounts {
  rounds: number;
  syncs: number;
  appends: number;
  bytes: number;
  refused: number;
}

/** What one round did, for histograms. */
export interface EndedRound {
  readonly appends: number;
  readonly bytes: number;
  /** Files that were synced. */
  readonly syncs: number;
  /** From the first write to the end of the last sync, in milliseconds. */
  readonly writeMs: number;
  /** The part of it behind the writes. */
  readonly syncMs: number;
}

interface Pending {
  readonly log: PartitionLog;
  readonly append: Append;
}

/** The part of a round that is one partition's. */
interface Part {
  readonly log: PartitionLog;
  readonly appends: Append[];
  bytes: number;
}

export class GroupCommit {
  readonly counts: GroupCommitCounts = { rounds: 0, syncs: 0, appends: 0, bytes: 0, refused: 0 };
  readonly #options: GroupCommitOptions;
  readonly #roundBytesMax: number;
  #pending: Pending[] = [];
  #isUnderWay = false;
  /** Of rounds that have ended; told in this order. */
  readonly #answers: Append[] = [];
  #isTelling = false;
  #isClosed = false;
  /** Wait until nothing is under way. */
  #tasks: (() => void)[] = [];

  constructor(options: GroupCommitOptions) {
    this.#options = options;
    this.#roundBytesMax = options.roundBytesMax ?? 32 * 1024 * 1024;
  }

  /** A round is on its way. */
  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  /** How many appends wait for the next round. */
  get waiting(): number {
    return this.#pending.length;
  }

  /**
   * Checks batches and puts them in line. `done` is called once, never before this returns, in the order of submission; only
   * what is refused at once (unsound, no room, closed) is answered before what was submitted earlier.
   */
  submit(log: PartitionLog, bytes: Buffer, options: SubmitOptions, done: AppendDone): void {
    const { leaderEpoch } = options;
    try {
      if (this.#isClosed) throw new StorageError('STORAGE_CLOSED', `Cannot append to "${log.name}": it is closed`);
      if (!this.#options.hasRoom(bytes.length)) {
        throw new StorageError('STORAGE_DISK_FULL', `Cannot append to "${log.name}": the disk is nearly full`);
      }
      const origin = leaderEpoch === 'replica' ? 'replica' : 'producer';
      const headers = validateBatches(bytes, origin, log);
      this.#pending.push({ log, append: { bytes, headers, leaderEpoch, done, result: null } });
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.counts.refused += 1;
      queueMicrotask(() => done(failedAppend(error)));
    }
  }

  /** Begins a round with all that was submitted, unless one is on its way. */
  flush(): void {
    if (!this.#isUnderWay && this.#pending.length > 0) this.#begin();
  }

  /** Runs `task` as soon as no round is on its way: for truncation, retention, compaction, closing. */
  between(task: () => void): void {
    if (this.#isUnderWay) this.#tasks.push(task);
    else task();
  }

  /** Refuses all that is submitted from now on. */
  close(): void {
    this.#isClosed = true;
  }

  /** Refuses all that is submitted from now on, writes what is in line, and then runs `task`. */
  drain(task: () => void): void {
    this.close();
    this.flush();
    this.between(() => {
      if (this.#pending.length === 0) task();
      else this.#tasks.push(() => this.drain(task));
    });
  }

  #begin(): void {
    this.#isUnderWay = true;
    this.counts.rounds += 1;
    const { order, parts } = this.#take();
    const nowMs = this.#options.now();
    const startMs = performance.now();
    const synced: { readonly part: Part; readonly file: RandomAccessFile }[] = [];
    for (const part of parts) {
      const file = part.log.writeRound(part.appends, nowMs);
      if (file !== null) synced.push({ part, file });
    }
    let left = synced.length;
    if (left === 0) {
      this.#end(order, parts);
      return;
    }
    const syncedMs = performance.now();
    this.counts.syncs += left;
    const mayBlock = left === 1 && (this.#options.mayBlock?.() ?? true);
    for (const { part, file } of synced) {
      startSync(file, mayBlock, (error) => {
        part.log.onSynced(part.appends, error);
        left -= 1;
        if (left > 0) return;
        this.#tellRound(parts, synced.length, startMs, syncedMs);
        this.#end(order, parts);
      });
    }
  }

  #tellRound(parts: readonly Part[], syncs: number, startMs: number, syncedMs: number): void {
    if (this.#options.onRound === undefined) return;
    let appends = 0;
    let bytes = 0;
    for (const part of parts) {
      appends += part.appends.length;
      bytes += part.bytes;
    }
    const nowMs = performance.now();
    this.#options.onRound({ appends, bytes, syncs, writeMs: nowMs - startMs, syncMs: nowMs - syncedMs });
  }

  /** What goes into this round: all that waits, up to a bound for each partition. */
  #take(): { readonly order: readonly Append[]; readonly parts: readonly Part[] } {
    const parts = new Map<PartitionLog, Part>();
    const order: Append[] = [];
    const left: Pending[] = [];
    for (const pending of this.#pending) {
      const { log, append } = pending;
      let part = parts.get(log);
      if (part === undefined) {
        part = { log, appends: [], bytes: 0 };
        parts.set(log, part);
      }
      // Once something has to wait, all behind it does: answers keep their order.
      if (left.length > 0 || (part.bytes > 0 && part.bytes + append.bytes.length > this.#roundBytesMax)) {
        left.push(pending);
        continue;
      }
      part.bytes += append.bytes.length;
      part.appends.push(append);
      order.push(append);
    }
    this.#pending = left;
    this.counts.appends += order.length;
    return { order, parts: [...parts.values()].filter((part) => part.appends.length > 0) };
  }

  /** All that the round wrote is durable, or has failed. */
  #end(order: readonly Append[], parts: readonly Part[]): void {
    this.#isUnderWay = false;
    for (const part of parts) this.counts.bytes += part.bytes;
    for (const task of this.#tasks.splice(0)) task();
    this.#answers.push(...order);
    // A round without a sync ends inside of the one before: that one tells its callers first.
    if (this.#isTelling) return;
    this.#isTelling = true;
    // The disk works on the next round while the callers of this one are told.
    this.flush();
    while (this.#answers.length > 0) {
      for (const { done, result } of this.#answers.splice(0)) {
        assert(result !== null, 'a round decides about each of its appends');
        done(result);
      }
    }
    this.#isTelling = false;
    this.flush();
    if (!this.#isUnderWay) for (const { log } of parts) log.rest();
  }
}

/** A file that cannot even be asked has failed. */
function startSync(file: RandomAccessFile, mayBlock: boolean, done: (error: Error | null) => void): void {
  try {
    file.sync(done, mayBlock);
  } catch (error) {
    done(toError(error));
  }
}
