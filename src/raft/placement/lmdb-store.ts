/**
 * `StateStore` on LMDB: the metadata of the placement centre on disk. The Raft worker is the only writer; other threads of
 * the process read the same environment through `openLmdbReader`. The only importer of the package `lmdb`, with
 * docs and reasons of each setting in the reliability reference.
 *
 * Durability: with `overlappingSync` off a commit is fdatasync and a synchronous write of the meta page, then the
 * callback. `safeRestore` always opens the last synced transaction. After any commit error nothing may be trusted (the
 * kernel may have dropped the pages, and after an error on the meta page later commits never end), so the store is dead.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase, type RootDatabaseOptionsWithPath } from 'lmdb';
import { freeBytesOf } from '../../core/files/free-bytes.ts';
import { assert } from '../../std/assert.ts';
import type { Bytes, Done, StateStore, StateView, StoreChange, StorePair } from '../ports.ts';
import { sealBytes, sealInto, unseal } from './sealed-value.ts';

/** Longest key that LMDB takes with 4 KiB pages. */
const KEY_BYTES_MAX = 1_978;
const FIRST_KEY = Buffer.from([0]);
/** Above every key that is used: keys of the state begin with a small byte. */
const AFTER_LAST_KEY = Buffer.alloc(KEY_BYTES_MAX, 0xff);
const GIB = 1024 ** 3;
/** Memory that is kept for the values of the next commit. */
const SEALED_BYTES_KEPT = 32 * 1024 * 1024;

export interface LmdbStoreOptions {
  /** Folder of the environment; made when missing. */
  readonly path: string;
  /** Address space; the file is only as large as its content, and the map grows when it must. */
  readonly mapSizeBytes?: number;
  readonly readersMax?: number;
  /** A commit that takes longer has failed: LMDB may never answer after some errors. */
  readonly commitTimeoutMs?: number;
}

/** What can be read, on any thread. A thread sees one state of it per turn of its event loop, or until `refresh`. */
export interface StateReader {
  get(key: Bytes): Bytes | null;
  range(start: Bytes, end: Bytes | null, limit: number, isReverse?: boolean): readonly StorePair[];
  count(start: Bytes, end: Bytes | null): number;
  /** What follows sees the newest commit. */
  refresh(): void;
  close(): void;
}

export interface LmdbStateStore extends StateStore {
  /** Bytes that can still be written to the file system of the environment. */
  freeBytes(): number;
  /** `close`, and tells when the files are closed. */
  closed(): Promise<void>;
}

type Environment = RootDatabase<Buffer, Buffer>;
type ReadTransaction = ReturnType<Environment['useReadTransaction']>;

function openEnvironment(options: LmdbStoreOptions, isReadOnly: boolean): Environment {
  const settings: RootDatabaseOptionsWithPath & { readonly safeRestore: boolean } = {
    path: options.path,
    noSubdir: false,
    readOnly: isReadOnly,
    encoding: 'binary',
    keyEncoding: 'binary',
    overlappingSync: false,
    safeRestore: true,
    // One commit is one explicit batch; batching by turns would add promises that nobody handles when a commit fails.
    eventTurnBatching: false,
    cache: false,
    maxDbs: 1,
    mapSize: options.mapSizeBytes ?? 16 * GIB,
    maxReaders: options.readersMax ?? 256,
  };
  return open(settings);
}

/** Reads through the read transaction of the turn, or through `transaction`. Values are checked and copied. */
class PairReads {
  protected readonly environment: Environment;

  constructor(environment: Environment) {
    this.environment = environment;
  }

  protected pairs(
    start: Bytes,
    end: Bytes | null,
    limit: number,
    isReverse: boolean,
    bytesMax: number,
    transaction: ReadTransaction | undefined,
  ): StorePair[] {
    const pairs: StorePair[] = [];
    if (limit <= 0) return pairs;
    let bytes = 0;
    const options = { ...span(start, end, isReverse), limit, ...(transaction === undefined ? {} : { transaction }) };
    for (const { key, value } of this.environment.getRange(options)) {
      pairs.push({ key, value: unseal(key, value) });
      bytes += value.length - sealBytes;
      if (bytes >= bytesMax) break;
    }
    return pairs;
  }
}

class Reads extends PairReads {
  get(key: Bytes): Bytes | null {
    // The library's own buffer: valid until the next read, and with a length that is not the array's.
    const sealed = this.environment.getBinaryFast(key as Buffer);
    return sealed === undefined ? null : unseal(key, sealed, sealed.length);
  }

  range(start: Bytes, end: Bytes | null, limit: number, isReverse = false): StorePair[] {
    return this.pairs(start, end, limit, isReverse, Number.POSITIVE_INFINITY, undefined);
  }

  count(start: Bytes, end: Bytes | null): number {
    return this.environment.getKeysCount(span(start, end, false));
  }

  refresh(): void {
    this.environment.resetReadTxn();
  }
}

/** The library's bounds: backwards they are swapped, and each end has its own word for being included. */
function span(start: Bytes, end: Bytes | null, isReverse: boolean) {
  const low = (start.length === 0 ? FIRST_KEY : start) as Buffer;
  const high = (end ?? AFTER_LAST_KEY) as Buffer;
  return isReverse
    ? { start: high, exclusiveStart: true, end: low, inclusiveEnd: true, reverse: true }
    : { start: low, end: high };
}

