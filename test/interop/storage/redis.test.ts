// The storage adapter `redis` on a real server: the contract of all stores, and what happens when the server or the way to it fails.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { StoreFront, type StoreFrontOptions } from '../../../src/core/streams/store-front.ts';
import { RedisEngine } from '../../../src/storage/redis/engine.ts';
import type { RedisSettings } from '../../../src/storage/redis/settings.ts';
import { RedisServer, type RedisServerOptions } from '../../support/servers/redis.ts';
import { batch, codeOf, readValues, stored, verdict } from '../../support/stream-batches.ts';
import { engineContract, keptLog, newPlace } from './engine-bench.ts';
import { engineFaults, until } from './engine-faults.ts';
import { engineRetention } from './engine-retention.ts';

const password = 'a secret that nobody may see';
let server: RedisServer;

beforeAll(async () => {
  server = await RedisServer.start({ password });
});
afterAll(() => server.stop());

function settings(changes: Partial<RedisSettings> = {}): RedisSettings {
  return {
    address: `127.0.0.1:${server.port}`,
    mode: 'single',
    username: '',
    password,
    passwordFile: '',
    database: 0,
    tls: 'off',
    tlsCa: '',
    prefix: 'ringmq:',
    allowUnsafe: false,
    replicasMin: 0,
    replicasLimitMs: 1000,
    connectLimitMs: 1000,
    ...changes,
  };
}

engineContract('redis', (place) => new RedisEngine(settings({ prefix: `${place}:` }), keptLog().log));
engineRetention(() => {
  const place = newPlace();
  return () => new RedisEngine(settings({ prefix: `${place}:` }), keptLog().log);
});
engineFaults({
  place: newPlace,
  server: () => server,
  engineAt: (place, port) => {
    return new RedisEngine(settings({ prefix: `${place}:`, address: `127.0.0.1:${port}` }), keptLog().log);
  },
  cutRounds: 40,
  stepRecords: 300,
});

/** Another server, for this test alone. */
async function another(options: RedisServerOptions): Promise<RedisServer> {
  const started = await RedisServer.start({ password, ...options });
  onTestFinished(() => started.stop());
  return started;
}

async function openedAt(
  port: number,
  changes: Partial<RedisSettings> = {},
  limits: StoreFrontOptions = {},
): Promise<{ readonly store: StoreFront; readonly lines: readonly string[] }> {
  const { log, lines } = keptLog();
  const engine = new RedisEngine(settings({ address: `127.0.0.1:${port}`, prefix: `${newPlace()}:`, ...changes }), log);
  const store = await StoreFront.open(engine, { openWaitMsMax: 300, retryMsMin: 20, ...limits });
  onTestFinished(() => store.close());
  return { store, lines };
}

async function refusal(port: number, changes: Partial<RedisSettings> = {}): Promise<string> {
  try {
    await openedAt(port, changes);
    return 'opened';
  } catch (error) {
    const { message, code } = error as { readonly message: string; readonly code?: string };
    expect(message).not.toContain('a secret');
    return `${code} ${message}`;
  }
}

/** Key of the bytes of partition `p`. */
async function bytesKey(prefix: string): Promise<string> {
  const lines = (await server.ask(`KEYS ${prefix}{p}:*:bytes`)).split('\r\n');
  return lines.find((line) => line.endsWith(':bytes')) ?? '';
}

describe('opening', () => {
  it('refuses a server that can lose what it answered, unless it is told to accept it', async () => {
    const lazy = await another({ appendFsync: 'no' });
    expect(await refusal(lazy.port)).toMatch(/STORAGE_UNAVAILABLE .*appendfsync is "no" and not "always"/);
    await lazy.ask('CONFIG SET appendfsync always');
    expect(await refusal(lazy.port)).toBe('opened');
    await lazy.ask('CONFIG SET maxmemory-policy allkeys-lru');
    expect(await refusal(lazy.port)).toMatch(/maxmemory-policy is "allkeys-lru"/);
    const careless = await another({ appendOnly: false });
    expect(await refusal(careless.port)).toMatch(/appendonly is "no" and not "yes"/);
    const { lines } = await openedAt(careless.port, { allowUnsafe: true });
    expect(lines.join('')).toMatch(/can lose acknowledged records.*appendonly/);
  });

  it('tells wrong passwords and servers that are not there, and never the password', async () => {
    expect(await refusal(server.port, { password: 'a secret that is wrong' })).toMatch(
      /STORAGE_UNAVAILABLE .*(WRONGPASS|NOAUTH)/,
    );
    expect(await refusal(1)).toMatch(/STORAGE_UNAVAILABLE .*ECONNREFUSED/);
    const { store, lines } = await openedAt(server.port, {}, { waitMsMax: 100 });
    const partition = await store.create('p');
    await server.kill();
    await verdict(partition, batch(['a']));
    await server.restart();
    await until(() => store.health().state === 'ready');
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.join('')).not.toContain('a secret');
  });

  it('a partition whose creation was cut short is listed when it is opened', async () => {
    const prefix = `${newPlace()}:`;
    const { store } = await openedAt(server.port, { prefix });
    await store.create('p');
    await server.ask(`DEL ${prefix}names`);
    expect(await store.names()).toEqual([]);
    const { store: next } = await openedAt(server.port, { prefix });
    await next.open('p');
    expect(await next.names()).toEqual(['p']);
    await server.ask(`HSET ${prefix}names gone some-id`);
    expect(await next.names()).toEqual(['p']);
  });
});

