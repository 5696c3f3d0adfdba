/**
 * The process of the endurance program that measures how long messages take from a publisher to a subscriber, and that holds the slow
 * subscribers. Led by `connections-run.ts` over IPC; ends when it is told to or its parent is gone.
 */
import process from 'node:process';
import { LatencyCounts } from '../../src/journal/bench/latency-counts.ts';
import { disconnect, type Level, PacketType, puback, publish } from './packets.ts';
import {
  type PhaseKind,
  type Pooled,
  type PooledFigures,
  type ProbeClass,
  type ProbeFigures,
  type ProbeMessage,
  type ProbeOptions,
  type ProbeReport,
  probeClasses,
} from './probe-messages.ts';
import { packetIdAt, type Reading, type WireHandler, WireSocket } from './wire-socket.ts';

const tickMs = 5;
const problemsMax = 30;
const slowTopic = 'probe/slow';

/** Exact to 10 us up to a second. */
class Latencies {
  private count = 0;
  private readonly tens = new LatencyCounts();

  add(us: number): void {
    this.count++;
    this.tens.add(us / 10, 1);
  }

  merge(other: Latencies): void {
    this.count += other.count;
    this.tens.merge(other.tens);
  }

  figures(): ProbeFigures {
    const { p50Us, p99Us } = this.tens.figures();
    return { count: this.count, p50Us: p50Us * 10, p99Us: p99Us * 10 };
  }
}

type OfClass<T> = Record<ProbeClass, T>;

function ofClasses<T>(make: (name: ProbeClass) => T): OfClass<T> {
  return Object.fromEntries(probeClasses.map((name) => [name, make(name)])) as OfClass<T>;
}

const newHalves = (): OfClass<[Latencies, Latencies]> => ofClasses(() => [new Latencies(), new Latencies()]);

let phase = ofClasses(() => new Latencies());
let phaseKind: PhaseKind | null = null;
/** Every second phase of a kind belongs to the same half. */
const halves = { without: newHalves(), withSlow: newHalves() };
const phases = { without: 0, withSlow: 0 };
let isMeasuring = false;
let sent = 0;
let received = 0;
const problems: string[] = [];

function problem(what: string): void {
  if (problems.length < problemsMax) problems.push(what);
}

function beginPhase(kind: PhaseKind | null): void {
  phase = ofClasses(() => new Latencies());
  phaseKind = kind;
  isMeasuring = true;
}

function endPhase(): void {
  isMeasuring = false;
  if (phaseKind === null) return;
  const half = phases[phaseKind]++ % 2;
  for (const name of probeClasses) halves[phaseKind][name][half]?.merge(phase[name]);
  phaseKind = null;
}

function pooledOf(kind: PhaseKind): OfClass<PooledFigures> {
  return ofClasses((name) => {
    const [even, odd] = halves[kind][name];
    const all = new Latencies();
    all.merge(even);
    all.merge(odd);
    return { all: all.figures(), halves: [even.figures(), odd.figures()] };
  });
}

const pooled = (): Pooled => ({ without: pooledOf('without'), withSlow: pooledOf('withSlow') });

/** A subscriber, a publisher, or both; the last eight bytes of a payload are the time at which it was sent. */
class Probe implements WireHandler {
  readonly socket: WireSocket;
  private readonly name: string;
  private readonly group: 'pairs' | 'same topic';
  private nextId = 1;

  constructor(
    options: ProbeOptions,
    name: string,
    level: Level,
    group: 'pairs' | 'same topic',
    filter: { topic: string; qos: number },
    reading: Reading = 'all',
  ) {
    this.name = name;
    this.group = group;
    const identity = { level, clientId: `probe-${name}`, keepAliveS: 0, filters: [filter] };
    this.socket = new WireSocket({ port: options.port, localAddress: '127.0.0.1' }, identity, this, reading);
  }

  publish(topic: string, qos: number, payload: Buffer): void {
    if (!this.socket.isReady) return;
    if (this.socket.unsentBytes > 4_000_000) {
      problem(`probe ${this.name}: the broker does not read what is published`);
      return;
    }
    payload.writeBigUInt64BE(process.hrtime.bigint(), payload.length - 8);
    const id = qos === 0 ? 0 : this.nextId;
    if (qos > 0) this.nextId = id === 65_535 ? 1 : id + 1;
    this.socket.write(publish(topic, payload, id));
    sent++;
  }

  onReady(): void {}

  onPacket(type: number, bytes: Buffer, start: number, end: number): void {
    if (type !== PacketType.publish) return;
    received++;
    const qos = ((bytes[start] ?? 0) >> 1) & 3;
    if (qos > 0) this.socket.write(puback(bytes.readUInt16BE(packetIdAt(bytes, start))));
    if (!isMeasuring) return;
    const us = Number(process.hrtime.bigint() - bytes.readBigUInt64BE(end - 8)) / 1_000;
    const name = `${this.group}, QoS ${qos}` as ProbeClass;
    if (name in phase) phase[name].add(us);
  }

