/**
 * An internal stream whose appends are gathered: everything that is added in one turn becomes one batch. It can be added to before the
 * stream is open. Thread: the owner of the service; used for the buckets of the delayed messages and for half messages.
 */

import { BatchBuilder } from '../batch/batch-builder.ts';
import type { StreamPartition, StreamStore } from '../ports/stream-store.ts';
import type { StorageError } from '../streams/storage-error.ts';
import { openInternalStream, toStorageError } from '../transactions/internal-stream.ts';

/** `offset` is that of the record; -1 with an error. */
export type AddDone = (error: StorageError | null, offset: number) => void;

export interface GatheringStreamOptions {
  readonly store: StreamStore;
  readonly name: string;
  now(): number;
  /** Offsets in [from, to) are durable and were not told by an answer: what an append left whose fate was unknown. */
  onGap(from: number, to: number): void;
}

const batchBytesMax = 256 * 1024;

export class GatheringStream {
  readonly name: string;
  readonly #options: GatheringStreamOptions;
  readonly #builder = new BatchBuilder();
  #dones: AddDone[] = [];
  #partition: StreamPartition | null = null;
  #opening: Promise<StreamPartition> | null = null;
  #isScheduled = false;
  #underWay = 0;
  /** The next offset, as far as answers and reads have told; -1 while nothing has. */
  #knownEnd = -1;

  constructor(options: GatheringStreamOptions) {
    this.#options = options;
    this.name = options.name;
  }

  /** Records that were added and are not answered. */
  get underWay(): number {
    return this.#underWay;
  }

  /** The next offset, as far as answers have told; -1 while none has. */
  get knownEnd(): number {
    return this.#knownEnd;
  }

  /** The stream, made when there is none. Rejects with StorageError; the next call tries again. */
  open(): Promise<StreamPartition> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  /** All below it is known to the owner: a smaller offset is not told as a gap. */
  knowUpTo(offset: number): void {
    this.#knownEnd = Math.max(this.#knownEnd, offset);
  }

  /** Adds a record with this value; `done` is never called inside of the call. `value` is copied. */
  add(value: Buffer, done: AddDone): void {
    if (this.#builder.recordCount > 0 && this.#builder.size + value.length > batchBytesMax) this.#flush();
    this.#builder.add({ timestampMs: this.#options.now(), value });
    this.#dones.push(done);
    this.#underWay += 1;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#builder.recordCount === 0) return;
    const bytes = this.#builder.build();
    const dones = this.#dones;
    this.#dones = [];
    if (this.#partition !== null) {
      this.#append(this.#partition, bytes, dones);
      return;
    }
    this.open().then(
      (partition) => this.#append(partition, bytes, dones),
      (error: unknown) => this.#answer(dones, toStorageError(error), -1),
    );
  }

  #append(partition: StreamPartition, bytes: Buffer, dones: readonly AddDone[]): void {
    partition.append(bytes, ({ error, baseOffset, lastOffset }) => {
      if (error === null) {
        if (this.#knownEnd >= 0 && baseOffset > this.#knownEnd) this.#options.onGap(this.#knownEnd, baseOffset);
        this.knowUpTo(lastOffset + 1);
      }
      this.#answer(dones, error, baseOffset);
    });
  }

  #answer(dones: readonly AddDone[], error: StorageError | null, baseOffset: number): void {
    this.#underWay -= dones.length;
    for (let index = 0; index < dones.length; index += 1) dones[index](error, error === null ? baseOffset + index : -1);
  }

  async #open(): Promise<StreamPartition> {
    try {
      this.#partition = await openInternalStream(this.#options.store, this.name);
      return this.#partition;
    } catch (error) {
      this.#opening = null;
      throw error;
    }
  }
}
