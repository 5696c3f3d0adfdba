/**
 * A broker with many connections that come and go for some time: its own process, processes that hold the connections, and one that
 * measures latency while, in every second phase, one subscriber never reads and one reads a byte a second.
 *
 * With two cores or more the broker has the first one and everything else the second one.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { BrokerProcess } from '../support/broker-process.ts';
import { descriptorCount, residentBytes } from '../support/process-figures.ts';
import type { EnduranceRound, EnduranceSample } from './judge.ts';
import type { LoadMessage, LoadOptions, LoadReport } from './load-messages.ts';
import type { PhaseKind, Pooled, ProbeClass, ProbeFigures, ProbeMessage, ProbeReport } from './probe-messages.ts';

export interface EnduranceOptions {
  readonly connections: number;
  /** After all connections are there. */
  readonly seconds: number;
  /** Share of the connections that goes and comes back each second. */
  readonly churnShare: number;
  readonly rampPerS: number;
  readonly keepAliveS: number;
  /** Of QoS 1, all processes together. */
  readonly publishesPerS: number;
  /** A round is two phases, one of them with slow subscribers. */
  readonly phaseSeconds: number;
  /** The beginning of a phase that is not measured. */
  readonly settleSeconds: number;
  readonly sampleSeconds: number;
  readonly workers: number;
  onLine(line: EnduranceLine): void;
}

export type EnduranceLine =
  | { readonly kind: 'sample'; readonly sample: EnduranceSample; readonly load: LoadTotals }
  | { readonly kind: 'round'; readonly round: EnduranceRound };

export interface LoadTotals {
  readonly open: number;
  readonly connects: number;
  readonly reconnects: number;
  readonly published: number;
  readonly acknowledged: number;
  readonly delivered: number;
  readonly verified: number;
  readonly pings: number;
  readonly slowestConnectMs: number;
}

export interface EnduranceResult {
  readonly samples: readonly EnduranceSample[];
  readonly rounds: readonly EnduranceRound[];
  /** Of all rounds but those of the warm-up. */
  readonly pooled: Pooled;
  readonly load: LoadTotals;
  readonly probesSent: number;
  readonly probesReceived: number;
  /** Seconds of churn that the reconnects belong to. */
  readonly churnSeconds: number;
  /** Messages that the broker dropped because a subscriber did not read, in the phases with slow ones and in the others. */
  readonly droppedForSlow: number;
  readonly droppedOtherwise: number;
  readonly slowBytes: number;
  readonly problems: readonly string[];
}

const connectionsPerProcess = 9_000;
/** TIME_WAIT holds a port of this end for a minute; an address has some 28,000. */
const portsPerAddress = 12_000;
const timeWaitS = 60;
const descriptorsSpare = 1_500;
const rampLimitShare = 4;
const endLimitMs = 60_000;
/** Of the rounds: until code is compiled and the heap has its size. */
const warmUpShare = 0.15;
const figuresOfNothing: LoadTotals = {
  ...{ open: 0, connects: 0, reconnects: 0, published: 0, acknowledged: 0, delivered: 0, verified: 0, pings: 0 },
  slowestConnectMs: 0,
};

export async function runEndurance(options: EnduranceOptions): Promise<EnduranceResult> {
  const limits = descriptorLimits(options.connections);
  const broker = await BrokerProcess.start({
    workers: options.workers,
    logLevel: 'warn',
    launcher: launcher(limits, 0),
  });
  try {
    return await new Endurance(broker, options, limits).run();
  } finally {
    await broker.kill();
  }
}

/** The command that raises the limit of descriptors where it must and may be. Throws where it must and may not. */
function descriptorLimits(connections: number): readonly string[] {
  const wanted = connections + descriptorsSpare;
  const raise = ['prlimit', `--nofile=${Math.max(65_536, wanted)}:${Math.max(65_536, wanted)}`];
  if (spawnSync('prlimit', [...raise.slice(1), 'true']).status === 0) return raise;
  const { stdout } = spawnSync('/bin/sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' });
  const hard = stdout.trim() === 'unlimited' ? Number.POSITIVE_INFINITY : Number(stdout);
  if (hard >= wanted) return [];
  throw new Error(
    `Cannot open ${connections} connections: the limit of descriptors is ${hard}, ${wanted} are needed; raise it with "ulimit -Hn ${wanted}" as root`,
  );
}

/** Node on a core of its own where there are several and `taskset`. */
function launcher(limits: readonly string[], core: number): { readonly command: string; readonly args: string[] } {
  const canPin = availableParallelism() > 1 && spawnSync('taskset', ['-c', '0', 'true']).status === 0;
  const pin = canPin ? ['taskset', '-c', `${core}`] : [];
  const [command = '', ...args] = [...limits, ...pin, process.execPath];
  return { command, args };
}

