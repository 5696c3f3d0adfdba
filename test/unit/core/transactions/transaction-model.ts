/**
 * Producers with random transactions over partitions that others write to as well, with faults of the store and crashes at any point,
 * against what must hold for readers of decided records: a transaction is there as a whole or not at all, once, in order.
 */

import type { ProducerIdentity } from '../../../../src/core/transactions/producer-registry.ts';
import { Random } from '../../../fuzz/random.ts';
import { type AppendFate, type FaultPlan, FaultyStore } from '../../../support/faulty-store.ts';
import { turn } from '../../../support/stream-records.ts';
import { TransactionWorld } from './transaction-world.ts';

const partitions = ['p0', 'p1', 'p2'];

/** `maybe`: its producer was fenced before it was told. */
type Fate = 'open' | 'committed' | 'aborted' | 'maybe';

interface Transaction {
  readonly id: string;
  fate: Fate;
  /** What its producer has asked for; until it is told, it asks for the same again. */
  asked: 'commit' | 'abort' | null;
  /** Value → partition, of what was acknowledged. */
  readonly written: Map<string, string>;
  /** Of what was sent and not acknowledged. */
  readonly maybe: Set<string>;
  readonly groups: Set<string>;
}

class Client {
  readonly name: string;
  producer: ProducerIdentity | null = null;
  transaction: Transaction | null = null;
  sequences = new Map<string, number>();
  joined = new Set<string>();
  mustAbort = false;
  count = 0;

  constructor(name: string) {
    this.name = name;
  }

  use(producer: ProducerIdentity | null): void {
    this.producer = producer;
    this.sequences = new Map();
    this.joined = new Set();
    this.transaction = null;
    this.mustAbort = false;
  }
}

export interface TransactionModelOptions {
  readonly seed: number;
  readonly steps: number;
  readonly hasFaults: boolean;
  /** Plants a fault that the checks must find. */
  readonly change?: FaultPlan['change'];
}

export class TransactionModel {
  readonly counts = { committed: 0, aborted: 0, maybe: 0, crashes: 0 };
  readonly #options: TransactionModelOptions;
  readonly #random: Random;
  readonly #world: TransactionWorld;
  readonly #transactions: Transaction[] = [];
  #faultRate = 0;
  #isOver = false;
  /** Rejects when the store crashes: calls that were under way are never answered. */
  #crashed: Promise<never> = Promise.race([]);
  #onCrash: () => void = () => undefined;

