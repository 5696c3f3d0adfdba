/**
 * Numbers that are never given twice, over restarts and between several owners of one store. A block is claimed with one
 * record in an internal stream: the offset that the record gets is the number of the block. So nothing has to be read
 * at the start, and an append whose fate is unknown costs a block and nothing else. Thread: the owner of the service;
 * used for producer ids and for the numbers of delayed messages.
 */

import { assert } from '../../std/assert.ts';
import { BatchBuilder } from '../batch/batch-builder.ts';
import type { StreamPartition, StreamStore } from '../ports/stream-store.ts';
import type { StorageError } from '../streams/storage-error.ts';
import { append, openInternalStream } from './internal-stream.ts';

export interface BlockAllocatorOptions {
  readonly store: StreamStore;
  /** Name of the internal stream. */
  readonly stream: string;
  /** Numbers in a block; a power of two or any other whole number. It must never be made smaller or larger later. */
  readonly blockSize: number;
  /** Milliseconds since 1970, for the records. */
  now(): number;
}

export class BlockAllocator {
  readonly #options: BlockAllocatorOptions;
  readonly #partition: StreamPartition;
  #next = 0;
  #end = 0;
  /** The block behind the present one, claimed ahead. */
  #spare = -1;
  #claim: Promise<void> | null = null;
  #failure: StorageError | null = null;

  private constructor(options: BlockAllocatorOptions, partition: StreamPartition) {
    this.#options = options;
    this.#partition = partition;
  }

  /** Opens the stream and claims the first block. Rejects with StorageError. */
  static async open(options: BlockAllocatorOptions): Promise<BlockAllocator> {
    assert(Number.isSafeInteger(options.blockSize) && options.blockSize > 0, 'a block has numbers');
    const allocator = new BlockAllocator(options, await openInternalStream(options.store, options.stream));
    await allocator.reserve();
    return allocator;
  }

  /** The next number, or -1 when a block has to be waited for: `reserve` says when. */
  take(): number {
    if (this.#next === this.#end && !this.#useSpare()) {
      this.#claimAhead();
      return -1;
    }
    const number = this.#next;
    this.#next += 1;
    // Half of a block is left while the next one is claimed.
    if (this.#end - this.#next <= this.#options.blockSize / 2) this.#claimAhead();
    return number;
  }

  /** Resolves when `take` has a number. Rejects with the StorageError that kept it from claiming a block. */
  async reserve(): Promise<void> {
    while (this.#next === this.#end && !this.#useSpare()) {
      this.#claimAhead();
      await this.#claim;
      if (this.#failure !== null) throw this.#failure;
    }
  }

  #useSpare(): boolean {
    if (this.#spare < 0) return false;
    const { blockSize } = this.#options;
    this.#next = this.#spare * blockSize;
    this.#end = this.#next + blockSize;
    assert(Number.isSafeInteger(this.#end), 'numbers stay exact');
    this.#spare = -1;
    return true;
  }

  #claimAhead(): void {
    if (this.#spare >= 0 || this.#claim !== null) return;
    this.#claim = this.#claimBlock();
  }

  async #claimBlock(): Promise<void> {
    const builder = new BatchBuilder();
    builder.add({ timestampMs: this.#options.now(), value: Buffer.from('block') });
    const { error, baseOffset } = await append(this.#partition, builder.build());
    this.#claim = null;
    this.#failure = error;
    if (error !== null) return;
    this.#spare = baseOffset;
    try {
      await this.#partition.deleteBefore(baseOffset);
    } catch {
      // Records of older blocks cost room and nothing else; the next claim forgets them.
    }
  }
}
