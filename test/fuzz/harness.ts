/**
 * The fuzz run: a real broker with two workers, lanes that play one seeded case after the other, and witnesses that must
 * not notice. Called by `run.ts` (60 s, the acceptance) and by `fuzz.test.ts` (seconds, and the canary).
 *
 * A case is made of seed, number, round and kind alone, which failures name as `number:round:kind`, so its bytes can be made again
 * (`replays`); which cases overlap is up to the machine.
 *
 * Memory is measured twice with all fuzz connections closed, sessions expired and garbage collected: in the middle and at
 * the end. Its bound: the second half of the run may add 20 % or 40 MiB, whichever is more. That holds for what all threads
 * have in use in any run, and for resident memory, which the allocator needs a while to warm up, from 40 s on. The broker's
 * allocator is told to give back what is free: left alone, glibc keeps up to six times of what is in use scattered over one
 * arena per thread, and how soon it has got there depends on the machine, which hides the leaks that are looked for. Descriptors of the
 * process must be back at what they were before the fuzzing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { nodeForUws } from '../../scripts/debian13-libc.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import { Inspector, inspectorFlags, inspectorLines } from '../support/inspector.ts';
import { descriptorCount, residentBytes } from '../support/process-figures.ts';
import { CaseContext, type FuzzCase, type FuzzTransport, handshakeTimeoutMs } from './case.ts';
import { flowCases } from './cases-flows.ts';
import { packetCases, stateCombinations } from './cases-packets.ts';
import { webSocketCases } from './cases-web-socket.ts';
import { Random } from './random.ts';
import { Pair, Watcher, type WatcherOptions } from './witness.ts';

const laneCount = 12;
const caseLimitMs = 25_000;
const baselineLimitMs = 25_000;
const memoryGrowthShareMax = 0.2;
const memoryGrowthBytesMax = 40 * 1024 * 1024;
const residentCheckedFromS = 40;
/** A shorter run says nothing about growth. */
const growthCheckedFromS = 3;
/** Failures beyond this one repeat themselves. */
const failuresMax = 20;
/** Errors of the broker's log that are kept, and characters of each. */
const loggedMax = 50;
const loggedCharsMax = 4_000;
/** A line of the log is here this much later than the case that provoked it, on a busy machine. */
const suspectedMs = 1_000;
const lateLineMs = 500;
const recentMax = 400;
/** The broker opens files of its own with the first durable session, shared group and retained message, and serves the metrics. */
const descriptorsMoreMax = 64;
const webSocketListener = 'fuzz-ws';
/** See the top. Any other C library ignores them. */
const allocatorSettings = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '65536',
  MALLOC_TRIM_THRESHOLD_: '131072',
};
/** Messages in which the supervisor or a worker reports a defect are of level error; these are of Node. */
const expectedErrors = inspectorLines;

/** All kinds that are played over the transport. */
export function casesOf(transport: FuzzTransport): readonly FuzzCase[] {
  const common = [...packetCases, ...flowCases];
  return transport === 'tcp' ? common : [...common, ...webSocketCases];
}

/** What the watchers ask for: one that is strict in every limit, one for each of the other layouts. */
const watcherOptions: readonly WatcherOptions[] = [
  { level: 4, qos: 2 },
  { level: 5, qos: 1, subscriptionIdentifier: 77, receiveMaximum: 3 },
  { level: 5, qos: 2, maximumPacketSize: 300, topicAliasMaximum: 3 },
];

/** A case of a former run with the same seed and transport. */
export interface Replay {
  readonly number: number;
  readonly round: number;
  readonly kind: string;
}

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
  /** TCP as a default. The witnesses use TCP and this. */
  readonly transport?: FuzzTransport;
  /** These cases alone, over and over. */
  readonly replays?: readonly Replay[];
  /** Flags for the broker's Node. */
  readonly nodeFlags?: readonly string[];
  /** Only cases whose kind contains this; then no kind has to be seen. */
  readonly kind?: string;
  /** Puts something between the broker and the witnesses: answers the port that they are to use instead. */
  readonly intercept?: (broker: BrokerProcess) => Promise<{ readonly port: number; close(): void }>;
  readonly print?: (line: string) => void;
}

export interface FuzzReport {
  readonly seed: number;
  readonly counts: ReadonlyMap<string, number>;
  /** State, packet type and level combinations that were tried. */
  readonly combinationsTried: number;
  readonly messagesSeen: number;
  readonly packetsWatched: number;
  readonly memory: readonly MemoryUse[];
  readonly failures: readonly string[];
  /** Names of the cases that played when the broker logged an error. */
  readonly suspects: readonly string[];
  /** What the broker logged of level error, in its own words. */
  readonly logged: readonly string[];
}

