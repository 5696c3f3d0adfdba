/**
 * The journal and all services over it on simulated disks, whose power goes at random moments: while they are opened, under load, while
 * they are compared. Unsynced bytes are dropped, torn or kept, independently of each other. The clock is that of the run, and all
 * chance comes from the seed. Thread of the test.
 */
import { Random } from '../fuzz/random.ts';
import { CrashingStore } from '../support/crashing-store.ts';
import { turn } from '../support/stream-records.ts';
import { type ClientCounts, countsOf, newClients, unseen } from './clients.ts';
import { CallError, type Client, isOver, type Link, linkOver, type Tell, together } from './link.ts';
import type { Plant } from './planted-store.ts';
import { ServiceHost } from './service-host.ts';
import type { Call, CallName, Calls, Push, ServiceName } from './store-lines.ts';

export interface PowerOptions {
  readonly seed: number;
  readonly rounds: number;
  /** Of each round. */
  readonly crashes: number;
  readonly services?: readonly ServiceName[];
  readonly plant?: Plant | null;
  say(line: string): void;
}

export interface PowerResult {
  crashes: number;
  cutsInOpening: number;
  services: ClientCounts;
  problems: string[];
}

const startMs = 1_800_000_000_000;
/** With so many rounds each service has met everything; fewer cannot be held to it. */
const roundsToSeeAll = 20;
/** Milliseconds that a step lasts. */
const steps = [1, 1, 2, 8];
/** Steps of a life under load. */
const stepsMax = 250;
/** Turns after which something that does not end is a defect. */
const turnsMax = 200_000;

export async function powerRounds(options: PowerOptions): Promise<PowerResult> {
  const { seed, rounds, services, say } = options;
  const result: PowerResult = { crashes: 0, cutsInOpening: 0, services: {}, problems: [] };
  for (let round = 0; round < rounds; round += 1) {
    const run = new PowerRun(seed + round, options);
    try {
      await run.run();
    } catch (error) {
      result.problems.push(`seed ${seed + round}: ${error instanceof Error ? error.message : String(error)}`);
    }
    await run.close();
    result.crashes += run.crashes;
    result.cutsInOpening += run.cutsInOpening;
    result.services = sumOf(result.services, countsOf(run.clients));
    if (round % 10 === 9) say(`round ${round + 1}: ${result.crashes} crashes`);
    if (options.plant !== null && result.problems.length > 0) return result;
  }
  if (rounds >= roundsToSeeAll && result.problems.length === 0) {
    result.problems.push(...unseen(newClients(seed, services), result.services));
  }
  return result;
}

/** The link to a host in the same thread: calls take a turn, answers come at once. */
class LocalLink implements Link {
  isOver = false;
  readonly #run: PowerRun;
  readonly #host: ServiceHost;
  readonly #cut = new Set<(error: Error) => void>();
  readonly #pauses: { readonly untilMs: number; readonly resolve: () => void }[] = [];
  #calls: (() => void)[] = [];
  #number = 0;

  constructor(run: PowerRun, host: ServiceHost) {
    this.#run = run;
    this.#host = host;
  }

  now(): number {
    return this.#run.nowMs;
  }

