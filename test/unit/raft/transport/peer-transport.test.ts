/** Messages between real nodes on loopback: they arrive, in one frame per turn, and trouble stays with whom it concerns. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Message, ReplicaId } from '../../../../src/raft/consensus/types.ts';
import { FaultLink } from '../../../support/fault-proxy.ts';
import { eventually, TestPeer, type TestPeerOptions } from './test-peer.ts';

const stops: (() => unknown)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function start(options: TestPeerOptions): Promise<TestPeer> {
  const peer = await TestPeer.start(options);
  stops.push(() => peer.stop());
  return peer;
}

async function startPair(options: Partial<TestPeerOptions> = {}): Promise<[TestPeer, TestPeer]> {
  const [a, b] = [await start({ replica: 1, ...options }), await start({ replica: 2 })];
  a.knows(b);
  b.knows(a);
  return [a, b];
}

async function linkTo(peer: TestPeer): Promise<FaultLink> {
  const link = await FaultLink.to({ host: '127.0.0.1', port: peer.port });
  stops.push(() => link.close());
  return link;
}

function heartbeat(from: ReplicaId, to: ReplicaId, commit: number): Message {
  return { type: 'heartbeat', from, to, term: 3, commit, readSequence: 0 };
}

function append(from: ReplicaId, to: ReplicaId, previousIndex: number, size: number): Message {
  const entries = [
    { term: 3, index: previousIndex + 1, kind: 0 as const, data: new Uint8Array(size).fill(previousIndex) },
  ];
  return { type: 'append', from, to, term: 3, previousIndex, previousTerm: 3, entries, commit: 0 };
}

describe('PeerTransport.send()', () => {
  it('delivers messages to the peers that they are for, in their order', async () => {
    const [a, b] = await startPair();
    const c = await start({ replica: 3 });
    a.knows(c);
    a.transport.send([append(1, 2, 7, 100), heartbeat(1, 3, 1), heartbeat(1, 2, 9)]);
    await expect.poll(() => b.received, eventually).toHaveLength(2);
    await expect.poll(() => c.received, eventually).toHaveLength(1);
    expect(b.received.map((message) => message.type)).toEqual(['append', 'heartbeat']);
    const [first] = b.received;
    expect(first.type === 'append' && [first.from, first.to, Buffer.from(first.entries[0].data)]).toEqual([
      1,
      2,
      Buffer.alloc(100, 7),
    ]);
    expect(c.received).toEqual([heartbeat(1, 3, 1)]);
  });

  it('puts what one turn has for a peer into one frame', async () => {
    const [a, b] = await startPair();
    a.transport.send([heartbeat(1, 2, 0)]);
    await expect.poll(() => a.transport.isConnected(2), eventually).toBe(true);
    b.frames.length = 0;
    a.transport.send([heartbeat(1, 2, 1), heartbeat(1, 2, 2)]);
    a.transport.send([heartbeat(1, 2, 3)]);
    await expect.poll(() => b.frames, eventually).toEqual([3]);
  });

  it('carries a message of many megabytes beside small ones', async () => {
    const [a, b] = await startPair();
    a.transport.send([append(1, 2, 1, 6_000_000), heartbeat(1, 2, 1), append(1, 2, 2, 3_000_000)]);
    await expect.poll(() => b.received, eventually).toHaveLength(3);
    const sizes = b.received.map((message) => (message.type === 'append' ? message.entries[0].data.length : 0));
    expect(sizes).toEqual([6_000_000, 0, 3_000_000]);
  });

  it('drops and counts messages for a replica without an address', async () => {
    const a = await start({ replica: 1 });
    a.transport.send([heartbeat(1, 9, 1)]);
    expect(a.counters.droppedUnknownPeer).toBe(1);
  });

  it('throws for a snapshot, which has a call of its own', async () => {
    const a = await start({ replica: 1 });
    const membership = { voters: [1], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    const message: Message = { type: 'snapshot', from: 1, to: 2, term: 1, position: { index: 1, term: 1, membership } };
    expect(() => a.transport.send([message])).toThrow('sendSnapshot');
  });

  it('goes to the new address when it changes', async () => {
    const [a, b] = await startPair();
    const link = await linkTo(b);
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => b.received, eventually).toHaveLength(1);
    a.addresses.set(2, link.address);
    a.transport.send([heartbeat(1, 2, 2)]);
    await expect.poll(() => b.received, eventually).toHaveLength(2);
    expect(link.connectionCount).toBe(1);
  });
});

describe('PeerLink', () => {
  it('reports a peer that is not there, drops what is for it, and logs it once', async () => {
    const a = await start({ replica: 1 });
    const closed = await linkTo(a);
    closed.set({ isCut: true });
    a.addresses.set(2, closed.address);
    await expect
      .poll(() => {
        a.transport.send([heartbeat(1, 2, 1)]);
        return a.counters.connectionsFailed;
      }, eventually)
      .toBeGreaterThan(3);
    expect(new Set(a.unreachable)).toEqual(new Set([2]));
    expect(a.counters.droppedUnreachable).toBeGreaterThan(0);
    expect(a.log.filter((line) => line.startsWith('warn Peer is not reached'))).toHaveLength(1);
  });

  it('connects again when the peer comes back, and says so', async () => {
    const [a, b] = await startPair();
    const link = await linkTo(b);
    a.addresses.set(2, link.address);
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => b.received, eventually).toHaveLength(1);
    link.set({ isCut: true });
    await expect.poll(() => a.unreachable.length, eventually).toBeGreaterThan(0);
    link.heal();
    await expect
      .poll(() => {
        a.transport.send([heartbeat(1, 2, 2)]);
        return b.received.length;
      }, eventually)
      .toBeGreaterThan(1);
    expect(a.log.at(-1)).toBe('info Peer is reached again');
  });

  it('gives up a link on which nothing comes back', async () => {
    const [a, b] = await startPair({ limits: { keepAliveMs: 100, keepAliveTimeoutMs: 300 } });
    const link = await linkTo(b);
    a.addresses.set(2, link.address);
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => b.received, eventually).toHaveLength(1);
    link.set({ isHung: true });
    await expect.poll(() => a.transport.isConnected(2), eventually).toBe(false);
    await expect.poll(() => a.unreachable, eventually).toContain(2);
  });

  it('stops looking for a replica that is no member any more', async () => {
    const a = await start({ replica: 1 });
    const closed = await linkTo(a);
    closed.set({ isCut: true });
    a.addresses.set(2, closed.address);
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => a.counters.connectionsFailed, eventually).toBeGreaterThan(1);
    a.addresses.delete(2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { connectionsFailed } = a.counters;
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(a.counters.connectionsFailed).toBe(connectionsFailed);
  });

  it('gives up an address that accepts and stays silent', async () => {
    const silent = createServer();
    const sockets = new Set<Socket>();
    silent.on('connection', (socket) => sockets.add(socket.on('error', () => undefined)));
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    stops.push(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const a = await start({ replica: 1, limits: { connectTimeoutMs: 50 } });
    a.addresses.set(2, `127.0.0.1:${(silent.address() as AddressInfo).port}`);
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => a.unreachable, eventually).toContain(2);
    expect(a.counters.droppedUnreachable).toBe(1);
  });

  it('connects at once when the peer opens a stream to this node', async () => {
    const [a, b] = await startPair({ limits: { backOffMinMs: 60_000, backOffMaxMs: 60_000 } });
    const link = await linkTo(b);
    link.set({ isCut: true });
    a.addresses.set(2, link.address);
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => a.counters.connectionsFailed, eventually).toBe(1);
    link.heal();
    b.transport.open([1, 2]);
    await expect.poll(() => a.transport.isConnected(2), eventually).toBe(true);
    expect(b.transport.isConnected(1)).toBe(true);
    expect([a.seen, b.seen]).toEqual([[2], [1]]);
  });

  it('holds back for a slow peer, then drops appends and keeps the rest', async () => {
    const [a, b] = await startPair({ limits: { queueBytesMax: 1 << 20, inFlightBytesMax: 64 << 10 } });
    const link = await linkTo(b);
    a.addresses.set(2, link.address);
    a.transport.send([heartbeat(1, 2, 0)]);
    await expect.poll(() => b.received, eventually).toHaveLength(1);
    link.set({ isHung: true });
    for (let index = 1; index <= 400; index += 1) {
      a.transport.send([append(1, 2, index, 100_000), heartbeat(1, 2, index)]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(a.counters.droppedOverflow).toBeGreaterThan(100);
    await expect.poll(() => a.unreachable, eventually).toContain(2);
    link.heal();
    const commits = (): number[] =>
      b.received.flatMap((message) => (message.type === 'heartbeat' ? [message.commit] : []));
    await expect.poll(() => commits().at(-1), eventually).toBe(400);
    expect(commits()).toEqual(Array.from({ length: 401 }, (_, index) => index));
    const appended = b.received.filter((message) => message.type === 'append').length;
    expect(appended + a.counters.droppedOverflow).toBe(400);
  });
});

describe('peerService()', () => {
  it.each([
    ['another cluster', { clusterId: 'elsewhere' }, 2, 'in cluster "cluster", not "elsewhere"'],
    ['messages for another replica', {}, 7, 'replica 2 lives at this address, not 7'],
  ])('refuses %s, which both sides log once', async (_name, options, to, reason) => {
    const [a, b] = await startPair(options);
    a.addresses.set(to, b.address);
    await expect
      .poll(() => {
        a.transport.send([heartbeat(1, to, 1)]);
        return b.counters.hellosRefused;
      }, eventually)
      .toBeGreaterThan(2);
    expect(b.received).toEqual([]);
    expect(a.log).toEqual([expect.stringMatching(`^warn Peer refuses messages: .*${reason}`)]);
    expect(b.log).toEqual([expect.stringMatching(`^warn Stream of another node is refused: .*${reason}`)]);
  });

  it('takes streams once it is part of the cluster, and logs no error before', async () => {
    const [a, b] = await startPair();
    b.identity = { ...b.identity, clusterId: '' };
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => a.counters.connectionsFailed, eventually).toBeGreaterThan(0);
    b.identity = { ...b.identity, clusterId: 'cluster' };
    await expect
      .poll(() => {
        a.transport.send([heartbeat(1, 2, 2)]);
        return b.received.length;
      }, eventually)
      .toBeGreaterThan(0);
    expect(a.log.filter((line) => line.includes('refuses'))).toEqual([]);
    expect(b.log).toEqual([]);
  });

  it('ends the older stream of a replica when a newer one comes', async () => {
    const [a, b] = await startPair();
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => b.received, eventually).toHaveLength(1);
    const twin = await start({ replica: 1 });
    twin.knows(b);
    twin.transport.send([heartbeat(1, 2, 2)]);
    await expect.poll(() => b.received.length, eventually).toBeGreaterThan(1);
    await expect.poll(() => a.counters.connectionsFailed, eventually).toBeGreaterThan(0);
  });

  it('survives bytes that are no HTTP/2', async () => {
    const [a, b] = await startPair();
    const socket = connect(b.port, '127.0.0.1').on('error', () => undefined);
    stops.push(() => socket.destroy());
    socket.resume().end('GET / HTTP/1.1\r\n\r\n'.repeat(100));
    await once(socket, 'end');
    a.transport.send([heartbeat(1, 2, 1)]);
    await expect.poll(() => b.received, eventually).toHaveLength(1);
  });
});
