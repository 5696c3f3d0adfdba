/**
 * Rounds in which durable sessions go from node to node of a cluster, and the node that they go from, or to, is killed with -9 at a random
 * moment. Messages are published on the node that has the session. In the end everything is compared with what was acknowledged. Thread
 * of the test.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../fuzz/random.ts';
import { SessionCluster } from '../support/mqtt/session-cluster.ts';
import { type Line, newLine } from './ledger.ts';
import { Publisher } from './publisher.ts';
import { Subscriber, type SubscriberOptions } from './subscriber.ts';

export interface MoveRoundsOptions {
  readonly rounds: number;
  readonly seed: number;
  say(line: string): void;
}

export interface MoveRoundsResult {
  rounds: number;
  moves: number;
  /** Of the node that a session came from, and to. */
  killsOfFormer: number;
  killsOfNew: number;
  refusals: number;
  acknowledged: number;
  received: number;
  repeated: number;
  problems: string[];
}

const nodes = ['a', 'b', 'c'] as const;
type Node = (typeof nodes)[number];
const linesEach = 2;
/** A move, and with it the moment of the kill, takes about so long. */
const moveMs = 150;
const settleMsMax = 60_000;
const serverUnavailable = 0x88;
const serverBusy = 0x89;
const unavailable3 = 3;

/** A session that goes from node to node. */
class Mover extends Subscriber {
  node: Node = 'a';
  refusals = 0;
  readonly publishers: ReadonlyMap<Node, Publisher>;
  readonly lines: readonly Line[];

  constructor(options: Omit<SubscriberOptions, 'filters' | 'isDurable'>) {
    const lines = new Map<string, Line>();
    super({ ...options, isDurable: true, filters: [`k/${options.clientId}/#`] }, lines);
    const publishers = new Map<Node, Publisher>();
    for (const node of nodes) {
      const own = Array.from({ length: linesEach }, (_, index) =>
        newLine(`k/${options.clientId}/${node}/${index}`, index % 2 === 0 ? 1 : 2),
      );
      for (const line of own) lines.set(line.topic, line);
      const clientId = `to-${options.clientId}-${node}`;
      publishers.set(node, new Publisher({ clientId, level: 5, isDurable: true }, own));
    }
    this.publishers = publishers;
    this.lines = [...lines.values()];
  }

  protected override isRefusable(code: number): boolean {
    this.refusals += 1;
    return code === serverUnavailable || code === serverBusy || code === unavailable3;
  }

  get hasAll(): boolean {
    return this.lines.every((line) => this.inbox.hasAll(line));
  }
}

export async function moveRounds(options: MoveRoundsOptions): Promise<MoveRoundsResult> {
  const cluster = await SessionCluster.start(nodes, { workers: 2 });
  const rounds = new MoveRounds(cluster, options);
  try {
    await rounds.begin();
    for (let round = 1; round <= options.rounds; round += 1) await rounds.run(round);
    await rounds.settle();
    // Nothing more may come: whatever does is looked at.
    await sleep(500);
    await rounds.settle();
  } catch (error) {
    rounds.result.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    rounds.stop();
    await cluster.end().catch((error: unknown) => rounds.result.problems.push(String(error)));
  }
  return rounds.finish();
}

class MoveRounds {
  readonly result: MoveRoundsResult = {
    ...{ rounds: 0, moves: 0, killsOfFormer: 0, killsOfNew: 0, refusals: 0 },
    ...{ acknowledged: 0, received: 0, repeated: 0, problems: [] },
  };
  readonly #cluster: SessionCluster;
  readonly #options: MoveRoundsOptions;
  readonly #random: Random;
  readonly #movers: readonly Mover[];

