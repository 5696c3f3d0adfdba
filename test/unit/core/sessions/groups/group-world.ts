/**
 * Several slots with durable sessions and groups over one store, with messages between them that take their time, and slots that die.
 * One seed, one run.
 */

import type { AttachOptions, DurableSessions } from '../../../../../src/core/sessions/durable-sessions.ts';
import { DurableGroups, type GroupSpec } from '../../../../../src/core/sessions/groups/durable-groups.ts';
import type { GroupMessage, GroupTransport } from '../../../../../src/core/sessions/groups/group-messages.ts';
import type { DurableGroupsOptions } from '../../../../../src/core/sessions/groups/group-options.ts';
import { SessionInterest } from '../../../../../src/core/sessions/interest.ts';
import { neverExpires } from '../../../../../src/core/sessions/session-entry.ts';
import { SessionError } from '../../../../../src/core/sessions/session-error.ts';
import { World } from '../../queues/fixture.ts';
import { type Given, messageOf, TestClient } from '../session-world.ts';

export interface Slot {
  readonly number: number;
  readonly sessions: DurableSessions;
  readonly groups: DurableGroups;
  readonly transport: TestTransport;
}

/** Brings messages a few turns later, in the order of each pair of slots. */
class TestTransport implements GroupTransport {
  readonly #net: GroupWorld;
  readonly #slot: number;
  isDead = false;
  handler: (from: number, messages: readonly GroupMessage[]) => void = () => undefined;
  gone: ((slot: number) => void)[] = [];
  readonly #queues = new Map<number, (readonly GroupMessage[])[]>();

  constructor(net: GroupWorld, slot: number) {
    this.#net = net;
    this.#slot = slot;
  }

  others(): readonly number[] {
    return [...this.#net.transports.keys()].filter((slot) => slot !== this.#slot);
  }

  ownerOf(shard: number): number {
    return shard % this.#net.slotCount;
  }

  send(slot: number, messages: readonly GroupMessage[]): void {
    if (this.isDead) return;
    const queue = this.#queues.get(slot);
    if (queue !== undefined) {
      queue.push(structuredClone(messages));
      return;
    }
    this.#queues.set(slot, [structuredClone(messages)]);
    this.#later(slot);
  }

  onMessages(handler: (from: number, messages: readonly GroupMessage[]) => void): void {
    this.handler = handler;
  }

  onSlotGone(handler: (slot: number) => void): void {
    this.gone.push(handler);
  }

  /** What it had sent arrives first. */
  die(): void {
    this.isDead = true;
    for (const slot of [...this.#queues.keys()]) while (this.#bring(slot));
    for (const [slot, other] of this.#net.transports) {
      if (slot !== this.#slot) for (const handler of other.gone) handler(this.#slot);
    }
  }

  #later(slot: number, turns = this.#net.world.chance.below(4)): void {
    this.#net.world.context.defer(() => {
      if (turns > 0) this.#later(slot, turns - 1);
      else if (!this.isDead && this.#bring(slot)) this.#later(slot);
    });
  }

  /** False when there is no more. */
  #bring(slot: number): boolean {
    const queue = this.#queues.get(slot) ?? [];
    const messages = queue.shift();
    if (messages !== undefined) this.#net.transports.get(slot)?.handler(this.#slot, messages);
    if (queue.length > 0) return true;
    this.#queues.delete(slot);
    return false;
  }
}

export class GroupWorld {
  readonly world: World;
  readonly slotCount: number;
  readonly given: Given;
  readonly options: DurableGroupsOptions;
  readonly transports = new Map<number, TestTransport>();
  readonly slots: (Slot | null)[];
  interest = new SessionInterest(null);
  readonly failures: string[] = [];
  readonly kept: string[] = [];

