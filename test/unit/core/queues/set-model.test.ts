import { expect, test } from 'vitest';
import type { AcknowledgementSet } from '../../../../src/core/queues/acknowledgement-set.ts';
import type { QueueConsumer } from '../../../../src/core/queues/queue-consumer.ts';
import type { QueueSettings } from '../../../../src/core/queues/queue-settings.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { publish, World } from './fixture.ts';
import { drive, openSet } from './set-fixture.ts';
import { SetModel } from './set-model.ts';

const visibilityMs = 400;
const deliveriesMax = 4;

/** Random operations on a set and the model beside it. */
class Run {
  readonly world: World;
  readonly model: SetModel;
  readonly settings: Partial<QueueSettings>;
  readonly levels: readonly number[];
  consumers: QueueConsumer[] = [];
  crashes = 0;
  #set: AcknowledgementSet | null = null;
  #next = 0;
  #dead = new Set<string>();
  #deadOffset = 0;

  constructor(seed: number) {
    this.world = new World(seed);
    const { chance } = this.world;
    const order = chance.pick(['none', 'key', 'sticky-key'] as const);
    this.levels = chance.pick([[0], [0, 0], [0, 1]]);
    this.settings = {
      visibilityMs,
      deliveriesMax,
      deadLetterStream: 'dead',
      order,
      consumers: chance.hit(0.2) ? 'exclusive' : 'shared',
      priority: chance.pick(['strict', 'guarded']),
      holesMax: chance.pick([3, 20, 1000]),
      readAheadMax: chance.pick([1, 5, 100]),
      redelivery: { baseMs: chance.pick([0, 100]), factor: 2, maxMs: 1000, jitter: 0.5 },
      bufferBytesMax: chance.pick([1024, 1_000_000]),
    };
    this.model = new SetModel({ isOrdered: order !== 'none', deliveriesMax, visibilityMs }, (id) => this.#isDead(id));
  }

  get set(): AcknowledgementSet {
    if (this.#set === null) throw new Error('The set is not open');
    return this.#set;
  }

  async open(): Promise<void> {
    for (this.#set = null; this.#set === null; ) {
      try {
        this.#set = await drive(this.world, openSet(this.world, this.settings, { levels: this.levels }));
      } catch (error) {
        // The storage has refused; whoever opens tries again.
        if (!(error instanceof StorageError && error.canRetry)) throw error;
      }
    }
  }

  async step(): Promise<void> {
    const { chance } = this.world;
    const kind = chance.below(100);
    if (kind < 20) await this.#publish();
    else if (kind < 28) this.#addConsumer();
    else if (kind < 32) this.#removeConsumer();
    else if (kind < 45) this.#credit();
    else if (kind < 75) this.#settleSome();
    else if (kind < 82) await this.world.pass(chance.below(300));
    else if (kind < 85) this.#confirm();
    else if (kind < 88) await this.#crash();
    else if (kind < 90) this.world.refusals = chance.pick([0, 0, 0.3]);
    else if (kind < 92) this.world.losses = chance.pick([0, 0, 0.3]);
    else if (kind < 94) this.world.turnsMax = chance.pick([0, 2, 5]);
    else if (kind < 95) await this.#purge();
    else this.world.turn();
    if (chance.hit(0.6)) await this.world.settle();
  }

  /** Everything is settled in the end, and nothing is left. */
  async finish(): Promise<void> {
    this.world.refusals = 0;
    this.world.losses = 0;
    // What is tried again is through then.
    await this.world.pass(6000);
    while (this.consumers.length < 2) this.#addConsumer();
    for (let round = 0; round < 2000; round += 1) {
      for (const consumer of this.consumers) this.set.setCredit(consumer, 100);
      await this.world.settle();
      for (const { delivery } of [...this.model.held]) {
        if (this.set.acknowledge(delivery)) this.model.settle(delivery);
        this.model.drop(delivery);
      }
      if ((await drive(this.world, this.set.describe())).lag === 0) break;
      await this.world.pass(300);
    }
    const described = await drive(this.world, this.set.describe());
    expect(described).toMatchObject({ lag: 0, problems: [] });
    for (const { id, isSettled } of this.model.messages.values()) {
      if (!isSettled && !this.#isDead(id)) throw new Error(`${id} is lost`);
    }
    await drive(this.world, this.set.whenStored());
    await drive(this.world, this.set.close());
  }

  #isDead(id: string): boolean {
    for (const { offset, value } of this.world.records('dead')) {
      if (offset < this.#deadOffset) continue;
      this.#deadOffset = offset + 1;
      if (value === null || !this.model.messages.has(value)) throw new Error(`${value} died and was never published`);
      if (this.#dead.has(value)) throw new Error(`${value} died twice`);
      this.#dead.add(value);
    }
    return this.#dead.has(id);
  }

  async #publish(): Promise<void> {
    const { chance } = this.world;
    const partition = chance.below(this.levels.length);
    const stream = `p${partition}`;
    const base = this.world.disk(stream).end;
    const messages = Array.from({ length: 1 + chance.below(8) }, (_, index) => {
      const id = `m${this.#next}`;
      this.#next += 1;
      // Keys stay in one partition, as publishers do it.
      const key = chance.hit(0.2) ? null : `k${partition}-${chance.below(4)}`;
      this.model.publish(partition, base + index, id, key);
      return { key, value: id };
    });
    await publish(this.world, stream, messages);
  }

  #addConsumer(): void {
    if (this.consumers.length >= 4) return;
    const { chance } = this.world;
    const consumer: QueueConsumer = this.set.addConsumer({
      name: 'model',
      credit: chance.below(6),
      inFlightMax: 1 + chance.below(10),
      onMessages: (messages) => {
        for (const delivery of messages) this.model.deliver(delivery, consumer.number, this.world.mono);
      },
    });
    this.consumers.push(consumer);
  }

  #removeConsumer(): void {
    if (this.consumers.length === 0) return;
    const consumer = this.world.chance.pick(this.consumers);
    this.consumers = this.consumers.filter((each) => each !== consumer);
    this.model.consumerGone(consumer.number);
    this.set.removeConsumer(consumer);
  }

  #credit(): void {
    if (this.consumers.length > 0) this.set.addCredit(this.world.chance.pick(this.consumers), 5);
  }

