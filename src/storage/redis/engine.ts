/**
 * The storage engine on Redis: each run of batches is one field of a hash, found over a stream of small entries. Thread: the
 * one that holds the store; made by `index.ts`, called by the front of the store.
 *
 * A run is stored by one script, under the condition that the partition has this id and writer and ends where the run
 * begins; so the fence is exact. With `appendfsync always` Redis answers after the sync, and one sync serves all
 * scripts that arrived together: the runs of all partitions are sent without waiting for each other. Whoever reads
 * something gets the answer after the sync of it, too.
 */
import type { StreamSettings } from '../../core/ports/stream-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import {
  type EngineClaim,
  type EngineHandle,
  EngineLostError,
  type EngineOutcome,
  type EnginePeek,
  type EnginePiece,
  type EnginePlaces,
  type EngineRun,
  type StoreEngine,
} from '../../core/streams/store-engine.ts';
import type { Logger } from '../../observability/log.ts';
import { RedisConnection, Script } from './connection.ts';
import * as scripts from './scripts.ts';
import type { RedisSettings } from './settings.ts';

const append = new Script(scripts.appendScript);
const change = new Script(scripts.changeScript);
const claim = new Script(scripts.claimScript);
const create = new Script(scripts.createScript);
const deleteRuns = new Script(scripts.deleteScript);
const findTime = new Script(scripts.findTimeScript);
const forgetName = new Script(scripts.forgetNameScript);
const places = new Script(scripts.placesScript);
const read = new Script(scripts.readScript);
const remove = new Script(scripts.removeScript);
const saveProducers = new Script(scripts.saveProducersScript);

/** Other clients of the server wait while a script runs, so that long work goes in steps. */
const runsPerDelete = 500;
const entriesPerScan = 1000;
const namesPerStep = 1000;

export class RedisEngine implements StoreEngine {
  readonly adapter = 'redis';
  readonly runBytesMax = 1024 * 1024;
  /** A value can have 512 MB; but Redis is one thread, and the value is copied twice. */
  readonly appendBytesMax = 64 * 1024 * 1024;
  /** What is sent meanwhile is synced together by the server. */
  readonly writesMax = 16;
  readonly #settings: RedisSettings;
  readonly #log: Logger;
  #connecting: Promise<RedisConnection> | null = null;

  constructor(settings: RedisSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
  }

  async open(): Promise<void> {
    await this.#connection();
  }

  reset(): void {
    const connecting = this.#connecting;
    this.#connecting = null;
    connecting?.then(
      (connection) => connection.close(),
      () => undefined,
    );
  }

  async close(): Promise<void> {
    this.reset();
  }

