/**
 * One connection to MySQL or MariaDB. The package `mysql2` is loaded here, with the first connection. Thread: the one that holds the store;
 * used by the engine beside it.
 */

import type { Connection, ResultSetHeader, RowDataPacket, TypedParameter, TypedParameterValue } from 'mysql2/promise';
import type { DatabaseTarget } from '../../core/settings/database-settings.ts';
import { Interruptible, type PooledConnection } from '../../core/streams/engine-pool.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { EngineFailedError, EngineLostError } from '../../core/streams/store-engine.ts';
import { toError } from '../../std/errors.ts';
import { connectError, statementError } from './errors.ts';
import { checkServer } from './server-check.ts';

export interface ConnectionOptions {
  readonly connectTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly allowUnsafe: boolean;
  /** For transactions alone: one begins with the first statement, which saves a way to the server and back. */
  readonly isForTransactions: boolean;
  /** The server rolls back and closes what says nothing for so long. */
  readonly silenceMs: number;
  /** Whether there was no connection yet. */
  readonly isFirst: boolean;
}

export type Value = string | number | Buffer | null;
/** Integers come as numbers, `LONGBLOB` as buffers. */
export type Row = readonly Value[];

const goodbyeMsMax = 2_000;

/** What the package has no public way to. */
interface WithStream {
  readonly connection: { readonly stream: { destroy(): void } };
}

type Library = typeof import('mysql2/promise');
type IntegerParameter = TypedParameter['BIGINT'];

/** @throws EngineFailedError when it is not installed */
async function loadLibrary(): Promise<Library> {
  try {
    return (await import('mysql2/promise')).default as unknown as Library;
  } catch (error) {
    throw new EngineFailedError(`the package "mysql2" is not installed: ${toError(error).message}`, { cause: error });
  }
}

export class MysqlConnection implements PooledConnection {
  /** Longest statement that the server takes, with its parameters. */
  packetBytesMax = 0;
  readonly #connection: Connection;
  readonly #integer: IntegerParameter;
  readonly #isForTransactions: boolean;
  readonly #calls = new Interruptible();

  private constructor(connection: Connection, integer: IntegerParameter, isForTransactions: boolean) {
    this.#connection = connection;
    this.#integer = integer;
    this.#isForTransactions = isForTransactions;
    const lost = (error: Error): void => this.#break(error);
    connection.on('error', lost);
    connection.on('end', () => this.#break(new Error('The server closed the connection')));
  }

  /** @throws StorageError STORAGE_UNAVAILABLE, EngineFailedError */
  static async open(target: DatabaseTarget, options: ConnectionOptions): Promise<MysqlConnection> {
    const library = await loadLibrary();
    const { host, port, user, database, tls } = target;
    try {
      const raw = await library.createConnection({
        ...(host.startsWith('/') ? { socketPath: host } : { host, port }),
        user,
        database,
        password: await target.password(),
        ...(tls === null ? {} : { ssl: { ...tls, verifyIdentity: tls.rejectUnauthorized } }),
        connectTimeout: options.connectTimeoutMs,
        enableKeepAlive: true,
        keepAliveInitialDelay: 10_000,
        rowsAsArray: true,
      });
      const connection = new MysqlConnection(raw, library.TypedParameter.BIGINT, options.isForTransactions);
      try {
        await connection.#within(options.connectTimeoutMs, () => connection.#prepareSession(options));
      } catch (error) {
        connection.destroy();
        throw error;
      }
      return connection;
    } catch (error) {
      throw connectError(error, options.isFirst);
    }
  }

  get isBroken(): boolean {
    return this.#calls.isInterrupted;
  }

  /** Rows of a prepared statement. @throws EngineLostError; StorageError when nothing was stored for sure */
  async rows(text: string, values: readonly Value[] = []): Promise<readonly Row[]> {
    const parameters = values.map((value) => this.#parameter(value));
    return await this.#statement(async () => {
      const [rows] = await this.#connection.execute<RowDataPacket[][]>({ sql: text, rowsAsArray: true }, parameters);
      return rows as unknown as readonly Row[];
    });
  }