  constructor(cluster: SessionCluster, options: MoveRoundsOptions) {
    this.#cluster = cluster;
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#movers = [
      new Mover({ clientId: 'm4', level: 4, qos: 2 }),
      new Mover({ clientId: 'm5', level: 5, qos: 2, receiveMaximum: 8, answersAfterMs: 10 }),
      new Mover({ clientId: 'low', level: 5, qos: 1, receiveMaximum: 20 }),
    ];
  }

  async begin(): Promise<void> {
    for (const mover of this.#movers) await mover.connect(this.#port(mover.node));
    await this.#until('all subscriptions', () => this.#movers.every(({ isSubscribed }) => isSubscribed));
  }

  async run(round: number): Promise<void> {
    const random = this.#random;
    await Promise.all(this.#movers.map((mover) => this.#publish(mover)));
    const mover = random.pick(this.#movers);
    const from = mover.node;
    const to = random.pick(nodes.filter((node) => node !== from));
    const victim = random.pick([from, to, null]);
    const others = this.#movers.filter((each) => each !== mover && random.oneIn(3));
    const killed = sleep(random.below(moveMs)).then(() => (victim === null ? undefined : this.#cluster.kill(victim)));
    const goals = new Map<Mover, Node>([[mover, to], ...others.map((each) => [each, random.pick(nodes)] as const)]);
    const moves = Promise.all([...goals].map(([each, node]) => this.#tryMove(each, node)));
    await killed;
    // The dead end connections by themselves; this is what clients see.
    if (victim !== null) await this.#restart(victim, random.oneIn(2));
    await moves;
    if (victim === from) this.result.killsOfFormer += 1;
    else if (victim === to) this.result.killsOfNew += 1;
    for (const [each, node] of goals) {
      // Sometimes it changes its mind.
      await this.#arrive(each, random.oneIn(4) ? random.pick(nodes) : node);
    }
    for (const each of this.#movers) if (!each.isConnected) await this.#arrive(each, each.node);
    this.#throwProblem();
    this.result.rounds = round;
    if (round % 5 === 0) await this.settle();
    if (round % 10 === 0) this.#options.say(`round ${round}: ${JSON.stringify(this.finish())}`);
  }

  /** On the node that has the session; its client is there, or leaves meanwhile. */
  async #publish(mover: Mover): Promise<void> {
    const publisher = mover.publishers.get(mover.node) as Publisher;
    const leaves = this.#random.oneIn(2);
    const [first, second] = [this.#random.below(40), this.#random.below(40)];
    if (!publisher.isConnected) await this.#connect(publisher, mover.node);
    publisher.run();
    await sleep(first);
    if (leaves) mover.cut();
    await sleep(second);
    publisher.pause();
    await this.#until(`answers to ${publisher.options.clientId}`, () => publisher.inFlight === 0);
  }

  async #connect(publisher: Publisher, node: Node): Promise<void> {
    const limit = performance.now() + settleMsMax;
    while (!(await publisher.connect(this.#port(node)))) {
      this.#throwProblem();
      if (performance.now() > limit) throw new Error(`${publisher.options.clientId} cannot connect`);
      await sleep(50);
    }
  }

  async #tryMove(mover: Mover, node: Node): Promise<void> {
    if (await mover.connect(this.#port(node))) mover.node = node;
  }

  async #restart(victim: Node, isLate: boolean): Promise<void> {
    for (const mover of this.#movers) {
      if (mover.node === victim) mover.cut();
      mover.publishers.get(victim)?.cut();
    }
    if (isLate) await sleep(this.#random.below(500));
    await this.#cluster.startNode(victim);
  }

  /** Until it is let in there. */
  async #arrive(mover: Mover, node: Node): Promise<void> {
    const limit = performance.now() + settleMsMax;
    while (!(await mover.connect(this.#port(node)))) {
      this.#throwProblem();
      if (performance.now() > limit) throw new Error(`${mover.options.clientId} is not let in at ${node}`);
      await sleep(100);
    }
    if (mover.node !== node) this.result.moves += 1;
    mover.node = node;
  }

  /** Lets everything arrive, and compares. */
  async settle(): Promise<void> {
    for (const mover of this.#movers) if (!mover.isConnected) await this.#arrive(mover, mover.node);
    await this.#until('all messages', () => this.#movers.every(({ hasAll }) => hasAll));
    this.#throwProblem();
  }

  async #until(what: string, condition: () => boolean): Promise<void> {
    const limit = performance.now() + settleMsMax;
    while (!condition()) {
      this.#throwProblem();
      if (performance.now() > limit) throw new Error(`Waited ${settleMsMax} ms for ${what}: ${this.#missing()}`);
      await sleep(10);
    }
  }

  #missing(): string {
    const found = this.#movers.flatMap((mover) =>
      mover.lines.map((line) => {
        const missing = mover.inbox.missing(line);
        return missing.length === 0 ? '' : `${line.topic} ${missing.slice(0, 5).join(' ')} (${missing.length})`;
      }),
    );
    const where = this.#movers.map(({ options, node, isConnected }) => `${options.clientId} at ${node} ${isConnected}`);
    return [...found.filter((text) => text !== ''), ...where].join('; ');
  }

  #throwProblem(): void {
    for (const mover of this.#movers) {
      const publishers = [...mover.publishers.values()].flatMap(({ problems }) => problems);
      const [problem] = [...mover.problems, ...mover.inbox.problems, ...publishers];
      if (problem !== undefined) throw new Error(problem);
    }
  }

  #port(node: Node): number {
    return this.#cluster.broker(node).port();
  }

  stop(): void {
    for (const mover of this.#movers) {
      mover.cut();
      for (const publisher of mover.publishers.values()) publisher.cut();
    }
  }

  finish(): MoveRoundsResult {
    const sum = (amountOf: (mover: Mover) => number): number =>
      this.#movers.reduce((total, mover) => total + amountOf(mover), 0);
    this.result.acknowledged = sum(({ publishers }) =>
      [...publishers.values()].reduce((total, { acknowledged }) => total + acknowledged, 0),
    );
    this.result.received = sum(({ inbox }) => inbox.count);
    this.result.repeated = sum(({ inbox }) => inbox.repeated);
    this.result.refusals = sum(({ refusals }) => refusals);
    return this.result;
  }
}
