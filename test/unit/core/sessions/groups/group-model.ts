/**
 * What groups on durable sessions may do, told apart from how they do it: publishers, members on several slots that come, go and move, slots
 * that die, a process that dies, and a checker of what came. Everything is random and of one seed.
 *
 *   - what was acknowledged to its publisher arrives at some member of each group that was there
 *   - grade 2 arrives once, at one member, whatever crashes, unless a member without a stored session had it
 *   - nothing arrives that was not published, or does not match; in the end nothing is open
 *   - with a strategy by topic, messages of grade 1 of one topic come first in their order, over all members
 */
import type { GroupStrategy } from '../../../../../src/core/broker/group-strategies.ts';
import { groupStrategies } from '../../../../../src/core/broker/group-strategies.ts';
import { matches } from '../../../../../src/core/routing/topic.ts';
import { groupKeyOf } from '../../../../../src/core/sessions/groups/group-key.ts';
import type { TransientMember } from '../../../../../src/core/sessions/groups/transient-member.ts';
import { messageOf, TestClient } from '../session-world.ts';
import { GroupWorld, specOf } from './group-world.ts';

interface Published {
  readonly value: string;
  readonly topic: string;
  readonly grade: 1 | 2;
  readonly number: number;
  isAcknowledged: boolean;
}

interface ModelGroup {
  readonly name: string;
  readonly filter: string;
  readonly strategy: GroupStrategy;
}

interface Given {
  readonly value: string;
  readonly topic: string;
  readonly grade: 0 | 1 | 2;
  readonly by: string;
  readonly isTransient: boolean;
}

/** Notes the group of what it is given: that is the protocol's own number. */
class ModelClient extends TestClient {
  slot: number;
  readonly #model: GroupModel;

  constructor(id: string, model: GroupModel, slot: number) {
    super(id, model.net);
    this.#model = model;
    this.slot = slot;
  }

  override deliver(delivery: Parameters<TestClient['deliver']>[0]): boolean {
    const before = this.given.length;
    const isTaken = super.deliver(delivery);
    const last = this.given.at(-1);
    if (this.given.length > before && last !== undefined) {
      this.#model.gave(delivery.group, { ...last, by: this.id, isTransient: false });
    }
    return isTaken;
  }
}

/** A client whose session is in memory alone. */
class ModelTransient {
  member: TransientMember | null = null;
  slot = 0;
  group = 0;
  room = 3;
  due: (() => void)[] = [];
}

const topics = ['a/x', 'a/y', 'b/x', 'c'];

export class GroupModel {
  readonly net: GroupWorld;
  readonly published = new Map<string, Published>();
  readonly #groups: ModelGroup[] = [];
  readonly #given: Given[][] = [];
  readonly #clients: ModelClient[] = [];
  readonly #transient = new ModelTransient();
  #count = 0;
  crashes = 0;
  restarts = 0;

  constructor(seed: number) {
    const chance = new GroupWorld(seed).world.chance;
    this.net = new GroupWorld(
      seed,
      1 + chance.below(3),
      {
        partitions: 1 + chance.below(2),
        progressMs: 20 + chance.below(400),
        rewriteBytesMin: 3000,
        cacheBytesMax: chance.hit(0.5) ? 4000 : 1_000_000,
        indexBytesMax: chance.hit(0.3) ? 3000 : 1_000_000,
      },
      { rewriteBytesMin: 500, openMax: chance.hit(0.3) ? 6 : 1000, waitingMax: 4, creditMax: 1 + chance.below(8) },
    );
    const { world } = this.net;
    world.refusals = chance.pick([0, 0.1]);
    world.losses = chance.pick([0, 0.1]);
    world.turnsMax = chance.below(5);
  }

  get chance() {
    return this.net.world.chance;
  }

  gave(group: string, given: Given): void {
    this.#given[this.#groups.findIndex(({ name, filter }) => groupKeyOf('', name, filter) === group)].push(given);
  }

  async run(steps: number): Promise<void> {
    await this.net.openAll();
    await this.#begin();
    for (let step = 0; step < steps; step += 1) await this.#step();
    await this.#end();
    this.#check();
  }

