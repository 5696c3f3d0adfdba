/**
 * The storage adapter `postgres`: runs of batches as rows of a table, one row each. What the front may count on is in `store-engine.ts`; how
 * it is kept here:
 *
 *   - an append is one statement, so one transaction: it moves the ends of the partitions, under the condition that they are where the runs
 *     begin and that the writer is the newest, and adds the rows. Its answer comes behind the commit, which is on the server's disk
 *   - a writer takes a partition by a larger epoch; what an older one sends from then on does not meet the condition
 *   - a statement that is lost with its connection happens wholly or not at all, now or later; nothing stays locked for it
 *
 * Thread: the one that holds the store.
 */

import type { StreamSettings } from '../../core/ports/stream-store.ts';
import { databaseTarget } from '../../core/settings/database-settings.ts';
import { EngineCleaner } from '../../core/streams/engine-cleaner.ts';
import { EnginePool } from '../../core/streams/engine-pool.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import type {
  EngineClaim,
  EngineHandle,
  EngineOutcome,
  EnginePeek,
  EnginePiece,
  EnginePlaces,
  EngineRun,
  StoreEngine,
} from '../../core/streams/store-engine.ts';
import { type Parameter, PostgresConnection, type Row, type Statement } from './connection.ts';
import { prepareSchema } from './schema.ts';
import { type PostgresSettings, postgresKind } from './settings.ts';
import { purgeAtOnce, type Statements, statementsFor } from './statements.ts';

const kibibyte = 1024;
const idleMs = 60_000;
/** Pieces that one read looks at. */
const piecesMin = 8;
const piecesMax = 4_096;

export class PostgresEngine implements StoreEngine {
  readonly adapter = 'postgres';
  readonly runBytesMax = 256 * kibibyte;
  readonly appendBytesMax = 64 * kibibyte * kibibyte;
  readonly writesMax: number;
  readonly #settings: PostgresSettings;
  readonly #statements: Statements;
  readonly #appends: EnginePool<PostgresConnection>;
  readonly #others: EnginePool<PostgresConnection>;
  /** By id of the partition: how its rows are found. */
  readonly #keys = new Map<string, number>();
  /** By key: about how long a piece is. */
  readonly #pieceBytes = new Map<number, number>();
  /** Keys of partitions with rows that nobody needs. */
  readonly #cleaner = new EngineCleaner((key) => this.#cleanOne(key));
  #isFirst = true;

