/**
 * Connections to Redis that nothing is hidden by: no queue while the server is away, no command that is sent twice by itself,
 * no connecting again but when the engine asks. Thread: the one that holds the store; owned by the engine beside it.
 *
 * Reads have a connection of their own, so that long answers, and writes that wait for replicas, do not hold each other up.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { Cluster, Redis } from 'ioredis';
import { StorageError } from '../../core/streams/storage-error.ts';
import { EngineLostError } from '../../core/streams/store-engine.ts';
import type { Logger } from '../../observability/log.ts';
import { toError } from '../../std/errors.ts';
import { type Durability, hasWaitAof, judgeDurability, type ServerFacts, versionProblem } from './durability.ts';
import type { RedisSettings } from './settings.ts';

type Argument = string | number | Buffer;
type Client = Redis | Cluster;

/** First words of errors after which nothing was done, and which pass: by themselves, or when an operator acts. */
const passingErrors = new Set([
  'BUSY',
  'CLUSTERDOWN',
  'LOADING',
  'MASTERDOWN',
  'NOAUTH',
  'NOPERM',
  'NOREPLICAS',
  'READONLY',
  'TRYAGAIN',
  'WRONGPASS',
]);
const roomErrors = new Set(['OOM', 'MISCONF']);

/** A script and the name under which a server that ran it before knows it. */
export class Script {
  readonly text: string;
  readonly sha: string;

  constructor(text: string) {
    this.text = text;
    this.sha = createHash('sha1').update(text).digest('hex');
  }
}

export class RedisConnection {
  readonly #settings: RedisSettings;
  readonly #log: Logger;
  readonly #reads: Client;
  readonly #writes: Client;
  #durability: Durability = { kind: 'none', reason: '' };
  #hasWaitAof = false;

  private constructor(settings: RedisSettings, log: Logger, reads: Client, writes: Client) {
    this.#settings = settings;
    this.#log = log;
    this.#reads = reads;
    this.#writes = writes;
  }

  /** @throws StorageError STORAGE_UNAVAILABLE, also when the server would not keep what it answers */
  static async open(settings: RedisSettings, log: Logger): Promise<RedisConnection> {
    const clients: Client[] = [];
    let problem = '';
    const note = (error: Error): void => {
      problem = textOf(error);
      log.debug('the connection to Redis broke', { reason: problem });
    };
    try {
      for (let count = 0; count < 2; count += 1) clients.push(await makeClient(settings, note));
      const [reads, writes] = clients;
      const connection = new RedisConnection(settings, log, reads, writes);
      await within(settings.connectLimitMs, Promise.all(clients.map((client) => client.connect())));
      await connection.#checkServers();
      return connection;
    } catch (error) {
      for (const client of clients) client.disconnect();
      if (error instanceof StorageError) throw error;
      // What the attempts ended with says more than that they ended.
      throw unavailable(`cannot connect to ${settings.address}: ${problem === '' ? textOf(error) : problem}`);
    }
  }

  /** Whether a write is only as durable as the settings ask after `confirm`. */
  get needsConfirm(): boolean {
    return this.#durability.kind === 'wait' || this.#settings.replicasMin > 0;
  }

  /** Whether it can be used; a client that lost its server stays lost. */
  get isUsable(): boolean {
    return this.#reads.status === 'ready' && this.#writes.status === 'ready';
  }

