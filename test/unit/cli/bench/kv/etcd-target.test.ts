import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EtcdTarget } from '../../../../../src/cli/bench/kv/etcd-target.ts';
import { type FakeEtcd, startFakeEtcd } from './fake-etcd.ts';

let etcd: FakeEtcd;
let target: EtcdTarget;

beforeEach(async () => {
  etcd = await startFakeEtcd();
});

afterEach(() => {
  target.close();
  etcd.stop();
});

function set(key: string, value: Buffer, client = 0): Promise<string | null> {
  return new Promise((done) => target.set(client, Buffer.from(key), value, done));
}

function get(key: string, isSerializable = false): Promise<{ error: string | null; isFound: boolean }> {
  return new Promise((done) => {
    target.get(0, Buffer.from(key), isSerializable, (error, isFound) => done({ error, isFound }));
  });
}

describe.each([
  ['the gRPC library', false],
  ['the lean client', true],
])('EtcdTarget with %s', (_name, isLean) => {
  beforeEach(async () => {
    target = new EtcdTarget([etcd.endpoint], 2, isLean);
    await target.connect(5000);
  });

  test('EtcdTarget sets and gets when the server answers', async () => {
    expect(await set('key-0001', Buffer.alloc(256, 7))).toBeNull();
    expect(etcd.keys.get('key-0001')).toEqual(Buffer.alloc(256, 7));
    expect(await get('key-0001')).toEqual({ error: null, isFound: true });
    expect(await get('key-0002')).toEqual({ error: null, isFound: false });
    expect(etcd.counts).toEqual({ put: 1, range: 2, serializable: 0 });
    await get('key-0001', true);
    expect(etcd.counts.serializable).toBe(1);
  });

  test('EtcdTarget carries many calls at once when their bytes exceed the windows of the connection', async () => {
    const value = Buffer.alloc(4000, 1);
    const results = await Promise.all(Array.from({ length: 500 }, (_, i) => set(`key-${i}`, value, i)));
    expect(results.every((error) => error === null)).toBe(true);
    expect(etcd.keys.size).toBe(500);
    const found = await Promise.all(Array.from({ length: 500 }, (_, i) => get(`key-${i}`)));
    expect(found.every(({ isFound }) => isFound)).toBe(true);
  });

  test('EtcdTarget says why when a call fails or the server goes', async () => {
    etcd.fail();
    expect(await set('key-0001', Buffer.alloc(1))).toMatch(isLean ? /refused/ : /UNAVAILABLE: etcdserver: no leader/);
    etcd.stop();
    expect((await get('key-0001')).error).not.toBeNull();
    expect((await get('key-0001')).error).not.toBeNull();
  });
});

describe('EtcdTarget', () => {
  test.each([true, false])('connect() rejects when nobody listens (lean: %s)', async (isLean) => {
    etcd.stop();
    target = new EtcdTarget([etcd.endpoint], 1, isLean);
    await expect(target.connect(500)).rejects.toThrow(/Cannot connect to "127.0.0.1:\d+"/);
  });
});