  /** @throws Error when settings do not fit together */
  constructor(settings: PostgresSettings) {
    this.#settings = settings;
    this.#statements = statementsFor(settings.schema);
    const target = databaseTarget(postgresKind, settings);
    const connect = async (): Promise<PostgresConnection> => {
      const { connectTimeoutMs, lockTimeoutMs, allowUnsafe } = settings;
      const options = { connectTimeoutMs, lockTimeoutMs, allowUnsafe, isFirst: this.#isFirst };
      return await PostgresConnection.open(target, options);
    };
    this.writesMax = Math.max(1, Math.floor(settings.connections / 3));
    this.#appends = new EnginePool({ size: this.writesMax, idleMs, connect });
    this.#others = new EnginePool({ size: settings.connections - this.writesMax, idleMs, connect });
  }

  async open(): Promise<void> {
    await this.#others.run((connection) => prepareSchema(connection, this.#settings.schema));
    this.#isFirst = false;
    await this.#run(this.#statements.forget);
    for (const [key] of await this.#run(this.#statements.unpurged)) this.#cleaner.cleanLater(numberOf(key));
  }

  reset(): void {
    this.#appends.reset();
    this.#others.reset();
  }

  async close(): Promise<void> {
    this.#cleaner.stop();
    await Promise.all([this.#appends.close(), this.#others.close()]);
    await this.#cleaner.idle();
  }

  async names(): Promise<readonly string[]> {
    return (await this.#run(this.#statements.names)).map(([name]) => textOf(name));
  }

  async create(name: string, id: string, settings: StreamSettings): Promise<'created' | 'exists'> {
    const made = await this.#run(this.#statements.create, [name, id, JSON.stringify(settings)]);
    if (made.length > 0) return 'created';
    const [row] = await this.#run(this.#statements.idOf, [name]);
    return row !== undefined && textOf(row[0]) === id ? 'created' : 'exists';
  }

  async remove(name: string, id: string): Promise<void> {
    await this.#run(this.#statements.remove, [name, id]);
    const key = this.#keys.get(id);
    if (key === undefined) return;
    this.#keys.delete(id);
    this.#pieceBytes.delete(key);
    this.#cleaner.cleanLater(key);
  }

  async claim(name: string): Promise<EngineClaim | null> {
    const row = await this.#raiseWriter(name);
    if (row === null) return null;
    const [key, id, writer, settings, startOffset, endOffset, sizeBytes] = row;
    const [producers] = await this.#run(this.#statements.producers, [numberOf(key)]);
    this.#keys.set(textOf(id), numberOf(key));
    // A writer before this one may have been interrupted.
    this.#cleaner.cleanLater(numberOf(key));
    return {
      handle: { name, id: textOf(id), writer: numberOf(writer) },
      settings: JSON.parse(textOf(settings)) as StreamSettings,
      startOffset: numberOf(startOffset),
      endOffset: numberOf(endOffset),
      sizeBytes: numberOf(sizeBytes),
      producers: producers === undefined ? null : bytesOf(producers[0]),
    };
  }

  /** The row as it is then; null when there is none. Another broker may be quicker, and then it is the next one's turn. */
  async #raiseWriter(name: string): Promise<Row | null> {
    const { writerOf, claim } = this.#statements;
    for (;;) {
      const [before] = await this.#run(writerOf, [name]);
      if (before === undefined) return null;
      const [row] = await this.#run(claim, [name, numberOf(before[0])]);
      if (row !== undefined) return row;
    }
  }

  async peek(name: string): Promise<EnginePeek | null> {
    const [row] = await this.#run(this.#statements.peek, [name]);
    if (row === undefined) return null;
    const [key, id, writer, settings, ...places] = row;
    const [startOffset, endOffset, sizeBytes] = places.map(numberOf);
    const [oldest = null] = await this.#piecesOf(numberOf(key), startOffset, 1);
    const known = {
      id: textOf(id),
      writer: numberOf(writer),
      settings: JSON.parse(textOf(settings)) as StreamSettings,
    };
    return { ...known, startOffset, endOffset, sizeBytes, oldest };
  }

  async places(handle: EngineHandle): Promise<EnginePlaces | null> {
    const [row] = await this.#run(this.#statements.places, [handle.id]);
    if (row === undefined) return null;
    const [startOffset, endOffset, sizeBytes] = row.map(numberOf);
    return { startOffset, endOffset, sizeBytes };
  }

  async change({ id, writer }: EngineHandle, settings: StreamSettings): Promise<void> {
    await this.#run(this.#statements.change, [id, writer, JSON.stringify(settings)]);
  }

  async append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]> {
    const { append } = this.#statements;
    const stored = await this.#appends.run((connection) => connection.run(append, appendParameters(runs)));
    const ids = new Set(stored.map(([id]) => textOf(id)));
    return await Promise.all(runs.map(({ handle }) => (ids.has(handle.id) ? 'stored' : this.#whyNot(handle))));
  }

  async read(handle: EngineHandle, offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    const key = this.#keyOf(handle);
    const expected = this.#pieceBytes.get(key) ?? kibibyte;
    const count = Math.min(piecesMax, Math.max(piecesMin, Math.ceil((2 * bytesMax) / expected)));
    const rows = await this.#run(this.#statements.read, [key, offset, bytesMax, count]);
    const buffers = rows.map(([bytes]) => bytesOf(bytes));
    if (buffers.length > 0) {
      const bytes = buffers.reduce((sum, { length }) => sum + length, 0);
      this.#pieceBytes.set(key, Math.ceil(bytes / buffers.length));
    }
    return buffers;
  }

  async pieces(handle: EngineHandle, from: number, limit: number): Promise<readonly EnginePiece[]> {
    return await this.#piecesOf(this.#keyOf(handle), from, limit);
  }

  async #piecesOf(key: number, from: number, limit: number): Promise<readonly EnginePiece[]> {
    const rows = await this.#run(this.#statements.pieces, [key, from, limit]);
    return rows.map((row) => {
      const [baseOffset, endOffset, maxTimestamp, bytes] = row.map(numberOf);
      return { baseOffset, endOffset, maxTimestamp, bytes };
    });
  }

  async findTime(handle: EngineHandle, from: number, timestamp: number): Promise<number | null> {
    const [row] = await this.#run(this.#statements.findTime, [this.#keyOf(handle), from, timestamp]);
    return row === undefined ? null : numberOf(row[0]);
  }

  async deleteBefore({ id, writer }: EngineHandle, offset: number): Promise<'deleted' | 'fenced'> {
    const [row] = await this.#run(this.#statements.deleteBefore, [id, writer, offset]);
    if (row === undefined) return 'fenced';
    this.#cleaner.cleanLater(numberOf(row[0]));
    return 'deleted';
  }

  async saveProducers({ id, writer }: EngineHandle, offset: number, snapshot: Buffer): Promise<void> {
    await this.#run(this.#statements.saveProducers, [id, writer, offset, snapshot]);
  }

  /** Why a run was not stored, by what is there now. What goes wrong is told for this run alone: others of the call are stored. */
  async #whyNot({ id, writer }: EngineHandle): Promise<EngineOutcome> {
    try {
      const [row] = await this.#run(this.#statements.places, [id]);
      return row === undefined || numberOf(row[3]) !== writer ? 'fenced' : 'conflict';
    } catch (error) {
      return error instanceof StorageError ? error : 'lost';
    }
  }

  #keyOf({ id, name }: EngineHandle): number {
    const known = this.#keys.get(id);
    if (known !== undefined) return known;
    throw new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot find partition "${name}": it was removed`);
  }

  async #run(statement: Statement, values: readonly Parameter[] = []): Promise<readonly Row[]> {
    return await this.#others.run((connection) => connection.run(statement, values));
  }

  // --- what nobody needs any more ---

  async #cleanOne(key: number): Promise<void> {
    const { purgePieces, purgeProducers, purged } = this.#statements;
    for (;;) {
      const gone = await this.#run(purgePieces, [key]);
      if (this.#cleaner.isClosed) return;
      if (gone.length < purgeAtOnce) break;
    }
    await this.#run(purgeProducers, [key]);
    await this.#run(purged, [key]);
  }
}

function appendParameters(runs: readonly EngineRun[]): Parameter[] {
  let at = 1;
  const starts = runs.map(({ bytes }) => {
    const start = at;
    at += bytes.length;
    return start;
  });
  return [
    runs.map(({ handle }) => handle.id),
    runs.map(({ handle }) => handle.writer),
    runs.map(({ baseOffset }) => baseOffset),
    runs.map(({ endOffset }) => endOffset),
    runs.map(({ maxTimestamp }) => maxTimestamp),
    starts,
    runs.map(({ bytes }) => bytes.length),
    runs.length === 1 ? runs[0].bytes : Buffer.concat(runs.map(({ bytes }) => bytes)),
  ];
}

function textOf(value: string | Buffer | null): string {
  return typeof value === 'string' ? value : '';
}

function bytesOf(value: string | Buffer | null): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
}

function numberOf(value: string | Buffer | null): number {
  return Number(textOf(value));
}
