/**
 * The storage adapter `mysql`, for MySQL and MariaDB: runs of batches as rows of a table, one row each. What the front may count on is in
 * `store-engine.ts`; how it is kept here:
 *
 *   - an append is one transaction: it moves the ends of the partitions, under the condition that they are where the runs begin and that
 *     the writer is the newest, and adds the rows. Its answer comes behind the commit, which is on the server's disk
 *   - a writer takes a partition by a larger epoch; what an older one sends from then on does not meet the condition
 *   - a transaction that is lost with its connection before the commit was sent is rolled back by the server. InnoDB shows a commit to
 *     others before it is on the disk, so whoever looks for a lost one (`places`, `claim`) commits a change of its own behind it first
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
import { MysqlConnection, type Row, type Value } from './connection.ts';
import { isDuplicate } from './errors.ts';
import { groupsOf, insertSizes } from './insertions.ts';
import { prepareSchema } from './schema.ts';
import { type MysqlSettings, mysqlKind } from './settings.ts';
import { purgeAtOnce, type Statements, statementsFor } from './statements.ts';

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;
const idleMs = 8_000;
/**
 * Longer than any pause between two statements, and than connections are kept that nobody uses. So long a transaction can hold its
 * partition whose connection broke without a word between a statement and the commit.
 */
const silenceMs = 15_000;
/** What a statement has beside the bytes of a run. */
const packetReserve = 64 * kibibyte;
/** Pieces that one read looks at. */
const piecesMin = 8;
const piecesMax = 4_096;

/** What is known of a partition by its key. */
interface Known {
  readonly key: number;
  /** Largest timestamp of all that was sent for it, stored or not. */
  reachedTimestamp: number;
  /** About how long a piece is. */
  pieceBytes: number;
}

interface KnownRun {
  readonly run: EngineRun;
  readonly known: Known;
  readonly reachedTimestamp: number;
}

export class MysqlEngine implements StoreEngine {
  readonly adapter = 'mysql';
  readonly runBytesMax = 256 * kibibyte;
  readonly writesMax: number;
  readonly #settings: MysqlSettings;
  readonly #statements: Statements;
  readonly #appends: EnginePool<MysqlConnection>;
  readonly #others: EnginePool<MysqlConnection>;
  /** By id of the partition. */
  readonly #known = new Map<string, Known>();
  /** Keys of partitions with rows that nobody needs. */
  readonly #cleaner = new EngineCleaner((key) => this.#cleanOne(key));
  #packetBytesMax = 64 * mebibyte;
  #isFirst = true;