export interface MemoryUse {
  readonly when: string;
  readonly residentBytes: number;
  /** Heaps and what hangs on them, of all threads. */
  readonly usedBytes: number;
}

interface Baseline {
  readonly connections: number;
  readonly sessions: number;
  readonly subscriptions: number;
}

export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  // Small and large rings in turn: small ones wrap and fill, large ones take large messages.
  const ringBytes = options.seed % 2 === 0 ? 8 * 1024 * 1024 : 1024 * 1024;
  const transport = options.transport ?? 'tcp';
  const broker = await BrokerProcess.start({
    workers: 2,
    logLevel: 'warn',
    ...(transport === 'uws' ? { launcher: await nodeForUws() } : {}),
    nodeFlags: [...inspectorFlags, ...(options.nodeFlags ?? [])],
    environment: allocatorSettings,
    expectedErrors,
    settings: {
      // So that what a case leaves behind is gone at the end, and a full store is met.
      'mqtt.sessionExpiryMaxS': 2,
      'limits.retainedCountMax': 1_000,
      'limits.retainedBytesMax': 4 * 1024 * 1024,
      'limits.handshakeTimeoutMs': handshakeTimeoutMs,
      'limits.ringBytes': ringBytes,
      ...(transport === 'tcp' ? {} : { 'listeners.1': webSocketListenerSettings(transport) }),
    },
  });
  try {
    return await new FuzzRun(broker, options).run();
  } finally {
    await broker.kill();
  }
}

function webSocketListenerSettings(transport: 'ws' | 'uws'): object {
  const adapter = transport === 'uws' ? 'uws' : 'node';
  const place = { protocol: 'mqtt', transport: 'ws', address: '127.0.0.1:0' };
  return { name: webSocketListener, ...place, webSocket: { adapter } };
}

class FuzzRun {
  private readonly broker: BrokerProcess;
  private readonly options: FuzzOptions;
  private readonly transport: FuzzTransport;
  private readonly cases: readonly FuzzCase[];
  private readonly counts = new Map<string, number>();
  private readonly failures: string[] = [];
  private readonly running = new Set<string>();
  /** The latest cases that have ended, and when. */
  private readonly recent: { readonly name: string; readonly endedMs: number }[] = [];
  private suspects: readonly string[] = [];
  private logged: readonly string[] = [];
  /** Characters of the log that were looked at. */
  private logChars = 0;
  private readonly memory: MemoryUse[] = [];
  private readonly pairs: Pair[] = [];
  private readonly watchers: Watcher[] = [];
  private nextCase = 0;
  private descriptorsBefore = 0;
  private stopped = false;

  constructor(broker: BrokerProcess, options: FuzzOptions) {
    this.broker = broker;
    this.options = options;
    this.transport = options.transport ?? 'tcp';
    const all = casesOf(this.transport);
    const replayed = options.replays?.map(({ kind }) => kind);
    this.cases = all.filter(({ kind }) => replayed?.includes(kind) ?? kind.includes(options.kind ?? ''));
    for (const { kind } of this.cases) this.counts.set(kind, 0);
  }

  async run(): Promise<FuzzReport> {
    const intercepted = await this.options.intercept?.(this.broker);
    const inspector = await Inspector.attach(this.broker);
    try {
      await this.runWith(intercepted?.port ?? this.broker.port(), inspector);
    } catch (error) {
      // A broker that ends takes everything that talks to it along; that is a finding and no fault of the harness.
      if (this.broker.isRunning) await sleep(200);
      if (this.broker.isRunning) throw error;
      this.addFailure('the broker has ended');
    } finally {
      for (const witness of [...this.pairs, ...this.watchers]) witness.abandon();
      inspector.close();
      intercepted?.close();
    }
    // What goes wrong shows at the clients before its line has come.
    if (this.failures.length > 0) await sleep(lateLineMs);
    this.lookForErrors();
    this.reportErrors();
    return this.report();
  }

  private async runWith(witnessPort: number, inspector: Inspector): Promise<void> {
    const { broker, options } = this;
    const fail = (what: string): void => this.fail(what);
    const [publishTo, subscribeAt] = [`mqtt://127.0.0.1:${broker.port()}`, `mqtt://127.0.0.1:${witnessPort}`];
    for (const level of [4, 5] as const) this.pairs.push(await Pair.start(publishTo, subscribeAt, level, fail));
    if (this.transport !== 'tcp') {
      // The neighbours of the fuzzing on its own listener.
      const url = `ws://127.0.0.1:${broker.port(webSocketListener)}/mqtt`;
      this.pairs.push(await Pair.start(url, url, 5, fail), await Pair.start(publishTo, url, 4, fail));
    }
    for (const watcher of watcherOptions) this.watchers.push(await Watcher.start(witnessPort, watcher, fail));
    const baseline = await this.readBaseline();
    this.descriptorsBefore = descriptorCount(broker.pid);

    const stops = options.seconds < growthCheckedFromS ? ['end'] : ['middle', 'end'];
    for (const when of stops) {
      await this.fuzzFor(options.seconds / stops.length);
      // The witnesses of a broker that did wrong have lost their connections; what is left says nothing more.
      if (this.stopped) return;
      await this.measure(when, baseline, inspector);
    }

    for (const pair of this.pairs) await pair.finish();
    for (const watcher of this.watchers) watcher.stop();
    await this.checkBroker();
    this.checkMemory();
    this.checkCounts();
  }

