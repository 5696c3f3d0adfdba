/**
 * What one queue may do, told apart from how it does it: it sees publications, deliveries, settlements and crashes in the order in which
 * the host said them, and throws at the first thing that is not allowed. The counterpart of `PartitionLedger`. Thread of the test.
 */
import { type Calls, deliveriesMax, type Push, type QueueName, visibilityMs } from './store-lines.ts';

export type SettlementKind = Calls['settle']['given']['kind'];
export type Delivery = Extract<Push, { type: 'delivery' }>;

interface Message {
  readonly value: string;
  readonly key: string | null;
  /** It was acknowledged to its publisher, or was delivered. */
  isStored: boolean;
  /** −1: not told. */
  offset: number;
  partition: number;
  /** Bounds of the deliveries that count. */
  low: number;
  high: number;
  /** Of the newest delivery; the message is out until it is settled, or this time is over. */
  consumer: string | null;
  deliveredMs: number;
  /** `maybe`: a crash has hidden the answer, or what had not been confirmed. */
  settled: 'no' | 'maybe' | 'yes';
  /** Calls that are not answered: all, those that acknowledge, those that release. */
  asked: number;
  acknowledging: number;
  releasing: number;
  /** It was rejected, or delivered as often as may be. */
  mayDie: boolean;
}

/** Time-outs are as exact as a tick of the host. */
const slackMs = 50;

export class QueueLedger {
  readonly queue: QueueName;
  readonly counts = { published: 0, delivered: 0, redelivered: 0, confirmed: 0, died: 0, settledInDoubt: 0 };
  readonly #isOrdered: boolean;
  readonly #messages = new Map<string, Message>();
  /** What a key has in the queue, in the order of publication. */
  readonly #byKey = new Map<string, Message[]>();
  /** Ended for good: they must not come back. */
  readonly #ended = new Map<string, 'confirmed' | 'dead'>();

  constructor(queue: QueueName, isOrdered: boolean) {
    this.queue = queue;
    this.#isOrdered = isOrdered;
  }