  onProblem(what: string): void {
    problem(`probe ${this.name}: ${what}`);
  }
}

class Probes {
  private readonly options: ProbeOptions;
  private readonly pairs: { readonly subscriber: Probe; readonly publisher: Probe; readonly topic: string }[] = [];
  private readonly fanOut: Probe[] = [];
  private readonly fanOutPublisher: Probe;
  private slow: WireSocket[] = [];
  private round = 0;
  private readonly startMs = performance.now();
  private pairsDone = 0;
  private fanOutDone = 0;
  private readonly small = Buffer.alloc(64);
  private readonly large: Buffer;
  slowBytes = 0;

  constructor(options: ProbeOptions) {
    this.options = options;
    this.large = Buffer.alloc(options.fanOutBytes);
    const own = (name: string) => ({ topic: `probe/own/${name}`, qos: 0 });
    for (let pair = 0; pair < options.pairs; pair++) {
      const topic = `probe/pair/${pair}`;
      const level = pair % 2 === 0 ? 4 : 5;
      const subscriber = new Probe(options, `sub-${pair}`, level, 'pairs', { topic, qos: 1 });
      const publisher = new Probe(options, `pub-${pair}`, 4, 'pairs', own(`pub-${pair}`));
      this.pairs.push({ subscriber, publisher, topic });
    }
    for (let at = 0; at < options.fanOutSubscribers; at++) {
      const level = at % 4 < 2 ? 4 : 5;
      this.fanOut.push(new Probe(options, `fan-${at}`, level, 'same topic', { topic: slowTopic, qos: at % 2 }));
    }
    this.fanOutPublisher = new Probe(options, 'fan-pub', 4, 'same topic', own('fan-pub'));
    setInterval(() => this.tick(), tickMs);
  }

  /** What is due by now, spread over the pairs. After a pause of this process it does not make up for more than a little. */
  private tick(): void {
    const seconds = (performance.now() - this.startMs) / 1_000;
    const pairsDue = Math.floor(seconds * this.options.pairPerS * this.options.pairs);
    const fanOutDue = Math.floor(seconds * this.options.fanOutPerS);
    this.pairsDone = Math.max(this.pairsDone, pairsDue - 50);
    this.fanOutDone = Math.max(this.fanOutDone, fanOutDue - 10);
    for (; this.pairsDone < pairsDue; this.pairsDone++) {
      const pair = this.pairs[this.pairsDone % this.pairs.length];
      const qos = Math.floor(this.pairsDone / this.pairs.length) % 2;
      pair?.publisher.publish(pair.topic, qos, this.small);
    }
    for (; this.fanOutDone < fanOutDue; this.fanOutDone++) {
      // QoS 1, which subscribers of QoS 0 get with QoS 0.
      this.fanOutPublisher.publish(slowTopic, 1, this.large);
    }
  }

  /** One that never reads and one that reads a byte a second, of QoS 1 and 0 in turn. */
  come(): void {
    this.round++;
    const make = (name: string, qos: number, reading: Reading): WireSocket =>
      new Probe(this.options, `${name}-${this.round}`, 4, 'same topic', { topic: slowTopic, qos }, reading).socket;
    this.slow = [make('deaf', this.round % 2, 'nothing'), make('trickle', (this.round + 1) % 2, 'a byte a second')];
  }

  go(): void {
    this.slowBytes = this.slow.at(1)?.bytesRead ?? 0;
    for (const socket of this.slow) socket.leave('reset');
    this.slow = [];
  }

  close(): void {
    this.go();
    for (const { subscriber, publisher } of this.pairs) {
      for (const { socket } of [subscriber, publisher]) socket.leave('disconnect', disconnect);
    }
    for (const { socket } of [...this.fanOut, this.fanOutPublisher]) socket.leave('disconnect', disconnect);
  }

  report(): ProbeReport {
    return {
      figures: ofClasses((name) => phase[name].figures()),
      pooled: pooled(),
      sent,
      received,
      slowBytes: this.slow.at(1)?.bytesRead ?? this.slowBytes,
      problems: [...problems],
    };
  }
}

let probes: Probes | null = null;
process.on('message', (message: ProbeMessage) => {
  if ('start' in message) probes = new Probes(message.start);
  else if ('slow' in message) {
    if (message.slow === 'come') probes?.come();
    else probes?.go();
  } else if ('measure' in message) {
    if (message.measure === 'begin') beginPhase(message.kind);
    else {
      endPhase();
      process.send?.(probes?.report());
    }
  } else {
    probes?.close();
    setTimeout(() => process.exit(0), 300);
  }
});
process.on('disconnect', () => process.exit(1));