  /** @throws Error when settings do not fit together */
  constructor(settings: MysqlSettings) {
    this.#settings = settings;
    this.#statements = statementsFor(settings.tablePrefix);
    const target = databaseTarget(mysqlKind, settings);
    const connect = async (isForTransactions: boolean): Promise<MysqlConnection> => {
      const { connectTimeoutMs, lockTimeoutMs, allowUnsafe } = settings;
      const limits = { connectTimeoutMs, lockTimeoutMs, allowUnsafe, silenceMs };
      const connection = await MysqlConnection.open(target, { ...limits, isForTransactions, isFirst: this.#isFirst });
      this.#packetBytesMax = connection.packetBytesMax;
      return connection;
    };
    this.writesMax = Math.max(1, Math.floor(settings.connections / 3));
    this.#appends = new EnginePool({ size: this.writesMax, idleMs, connect: () => connect(true) });
    const others = settings.connections - this.writesMax;
    this.#others = new EnginePool({ size: others, idleMs, connect: () => connect(false) });
  }

  /** What fits into a statement, by the setting `max_allowed_packet` of the server. */
  get appendBytesMax(): number {
    return Math.max(0, Math.min(64 * mebibyte, this.#packetBytesMax - packetReserve));
  }

  async open(): Promise<void> {
    await this.#others.run((connection) => prepareSchema(connection, this.#settings.tablePrefix));
    this.#isFirst = false;
    await this.#change(this.#statements.forget);
    for (const [key] of await this.#rows(this.#statements.unpurged)) this.#cleaner.cleanLater(Number(key));
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
    return (await this.#rows(this.#statements.names)).map(([name]) => String(name));
  }

  async create(name: string, id: string, settings: StreamSettings): Promise<'created' | 'exists'> {
    try {
      const made = await this.#change(this.#statements.create, [name, id, JSON.stringify(settings), id]);
      if (made > 0) return 'created';
    } catch (error) {
      if (!(error instanceof StorageError && isDuplicate(error.cause))) throw error;
    }
    const [row] = await this.#rows(this.#statements.idOf, [name]);
    return row !== undefined && row[0] === id ? 'created' : 'exists';
  }

  async remove(name: string, id: string): Promise<void> {
    const { keyToRemove, remove, noteRemoved } = this.#statements;
    const key = await this.#transaction(async (connection) => {
      const [row] = await connection.rows(keyToRemove, [name, id]);
      if (row === undefined) return null;
      await connection.change(remove, [row[0]]);
      await connection.change(noteRemoved, [row[0], id]);
      return Number(row[0]);
    });
    this.#known.delete(id);
    if (key !== null) this.#cleaner.cleanLater(key);
  }

  async claim(name: string): Promise<EngineClaim | null> {
    const found = await this.#raiseWriter(name);
    if (found === null) return null;
    const [key, id, writer, settings, startOffset, endOffset, sizeBytes, maxTimestamp] = found.row;
    const known = { key: Number(key), reachedTimestamp: Number(maxTimestamp), pieceBytes: kibibyte };
    this.#known.set(String(id), known);
    // A writer before this one may have been interrupted.
    this.#cleaner.cleanLater(known.key);
    return {
      handle: { name, id: String(id), writer: Number(writer) },
      settings: JSON.parse(String(settings)) as StreamSettings,
      startOffset: Number(startOffset),
      endOffset: Number(endOffset),
      sizeBytes: Number(sizeBytes),
      producers: found.snapshots.length === 0 ? null : bytesOf(found.snapshots[0][0]),
    };
  }

  /** The row as it is then, and the producers; null when there is none. Another broker may be quicker, and then it is the next one's turn. */
  async #raiseWriter(name: string): Promise<{ readonly row: Row; readonly snapshots: readonly Row[] } | null> {
    const { writerOf, raiseWriter, claimed, producers } = this.#statements;
    for (;;) {
      const [before] = await this.#rows(writerOf, [name]);
      if (before === undefined) return null;
      const found = await this.#transaction(async (connection) => {
        if ((await connection.change(raiseWriter, [name, before[0]])) === 0) return null;
        const [row] = await connection.rows(claimed, [name]);
        return { row, snapshots: await connection.rows(producers, [row[0]]) };
      });
      if (found !== null) return found;
    }
  }

  async peek(name: string): Promise<EnginePeek | null> {
    const [row] = await this.#rows(this.#statements.claimed, [name]);
    if (row === undefined) return null;
    const [key, id, writer, settings, start, end, size] = row;
    const [oldest = null] = await this.#piecesOf(Number(key), Number(start), 1);
    const places = { startOffset: Number(start), endOffset: Number(end), sizeBytes: Number(size) };
    const kept = JSON.parse(String(settings)) as StreamSettings;
    return { id: String(id), writer: Number(writer), settings: kept, ...places, oldest };
  }

  async places(handle: EngineHandle): Promise<EnginePlaces | null> {
    const row = await this.#look(handle);
    if (row === null) return null;
    const [startOffset, endOffset, sizeBytes] = row.map(Number);
    return { startOffset, endOffset, sizeBytes };
  }

  async change({ id, writer }: EngineHandle, settings: StreamSettings): Promise<void> {
    await this.#change(this.#statements.change, [JSON.stringify(settings), id, writer]);
  }

  async append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]> {
    const wanted: KnownRun[] = [];
    for (const run of runs) {
      const known = this.#known.get(run.handle.id);
      if (known === undefined) continue;
      known.reachedTimestamp = Math.max(known.reachedTimestamp, run.maxTimestamp);
      wanted.push({ run, known, reachedTimestamp: known.reachedTimestamp });
    }
    const outcomes = new Map<string, EngineOutcome>();
    if (await this.#store(wanted)) for (const { run } of wanted) outcomes.set(run.handle.id, 'stored');
    else for (const each of wanted) outcomes.set(each.run.handle.id, await this.#storeAlone(each, wanted.length));
    return runs.map(({ handle }) => outcomes.get(handle.id) ?? 'fenced');
  }

  async read(handle: EngineHandle, offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    const known = this.#knownOf(handle);
    const count = Math.min(piecesMax, Math.max(piecesMin, Math.ceil((2 * bytesMax) / known.pieceBytes)));
    const pieces = await this.pieces(handle, offset, count);
    let bytes = 0;
    let last = -1;
    for (const piece of pieces) {
      if (bytes >= bytesMax) break;
      bytes += piece.bytes;
      last = piece.baseOffset;
    }
    if (last < 0) return [];
    const rows = await this.#rows(this.#statements.read, [known.key, pieces[0].baseOffset, last]);
    const buffers = rows.map(([content]) => bytesOf(content));
    known.pieceBytes = Math.max(1, Math.ceil(bytes / Math.max(1, buffers.length)));
    return buffers;
  }

  async pieces(handle: EngineHandle, from: number, limit: number): Promise<readonly EnginePiece[]> {
    return await this.#piecesOf(this.#knownOf(handle).key, from, limit);
  }

  async #piecesOf(key: number, from: number, limit: number): Promise<readonly EnginePiece[]> {
    const [before] = await this.#rows(this.#statements.pieceAt, [key, from]);
    const base = before === undefined ? from : Number(before[0]);
    const rows = await this.#rows(this.#statements.pieces, [key, base, from, limit]);
    return rows.map((row) => {
      const [baseOffset, endOffset, maxTimestamp, bytes] = row.map(Number);
      return { baseOffset, endOffset, maxTimestamp, bytes };
    });
  }

  async findTime(handle: EngineHandle, from: number, timestamp: number): Promise<number | null> {
    const { key } = this.#knownOf(handle);
    const [before] = await this.#rows(this.#statements.pieceAt, [key, from]);
    const reached = before === undefined ? timestamp : Math.max(timestamp, Number(before[1]));
    const [row] = await this.#rows(this.#statements.findTime, [key, reached, timestamp, from]);
    return row === undefined ? null : Number(row[0]);
  }

  async deleteBefore({ id, writer }: EngineHandle, offset: number): Promise<'deleted' | 'fenced'> {
    const { lockStart, sizeBetween, moveStart } = this.#statements;
    const key = await this.#transaction(async (connection) => {
      const [row] = await connection.rows(lockStart, [id, writer]);
      if (row === undefined) return null;
      const [partitionKey, start] = row.map(Number);
      if (start >= offset) return partitionKey;
      const [[size]] = await connection.rows(sizeBetween, [partitionKey, start, offset, offset]);
      await connection.change(moveStart, [offset, Number(size), partitionKey]);
      return partitionKey;
    });
    if (key === null) return 'fenced';
    this.#cleaner.cleanLater(key);
    return 'deleted';
  }

  async saveProducers({ id, writer }: EngineHandle, offset: number, snapshot: Buffer): Promise<void> {
    const { lockStart, snapshotOffset, saveProducers } = this.#statements;
    await this.#transaction(async (connection) => {
      const [mine] = await connection.rows(lockStart, [id, writer]);
      if (mine === undefined) return;
      const [before] = await connection.rows(snapshotOffset, [mine[0]]);
      if (before !== undefined && Number(before[0]) > offset) return;
      await connection.change(saveProducers, [mine[0], offset, snapshot]);
    });
  }

  // --- appends ---

  /** All of them or none; false when one has no place. */
  async #store(wanted: readonly KnownRun[]): Promise<boolean> {
    if (wanted.length === 0) return true;
    const sorted = [...wanted].sort((one, other) => one.known.key - other.known.key);
    return await this.#appends.run((connection) =>
      connection.transaction(async (rollback) => {
        if ((await this.#moveEnds(connection, sorted)) !== sorted.length) return rollback(false);
        await this.#insert(connection, sorted);
        return true;
      }),
    );
  }

  /** `count` of 1: it was tried alone already. What goes wrong now is told for this run alone: others of the call may be stored. */
  async #storeAlone(wanted: KnownRun, count: number): Promise<EngineOutcome> {
    const { handle } = wanted.run;
    try {
      if (count > 1 && (await this.#store([wanted]))) return 'stored';
      const row = await this.#look(handle);
      return row === null || row[3] !== handle.writer ? 'fenced' : 'conflict';
    } catch (error) {
      return error instanceof StorageError ? error : 'lost';
    }
  }

  async #moveEnds(connection: MysqlConnection, wanted: readonly KnownRun[]): Promise<number> {
    const { moveEnd, moveEnds } = this.#statements;
    if (wanted.length === 1) {
      const [{ run, known, reachedTimestamp }] = wanted;
      const { handle, baseOffset, endOffset, bytes } = run;
      const values = [endOffset, reachedTimestamp, bytes.length, known.key, baseOffset, handle.writer];
      return await connection.change(moveEnd, values);
    }
    const rows = wanted.map(({ run, known, reachedTimestamp }) => {
      const { handle, baseOffset, endOffset, bytes } = run;
      return [known.key, handle.writer, baseOffset, endOffset, reachedTimestamp, bytes.length];
    });
    return await connection.change(moveEnds, [JSON.stringify(rows)]);
  }

  async #insert(connection: MysqlConnection, wanted: readonly KnownRun[]): Promise<void> {
    for (const group of groupsOf(wanted, ({ run }) => run.bytes.length, connection.packetBytesMax - packetReserve)) {
      let at = 0;
      for (const count of insertSizes(group.length)) {
        const rows = group.slice(at, at + count);
        await connection.change(this.#statements.insert(count), rows.flatMap(rowOf));
        at += count;
      }
    }
  }

  // --- helpers ---

  /** Start, end, size and writer as they are on the disk; null when the partition is gone. */
  async #look({ id }: EngineHandle): Promise<Row | null> {
    const { look, places } = this.#statements;
    return await this.#transaction(async (connection) => {
      await connection.change(look, [id]);
      const [row] = await connection.rows(places, [id]);
      return row ?? null;
    });
  }

  #knownOf({ id, name }: EngineHandle): Known {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    throw new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot find partition "${name}": it was removed`);
  }

  async #rows(text: string, values: readonly Value[] = []): Promise<readonly Row[]> {
    return await this.#others.run((connection) => connection.rows(text, values));
  }

  async #change(text: string, values: readonly Value[] = []): Promise<number> {
    return await this.#others.run((connection) => connection.change(text, values));
  }

  async #transaction<T>(work: (connection: MysqlConnection) => Promise<T>): Promise<T> {
    return await this.#others.run((connection) => connection.transaction(() => work(connection)));
  }

  // --- what nobody needs any more ---

  async #cleanOne(key: number): Promise<void> {
    const { startOf, purgePieces, purgeProducers, purged } = this.#statements;
    const [partition] = await this.#rows(startOf, [key]);
    const below = partition === undefined ? Number.MAX_SAFE_INTEGER : Number(partition[0]);
    for (;;) {
      const gone = await this.#change(purgePieces, [key, below, below]);
      if (this.#cleaner.isClosed) return;
      if (gone < purgeAtOnce) break;
    }
    if (partition !== undefined) return;
    await this.#change(purgeProducers, [key]);
    await this.#change(purged, [key]);
  }
}

function rowOf({ run, known, reachedTimestamp }: KnownRun): Value[] {
  const { baseOffset, endOffset, maxTimestamp, bytes } = run;
  return [known.key, baseOffset, endOffset, maxTimestamp, reachedTimestamp, bytes.length, bytes];
}

function bytesOf(value: Value): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
}
