/**
 * The log of what is about to be written to targets. An intent is durable before its batch is sent, and says which messages the batch
 * has and which sequence of the producer: after a crash the same batch is sent again, and the store of the target knows whether it
 * has it. One append is under way at a time, with sequences of the producer, so a repetition is stored once and an owner
 * whose epoch is old is refused. Thread: the owner of the service.
 */

import { BatchBuilder } from '../batch/batch-builder.ts';
import type { StreamPartition } from '../ports/stream-store.ts';
import type { StorageError } from '../streams/storage-error.ts';
import { backoffMs, type Pauses } from '../transactions/backoff.ts';
import { append } from '../transactions/internal-stream.ts';
import type { ProducerIdentity } from '../transactions/producer-registry.ts';

export interface IntentLogOptions {
  readonly partition: StreamPartition;
  readonly producer: ProducerIdentity;
  readonly pauses: Pauses;
  now(): number;
  /** Nothing can be written any more: a newer owner has taken over, or the store was closed. */
  onFenced(error: StorageError): void;
}

export type IntentDone = (offset: number) => void;

const recordsMax = 1000;
const bytesMax = 512 * 1024;

export class IntentLog {
  readonly #options: IntentLogOptions;
  #values: Buffer[] = [];
  #dones: IntentDone[] = [];
  #sequence = 0;
  #isBusy = false;
  #isScheduled = false;
  #isFenced = false;
  #endOffset = 0;
  #onBeginFailed: ((error: StorageError) => void) | null = null;

  constructor(options: IntentLogOptions) {
    this.#options = options;
  }

  /** Behind the last record that is known to be durable. */
  get endOffset(): number {
    return this.#endOffset;
  }

  get isIdle(): boolean {
    return !this.#isBusy && this.#values.length === 0;
  }

  /** Appends what says that this owner is the one now; the owner before it cannot write from then on. Rejects with StorageError. */
  begin(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#onBeginFailed = reject;
      this.add(Buffer.from([0]), () => {
        this.#onBeginFailed = null;
        resolve();
      });
    });
  }

  /** `done` is told when the intent is durable, however long that takes; never inside of the call. */
  add(value: Buffer, done: IntentDone): void {
    this.#values.push(value);
    this.#dones.push(done);
    if (this.#isScheduled || this.#isBusy) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      void this.#write();
    });
  }

  async #write(): Promise<void> {
    if (this.#isBusy || this.#isFenced) return;
    this.#isBusy = true;
    while (this.#values.length > 0) {
      const { bytes, count } = this.#take();
      const offset = await this.#store(bytes);
      if (offset < 0) break;
      this.#sequence += count;
      this.#endOffset = offset + count;
      const dones = this.#dones.splice(0, count);
      for (let index = 0; index < count; index += 1) dones[index](offset + index);
    }
    this.#isBusy = false;
  }

  #take(): { readonly bytes: Buffer; readonly count: number } {
    const { producerId, producerEpoch } = this.#options.producer;
    const builder = new BatchBuilder({ producerId, producerEpoch, baseSequence: this.#sequence });
    const timestampMs = this.#options.now();
    let count = 0;
    while (count < this.#values.length && count < recordsMax) {
      const value = this.#values[count];
      if (count > 0 && builder.size + value.length > bytesMax) break;
      builder.add({ timestampMs, value });
      count += 1;
    }
    this.#values.splice(0, count);
    return { bytes: builder.build(), count };
  }

  /** Answers the offset, or -1 when a newer owner has taken over. */
  async #store(bytes: Buffer): Promise<number> {
    for (let attempts = 1; ; attempts += 1) {
      const { error, baseOffset } = await append(this.#options.partition, bytes);
      if (error === null) return baseOffset;
      // Another owner has taken over, the store was closed, or the log is not what it was: no attempt can help.
      if (!error.canRetry) {
        this.#isFenced = true;
        this.#onBeginFailed?.(error);
        this.#options.onFenced(error);
        return -1;
      }
      await this.#options.pauses.wait(backoffMs(attempts));
    }
  }
}
