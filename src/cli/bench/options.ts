/** Flags of `ringmq bench`, and the plan that they make. Main thread; called by `commands/bench.ts`. */
import { readFileSync } from 'node:fs';
import { nearestName, type OptionSpec, type ParsedArguments } from '../arguments.ts';
import { UsageError } from '../exit-codes.ts';
import { HEADER_BYTES, MAX_PUBLISHERS } from './wire.ts';

export const benchOptions: readonly OptionSpec[] = [
  { long: 'host', short: 'h', value: 'HOST', help: 'broker (127.0.0.1)' },
  { long: 'port', short: 'p', value: 'PORT', help: 'its port (1883)' },
  { long: 'protocol-version', short: 'V', value: 'VERSION', help: '311 (default) or 5' },
  { long: 'username', short: 'u', value: 'NAME', help: 'user name' },
  { long: 'pw', short: 'P', value: 'PASSWORD', help: 'password' },
  { long: 'cafile', value: 'FILE', help: 'trusted certificates; turns TLS on' },
  { long: 'insecure', help: 'TLS without a check of who the server is' },
  { long: 'web-socket', help: 'over WebSocket, at the path /mqtt' },
  { long: 'durable', help: 'subscribers have sessions that the broker keeps (each run has its own)' },
  { long: 'clients', short: 'c', value: 'COUNT', help: 'connections, or pairs of 1:1, or the many side of a fan' },
  { long: 'publishers', value: 'COUNT', help: 'publishers' },
  { long: 'subscribers', value: 'COUNT', help: 'subscribers' },
  { long: 'topics', value: 'COUNT', help: 'publisher i uses topic i mod COUNT, subscriber j topic j mod COUNT' },
  {
    long: 'topic',
    short: 't',
    value: 'PREFIX',
    help: 'topics are PREFIX/0, PREFIX/1, … (bench, or bench-RANDOM with both sides)',
  },
  { long: 'wildcard', help: 'subscribers take PREFIX/#' },
  { long: 'qos', short: 'q', value: 'QOS', help: 'quality of service both ways (0)' },
  { long: 'size', short: 's', value: 'BYTES', help: 'payload (64)' },
  {
    long: 'rate',
    short: 'r',
    value: 'PER_SECOND',
    help: 'messages a second over all publishers (as fast as possible)',
  },
  { long: 'window', short: 'w', value: 'COUNT', help: 'QoS 1 and 2: unacknowledged messages per publisher (64)' },
  {
    long: 'max-undelivered',
    value: 'COUNT',
    help: 'QoS 0 without --rate: messages on their way, over all publishers (20000)',
  },
  { long: 'duration', short: 'd', value: 'SECONDS', help: 'measured time (10)' },
  { long: 'warm-up', value: 'SECONDS', help: 'time before it (1)' },
  { long: 'ramp-up', value: 'SECONDS', help: 'the load grows to full during this time, before the warm-up (0)' },
  { long: 'drain', value: 'SECONDS', help: 'longest wait for late messages at the end (3)' },
  { long: 'connect-rate', value: 'PER_SECOND', help: 'new connections a second (as fast as they are accepted)' },
  { long: 'connect-timeout', value: 'SECONDS', help: 'longest wait for one connection (20)' },
  { long: 'keepalive', short: 'k', value: 'SECONDS', help: 'keep-alive (60), 0 for none' },
  { long: 'bind', value: 'ADDRESSES', help: 'local addresses to connect from, separated by commas' },
  { long: 'pid', value: 'PID', help: 'process of the broker: adds its CPU time per message and its memory' },
  { long: 'strict', help: 'status 2 also for lost, duplicated or reordered messages and disconnections' },
  { long: 'json', help: 'one JSON object on standard output instead of the report' },
  { long: 'quiet', help: 'no progress lines' },
  { long: 'help', help: 'this text' },
];

export type BenchMode = 'connect' | 'pub' | 'sub' | 'fan-in' | 'fan-out' | '1:1';

export interface BenchTls {
  readonly ca: Buffer | undefined;
  readonly rejectUnauthorized: boolean;
}