  private fail(what: string): void {
    if (this.failures.length >= failuresMax) {
      this.stopped = true;
      return;
    }
    this.addFailure(what);
  }

  private addFailure(what: string): void {
    this.failures.push(what);
    this.options.print?.(`FAIL ${what}`);
  }

  private async fuzzFor(seconds: number): Promise<void> {
    const end = performance.now() + seconds * 1_000;
    const lanes = Array.from({ length: laneCount }, async () => {
      while (performance.now() < end && !this.stopped && this.broker.isRunning) await this.playNext();
    });
    await Promise.all(lanes);
    if (this.options.replays !== undefined) return;
    const { cases } = this;
    // A short run on a busy machine must not fail for a kind that chance left out.
    for (const fuzzCase of cases) if (this.counts.get(fuzzCase.kind) === 0 && !this.stopped) await this.play(fuzzCase);
    if (this.options.kind !== undefined) return;
    const everyState = cases.find(({ kind }) => kind === 'every packet in every state');
    while (everyState !== undefined && this.combinationsTried < stateCombinations.length && !this.stopped) {
      await this.play(everyState);
    }
  }

  private get combinationsTried(): number {
    return Math.min(this.counts.get('every packet in every state') ?? 0, stateCombinations.length);
  }

  private async playNext(): Promise<void> {
    const { replays } = this.options;
    if (replays !== undefined) {
      const replay = replays[this.nextCase % replays.length];
      const fuzzCase = this.cases.find(({ kind }) => kind === replay?.kind);
      if (replay === undefined || fuzzCase === undefined) throw new Error(`There is no kind "${replay?.kind}"`);
      this.nextCase++;
      this.counts.set(replay.kind, (this.counts.get(replay.kind) ?? 0) + 1);
      return this.playCase(fuzzCase, replay);
    }
    const total = this.cases.reduce((sum, { weight }) => sum + weight, 0);
    let at = Random.of(this.options.seed, -this.nextCase - 1).below(total);
    for (const fuzzCase of this.cases) {
      at -= fuzzCase.weight;
      if (at < 0) return this.play(fuzzCase);
    }
  }

  private async play(fuzzCase: FuzzCase): Promise<void> {
    const { kind } = fuzzCase;
    const number = this.nextCase++;
    const round = this.counts.get(kind) ?? 0;
    this.counts.set(kind, round + 1);
    return this.playCase(fuzzCase, { number, round, kind });
  }

  private async playCase(fuzzCase: FuzzCase, { number, round, kind }: Replay): Promise<void> {
    const { broker, transport } = this;
    const name = `${number}:${round}:${kind}`;
    this.running.add(name);
    const fail = (what: string): void => this.fail(`case ${name}: ${what}`);
    const port = transport === 'tcp' ? broker.port() : broker.port(webSocketListener);
    const context = new CaseContext(Random.of(this.options.seed, number), { port, transport }, round, fail);
    const timer = setTimeout(() => fail(`it did not end within ${caseLimitMs} ms`), caseLimitMs);
    try {
      await fuzzCase.run(context);
    } catch (error) {
      // The harness is wrong, not the broker; that must not be overlooked either.
      fail(`the case itself failed: ${error instanceof Error ? error.stack : String(error)}`);
    } finally {
      clearTimeout(timer);
      await context.leave();
    }
    this.running.delete(name);
    this.recent.push({ name, endedMs: performance.now() });
    if (this.recent.length > recentMax) this.recent.shift();
    this.lookForErrors();
  }

  /**
   * Names the cases at once that played when the broker logged an error, such as the death of a worker: they are the ones to look at. That
   * is so however many failures there are: a worker that dies takes the witnesses along, whose failures come first and are many.
   */
  private lookForErrors(): void {
    const { broker, recent } = this;
    if (broker.log.length === this.logChars) return;
    this.logChars = broker.log.length;
    const errors = broker.unexpectedErrors;
    if (errors.length === 0) return;
    this.logged = errors.slice(0, loggedMax).map((line) => line.slice(0, loggedCharsMax));
    if (this.suspects.length > 0) return;
    const since = performance.now() - suspectedMs;
    const late = recent.filter(({ endedMs }, index) => endedMs >= since || index >= recent.length - laneCount * 2);
    this.suspects = [...late.map(({ name }) => name), ...this.running];
    this.stopped = true;
  }