class LmdbStore extends Reads implements LmdbStateStore {
  private readonly path: string;
  private readonly commitTimeoutMs: number;
  private sealed = Buffer.alloc(0);
  private isCommitting = false;
  private failure: Error | null = null;
  private closing: Promise<void> | null = null;

  constructor(options: LmdbStoreOptions) {
    super(openEnvironment(options, false));
    this.path = options.path;
    this.commitTimeoutMs = options.commitTimeoutMs ?? 30_000;
  }

  commit(batch: readonly StoreChange[], done: Done): void {
    assert(!this.isCommitting, 'one commit at a time');
    if (this.failure !== null || this.closing !== null) {
      const error = this.failure ?? new Error('Cannot commit: the store is closed');
      setImmediate(() => done(error));
      return;
    }
    this.isCommitting = true;
    if (batch.length === 0) {
      setImmediate(() => {
        this.isCommitting = false;
        done(null);
      });
      return;
    }
    const settle = (error: Error | null) => {
      if (!this.isCommitting) return;
      this.isCommitting = false;
      clearTimeout(watchdog);
      if (error !== null) this.failure = error;
      else this.environment.resetReadTxn();
      done(error);
    };
    const watchdog = setTimeout(
      () => settle(new Error(`Cannot commit: LMDB gave no answer within ${this.commitTimeoutMs} ms`)),
      this.commitTimeoutMs,
    );
    this.write(batch).then(
      () => settle(null),
      (error: unknown) => this.explain(error, settle),
    );
  }

  /** In one transaction: everything between the ends of a batch is. The values lie in one piece of memory until then. */
  private write(batch: readonly StoreChange[]): Promise<boolean> {
    let size = 0;
    for (const { key, value } of batch) {
      // Checked before anything is handed over, for a batch cannot be taken back.
      assert(key.length > 0 && key.length <= KEY_BYTES_MAX, 'a stored key has 1 to 1,978 bytes');
      if (value !== null) size += value.length + sealBytes;
    }
    const sealed = this.memoryFor(size);
    const { environment } = this;
    return environment.batch(() => {
      let position = 0;
      for (const { key, value } of batch) {
        if (value === null) {
          // Resolved with the batch; inside of one the promise says nothing.
          void environment.remove(key as Buffer);
        } else {
          const end = sealInto(sealed, position, key, value);
          void environment.put(key as Buffer, view(sealed, position, end) as Buffer);
          position = end;
        }
      }
    });
  }

  /** Fresh memory costs more than what is done with it, and there is one commit at a time. */
  private memoryFor(size: number): Buffer {
    if (size > SEALED_BYTES_KEPT) return Buffer.allocUnsafeSlow(size);
    if (this.sealed.length < size) {
      this.sealed = Buffer.allocUnsafeSlow(Math.min(Math.max(size, this.sealed.length * 2), SEALED_BYTES_KEPT));
    }
    return this.sealed;
  }

  /** The error of a failed commit carries the cause as a promise that rejects. */
  private explain(error: unknown, settle: Done): void {
    const cause = (error as { readonly commitError?: unknown }).commitError;
    const wrap = (reason: unknown) => new Error(`Cannot commit: ${String(reason)}`, { cause: reason });
    if (!(cause instanceof Promise)) {
      settle(wrap(error));
      return;
    }
    cause.catch((reason: unknown) => settle(wrap(reason)));
    // The cause may never come; the failure must not wait for it.
    setImmediate(() => setImmediate(() => settle(wrap(error))));
  }

  openView(): StateView {
    return new LmdbView(this.environment);
  }

  sizeBytes(): number {
    return statSync(join(this.path, 'data.mdb')).size;
  }

  freeBytes(): number {
    return freeBytesOf(this.path);
  }

  close(): void {
    this.closing ??= this.environment.close();
  }

  closed(): Promise<void> {
    this.closing ??= this.environment.close();
    return this.closing;
  }
}

function view(source: Buffer, start: number, end: number): Uint8Array {
  return new Uint8Array(source.buffer, source.byteOffset + start, end - start);
}

class LmdbView extends PairReads implements StateView {
  private readonly transaction: ReadTransaction;
  private isOpen = true;

  constructor(environment: Environment) {
    super(environment);
    // The turn's own transaction may be older than the last commit.
    environment.resetReadTxn();
    this.transaction = environment.useReadTransaction();
  }

  range(start: Bytes, end: Bytes | null, limit: number, bytesMax = Number.POSITIVE_INFINITY): StorePair[] {
    assert(this.isOpen, 'a closed view is not read');
    return this.pairs(start, end, limit, false, bytesMax, this.transaction);
  }

  keys(start: Bytes, end: Bytes | null, limit: number): Bytes[] {
    assert(this.isOpen, 'a closed view is not read');
    if (limit <= 0) return [];
    const options = { ...span(start, end, false), limit, transaction: this.transaction };
    return [...this.environment.getKeys(options)];
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.transaction.done();
  }
}

class LmdbReader extends Reads implements StateReader {
  close(): void {
    // The environment is shared by the threads of the process; the library counts who uses it.
    void this.environment.close();
  }
}

/** Opens the environment for its one writer, the Raft worker; makes it when there is none. */
export function openLmdbStore(options: LmdbStoreOptions): LmdbStateStore {
  return new LmdbStore(options);
}

/** Opens what the writer of this process has open, on another thread. */
export function openLmdbReader(options: LmdbStoreOptions): StateReader {
  return new LmdbReader(openEnvironment(options, true));
}
