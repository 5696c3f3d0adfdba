/** The placement centre over a port: both ends in one thread, and once with a thread of its own. */
import { once } from 'node:events';
import { MessageChannel, Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WatchBatch } from '../../../../src/core/ports/placement.ts';
import { ClientServer } from '../../../../src/raft/client/client-server.ts';
import { PlacementClient } from '../../../../src/raft/client/placement-client.ts';
import { stateFolder } from '../../../../src/raft/node/storage.ts';
import { deletionOf, getOf, LocalGroup, setOf, timeLimit, valueIn } from '../replica/local-group.ts';

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
