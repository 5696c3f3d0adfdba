import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { PlacementError } from '../../../../src/core/ports/placement.ts';
import type { PlacementServerOptions } from '../../../../src/raft/api/server.ts';
import type { BackupPart } from '../../../../src/rpc/client/backup.ts';
import { type ClientOptions, PlacementClient } from '../../../../src/rpc/client/placement-client.ts';
import type { WatchProgress } from '../../../../src/rpc/client/watch.ts';
import { TestAuthority } from '../../../support/certificates.ts';
import { findFreePort, until } from '../../cli/support.ts';
import { event, FakeNode } from '../../raft/api/fake-node.ts';
import { ServerFixture } from '../../raft/api/server-fixture.ts';

const servers: ServerFixture[] = [];
const clients: PlacementClient[] = [];
const cleanUps: (() => void)[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const server of servers.splice(0)) await server.stop();
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

async function serve(node = new FakeNode(''), more: Partial<PlacementServerOptions> = {}): Promise<ServerFixture> {
  const fixture = await ServerFixture.start({}, more, node);
  servers.push(fixture);
  return fixture;
}

async function connect(to: string | readonly ServerFixture[], more: Partial<ClientOptions> = {}) {
  const addresses = typeof to === 'string' ? to : to.map(({ address }) => address);
  const client = await PlacementClient.create({ servers: addresses, timeoutMs: 4000, ...more });
  clients.push(client);
  return client;
}

async function stop(fixture: ServerFixture, graceMs = 0): Promise<void> {
  servers.splice(servers.indexOf(fixture), 1);
  fixture.client.close();
  await fixture.server.close(graceMs);
}

const text = (value: Uint8Array | undefined): string => Buffer.from(value ?? '').toString();