  async names(): Promise<readonly string[]> {
    const connection = await this.#connection();
    const known = asTexts(await connection.ask('HKEYS', [this.#namesKey]));
    const found: string[] = [];
    for (let at = 0; at < known.length; at += namesPerStep) {
      const step = known.slice(at, at + namesPerStep);
      // The list is written after the partition, and may tell of one that is gone.
      const there = await Promise.all(step.map((name) => connection.ask('EXISTS', [this.#metaKey(name)])));
      found.push(...step.filter((_, index) => Number(there[index]) === 1));
    }
    return found;
  }

  async create(name: string, id: string, settings: StreamSettings): Promise<'created' | 'exists'> {
    const answer = await this.#write(create, [this.#metaKey(name)], [id, JSON.stringify(settings)]);
    const found = String(answer);
    await this.#list(name, found);
    return found === id ? 'created' : 'exists';
  }

  async remove(name: string, id: string): Promise<void> {
    await this.#write(remove, this.#keys({ name, id }), [id]);
    await this.#write(forgetName, [this.#namesKey], [name, id]);
  }

  async claim(name: string): Promise<EngineClaim | null> {
    const answer = await this.#write(claim, [this.#metaKey(name)], []);
    if (!Array.isArray(answer)) return null;
    const [id, writer, start, end, size, settings, producers] = answer as (Buffer | null)[];
    const handle = { name, id: String(id), writer: Number(writer) };
    // An earlier `create` may have ended before it could do so.
    await this.#list(name, handle.id);
    return {
      handle,
      startOffset: Number(start),
      endOffset: Number(end),
      sizeBytes: Number(size),
      settings: JSON.parse(String(settings)) as StreamSettings,
      producers: producers ?? null,
    };
  }

  async peek(name: string): Promise<EnginePeek | null> {
    const connection = await this.#connection();
    const fields = ['id', 'writer', 'start', 'end', 'size', 'settings'];
    const answer = (await connection.ask('HMGET', [this.#metaKey(name), ...fields])) as (Buffer | null)[];
    const [id, writer, start, end, size, settings] = answer.map((field) => (field === null ? null : String(field)));
    if (id === null || settings === null) return null;
    const handle = { name, id, writer: Number(writer) };
    const [oldest = null] = await this.pieces(handle, Number(start), 1);
    const places = { startOffset: Number(start), endOffset: Number(end), sizeBytes: Number(size) };
    return { id, writer: handle.writer, settings: JSON.parse(settings) as StreamSettings, ...places, oldest };
  }

  async places(handle: EngineHandle): Promise<EnginePlaces | null> {
    const connection = await this.#connection();
    const keys = [this.#metaKey(handle.name)];
    const { needsConfirm } = connection;
    // What is seen has to be as durable as what is answered to an append.
    const answer = needsConfirm
      ? await this.#write(places, keys, [handle.id, '1'])
      : await connection.read(places, keys, [handle.id, '0']);
    if (!Array.isArray(answer)) return null;
    const [startOffset, endOffset, sizeBytes] = answer.map(Number);
    return { startOffset, endOffset, sizeBytes };
  }

  async change(handle: EngineHandle, settings: StreamSettings): Promise<void> {
    const answer = await this.#write(change, [this.#metaKey(handle.name)], [handle.id, JSON.stringify(settings)]);
    if (Number(answer) === 1) return;
    throw new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot change partition "${handle.name}": it is gone`);
  }

  async append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]> {
    const connection = await this.#connection();
    const outcomes = await Promise.all(runs.map((run) => this.#appendOne(connection, run)));
    if (await connection.confirm().catch(() => false)) return outcomes;
    return outcomes.map((outcome) => (outcome === 'stored' ? 'lost' : outcome));
  }

  async read(handle: EngineHandle, offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    const connection = await this.#connection();
    return (await connection.read(read, this.#keys(handle), [handle.id, offset + 1, bytesMax])) as Buffer[];
  }

  async pieces(handle: EngineHandle, from: number, limit: number): Promise<readonly EnginePiece[]> {
    const connection = await this.#connection();
    const [, index] = this.#keys(handle);
    const entries = (await connection.ask('XRANGE', [index, `${from + 1}-0`, '+', 'COUNT', limit])) as [
      Buffer,
      Buffer[],
    ][];
    return entries.map(([id, fields]) => ({
      baseOffset: Number(fields[1]),
      endOffset: Number.parseInt(String(id), 10),
      maxTimestamp: Number(fields[3]),
      bytes: Number(fields[7]),
    }));
  }

  async findTime(handle: EngineHandle, from: number, timestamp: number): Promise<number | null> {
    const connection = await this.#connection();
    const [, index] = this.#keys(handle);
    const answer = await connection.read(findTime, [index], [from + 1, timestamp]);
    if (answer === null) return null;
    if (String(answer) !== 'scan') return Number(answer);
    for (let at = from; ; ) {
      const pieces = await this.pieces(handle, at, entriesPerScan);
      const found = pieces.find((piece) => piece.maxTimestamp >= timestamp);
      if (found !== undefined) return found.baseOffset;
      const last = pieces.at(-1);
      if (last === undefined) return null;
      at = last.endOffset;
    }
  }

  async deleteBefore(handle: EngineHandle, offset: number): Promise<'deleted' | 'fenced'> {
    for (;;) {
      const args = [handle.id, handle.writer, offset, runsPerDelete];
      const count = Number(await this.#write(deleteRuns, this.#keys(handle), args));
      if (count < 0) return 'fenced';
      if (count < runsPerDelete) return 'deleted';
    }
  }

  async saveProducers(handle: EngineHandle, offset: number, snapshot: Buffer): Promise<void> {
    await this.#write(saveProducers, [this.#metaKey(handle.name)], [handle.id, handle.writer, offset, snapshot]);
  }

  async #appendOne(connection: RedisConnection, run: EngineRun): Promise<EngineOutcome> {
    const { handle, baseOffset, endOffset, maxTimestamp, bytes } = run;
    const args = [handle.id, handle.writer, baseOffset, endOffset, maxTimestamp, bytes];
    try {
      const answer = String(await connection.write(append, this.#keys(handle), args));
      return answer === 'stored' || answer === 'conflict' || answer === 'fenced' ? answer : 'lost';
    } catch (error) {
      return error instanceof StorageError ? error : 'lost';
    }
  }

  /** A write that is as durable as it has to be when it is answered. */
  async #write(script: Script, keys: readonly string[], args: readonly (string | number | Buffer)[]): Promise<unknown> {
    const connection = await this.#connection();
    const answer = await connection.write(script, keys, args);
    if (await connection.confirm()) return answer;
    throw new EngineLostError('Redis did not confirm a write in time');
  }

  async #list(name: string, id: string): Promise<void> {
    const connection = await this.#connection();
    await connection.tell('HSET', [this.#namesKey, name, id]);
    if (!(await connection.confirm())) throw new EngineLostError('Redis did not confirm a write in time');
  }

  async #connection(): Promise<RedisConnection> {
    this.#connecting ??= RedisConnection.open(this.#settings, this.#log);
    const connecting = this.#connecting;
    try {
      const connection = await connecting;
      if (connection.isUsable) return connection;
      throw new EngineLostError('The connection to Redis broke');
    } catch (error) {
      // The next call tries anew.
      if (this.#connecting === connecting) this.reset();
      throw error;
    }
  }

  get #namesKey(): string {
    return `${this.#settings.prefix}names`;
  }

  #metaKey(name: string): string {
    return `${this.#settings.prefix}{${name}}:meta`;
  }

  #keys({ name, id }: { readonly name: string; readonly id: string }): readonly [string, string, string] {
    const partition = `${this.#settings.prefix}{${name}}:`;
    return [`${partition}meta`, `${partition}${id}:index`, `${partition}${id}:bytes`];
  }
}

function asTexts(answer: unknown): string[] {
  return Array.isArray(answer) ? answer.map(String) : [];
}