export interface BenchPlan {
  readonly mode: BenchMode;
  readonly host: string;
  readonly port: number;
  readonly version: 4 | 5;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** Null without TLS. */
  readonly tls: BenchTls | null;
  readonly isWebSocket: boolean;
  /** Subscribers keep their sessions. */
  readonly isDurable: boolean;
  /** Connections that neither publish nor subscribe. */
  readonly idlers: number;
  readonly publishers: number;
  readonly subscribers: number;
  readonly topics: number;
  readonly topicPrefix: string;
  readonly isWildcard: boolean;
  readonly qos: 0 | 1 | 2;
  readonly payloadBytes: number;
  /** Messages a second over all publishers; 0 for as fast as possible. */
  readonly ratePerS: number;
  readonly window: number;
  readonly undeliveredMax: number;
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly rampUpMs: number;
  readonly drainMs: number;
  readonly connectRatePerS: number;
  readonly connectTimeoutMs: number;
  readonly keepAliveS: number;
  readonly localAddresses: readonly string[];
  readonly brokerPid: number | undefined;
  readonly isStrict: boolean;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

/** Default counts of a mode; `clients` is `--clients`, 0 when it is not given. */
interface ModeDefaults {
  readonly summary: string;
  readonly counts: (clients: number) => { idlers: number; publishers: number; subscribers: number; topics: number };
  readonly isWildcard: boolean;
}

export const benchModes = new Map<BenchMode, ModeDefaults>([
  [
    'connect',
    {
      summary: 'a storm of connections that then stay idle',
      counts: (clients) => ({ idlers: clients || 1000, publishers: 0, subscribers: 0, topics: 1 }),
      isWildcard: false,
    },
  ],
  [
    'pub',
    {
      summary: 'publishers alone',
      counts: (clients) => ({ idlers: 0, publishers: clients || 1, subscribers: 0, topics: clients || 1 }),
      isWildcard: false,
    },
  ],
  [
    'sub',
    {
      summary: 'subscribers alone; somebody else publishes',
      counts: (clients) => ({ idlers: 0, publishers: 0, subscribers: clients || 1, topics: 1 }),
      isWildcard: true,
    },
  ],
  [
    'fan-in',
    {
      summary: 'many publishers, each on its topic, to one subscriber',
      counts: (clients) => ({ idlers: 0, publishers: clients || 100, subscribers: 1, topics: clients || 100 }),
      isWildcard: true,
    },
  ],
  [
    'fan-out',
    {
      summary: 'one publisher to many subscribers of one topic',
      counts: (clients) => ({ idlers: 0, publishers: 1, subscribers: clients || 100, topics: 1 }),
      isWildcard: false,
    },
  ],
  [
    '1:1',
    {
      summary: 'pairs of a publisher and a subscriber, each on its own topic',
      counts: (clients) => ({ idlers: 0, publishers: clients || 1, subscribers: clients || 1, topics: clients || 1 }),
      isWildcard: false,
    },
  ],
]);

const versions = new Map<string, 4 | 5>([
  ['311', 4],
  ['3.1.1', 4],
  ['mqttv311', 4],
  ['5', 5],
  ['mqttv5', 5],
]);

const COUNT_MAX = 1_000_000;
const REMAINING_LENGTH_MAX = 268_435_455;

/** Reads the plan; positionals are `[mqtt] [MODE]`. Throws `UsageError`. */
export function readPlan(parsed: ParsedArguments): BenchPlan {
  const mode = readMode(parsed);
  const defaults = benchModes.get(mode);
  if (defaults === undefined) throw new UsageError(`Cannot run mode "${mode}": unknown`);
  const counts = defaults.counts(parsed.integer('clients', 0, 1, COUNT_MAX));
  const publishers = parsed.integer('publishers', counts.publishers, 0, MAX_PUBLISHERS);
  const subscribers = parsed.integer('subscribers', counts.subscribers, 0, COUNT_MAX);
  const version = versions.get((parsed.text('protocol-version') ?? '311').toLowerCase());
  if (version === undefined)
    throw new UsageError(`Cannot use -V "${parsed.text('protocol-version')}": expected 311 or 5`);
  const qos = parsed.integer('qos', 0, 0, 2) as 0 | 1 | 2;
  const tls = readTls(parsed);
  if (tls !== null && parsed.has('web-socket'))
    throw new UsageError('Cannot load over TLS and WebSocket together: give --cafile or --web-socket, not both');
  if (parsed.has('durable') && qos === 0)
    throw new UsageError('Cannot use --durable with QoS 0: a broker keeps nothing of it; add --qos 1 or 2');
  return {
    mode,
    host: parsed.text('host') ?? '127.0.0.1',
    port: parsed.integer('port', 1883, 1, 65535),
    version,
    username: parsed.text('username'),
    password: parsed.text('pw'),
    tls,
    isWebSocket: parsed.has('web-socket'),
    isDurable: parsed.has('durable'),
    idlers: counts.idlers,
    publishers,
    subscribers,
    topics: parsed.integer('topics', defaultTopics(mode, publishers, counts.topics), 1, COUNT_MAX),
    topicPrefix: parsed.text('topic') ?? defaultTopicPrefix(publishers > 0 && subscribers > 0),
    isWildcard: parsed.has('wildcard') || defaults.isWildcard,
    qos,
    payloadBytes: parsed.integer('size', 64, 0, REMAINING_LENGTH_MAX - 65_535 - 16),
    ratePerS: parsed.number('rate', 0, 0),
    window: parsed.integer('window', 64, 1, 65535),
    undeliveredMax: parsed.integer('max-undelivered', 20_000, 1),
    durationMs: parsed.number('duration', 10, 0.01) * 1000,
    warmUpMs: parsed.number('warm-up', mode === 'connect' ? 0 : 1) * 1000,
    rampUpMs: parsed.number('ramp-up', 0) * 1000,
    drainMs: parsed.number('drain', 3) * 1000,
    connectRatePerS: parsed.number('connect-rate', 0),
    connectTimeoutMs: parsed.number('connect-timeout', 20, 0.01) * 1000,
    keepAliveS: parsed.integer('keepalive', 60, 0, 65535),
    localAddresses: (parsed.text('bind') ?? '').split(',').filter((address) => address !== ''),
    brokerPid: parsed.has('pid') ? parsed.integer('pid', 0, 1) : undefined,
    isStrict: parsed.has('strict'),
    isJson: parsed.has('json'),
    isQuiet: parsed.has('quiet'),
  };
}

function readTls(parsed: ParsedArguments): BenchTls | null {
  const file = parsed.text('cafile');
  const isInsecure = parsed.has('insecure');
  if (file === undefined) return isInsecure ? { ca: undefined, rejectUnauthorized: false } : null;
  return { ca: readCertificates(file), rejectUnauthorized: !isInsecure };
}

function readCertificates(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UsageError(`Cannot read --cafile "${file}": ${(error as Error).message}`);
  }
}