describe('PlacementClient', () => {
  test('PlacementClient has a call for everything about keys', async () => {
    const client = await connect([await serve()]);
    expect(await client.set('a', '1')).toMatchObject({ revision: 1, wasRepeated: false });
    expect(text((await client.set('a', '2', { returnPrevious: true })).previous?.value)).toBe('1');
    await client.set(Buffer.from('b'), Buffer.from('3'), { lease: 9 });
    expect((await client.get('b', { consistency: 'serializable' })).item).toMatchObject({ lease: 9, version: 1 });
    expect((await client.get('missing')).item).toBeUndefined();
    expect((await client.exists('a')).exists).toBe(true);
    const page = await client.range({ prefix: '' }, { limit: 1, keysOnly: true });
    expect([page.items.length, page.hasMore, page.count]).toEqual([1, true, 2]);
    expect((await client.range({ key: 'a', end: '' }, { countOnly: true })).count).toBe(2);
    const transaction = await client.transaction({
      compares: [{ key: 'a', value: '2' }],
      success: [{ set: 'a', value: '4' }, { range: { key: 'a' } }],
    });
    expect(transaction).toMatchObject({ succeeded: true, revision: 4 });
    expect((await client.compareAndSet('a', { value: 'x' }, 'y')).succeeded).toBe(false);
    expect((await client.compareAndSet('a', { modRevision: 4 }, 'y')).succeeded).toBe(true);
    expect((await client.compact(3)).revision).toBe(3);
    expect((await client.delete('a')).count).toBe(1);
    expect((await client.delete({ prefix: 'b' }, { returnPrevious: true })).previous).toHaveLength(1);
    expect(await client.revision()).toBe(7);
  });

  test('PlacementClient gives every write a request id of its own', async () => {
    const fixture = await serve();
    const client = await connect([fixture]);
    await Promise.all([client.set('a', '1'), client.set('a', '1'), client.delete('a')]);
    await client.leases.grant(1000);
    const ids = fixture.node.executed.map(({ requestId }) => Buffer.from(requestId ?? '').toString('hex'));
    expect(new Set(ids).size).toBe(4);
    expect(ids.every((id) => id.length === 32)).toBe(true);
  });

  test('PlacementClient answers many calls at once, each its own', async () => {
    const client = await connect([await serve()]);
    const keys = Array.from({ length: 500 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key) => client.set(key, key)));
    const found = await Promise.all(keys.map((key) => client.get(key)));
    expect(found.map(({ item }) => text(item?.value))).toEqual(keys);
  });

  test('PlacementClient sends values that do not fit in one message together', async () => {
    const client = await connect([await serve()]);
    const value = Buffer.alloc(400_000, 1);
    await Promise.all(Array.from({ length: 10 }, (_, i) => client.set(`k${i}`, value)));
    const found = await Promise.all(Array.from({ length: 10 }, (_, i) => client.get(`k${i}`)));
    expect(found.every(({ item }) => item?.value.length === 400_000)).toBe(true);
  });

  test('PlacementClient refuses alone what would break the stream for all', async () => {
    const fixture = await serve();
    const client = await connect([fixture]);
    const open = client.set('a', '1');
    await expect(client.set('b', '1', { lease: 0.5 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'lease',
    });
    await expect(client.range({ key: 'a' }, { limit: -1 })).rejects.toMatchObject({ field: 'limit' });
    await expect(client.compact(2 ** 53)).rejects.toMatchObject({ field: 'revision' });
    await expect(client.compareAndSet('a', { modRevision: Number.NaN }, '')).rejects.toMatchObject({
      field: 'mod_revision',
    });
    const compares = [{ key: 'a', version: -1 }];
    await expect(client.transaction({ compares, success: [] })).rejects.toMatchObject({ field: 'operand' });
    await expect(client.set('b', Buffer.alloc(5 << 20))).rejects.toMatchObject({
      code: 'VALUE_TOO_LARGE',
      field: 'value',
    });
    await expect(client.get('a', { timeoutMs: 0 })).rejects.toThrow(TypeError);
    expect((await open).revision).toBe(1);
    expect(fixture.node.executed).toHaveLength(1);
  });

  test('PlacementClient passes refusals on with code and field', async () => {
    const fixture = await serve();
    const client = await connect([fixture]);
    await expect(client.set('', 'v')).rejects.toMatchObject({ code: 'EMPTY_KEY', field: 'key', status: 3 });
    await expect(client.leases.revoke(5)).rejects.toMatchObject({ code: 'LEASE_NOT_FOUND', field: 'lease' });
    await expect(client.leases.get(5)).rejects.toMatchObject({ code: 'LEASE_NOT_FOUND' });
  });

  test('PlacementClient tries again what may run twice', async () => {
    const fixture = await serve();
    const client = await connect([fixture]);
    fixture.node.errors.push(
      new PlacementError('NO_LEADER', 'Nobody leads'),
      new PlacementError('NO_LEADER', 'Nobody'),
    );
    await client.set('a', '1');
    const ids = fixture.node.executed.map(({ requestId }) => Buffer.from(requestId ?? '').toString('hex'));
    expect(ids).toHaveLength(3);
    expect(new Set(ids).size).toBe(1);
    fixture.node.errors.push(new PlacementError('NO_LEADER', 'Nobody leads'));
    expect((await client.cluster.nodes()).length).toBe(0);
  });

  test('PlacementClient does not repeat what may not run twice, unless nothing has happened', async () => {
    const fixture = await serve();
    const client = await connect([fixture]);
    fixture.node.errors.push(new PlacementError('NO_LEADER', 'Nobody leads'));
    await expect(client.members.promote('2')).rejects.toMatchObject({ code: 'NO_LEADER' });
    fixture.node.errors.push(new PlacementError('NO_LEADER', 'Nobody leads'));
    await expect(client.compact(2)).rejects.toMatchObject({ code: 'NO_LEADER' });
    expect([fixture.node.changes.length, fixture.node.executed.length]).toEqual([1, 1]);
    fixture.node.errors.push(new PlacementError('OVERLOADED', 'Too much waits'));
    await client.members.promote('3');
    fixture.node.errors.push(new PlacementError('OVERLOADED', 'Too much waits'));
    await client.compact(3);
    expect([fixture.node.changes.length, fixture.node.executed.length]).toEqual([3, 3]);
  });

  test('PlacementClient says why at the deadline', async () => {
    const fixture = await serve();
    const client = await connect([fixture]);
    fixture.node.gate = new Promise(() => undefined);
    await expect(client.get('a', { timeoutMs: 60 })).rejects.toMatchObject({ code: 'TIMED_OUT' });
    fixture.node.gate = null;
    const nobody = await connect(`127.0.0.1:${await findFreePort()}`);
    await expect(nobody.set('a', '1', { timeoutMs: 200 })).rejects.toMatchObject({ code: 'TIMED_OUT' });
    await expect(nobody.status({ timeoutMs: 200 })).rejects.toMatchObject({ code: 'NOT_CONNECTED' });
  });

  test('PlacementClient follows the leader, and comes back when it is gone', async () => {
    const leader = await serve();
    const follower = await serve(new FakeNode(leader.address));
    const client = await connect([follower]);
    await client.set('first', '1');
    while (leader.node.executed.length === 0) await client.set('x', '1');
    const before = follower.node.executed.length;
    await client.set('then', '1');
    expect(follower.node.executed.length).toBe(before);
    await stop(leader);
    await client.set('after', '1');
    expect(follower.node.executed.length).toBe(before + 1);
  });

  test('PlacementClient stays where it is when the leader cannot be reached', async () => {
    const follower = await serve(new FakeNode(`127.0.0.1:${await findFreePort()}`));
    const client = await connect([follower]);
    for (let i = 0; i < 20; i++) await client.set(`k${i}`, 'v');
    expect(follower.node.executed).toHaveLength(20);
  });

  test('PlacementClient goes to the leader that an error names', async () => {
    const leader = await serve();
    const follower = await serve();
    const client = await connect([follower]);
    follower.node.errors.push(new PlacementError('NOT_LEADER', 'Another node leads', leader.address));
    await client.members.promote('2');
    expect(leader.node.changes).toEqual(['promote 2']);
    expect(follower.node.changes).toEqual(['promote 2']);
  });

  test('PlacementClient goes on at another server when one is lost', async () => {
    const [first, second] = [await serve(), await serve()];
    const client = await connect([first, second]);
    await client.set('a', '1');
    first.node.gate = new Promise(() => undefined);
    const open = Array.from({ length: 50 }, (_, i) => client.set(`k${i}`, 'v'));
    await until(() => first.node.executed.length === 51);
    await stop(first);
    await Promise.all(open);
    expect(second.node.executed).toHaveLength(50);
    const sent = first.node.executed.slice(1).map(({ requestId }) => Buffer.from(requestId ?? '').toString('hex'));
    const repeated = second.node.executed.map(({ requestId }) => Buffer.from(requestId ?? '').toString('hex'));
    expect(repeated.sort()).toEqual(sent.sort());
  });

  test('PlacementClient leaves a server that says goodbye without losing a call', async () => {
    const [first, second] = [await serve(), await serve()];
    const client = await connect([first, second]);
    await client.set('a', '1');
    const { promise, resolve } = Promise.withResolvers<void>();
    first.node.gate = promise;
    const open = [client.set('b', '1')];
    await until(() => first.node.executed.length === 2);
    const stopped = stop(first, 5000);
    // Those that were on their way to the first one finish there.
    await until(() => {
      open.push(client.set('c', '1'));
      return second.node.executed.length > 0;
    });
    resolve();
    await Promise.all(open);
    await stopped;
    expect(second.node.executed.every(({ command }) => !JSON.stringify(command).includes('"98"'))).toBe(true);
  });

  test('PlacementClient gives up a server that accepts and says nothing', async () => {
    const silent = await startSilentServer();
    const fixture = await serve();
    const client = await connect(`127.0.0.1:${(silent.address() as AddressInfo).port},${fixture.address}`);
    await client.set('a', '1');
    expect((await client.status()).version).toBe('1.2.3');
  });

  test('PlacementClient refuses more calls than it may hold', async () => {
    const fixture = await serve();
    const client = await connect([fixture], { callsMax: 2 });
    fixture.node.gate = new Promise(() => undefined);
    const open = [client.get('a', { timeoutMs: 50 }), client.get('b', { timeoutMs: 50 })];
    await expect(client.get('c')).rejects.toMatchObject({ code: 'OVERLOADED' });
    for (const each of open) await expect(each).rejects.toMatchObject({ code: 'TIMED_OUT' });
  });

  test('close() rejects what is open and everything after', async () => {
    const fixture = await serve();
    fixture.node.gate = new Promise(() => undefined);
    const client = await connect([fixture]);
    const open = [
      client.get('a'),
      client.cluster.nodes(),
      client.members.promote('2'),
      read(client.watch({ key: 'k' })),
    ];
    const ends = open.map((each) =>
      expect(each).rejects.toMatchObject({ code: expect.stringMatching(/CLOSED|CANCELLED/) }),
    );
    await until(() => fixture.node.queried.length >= 2);
    client.close();
    client.close();
    await Promise.all(ends);
    await expect(client.get('a')).rejects.toMatchObject({ code: 'CLOSED' });
    await expect(client.cluster.nodes()).rejects.toMatchObject({ code: 'CLOSED' });
    expect(() => client.leases.keep(1, 1000)).toThrow('closed');
  });

  test('create() refuses a wrong address', async () => {
    await expect(PlacementClient.create({ servers: 'nowhere' })).rejects.toThrow('expected host:port');
  });
});

