/**
 * What the Raft worker needs from outside, so that the same code runs on a real disk and in the simulator. Thread: the
 * Raft worker.
 */
import type { Done } from '../core/ports/file-system.ts';
import type { Entry, HardState, LogIndex, LogReader, Message, ReplicaId, SnapshotPosition } from './consensus/types.ts';

/** What one round of the core asks to be written. */
export interface LogWrite {
  readonly hardState: HardState | null;
  readonly entries: readonly Entry[];
  readonly mustSync: boolean;
  /**
   * Nobody waits for what the caller would do meanwhile, so on a quick disk the call may last until the write is durable, and
   * call `done` itself. Default false.
   */
  readonly mayBlock?: boolean;
}

/**
 * The log of a replica: entries, hard state and where the log begins. Readable at once after `append`, durable when `done`
 * is called; `done` calls come in the order of the `append` calls. After an error the log is dead: every later call fails.
 */
export interface RaftLog extends LogReader {
  append(write: LogWrite, done: Done): void;
  /** A snapshot was installed: the log is empty and begins after it. Durable when it returns. */
  reset(position: SnapshotPosition, hardState: HardState): void;
  /** Everything up to `position.index` is durable in the state machine and may go. */
  compact(position: SnapshotPosition): void;
  /** Bytes on disk. */
  sizeBytes(): number;
  close(): void;
}

export type Bytes = Uint8Array;

/** An ordered store of bytes with atomic batches: LMDB, or the simulator's. Keys compare as unsigned bytes. */
export interface StateStore {
  /** As of the last finished `commit`. Valid until the next call that may free it: copy what you keep. */
  get(key: Bytes): Bytes | null;
  /** Pairs with start <= key < end in order (or from the end backwards), at most `limit`. `end` null: no upper bound. */
  range(start: Bytes, end: Bytes | null, limit: number, isReverse?: boolean): readonly StorePair[];
  /** Pairs with start <= key < end. */
  count(start: Bytes, end: Bytes | null): number;
  /** Writes all or nothing; a null value removes the key. One at a time. Durable and visible when `done` is called. */
  commit(batch: readonly StoreChange[], done: Done): void;
  /** The content as of now, unmoved by later commits, until it is closed. */
  openView(): StateView;
  /** Bytes used on disk. */
  sizeBytes(): number;
  close(): void;
}

export interface StorePair {
  readonly key: Bytes;
  readonly value: Bytes;
}

export interface StoreChange {
  readonly key: Bytes;
  readonly value: Bytes | null;
}

export interface StateView {
  /** As that of the store; also ends when the values have `bytesMax` bytes, after one pair at least. */
  range(start: Bytes, end: Bytes | null, limit: number, bytesMax?: number): readonly StorePair[];
  /** The keys of `range`, without a look at the values. */
  keys(start: Bytes, end: Bytes | null, limit: number): readonly Bytes[];
  close(): void;
}

/** Carries messages to other replicas; may lose, delay, repeat and reorder them. Never throws, never calls back inside. */
export interface Transport {
  send(messages: readonly Message[]): void;
  /** What was sent leaves now, and not at the end of the turn. */
  flush?(): void;
  /** Streams the state to a follower, then has it step the message. `done` tells the core whether it arrived. */
  sendSnapshot(message: Message & { readonly type: 'snapshot' }, done: (hasArrived: boolean) => void): void;
}

export type { Done, FileSystem, RandomAccessFile } from '../core/ports/file-system.ts';
export type { Entry, HardState, LogIndex, LogReader, Message, ReplicaId, SnapshotPosition };
