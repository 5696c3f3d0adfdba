/**
 * One connection to PostgreSQL, and what the server must be like. The package `pg` is loaded here, with the first connection. Thread: the one
 * that holds the store; used by the engine beside it.
 */

import type { Client, QueryArrayConfig } from 'pg';
import type { DatabaseTarget } from '../../core/settings/database-settings.ts';
import { Interruptible, type PooledConnection } from '../../core/streams/engine-pool.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { EngineFailedError, EngineLostError } from '../../core/streams/store-engine.ts';
import { toError } from '../../std/errors.ts';
import { connectError, statementError } from './errors.ts';

export interface ConnectionOptions {
  readonly connectTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly allowUnsafe: boolean;
  /** Whether there was no connection yet. */
  readonly isFirst: boolean;
}

/** A prepared statement: its text is sent once for each connection. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** Everything comes as text but `bytea`. */
export type Row = readonly (string | Buffer | null)[];
export type Parameter = string | number | Buffer | null | readonly (string | number)[];

/** What the package has no public way to: the end of a connection that does not answer. */
interface WithStream {
  readonly connection: { readonly stream: { destroy(): void } };
}

const versionMin = 130_000;
const byteaType = 17;
const goodbyeMsMax = 2_000;

const parseText = (value: string): string => value;
/** `\x` and two hexadecimal digits for each byte. */
const parseBytea = (value: string): Buffer => Buffer.from(value.slice(2), 'hex');
const types = { getTypeParser: (type: number) => (type === byteaType ? parseBytea : parseText) };

/** @throws EngineFailedError when it is not installed */
async function loadClient(): Promise<typeof Client> {
  try {
    return (await import('pg')).default.Client;
  } catch (error) {
    throw new EngineFailedError(`the package "pg" is not installed: ${toError(error).message}`, { cause: error });
  }
}

export class PostgresConnection implements PooledConnection {
  readonly #client: Client;
  readonly #calls = new Interruptible();

  private constructor(client: Client) {
    this.#client = client;
    client.on('error', (error) => this.#break(error));
    client.on('end', () => this.#break(new Error('The server closed the connection')));
  }

  /** @throws StorageError STORAGE_UNAVAILABLE, EngineFailedError */
  static async open(target: DatabaseTarget, options: ConnectionOptions): Promise<PostgresConnection> {
    const ClientClass = await loadClient();
    const { host, port, user, database, tls } = target;
    try {
      const client = new ClientClass({
        host,
        port,
        user,
        database,
        password: await target.password(),
        ssl: tls === null ? false : { ...tls },
        connectionTimeoutMillis: options.connectTimeoutMs,
        keepAlive: true,
        keepAliveInitialDelayMillis: 10_000,
        application_name: 'ringmq',
        lock_timeout: options.lockTimeoutMs,
      });
      const connection = new PostgresConnection(client);
      try {
        await connection.#calls.run(() => client.connect());
        await connection.#within(options.connectTimeoutMs, () => connection.#prepareSession(options.allowUnsafe));
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

  /** @throws EngineLostError; StorageError when nothing was stored for sure */
  async run(statement: Statement, values: readonly Parameter[] = []): Promise<readonly Row[]> {
    try {
      return await this.query({ ...statement, values: [...values] });
    } catch (error) {
      throw statementError(error);
    }
  }

  /** Errors as they are. */
  async query(query: { readonly name?: string; readonly text: string; readonly values?: unknown[] }): Promise<Row[]> {
    const config: QueryArrayConfig = { ...query, rowMode: 'array', types };
    const { rows } = await this.#calls.run(() => this.#client.query<(string | Buffer | null)[]>(config));
    return rows;
  }

  /** In one transaction; all of it or nothing. Errors as they are. */
  async transaction(work: () => Promise<void>): Promise<void> {
    await this.query({ text: 'BEGIN' });
    try {
      await work();
    } catch (error) {
      // A connection that is gone takes its transaction with it.
      if (!this.isBroken) await this.query({ text: 'ROLLBACK' });
      throw error;
    }
    await this.query({ text: 'COMMIT' });
  }

  destroy(): void {
    this.#break(new Error('The connection was given up'));
  }

  async end(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, goodbyeMsMax);
    await Promise.race([this.#client.end().catch(() => undefined), promise]);
    clearTimeout(timer);
    this.destroy();
  }

  async #prepareSession(allowUnsafe: boolean): Promise<void> {
    const names = ['server_version_num', 'fsync', 'synchronous_commit', 'transaction_read_only'];
    const columns = names.map((name) => `current_setting('${name}')`);
    const [row] = await this.query({ text: `SELECT ${columns.join(', ')}, version()` });
    const [version, fsync, commit, readOnly, text] = row;
    if (Number(version) < versionMin) {
      throw new EngineFailedError(`the server is ${text}: version 13 is the oldest that is supported`);
    }
    if (readOnly === 'on') {
      throw new StorageError('STORAGE_UNAVAILABLE', 'PostgreSQL: the server is read-only, as a standby is');
    }
    if (fsync !== 'on' && !allowUnsafe) {
      throw new EngineFailedError(`the server can lose committed records in a crash: its setting fsync is ${fsync}`);
    }
    // Everything else waits at least until the commit is on the server's own disk.
    if (commit === 'off') await this.query({ text: 'SET synchronous_commit = on' });
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
    this.#calls.interrupt(new EngineLostError(`PostgreSQL: ${error.message}`, { cause: error }));
    (this.#client as unknown as WithStream).connection.stream.destroy();
  }
}