describe('PlacementClient over TLS', () => {
  test('PlacementClient and server show each other certificates', async () => {
    const authority = new TestAuthority();
    cleanUps.push(() => authority.remove());
    const read = ({ certificate, key }: { certificate: string; key: string }) => ({
      certificate: readFileSync(certificate),
      key: readFileSync(key),
    });
    const ca = readFileSync(authority.ca);
    const own = read(authority.issue('server', ['DNS:node-1']));
    const shown = read(authority.issue('client', ['DNS:client']));
    const fixture = await serve(new FakeNode(''), { tls: { ca, ...own, requireClientCertificate: true } });
    const client = await connect([fixture], { tls: { ca, ...shown, serverName: 'node-1' } });
    expect((await client.set('a', '1')).revision).toBe(1);
    const nameless = await connect([fixture], { tls: { ca, certificate: null, key: null, serverName: 'node-1' } });
    await expect(nameless.status({ timeoutMs: 300 })).rejects.toMatchObject({ status: 14 });
    const wrong = await connect([fixture], { tls: { ca, ...shown } });
    await expect(wrong.status({ timeoutMs: 300 })).rejects.toMatchObject({ code: 'NOT_CONNECTED' });
    const plain = await connect([fixture]);
    await expect(plain.status({ timeoutMs: 300 })).rejects.toMatchObject({ status: 14 });
    expect(fixture.node.executed).toHaveLength(1);
  });
});

