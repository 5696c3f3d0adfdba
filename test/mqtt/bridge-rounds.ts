/**
 * Rounds of kill -9 of two brokers with a bridge between them, under load of QoS 2 in both directions: one of them, or both, at random moments.
 * Whatever a publisher was told to have arrived is at the subscriber on the other side once. What the broker of the bridge had not confirmed to its
 * own publishers when it was killed may be stored twice for the remote broker. Thread of the test.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../fuzz/random.ts';
import { BrokerProcess, type BrokerProcessOptions } from '../support/broker-process.ts';
import { findFixedPort } from '../support/fixed-port.ts';
import { type Line, newLine } from './ledger.ts';
import { Publisher } from './publisher.ts';
import { Subscriber } from './subscriber.ts';

export interface BridgeRoundsOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Both brokers live at most so long under load. */
  readonly loadMsMax: number;
  readonly data: string;
  readonly version?: '5' | '3.1.1';
  /** Default: both. */
  readonly direction?: 'in' | 'out' | undefined;
  say(line: string): void;
}

export interface BridgeRoundsResult {
  rounds: number;
  kills: { local: number; remote: number };
  acknowledged: number;
  received: number;
  problems: string[];
}

const settleMsMax = 30_000;
const settings = { 'sessions.countMax': 1e9, 'sessions.bytesMax': 1e12 };

/** A broker that is killed and started again. */
class Side {
  readonly name: 'local' | 'remote';
  broker: BrokerProcess | null = null;
  readonly clients: (Publisher | Subscriber)[] = [];
  readonly #options: BrokerProcessOptions;

  constructor(name: 'local' | 'remote', options: BrokerProcessOptions) {
    this.name = name;
    this.#options = options;
  }

  async start(): Promise<void> {
    this.broker ??= await BrokerProcess.start(this.#options);
    const port = this.broker.port();
    await Promise.all(this.clients.filter(({ isConnected }) => !isConnected).map((client) => client.connect(port)));
  }

  async kill(): Promise<readonly string[]> {
    const { broker } = this;
    this.broker = null;
    if (broker === null) return [];
    if (!broker.isRunning) throw new Error(`The ${this.name} broker ended by itself: ${broker.log}`);
    await broker.kill();
    for (const client of this.clients) {
      client.cut();
      if (this.name === 'local' && client instanceof Publisher) client.forgiveUnanswered();
    }
    return broker.unexpectedErrors;
  }
}

export async function bridgeKillRounds(options: BridgeRoundsOptions): Promise<BridgeRoundsResult> {
  const port = await findFixedPort();
  const rounds = new BridgeKillRounds(options, port);
  try {
    await rounds.begin();
    for (let round = 1; round <= options.rounds; round += 1) await rounds.run(round);
    await rounds.settle();
  } catch (error) {
    rounds.result.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    await rounds.stop();
  }
  return rounds.finish();
}

class BridgeKillRounds {
  readonly result: BridgeRoundsResult = {
    ...{ rounds: 0, kills: { local: 0, remote: 0 }, acknowledged: 0, received: 0 },
    problems: [],
  };
  readonly #options: BridgeRoundsOptions;
  readonly #random: Random;
  readonly #local: Side;
  readonly #remote: Side;
  readonly #pairs: readonly { readonly publisher: Publisher; readonly subscriber: Subscriber }[];