  /** Does what a prepared statement says; answers how many rows it met. Throws as `rows` does. */
  async change(text: string, values: readonly Value[] = []): Promise<number> {
    const parameters = values.map((value) => this.#parameter(value));
    return await this.#statement(async () => {
      const [{ affectedRows }] = await this.#connection.execute<ResultSetHeader>(text, parameters);
      return affectedRows;
    });
  }

  /** Something without parameters and rows; errors as they are. */
  async command(text: string): Promise<void> {
    await this.#calls.run(() => this.#connection.query(text));
  }

  /**
   * Commits when `work` answers, and takes all of it back when it throws or answers `rollback`. Throws what `work` throws, which says that
   * nothing is stored when it is a StorageError; EngineLostError when the commit has no answer.
   */
  async transaction<T>(work: (rollback: <R>(answer: R) => R) => Promise<T>): Promise<T> {
    let isRolledBack = false;
    const rollback = <R>(answer: R): R => {
      isRolledBack = true;
      return answer;
    };
    if (!this.#isForTransactions) await this.#statement(() => this.command('START TRANSACTION'));
    const answer = await this.#orRollback(() => work(rollback));
    if (isRolledBack) {
      await this.#rollback();
      return answer;
    }
    try {
      await this.command('COMMIT');
    } catch (error) {
      this.destroy();
      throw statementError(error, true);
    }
    return answer;
  }

  destroy(): void {
    this.#break(new Error('The connection was given up'));
  }

  async end(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, goodbyeMsMax);
    await Promise.race([this.#connection.end().catch(() => undefined), promise]);
    clearTimeout(timer);
    this.destroy();
  }

  async #orRollback<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.#rollback();
      // What is rolled back, or dies with its connection, has not happened: the commit was never sent.
      if (!(error instanceof EngineLostError)) throw error;
      throw new StorageError('STORAGE_UNAVAILABLE', error.message, { cause: error });
    }
  }

  /** A connection that cannot even do that is given up, and the server does it. */
  async #rollback(): Promise<void> {
    if (this.isBroken) return;
    try {
      await this.command('ROLLBACK');
    } catch {
      this.destroy();
    }
  }

  async #statement<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await this.#calls.run(call);
    } catch (error) {
      throw statementError(error);
    }
  }

  /** A number would be sent as a floating-point one. */
  #parameter(value: Value): string | Buffer | null | TypedParameterValue {
    return typeof value === 'number' ? this.#integer(value) : value;
  }

  async #prepareSession(options: ConnectionOptions): Promise<void> {
    const settings = [
      'innodb_flush_log_at_trx_commit',
      'log_bin',
      'sync_binlog',
      'binlog_format',
      'read_only',
      'max_allowed_packet',
    ];
    const columns = settings.map((name) => `@@global.${name}`);
    const [row] = await this.rows(`SELECT version(), ${columns.join(', ')}`);
    const [version, flush, hasBinaryLog, sync, format, readOnly, packetBytesMax] = row.map(String);
    const facts = {
      version,
      flushLogAtCommit: Number(flush),
      hasBinaryLog: hasBinaryLog === '1',
      syncBinaryLog: Number(sync),
      binaryLogFormat: format,
    };
    checkServer(facts, options.allowUnsafe);
    if (readOnly === '1') {
      throw new StorageError('STORAGE_UNAVAILABLE', 'MySQL: the server is read-only, as a replica is');
    }
    this.packetBytesMax = Number(packetBytesMax);
    const lockS = Math.max(1, Math.ceil(options.lockTimeoutMs / 1000));
    // Rows are found by unique keys: gaps between them need no locks.
    await this.command('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    if (this.#isForTransactions) await this.command('SET SESSION autocommit = 0');
    await this.command(
      `SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = ${lockS}, wait_timeout = ${Math.ceil(options.silenceMs / 1000)}`,
    );
  }

  /** A server that falls silent now must not keep a place among the connections. */
  async #within(limitMs: number, work: () => Promise<void>): Promise<void> {
    const timer = setTimeout(() => this.#break(new Error('The server is silent')), limitMs);
    try {
      await work();
    } finally {
      clearTimeout(timer);
    }
  }

  #break(error: Error): void {
    if (this.#calls.isInterrupted) return;
    this.#calls.interrupt(new EngineLostError(`MySQL: ${error.message}`, { cause: error }));
    // The package says goodbye at most, which waits for a server that does not answer.
    (this.#connection as unknown as WithStream).connection.stream.destroy();
  }
}