describe('PlacementClient.watch()', () => {
  test('watch() begins after now, and reports each event once over lost connections', async () => {
    const [first, second] = [await serve(), await serve()];
    const client = await connect([first, second]);
    first.node.revision = 7;
    const seen: WatchProgress[] = [];
    const abort = new AbortController();
    const done = (async () => {
      for await (const progress of client.watch({ prefix: 'k' }, { signal: abort.signal })) seen.push(progress);
    })();
    await until(() => first.node.watches.size === 1);
    const [[, request]] = first.node.watches;
    expect(request).toMatchObject({ fromRevision: 8, key: Buffer.from('k') });
    await first.node.emit({ revision: 9, events: [event('set', 'k1', 8), event('set', 'k2', 9)] });
    await first.node.emit({ revision: 12, events: [] });
    await until(() => seen.length === 2);
    await stop(first);
    await until(() => second.node.watches.size === 1);
    const [[, resumed]] = second.node.watches;
    expect(resumed.fromRevision).toBe(13);
    await second.node.emit({ revision: 13, events: [event('delete', 'k1', 13)] });
    await until(() => seen.length === 3);
    abort.abort();
    await done;
    await until(() => second.node.watches.size === 0);
    expect(seen.map(({ revision, events }) => [revision, events.length])).toEqual([
      [9, 2],
      [12, 0],
      [13, 1],
    ]);
  });

  test('watch() does not report the parts of a revision twice', async () => {
    const node = new FakeNode('');
    const first = await ServerFixture.start({ answerBytesMax: 500 }, {}, node);
    servers.push(first);
    const second = await serve();
    const client = await connect([first, second]);
    const keys: string[] = [];
    const abort = new AbortController();
    const done = (async () => {
      for await (const { events } of client.watch({ prefix: 'k' }, { fromRevision: 5, signal: abort.signal })) {
        keys.push(...events.map(({ item }) => text(item?.key)));
      }
    })();
    const large = 'v'.repeat(400);
    const revision5 = ['k1', 'k2', 'k3'].map((key) => event('set', key, 5, large));
    await until(() => node.watches.size === 1);
    // The last part is held back: the connection goes before it.
    const [[watcher]] = node.watches;
    await watcher.onBatch({ revision: 6, events: [...revision5.slice(0, 2), event('set', 'k9', 5, large)] });
    await until(() => keys.length === 3);
    keys.length = 0;
    watcher.onEnd({ code: 'SLOW_WATCHER', compactedRevision: 0 });
    await until(() => second.node.watches.size === 1);
    const [[, resumed]] = second.node.watches;
    expect(resumed.fromRevision).toBe(7);
    abort.abort();
    await done;
  });

  test('watch() throws COMPACTED with the revision that is gone', async () => {
    const fixture = await serve();
    const client = await connect([fixture]);
    const done = read(client.watch({ key: 'k' }, { fromRevision: 2 }));
    await until(() => fixture.node.watches.size === 1);
    const [[watcher]] = fixture.node.watches;
    watcher.onEnd({ code: 'COMPACTED', compactedRevision: 40 });
    await expect(done).rejects.toMatchObject({ code: 'COMPACTED', compactedRevision: 40 });
  });

  test('watch() ends when the reader stops', async () => {
    const fixture = await serve();
    const client = await connect([fixture]);
    const reader = client.watch({ key: 'k' }, { fromRevision: 2 });
    const first = reader.next();
    await until(() => fixture.node.watches.size === 1);
    await fixture.node.emit({ revision: 2, events: [event('set', 'k', 2)] });
    expect((await first).value?.revision).toBe(2);
    await reader.return();
    await until(() => fixture.node.watches.size === 0);
  });
});

