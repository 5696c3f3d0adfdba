/**
 * How another thread reads stored batches itself: where they lie, instead of the bytes. Offered by adapters whose records lie
 * in files of the machine; made on the thread that hosts the adapter, carried out by the thread that wants to read, so that
 * neither the copy nor a slow disk is the host's business.
 *
 * Whoever reads by a plan checks each batch (`baseOffset` as expected, leader epoch, CRC-32C) before it hands it out. When one is
 * not what the plan says, or the file is gone, it asks the host to read: that one knows why, and says it. Plain data.
 */
import type { AbortedTransaction } from '../streams/producer-state.ts';
import type { ReadAnswer, ReadRequest, StreamPartition } from './stream-store.ts';

export interface FilePlan {
  /** Absolute path of a file that is only ever appended to, or replaced by one with another `identity`. */
  readonly path: string;
  readonly identity: string;
  /** Where the batch of `offset` begins, at or before the offset that was asked for. */
  readonly position: number;
  readonly offset: number;
  /** All batches in [position, end) are durable. */
  readonly end: number;
  /** Only batches that end below this offset may be handed out. */
  readonly limit: number;
  readonly batchBytesMax: number;
  /** Epoch and first offset, ascending, as far as they concern [offset, limit); empty: not checked. */
  readonly epochs: readonly { readonly epoch: number; readonly startOffset: number }[];
  readonly logStartOffset: number;
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  /** With `stable`: the aborted transactions from `offset` on; more than those in what will be read do no harm. */
  readonly aborted: readonly AbortedTransaction[];
}

export type ReadPlan =
  /** What was asked for is in memory, or there is nothing to read: slices may lie in shared memory. */
  { readonly type: 'answer'; readonly answer: ReadAnswer } | { readonly type: 'file'; readonly file: FilePlan };

export interface LocatingPartition extends StreamPartition {
  /** Rejects like `read`. Never reads batches from a disk. */
  locate(request: ReadRequest): Promise<ReadPlan>;
}

export function canLocate(partition: StreamPartition): partition is LocatingPartition {
  return 'locate' in partition;
}
