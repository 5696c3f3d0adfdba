/**
 * An LMDB environment with one writer: rows of bytes, and commits that are durable when they are answered. Thread: the one that holds the
 * store. Rules and their reasons are in the architecture notes of the placement store, which keeps them as well: `overlappingSync` off (a
 * commit is fdatasync and a synchronous write of the meta page), `safeRestore` (always the last synced transaction), a watchdog over
 * each commit, and after any error of a commit nothing is trusted any more.
 */

import { mkdirSync } from 'node:fs';
import { open, type RootDatabase, type RootDatabaseOptionsWithPath } from 'lmdb';
import { EngineFailedError } from '../../core/streams/store-engine.ts';

export interface RowChange {
  readonly key: Buffer;
  /** Null removes the row. */
  readonly value: Buffer | null;
}

export interface Row {
  readonly key: Buffer;
  readonly value: Buffer;
}

interface Waiting {
  readonly changes: readonly RowChange[];
  resolve(): void;
  reject(error: Error): void;
}

export class Environment {
  readonly path: string;
  readonly #commitTimeoutMs: number;
  readonly #database: RootDatabase<Buffer, Buffer>;
  #waiting: Waiting[] = [];
  #isCommitting = false;
  #failure: EngineFailedError | null = null;

  constructor(path: string, mapBytes: number, commitTimeoutMs: number) {
    this.path = path;
    this.#commitTimeoutMs = commitTimeoutMs;
    mkdirSync(path, { recursive: true });
    const options: RootDatabaseOptionsWithPath & { readonly safeRestore: boolean } = {
      path,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      overlappingSync: false,
      safeRestore: true,
      // One commit is one explicit batch; batching by turns would add promises that nobody handles when a commit fails.
      eventTurnBatching: false,
      cache: false,
      maxDbs: 1,
      mapSize: mapBytes,
    };
    this.#database = open(options);
  }

  /** Null when there is none. */
  get(key: Buffer): Buffer | null {
    const value = this.#database.get(key);
    return value === undefined ? null : Buffer.from(value);
  }

  /** Rows in [start, end), in order; backwards with `isReverse`. Copies. The loop that walks over them must not wait. */
  *rows(start: Buffer, end: Buffer, limit: number, isReverse = false): Generator<Row> {
    const bounds = isReverse ? { start: end, exclusiveStart: true, end: start, inclusiveEnd: true } : { start, end };
    for (const { key, value } of this.#database.getRange({ ...bounds, reverse: isReverse, limit })) {
      yield { key: Buffer.from(key), value: Buffer.from(value) };
    }
  }

  /** All changes in one transaction; what several callers ask for meanwhile goes together. @throws EngineFailedError */
  commit(changes: readonly RowChange[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) reject(this.#failure);
      else this.#waiting.push({ changes, resolve, reject });
      if (!this.#isCommitting && this.#waiting.length > 0) void this.#run();
    });
  }

  async close(): Promise<void> {
    // After a failure LMDB may never answer.
    if (this.#failure === null) await this.#database.close();
    else void this.#database.close().catch(() => undefined);
  }

  async #run(): Promise<void> {
    this.#isCommitting = true;
    while (this.#waiting.length > 0) {
      const together = this.#waiting.splice(0);
      const error = await this.#write(together.flatMap(({ changes }) => changes));
      if (error !== null) this.#failure = error;
      else this.#database.resetReadTxn();
      for (const { resolve, reject } of together) {
        if (error === null) resolve();
        else reject(error);
      }
      if (error !== null) for (const { reject } of this.#waiting.splice(0)) reject(error);
    }
    this.#isCommitting = false;
  }

  /** Never rejects. */
  #write(changes: readonly RowChange[]): Promise<EngineFailedError | null> {
    const database = this.#database;
    return new Promise((resolve) => {
      const fail = (reason: unknown): void => {
        clearTimeout(watchdog);
        resolve(new EngineFailedError(`Cannot commit to "${this.path}": ${String(reason)}`, { cause: reason }));
      };
      const watchdog = setTimeout(
        () => fail(`LMDB gave no answer within ${this.#commitTimeoutMs} ms`),
        this.#commitTimeoutMs,
      );
      const done = database.batch(() => {
        for (const { key, value } of changes) {
          // Resolved with the batch; inside of one the promise says nothing.
          if (value === null) void database.remove(key);
          else void database.put(key, value);
        }
      });
      done.then(
        () => {
          clearTimeout(watchdog);
          resolve(null);
        },
        (error: unknown) => explain(error, fail),
      );
    });
  }
}

/** The error of a failed commit carries the cause as a promise that rejects, or never comes. */
function explain(error: unknown, fail: (reason: unknown) => void): void {
  const { commitError } = error as { readonly commitError?: unknown };
  if (commitError instanceof Promise) commitError.catch(fail);
  setImmediate(() => setImmediate(() => fail(error)));
}
