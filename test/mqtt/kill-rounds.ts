/**
 * Rounds of kill -9 of a whole broker under load of MQTT clients with durable sessions, online and offline: at random moments, also while it
 * starts and while clients come back. Clients come back, repeat what was not answered, and in the end everything is compared with what was
 * acknowledged. Thread of the test.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../fuzz/random.ts';
import { BrokerProcess, type BrokerProcessOptions } from '../support/broker-process.ts';
import { type Line, newLine } from './ledger.ts';
import { Publisher } from './publisher.ts';
import { Subscriber } from './subscriber.ts';

export interface MqttRoundsOptions {
  readonly rounds: number;
  readonly seed: number;
  /** The broker lives at most so long under load; the moment of the kill is random. */
  readonly loadMsMax: number;
  readonly data: string;
  readonly broker?: BrokerProcessOptions;
  say(line: string): void;
}

export interface MqttRoundsResult {
  rounds: number;
  killsAtStart: number;
  takeOvers: number;
  acknowledged: number;
  received: number;
  repeated: number;
  /** Rounds in which something was in flight at the kill. */
  cutInFlight: number;
  problems: string[];
}

const topicsEach = 3;
const startMs = 400;
/** So long everything may take to arrive, at most, after the last kill. */
const settleMsMax = 120_000;
const compareEvery = 20;
/** Who is away for many rounds is to find everything. */
const withoutBounds = { sharding: 'round-robin', 'sessions.countMax': 1e9, 'sessions.bytesMax': 1e12 };

export async function mqttKillRounds(options: MqttRoundsOptions): Promise<MqttRoundsResult> {
  const rounds = new MqttKillRounds(options);
  try {
    await rounds.begin();
    for (let round = 1; round <= options.rounds; round += 1) await rounds.run(round);
    await rounds.end();
  } catch (error) {
    rounds.result.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    await rounds.stop();
  }
  return rounds.finish();
}

class MqttKillRounds {
  readonly result: MqttRoundsResult = {
    rounds: 0,
    killsAtStart: 0,
    takeOvers: 0,
    acknowledged: 0,
    received: 0,
    repeated: 0,
    cutInFlight: 0,
    problems: [],
  };
  readonly #options: MqttRoundsOptions;
  readonly #random: Random;
  readonly #lines = new Map<string, Line>();
  readonly #publishers: readonly Publisher[];
  readonly #subscribers: readonly Subscriber[];
  /** Subscribers that are away, and for how many rounds yet. */
  readonly #away = new Map<Subscriber, number>();
  #broker: BrokerProcess | null = null;

