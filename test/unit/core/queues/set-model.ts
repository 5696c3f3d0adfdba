/**
 * What an acknowledgement set may do, told apart from how it does it: a checker that sees publications, deliveries, the answers to
 * settlements, confirmations and crashes, and throws at the first thing that is not allowed.
 */
import type { Delivery } from '../../../../src/core/queues/stored-message.ts';

interface Message {
  readonly id: string;
  readonly partition: number;
  readonly offset: number;
  readonly key: string | null;
  /** Bounds of the deliveries that count up to now. */
  low: number;
  high: number;
  /** An acknowledgement was taken, in this life or before. */
  isSettled: boolean;
  /** And confirmed. */
  isConfirmed: boolean;
  isRejected: boolean;
}

interface Held {
  readonly delivery: Delivery;
  readonly consumer: number;
  /** Monotonic milliseconds before which nobody else may get it. */
  deadline: number;
}

export interface ModelSettings {
  readonly isOrdered: boolean;
  readonly deliveriesMax: number;
  readonly visibilityMs: number;
}

export class SetModel {
  readonly messages = new Map<string, Message>();
  /** Deliveries that consumers have. */
  held: Held[] = [];
  readonly #settings: ModelSettings;
  readonly #isDead: (id: string) => boolean;
  #unconfirmed: Message[] = [];

  constructor(settings: ModelSettings, isDead: (id: string) => boolean) {
    this.#settings = settings;
    this.#isDead = isDead;
  }

  publish(partition: number, offset: number, id: string, key: string | null): void {
    const none = { low: 0, high: 0, isSettled: false, isConfirmed: false, isRejected: false };
    this.messages.set(id, { id, partition, offset, key, ...none });
  }

  deliver(delivery: Delivery, consumer: number, mono: number): void {
    const id = delivery.message.value?.toString() ?? '';
    const message = this.messages.get(id);
    const count = delivery.deliveryCount;
    if (message === undefined) throw new Error(`${id} was never published`);
    if (message.partition !== delivery.partition || message.offset !== delivery.offset) throw new Error(`${id}: place`);
    if (message.isConfirmed) throw new Error(`${id} was settled and confirmed, and is delivered again`);
    if (this.#isDead(id)) throw new Error(`${id} is dead, and is delivered again`);
    if (count > this.#settings.deliveriesMax) throw new Error(`${id} is delivered ${count} times`);
    if (count < message.low + 1 || count > message.high + 1) {
      throw new Error(`${id} has count ${count}, and not ${message.low + 1} to ${message.high + 1}`);
    }
    if (this.held.some((held) => held.delivery.message.value?.toString() === id && mono < held.deadline)) {
      throw new Error(`${id} is at two consumers`);
    }
    if (this.#settings.isOrdered && message.key !== null) this.#checkKey(message, mono);
    message.low = count;
    message.high = count;
    this.held = this.held.filter((held) => held.delivery.message.value?.toString() !== id);
    this.held.push({ delivery, consumer, deadline: mono + this.#settings.visibilityMs });
  }

  /** The set has answered true. */
  settle({ message: { value } }: Delivery): void {
    const message = this.#messageOf(value);
    message.isSettled = true;
    this.#unconfirmed.push(message);
  }

  reject({ message: { value } }: Delivery): void {
    const message = this.#messageOf(value);
    message.isRejected = true;
  }

  /** Released: the delivery does not count, once that is stored. */
  release({ message: { value } }: Delivery): void {
    this.#messageOf(value).low -= 1;
  }

  drop(delivery: Delivery): void {
    this.held = this.held.filter((held) => held.delivery !== delivery);
  }

  /** Purged: what nobody has may be gone. */
  purge(mono: number): void {
    const inTime = this.held.filter(({ deadline }) => mono < deadline);
    const held = new Set(inTime.map(({ delivery }) => delivery.message.value?.toString()));
    for (const message of this.messages.values()) if (!held.has(message.id)) message.isSettled = true;
  }

  consumerGone(consumer: number): void {
    this.held = this.held.filter((held) => held.consumer !== consumer);
  }

  /** What is settled now; `confirm` it when the set says that it is stored. */
  pending(): readonly Message[] {
    const pending = this.#unconfirmed;
    this.#unconfirmed = [];
    return pending;
  }

  confirm(messages: readonly Message[]): void {
    for (const message of messages) message.isConfirmed = true;
  }

  crash(): void {
    const held = new Set(this.held.map(({ delivery }) => delivery.message.value?.toString()));
    for (const message of this.messages.values()) {
      // It may have been counted, and not handed over yet.
      if (!held.has(message.id)) message.high += 1;
    }
    this.held = [];
    this.#unconfirmed = [];
  }

  #checkKey(message: Message, mono: number): void {
    const other = this.held.find(({ delivery, deadline }) => {
      return delivery.message.key?.toString() === message.key && mono < deadline;
    });
    if (other !== undefined && other.delivery.offset !== message.offset) {
      throw new Error(`${message.id} is delivered while offset ${other.delivery.offset} of its key is out`);
    }
    for (const before of this.messages.values()) {
      if (before.key !== message.key || before.partition !== message.partition) continue;
      if (before.offset >= message.offset || before.isSettled || this.#isDead(before.id)) continue;
      throw new Error(`${message.id} is delivered before ${before.id} of its key is settled`);
    }
  }

  #messageOf(value: Buffer | null): Message {
    const message = this.messages.get(value?.toString() ?? '');
    if (message === undefined) throw new Error('An unknown message is settled');
    return message;
  }
}
