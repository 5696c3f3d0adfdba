/**
 * What durable sessions may do, told apart from how they do it: publishers and subscribers that go on over crashes, and a checker of what
 * came. Everything is random and of one seed.
 *
 *   - what was acknowledged to its publisher arrives at every session that was subscribed
 *   - grade 2 arrives once, whatever crashes; nothing arrives that was not published, or does not match
 *   - what one publisher sends to one topic with one grade comes in its order, leaving repetitions out
 */
import { matches } from '../../../../src/core/routing/topic.ts';
import type { OnlineSession } from '../../../../src/core/sessions/online-session.ts';
import { messageOf, SessionWorld, TestClient } from './session-world.ts';

interface Published {
  readonly value: string;
  readonly topic: string;
  readonly publisher: string;
  readonly grade: 1 | 2;
  readonly number: number;
  isAcknowledged: boolean;
}

const topics = ['a/x', 'a/y', 'b/x', 'b/y', 'c'];
const filters = ['a/#', '+/x', 'c', 'b/y', '#', 'a/x'];

/** Sends grade 2 as a client does: the same packet id until it is confirmed, then the release until that is. */
class Publisher {
  readonly client: TestClient;
  readonly #model: SessionModel;
  /** By packet id. */
  readonly #open = new Map<number, { readonly message: Published; isConfirmed: boolean }>();
  #nextId = 0;

  constructor(client: TestClient, model: SessionModel) {
    this.client = client;
    this.#model = model;
  }

  get isDone(): boolean {
    return this.#open.size === 0;
  }

