/** How a partition is kept, and what it tells its owner. Thread: the journal worker; used by all parts of a partition. */

import { assert } from '../std/assert.ts';
import type { TailCache } from './tail-cache.ts';
import type { PartitionTier } from './tier/partition-tier.ts';

/** No setting allows longer batches; what is stored is read by it, also when the partition's own bound was made smaller since. */
export const storedBatchBytesMax = 128 * 1024 * 1024;

export interface PartitionOptions {
  /** Name of the partition, for events and errors. */
  readonly name: string;
  readonly tail: TailCache;
  /** A segment that has reached it gets no more rounds; one round is never divided. Below 2 GiB. Default 256 MiB. */
  readonly segmentBytes: number;
  /** A segment that is older gets no more rounds. Default 7 days. */
  readonly segmentMs: number;
  /** Default 16 KiB. */
  readonly indexIntervalBytes: number;
  /** Longest batch that is taken, up to `storedBatchBytesMax`. Default 16 MiB. */
  readonly batchBytesMax: number;
  /**
   * How many acknowledged bytes at the end of the log may be without a proof that they were durable. 0 proves each round in
   * the next one, for the price of a second page in its sync. With more, damage of these bytes that meets a crash is taken for a
   * torn write: it is reported as that, and cut. Default 0.
   */
  readonly proofBytes: number;
  /** Bytes of all segments; null: no bound. Default null. */
  readonly retentionBytes: number | null;
  /** Age of the newest record of a segment; null: no bound. Default null. */
  readonly retentionMs: number | null;
  /** Producers that were last heard of longer ago are forgotten. Default 7 days. */
  readonly producerExpiryMs: number;
  /**
   * False: what is synced is committed. True: `setHighWatermark` says what is committed, as the replicas report.
   * Default false.
   */
  readonly isReplicated: boolean;
  /** Where older segments are as well, or alone; null: nowhere. Default null. */
  readonly tier: PartitionTier | null;
  onEvent(event: PartitionEvent): void;
}

/** What an operator wants to know. */
export type PartitionEvent =
  /** Stored bytes cannot be read any more: each such place is told once, when it is found. */
  | {
      readonly type: 'corruption';
      readonly partition: string;
      readonly file: string;
      readonly position: number;
      /** The offsets [firstOffset, nextOffset) are lost here; the same when only a help is damaged. */
      readonly firstOffset: number;
      readonly nextOffset: number;
      readonly reason: string;
    }
  /** Something that was never acknowledged was cut from the end when the log was opened. */
  | {
      readonly type: 'torn-tail';
      readonly partition: string;
      readonly file: string;
      readonly position: number;
      readonly bytes: number;
    }
  /** The partition went out of service. */
  | { readonly type: 'failed'; readonly partition: string; readonly reason: string };

const dayMs = 24 * 60 * 60 * 1000;

/** The options with what is left out. */
export function partitionOptions(
  given: Partial<PartitionOptions> & Pick<PartitionOptions, 'name' | 'tail'>,
): PartitionOptions {
  assert((given.batchBytesMax ?? 0) <= storedBatchBytesMax, 'the longest batch is one that can be read again');
  return {
    segmentBytes: 256 * 1024 * 1024,
    segmentMs: 7 * dayMs,
    indexIntervalBytes: 16 * 1024,
    batchBytesMax: 16 * 1024 * 1024,
    proofBytes: 0,
    retentionBytes: null,
    retentionMs: null,
    producerExpiryMs: 7 * dayMs,
    isReplicated: false,
    tier: null,
    onEvent: () => undefined,
    ...given,
  };
}
