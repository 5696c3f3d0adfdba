/** Flags of `ringmq bench kv`, and the plan that they make. Main thread; called by `kv/command.ts`. */
import type { OptionSpec, ParsedArguments } from '../../arguments.ts';
import { UsageError } from '../../exit-codes.ts';

export const kvOptions: readonly OptionSpec[] = [
  { long: 'target', value: 'KIND', help: 'ringmq (default), or etcd (its v3 API)' },
  {
    long: 'endpoints',
    short: 'e',
    value: 'LIST',
    help: 'HOST:PORT, separated by commas; clients take them in turn (127.0.0.1:2379)',
  },
  { long: 'clients', short: 'c', value: 'COUNT', help: 'operations in flight, one per client (1)' },
  { long: 'channels', value: 'COUNT', help: 'HTTP/2 connections per endpoint (1)' },
  { long: 'lean', help: 'etcd: a client that costs a fraction of the gRPC library and leaves more of the machine' },
  {
    long: 'operations',
    short: 'o',
    value: 'KIND',
    help: 'set (default), get (linearizable), get-serializable, or mixed',
  },
  { long: 'read-share', value: 'SHARE', help: 'part of `mixed` that reads (0.5)' },
  { long: 'keys', short: 'k', value: 'COUNT', help: 'keys, taken at random; all are set before reads (1000)' },
  { long: 'key-bytes', value: 'BYTES', help: 'length of a key (8)' },
  { long: 'value-bytes', value: 'BYTES', help: 'length of a value (256)' },
  { long: 'seconds', short: 'd', value: 'SECONDS', help: 'measured time (10)' },
  { long: 'warm-up', value: 'SECONDS', help: 'time before it (1)' },
  { long: 'rate', short: 'r', value: 'PER_SECOND', help: 'operations a second (as fast as answers come)' },
  { long: 'seed', value: 'NUMBER', help: 'of the choice of keys (1)' },
  { long: 'pid', value: 'PID', help: 'process of the servers, any number of times: adds their CPU time per operation' },
  { long: 'strict', help: 'status 2 also when an operation fails' },
  { long: 'json', help: 'one JSON object on standard output instead of the report' },
  { long: 'quiet', help: 'no progress lines' },
  { long: 'help', help: 'this text' },
];

export const kvTargets = ['ringmq', 'etcd'] as const;
export type KvTargetName = (typeof kvTargets)[number];

export const kvOperations = ['set', 'get', 'get-serializable', 'mixed'] as const;
export type KvOperations = (typeof kvOperations)[number];

export interface KvPlan {
  readonly target: KvTargetName;
  readonly endpoints: readonly string[];
  readonly clients: number;
  readonly channels: number;
  readonly isLean: boolean;
  readonly operations: KvOperations;
  readonly readShare: number;
  readonly keys: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly durationMs: number;
  readonly warmUpMs: number;
  /** Operations a second over all clients; 0 for as fast as answers come. */
  readonly ratePerS: number;
  readonly seed: number;
  readonly serverPids: readonly number[];
  readonly isStrict: boolean;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

const CLIENTS_MAX = 100_000;
const KEYS_MAX = 10_000_000;
const CHANNELS_MAX = 1000;
const VALUE_BYTES_MAX = 1 << 20;
const KEY_BYTES_MAX = 1024;

/** Reads the plan. Throws `UsageError`. */
export function readKvPlan(parsed: ParsedArguments): KvPlan {
  const keys = parsed.integer('keys', 1000, 1, KEYS_MAX);
  const keyBytes = parsed.integer('key-bytes', 8, 1, KEY_BYTES_MAX);
  if (`${keys - 1}`.length > keyBytes) {
    throw new UsageError(`Cannot use --keys "${keys}": their numbers do not fit into keys of ${keyBytes} bytes`);
  }
  return {
    target: oneOf('target', parsed.text('target') ?? 'ringmq', kvTargets),
    endpoints: readEndpoints(parsed.text('endpoints') ?? '127.0.0.1:2379'),
    clients: parsed.integer('clients', 1, 1, CLIENTS_MAX),
    channels: parsed.integer('channels', 1, 1, CHANNELS_MAX),
    isLean: parsed.has('lean'),
    operations: oneOf('operations', parsed.text('operations') ?? 'set', kvOperations),
    readShare: parsed.number('read-share', 0.5, 0, 1),
    keys,
    keyBytes,
    valueBytes: parsed.integer('value-bytes', 256, 0, VALUE_BYTES_MAX),
    durationMs: parsed.number('seconds', 10, 0.1) * 1000,
    warmUpMs: parsed.number('warm-up', 1, 0) * 1000,
    ratePerS: parsed.number('rate', 0, 0),
    seed: parsed.integer('seed', 1, 1, 0xffffffff),
    serverPids: parsed.texts('pid').map(readPid),
    isStrict: parsed.has('strict'),
    isJson: parsed.has('json'),
    isQuiet: parsed.has('quiet'),
  };
}

function oneOf<T extends string>(flag: string, text: string, known: readonly T[]): T {
  const found = known.find((one) => one === text);
  if (found === undefined) throw new UsageError(`Cannot use --${flag} "${text}": expected ${known.join(', ')}`);
  return found;
}

function readEndpoints(text: string): readonly string[] {
  const endpoints = text
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');
  if (endpoints.length === 0 || endpoints.some((one) => !/^.+:\d{1,5}$/.test(one))) {
    throw new UsageError(`Cannot use --endpoints "${text}": expected HOST:PORT, separated by commas`);
  }
  return endpoints;
}

function readPid(text: string): number {
  const pid = Number(text);
  if (!Number.isInteger(pid) || pid < 1) throw new UsageError(`Cannot use --pid "${text}": expected a process number`);
  return pid;
}
