/** The placement centre over a port: both ends in one thread, and once with a thread of its own. */
import { once } from 'node:events';
import { MessageChannel, MessagePort, Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type {
  Command,
  CommandResult,
  OperationResult,
  Query,
  QueryResult,
  WatchBatch,
  WatchRequest,
} from '../../../../src/core/ports/placement.ts';
import { ClientServer } from '../../../../src/raft/client/client-server.ts';
import { PlacementClient } from '../../../../src/raft/client/placement-client.ts';
import { stateFolder } from '../../../../src/raft/node/folders.ts';
import { deletionOf, getOf, LocalGroup, setOf, timeLimit, valueIn } from '../replica/local-group.ts';

type SetResult = Extract<OperationResult, { type: 'set' }>;
const options = { requestId: null, ...timeLimit };
let group: LocalGroup;
let server: ClientServer;
let client: PlacementClient;
let gone: number;

beforeEach(async () => {
  group = await LocalGroup.found(1);
  await group.leader();
  const { port1, port2 } = new MessageChannel();
  gone = 0;
  server = new ClientServer(port2, group.nodes[0].node, () => gone++);
  client = new PlacementClient(port1);
});
afterEach(async () => {
  client.close();
  server.close();
  await group.close();
});

describe('PlacementClient', () => {
  it('executes and queries', async () => {
    expect(await client.execute(setOf('key', 'value'), options)).toMatchObject({ type: 'transaction', revision: 1 });
    expect(valueIn(await client.query(getOf('key'), timeLimit))).toBe('value');
    expect(valueIn(await client.query(getOf('key', 'serializable'), timeLimit))).toBe('value');
    expect(await client.freshStatus()).toMatchObject({ clusterId: 'test', role: 'leader', revision: 1 });
  });

  it('keeps leases and nodes alive, and passes refusals on', async () => {
    await client.execute({ type: 'lease-grant', lease: 5, ttlMs: 10_000 }, options);
    expect(await client.keepAlive(5, timeLimit)).toMatchObject({ type: 'lease', lease: 5 });
    expect(await client.keepAlive(6, timeLimit)).toMatchObject({ type: 'refused', code: 'LEASE_NOT_FOUND' });
    expect(await client.heartbeat('nobody', 1, timeLimit)).toMatchObject({ type: 'refused', code: 'NODE_NOT_FOUND' });
  });

  it('rejects with the PlacementError of the other side', async () => {
    await expect(client.remove('1')).rejects.toMatchObject({ name: 'PlacementError', code: 'MEMBERSHIP_REFUSED' });
    await expect(client.promote('7')).rejects.toMatchObject({ code: 'MEMBERSHIP_REFUSED' });
    await expect(client.transferLeadership('7')).rejects.toMatchObject({ code: 'MEMBERSHIP_REFUSED' });
  });

  it('sends the calls of one turn in one message, and so does the other side its answers', async () => {
    await client.execute(setOf('key', 'value'), options);
    const posted = vi.spyOn(MessagePort.prototype, 'postMessage');
    const queries = Array.from({ length: 200 }, () => client.query(getOf('key'), timeLimit));
    for (const result of await Promise.all(queries)) expect(valueIn(result)).toBe('value');
    const counts = posted.mock.calls.map(([messages]) => (messages as unknown[]).length);
    posted.mockRestore();
    expect(counts.length).toBeLessThan(10);
    expect(counts.reduce((sum, count) => sum + count)).toBeGreaterThanOrEqual(400);
  });

  it('takes only the bytes themselves along, not the memory around them', async () => {
    const posted = vi.spyOn(MessagePort.prototype, 'postMessage');
    const large = Buffer.alloc(1024 * 1024, 'v');
    const set = { type: 'set', key: Buffer.from('key'), value: large.subarray(5, 9), lease: 0, returnPrevious: true };
    const command = { ...setOf('', ''), success: [set] } as Command;
    await client.execute(command, options);
    const again = await client.execute(command, options);
    const moved = posted.mock.calls.flatMap(([, list]) => (list as ArrayBuffer[] | undefined) ?? []);
    posted.mockRestore();
    expect(moved.length).toBeGreaterThanOrEqual(3);
    expect(again).toMatchObject({ results: [{ previous: { value: Uint8Array.from(Buffer.from('vvvv')) } }] });
    const [{ previous }] = (again as Extract<CommandResult, { type: 'transaction' }>).results as SetResult[];
    expect(previous?.value.buffer.byteLength).toBeLessThan(100);
  });

  it('passes values that are larger than a message', async () => {
    const value = 'x'.repeat(500_000);
    await Promise.all(['a', 'b', 'c'].map((key) => client.execute(setOf(key, value), options)));
    const results = await Promise.all(['a', 'b', 'c'].map((key) => client.query(getOf(key), timeLimit)));
    expect(results.map(valueIn)).toEqual([value, value, value]);
  });

  it('rejects what is no call with a TypeError, and nobody is harmed', async () => {
    const wrong = [
      { ...getOf('key'), key: 'text' },
      { ...getOf('key', 'serializable'), end: 5 },
      { type: 'lease', lease: Number.NaN, consistency: 'linearizable' },
      { type: 'partitions', tenant: null, topic: '', consistency: 'linearizable' },
      { type: 'other', consistency: 'linearizable' },
      { ...getOf('key'), extra: () => undefined },
    ] as unknown as Query[];
    for (const query of wrong) await expect(client.query(query, timeLimit)).rejects.toBeInstanceOf(TypeError);
    await expect(client.keepAlive(-1, timeLimit)).rejects.toBeInstanceOf(TypeError);
    await expect(client.heartbeat('node', 0.5, timeLimit)).rejects.toBeInstanceOf(TypeError);
    const grant = { type: 'lease-grant', lease: -5, ttlMs: 1_000 } as const;
    await expect(client.execute(grant, options)).rejects.toBeInstanceOf(TypeError);
    const ends: string[] = [];
    const request = { key: 'text', end: null, fromRevision: 0, withPrevious: false } as unknown as WatchRequest;
    client.watch(request, { onBatch: () => undefined, onEnd: ({ code }) => ends.push(code) });
    await expect.poll(() => ends).toEqual(['INVALID_ARGUMENT']);
    expect(await client.freshStatus()).toMatchObject({ fault: null });
  });

  it('reads the store itself once it reads often, and never less than it has seen', async () => {
    const { port1, port2 } = new MessageChannel();
    let storeReaders = 0;
    const other = new ClientServer(
      port2,
      group.nodes[0].node,
      () => undefined,
      () => storeReaders++,
    );
    const revisions = { here: 1, asked: 0 };
    const found = (): QueryResult => {
      revisions.asked++;
      return { type: 'range', items: [], count: 0, hasMore: false, revision: revisions.here };
    };
    let closed = 0;
    const reading = new PlacementClient(port1, async () => ({ query: found, close: () => closed++ }));
    await reading.execute(setOf('key', 'value'), options);
    const look = async () => valueIn(await reading.query(getOf('key', 'serializable'), timeLimit));
    for (let rare = 0; rare < 8; rare++) expect(await look()).toBe('value');
    expect(revisions.asked).toBe(0);
    expect(storeReaders).toBe(0);
    await expect.poll(look).toBeNull(); // Read here, as of revision 1.
    await reading.execute(setOf('key', 'other'), options);
    const { asked } = revisions;
    expect(await look()).toBe('other');
    expect(storeReaders).toBe(1);
    revisions.here = 2;
    expect(await look()).toBeNull();
    expect(revisions.asked).toBe(asked + 2);
    expect(valueIn(await reading.query(getOf('key'), timeLimit))).toBe('other');
    reading.close();
    expect(closed).toBe(1);
    other.close();
  });

  it('watch() gets every change in order, one batch at a time, until it is cancelled', async () => {
    const seen: string[] = [];
    let isBusy = false;
    const watch = client.watch(
      { key: Buffer.from('k'), end: Buffer.from('l'), fromRevision: 1, withPrevious: false },
      {
        onBatch: async ({ events }: WatchBatch) => {
          expect(isBusy).toBe(false);
          isBusy = true;
          await new Promise((resolve) => setTimeout(resolve, 2));
          for (const { type, item } of events) seen.push(`${type} ${Buffer.from(item.key)}`);
          isBusy = false;
        },
        onEnd: ({ code }) => seen.push(code),
      },
    );
    for (const key of ['k1', 'k2', 'other', 'k3']) await client.execute(setOf(key, ''), options);
    await client.execute(deletionOf('k1'), options);
    await expect.poll(() => seen).toEqual(['set k1', 'set k2', 'set k3', 'delete k1']);
    watch.cancel();
    await client.execute(setOf('k4', ''), options);
    await client.query(getOf('k4'), timeLimit);
    expect(seen).toHaveLength(4);
  });

  it('status() is told of changes, and everything ends with STOPPED when the other side closes', async () => {
    await expect.poll(() => client.status().role).toBe('leader');
    const ends: string[] = [];
    const request = { key: Buffer.from('k'), end: null, fromRevision: 0, withPrevious: false };
    client.watch(request, { onBatch: () => undefined, onEnd: ({ code }) => ends.push(code) });
    await client.freshStatus();
    server.close();
    await expect(client.query(getOf('key'), timeLimit)).rejects.toMatchObject({ code: 'STOPPED' });
    expect(ends).toEqual(['STOPPED']);
    await expect(client.freshStatus()).rejects.toMatchObject({ code: 'STOPPED' });
    expect(gone).toBe(1);
  });

  it('on another thread, reads the store itself', async () => {
    const { port1, port2 } = new MessageChannel();
    const other = new ClientServer(port2, group.nodes[0].node, () => undefined);
    const worker = new Worker(new URL('./reader.worker.ts', import.meta.url), {
      workerData: { port: port1, stateFolder: stateFolder(group.nodes[0].folder) },
      transferList: [port1],
    });
    const exited = once(worker, 'exit');
    worker.postMessage('begin');
    const [report] = await once(worker, 'message');
    expect(report).toMatchObject({ linearizable: 'value', serializable: 'value' });
    await exited;
    other.close();
  });
});
