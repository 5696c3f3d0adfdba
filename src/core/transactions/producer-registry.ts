/**
 * Who produces: ids that are never given twice, and named producers that keep their id and get a newer epoch each time they begin
 * anew, so that what is left of the one before is refused by every partition. Clients that bring sequences of their own get an id by
 * `allocate`; services of the broker open a name. Thread: the owner of the service.
 */

import { readInt64, writeInt64 } from '../batch/batch-format.ts';
import type { StreamStore } from '../ports/stream-store.ts';
import type { Pauses } from './backoff.ts';
import { BlockAllocator } from './block-allocator.ts';
import { KeyedStream } from './keyed-stream.ts';

export interface ProducerIdentity {
  readonly producerId: number;
  readonly producerEpoch: number;
}

export interface ProducerRegistryOptions {
  readonly store: StreamStore;
  readonly pauses: Pauses;
  /** Milliseconds since 1970. */
  now(): number;
  /** Beginning of the names of the internal streams. Default `__producers`. */
  readonly prefix?: string;
  /** Ids that are claimed at once. Default 1000. */
  readonly blockSize?: number;
}

/** The last epoch that a producer gets; the one behind it is left for fencing it. */
export const producerEpochMax = 0x7ffe;

const entryBytes = 18;

export class ProducerRegistry {
  readonly #ids: BlockAllocator;
  readonly #names: KeyedStream;
  readonly #options: ProducerRegistryOptions;
  /** Names that are being opened, so that two calls get two epochs. */
  readonly #opening = new Map<string, Promise<ProducerIdentity>>();

  private constructor(options: ProducerRegistryOptions, ids: BlockAllocator, names: KeyedStream) {
    this.#options = options;
    this.#ids = ids;
    this.#names = names;
  }

  /** Reads the names. Rejects with StorageError. */
  static async open(options: ProducerRegistryOptions): Promise<ProducerRegistry> {
    const { store, pauses, prefix = '__producers', blockSize = 1000 } = options;
    const now = (): number => options.now();
    const ids = await BlockAllocator.open({ store, stream: `${prefix}.ids`, blockSize, now });
    const names = await KeyedStream.open({ store, stream: `${prefix}.names`, pauses, now });
    return new ProducerRegistry(options, ids, names);
  }

  /** How many names are known. */
  get nameCount(): number {
    return this.#names.size;
  }

  /** An id that nobody had before, with epoch 0. Rejects with StorageError. */
  async allocate(): Promise<ProducerIdentity> {
    for (;;) {
      const producerId = this.#ids.take();
      if (producerId >= 0) return { producerId, producerEpoch: 0 };
      await this.#ids.reserve();
    }
  }

  /**
   * The producer of this name with the next epoch, durably: whoever has an older one is refused by each partition that this one has
   * written to. After the last epoch the name gets a new id. Rejects with StorageError.
   */
  open(name: string): Promise<ProducerIdentity> {
    const before = this.#opening.get(name) ?? Promise.resolve();
    const opened = before.then(
      () => this.#open(name),
      () => this.#open(name),
    );
    this.#opening.set(name, opened);
    const forget = (): void => {
      if (this.#opening.get(name) === opened) this.#opening.delete(name);
    };
    opened.then(forget, forget);
    return opened;
  }

  /** The producer of this name as it is now; null when there is none. */
  get(name: string): ProducerIdentity | null {
    const entry = this.#names.get(name);
    return entry === null ? null : decode(entry);
  }

  /** Forgets names that were last opened before `beforeMs`; answers how many. Rejects with StorageError. */
  async expire(beforeMs: number): Promise<number> {
    const old: string[] = [];
    for (const [name, entry] of this.#names.entries()) {
      if (readInt64(entry, 10) < beforeMs && !this.#opening.has(name)) old.push(name);
    }
    for (const name of old) await this.#names.put(name, null);
    return old.length;
  }

  async #open(name: string): Promise<ProducerIdentity> {
    const known = this.get(name);
    const next =
      known === null || known.producerEpoch >= producerEpochMax
        ? await this.allocate()
        : { producerId: known.producerId, producerEpoch: known.producerEpoch + 1 };
    await this.#names.put(name, encode(next, this.#options.now()));
    return next;
  }
}

function encode({ producerId, producerEpoch }: ProducerIdentity, openedMs: number): Buffer {
  const bytes = Buffer.alloc(entryBytes);
  writeInt64(bytes, producerId, 0);
  bytes.writeInt16BE(producerEpoch, 8);
  writeInt64(bytes, openedMs, 10);
  return bytes;
}

function decode(bytes: Buffer): ProducerIdentity {
  return { producerId: readInt64(bytes, 0), producerEpoch: bytes.readInt16BE(8) };
}