/** Whether payloads have room for the sequence number and the send time. */
export function hasHeader(plan: BenchPlan): boolean {
  return plan.payloadBytes >= HEADER_BYTES;
}

/** How many subscribers each message reaches, on average over the publishers. */
export function deliveriesPerMessage(plan: BenchPlan): number {
  if (plan.isWildcard) return plan.subscribers;
  let reached = 0;
  for (let i = 0; i < plan.publishers; i++) reached += subscribersOfTopic(plan, i % plan.topics);
  return plan.publishers === 0 ? 0 : reached / plan.publishers;
}

/** Subscribers of topic number `topic`. */
export function subscribersOfTopic(plan: BenchPlan, topic: number): number {
  if (plan.isWildcard) return plan.subscribers;
  return topic < plan.subscribers ? Math.floor((plan.subscribers - 1 - topic) / plan.topics) + 1 : 0;
}

/** Two harnesses at one broker must not see each other's messages, unless one publishes for the other. */
function defaultTopicPrefix(hasBothSides: boolean): string {
  return hasBothSides ? `bench-${Math.floor(Math.random() * 0x1000000).toString(16)}` : 'bench';
}

function defaultTopics(mode: BenchMode, publishers: number, topics: number): number {
  return mode === 'pub' || mode === 'fan-in' || mode === '1:1' ? Math.max(1, publishers) : topics;
}

function readMode(parsed: ParsedArguments): BenchMode {
  const words = parsed.positionals[0] === 'mqtt' ? parsed.positionals.slice(1) : parsed.positionals;
  if (words.length > 1) throw new UsageError(`Cannot use "${words[1]}": expected one mode and options`);
  const word = words[0] ?? '1:1';
  for (const mode of benchModes.keys()) if (mode === word) return mode;
  const near = nearestName(word, [...benchModes.keys()]);
  const hint = near === undefined ? `expected one of ${[...benchModes.keys()].join(', ')}` : `did you mean ${near}?`;
  throw new UsageError(`Cannot run mode "${word}": unknown; ${hint}`);
}