describe('PlacementClient.leases', () => {
  test('grant(), get(), list() and revoke() work on leases', async () => {
    const client = await connect([await serve()]);
    const { lease, epoch } = await client.leases.grant(3000);
    expect([lease > 0, epoch]).toEqual([true, 7]);
    expect((await client.leases.grant(3000, { lease: 12 })).lease).toBe(12);
    expect(await client.leases.get(lease)).toMatchObject({ lease, ttlMs: 3000 });
    expect(await client.leases.list()).toHaveLength(2);
    await client.leases.revoke(lease);
    expect(await client.leases.list()).toHaveLength(1);
  });

  test('keep() renews until it is stopped', async () => {
    const client = await connect([await serve()]);
    const { lease } = await client.leases.grant(300);
    let renewedCount = 0;
    const kept = client.leases.keep(lease, 300, () => renewedCount++);
    await until(() => renewedCount >= 3);
    kept.stop();
    expect(await kept.lost).toBeNull();
  });

  test('keep() goes to another server when one is lost', async () => {
    const [first, second] = [await serve(), await serve()];
    const client = await connect([first, second]);
    await client.leases.grant(10_000, { lease: 5 });
    await second.node.execute({ type: 'lease-grant', lease: 5, ttlMs: 10_000 }, { requestId: null, timeoutMs: 1 });
    let renewedCount = 0;
    const kept = client.leases.keep(5, 10_000, () => renewedCount++);
    await until(() => renewedCount === 1);
    await stop(first);
    await until(() => renewedCount === 2);
    kept.stop();
  });

  test('keep() goes to the leader, who alone can do it', async () => {
    const [follower, leader] = [await serve(), await serve()];
    await leader.node.execute({ type: 'lease-grant', lease: 5, ttlMs: 10_000 }, { requestId: null, timeoutMs: 1 });
    follower.node.errors.push(new PlacementError('NOT_LEADER', 'Another node leads', leader.address));
    const client = await connect([follower]);
    const { promise, resolve } = Promise.withResolvers<number>();
    const kept = client.leases.keep(5, 10_000, resolve);
    expect(await promise).toBe(10_000);
    kept.stop();
  });

  test('keep() tells that the lease has ended', async () => {
    const client = await connect([await serve()]);
    const kept = client.leases.keep(99, 1000);
    expect(await kept.lost).toMatchObject({ code: 'LEASE_NOT_FOUND' });
  });

  test('keep() takes a lease for lost when nothing was heard for all of its time', async () => {
    const client = await connect(`127.0.0.1:${await findFreePort()}`);
    const kept = client.leases.keep(5, 150);
    expect(await kept.lost).toMatchObject({ code: 'TIMED_OUT' });
  });
});