  send<Name extends CallName>(type: Name, given: Calls[Name]['given'], tell: Tell<Name>): void {
    if (this.isOver) return;
    this.#number += 1;
    const call = { ...given, type, number: this.#number } as Call;
    this.#calls.push(() => {
      this.#host.handle(call, (failure, answer) => {
        if (!this.isOver) tell(failure, answer as Calls[Name]['answer']);
      });
    });
  }

  ask<Name extends CallName>(type: Name, given: Calls[Name]['given']): Promise<Calls[Name]['answer']> {
    if (this.isOver) return Promise.reject(over());
    return new Promise((resolve, reject) => {
      this.#cut.add(reject);
      this.send(type, given, (failure, answer) => {
        this.#cut.delete(reject);
        if (failure === null) resolve(answer);
        else reject(new CallError(failure));
      });
    });
  }

  pause(ms: number): Promise<void> {
    if (this.isOver) return Promise.reject(over());
    return new Promise((resolve, reject) => {
      this.#cut.add(reject);
      const done = (): void => {
        this.#cut.delete(reject);
        resolve();
      };
      this.#pauses.push({ untilMs: this.now() + ms, resolve: done });
    });
  }

  /** Hands on what was called, and ends the pauses whose time has come. */
  step(): void {
    const calls = this.#calls;
    this.#calls = [];
    for (const call of calls) call();
    const due = this.#pauses.filter(({ untilMs }) => untilMs <= this.now());
    if (due.length === 0) return;
    const left = this.#pauses.filter(({ untilMs }) => untilMs > this.now());
    this.#pauses.splice(0, this.#pauses.length, ...left);
    for (const { resolve } of due) resolve();
  }

  die(): void {
    this.isOver = true;
    for (const cut of [...this.#cut]) cut(over());
  }
}

class PowerRun {
  nowMs = startMs;
  crashes = 0;
  cutsInOpening = 0;
  readonly clients: readonly Client[];
  readonly #options: PowerOptions;
  readonly #random: Random;
  readonly #disks: CrashingStore;
  #host: ServiceHost | null = null;
  #link: LocalLink | null = null;
  #problem: Error | null = null;

  constructor(seed: number, options: PowerOptions) {
    this.#options = options;
    this.#random = new Random(seed);
    this.#disks = new CrashingStore(seed, () => this.nowMs);
    this.clients = newClients(seed, options.services);
  }

  async run(): Promise<void> {
    for (let crash = 0; crash < this.#options.crashes; crash += 1) {
      const link = await this.#open(this.#random.oneIn(5));
      if (link !== null) await this.#live(link);
      this.#crash();
    }
    const link = await this.#open(false);
    if (link === null) throw new Error('the last life was cut short');
    await this.#drive(this.#check(link, true));
    await this.#drive(Promise.all(this.clients.map((client) => client.finish(link))));
  }

  async close(): Promise<void> {
    this.#end();
    await this.#disks.close();
  }

  /** Null when the power went meanwhile. */
  async #open(mayBeCut: boolean): Promise<LocalLink | null> {
    let isDead = false;
    const host: ServiceHost = new ServiceHost({
      store: this.#disks.store,
      now: () => this.nowMs,
      random: () => this.#random.below(2 ** 30) / 2 ** 30,
      defer: (task) => setImmediate(() => !isDead && task()),
      say: (push) => !isDead && this.#onPush(push),
      plant: this.#options.plant ?? null,
    });
    this.#host = host;
    const link = new LocalLink(this, host);
    this.#link = link;
    const die = link.die.bind(link);
    link.die = () => {
      isDead = true;
      die();
    };
    const opening = host.open();
    if (!mayBeCut) {
      await this.#drive(opening);
      return link;
    }
    opening.catch(() => undefined);
    for (let left = this.#random.below(120); left > 0; left -= 1) await this.#turn(1);
    this.cutsInOpening += 1;
    return null;
  }

  async #live(link: LocalLink): Promise<void> {
    const isCutInCheck = this.#random.oneIn(6);
    const checking = this.#check(link, this.#random.oneIn(3));
    if (isCutInCheck) {
      checking.catch(() => undefined);
      for (let left = this.#random.below(60); left > 0; left -= 1) await this.#turn(1);
      this.#link?.die();
      await checking.catch((error: unknown) => {
        if (!isOver(error)) throw error;
      });
      return;
    }
    await this.#drive(checking);
    const ended = together(this.clients.map((client) => client.live(link))).catch((error: unknown) => error);
    for (let left = this.#random.between(10, stepsMax); left > 0; left -= 1) await this.#turn(this.#random.pick(steps));
    link.die();
    const reason = await ended;
    if (!isOver(reason)) throw reason;
  }

  #check(link: Link, isFull: boolean): Promise<void> {
    return together(this.clients.map((client) => client.check(link, isFull)));
  }

  #crash(): void {
    this.crashes += 1;
    this.#end();
    this.#disks.crash(this.#random.pick(['mixed', 'mixed', 'drop', 'keep', 'kill']));
    for (const client of this.clients) client.onCrash();
    if (this.#problem !== null) throw this.#problem;
  }

  #end(): void {
    this.#link?.die();
    this.#host?.abandon();
    this.#link = null;
    this.#host = null;
  }

  /** Some time, and some turns of the loop. */
  async #turn(ms: number): Promise<void> {
    this.nowMs += ms;
    this.#host?.tick();
    for (let left = this.#random.between(1, 4); left > 0; left -= 1) {
      this.#link?.step();
      await turn();
    }
    if (this.#problem !== null) throw this.#problem;
  }

  /** Lets the world go on until the promise is settled. */
  async #drive<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settled = (): void => {
      isSettled = true;
    };
    promise.then(settled, settled);
    for (let turns = 0; !isSettled; turns += 1) {
      if (turns > turnsMax) throw new Error('nothing happens any more, and something is not answered');
      await this.#turn(this.#random.pick(steps));
    }
    return promise;
  }

  #onPush(push: Push): void {
    if (push.type === 'stopped') this.#problem ??= new Error(`A service has stopped: ${push.reason}`);
    for (const client of this.clients) client.onPush(push);
  }
}

function over(): CallError {
  return new CallError({ code: linkOver, message: 'the host of the store is gone' });
}

function sumOf(one: ClientCounts, other: ClientCounts): ClientCounts {
  return Object.fromEntries(
    Object.entries(other).map(([name, counts]) => {
      const before = one[name] ?? {};
      const sums = Object.entries(counts).map(([key, count]) => [key, count + (before[key] ?? 0)]);
      return [name, Object.fromEntries(sums) as Record<string, number>];
    }),
  );
}