  send(message: Published): void {
    const { session } = this.client;
    if (session === null || this.#open.size > 20) return;
    do this.#nextId = (this.#nextId % 30) + 1;
    while (this.#open.has(this.#nextId));
    this.#model.published.set(message.value, message);
    this.#open.set(this.#nextId, { message, isConfirmed: false });
    this.#transmit(this.#nextId, session);
  }

  /** After a connecting: what is not finished again, in its order. */
  again(): void {
    const { session } = this.client;
    if (session !== null) for (const packetId of this.#open.keys()) this.#transmit(packetId, session);
  }

  #transmit(packetId: number, session: OnlineSession): void {
    const open = this.#open.get(packetId);
    if (open === undefined) return;
    if (open.isConfirmed) {
      const isTaken = session.release(packetId, (error) => {
        if (error === null && this.client.session === session) this.#open.delete(packetId);
      });
      if (!isTaken) throw new Error(`${packetId} was confirmed and cannot be released`);
      return;
    }
    const { topic, value, publisher } = open.message;
    session.publish(packetId, topic, messageOf(topic, value, { grade: 2, publisher }), (error) => {
      if (error !== null || this.client.session !== session) return;
      open.isConfirmed = true;
      open.message.isAcknowledged = true;
      if (this.#model.chance.hit(0.7)) this.#transmit(packetId, session);
    });
  }
}

export class SessionModel {
  readonly world: SessionWorld;
  readonly published = new Map<string, Published>();
  readonly #publishers: Publisher[] = [];
  readonly #subscribers: {
    readonly client: TestClient;
    readonly filters: readonly { filter: string; grade: 1 | 2 }[];
  }[] = [];
  #count = 0;
  crashes = 0;

  constructor(seed: number) {
    const chance = new SessionWorld(seed).world.chance;
    this.world = new SessionWorld(seed, {
      partitions: 1 + chance.below(3),
      progressMs: 20 + chance.below(400),
      rewriteBytesMin: 3000,
      cacheBytesMax: chance.hit(0.5) ? 4000 : 1_000_000,
      indexBytesMax: chance.hit(0.3) ? 3000 : 1_000_000,
    });
    const { world } = this.world;
    world.refusals = chance.pick([0, 0.1]);
    world.losses = chance.pick([0, 0.1]);
    world.turnsMax = chance.below(5);
  }

  get chance() {
    return this.world.world.chance;
  }

  async run(steps: number): Promise<void> {
    await this.world.open();
    await this.#begin();
    for (let step = 0; step < steps; step += 1) await this.#step();
    await this.#end();
    this.#check();
  }

  async #begin(): Promise<void> {
    for (let index = 0; index < 4; index += 1) {
      const client = new TestClient(`s${index}`, this.world);
      await this.world.attach(client, { window: 1 + this.chance.below(6) });
      const wanted = filters.filter(() => this.chance.hit(0.4));
      const subscriptions = wanted.map((filter) => ({ filter, grade: this.chance.pick([1, 2] as const) }));
      if (subscriptions.length > 0) await this.world.subscribe(client, ...subscriptions);
      this.#subscribers.push({ client, filters: subscriptions });
    }
    for (let index = 0; index < 2; index += 1) {
      const client = new TestClient(`p${index}`, this.world);
      await this.world.attach(client);
      this.#publishers.push(new Publisher(client, this));
    }
  }

  async #step(): Promise<void> {
    const { chance, world } = this;
    const kind = chance.below(100);
    if (kind < 55) this.#publish();
    else if (kind < 65) {
      const { client } = chance.pick(this.#subscribers);
      client.manner = chance.pick(['answer', 'keep'] as const);
      client.answerDue(chance.below(4));
      client.room = chance.pick([1, 3, Number.POSITIVE_INFINITY]);
      client.session?.resume();
    } else if (kind < 72) await this.#toggle(chance.pick(this.#subscribers).client);
    else if (kind < 75) await this.#toggle(chance.pick(this.#publishers).client);
    else if (kind < 78) await this.#crash();
    else if (kind < 80) await world.run(world.sessions.trim(world.sessions.upkeep()));
    else if (kind < 90) world.world.turn();
    else await world.world.pass(chance.below(300));
  }

  #message(publisher: string, grade: 1 | 2): Published {
    this.#count += 1;
    const topic = this.chance.pick(topics);
    return { value: `v${this.#count}`, topic, publisher, grade, number: this.#count, isAcknowledged: false };
  }

  #publish(): void {
    const { chance } = this;
    if (chance.hit(0.5)) {
      const publisher = chance.pick(this.#publishers);
      publisher.send(this.#message(publisher.client.id, 2));
      return;
    }
    const message = this.#message(`q${chance.below(2)}`, chance.hit(0.7) ? 1 : 2);
    const { topic, value, publisher, grade } = message;
    this.published.set(value, message);
    if (!this.world.sessions.wants(topic)) {
      message.isAcknowledged = true;
      return;
    }
    this.world.sessions.publish(messageOf(topic, value, { grade, publisher }), (error) => {
      if (error === null) message.isAcknowledged = true;
    });
  }

  async #toggle(client: TestClient): Promise<void> {
    const { world } = this;
    const { session } = client;
    if (session !== null) {
      client.lose();
      await world.run(world.sessions.detach(session, null, false));
      return;
    }
    await world.attach(client, { window: 1 + this.chance.below(6) });
    this.#publishers.find((publisher) => publisher.client === client)?.again();
  }

  async #crash(): Promise<void> {
    this.crashes += 1;
    this.world.crash();
    for (const client of this.#clients()) client.lose();
    await this.world.open();
  }

  #clients(): TestClient[] {
    return [...this.#subscribers, ...this.#publishers].map(({ client }) => client);
  }

  /** Everybody connects, answers, and gets what is left. */
  async #end(): Promise<void> {
    const { world } = this;
    for (const client of this.#clients()) {
      client.manner = 'answer';
      client.room = Number.POSITIVE_INFINITY;
      client.answerDue();
      if (client.session === null) await this.#toggle(client);
      client.session?.resume();
    }
    for (let round = 0; round < 60 && !this.#isQuiet(); round += 1) {
      await world.world.pass(500);
      for (const publisher of this.#publishers) publisher.again();
    }
    if (!this.#isQuiet()) throw new Error('something is never finished');
    await world.world.pass(1000);
  }

  #isQuiet(): boolean {
    const isAll = this.#subscribers.every(
      ({ client }) => client.online.isCaughtUp && client.online.entry.flights === null,
    );
    return isAll && this.#publishers.every(({ isDone }) => isDone);
  }

  #check(): void {
    for (const { client, filters: wanted } of this.#subscribers) {
      const counts = new Map<string, number>();
      const last = new Map<string, number>();
      for (const { value, topic, grade } of client.given) {
        const message = this.published.get(value);
        const matching = wanted.filter(({ filter }) => matches(filter, topic));
        if (message === undefined || message.topic !== topic)
          throw new Error(`${client.id} got ${value}, which is invented`);
        if (matching.length === 0) throw new Error(`${client.id} got ${value} of ${topic}, which it does not want`);
        const expected = Math.min(message.grade, Math.max(...matching.map((each) => each.grade)));
        if (grade !== expected) throw new Error(`${client.id} got ${value} with grade ${grade}`);
        const count = (counts.get(value) ?? 0) + 1;
        counts.set(value, count);
        if (grade === 2 && count > 1) throw new Error(`${client.id} got ${value} ${count} times`);
        const lane = `${message.publisher} ${topic} ${message.grade} ${grade}`;
        if (count > 1) continue;
        if ((last.get(lane) ?? 0) > message.number) throw new Error(`${client.id} got ${value} out of order`);
        last.set(lane, message.number);
      }
      for (const { value, topic, isAcknowledged } of this.published.values()) {
        const isWanted = wanted.some(({ filter }) => matches(filter, topic));
        if (isAcknowledged && isWanted && !counts.has(value))
          throw new Error(`${client.id} never got ${value} of ${topic}`);
      }
    }
  }
}