describe('damage', () => {
  it('is told with the offset, and everything else is served', async () => {
    const prefix = `${newPlace()}:`;
    const { store } = await openedAt(server.port, { prefix });
    const partition = await store.create('p');
    for (const value of ['a', 'b', 'c', 'd']) await stored(partition, batch([value]));
    const key = await bytesKey(prefix);
    await server.ask(`HDEL ${key} 1`);
    await server.ask(`HSET ${key} 2 ${'x'.repeat(80)}`);
    const { store: next } = await openedAt(server.port, { prefix });
    const found = await next.open('p');
    for (const offset of [1, 2]) {
      expect(await codeOf(found.read({ offset, bytesMax: 1 }))).toBe('STORAGE_CORRUPTED');
    }
    expect((await found.read({ offset: 0, bytesMax: 10_000 })).nextOffset).toBe(1);
    expect(await readValues(found, 3)).toEqual(['3:d']);
    expect(await verdict(found, batch(['e']))).toBe(4);
  });
});

describe('bounds', () => {
  it('a full server refuses appends, keeps what it has, and goes on when there is room', async () => {
    const small = await another({});
    const { store } = await openedAt(small.port);
    const partition = await store.create('p');
    await stored(partition, batch(['a']));
    await small.ask('CONFIG SET maxmemory 1mb');
    expect(await verdict(partition, batch(['b']))).toBe('STORAGE_DISK_FULL');
    expect(await readValues(partition)).toEqual(['0:a']);
    await small.ask('CONFIG SET maxmemory 0');
    expect(await verdict(partition, batch(['c']))).toBe(1);
    expect(await readValues(partition)).toEqual(['0:a', '1:c']);
  });

  it('deleteBefore() removes more runs than one step takes', async () => {
    const prefix = `${newPlace()}:`;
    const { store } = await openedAt(server.port, { prefix });
    const partition = await store.create('p');
    for (let number = 0; number < 520; number += 1) await stored(partition, batch([`${number}`]));
    expect(await partition.deleteBefore(510)).toBe(510);
    expect(await readValues(partition, 510)).toHaveLength(10);
    expect(await server.ask(`HLEN ${await bytesKey(prefix)}`)).toContain(':10');
    await store.remove('p');
    expect(await server.ask(`KEYS ${prefix}{p}*`)).toContain('*0');
  });

  it('offsetForTime() is right though deleted records were newer', async () => {
    const { store } = await openedAt(server.port);
    const partition = await store.create('p');
    for (const timestampMs of [9000, 1000, 2000, 3000]) await stored(partition, batch(['x'], { timestampMs }));
    await partition.deleteBefore(1);
    expect(await partition.offsetForTime(1500)).toEqual({ offset: 2, timestamp: 2000 });
    expect(await partition.offsetForTime(5000)).toBeNull();
  });
});

describe('replicas and clusters', () => {
  it('with `replicasMin` an append is answered when the replicas have it', async () => {
    const main = await another({});
    const changes = { replicasMin: 1, replicasLimitMs: 200 };
    const limits = { waitMsMax: 1000, readWaitMsMax: 1000, openWaitMsMax: 5000, retryMsMax: 100 };
    const { store } = await openedAt(main.port, changes, limits);
    expect(await codeOf(store.create('alone'))).toBe('STORAGE_UNAVAILABLE');
    const replica = await another({ replicaOf: main.port });
    await until(async () => (await main.ask('INFO replication')).includes('state=online'));
    const partition = await store.create('p');
    expect(await verdict(partition, batch(['a']))).toBe(0);
    expect(await replica.ask('KEYS *{p}:meta')).toContain('{p}:meta');
    await replica.kill();
    expect(await verdict(partition, batch(['b']))).toBe('STORAGE_UNCERTAIN');
    await replica.restart();
    await until(() => store.health().state === 'ready');
    const values = async () => (await readValues(partition)).map((record) => record.split(':')[1]);
    await until(async () => typeof (await verdict(partition, batch(['c']))) === 'number');
    expect(await values()).toEqual(expect.arrayContaining(['a', 'c']));
  });

  it('works on a cluster, and survives the end of a node', async () => {
    const cluster = await another({ isCluster: true });
    const limits = { openWaitMsMax: 10_000, retryMsMax: 100 };
    const { store } = await openedAt(cluster.port, { mode: 'cluster' }, limits);
    const names = Array.from({ length: 20 }, (_, number) => `p${number}`);
    for (const name of names) await stored(await store.create(name), batch([name]));
    expect(await store.names()).toEqual([...names].sort());
    await cluster.kill();
    const waiting = Promise.all(names.map(async (name) => verdict(await store.open(name), batch(['more']))));
    await cluster.restart();
    expect(await waiting).toEqual(names.map(() => 1));
    for (const name of names) expect(await readValues(await store.open(name))).toEqual([`0:${name}`, '1:more']);
  });
});