  private reportErrors(): void {
    if (this.logged.length === 0) return;
    this.addFailure(`the broker logged errors while these cases played: ${this.suspects.join(', ')}`);
    for (const line of this.logged) this.addFailure(`the broker logged ${line}`);
  }

  private async readBaseline(): Promise<Baseline> {
    const { broker } = this;
    return {
      connections: await broker.metric('ringmq_connections_open'),
      sessions: await broker.metric('ringmq_mqtt_sessions'),
      subscriptions: await broker.metric('ringmq_mqtt_subscriptions'),
    };
  }

  /** Waits until nothing of the fuzzing is left, then measures memory. */
  private async measure(when: string, baseline: Baseline, inspector: Inspector): Promise<void> {
    const limit = performance.now() + baselineLimitMs;
    let now = await this.readBaseline();
    while (JSON.stringify(now) !== JSON.stringify(baseline) && performance.now() < limit) {
      await sleep(50);
      now = await this.readBaseline();
    }
    if (JSON.stringify(now) !== JSON.stringify(baseline)) {
      this.fail(`${when}: not everything is gone: ${JSON.stringify(now)} instead of ${JSON.stringify(baseline)}`);
    }
    await this.checkDescriptors(when, limit);
    await inspector.collectGarbage();
    await sleep(300);
    await inspector.collectGarbage();
    const use = { when, residentBytes: residentBytes(this.broker.pid), usedBytes: await usedBytes(inspector) };
    this.memory.push(use);
    const { options, nextCase } = this;
    options.print?.(
      `${when}: ${nextCase} cases, ${mebibytes(use.residentBytes)} MiB resident, ${mebibytes(use.usedBytes)} in use`,
    );
  }

  private async checkDescriptors(when: string, limit: number): Promise<void> {
    const more = (): number => descriptorCount(this.broker.pid) - this.descriptorsBefore;
    while (more() > descriptorsMoreMax && performance.now() < limit) await sleep(50);
    if (more() > descriptorsMoreMax) {
      this.fail(`${when}: ${more()} descriptors more than the ${this.descriptorsBefore} before the fuzzing are open`);
    }
  }

  private checkMemory(): void {
    if (this.options.seconds < growthCheckedFromS) return;
    const [middle, end] = this.memory;
    if (middle === undefined || end === undefined) {
      this.fail('memory was not measured');
      return;
    }
    this.checkGrowth('memory in use', middle.usedBytes, end.usedBytes);
    if (this.options.seconds < residentCheckedFromS) return;
    this.checkGrowth('resident memory', middle.residentBytes, end.residentBytes);
  }

  private checkGrowth(what: string, middleBytes: number, endBytes: number): void {
    if (endBytes - middleBytes <= Math.max(middleBytes * memoryGrowthShareMax, memoryGrowthBytesMax)) return;
    this.fail(`${what} grew in the second half, from ${mebibytes(middleBytes)} to ${mebibytes(endBytes)} MiB`);
  }

  private async checkBroker(): Promise<void> {
    const { broker } = this;
    for (const path of ['livez', 'readyz']) {
      const { status } = await fetch(`http://127.0.0.1:${broker.port('http')}/${path}`);
      if (status !== 200) this.fail(`/${path} answers ${status}`);
    }
    const restarts = await broker.metric('ringmq_worker_restarts_total');
    if (restarts !== 0) this.fail(`${restarts} workers were replaced`);
    // New clients are served, over both workers.
    const url = `mqtt://127.0.0.1:${broker.port()}`;
    const pair = await Pair.start(url, url, 5, (what) => this.fail(`at the end: ${what}`));
    await sleep(100);
    await pair.finish();
  }

  private checkCounts(): void {
    for (const [kind, count] of this.counts) if (count === 0) this.fail(`no case of kind "${kind}" was played`);
    if (this.counts.size === 0) this.fail('no case was played');
  }

  private report(): FuzzReport {
    return {
      seed: this.options.seed,
      counts: this.counts,
      combinationsTried: this.combinationsTried,
      messagesSeen: this.pairs.reduce((sum, { received }) => sum + received, 0),
      packetsWatched: this.watchers.reduce((sum, { packets }) => sum + packets, 0),
      memory: this.memory,
      failures: this.failures,
      suspects: this.suspects,
      logged: this.logged,
    };
  }
}

async function usedBytes(inspector: Inspector): Promise<number> {
  const expression = '(({ heapUsed, external }) => heapUsed + external)(process.memoryUsage())';
  const each = await inspector.onEach((thread) => inspector.evaluate(thread, expression));
  return each.reduce((sum: number, bytes) => sum + Number(bytes), 0);
}

export function mebibytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(1);
}
