/**
 * What a storage adapter supplies whose records lie in something that is not the journal: a database, an object store, LMDB, memory.
 * `StoreFront` makes a `StreamStore` out of it: it serialises the appends of a partition, checks batches and producers, gives
 * offsets, groups appends into one write, retries, and checks what is read. The engine keeps bytes and compares numbers; it never
 * looks into a batch. Thread: the one that holds the store; called by the front alone.
 *
 * What the engine guarantees
 *   - a run is stored whole or not at all, durably before `append` answers, and only when the partition ends where the run begins
 *   - a call that may have happened, or not (connection lost, time-out, answer not understood), rejects with `EngineLostError`; it may
 *     still happen later, even after the engine answered other calls. The front finds out by reading; it sends the same run again
 *     only under the same condition, so that nothing is stored twice
 *   - a call that certainly did nothing rejects with `StorageError`: with STORAGE_UNAVAILABLE (no connection, so nothing was sent) the
 *     front asks again, any other code is told to who asked
 *   - after `EngineFailedError` nothing works any more until the store is opened anew
 * Calls for different partitions overlap. For one partition there is one `append`, `deleteBefore` or `saveProducers` at a time (but
 * see above: an earlier one that was lost may still arrive); `read`, `pieces` and `findTime` overlap with them.
 */

import type { StreamSettings } from '../ports/stream-store.ts';
import type { StorageError } from './storage-error.ts';

/** The engine does not answer: what was asked for may have happened or not. The front resets the engine and asks again. */
export class EngineLostError extends Error {
  override readonly name = 'EngineLostError';
}

/** The engine must not be used any more, by no partition: only opening the store anew can help. What was under way is uncertain. */
export class EngineFailedError extends Error {
  override readonly name = 'EngineFailedError';
}

/** A partition as its writer holds it. */
export interface EngineHandle {
  readonly name: string;
  /** Given at `create`; another one for each partition that ever had the name. At most 36 characters of `[0-9a-f-]`. */
  readonly id: string;
  /** Epoch of this writer: `claim` answers 1 at first, and a larger one each time; below 2^31. It is in each batch that it stored. */
  readonly writer: number;
}

export interface EnginePlaces {
  /** As `deleteBefore` left it; 0 at first. */
  readonly startOffset: number;
  /** What follows the last stored batch; 0 at first. Never goes back, though all batches be deleted. */
  readonly endOffset: number;
  /** Bytes of all stored batches. */
  readonly sizeBytes: number;
}

export interface EngineClaim extends EnginePlaces {
  readonly handle: EngineHandle;
  readonly settings: StreamSettings;
  /** The newest one that was saved, byte for byte; null when there is none. */
  readonly producers: Buffer | null;
}

/** A partition as it is, seen by somebody who does not write it. */
export interface EnginePeek extends EnginePlaces {
  readonly id: string;
  readonly writer: number;
  readonly settings: StreamSettings;
  /** The first one that ends above the start; null when nothing is stored. */
  readonly oldest: EnginePiece | null;
}

/** One batch in a run. */
export interface EngineBatch {
  /** First offset. */
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly maxTimestamp: number;
  /** Where it lies in the bytes of the run. */
  readonly at: number;
  readonly size: number;
}

/** Batches that follow each other without a gap. An engine may store them as one, or each on its own. */
export interface EngineRun {
  readonly handle: EngineHandle;
  /** The partition must end here. */
  readonly baseOffset: number;
  /** Where it ends afterwards. */
  readonly endOffset: number;
  readonly maxTimestamp: number;
  /** All batches, with their offsets, one after the other. Does not change, and may be kept. */
  readonly bytes: Buffer;
  readonly batches: readonly EngineBatch[];
}

/**
 * What became of a run. `stored`: durably. `conflict`: the partition does not end where the run begins; nothing was stored. `fenced`:
 * there is a newer writer, or the partition of this id is gone; nothing was stored. `lost`: as EngineLostError, for this run alone. Or
 * why it was refused. An engine that cannot check the writer in the same atomic step as the end (the end is the condition that
 * matters) may check it before: what an old writer stores behind the claim of a new one is found by that one as a conflict and kept.
 */
export type EngineOutcome = 'stored' | 'conflict' | 'fenced' | 'lost' | StorageError;

/** Something that is stored, for retention: one or more batches that are deleted together. */
export interface EnginePiece {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly maxTimestamp: number;
  readonly bytes: number;
}

export interface StoreEngine {
  /** Name of the adapter. */
  readonly adapter: string;
  /**
   * A run is not made longer than this by a further append; a single append (up to `batchBytesMax` of its batches, several of them) can
   * still be longer. For engines with a limit for one value.
   */
  readonly runBytesMax: number;
  /** Appends that are larger are refused with STORAGE_BATCH_INVALID. */
  readonly appendBytesMax: number;
  /** How many calls of `append` are under way at once; each has runs of other partitions. 1 for an engine with one connection. */
  readonly writesMax: number;

  /** Connects, and makes what the engine needs (tables, folders, scripts). Called again after a failure; then it does no harm. */
  open(): Promise<void>;
  /** Drops what may be stale: connections of lost calls. The next call connects again. Does not wait, does not throw. */
  reset(): void;
  /** Lets everything go. Nothing is under way, but lost calls. */
  close(): Promise<void>;

  names(): Promise<readonly string[]>;
  /**
   * Makes a partition; `exists` when there is one of this name, unless it has this id: then it is the one that an earlier, lost call made.
   */
  create(name: string, id: string, settings: StreamSettings): Promise<'created' | 'exists'>;
  /** Removes the partition with this id and all of it; no error when it is gone. What remains of its bytes may go later. */
  remove(name: string, id: string): Promise<void>;
  /** Takes the partition as its newest writer; null when there is none of this name. */
  claim(name: string): Promise<EngineClaim | null>;
  /** Looks at the partition without taking it; null when there is none of this name. */
  peek(name: string): Promise<EnginePeek | null>;
  /** Null when there is no partition of this name and id. */
  places(handle: EngineHandle): Promise<EnginePlaces | null>;
  /** Replaces the settings. */
  change(handle: EngineHandle, settings: StreamSettings): Promise<void>;

  /** Runs of different partitions, as many as there are; answers each, in the same order. */
  append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]>;
  /**
   * Stored bytes, from the batch with `offset` on: whole batches in order, without a gap, at least one, and about `bytesMax` bytes
   * in all. Batches in front of it are allowed when they were stored as one with it. Empty when `offset` is the end.
   */
  read(handle: EngineHandle, offset: number, bytesMax: number): Promise<readonly Buffer[]>;
  /** The oldest pieces that end above `from`, in order, at most `limit`. */
  pieces(handle: EngineHandle, from: number, limit: number): Promise<readonly EnginePiece[]>;
  /** Base offset of the first piece that ends above `from` and has the largest timestamp `timestamp` or later; null: there is none. */
  findTime(handle: EngineHandle, from: number, timestamp: number): Promise<number | null>;
  /**
   * Makes `offset` the start of the log, unless it starts there or later, and deletes the pieces that end at or below it. The bytes may
   * go later. `fenced` as above.
   */
  deleteBefore(handle: EngineHandle, offset: number): Promise<'deleted' | 'fenced'>;
  /**
   * Keeps a snapshot of the producers at `offset` in place of the one before; does nothing when there is a newer writer, or when the one
   * before is of a larger offset.
   */
  saveProducers(handle: EngineHandle, offset: number, snapshot: Buffer): Promise<void>;
}
