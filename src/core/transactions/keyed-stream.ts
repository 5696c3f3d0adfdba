/**
 * A map that lives in an internal compacted stream: the newest record of a key is its value, one without a value removes it. All of it
 * is read at the start. Where the store does not compact, or is slow to, the living entries are written again at the end from time to
 * time and what lies before them is forgotten. Thread: the owner of the service; used for producers and transactions.
 */

import { BatchBuilder } from '../batch/batch-builder.ts';
import type { StreamPartition, StreamStore } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import { backoffMs, type Pauses } from './backoff.ts';
import { append, openInternalStream, readAllRecords } from './internal-stream.ts';

export interface KeyedStreamOptions {
  readonly store: StreamStore;
  readonly stream: string;
  readonly pauses: Pauses;
  now(): number;
  /** The log is written anew when it has this many records more than living keys. Default 100,000. */
  readonly slackRecordsMax?: number;
}

const rewriteBatchBytes = 256 * 1024;

export class KeyedStream {
  readonly #options: KeyedStreamOptions;
  readonly #partition: StreamPartition;
  readonly #slackRecordsMax: number;
  /** The newest durable value of each key. */
  readonly #values = new Map<string, Buffer>();
  #startOffset = 0;
  #endOffset = 0;
  #underWay = 0;
  /** While it is written anew, or is about to be, changes wait. */
  #rewriting: Promise<void> | null = null;
  #onDrained: (() => void) | null = null;

  private constructor(options: KeyedStreamOptions, partition: StreamPartition) {
    this.#options = options;
    this.#partition = partition;
    this.#slackRecordsMax = options.slackRecordsMax ?? 100_000;
  }

  /** Reads all of it. Rejects with StorageError. */
  static async open(options: KeyedStreamOptions): Promise<KeyedStream> {
    const partition = await openInternalStream(options.store, options.stream, { isCompacted: true });
    const stream = new KeyedStream(options, partition);
    stream.#startOffset = (await partition.places()).logStartOffset;
    stream.#endOffset = await readAllRecords(partition, ({ key, value }) => {
      if (key === null) return;
      if (value === null) stream.#values.delete(key.toString());
      else stream.#values.set(key.toString(), Buffer.from(value));
    });
    return stream;
  }

  get size(): number {
    return this.#values.size;
  }

  get(key: string): Buffer | null {
    return this.#values.get(key) ?? null;
  }

  entries(): IterableIterator<[string, Buffer]> {
    return this.#values.entries();
  }

  /**
   * Resolves when the value is durable. Rejects with StorageError when it is certain that it was not stored; as long as that is
   * unknown, the same is tried again, so of one key only one change may be under way.
   */
  async put(key: string, value: Buffer | null): Promise<void> {
    while (this.#rewriting !== null) await this.#rewriting;
    this.#underWay += 1;
    try {
      const offset = await this.#store(this.#batchOf([[key, value]]));
      this.#endOffset = Math.max(this.#endOffset, offset + 1);
      if (value === null) this.#values.delete(key);
      else this.#values.set(key, value);
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#onDrained?.();
    }
    if (this.#endOffset - this.#startOffset > this.#values.size + this.#slackRecordsMax)
      this.#rewriting ??= this.#rewrite();
  }

  async #store(bytes: Buffer): Promise<number> {
    let isUncertain = false;
    for (let attempts = 1; ; attempts += 1) {
      const { error, baseOffset } = await append(this.#partition, bytes);
      if (error === null) return baseOffset;
      isUncertain ||= error.code === 'STORAGE_UNCERTAIN';
      if (!isUncertain || !error.canRetry) throw error;
      await this.#options.pauses.wait(backoffMs(attempts));
    }
  }

  #batchOf(entries: readonly (readonly [string, Buffer | null])[]): Buffer {
    const builder = new BatchBuilder();
    const timestampMs = this.#options.now();
    for (const [key, value] of entries) builder.add({ timestampMs, key: Buffer.from(key), value });
    return builder.build();
  }

  /** Writes the living entries again, while no change is under way: a change must not be overwritten by what was before it. */
  async #rewrite(): Promise<void> {
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
      });
    }
    try {
      await this.#writeLiving();
    } catch (error) {
      // The old records are still there: nothing is lost, and a later change tries again.
      if (!(error instanceof StorageError)) throw error;
      this.#startOffset = this.#endOffset;
    } finally {
      this.#onDrained = null;
      this.#rewriting = null;
    }
  }

  async #writeLiving(): Promise<void> {
    let firstOffset = -1;
    let group: [string, Buffer][] = [];
    let groupBytes = 0;
    let left = this.#values.size;
    for (const [key, value] of this.#values) {
      group.push([key, value]);
      groupBytes += key.length + value.length;
      left -= 1;
      if (groupBytes < rewriteBatchBytes && left > 0) continue;
      const { error, baseOffset } = await append(this.#partition, this.#batchOf(group));
      if (error !== null) throw error;
      this.#endOffset = baseOffset + group.length;
      if (firstOffset < 0) firstOffset = baseOffset;
      group = [];
      groupBytes = 0;
    }
    // Without a living entry all of the log goes.
    if (firstOffset < 0) firstOffset = this.#endOffset;
    this.#startOffset = await this.#partition.deleteBefore(firstOffset);
  }
}
