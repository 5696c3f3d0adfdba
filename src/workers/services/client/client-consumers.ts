/**
 * The consumers of one thread: what they were attached to, so that they can be attached again, and the settlements of a turn, which
 * go as one message for each group. Owned by the services client of a thread.
 */
import type { AttachedConsumer, AttachOptions, Settlement } from '../../../core/ports/queues.ts';
import { QueueError } from '../../../core/queues/queue-error.ts';
import type { Receipt } from '../../../core/queues/stored-message.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { openDeliveries } from '../delivery-codec.ts';
import type { ClientToServices } from '../messages.ts';
import type { ServiceError } from '../service-error.ts';
import { packSettlement } from '../settle-codec.ts';
import type { ServiceCalls } from './service-calls.ts';

const inFlightDefault = 1000;
/** Between two attempts to attach again. */
const retryMsMin = 100;
const retryMsMax = 5_000;

export interface ClientConsumersOptions {
  readonly calls: ServiceCalls;
  /** Dropped while there is no host. */
  post(message: ClientToServices): void;
  /** Gives up a call that waits for messages. */
  cancel(id: number): void;
  isJoined(): boolean;
}

interface Gathered {
  readonly queue: string;
  readonly group: string;
  readonly numbers: number[];
  readonly waiters: {
    readonly from: number;
    readonly to: number;
    readonly resolve: (results: readonly boolean[]) => void;
    readonly reject: (error: unknown) => void;
  }[];
}

export class ClientConsumers {
  readonly #options: ClientConsumersOptions;
  readonly #consumers = new Map<number, Consumer>();
  #numberNext = 1;
  /** By queue and group. */
  #gathered = new Map<string, Gathered>();
  #end: StorageError | null = null;

  constructor(options: ClientConsumersOptions) {
    this.#options = options;
  }

