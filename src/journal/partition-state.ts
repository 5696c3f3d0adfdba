/**
 * What the parts of an open partition share: its chain of segments, its producers, how far it is committed, and whether it is in
 * service. Thread: the journal worker; owned by the partition log.
 */

import type { FileSystem } from '../core/ports/file-system.ts';
import type { ProducerState } from '../core/streams/producer-state.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { type EpochStart, writeCheckpoint } from './checkpoint.ts';
import type { PartitionOptions } from './partition-options.ts';
import type { SegmentChain } from './segment-chain.ts';
import { type TailCache, TailOfLog } from './tail-cache.ts';

export class PartitionState {
  readonly fileSystem: FileSystem;
  readonly options: PartitionOptions;
  readonly chain: SegmentChain;
  readonly tail: TailCache;
  readonly tailOfLog = new TailOfLog();
  /** Replaced when the log is truncated. */
  producers: ProducerState;
  /** Of what is on this disk; the tier may have what is before it. */
  logStartOffset: number;
  highWatermark: number;
  /** The log was closed, or opened anew: who still has this state must stop. */
  isRetired = false;
  #failure: StorageError | null = null;

  constructor(
    chain: SegmentChain,
    producers: ProducerState,
    places: { readonly logStartOffset: number; readonly highWatermark: number },
  ) {
    this.fileSystem = chain.fileSystem;
    this.options = chain.options;
    this.chain = chain;
    this.tail = chain.options.tail;
    this.producers = producers;
    this.logStartOffset = places.logStartOffset;
    this.highWatermark = places.highWatermark;
  }

  /** The first offset that can be read, here or in the tier. */
  get startOffset(): number {
    return this.options.tier?.startOf(this.logStartOffset) ?? this.logStartOffset;
  }

  /** Why the partition is out of service; null while it serves. */
  get failure(): StorageError | null {
    return this.#failure;
  }

  /** Takes the partition out of service: what the disk holds is not known any more. The first reason stays. */
  fail(cause: Error): StorageError {
    if (this.#failure !== null) return this.#failure;
    const { name, onEvent } = this.options;
    const message = `Cannot use partition "${name}": ${cause.message}`;
    this.#failure = new StorageError('STORAGE_PARTITION_FAILED', message, { cause });
    this.tail.clear(this.tailOfLog);
    onEvent({ type: 'failed', partition: name, reason: cause.message });
    return this.#failure;
  }

  writeCheckpoint(epochs: readonly EpochStart[] = this.chain.epochs.entries): void {
    const { logStartOffset, highWatermark } = this;
    writeCheckpoint(this.fileSystem, { logStartOffset, highWatermark, epochs });
  }

  advanceHighWatermark(offset: number): void {
    if (offset <= this.highWatermark) return;
    this.highWatermark = offset;
    this.producers.onCommitted(offset);
  }
}