/** A process of ours that is led over IPC. */
class Helper<Message extends object, Report> {
  latest: Report | null = null;
  hasEnded = false;
  private readonly child: ChildProcess;
  private wake: (() => void) | null = null;

  constructor(file: string, limits: readonly string[]) {
    const { command, args } = launcher(limits, 1);
    this.child = spawn(command, [...args, join(import.meta.dirname, file)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.child.on('message', (report) => {
      this.latest = report as Report;
      this.wake?.();
    });
    this.child.on('exit', () => {
      this.hasEnded = true;
      this.wake?.();
    });
  }

  send(message: Message): void {
    if (this.child.connected) this.child.send(message);
  }

  /** Sends, and waits for what comes next. */
  async ask(message: Message): Promise<Report> {
    const answered = new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    this.send(message);
    await answered;
    this.wake = null;
    if (this.hasEnded || this.latest === null) throw new Error('A process of the load has ended by itself');
    return this.latest;
  }

  async end(message: Message): Promise<void> {
    if (this.hasEnded) return;
    const exited = once(this.child, 'exit');
    this.send(message);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(timer);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

class Endurance {
  private readonly broker: BrokerProcess;
  private readonly options: EnduranceOptions;
  private readonly loads: Helper<LoadMessage, LoadReport>[] = [];
  private readonly probe: Helper<ProbeMessage, ProbeReport>;
  private readonly limits: readonly string[];
  private readonly samples: EnduranceSample[] = [];
  private readonly rounds: EnduranceRound[] = [];
  private readonly problems: string[] = [];
  private dropped = { withSlow: 0, without: 0 };
  private slowBytes = 0;
  private startMs = 0;

  constructor(broker: BrokerProcess, options: EnduranceOptions, limits: readonly string[]) {
    this.broker = broker;
    this.options = options;
    this.limits = limits;
    this.probe = new Helper('probe.child.ts', limits);
  }

  async run(): Promise<EnduranceResult> {
    try {
      const descriptorsBefore = descriptorCount(this.broker.pid);
      await this.begin();
      this.startMs = performance.now();
      for (const load of this.loads) load.send({ churn: true });
      const sampling = this.sample();
      await this.playRounds();
      await sampling;
      const churnSeconds = (performance.now() - this.startMs) / 1_000;
      for (const load of this.loads) load.send({ churn: false });
      // What is under way arrives, and is reported.
      await sleep(1_500);
      const probe = await this.probe.ask({ measure: 'end' });
      const load = this.totals();
      this.collectProblems(probe);
      await this.end(descriptorsBefore);
      return {
        ...{ samples: this.samples, rounds: this.rounds, pooled: probe.pooled },
        ...{ load, churnSeconds, slowBytes: this.slowBytes },
        ...{ probesSent: probe.sent, probesReceived: probe.received },
        ...{ droppedForSlow: this.dropped.withSlow, droppedOtherwise: this.dropped.without },
        problems: this.problems,
      };
    } finally {
      for (const helper of [...this.loads, this.probe]) helper.kill();
    }
  }

  /** Resolves when all connections are there. */
  private async begin(): Promise<void> {
    const { connections, churnShare, rampPerS, keepAliveS, publishesPerS } = this.options;
    const port = this.broker.port();
    const fan = { fanOutPerS: 200, fanOutBytes: 8_192, fanOutSubscribers: 4 };
    this.probe.send({ start: { port, pairs: 8, pairPerS: 25, ...fan } });
    const processes = Math.ceil(connections / connectionsPerProcess);
    const ports = connections + connections * churnShare * timeWaitS;
    const addresses = Array.from({ length: Math.ceil(ports / portsPerAddress) }, (_, at) => `127.0.0.${at + 1}`);
    for (let at = 0; at < processes; at++) {
      const first = Math.floor((connections * at) / processes);
      const count = Math.floor((connections * (at + 1)) / processes) - first;
      const share = count / connections;
      const start: LoadOptions = {
        ...{ port, first, connections: count, keepAliveS, addresses },
        rampPerS: rampPerS * share,
        churnPerS: connections * churnShare * share,
        publishesPerS: publishesPerS * share,
      };
      const load = new Helper<LoadMessage, LoadReport>('load.child.ts', this.limits);
      load.send({ start });
      this.loads.push(load);
    }
    const limitMs = performance.now() + (connections / rampPerS) * 1_000 * rampLimitShare + 20_000;
    while (this.totals().open < connections) {
      if (performance.now() > limitMs) {
        this.collectProblems(null);
        throw new Error(
          `Cannot begin: ${this.totals().open} of ${connections} connections are there\n${this.problems.join('\n')}`,
        );
      }
      await sleep(100);
    }
  }

  private totals(): LoadTotals {
    const sum = { ...figuresOfNothing } as Record<keyof LoadTotals, number>;
    for (const { latest } of this.loads) {
      if (latest === null) continue;
      for (const name of Object.keys(figuresOfNothing) as (keyof LoadTotals)[]) {
        sum[name] = name === 'slowestConnectMs' ? Math.max(sum[name], latest[name]) : sum[name] + latest[name];
      }
    }
    return sum;
  }

  private async playRounds(): Promise<void> {
    const { seconds, phaseSeconds } = this.options;
    const count = Math.max(1, Math.floor(seconds / (2 * phaseSeconds)));
    const warmUp = Math.floor(count * warmUpShare);
    for (let round = 0; round < count && this.broker.isRunning; round++) {
      // Which phase comes first takes turns, so that what changes slowly favours neither.
      const isSlowFirst = round % 2 === 1;
      const counts = round >= warmUp;
      const first = await this.playPhase(isSlowFirst, counts);
      const second = await this.playPhase(!isSlowFirst, counts);
      const pair = isSlowFirst ? { without: second, withSlow: first } : { without: first, withSlow: second };
      this.rounds.push(pair);
      this.options.onLine({ kind: 'round', round: pair });
    }
  }

  private async playPhase(isSlow: boolean, counts: boolean): Promise<Readonly<Record<ProbeClass, ProbeFigures>>> {
    const { phaseSeconds, settleSeconds } = this.options;
    const before = await this.droppedCount();
    if (isSlow) this.probe.send({ slow: 'come' });
    await sleep(settleSeconds * 1_000);
    const kind: PhaseKind = isSlow ? 'withSlow' : 'without';
    this.probe.send({ measure: 'begin', kind: counts ? kind : null });
    await sleep((phaseSeconds - settleSeconds) * 1_000);
    const report = await this.probe.ask({ measure: 'end' });
    // Without slow subscribers nobody drops anything; what those of the phase before left ends with their connections.
    const dropped = (await this.droppedCount()) - before;
    if (isSlow) {
      this.slowBytes += report.slowBytes;
      this.dropped.withSlow += dropped;
      this.probe.send({ slow: 'go' });
    } else this.dropped.without += dropped;
    return report.figures;
  }

  private async droppedCount(): Promise<number> {
    const of = (reason: string): Promise<number> =>
      this.broker.metric('ringmq_messages_dropped_total', `reason="${reason}"`);
    return (await of('output-full')) + (await of('queue-full'));
  }

  private async sample(): Promise<void> {
    const { seconds, sampleSeconds } = this.options;
    for (let at = 1; at * sampleSeconds <= seconds && this.broker.isRunning; at++) {
      await sleep(Math.max(0, this.startMs + at * sampleSeconds * 1_000 - performance.now()));
      if (!this.broker.isRunning) return;
      const sample = {
        seconds: Math.round((performance.now() - this.startMs) / 100) / 10,
        rssBytes: residentBytes(this.broker.pid),
        descriptors: descriptorCount(this.broker.pid),
      };
      this.samples.push(sample);
      this.options.onLine({ kind: 'sample', sample, load: this.totals() });
    }
  }

  private collectProblems(probe: ProbeReport | null): void {
    for (const { latest, hasEnded } of this.loads) {
      this.problems.push(...(latest?.problems ?? []));
      if (hasEnded) this.problems.push('a process of the load has ended by itself');
    }
    this.problems.push(...(probe?.problems ?? []), ...this.broker.unexpectedErrors.slice(0, 5));
    if (!this.broker.isRunning) this.problems.push('the broker has ended');
  }

  /** Everything is let go: connections, sessions and descriptors. */
  private async end(descriptorsBefore: number): Promise<void> {
    const { broker } = this;
    const restarts = await broker.metric('ringmq_worker_restarts_total');
    if (restarts !== 0) this.problems.push(`${restarts} workers were replaced`);
    await Promise.all([...this.loads.map((load) => load.end({ stop: true })), this.probe.end({ stop: true })]);
    const limitMs = performance.now() + endLimitMs;
    const left = async (): Promise<string[]> => {
      const [connections, sessions] = [
        await broker.metric('ringmq_connections_open'),
        await broker.metric('ringmq_mqtt_sessions'),
      ];
      const descriptors = descriptorCount(broker.pid) - descriptorsBefore;
      return [
        ...(connections === 0 ? [] : [`${connections} connections are counted after all have gone`]),
        ...(sessions === 0 ? [] : [`${sessions} sessions are left after all have gone`]),
        ...(descriptors <= 20 ? [] : [`${descriptors} descriptors are left after all have gone`]),
      ];
    };
    let remains = await left();
    while (remains.length > 0 && performance.now() < limitMs) {
      await sleep(100);
      remains = await left();
    }
    this.problems.push(...remains);
  }
}