  constructor(options: MqttRoundsOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#publishers = [
      new Publisher({ clientId: 'p1', level: 4, isDurable: true }, this.#newLines('p1', 1)),
      new Publisher({ clientId: 'p2', level: 5, isDurable: true }, this.#newLines('p2', 2)),
      new Publisher({ clientId: 'p3', level: 5, isDurable: false }, this.#newLines('p3', 1)),
      new Publisher({ clientId: 'p4', level: 4, isDurable: false }, this.#newLines('p4', 2)),
    ];
    const lines = this.#lines;
    const all = { isDurable: true, filters: ['k/#'] } as const;
    this.#subscribers = [
      new Subscriber({ ...all, clientId: 'online-4', level: 4, qos: 2 }, lines),
      new Subscriber(
        { ...all, clientId: 'online-5', level: 5, qos: 1, filters: ['k/+/0', 'k/+/1'], receiveMaximum: 8 },
        lines,
      ),
      new Subscriber({ ...all, clientId: 'late-5', level: 5, qos: 2, answersAfterMs: 15 }, lines),
      new Subscriber({ ...all, clientId: 'at-times-5', level: 5, qos: 2 }, lines),
      new Subscriber({ ...all, clientId: 'seldom-4', level: 4, qos: 1, filters: ['k/p1/#', 'k/p4/2'] }, lines),
    ];
  }

  #newLines(publisher: string, qos: 1 | 2): Line[] {
    return Array.from({ length: topicsEach }, (_, index) => {
      const line = newLine(`k/${publisher}/${index}`, qos);
      this.#lines.set(line.topic, line);
      return line;
    });
  }

  get #clients(): readonly (Publisher | Subscriber)[] {
    return [...this.#subscribers, ...this.#publishers];
  }

  /** All sessions are there before anything is published. */
  async begin(): Promise<void> {
    const broker = await this.#start();
    for (const client of this.#clients) await client.connect(broker.port());
    await this.#until('all subscriptions', () => this.#subscribers.every(({ isSubscribed }) => isSubscribed));
  }

  async run(round: number): Promise<void> {
    if (this.#broker === null) {
      if (this.#random.oneIn(6)) await this.#killAtStart();
      await this.#start();
    }
    const broker = this.#broker as unknown as BrokerProcess;
    this.#chooseAway();
    for (const publisher of this.#publishers) publisher.run();
    // Sometimes it is gone before everybody is back.
    const isEarly = this.#random.oneIn(5);
    const lifeMs = isEarly ? this.#random.below(60) : 20 + this.#random.below(this.#options.loadMsMax);
    const killed = sleep(lifeMs).then(() => this.#kill(broker));
    const takeOver = this.#takeOver(broker, lifeMs);
    await this.#connectAll(broker);
    await killed;
    await takeOver;
    this.#throwProblem();
    this.result.rounds = round;
    if (round % compareEvery === 0) await this.#settle();
    if (round % 10 === 0) this.#options.say(`round ${round}: ${this.#summary()}`);
  }

  async #connectAll(broker: BrokerProcess): Promise<void> {
    const port = broker.port();
    await Promise.all(
      this.#clients
        .filter((client) => !this.#away.has(client as Subscriber) && !client.isConnected)
        .map((client) => client.connect(port)),
    );
  }

  /** One that is connected comes again, perhaps at another worker, and the former connection ends. */
  async #takeOver(broker: BrokerProcess, lifeMs: number): Promise<void> {
    await sleep(lifeMs / 2);
    const client = this.#random.pick(this.#clients);
    if (!client.isConnected || !broker.isRunning || !this.#random.oneIn(2)) return;
    await client.connect(broker.port());
    this.result.takeOvers += 1;
  }

  #chooseAway(): void {
    for (const [subscriber, rounds] of this.#away) {
      if (rounds > 1) this.#away.set(subscriber, rounds - 1);
      else this.#away.delete(subscriber);
    }
    const leaves = (name: string, oneIn: number, roundsMax: number): void => {
      const subscriber = this.#subscribers.find(({ options }) => options.clientId === name) as Subscriber;
      if (this.#away.has(subscriber) || !this.#random.oneIn(oneIn)) return;
      this.#away.set(subscriber, 1 + this.#random.below(roundsMax));
      subscriber.cut();
    };
    leaves('at-times-5', 2, 3);
    leaves('seldom-4', 2, 15);
  }

  async #start(): Promise<BrokerProcess> {
    this.#broker = await BrokerProcess.start(this.#brokerOptions);
    return this.#broker;
  }

  get #brokerOptions(): BrokerProcessOptions {
    const { data, broker } = this.#options;
    return { workers: 2, ...broker, data, settings: { ...withoutBounds, ...broker?.settings } };
  }

  async #killAtStart(): Promise<void> {
    const broker = BrokerProcess.launch(this.#brokerOptions);
    await sleep(this.#random.below(startMs));
    await broker.kill();
    this.result.killsAtStart += 1;
    this.#look(broker);
  }

  async #kill(broker: BrokerProcess): Promise<void> {
    if (this.#publishers.some(({ inFlight }) => inFlight > 0)) this.result.cutInFlight += 1;
    if (!broker.isRunning) throw new Error(`It ended by itself: ${broker.log}`);
    await broker.kill();
    this.#look(broker);
    this.#broker = null;
    for (const client of this.#clients) client.cut();
  }

  /** What it said before its end. */
  #look(broker: BrokerProcess): void {
    for (const line of broker.unexpectedErrors) this.result.problems.push(`The broker logged: ${line}`);
  }

  /** Lets everything arrive, with everybody online, and compares. */
  async #settle(): Promise<void> {
    const broker = this.#broker ?? (await this.#start());
    for (const publisher of this.#publishers) publisher.pause();
    this.#away.clear();
    await this.#connectAll(broker);
    await this.#until('the end of all flights', () => this.#publishers.every(({ inFlight }) => inFlight === 0));
    await this.#until('all messages', () => this.#subscribers.every((subscriber) => this.#hasAll(subscriber)));
    this.#throwProblem();
  }

  #hasAll(subscriber: Subscriber): boolean {
    return this.#wanted(subscriber).every((line) => subscriber.inbox.hasAll(line));
  }

  #wanted({ filters }: Subscriber): Line[] {
    return [...this.#lines.values()].filter(({ topic }) => filters.some((filter) => matches(filter, topic)));
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
    const found = this.#subscribers.flatMap((subscriber) =>
      this.#wanted(subscriber).map((line) => {
        const missing = subscriber.inbox.missing(line);
        const some = missing.slice(0, 5).join(' ');
        return missing.length === 0
          ? ''
          : `${subscriber.options.clientId} has not ${line.topic} ${some} (${missing.length})`;
      }),
    );
    const flights = this.#publishers.map(({ options, inFlight }) => `${options.clientId} ${inFlight} under way`);
    return [...found.filter((text) => text !== ''), ...flights].join('; ');
  }

  #throwProblem(): void {
    const found = [
      ...this.#clients.flatMap(({ problems }) => problems),
      ...this.#subscribers.flatMap(({ inbox }) => inbox.problems),
    ];
    const [problem] = [...this.result.problems.splice(0), ...found];
    if (problem !== undefined) throw new Error(problem);
  }

  async end(): Promise<void> {
    await this.#settle();
    // Nothing more may come: whatever does is looked at.
    await sleep(500);
    this.#throwProblem();
    if (this.result.cutInFlight === 0) throw new Error('No broker was killed while anything was under way');
    for (const subscriber of this.#subscribers) {
      if (subscriber.inbox.count === 0) throw new Error(`${subscriber.options.clientId} has got nothing`);
    }
    const broker = this.#broker as unknown as BrokerProcess;
    for (const client of this.#clients) client.cut();
    await broker.stop();
    this.#broker = null;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.cut();
    await this.#broker?.kill();
  }

  #summary(): string {
    const { acknowledged, received, repeated } = this.finish();
    return `${acknowledged} acknowledged, ${received} received, ${repeated} of them again`;
  }

  finish(): MqttRoundsResult {
    this.result.acknowledged = this.#publishers.reduce((sum, one) => sum + one.acknowledged, 0);
    this.result.received = this.#subscribers.reduce((sum, one) => sum + one.inbox.count, 0);
    this.result.repeated = this.#subscribers.reduce((sum, one) => sum + one.inbox.repeated, 0);
    return this.result;
  }
}

/** Of filters with levels, `+`, and `#` at the end. */
function matches(filter: string, topic: string): boolean {
  const levels = topic.split('/');
  const wanted = filter.split('/');
  if (wanted.at(-1) === '#') return wanted.slice(0, -1).every((level, at) => level === '+' || level === levels[at]);
  return wanted.length === levels.length && wanted.every((level, at) => level === '+' || level === levels[at]);
}
