/** The placement API against a broker as users start it: a group of one, over its cluster port. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PlacementClient } from '../../src/rpc/client/placement-client.ts';
import type { WatchProgress } from '../../src/rpc/client/watch.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import { until } from '../unit/cli/support.ts';

const run = promisify(execFile);
const program = join(import.meta.dirname, '../../bin/ringmq.js');

let broker: BrokerProcess;
let client: PlacementClient;
let address = '';
let folder = '';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-api-'));
  broker = await BrokerProcess.start({ workers: 1, flags: ['--cluster', '127.0.0.1:0'] });
  address = `127.0.0.1:${broker.port('cluster')}`;
  client = await PlacementClient.create({ servers: address });
});

afterAll(async () => {
  client?.close();
  await broker?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString();

async function ctl(...argv: string[]): Promise<{ out: string; err: string; exitCode: number }> {
  try {
    const { stdout, stderr } = await run(process.execPath, [program, 'ctl', '--server', address, ...argv]);
    return { out: stdout, err: stderr, exitCode: 0 };
  } catch (error) {
    const { stdout, stderr, code } = error as { stdout: string; stderr: string; code: number };
    return { out: stdout, err: stderr, exitCode: code };
  }
}

describe('the placement API of a broker', () => {
  test('keys are written, read, listed and removed', async () => {
    const { revision } = await client.set('kv/a', '1');
    expect((await client.set('kv/b', '2')).revision).toBeGreaterThan(revision);
    expect(text((await client.get('kv/a')).item?.value)).toBe('1');
    expect(text((await client.get('kv/a', { consistency: 'serializable' })).item?.value)).toBe('1');
    const page = await client.range({ prefix: 'kv/' }, { limit: 1 });
    expect([page.items.length, page.hasMore]).toEqual([1, true]);
    expect((await client.range({ prefix: 'kv/' }, { countOnly: true })).count).toBe(2);
    expect((await client.delete({ prefix: 'kv/' }, { returnPrevious: true })).previous).toHaveLength(2);
    expect((await client.exists('kv/a')).exists).toBe(false);
  });

  test('compare-and-set lets one of many writers win', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => client.compareAndSet('cas', { modRevision: 0 }, `${i}`)),
    );
    const winners = outcomes.flatMap(({ succeeded }, i) => (succeeded ? [i] : []));
    expect(winners).toHaveLength(1);
    expect(text((await client.get('cas')).item?.value)).toBe(`${winners[0]}`);
    const { modRevision = 0 } = (await client.get('cas')).item ?? {};
    expect((await client.compareAndSet('cas', { modRevision }, 'next')).succeeded).toBe(true);
  });

  test('a transaction has one revision', async () => {
    const { revision, succeeded, results } = await client.transaction({
      compares: [{ key: 'txn/a', version: 0 }],
      success: [{ set: 'txn/a', value: '1' }, { set: 'txn/b', value: '2' }, { range: { prefix: 'txn/' } }],
    });
    expect(succeeded).toBe(true);
    const found = results[2].result?.$case === 'range' ? results[2].result.value.items : [];
    expect(found.map(({ modRevision }) => modRevision)).toEqual([revision, revision]);
  });

  test('refusals of the state machine come with code and field', async () => {
    await expect(client.set('', '1')).rejects.toMatchObject({ code: 'EMPTY_KEY', field: 'key', status: 3 });
    await expect(client.set(Uint8Array.of(0, 1), '1')).rejects.toMatchObject({ code: 'RESERVED_KEY', field: 'key' });
    await expect(client.set('k'.repeat(5000), '1')).rejects.toMatchObject({ code: 'KEY_TOO_LARGE', field: 'key' });
    const large = Buffer.alloc(2 * 1024 * 1024);
    await expect(client.set('k', large)).rejects.toMatchObject({ code: 'VALUE_TOO_LARGE', field: 'value' });
    await expect(client.set('k', '1', { lease: 12_345 })).rejects.toMatchObject({ code: 'LEASE_NOT_FOUND' });
    await expect(client.compact(1_000_000)).rejects.toMatchObject({ code: 'FUTURE_REVISION', field: 'revision' });
    await expect(client.members.remove('77')).rejects.toMatchObject({ code: 'MEMBERSHIP_REFUSED', status: 9 });
  });

  test('a watch reports what comes, and what was', async () => {
    const seen: WatchProgress[] = [];
    const abort = new AbortController();
    const { revision } = await client.set('watch/a', '1');
    const watching = (async () => {
      const options = { fromRevision: revision, withPrevious: true, signal: abort.signal };
      for await (const progress of client.watch({ prefix: 'watch/' }, options)) seen.push(progress);
    })();
    await client.set('watch/a', '2');
    await client.set('elsewhere', '2');
    await client.delete('watch/a');
    const events = () => seen.flatMap((each) => each.events);
    await until(() => events().length === 3);
    abort.abort();
    await watching;
    expect(events().map(({ item, previous }) => [text(item?.value), text(previous?.value)])).toEqual([
      ['1', undefined],
      ['2', '1'],
      ['', '2'],
    ]);
  });

  test('keys go when their lease ends', async () => {
    const { lease, epoch } = await client.leases.grant(1000);
    await client.set('leased', '1', { lease });
    expect((await client.leases.get(lease)).keys.map(text)).toEqual(['leased']);
    const kept = client.leases.keep(lease, 1000);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect((await client.exists('leased')).exists).toBe(true);
    kept.stop();
    while ((await client.exists('leased')).exists) await new Promise((resolve) => setTimeout(resolve, 50));
    await expect(client.leases.get(lease)).rejects.toMatchObject({ code: 'LEASE_NOT_FOUND' });
    expect((await client.leases.grant(1000)).epoch).toBeGreaterThan(epoch);
  });

  test('nodes register with growing epochs, and older ones are fenced', async () => {
    const { cluster } = client;
    const node = { node: 'n1', addresses: [{ listener: 'x', address: 'h:1' }], roles: ['r'], rack: 'a', ttlMs: 60_000 };
    const first = await cluster.registerNode(node);
    const second = await cluster.registerNode(node);
    expect(second.epoch).toBeGreaterThan(first.epoch);
    await expect(cluster.heartbeat('n1', first.epoch)).rejects.toMatchObject({ code: 'NODE_FENCED' });
    await cluster.heartbeat('n1', second.epoch);
    const report = { cpuShare: 0.5, memoryBytes: 1, diskFreeBytes: 2, connections: 3, bytesInPerS: 4, bytesOutPerS: 5 };
    await cluster.report('n1', second.epoch, report);
    const found = (await cluster.nodes()).find((each) => each.node === 'n1');
    expect(found).toMatchObject({ epoch: second.epoch, addresses: node.addresses, roles: ['r'], rack: 'a', report });
    await cluster.unregisterNode('n1', second.epoch);
  });

  test('topics are placed on nodes', async () => {
    const { cluster } = client;
    await cluster.registerNode({ node: 'n2', addresses: [], roles: ['broker'], rack: '', ttlMs: 60_000 });
    const request = { tenant: 'default', topic: 'orders', partitions: 2, replicationFactor: 1 };
    const partitions = await cluster.createTopic(request);
    expect(partitions.map(({ partition }) => partition)).toEqual([0, 1]);
    await expect(cluster.createTopic(request)).rejects.toMatchObject({ code: 'TOPIC_EXISTS', status: 6 });
    expect(await cluster.partitions('default', 'orders')).toEqual(partitions);
    await expect(cluster.createTopic({ ...request, topic: 'x', replicationFactor: 9 })).rejects.toMatchObject({
      code: 'NOT_ENOUGH_NODES',
    });
    await cluster.deleteTopic('default', 'orders');
    await expect(cluster.deleteTopic('default', 'orders')).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' });
  });

  test('many calls in flight are all answered', async () => {
    await Promise.all(Array.from({ length: 3000 }, (_, i) => client.set(`many/${i % 100}`, `${i}`)));
    expect((await client.range({ prefix: 'many/' }, { countOnly: true })).count).toBe(100);
  });
});

describe('ringmq ctl against a broker', () => {
  test('kv set, get and delete have their statuses', async () => {
    expect((await ctl('kv', 'set', 'ctl', 'value')).exitCode).toBe(0);
    const found = await ctl('kv', 'get', 'ctl', '--json');
    expect(JSON.parse(found.out)).toMatchObject({ key: 'ctl', value: 'value', version: 1 });
    expect((await ctl('kv', 'delete', 'ctl')).exitCode).toBe(0);
    expect(await ctl('kv', 'get', 'ctl')).toMatchObject({ exitCode: 1, err: expect.stringContaining('no such key') });
  });

  test('cluster status and member list tell who is there', async () => {
    const status = JSON.parse((await ctl('cluster', 'status', '--json')).out);
    expect(status).toMatchObject({ role: 'leader', fault: null, members: [{ role: 'voter', isLeader: true }] });
    const { members } = JSON.parse((await ctl('member', 'list', '--json')).out);
    expect(members[0].address).toBe(address);
  });

  test('snapshot save writes what snapshot check finds whole', async () => {
    const path = join(folder, 'state');
    expect((await ctl('snapshot', 'save', path)).exitCode).toBe(0);
    const checked = await ctl('snapshot', 'check', path, '--json');
    expect(JSON.parse(checked.out).chunkCount).toBeGreaterThan(0);
  });
});