  #settleSome(): void {
    const { chance } = this.world;
    for (let count = chance.below(6); count > 0 && this.model.held.length > 0; count -= 1) {
      const { delivery } = chance.pick(this.model.held);
      const kind = chance.below(10);
      if (kind < 5) {
        if (this.set.acknowledge(delivery)) this.model.settle(delivery);
      } else if (kind < 7) this.set.fail(delivery, chance.pick([null, 0, 50, 300]));
      else if (kind < 8) {
        if (this.set.release(delivery)) this.model.release(delivery);
      } else if (kind < 9) {
        if (this.set.reject(delivery)) this.model.reject(delivery);
      } else {
        const held = this.model.held.find((each) => each.delivery === delivery);
        if (this.set.extend(delivery, 600) && held !== undefined) held.deadline = this.world.mono + 600;
        continue;
      }
      this.model.drop(delivery);
    }
  }

  #confirm(): void {
    const pending = this.model.pending();
    this.set.whenStored().then(
      () => this.model.confirm(pending),
      () => undefined,
    );
  }

  async #purge(): Promise<void> {
    await drive(this.world, this.set.purge());
    this.model.purge(this.world.mono);
  }

  async #crash(): Promise<void> {
    this.crashes += 1;
    this.world.crash();
    this.consumers = [];
    this.model.crash();
    await this.open();
  }
}

test('AcknowledgementSet keeps its promises in random runs with crashes, refusals and lost answers', async () => {
  let crashes = 0;
  let deaths = 0;
  let confirmed = 0;
  for (let seed = 1; seed <= Number(process.env['QUEUE_MODEL_SEEDS'] ?? 80); seed += 1) {
    const run = new Run(seed);
    try {
      await run.open();
      for (let step = 0; step < 150; step += 1) await run.step();
      await run.finish();
    } catch (error) {
      throw new Error(`Seed ${seed}: ${String(error)}`, { cause: error });
    }
    crashes += run.crashes;
    deaths += run.world.records('dead').length;
    confirmed += [...run.model.messages.values()].filter(({ isConfirmed }) => isConfirmed).length;
  }
  // The runs have seen what they are about.
  expect(crashes).toBeGreaterThan(80);
  expect(deaths).toBeGreaterThan(80);
  expect(confirmed).toBeGreaterThan(200);
}, 60_000);