  constructor(options: TransactionModelOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#world = new TransactionWorld(options.seed);
    const plan: FaultPlan = {
      fateOf: () => this.#fate(),
      failureOf: () => (this.#isFaulty() ? 'STORAGE_UNAVAILABLE' : null),
      ...(options.change === undefined ? {} : { change: options.change }),
    };
    this.#world.wrap = (store) => new FaultyStore(store, plan);
    this.#arm();
  }

  async run(): Promise<void> {
    for (const name of partitions) await this.#world.store.create(name);
    await this.#world.open();
    const clients = Array.from({ length: 4 }, (_, index) => new Client(`n${index}`));
    const running = clients.map((client) => this.#live(client));
    for (let step = 0; step < this.#options.steps; step += 1) {
      if (this.#options.hasFaults && step % 20 === 0) this.#faultRate = this.#random.oneIn(3) ? 8 : 0;
      this.#world.nowMs += this.#random.pick([1, 10, 50, 100, 400]);
      this.#world.coordinator.tick();
      for (let left = this.#random.below(12); left > 0; left -= 1) await turn();
      if (this.#random.oneIn(25)) await this.#crash();
    }
    this.#isOver = true;
    this.#faultRate = 0;
    let left = running.length;
    for (const client of running) void client.then(() => (left -= 1));
    while (left > 0) await this.#world.pass(100);
    // Whatever was left open takes too long.
    await this.#world.pass(5000, 500);
    await this.#check();
    await this.#world.close();
  }

  // --- producers ---

  async #live(client: Client): Promise<void> {
    while (!this.#isOver) {
      try {
        await Promise.race([this.#act(client), this.#crashed]);
      } catch (error) {
        this.#onError(client, error);
      }
      await turn();
    }
  }

  async #act(client: Client): Promise<void> {
    const random = this.#random;
    if (client.producer === null || random.oneIn(60)) {
      if (client.transaction !== null) giveUp(client.transaction);
      client.use(null);
      const life = this.counts.crashes;
      const producer = await this.#world.coordinator.initialize(client.name, 2000);
      if (life === this.counts.crashes) client.use(producer);
      return;
    }
    if (random.oneIn(80)) {
      // Somebody else begins with its name.
      await this.#world.coordinator.initialize(client.name, 2000).catch(() => undefined);
      return;
    }
    if (client.transaction === null) {
      client.count += 1;
      const id = `${client.name}.${client.count}`;
      client.transaction = { id, fate: 'open', asked: null, written: new Map(), maybe: new Set(), groups: new Set() };
      this.#transactions.push(client.transaction);
    }
    const kind = client.transaction.asked === null ? random.below(10) : 8;
    if (kind < 6 && !client.mustAbort) await this.#write(client, client.producer, client.transaction);
    else if (kind < 7 && !client.mustAbort) await this.#stage(client, client.producer, client.transaction);
    else if (kind < 9) await this.#end(client, client.producer, client.transaction);
    else for (let left = random.below(30); left > 0; left -= 1) await turn();
  }

  async #write(client: Client, producer: ProducerIdentity, transaction: Transaction): Promise<void> {
    const partition = this.#random.pick(partitions);
    if (!client.joined.has(partition)) {
      await this.#world.coordinator.addPartitions(client.name, producer, [partition]);
      client.joined.add(partition);
    }
    this.#world.coordinator.verify(client.name, producer, partition);
    const sequence = client.sequences.get(partition) ?? 0;
    const values = Array.from({ length: this.#random.between(1, 3) }, (_, at) => {
      return `${transaction.id}/${partition}/${sequence + at}`;
    });
    for (const value of values) transaction.maybe.add(value);
    client.mustAbort = true;
    const answer = await this.#world.write(partition, producer, sequence, values);
    if (answer.error !== null) throw answer.error;
    client.mustAbort = false;
    for (const value of values) {
      transaction.maybe.delete(value);
      transaction.written.set(value, partition);
    }
    client.sequences.set(partition, sequence + values.length);
  }

  async #stage(client: Client, producer: ProducerIdentity, transaction: Transaction): Promise<void> {
    const group = `g-${client.name}`;
    client.mustAbort = true;
    await this.#world.coordinator.addOffsets(client.name, producer, group, async () => {
      await turn();
      this.#world.cursors.stage(producer.producerId, group, transaction.id);
    });
    client.mustAbort = false;
    transaction.groups.add(group);
  }

  async #end(client: Client, producer: ProducerIdentity, transaction: Transaction): Promise<void> {
    transaction.asked ??= client.mustAbort || this.#random.oneIn(4) ? 'abort' : 'commit';
    const outcome = transaction.asked;
    for (;;) {
      try {
        const next = await this.#world.coordinator.end(client.name, producer, outcome);
        // A crash came in between, and the next attempt was answered already.
        if (client.transaction !== transaction) return;
        transaction.fate = outcome === 'commit' ? 'committed' : 'aborted';
        client.use(next);
        return;
      } catch (error) {
        if (client.transaction !== transaction) return;
        const { code } = error as { code?: string };
        if (code === 'TRANSACTION_STATE') {
          // It was aborted because it took too long, which the client learns now.
          transaction.fate = 'aborted';
          client.use(null);
          return;
        }
        if (code === 'TRANSACTION_FENCED' || code === 'TRANSACTION_UNKNOWN') {
          giveUp(transaction);
          client.use(null);
          return;
        }
        if (this.#isOver) {
          giveUp(transaction);
          return;
        }
        await turn();
      }
    }
  }

