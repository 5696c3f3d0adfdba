/**
 * The port of storage: partitions with dense offsets that keep record batches v2 byte for byte. Implemented once per storage
 * adapter, and by the client through which other threads reach the one that hosts the adapter. Thread: the one that holds the
 * object; answers come on the same thread, never inside of the call.
 *
 * What every implementation guarantees
 *   - an append is answered when it is as durable as the adapter's description says; what was answered survives, with the same offsets
 *   - appends to one partition are stored in the order of the calls, without gaps; an append is stored whole or not at all
 *   - nothing that was refused is ever read; an append that was answered with STORAGE_UNCERTAIN may be read later
 *   - a batch of a producer (id, epoch, sequence) that is sent again is answered with its first place and not stored twice
 *   - what is read was checked: a damaged batch is an error that names its offset, never data
 */
import type { AbortedTransaction } from '../streams/producer-state.ts';
import type { StorageError } from '../streams/storage-error.ts';

/**
 * Up to where a reader sees: what is committed; what is decided as well, so that no transaction is under way before it; or
 * all that is durable, for replicas.
 */
export type Isolation = 'committed' | 'stable' | 'durable';

export interface AppendAnswer {
  /** Null when the batches are durable. The other fields mean nothing otherwise. */
  readonly error: StorageError | null;
  /** Of the first batch; of the stored one when it was a repetition. */
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly isDuplicate: boolean;
}

/**
 * Called once, never inside of `append`; in the order of the appends to a partition. Only what is refused without a look at the log
 * (unsound, no room, closed) may be answered before what came earlier.
 */
export type AppendDone = (answer: AppendAnswer) => void;

export interface ReadRequest {
  readonly offset: number;
  /** At least one batch is answered when there is one. */
  readonly bytesMax: number;
  /** Default `committed`. */
  readonly isolation?: Isolation;
}

export interface ReadAnswer {
  /** Whole batches, one after the other; the first one may begin before the offset. Never to be written to. */
  readonly slices: readonly Buffer[];
  readonly bytes: number;
  readonly nextOffset: number;
  readonly logStartOffset: number;
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  /** With `stable`: the aborted transactions in what was read. */
  readonly aborted: readonly AbortedTransaction[];
}

export interface TimedOffset {
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
}

export interface PartitionPlaces {
  /** The first offset that can be read. */
  readonly logStartOffset: number;
  /** The offset that the next record gets. */
  readonly logEndOffset: number;
  /** Readers of committed data see what is below it. */
  readonly highWatermark: number;
  /** Where the oldest undecided transaction begins; the high watermark when there is none. */
  readonly lastStableOffset: number;
  readonly sizeBytes: number;
}

/** How a partition is kept. What an adapter cannot do it refuses with STORAGE_SETTING_UNSUPPORTED. */
export interface StreamSettings {
  /** Bytes after which the oldest records may go; null: no bound. Default null. */
  readonly retentionBytes?: number | null;
  /** Age in milliseconds after which records may go; null: no bound. Default null. */
  readonly retentionMs?: number | null;
  /** Only the newest record of each key is kept in the long run. Default false. */
  readonly isCompacted?: boolean;
  /**
   * Segments that are full go to the cold tier, an object storage, and their local copies go by the local bounds that follow; the others
   * count both. Not together with `isCompacted`. Default: what the node says for all streams.
   */
  readonly isTiered?: boolean;
  /** Bytes on the local disk after which copies go of what is in the tier; null: no bound. Default: what the node says. */
  readonly localRetentionBytes?: number | null;
  /** The same by age in milliseconds of the newest record of a segment. */
  readonly localRetentionMs?: number | null;
  /** Longest batch. Default 16 MiB. */
  readonly batchBytesMax?: number;
  /** Files of the journal roll at this size; other adapters take it as a hint for theirs. */
  readonly segmentBytes?: number;
}

/** `end`: what is new lies below it, if that is known. Who has read up to there already need not look. */
export type CommittedListener = (end?: number) => void;

export interface StreamPartition {
  readonly name: string;
  /**
   * Appends one or more batches; offsets are given to a copy. `bytes` must not be changed before the answer. Refusals come through
   * `done`, too. While the engine is away, appends wait for a bounded time; see `StoreHealth`.
   */
  append(bytes: Buffer, done: AppendDone): void;
  /** Rejects with StorageError: STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_CORRUPTED, STORAGE_UNAVAILABLE, … */
  read(request: ReadRequest): Promise<ReadAnswer>;
  places(): Promise<PartitionPlaces>;
  /** The first committed record with this timestamp or a later one, in the order of the log; null when there is none. */
  offsetForTime(timestamp: number): Promise<TimedOffset | null>;
  /** Forgets what lies below `offset`, up to the high watermark; answers the new start of the log. */
  deleteBefore(offset: number): Promise<number>;
  /** Told, some time after they grew, that there is something new to read; answers how to end it. */
  onCommitted(listener: CommittedListener): () => void;
}

/**
 * `ready`: serves. `degraded`: serves, but some partitions are out of service, or there is no room where they are. `retrying`: the engine does not answer; appends wait, up to a bound, and are refused with STORAGE_UNAVAILABLE
 * beyond it. `failed`: only a restart, or an operator, can help.
 */
export type StoreState = 'ready' | 'degraded' | 'retrying' | 'failed';

export interface StoreHealth {
  readonly state: StoreState;
  /** Why it is not ready; empty when it is. */
  readonly reason: string;
  /** Of this state; milliseconds since 1970. */
  readonly since: number;
}

export interface StreamStore {
  /** Name of the adapter: `journal`, `memory`, … */
  readonly adapter: string;
  health(): StoreHealth;
  onHealth(listener: (health: StoreHealth) => void): () => void;
  /**
   * Names are 1 to 249 characters out of letters, digits, `.`, `_` and `-`, neither `.` nor `..`, as topics of other brokers are.
   * Rejects with STORAGE_PARTITION_EXISTS, STORAGE_NAME_INVALID, STORAGE_SETTING_UNSUPPORTED.
   */
  create(name: string, settings?: StreamSettings): Promise<StreamPartition>;
  /** Rejects with STORAGE_PARTITION_UNKNOWN. The same object for the same name, until it is removed. */
  open(name: string): Promise<StreamPartition>;
  remove(name: string): Promise<void>;
  /** Sorted. */
  names(): Promise<readonly string[]>;
  /** Replaces those settings that are given; the others stay. */
  change(name: string, settings: StreamSettings): Promise<void>;
  settings(name: string): Promise<StreamSettings>;
  /** Refuses what is new, answers what is under way, and lets everything go. */
  close(): Promise<void>;
}

/** A store as a connection's thread has it: it says when the thread should stop to read what makes appends. */
export interface PacedStore extends StreamStore {
  /** More appends are under way than is good: stop reading what makes them, and go on at `onDrained`. */
  readonly isCongested: boolean;
  /** Told when it is congested no more; answers how to end it. */
  onDrained(listener: () => void): () => void;
}
