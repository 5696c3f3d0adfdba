/**
 * Two queues with several consumers each that acknowledge, fail, release, reject and keep what they get: one with order by key, one with
 * two levels of priority. What must hold is in `QueueLedger`; dead letters are read as a consumer reads them. Thread of the test.
 */
import type { Random } from '../fuzz/random.ts';
import { type Client, type Link, together } from './link.ts';
import { type Delivery, QueueLedger } from './queue-ledger.ts';
import { type Calls, type Push, type QueueName, queueDeadLetters, queueNames } from './store-lines.ts';
import { type ReadRecord, StreamReader } from './stream-reader.ts';

const consumersMax = 3;
/** Published and not ended, for each queue. */
const openMax = 150;
const keptRecords = 2_000;
const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

interface Side {
  readonly queue: QueueName;
  readonly ledger: QueueLedger;
  consumers: string[];
  /** At the consumers, and not settled. */
  held: Delivery[];
  /** Acknowledged, and not asked to be confirmed. */
  unconfirmed: string[];
  isConfirming: boolean;
}

export class QueuesClient implements Client {
  readonly name = 'queues';
  readonly needs = ['published', 'delivered', 'redelivered', 'confirmed', 'died', 'settledInDoubt'];
  readonly progress = ['confirmed'];
  readonly #random: Random;
  readonly #sides: readonly Side[] = queueNames.map((queue) => ({
    queue,
    ledger: new QueueLedger(queue, queue === 'keyed'),
    consumers: [],
    held: [],
    unconfirmed: [],
    isConfirming: false,
  }));
  readonly #dead = new StreamReader(queueDeadLetters);
  #link: Link | null = null;
  #number = 0;
  #isFinishing = false;
  #failure: Error | null = null;

  constructor(random: Random) {
    this.#random = random;
  }

  get counts(): Readonly<Record<string, number>> {
    const sum = { published: 0, delivered: 0, redelivered: 0, confirmed: 0, died: 0, settledInDoubt: 0 };
    for (const { ledger } of this.#sides) {
      for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += ledger.counts[key];
    }
    return sum;
  }

  async check(link: Link, isFull: boolean): Promise<void> {
    this.#link = link;
    await this.#readDead(link);
    if (!isFull) return;
    await this.#dead.readAgain(link);
    await this.#dead.trim(link, keptRecords);
  }

  async live(link: Link): Promise<void> {
    await together([this.#watch(link), ...this.#sides.map((side) => this.#load(link, side))]);
  }

  onPush(push: Push): void {
    if (push.type !== 'delivery') return;
    const side = this.#sides.find(({ queue }) => queue === push.queue);
    if (side === undefined) return;
    this.#try(() => side.ledger.delivered(push));
    side.held = side.held.filter(({ value }) => value !== push.value);
    side.held.push(push);
    if (this.#link !== null) this.#call(this.#link, 'credit', { queue: push.queue, consumer: push.consumer, count: 1 });
  }

  onCrash(): void {
    const nowMs = this.#link?.now() ?? 0;
    this.#link = null;
    for (const side of this.#sides) {
      side.ledger.crashed(nowMs);
      side.consumers = [];
      side.held = [];
      side.unconfirmed = [];
      side.isConfirming = false;
    }
    if (this.#failure !== null) throw this.#failure;
  }

  async finish(link: Link): Promise<void> {
    this.#isFinishing = true;
    for (let left = this.#sides.length; left > 0; ) {
      left = 0;
      for (const side of this.#sides) if (!(await this.#drain(link, side))) left += 1;
      await this.#readDead(link);
      if (this.#failure !== null) throw this.#failure;
      await link.pause(5);
    }
    await this.#readDead(link);
    await this.#dead.readAgain(link);
    for (const { ledger } of this.#sides) ledger.finish();
    this.#isFinishing = false;
  }

  /** Whether nothing is left. */
  async #drain(link: Link, side: Side): Promise<boolean> {
    this.#settleSome(link, side);
    while (side.consumers.length < consumersMax) this.#enter(link, side);
    this.#confirm(link, side);
    const { lag, problems } = await link.ask('lag', { queue: side.queue });
    if (problems.length > 0) throw new Error(`Queue "${side.queue}" has problems: ${problems.join(', ')}`);
    return lag === 0 && side.held.length === 0 && side.unconfirmed.length === 0 && !side.isConfirming;
  }

  async #load(link: Link, side: Side): Promise<void> {
    for (;;) {
      const count = side.ledger.open < openMax ? this.#random.below(5) : 0;
      for (let left = count; left > 0; left -= 1) this.#publish(link, side);
      if (side.consumers.length < consumersMax && this.#random.oneIn(3)) this.#enter(link, side);
      if (side.consumers.length > 0 && this.#random.oneIn(60)) this.#leave(link, side);
      this.#settleSome(link, side);
      if (this.#random.oneIn(2)) this.#confirm(link, side);
      await link.pause(this.#random.between(1, 3));
      if (this.#failure !== null) throw this.#failure;
    }
  }

  async #watch(link: Link): Promise<void> {
    for (;;) {
      await this.#readDead(link);
      await link.pause(20);
    }
  }

  #publish(link: Link, { queue, ledger }: Side): void {
    this.#number += 1;
    const value = `${queue}-${this.#number}`;
    const key = queue === 'keyed' && !this.#random.oneIn(6) ? this.#random.pick(keys) : null;
    ledger.publishing(value, key);
    link.send('publish', { queue, key, value, priority: this.#random.below(2) }, (failure, answer) => {
      if (failure === null) ledger.published(value, answer.offset);
      else this.#failure ??= new Error(`A sound message was refused: ${failure.code}: ${failure.message}`);
    });
  }

  #enter(link: Link, side: Side): void {
    this.#number += 1;
    const consumer = `consumer-${this.#number}`;
    side.consumers.push(consumer);
    this.#call(link, 'consume', { queue: side.queue, consumer, credit: 10 });
  }

  #leave(link: Link, side: Side): void {
    const consumer = this.#random.pick(side.consumers);
    side.consumers = side.consumers.filter((other) => other !== consumer);
    side.ledger.left(consumer);
    link.send('leave', { queue: side.queue, consumer }, (failure) => {
      if (failure !== null) this.#failure ??= new Error(`A consumer cannot leave: ${failure.message}`);
      side.held = side.held.filter((held) => held.consumer !== consumer);
      side.ledger.left(consumer);
    });
  }

  #settleSome(link: Link, side: Side): void {
    const share = this.#isFinishing ? side.held.length : this.#random.below(side.held.length + 1);
    for (let left = share; left > 0 && side.held.length > 0; left -= 1) {
      const delivery = this.#random.pick(side.held);
      const kind = this.#isFinishing
        ? 'acknowledge'
        : this.#random.pick([
            ...(['acknowledge', 'acknowledge', 'acknowledge', 'acknowledge', 'acknowledge'] as const),
            ...(['fail', 'fail', 'release', 'reject', 'extend', 'keep'] as const),
          ]);
      // Until its time is over.
      if (kind === 'keep') continue;
      this.#settle(link, side, delivery, kind);
    }
  }

  #settle(link: Link, side: Side, delivery: Delivery, kind: Calls['settle']['given']['kind']): void {
    const { queue, ledger } = side;
    const { partition, offset, tag, value } = delivery;
    if (kind !== 'extend') side.held = side.held.filter((held) => held !== delivery);
    ledger.settling(value, kind);
    const delayMs = this.#random.pick([0, 10, 60]);
    link.send('settle', { queue, kind, partition, offset, tag, delayMs }, (failure, answer) => {
      if (failure !== null) this.#failure ??= new Error(`A settlement is refused: ${failure.message}`);
      else if (ledger.settled(value, kind, answer.isTaken, answer.atMs)) side.unconfirmed.push(value);
    });
  }

  #confirm(link: Link, side: Side): void {
    if (side.isConfirming || side.unconfirmed.length === 0) return;
    const values = side.unconfirmed;
    side.unconfirmed = [];
    side.isConfirming = true;
    link.send('confirm', { queue: side.queue }, (failure) => {
      side.isConfirming = false;
      if (failure !== null) this.#failure ??= new Error(`A settlement is not confirmed: ${failure.message}`);
      else this.#try(() => side.ledger.confirmed(values));
    });
  }

  #call<Name extends 'consume' | 'credit'>(link: Link, type: Name, given: Calls[Name]['given']): void {
    link.send(type, given, (failure) => {
      if (failure !== null) this.#failure ??= new Error(`A consumer is refused: ${failure.message}`);
    });
  }

  #readDead(link: Link): Promise<void> {
    return this.#dead.readNew(link, (record) => this.#onDead(record));
  }

  #onDead({ value, headers }: ReadRecord): void {
    const side = this.#sides.find(({ queue }) => queue === headers.get('ringmq-dead-queue'));
    if (side === undefined) throw new Error(`"${value}" is a dead letter of no queue`);
    side.ledger.died(value, Number(headers.get('ringmq-dead-deliveries')), headers.get('ringmq-dead-reason') ?? '');
  }

  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }
}