describe('PlacementClient.cluster', () => {
  test('cluster has a call for nodes, topics and partitions', async () => {
    const fixture = await serve();
    const { cluster } = await connect([fixture]);
    const node = { node: 'n', addresses: [], roles: [], rack: '', ttlMs: 1000 };
    expect(await cluster.registerNode(node)).toEqual({ node: 'n', epoch: 5 });
    await cluster.heartbeat('n', 5);
    await expect(cluster.heartbeat('n', 4)).rejects.toMatchObject({ code: 'NODE_FENCED' });
    const report = { cpuShare: 0, memoryBytes: 0, diskFreeBytes: 0, connections: 0, bytesInPerS: 0, bytesOutPerS: 0 };
    await cluster.report('n', 5, report);
    await cluster.unregisterNode('n', 5);
    expect(await cluster.createTopic({ tenant: 't', topic: 'o', partitions: 1, replicationFactor: 1 })).toEqual([]);
    await cluster.deleteTopic('t', 'o');
    expect(await cluster.partitions('t')).toEqual([]);
    expect((await cluster.status()).clusterId).toBe('c1');
    const types = fixture.node.executed.map(({ command }) => command.type);
    expect(types).toEqual(['node-register', 'node-report', 'node-unregister', 'topic-create', 'topic-delete']);
  });
});

describe('PlacementClient.backup()', () => {
  test('backup() gives header, chunks and end', async () => {
    const rest = [Buffer.from('one'), Buffer.from('two')];
    const source = {
      clusterId: 'c',
      index: 4,
      term: 2,
      revision: 3,
      next: () => rest.shift() ?? null,
      close: () => undefined,
    };
    const client = await connect([await serve(new FakeNode(''), { backup: { openBackup: () => source } })]);
    const parts: BackupPart[] = [];
    for await (const part of client.backup()) parts.push(part);
    expect(parts.map(({ type }) => type)).toEqual(['header', 'chunk', 'chunk', 'end']);
  });

  test('backup() throws what the server says', async () => {
    const client = await connect([await serve()]);
    await expect(read(client.backup())).rejects.toMatchObject({ code: 'UNIMPLEMENTED' });
  });
});

async function read(values: AsyncIterable<unknown>): Promise<void> {
  for await (const value of values) void value;
}

/** Accepts connections and never says a word. */
async function startSilentServer(): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUps.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return server;
}
