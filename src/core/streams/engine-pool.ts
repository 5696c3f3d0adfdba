/**
 * A few connections to the server of a storage engine, shared by calls that take one each for as long as they need it. Thread: the
 * one that holds the store; owned by engines whose clients bring no pool that fits: after a lost call all connections are dropped at
 * once, those in use included, and whoever used them learns it.
 */

import { StorageError } from './storage-error.ts';

export interface PooledConnection {
  /** It must not be used any more. */
  readonly isBroken: boolean;
  /** Ends it now; what is under way on it rejects. */
  destroy(): void;
  /** Says goodbye. */
  end(): Promise<void>;
}

export interface EnginePoolOptions<C> {
  readonly size: number;
  /** Unused connections are closed after this time, before the server or something on the way closes them. */
  readonly idleMs: number;
  connect(): Promise<C>;
}

interface Waiter<C> {
  resolve(connection: C): void;
  reject(error: Error): void;
}

interface Idle<C> {
  readonly connection: C;
  readonly sinceMs: number;
}

export class EnginePool<C extends PooledConnection> {
  readonly #options: EnginePoolOptions<C>;
  readonly #busy = new Set<C>();
  /** The newest last, and used first, so that the others can be closed. */
  #idle: Idle<C>[] = [];
  readonly #waiters: Waiter<C>[] = [];
  /** Those of an older generation are dropped. */
  #generation = 0;
  #connecting = 0;
  #isClosed = false;
  readonly #sweep: NodeJS.Timeout;

  constructor(options: EnginePoolOptions<C>) {
    this.#options = options;
    this.#sweep = setInterval(() => this.#closeIdle(), Math.ceil(options.idleMs / 2)).unref();
  }

  /** @throws StorageError STORAGE_UNAVAILABLE when connections are reset before `work` has one; what `connect` and `work` throw */
  async run<T>(work: (connection: C) => Promise<T>): Promise<T> {
    const connection = await this.#take();
    try {
      return await work(connection);
    } finally {
      this.#giveBack(connection);
    }
  }

  /** Drops all connections; the next calls make new ones. */
  reset(): void {
    this.#generation += 1;
    for (const { connection } of this.#idle.splice(0)) connection.destroy();
    for (const connection of [...this.#busy]) connection.destroy();
    for (const waiter of this.#waiters.splice(0)) waiter.reject(noConnection());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#sweep);
    const idle = this.#idle.splice(0);
    this.reset();
    await Promise.all(idle.map(({ connection }) => connection.end()));
  }

  async #take(): Promise<C> {
    for (let last = this.#idle.pop(); last !== undefined; last = this.#idle.pop()) {
      if (last.connection.isBroken) continue;
      this.#busy.add(last.connection);
      return last.connection;
    }
    if (this.#isClosed) throw noConnection();
    if (this.#busy.size + this.#connecting < this.#options.size) return await this.#connect();
    return await new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  async #connect(): Promise<C> {
    const generation = this.#generation;
    this.#connecting += 1;
    const made = await this.#options
      .connect()
      .finally(() => {
        this.#connecting -= 1;
      })
      .catch((error: unknown) => {
        // Whoever waits makes a try of its own.
        this.#serveNext();
        throw error;
      });
    if (generation === this.#generation) {
      this.#busy.add(made);
      return made;
    }
    made.destroy();
    this.#serveNext();
    throw noConnection();
  }

  #giveBack(connection: C): void {
    const isKnown = this.#busy.delete(connection);
    if (connection.isBroken || !isKnown) {
      this.#serveNext();
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter === undefined) {
      this.#idle.push({ connection, sinceMs: performance.now() });
      return;
    }
    this.#busy.add(connection);
    waiter.resolve(connection);
  }

  /** A place became free without a connection that could be handed on. */
  #serveNext(): void {
    if (this.#busy.size + this.#connecting >= this.#options.size) return;
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) this.#connect().then(waiter.resolve, waiter.reject);
  }

  #closeIdle(): void {
    const before = performance.now() - this.#options.idleMs;
    const old = this.#idle.filter(({ sinceMs }) => sinceMs < before);
    if (old.length === 0) return;
    this.#idle = this.#idle.filter(({ sinceMs }) => sinceMs >= before);
    // It is not needed any more: whether the server hears the goodbye makes no difference.
    for (const { connection } of old) connection.end().catch(() => connection.destroy());
  }
}

/** Nothing was sent. */
function noConnection(): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', 'Cannot use the engine: its connections were closed');
}

/** Makes what a client library promises end when its connection is destroyed, which not every library does. */
export class Interruptible {
  readonly #rejects = new Set<(error: Error) => void>();
  #error: Error | null = null;

  get isInterrupted(): boolean {
    return this.#error !== null;
  }

  run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#error !== null) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      this.#rejects.add(reject);
      call()
        .finally(() => this.#rejects.delete(reject))
        .then(resolve, reject);
    });
  }

  /** What is under way rejects, and all that follows. */
  interrupt(error: Error): void {
    this.#error ??= error;
    for (const reject of this.#rejects) reject(this.#error);
    this.#rejects.clear();
  }
}