  constructor(options: BridgeRoundsOptions, port: number) {
    this.#options = options;
    this.#random = new Random(options.seed);
    const { data, version = '5' } = options;
    const bridge = {
      ...{ name: 'b', servers: [`mqtt://127.0.0.1:${port}`], clientId: 'local', version },
      ...{ reconnectMs: 10, reconnectMaxMs: 50, inflightMax: 64 },
      out: [{ filter: 'out/#', qos: 2 }],
      in: [{ filter: 'in/#', qos: 2 }],
    };
    const common = { workers: 1, settings };
    const bridged = { ...settings, 'mqtt.bridges': [bridge] };
    this.#local = new Side('local', { ...common, data: join(data, 'local'), settings: bridged });
    const flags = ['--set', `listeners.0.address=127.0.0.1:${port}`];
    this.#remote = new Side('remote', { ...common, data: join(data, 'remote'), flags });
    for (const name of ['local', 'remote']) mkdirSync(join(data, name));
    const pairs = [
      ...(options.direction === 'in' ? [] : [this.#pair('out', this.#local, this.#remote)]),
      ...(options.direction === 'out' ? [] : [this.#pair('in', this.#remote, this.#local)]),
    ];
    this.#pairs = pairs;
  }

  #pair(name: string, from: Side, to: Side): { readonly publisher: Publisher; readonly subscriber: Subscriber } {
    const lines = [0, 1].map((index) => newLine(`${name}/${index}`, 2));
    const byTopic = new Map(lines.map((line): [string, Line] => [line.topic, line]));
    const publisher = new Publisher({ clientId: `${name}-publisher`, level: 5, isDurable: true }, lines);
    const filters = [`${name}/#`];
    const subscriber = new Subscriber(
      { clientId: `${name}-subscriber`, level: 5, isDurable: true, filters, qos: 2 },
      byTopic,
    );
    from.clients.push(publisher);
    to.clients.push(subscriber);
    return { publisher, subscriber };
  }

  async begin(): Promise<void> {
    await this.#remote.start();
    await this.#local.start();
    await this.#until('all subscriptions', () => this.#pairs.every(({ subscriber }) => subscriber.isSubscribed));
    // The bridge has subscribed when something has come over it.
    for (const { publisher } of this.#pairs) publisher.run();
    await this.#until('the bridge', () => this.#pairs.every(({ subscriber }) => subscriber.inbox.count > 0), true);
  }

  async run(round: number): Promise<void> {
    for (const { publisher } of this.#pairs) publisher.run();
    await sleep(20 + this.#random.below(this.#options.loadMsMax));
    const whom = this.#random.below(4);
    const sides = whom === 0 ? [this.#remote] : whom === 1 ? [this.#remote, this.#local] : [this.#local];
    for (const side of sides) {
      const errors = await side.kill();
      for (const line of errors) this.result.problems.push(`The ${side.name} broker logged: ${line}`);
      this.result.kills[side.name] += 1;
    }
    await this.#startAll();
    this.result.rounds = round;
    this.#throwProblem();
    if (round % 10 === 0) {
      await this.settle();
      const { acknowledged, received } = this.finish();
      this.#options.say(`round ${round}: ${acknowledged} acknowledged, ${received} received`);
    }
  }

  async #startAll(): Promise<void> {
    await this.#remote.start();
    await this.#local.start();
  }

  /** Lets everything arrive, and compares. */
  async settle(): Promise<void> {
    await this.#startAll();
    for (const { publisher } of this.#pairs) publisher.pause();
    await this.#until('the end of all flights', () => this.#pairs.every(({ publisher }) => publisher.inFlight === 0));
    await this.#until('all messages', () =>
      this.#pairs.every(({ publisher, subscriber }) => publisher.lines.every((line) => subscriber.inbox.hasAll(line))),
    );
    // Nothing more may come: whatever does is looked at.
    await sleep(200);
    this.#throwProblem();
  }

  /** `isBeginning`: what came before the bridge had subscribed is not there. */
  async #until(what: string, condition: () => boolean, isBeginning = false): Promise<void> {
    const limit = performance.now() + settleMsMax;
    while (!condition()) {
      this.#throwProblem();
      if (performance.now() > limit) {
        const text = `Waited ${settleMsMax} ms for ${what}: ${this.#missing()}; the bridge: ${await this.#bridge()}`;
        throw new Error(text);
      }
      await sleep(10);
    }
    if (!isBeginning) return;
    for (const { publisher, subscriber } of this.#pairs) {
      for (const line of publisher.lines)
        for (const number of subscriber.inbox.missing(line)) line.acknowledged.delete(number);
    }
  }

  #missing(): string {
    return this.#pairs
      .flatMap(({ publisher, subscriber }) =>
        publisher.lines.map((line) => {
          const missing = subscriber.inbox.missing(line);
          return `${line.topic}: ${missing.length} missing (${missing.slice(0, 5).join(' ')}), ${publisher.inFlight} under way`;
        }),
      )
      .join('; ');
  }

  /** What it says of itself. */
  async #bridge(): Promise<string> {
    const { broker } = this.#local;
    if (broker === null) return 'not there';
    const response = await fetch(`http://127.0.0.1:${broker.port('http')}/api/v1/bridges`);
    return `${await response.text()} ${broker.log.slice(-2_000)}`;
  }

  #throwProblem(): void {
    const found = this.#pairs.flatMap(({ publisher, subscriber }) => [
      ...publisher.problems,
      ...subscriber.problems,
      ...subscriber.inbox.problems,
    ]);
    const [problem] = [...this.result.problems.splice(0), ...found];
    if (problem !== undefined) throw new Error(problem);
  }

  async stop(): Promise<void> {
    for (const side of [this.#local, this.#remote]) {
      for (const client of side.clients) client.cut();
      await side.broker?.kill();
    }
  }

  finish(): BridgeRoundsResult {
    this.result.acknowledged = this.#pairs.reduce((sum, { publisher }) => sum + publisher.acknowledged, 0);
    this.result.received = this.#pairs.reduce((sum, { subscriber }) => sum + subscriber.inbox.count, 0);
    return this.result;
  }
}
