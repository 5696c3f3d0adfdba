/** What an acknowledgement set is made of, counts and tells. Types alone; any thread. */
import type { StreamPartition } from '../ports/stream-store.ts';
import type { Decompress } from './open-batch.ts';
import type { QueueContext } from './queue-context.ts';
import type { QueueSettings } from './queue-settings.ts';

export interface SetPartition {
  readonly stream: StreamPartition;
  /** Of priority; 0 is served last. */
  readonly level: number;
}

export interface AcknowledgementSetOptions {
  readonly queue: string;
  readonly group: string;
  readonly partitions: readonly SetPartition[];
  /** Internal stream of the set, for its records alone. */
  readonly state: StreamPartition;
  /** First of `serviceProducerSpan` producer ids that nobody else uses. */
  readonly producerBase: number;
  readonly deadLetters: StreamPartition | null;
  readonly settings: QueueSettings;
  readonly context: QueueContext;
  /** Where a new set begins. */
  readonly start: 'earliest' | 'latest';
  readonly decompress?: Decompress | null;
  /** Everything below these offsets, one for each partition, is settled for good. */
  readonly onFloors?: (floors: readonly number[]) => void;
}

/** Counted since the set was opened. */
export interface SetCounters {
  delivered: number;
  redelivered: number;
  settled: number;
  timedOut: number;
  deadLettered: number;
  /** Rejected or delivered too often without a dead-letter stream. */
  dropped: number;
  expired: number;
  /** Removed from the stream before they were settled. */
  lost: number;
}

export interface SetDescription {
  readonly queue: string;
  readonly group: string;
  readonly settings: QueueSettings;
  readonly consumers: readonly { readonly name: string; readonly inFlight: number; readonly credit: number }[];
  /** Can be delivered at once; with what was not read yet. */
  readonly ready: number;
  readonly inFlight: number;
  readonly delayed: number;
  /** Behind another message of their key. */
  readonly held: number;
  /** On the way to the dead-letter stream. */
  readonly dying: number;
  /** Not settled: all of the above. */
  readonly lag: number;
  /** Of the oldest message that is not settled; null when none is known. */
  readonly oldestAgeMs: number | null;
  readonly counters: Readonly<SetCounters>;
  readonly partitions: readonly {
    readonly stream: string;
    readonly level: number;
    /** Everything below is settled. */
    readonly floor: number;
    readonly position: number;
    readonly holes: number;
  }[];
  /** What keeps it from working; empty when all is well. */
  readonly problems: readonly string[];
}