  #onError(client: Client, error: unknown): void {
    const { code } = error as { code?: string };
    const isFenced =
      code === 'TRANSACTION_FENCED' || code === 'TRANSACTION_UNKNOWN' || code === 'STORAGE_PRODUCER_FENCED';
    if (isFenced) {
      if (client.transaction !== null) giveUp(client.transaction);
      client.use(null);
      return;
    }
    if (code === 'TRANSACTION_CONCURRENT' || code === 'TRANSACTION_STATE') {
      if (client.transaction !== null) client.mustAbort = true;
      return;
    }
    if (code === undefined || code.startsWith('TRANSACTION_INVALID')) throw error;
    client.mustAbort = true;
  }

  // --- the world ---

  async #crash(): Promise<void> {
    this.counts.crashes += 1;
    this.#onCrash();
    this.#arm();
    await this.#world.crash(this.#random.pick(['mixed', 'drop', 'keep', 'kill']));
  }

  #arm(): void {
    this.#crashed = new Promise((_, reject) => {
      this.#onCrash = () => reject(Object.assign(new Error('the store has crashed'), { code: 'CRASHED' }));
    });
    this.#crashed.catch(() => undefined);
  }

  #fate(): AppendFate {
    return this.#isFaulty() ? this.#random.pick(['refuse', 'hide', 'lose']) : 'store';
  }

  #isFaulty(): boolean {
    return this.#faultRate > 0 && this.#random.oneIn(this.#faultRate);
  }

  // --- what must hold ---

  async #check(): Promise<void> {
    const seen = new Map<string, string>();
    for (const partition of partitions) {
      const values = await this.#world.stable(partition);
      for (const value of values) {
        if (value === null || seen.has(value)) throw this.#error(`${value} is there twice`);
        seen.set(value, partition);
      }
      const { lastStableOffset, highWatermark } = await (await this.#world.store.open(partition)).places();
      if (lastStableOffset !== highWatermark) throw this.#error(`${partition} has a transaction without an end`);
    }
    for (const transaction of this.#transactions) this.#checkOne(transaction, seen);
    if (seen.size > 0) throw this.#error(`${[...seen.keys()][0]} came from nowhere`);
  }

  #checkOne(transaction: Transaction, seen: Map<string, string>): void {
    giveUp(transaction);
    const { id, fate, written, maybe, groups } = transaction;
    const there = [...written].filter(([value, partition]) => seen.get(value) === partition).length;
    const unsure = [...maybe].filter((value) => seen.has(value)).length;
    const state = `${id} is ${fate}, and of ${written.size} records ${there} are there`;
    if (fate === 'committed' && there < written.size) throw this.#error(state);
    if (fate === 'aborted' && there + unsure > 0) throw this.#error(state);
    if (fate === 'maybe' && there !== 0 && there !== written.size) throw this.#error(state);
    const isSet = [...groups].every((group) => this.#world.cursors.set.get(group) === id);
    const isWrong = fate !== 'committed' && fate !== 'maybe' && groups.size > 0 && isSet;
    if (isWrong) throw this.#error(`${id} is ${fate}, and its cursors are set`);
    for (const value of [...written.keys(), ...maybe]) seen.delete(value);
    if (fate === 'committed') this.counts.committed += 1;
    else if (fate === 'maybe') this.counts.maybe += 1;
    else this.counts.aborted += 1;
  }

  #error(what: string): Error {
    return new Error(`seed ${this.#options.seed}: ${what}`);
  }
}

/** Its producer never learns what became of it. */
function giveUp(transaction: Transaction): void {
  if (transaction.fate === 'open') transaction.fate = transaction.asked === 'commit' ? 'maybe' : 'aborted';
}