  async #begin(): Promise<void> {
    const { chance, net } = this;
    for (const filter of ['a/#', '#']) {
      this.#groups.push({ name: `g${this.#groups.length}`, filter, strategy: chance.pick(groupStrategies) });
      this.#given.push([]);
    }
    for (let index = 0; index < 4; index += 1) {
      const client = new ModelClient(`s${index}`, this, chance.below(net.slotCount));
      this.#clients.push(client);
      await net.attach(client.slot, client, { window: 1 + chance.below(6) });
      for (let group = 0; group < this.#groups.length; group += 1) {
        // The first one is in both, so that they are there from now on.
        if (index === 0 || chance.hit(0.7)) await this.#join(client, group);
      }
    }
  }

  async #join(client: ModelClient, group: number): Promise<void> {
    const { name, filter, strategy } = this.#groups[group];
    await this.net.join(client.slot, client, { name, filter, strategy, detail: group });
  }

  async #step(): Promise<void> {
    const { chance, net } = this;
    const kind = chance.below(100);
    if (kind < 50) this.#publish();
    else if (kind < 62) {
      const client = chance.pick(this.#clients);
      client.manner = chance.pick(['answer', 'keep'] as const);
      client.answerDue(chance.below(4));
      client.room = chance.pick([1, 3, Number.POSITIVE_INFINITY]);
      client.session?.resume();
    } else if (kind < 70) await this.#toggle(chance.pick(this.#clients));
    else if (kind < 73) this.#stepTransient();
    else if (kind < 75) await this.#rejoin();
    else if (kind < 78) await this.#restart(chance.below(net.slotCount));
    else if (kind < 80) await this.#crash();
    else if (kind < 82) await this.#upkeep();
    else if (kind < 91) net.world.turn();
    else await net.world.pass(chance.below(300));
  }

  #publish(): void {
    const { chance } = this;
    const { sessions } = this.net.slot(chance.below(this.net.slotCount));
    this.#count += 1;
    const topic = chance.pick(topics);
    const grade = chance.pick([1, 2] as const);
    const message = { value: `v${this.#count}`, topic, grade, number: this.#count, isAcknowledged: false };
    this.published.set(message.value, message);
    // The second group wants everything.
    if (!sessions.wants(topic)) throw new Error(`nobody wants ${topic}`);
    sessions.publish(messageOf(topic, message.value, { grade }), (error) => {
      if (error === null) message.isAcknowledged = true;
    });
  }

  async #toggle(client: ModelClient): Promise<void> {
    const { net, chance } = this;
    if (client.session !== null) {
      await net.leave(client.slot, client);
      return;
    }
    const slot = chance.below(net.slotCount);
    if (slot !== client.slot) await this.#move(client, slot);
    await net.attach(client.slot, client, { window: 1 + chance.below(6) });
  }

  async #move(client: ModelClient, slot: number): Promise<void> {
    const { net } = this;
    const from = net.slot(client.slot).sessions;
    const transfer = await net.run(from.handOver(client.id));
    if (transfer === null) throw new Error(`${client.id} is lost`);
    await net.run(net.slot(slot).sessions.adopt(structuredClone(transfer)));
    await net.run(from.forget(transfer));
    client.slot = slot;
  }

  /** All but the first may leave a group, and come back. */
  async #rejoin(): Promise<void> {
    const client = this.chance.pick(this.#clients.slice(1));
    if (client.session === null) return;
    const group = this.chance.below(this.#groups.length);
    const { name, filter } = this.#groups[group];
    const { groups } = this.net.slot(client.slot);
    const isThere = await this.net.run(groups.leave(client.online, specOf(client.id, { name, filter })));
    if (!isThere) await this.#join(client, group);
  }

  #stepTransient(): void {
    const { chance, net } = this;
    const transient = this.#transient;
    if (transient.member !== null) {
      if (chance.hit(0.3)) {
        transient.member.leave();
        transient.member = null;
        transient.due = [];
        return;
      }
      for (const answer of transient.due.splice(0, 2)) answer();
      transient.room = 3;
      transient.member.resume();
      return;
    }
    transient.slot = chance.below(net.slotCount);
    transient.group = chance.below(this.#groups.length);
    const { name, filter, strategy } = this.#groups[transient.group];
    const spec = specOf('t', { name, filter, strategy, grade: chance.pick([0, 1, 2] as const) });
    const member: TransientMember = net.slot(transient.slot).groups.joinTransient('t', spec, 1 + chance.below(4), {
      hasRoom: () => transient.room > 0,
      deliver: ({ partition, offset, grade }, view) => {
        transient.room -= 1;
        const topic = view.bytes.toString('utf8', view.topicStart, view.topicStart + view.topicLength);
        const value = view.bytes.toString('utf8', view.bodyStart, view.bodyStart + view.bodyLength);
        this.gave(groupKeyOf('', name, filter), { value, topic, grade, by: 't', isTransient: true });
        transient.due.push(() => {
          if (transient.member !== member) return;
          if (grade === 1) member.settle(partition, offset);
          if (grade === 2) member.receive(partition, offset, () => undefined);
        });
        return true;
      },
    });
    transient.member = member;
  }

  async #restart(slot: number): Promise<void> {
    this.restarts += 1;
    for (const client of this.#clients) if (client.slot === slot) client.lose();
    if (this.#transient.slot === slot) this.#transient.member = null;
    await this.net.restart(slot);
  }

  async #crash(): Promise<void> {
    this.crashes += 1;
    for (const client of this.#clients) client.lose();
    this.#transient.member = null;
    await this.net.crash();
  }

  async #upkeep(): Promise<void> {
    const { net } = this;
    const all = net.slots.map((_, number) => {
      const { sessions, groups } = net.slot(number);
      groups.tick();
      groups.upkeep();
      return sessions.upkeep();
    });
    const floors = all[0].map((_, partition) => Math.min(...all.map((each) => each[partition] ?? 0)));
    await net.run(net.slot(0).sessions.trim(floors));
  }

  /** Everybody is there, answers, and gets what is left. */
  async #end(): Promise<void> {
    const { net } = this;
    this.#transient.member?.leave();
    this.#transient.member = null;
    for (const client of this.#clients) {
      client.manner = 'answer';
      client.room = Number.POSITIVE_INFINITY;
      client.answerDue();
      if (client.session === null) await this.#toggle(client);
      client.session?.resume();
    }
    for (let round = 0; round < 60 && !this.#isQuiet(); round += 1) await net.world.pass(500);
    if (!this.#isQuiet()) throw new Error(`something is never finished: ${JSON.stringify(this.#infos())}`);
  }

  #infos() {
    return this.net.slots.flatMap((_, number) => this.net.slot(number).groups.info());
  }

  #isQuiet(): boolean {
    const infos = this.#infos();
    const areGroups = infos.length === this.#groups.length && infos.every((each) => each.open === 0 && each.isCaughtUp);
    return areGroups && this.#clients.every(({ online }) => online.entry.flights === null);
  }

  #check(): void {
    for (const [index, group] of this.#groups.entries()) this.#checkGroup(group, this.#given[index]);
  }

  #checkGroup({ name, filter, strategy }: ModelGroup, given: readonly Given[]): void {
    const known = new Set<string>();
    const exact = new Map<string, string>();
    const last = new Map<string, number>();
    for (const { value, topic, grade, by, isTransient } of given) {
      const message = this.published.get(value);
      if (message === undefined || message.topic !== topic) throw new Error(`${name} got ${value}, which is invented`);
      if (!matches(filter, topic)) throw new Error(`${name} got ${value} of ${topic}, which it does not want`);
      if (grade > message.grade) throw new Error(`${name} got ${value} with grade ${grade}`);
      if (message.grade === 2 && grade === 2 && !isTransient) {
        const other = exact.get(value);
        if (other !== undefined) throw new Error(`${name} gave ${value} to ${other} and ${by}`);
        exact.set(value, by);
      }
      const isFirst = !known.has(value);
      known.add(value);
      if (strategy !== 'hash-topic' || message.grade !== 1 || !isFirst) continue;
      if ((last.get(topic) ?? 0) > message.number && this.net.slotCount === 1)
        throw new Error(`${name} gave ${value} of ${topic} out of order`);
      last.set(topic, message.number);
    }
    for (const { value, topic, isAcknowledged } of this.published.values()) {
      if (isAcknowledged && matches(filter, topic) && !known.has(value))
        throw new Error(`${name} never got ${value} of ${topic}`);
    }
  }
}