  /** Stored, and neither settled nor dead, as far as is known. */
  get open(): number {
    let count = 0;
    for (const { isStored, settled } of this.#messages.values()) if (isStored && settled === 'no') count += 1;
    return count;
  }

  publishing(value: string, key: string | null): void {
    const message: Message = {
      value,
      key,
      isStored: false,
      offset: -1,
      partition: -1,
      low: 0,
      high: 0,
      consumer: null,
      deliveredMs: 0,
      settled: 'no',
      asked: 0,
      acknowledging: 0,
      releasing: 0,
      mayDie: false,
    };
    this.#messages.set(value, message);
    if (key === null) return;
    const others = this.#byKey.get(key) ?? [];
    this.#byKey.set(key, others);
    others.push(message);
  }

  published(value: string, offset: number): void {
    this.counts.published += 1;
    const message = this.#messages.get(value);
    // It may have been delivered, and settled, before.
    if (message === undefined) return;
    message.isStored = true;
    message.offset = offset;
  }

  delivered({ value, key, offset, partition, count, consumer, atMs }: Delivery): void {
    const ended = this.#ended.get(value);
    if (ended !== undefined) throw this.#wrong(`"${value}" was ${ended}, and is delivered again`);
    const message = this.#messages.get(value);
    if (message === undefined || message.key !== key)
      throw this.#wrong(`"${value}" is delivered and was never published`);
    if (message.settled === 'yes') throw this.#wrong(`"${value}" was acknowledged, and is delivered again`);
    const isElsewhere = message.partition >= 0 && message.partition !== partition;
    if (isElsewhere || (message.offset >= 0 && message.offset !== offset))
      throw this.#wrong(`"${value}" is at ${message.offset}, and is delivered from ${offset}`);
    if (count > deliveriesMax) throw this.#wrong(`"${value}" is delivered ${count} times`);
    if (count < message.low + 1 || count > message.high + 1) {
      throw this.#wrong(`"${value}" has count ${count}, and not ${message.low + 1} to ${message.high + 1}`);
    }
    if (isOut(message, atMs)) {
      throw this.#wrong(`"${value}" is at consumer ${message.consumer}, and is delivered to ${consumer}`);
    }
    message.isStored = true;
    message.offset = offset;
    message.partition = partition;
    if (this.#isOrdered && key !== null) this.#checkKey(message, key, atMs);
    message.settled = message.acknowledging > 0 ? 'maybe' : 'no';
    message.low = count;
    message.high = count;
    message.consumer = consumer;
    message.deliveredMs = atMs;
    message.mayDie = count === deliveriesMax;
    this.counts.delivered += 1;
    if (count > 1) this.counts.redelivered += 1;
  }

  /** Asked for and not answered: a crash can hide what became of it. */
  settling(value: string, kind: SettlementKind): void {
    const message = this.#messages.get(value);
    if (message === undefined) return;
    message.asked += 1;
    if (kind === 'acknowledge') {
      message.acknowledging += 1;
      if (message.settled === 'no') message.settled = 'maybe';
    }
    if (kind === 'release') message.releasing += 1;
    if (kind === 'reject') message.mayDie = true;
  }

  /** The host has answered. Answers whether the settlement waits for its confirmation. */
  settled(value: string, kind: SettlementKind, isTaken: boolean, atMs: number): boolean {
    const message = this.#messages.get(value);
    if (message === undefined) return false;
    message.asked -= 1;
    if (kind === 'release') message.releasing -= 1;
    if (kind === 'acknowledge') message.acknowledging -= 1;
    if (isTaken && kind === 'extend') message.deliveredMs = atMs;
    else if (isTaken) message.consumer = null;
    // The delivery does not count, as soon as that is stored.
    if (isTaken && kind === 'release') message.low -= 1;
    if (kind !== 'acknowledge') return false;
    if (isTaken) message.settled = 'yes';
    else if (message.settled === 'maybe' && message.acknowledging === 0) message.settled = 'no';
    return isTaken;
  }

  confirmed(values: readonly string[]): void {
    for (const value of values) {
      const message = this.#messages.get(value);
      if (message === undefined) continue;
      if (message.settled !== 'yes') throw this.#wrong(`"${value}" is confirmed, and was not acknowledged`);
      this.counts.confirmed += 1;
      this.#end(message, 'confirmed');
    }
  }

  /** The consumer gives back what it has: told when it is asked, and when it is answered. */
  left(consumer: string): void {
    for (const message of this.#messages.values()) if (message.consumer === consumer) message.consumer = null;
  }

  died(value: string, deliveries: number, reason: string): void {
    const ended = this.#ended.get(value);
    if (ended !== undefined) throw this.#wrong(`"${value}" was ${ended}, and is a dead letter`);
    const message = this.#messages.get(value);
    if (message === undefined) throw this.#wrong(`"${value}" is a dead letter and was never published`);
    if (message.settled === 'yes') throw this.#wrong(`"${value}" was acknowledged, and is a dead letter`);
    const isCounted = message.high >= deliveriesMax;
    if (!message.mayDie && !isCounted) throw this.#wrong(`"${value}" is a dead letter for no reason`);
    if (deliveries < message.low - message.releasing || deliveries > message.high) {
      throw this.#wrong(`"${value}" died after ${deliveries} deliveries, and had ${message.low} to ${message.high}`);
    }
    if (reason === 'deliveries' && deliveries !== deliveriesMax)
      throw this.#wrong(`"${value}" died after ${deliveries} deliveries`);
    this.counts.died += 1;
    this.#end(message, 'dead');
  }

  /** The host has died, and all that it had said was heard. */
  crashed(nowMs: number): void {
    for (const message of this.#messages.values()) {
      // It may have been counted for a delivery that nobody got.
      const isCertain = isOut(message, nowMs) && message.asked === 0;
      if (!isCertain) message.high = Math.min(deliveriesMax, message.high + 1);
      message.low -= Math.min(1, message.releasing);
      message.consumer = null;
      message.asked = 0;
      message.acknowledging = 0;
      message.releasing = 0;
      if (message.settled === 'yes') {
        message.settled = 'maybe';
        this.counts.settledInDoubt += 1;
      }
    }
  }

  /** Nothing is left in the queue. */
  finish(): void {
    for (const { value, isStored, settled } of this.#messages.values()) {
      if (isStored && settled === 'no')
        throw this.#wrong(`"${value}" is lost: it was neither settled nor is it a dead letter`);
    }
  }

  /** What came before it, with its key, must be over. */
  #checkKey(message: Message, key: string, atMs: number): void {
    for (const other of this.#byKey.get(key) ?? []) {
      if (other === message || !other.isStored || other.offset < 0) continue;
      if (isOut(other, atMs))
        throw this.#wrong(`"${message.value}" is delivered, and "${other.value}" of its key is out`);
      const isOver = other.settled !== 'no' || other.mayDie || other.high >= deliveriesMax;
      if (other.offset < message.offset && !isOver) {
        throw this.#wrong(`"${message.value}" is delivered before "${other.value}" of its key is settled`);
      }
    }
  }

  #end(message: Message, how: 'confirmed' | 'dead'): void {
    this.#messages.delete(message.value);
    this.#ended.set(message.value, how);
    if (message.key === null) return;
    const others = this.#byKey.get(message.key) ?? [];
    const left = others.filter((other) => other !== message);
    if (left.length > 0) this.#byKey.set(message.key, left);
    else this.#byKey.delete(message.key);
  }

  #wrong(what: string): Error {
    return new Error(`Queue "${this.queue}": ${what}`);
  }
}

/** A consumer has it, and its time is not over. */
function isOut({ consumer, deliveredMs }: Message, nowMs: number): boolean {
  return consumer !== null && nowMs < deliveredMs + visibilityMs - slackMs;
}
