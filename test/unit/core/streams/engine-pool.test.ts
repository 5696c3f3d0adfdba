import { describe, expect, it, onTestFinished } from 'vitest';
import { EnginePool, Interruptible, type PooledConnection } from '../../../../src/core/streams/engine-pool.ts';
import { codeOf } from '../../../support/stream-batches.ts';

class FakeConnection implements PooledConnection {
  isBroken = false;
  hasEnded = false;
  readonly #calls = new Interruptible();

  destroy(): void {
    this.isBroken = true;
    this.#calls.interrupt(new Error('destroyed'));
  }

  async end(): Promise<void> {
    this.hasEnded = true;
    this.destroy();
  }

  /** Does not end by itself. */
  hang(): Promise<void> {
    return this.#calls.run(() => new Promise<void>(() => undefined));
  }
}

interface Fixture {
  readonly pool: EnginePool<FakeConnection>;
  readonly made: FakeConnection[];
}

function fixture(size: number, connect: () => Promise<void> = () => Promise.resolve(), idleMs = 60_000): Fixture {
  const made: FakeConnection[] = [];
  const pool = new EnginePool<FakeConnection>({
    size,
    idleMs,
    connect: async () => {
      await connect();
      const connection = new FakeConnection();
      made.push(connection);
      return connection;
    },
  });
  onTestFinished(() => pool.close());
  return { pool, made };
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

describe('EnginePool', () => {
  it('run() uses a connection again, and makes no more than its size', async () => {
    const { pool, made } = fixture(2);
    for (let at = 0; at < 3; at += 1) await pool.run(async () => undefined);
    expect(made.length).toBe(1);
    let busy = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      busy += 1;
      most = Math.max(most, busy);
      await turn();
      busy -= 1;
    };
    await Promise.all(Array.from({ length: 10 }, () => pool.run(work)));
    expect([made.length, most]).toEqual([2, 2]);
  });

  it('run() gives a place on when a connection broke', async () => {
    const { pool, made } = fixture(1);
    const first = pool.run(async (connection) => connection.hang());
    const second = pool.run(async (connection) => made.indexOf(connection));
    await turn();
    made[0].destroy();
    await expect(first).rejects.toThrow('destroyed');
    expect(await second).toBe(1);
  });

  it('run() gives a place on when a connection could not be made', async () => {
    let tries = 0;
    const { pool } = fixture(1, async () => {
      tries += 1;
      if (tries === 1) throw new Error('not there');
    });
    const calls = [pool.run(async () => 'first'), pool.run(async () => 'second')];
    expect(await Promise.allSettled(calls)).toMatchObject([
      { status: 'rejected' },
      { status: 'fulfilled', value: 'second' },
    ]);
  });

  it('reset() drops all connections, also those in use, and whoever waits for one', async () => {
    const { pool, made } = fixture(1);
    const busy = pool.run(async (connection) => connection.hang());
    const waiting = codeOf(pool.run(async () => undefined));
    await turn();
    pool.reset();
    await expect(busy).rejects.toThrow('destroyed');
    expect(await waiting).toBe('STORAGE_UNAVAILABLE');
    expect(await pool.run(async (connection) => made.indexOf(connection))).toBe(1);
    pool.reset();
    expect(made.every(({ isBroken }) => isBroken)).toBe(true);
  });

  it('reset() drops a connection that is only being made', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { pool, made } = fixture(1, () => promise);
    const early = codeOf(pool.run(async () => undefined));
    pool.reset();
    const later = pool.run(async (connection) => made.indexOf(connection));
    resolve();
    expect(await early).toBe('STORAGE_UNAVAILABLE');
    expect(await later).toBe(1);
    expect(made[0].isBroken).toBe(true);
  });

  it('close() says goodbye, and refuses what comes later', async () => {
    const { pool, made } = fixture(1);
    await pool.run(async () => undefined);
    await pool.close();
    expect(made[0].hasEnded).toBe(true);
    expect(await codeOf(pool.run(async () => undefined))).toBe('STORAGE_UNAVAILABLE');
  });

  it('closes what nobody used for a while', async () => {
    const { pool, made } = fixture(2, undefined, 20);
    await Promise.all([pool.run(turn), pool.run(turn)]);
    while (!made.every(({ hasEnded }) => hasEnded)) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await pool.run(async (connection) => made.indexOf(connection))).toBe(2);
  });
});

describe('Interruptible', () => {
  it('run() ends with the error of interrupt(), now and later', async () => {
    const calls = new Interruptible();
    const underWay = calls.run(() => new Promise<void>(() => undefined));
    expect(await calls.run(async () => 5)).toBe(5);
    calls.interrupt(new Error('over'));
    calls.interrupt(new Error('again'));
    await expect(underWay).rejects.toThrow('over');
    await expect(calls.run(async () => 5)).rejects.toThrow('over');
    expect(calls.isInterrupted).toBe(true);
  });
});
