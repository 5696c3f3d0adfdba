import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { KvResult } from '../../../../../src/cli/bench/kv/report.ts';
import { RingmqTarget } from '../../../../../src/cli/bench/kv/ringmq-target.ts';
import { PlacementError } from '../../../../../src/core/ports/placement.ts';
import { createPlacementServer, type PlacementServer } from '../../../../../src/raft/api/server.ts';
import { FakeNode } from '../../../raft/api/fake-node.ts';
import { startCli } from '../../support.ts';

let node: FakeNode;
let server: PlacementServer;
const defects: unknown[] = [];

beforeEach(async () => {
  node = new FakeNode();
  const options = { host: '127.0.0.1', port: 0, tls: null, version: '1', backup: null };
  server = await createPlacementServer(node, { ...options, onDefect: (error) => void defects.push(error) });
});

afterEach(async () => {
  await server.close(0);
  expect(defects).toEqual([]);
});

function set(target: RingmqTarget, key: string): Promise<string | null> {
  return new Promise((done) => target.set(0, Buffer.from(key), Buffer.from('value'), done));
}

function get(target: RingmqTarget, key: string, isSerializable: boolean) {
  return new Promise((done) => {
    target.get(0, Buffer.from(key), isSerializable, (error, isFound) => done({ error, isFound }));
  });
}

describe('RingmqTarget', () => {
  test('RingmqTarget sets and gets when the node answers', async () => {
    const target = await RingmqTarget.open([`127.0.0.1:${server.port}`], 1);
    await target.connect(5000);
    expect(await set(target, 'key')).toBeNull();
    expect(await get(target, 'key', false)).toEqual({ error: null, isFound: true });
    expect(await get(target, 'other', true)).toEqual({ error: null, isFound: false });
    expect(node.queried.map(({ consistency }) => consistency)).toEqual(['linearizable', 'serializable']);
    target.close();
  });

  test('RingmqTarget gives the code of an error when a call is refused', async () => {
    const target = await RingmqTarget.open([`127.0.0.1:${server.port}`], 1);
    node.errors.push(new PlacementError('DISK_FULL', 'Nothing is left'));
    expect(await set(target, 'key')).toBe('DISK_FULL');
    target.close();
  });

  test('connect() rejects when nobody listens', async () => {
    await server.close(0);
    const target = await RingmqTarget.open([`127.0.0.1:${server.port}`], 1);
    await expect(target.connect(300)).rejects.toThrow(/Cannot connect to "127.0.0.1:\d+"/);
    target.close();
  });

  test('bench kv loads it as a whole when it is the target', async () => {
    const flags = ['--endpoints', `127.0.0.1:${server.port}`, '--seconds', '0.3', '--warm-up', '0.1', '--clients', '8'];
    const run = await startCli(['bench', 'kv', ...flags, '--operations', 'mixed', '--json', '--quiet']).done;
    expect(run.exitCode).toBe(0);
    const result = JSON.parse(run.out) as KvResult;
    expect(result.sets).toBeGreaterThan(0);
    expect(result.gets).toBeGreaterThan(0);
    expect(result.errorCount).toBe(0);
  });
});