  /** Rejects with an error of the services; then there is no consumer. */
  async attach(queue: string, options: AttachOptions): Promise<AttachedConsumer> {
    if (this.#end !== null) throw this.#end;
    const consumer = new Consumer(this.#numberNext, queue, options, this);
    this.#numberNext += 1;
    this.#consumers.set(consumer.number, consumer);
    try {
      await this.#attach(consumer);
    } catch (error) {
      this.#consumers.delete(consumer.number);
      // Whether it is there is not always known.
      void this.#detach(consumer.number);
      throw error;
    }
    return consumer;
  }

  cancel(id: number): void {
    this.#options.cancel(id);
  }

  settle(queue: string, group: string, settlements: readonly Settlement[]): Promise<readonly boolean[]> {
    if (settlements.length === 0) return Promise.resolve([]);
    const name = `${queue}\0${group}`;
    let gathered = this.#gathered.get(name);
    if (gathered === undefined) {
      gathered = { queue, group, numbers: [], waiters: [] };
      this.#gathered.set(name, gathered);
      if (this.#gathered.size === 1) queueMicrotask(() => this.#flush());
    }
    const { numbers, waiters } = gathered;
    const from = waiters.at(-1)?.to ?? 0;
    for (const settlement of settlements) packSettlement(settlement, numbers);
    return new Promise((resolve, reject) => {
      waiters.push({ from, to: from + settlements.length, resolve, reject });
    });
  }

  // --- the host, told by the client ---

  joined(): void {
    for (const consumer of this.#consumers.values()) if (consumer.isLost) void this.#reattach(consumer);
  }

  lost(): void {
    for (const consumer of this.#consumers.values()) if (consumer.isAttached) consumer.isLost = true;
  }

  receive(number: number, bytes: ArrayBuffer): void {
    const consumer = this.#consumers.get(number);
    // It went meanwhile: the host takes the messages back when it hears of that.
    if (consumer === undefined || consumer.isLost) return;
    consumer.options.onMessages(openDeliveries(bytes));
  }

  ended(number: number, error: ServiceError): void {
    const consumer = this.#consumers.get(number);
    if (consumer === undefined || consumer.isLost) return;
    consumer.isLost = true;
    if (isFinal(error)) this.#finish(consumer, error);
    else void this.#reattach(consumer);
  }

  close(reason: StorageError): void {
    this.#end = reason;
    for (const consumer of [...this.#consumers.values()]) this.#finish(consumer, reason);
  }

  // --- for the consumers ---

  credit(number: number, credit: number, isTotal: boolean): void {
    const consumer = this.#consumers.get(number);
    // A consumer that is attached again has the credit of its options.
    if (consumer === undefined || consumer.isLost) return;
    this.#options.post({ type: 'credit', consumer: number, credit, isTotal });
  }

  async remove(number: number): Promise<void> {
    const consumer = this.#consumers.get(number);
    if (!this.#consumers.delete(number) || consumer === undefined || consumer.isLost) return;
    await this.#detach(number);
  }

  // --- parts ---

  async #attach(consumer: Consumer): Promise<void> {
    const { number, queue, group, options } = consumer;
    const { inFlightMax = inFlightDefault, credit = 0 } = options;
    const name = String(options.name);
    await this.#options.calls.run({ call: 'attach', consumer: number, queue, group, name, inFlightMax, credit });
    consumer.isAttached = true;
  }

  async #reattach(consumer: Consumer): Promise<void> {
    // One attempt at a time, whoever asks for it.
    if (consumer.isAttaching) return;
    consumer.isAttaching = true;
    try {
      for (let delayMs = retryMsMin; this.#isWanted(consumer); delayMs = Math.min(retryMsMax, 2 * delayMs)) {
        // What comes next is for the new life of the consumer.
        consumer.isLost = false;
        const attempt = this.#tryAttach(consumer);
        // Behind the call, so that credit that is given now is for the consumer that it makes.
        consumer.options.onReset?.();
        const error = await attempt;
        if (error === null && !consumer.isLost) break;
        consumer.isLost = true;
        if (error !== null && isFinal(error)) {
          this.#finish(consumer, error);
          break;
        }
        await new Promise<void>((resolve) => setTimeout(resolve, delayMs).unref());
      }
    } finally {
      consumer.isAttaching = false;
    }
  }

  async #tryAttach(consumer: Consumer): Promise<Error | null> {
    try {
      await this.#attach(consumer);
      return null;
    } catch (error) {
      return error as Error;
    }
  }

  /** Without a host `joined` begins again. */
  #isWanted({ number }: Consumer): boolean {
    return this.#consumers.has(number) && this.#options.isJoined();
  }

  async #detach(number: number): Promise<void> {
    if (!this.#options.isJoined()) return;
    try {
      await this.#options.calls.run({ call: 'detach', consumer: number }, { canRepeat: true });
    } catch (error) {
      // Where there is no host there is no consumer.
      if (!(error instanceof StorageError)) throw error;
    }
  }

  #finish(consumer: Consumer, reason: Error): void {
    if (this.#consumers.delete(consumer.number)) consumer.options.onEnd?.(reason);
  }

  #flush(): void {
    const gathered = this.#gathered;
    this.#gathered = new Map();
    for (const each of gathered.values()) void this.#send(each);
  }

  async #send({ queue, group, numbers, waiters }: Gathered): Promise<void> {
    const settlements = new Float64Array(numbers);
    try {
      const results = (await this.#options.calls.run({ call: 'settle', queue, group, settlements })) as Uint8Array;
      for (const { from, to, resolve } of waiters)
        resolve(Array.from(results.subarray(from, to), (each) => each === 1));
    } catch (error) {
      for (const { reject } of waiters) reject(error);
    }
  }
}

class Consumer implements AttachedConsumer {
  readonly number: number;
  readonly queue: string;
  readonly group: string;
  readonly options: AttachOptions;
  isAttached = false;
  /** It is at no host, or at one that is gone. */
  isLost = false;
  isAttaching = false;
  readonly #owner: ClientConsumers;

  constructor(number: number, queue: string, options: AttachOptions, owner: ClientConsumers) {
    this.number = number;
    this.queue = queue;
    this.group = options.group ?? 'default';
    this.options = options;
    this.#owner = owner;
  }

  addCredit(count: number): void {
    this.#owner.credit(this.number, count, false);
  }

  setCredit(count: number): void {
    this.#owner.credit(this.number, count, true);
  }

  settle(settlements: readonly Settlement[]): Promise<readonly boolean[]> {
    return this.#owner.settle(this.queue, this.group, settlements);
  }

  async acknowledge(receipt: Receipt): Promise<boolean> {
    const [isGood] = await this.#owner.settle(this.queue, this.group, [{ action: 'acknowledge', receipt }]);
    return isGood;
  }

  close(): Promise<void> {
    return this.#owner.remove(this.number);
  }
}

/** Asking again would not help. */
function isFinal(error: Error): boolean {
  if (error instanceof StorageError) return error.code === 'STORAGE_CLOSED';
  if (!(error instanceof QueueError)) return true;
  const { code } = error;
  return code === 'QUEUE_UNKNOWN' || code === 'QUEUE_GROUP_UNKNOWN' || code === 'QUEUE_SETTING_INVALID';
}
