/**
 * Rounds of kill -9 of the process that hosts the journal and all services over it, at random moments: under load, while it starts, while
 * it is compared. After each one it is started again, what changed is read and compared with what was answered. Thread of the test.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../fuzz/random.ts';
import { type ClientCounts, countsOf, newClients, unseen } from './clients.ts';
import { type Client, isOver, together } from './link.ts';
import type { Plant } from './planted-store.ts';
import type { Push, ServiceName } from './store-lines.ts';
import { StoreProcess } from './store-process.ts';

export interface RoundsOptions {
  readonly folder: string;
  /** Compiled modules of the process; not the folder of the data. */
  readonly cacheFolder: string;
  readonly rounds: number;
  readonly seed: number;
  /** The process lives at most so long under load; the moment of the kill is random. */
  readonly loadMsMax: number;
  readonly services?: readonly ServiceName[];
  readonly plant?: Plant | null;
  say(line: string): void;
}

export interface RoundsResult {
  rounds: number;
  killsAtStart: number;
  killsInCheck: number;
  tornTails: number;
  services: ClientCounts;
  problems: string[];
}

/** So long it is waited for, at most. */
const progressMsMax = 15_000;
/** Every so many rounds all is read from the start of the log, instead of what is new. */
const fullReadEvery = 20;
/** With so many rounds each service has met everything; fewer cannot be held to it. */
const roundsToSeeAll = 50;

export async function killRounds(options: RoundsOptions): Promise<RoundsResult> {
  const rounds = new KillRounds(options);
  try {
    for (let round = 1; round <= options.rounds; round += 1) await rounds.run(round);
    await rounds.end();
  } catch (error) {
    rounds.result.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    await rounds.stop();
  }
  return rounds.finish();
}

class KillRounds {
  readonly result: RoundsResult = {
    rounds: 0,
    killsAtStart: 0,
    killsInCheck: 0,
    tornTails: 0,
    services: {},
    problems: [],
  };
  readonly #options: RoundsOptions;
  readonly #random: Random;
  readonly #clients: readonly Client[];
  #process: StoreProcess | null = null;
  /** Loads its program while the one before it is under load. */
  #spare: StoreProcess | null = null;
  /** How long opening takes, about. */
  #openMs = 100;

  constructor(options: RoundsOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#clients = newClients(options.seed, options.services);
  }

  async run(round: number): Promise<void> {
    if (this.#random.oneIn(6)) await this.#killAtStart();
    const store = await this.#start();
    // Sometimes before all is compared.
    if (this.#random.oneIn(8)) {
      const kill = sleep(this.#random.below(60)).then(() => store.kill());
      const isCut = await this.#check(store, false);
      await kill;
      this.#onCrash();
      if (isCut) this.result.killsInCheck += 1;
    } else {
      if (await this.#check(store, round % fullReadEvery === 0)) throw new Error(`It ended by itself: ${store.errors}`);
      await this.#load(store, round % 2 === 0);
    }
    this.#throwProblem();
    this.result.rounds = round;
    if (round % 10 === 0) this.#options.say(`round ${round}: ${summary(this.finish().services)}`);
  }

  /** Lets everything come to its end, stops in order, and takes a last look. */
  async end(): Promise<void> {
    let store = await this.#start();
    if (await this.#check(store, true)) throw new Error(`It ended by itself: ${store.errors}`);
    await Promise.all(this.#clients.map((client) => client.finish(store)));
    await store.stop();
    this.#onCrash();
    store = await this.#start();
    if (await this.#check(store, true)) throw new Error(`It ended by itself: ${store.errors}`);
    await Promise.all(this.#clients.map((client) => client.finish(store)));
    this.#throwProblem();
    if (this.#options.rounds >= roundsToSeeAll)
      this.result.problems.push(...unseen(this.#clients, this.finish().services));
  }

  async stop(): Promise<void> {
    await this.#process?.kill();
    await this.#spare?.kill();
  }

  finish(): RoundsResult {
    this.result.services = countsOf(this.#clients);
    return this.result;
  }

  #take(): StoreProcess {
    const taken = this.#spare ?? this.#spawn();
    this.#spare = this.#spawn();
    return taken;
  }

  #spawn(): StoreProcess {
    const { folder, cacheFolder, plant = null } = this.#options;
    return new StoreProcess({ folder, cacheFolder, plant, onPush: (push) => this.#onPush(push) });
  }

  async #start(): Promise<StoreProcess> {
    const store = this.#take();
    this.#process = store;
    const began = performance.now();
    await store.open();
    this.#openMs = 0.8 * this.#openMs + 0.2 * (performance.now() - began);
    return store;
  }

  async #killAtStart(): Promise<void> {
    const store = this.#take();
    this.#process = store;
    const opened = store.open().catch(() => undefined);
    await sleep(this.#openMs * (this.#random.below(110) / 100));
    await store.kill();
    await opened;
    this.#onCrash();
    this.result.killsAtStart += 1;
  }

  /** True when it was cut short. */
  async #check(store: StoreProcess, isFull: boolean): Promise<boolean> {
    try {
      await together(this.#clients.map((client) => client.check(store, isFull)));
      return false;
    } catch (error) {
      if (!isOver(error)) throw error;
      return true;
    }
  }

  /** `hasProgress`: it is not killed before each service has done something, however slow the machine is. */
  async #load(store: StoreProcess, hasProgress: boolean): Promise<void> {
    const before = countsOf(this.#clients);
    let isEnded = false;
    const ended = together(this.#clients.map((client) => client.live(store)))
      .catch((error: unknown) => error)
      .finally(() => {
        isEnded = true;
      });
    await sleep(this.#random.below(this.#options.loadMsMax) + 1);
    const limitMs = performance.now() + progressMsMax;
    while (hasProgress && !isEnded && !this.#hasProgress(before) && performance.now() < limitMs) await sleep(5);
    const wasOver = store.isOver;
    await store.kill();
    const reason = await ended;
    if (!isOver(reason)) throw reason;
    this.#onCrash();
    if (wasOver) throw new Error(`It ended by itself: ${store.errors}`);
  }

  #hasProgress(before: ClientCounts): boolean {
    return this.#clients.every(({ name, counts, progress }) =>
      progress.every((key) => (counts[key] ?? 0) > (before[name]?.[key] ?? 0)),
    );
  }

  #onCrash(): void {
    for (const client of this.#clients) client.onCrash();
  }

  #throwProblem(): void {
    const [problem] = this.result.problems.splice(0, 1);
    if (problem !== undefined) throw new Error(problem);
  }

  #onPush(push: Push): void {
    if (push.type === 'event') {
      const event = JSON.parse(push.text) as { readonly type: string };
      if (event.type === 'torn-tail') this.result.tornTails += 1;
      else this.result.problems.push(`The journal reports: ${push.text}`);
    } else if (push.type === 'stopped') this.result.problems.push(`A service has stopped: ${push.reason}`);
    else for (const client of this.#clients) client.onPush(push);
  }
}

/** The first count of each service. */
function summary(services: ClientCounts): string {
  return Object.entries(services)
    .map(([name, counts]) => `${name} ${Object.values(counts)[0] ?? 0}`)
    .join(', ');
}