  constructor(seed: number, slotCount = 1, given: Given = {}, options: DurableGroupsOptions = {}) {
    this.world = new World(seed);
    this.slotCount = slotCount;
    this.given = given;
    this.options = options;
    this.slots = Array.from({ length: slotCount }, () => null);
  }

  async openAll(): Promise<this> {
    for (let slot = 0; slot < this.slotCount; slot += 1) await this.open(slot);
    await this.world.pass(300);
    return this;
  }

  async open(slot: number): Promise<Slot> {
    for (let attempt = 1; ; attempt += 1) {
      const transport = new TestTransport(this, slot);
      this.transports.set(slot, transport);
      try {
        const { sessions, groups } = await this.run(
          DurableGroups.open(
            {
              store: this.world.store,
              context: this.world.context,
              slot,
              sharedInterest: this.interest,
              onWill: (_id, _will, done) => done(),
              onFailed: ({ code }) => this.failures.push(code),
              ...this.given,
            },
            { transport, onGroup: (group, isKept) => this.kept.push(`${slot} ${group} ${isKept}`), ...this.options },
          ),
        );
        const opened = { number: slot, sessions, groups, transport };
        this.slots[slot] = opened;
        return opened;
      } catch (error) {
        this.transports.delete(slot);
        if ((error as { canRetry?: boolean }).canRetry !== true || attempt === 50) throw error;
      }
    }
  }

  slot(number: number): Slot {
    const slot = this.slots[number];
    if (slot === null || slot === undefined) throw new Error(`slot ${number} is not open`);
    return slot;
  }

  /** A thread dies and its successor opens; the filters of the dead one stay until then. */
  async restart(number: number): Promise<void> {
    const { sessions, groups, transport } = this.slot(number);
    this.slots[number] = null;
    this.transports.delete(number);
    sessions.fail(new SessionError('SESSION_FENCED', 'the thread died'));
    transport.die();
    await this.open(number);
    sessions.releaseInterest();
    groups.releaseInterest();
  }

  /** The whole process. */
  async crash(): Promise<void> {
    this.world.crash();
    this.transports.clear();
    this.slots.fill(null);
    this.interest = new SessionInterest(null);
    await this.openAll();
  }

  async run<T>(promise: Promise<T>): Promise<T> {
    let isDone = false;
    const watched = promise.finally(() => {
      isDone = true;
    });
    watched.catch(() => undefined);
    for (let count = 0; count < 2000 && !isDone; count += 1) {
      await this.world.settle();
      if (!isDone) await this.world.pass(60);
    }
    if (!isDone) throw new Error('nothing happens any more');
    return watched;
  }

  async attach(slot: number, client: TestClient, options: Partial<AttachOptions> = {}): Promise<boolean> {
    const full = { isClean: false, expiryMs: neverExpires, window: 8, will: null, ...options };
    const { session, isPresent } = await this.run(this.slot(slot).sessions.attach(client.id, full, client));
    client.session = session;
    session.begin();
    return isPresent;
  }

  join(slot: number, client: TestClient, given: Partial<GroupSpec> = {}): Promise<boolean> {
    return this.run(this.slot(slot).groups.join(client.online, specOf(client.id, given)));
  }

  async leave(slot: number, client: TestClient): Promise<void> {
    const { online } = client;
    client.lose();
    await this.run(this.slot(slot).sessions.detach(online, null, false));
  }

  async publish(slot: number, topic: string, value: string, grade: 1 | 2 = 1): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      this.slot(slot).sessions.publish(messageOf(topic, value, { grade }), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    await this.run(done);
  }
}

export function specOf(id: string, given: Partial<GroupSpec> = {}): GroupSpec {
  const seed = [...id].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) | 0, 7);
  return {
    name: 'g',
    filter: 'a/#',
    strategy: 'round-robin',
    grade: 2,
    seed,
    detail: 5,
    identifier: 0,
    ...given,
  };
}

export function clientOf(world: GroupWorld, id: string): TestClient {
  return new TestClient(id, world);
}