  /** @throws StorageError (nothing happened), EngineLostError (nobody knows) */
  read(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return runScript(this.#reads, script, keys, args);
  }

  /** As `read`. What it wrote may have to be confirmed. */
  write(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return runScript(this.#writes, script, keys, args);
  }

  /** One plain command that writes nothing; answers are buffers. */
  ask(command: string, args: readonly Argument[]): Promise<unknown> {
    return send(this.#reads, command, args);
  }

  /** One plain command that writes. */
  tell(command: string, args: readonly Argument[]): Promise<unknown> {
    return send(this.#writes, command, args);
  }

  /** Waits until all writes so far of this connection are where they have to be; false when the time is over. */
  async confirm(): Promise<boolean> {
    if (!this.needsConfirm) return true;
    const { replicasMin, replicasLimitMs } = this.#settings;
    const isLocal = this.#durability.kind === 'wait' ? 1 : 0;
    if (!this.#hasWaitAof) {
      return Number(await send(this.#writes, 'WAIT', [replicasMin, replicasLimitMs])) >= replicasMin;
    }
    const answer = await send(this.#writes, 'WAITAOF', [isLocal, replicasMin, replicasLimitMs]);
    const [local = 0, replicas = 0] = Array.isArray(answer) ? answer.map(Number) : [];
    return local >= isLocal && replicas >= replicasMin;
  }

  close(): void {
    for (const client of [this.#reads, this.#writes]) client.disconnect();
  }

  async #checkServers(): Promise<void> {
    if (!isCluster(this.#writes)) {
      await this.#checkServer(this.#writes);
      return;
    }
    if (this.#settings.replicasMin > 0) {
      throw unavailable('"replicasMin" cannot be kept in a cluster; use min-replicas-to-write on its servers');
    }
    for (const node of this.#writes.nodes('master')) await this.#checkServer(node);
    // Nodes that join, or come back, are checked like the first ones.
    this.#writes.on('+node', (node: Redis) => {
      this.#checkServer(node).catch((error: unknown) => {
        this.#log.error('a node of the cluster cannot be used', { reason: textOf(error) });
        this.close();
      });
    });
  }

  async #checkServer(client: Redis): Promise<void> {
    const facts = await factsOf(client);
    const problem = versionProblem(facts.version);
    if (problem !== '') throw unavailable(`the server cannot be used: ${problem}`);
    this.#hasWaitAof = hasWaitAof(facts.version);
    this.#durability = judgeDurability(facts, isCluster(this.#writes));
    if (this.#durability.kind !== 'none') return;
    const { reason } = this.#durability;
    if (!this.#settings.allowUnsafe) {
      throw unavailable(`the server at ${this.#settings.address} can lose what it answered: ${reason}`);
    }
    this.#log.warn('Redis can lose acknowledged records', { address: this.#settings.address, reason });
  }
}

/** The library's own limit is for one attempt to reach one node. */
function within<T>(limitMs: number, task: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`it is not ready after ${limitMs} ms`)), limitMs);
  return Promise.race([task, promise]).finally(() => clearTimeout(timer));
}

async function makeClient(settings: RedisSettings, onError: (error: Error) => void): Promise<Client> {
  // The package is optional: who keeps records elsewhere need not have it.
  const library = await import('ioredis');
  const [host, port] = splitAddress(settings.address);
  const { username, database, connectLimitMs } = settings;
  const password = await passwordOf(settings);
  const options = {
    ...(username === '' ? {} : { username }),
    ...(password === '' ? {} : { password }),
    ...(settings.tls === 'off' ? {} : { tls: await tlsOf(settings, host) }),
    protocol: 2 as const,
    connectTimeout: connectLimitMs,
    lazyConnect: true,
    enableReadyCheck: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    disableClientInfo: true,
  };
  const client =
    settings.mode === 'cluster'
      ? new library.Cluster([{ host, port }], {
          enableOfflineQueue: false,
          lazyConnect: true,
          enableReadyCheck: true,
          clusterRetryStrategy: () => null,
          redisOptions: options,
        })
      : new library.Redis({
          ...options,
          enableOfflineQueue: false,
          host,
          port,
          db: database,
          retryStrategy: () => null,
        });
  // Whoever waits for an answer learns of it from that; without a listener the process would end.
  client.on('error', onError);
  return client;
}

async function passwordOf({ password, passwordFile }: RedisSettings): Promise<string> {
  return passwordFile === '' ? password : (await readFile(passwordFile, 'utf8')).replace(/\r?\n$/, '');
}

async function tlsOf({ tls, tlsCa }: RedisSettings, servername: string): Promise<ConnectionOptions> {
  const ca = tlsCa === '' ? {} : { ca: await readFile(tlsCa) };
  const name = isIP(servername) === 0 ? { servername } : {};
  return { ...name, ...ca, rejectUnauthorized: tls === 'verify' };
}

function splitAddress(address: string): [string, number] {
  const colon = address.lastIndexOf(':');
  return [address.slice(0, colon).replace(/^\[|\]$/g, ''), Number(address.slice(colon + 1))];
}

function isCluster(client: Client): client is Cluster {
  return 'nodes' in client;
}

async function factsOf(client: Redis): Promise<ServerFacts> {
  const info = await send(client, 'INFO', ['server']);
  const version = /redis_version:([\d.]+)/.exec(String(info))?.[1] ?? '0';
  const values = new Map<string, string>();
  try {
    // Servers before version 7 take one pattern.
    for (const name of ['appendonly', 'appendfsync', 'maxmemory-policy']) {
      const pair = await send(client, 'CONFIG', ['GET', name]);
      if (Array.isArray(pair) && pair.length === 2) values.set(name, String(pair[1]));
    }
  } catch (error) {
    // Hosted servers forbid it, or have no such command; then nothing is known. Everything else is no answer at all.
    if (!/^(NOPERM|ERR)\b/.test(textOf(error).replace(/^.*?: /, ''))) throw error;
  }
  const value = (name: string): string | null => values.get(name) ?? null;
  return {
    version,
    appendOnly: value('appendonly'),
    appendFsync: value('appendfsync'),
    evictionPolicy: value('maxmemory-policy'),
  };
}

async function runScript(
  client: Client,
  script: Script,
  keys: readonly string[],
  args: readonly Argument[],
): Promise<unknown> {
  const rest = [keys.length, ...keys, ...args];
  try {
    return await client.callBuffer('EVALSHA', [script.sha, ...rest]);
  } catch (error) {
    if (!isReply(error) || !error.message.startsWith('NOSCRIPT')) throw engineError(error);
  }
  return send(client, 'EVAL', [script.text, ...rest]);
}

async function send(client: Client, command: string, args: readonly Argument[]): Promise<unknown> {
  try {
    return await client.callBuffer(command, [...args]);
  } catch (error) {
    throw engineError(error);
  }
}

/** The library's errors carry the command with all its arguments, secrets too: nothing but the text goes on. */
function engineError(thrown: unknown): Error {
  const text = textOf(thrown);
  if (!isReply(thrown)) return new EngineLostError(`The connection to Redis broke: ${text}`);
  const word = text.split(' ', 1)[0];
  if (roomErrors.has(word)) return new StorageError('STORAGE_DISK_FULL', `Redis refuses to write: ${text}`);
  if (word === 'RINGMQ_GONE') return new StorageError('STORAGE_PARTITION_UNKNOWN', 'The partition is gone from Redis');
  if (passingErrors.has(word)) return unavailable(text);
  return new StorageError('STORAGE_PARTITION_FAILED', `Redis answered: ${text}`);
}

function isReply(thrown: unknown): thrown is Error {
  return thrown instanceof Error && thrown.name === 'ReplyError';
}

function textOf(thrown: unknown): string {
  return toError(thrown).message;
}

function unavailable(reason: string): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `Cannot use Redis: ${reason}`);
}
