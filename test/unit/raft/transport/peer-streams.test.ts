/** What a node does with connections that are not what they say: they are closed, counted, logged once, and harm nobody else. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { BatchMessage } from '../../../../src/raft/transport/message-codec.ts';
import { messageSize } from '../../../../src/raft/transport/message-codec.ts';
import type { PeerTls } from '../../../../src/raft/transport/peer-ports.ts';
import { loadPeerTls } from '../../../../src/raft/transport/peer-security.ts';
import {
  decodeRefusal,
  encodeBatchFrame,
  encodeOpening,
  frameKinds,
  helloOf,
  streamPreface,
  streamProtocol,
} from '../../../../src/raft/transport/stream-frames.ts';
import { encodeFrame, FrameReader } from '../../../../src/rpc/frames.ts';
import { TestAuthority } from '../../../support/certificates.ts';
import { eventually, TestPeer, type TestPeerOptions } from './test-peer.ts';

const stops: (() => unknown)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function start(options: Partial<TestPeerOptions> = {}): Promise<TestPeer> {
  const peer = await TestPeer.start({ replica: 2, ...options });
  stops.push(() => peer.stop());
  return peer;
}

/** The frames that the node answers, until it closes the connection. */
class Raw {
  readonly socket: Socket;
  readonly frames: [kind: number, body: Buffer][] = [];
  isClosed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    const reader = new FrameReader(1 << 20, (kind, body) => this.frames.push([kind, Buffer.from(body)]) > 0);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
    socket.on('close', () => {
      this.isClosed = true;
    });
    stops.push(() => socket.destroy());
  }

  static to(peer: TestPeer): Raw {
    return new Raw(connect({ port: peer.port, host: '127.0.0.1', noDelay: true }));
  }

  get refusal(): { readonly code: number; readonly details: string } | null {
    const last = this.frames.at(-1);
    return last?.[0] === frameKinds.refused ? decodeRefusal(last[1]) : null;
  }
}

const opening = encodeOpening(helloOf({ clusterId: 'cluster', replica: 1, name: 'node-1' }, 2));
const heartbeat: BatchMessage = { type: 'heartbeat', from: 1, to: 2, term: 3, commit: 4, readSequence: 0 };

function batch(...messages: BatchMessage[]): Buffer {
  const size = messages.reduce((sum, message) => sum + messageSize(message), 0);
  return encodeBatchFrame(messages, size);
}

function damaged(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] ^= 1;
  return copy;
}

describe('PeerStreams', () => {
  it('reads a stream that comes byte by byte', async () => {
    const peer = await start();
    const raw = Raw.to(peer);
    for (const byte of Buffer.concat([opening, batch(heartbeat), batch(heartbeat, heartbeat)])) {
      raw.socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => peer.frames, eventually).toEqual([1, 2]);
    expect(peer.received[0]).toEqual(heartbeat);
    expect(raw.frames).toEqual([[frameKinds.accepted, Buffer.alloc(0)]]);
    expect(peer.seen).toEqual([1]);
  });

  it('answers pings', async () => {
    const raw = Raw.to(await start());
    raw.socket.write(Buffer.concat([opening, encodeFrame(frameKinds.ping, Buffer.alloc(0))]));
    await expect
      .poll(() => raw.frames.map(([kind]) => kind), eventually)
      .toEqual([frameKinds.accepted, frameKinds.pong]);
  });

  it.each([
    ['a batch with a damaged checksum', damaged(batch(heartbeat), 6), 'its checksum differs'],
    ['a batch with a damaged message', damaged(batch(heartbeat), 12), 'its checksum differs'],
    ['a batch that is too short', encodeFrame(frameKinds.batch, Buffer.of(1)), 'ends too early'],
    ['a frame of an unknown kind', encodeFrame(99, Buffer.of(1)), 'no kind 99'],
    ['a second hello', opening.subarray(streamPreface.length), 'no kind 1'],
    ['a frame of four gigabytes', Buffer.from([255, 255, 255, 255, 2]), '4294967295 bytes'],
  ])('ends a stream with %s, counts it, and logs it once', async (_name, bytes, reason) => {
    const peer = await start();
    for (let times = 1; times <= 3; times += 1) {
      const raw = Raw.to(peer);
      raw.socket.write(Buffer.concat([opening, batch(heartbeat), bytes, batch(heartbeat)]));
      await expect.poll(() => raw.isClosed, eventually).toBe(true);
      expect(raw.refusal?.details).toContain(reason);
      expect(peer.counters.framesDamaged).toBe(times);
      // What came before counts, what comes after does not.
      expect(peer.received).toHaveLength(times);
    }
    expect(peer.log).toEqual([expect.stringContaining('warn Stream of another node cannot be read: ')]);
  });

  it.each([
    ['does not begin with a hello', Buffer.concat([streamPreface, batch(heartbeat)]), 'no hello came first'],
    ['has bytes in place of a hello', Buffer.concat([streamPreface, encodeFrame(1, Buffer.alloc(9, 255))]), 'no hello'],
    ['begins with another preface', Buffer.from('RINGPEAR and more'), 'it begins otherwise'],
    ['has an endless hello', Buffer.concat([streamPreface, Buffer.from([0, 32, 0, 0, 1])]), '8192 bytes'],
  ])('refuses a stream that %s', async (_name, bytes, reason) => {
    const peer = await start();
    const raw = Raw.to(peer);
    raw.socket.write(bytes);
    await expect.poll(() => raw.isClosed, eventually).toBe(true);
    expect(raw.refusal?.details).toContain(reason);
    expect([peer.received, peer.seen]).toEqual([[], []]);
  });

  it('says goodbye when the node stops, and takes no streams any more', async () => {
    const peer = await start();
    const [accepted, silent] = [Raw.to(peer), Raw.to(peer)];
    accepted.socket.write(opening);
    silent.socket.write(streamPreface.subarray(0, 3));
    await expect.poll(() => accepted.frames, eventually).toHaveLength(1);
    peer.service.close();
    await expect.poll(() => [accepted.refusal?.details, silent.isClosed], eventually).toEqual(['The node stops', true]);
    const late = Raw.to(peer);
    late.socket.write(opening);
    await expect.poll(() => late.refusal?.details, eventually).toBe('The node stops');
  });

  it('goes on with others while one connection says nothing', async () => {
    const peer = await start();
    const silent = Raw.to(peer);
    await once(silent.socket, 'connect');
    const raw = Raw.to(peer);
    raw.socket.write(Buffer.concat([opening, batch(heartbeat)]));
    await expect.poll(() => peer.received, eventually).toHaveLength(1);
    expect(silent.isClosed).toBe(false);
  });
});

describe('PeerLink', () => {
  it.each([
    ['speaks HTTP/2', Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])],
    ['sends nonsense', Buffer.alloc(64, 0xff)],
    [
      'accepts twice',
      Buffer.concat([encodeFrame(frameKinds.accepted, Buffer.alloc(0)), encodeFrame(16, Buffer.alloc(0))]),
    ],
  ])('gives up a peer that %s, and tries again later', async (_name, bytes) => {
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.on('error', () => undefined).resume();
      socket.write(bytes);
      stops.push(() => socket.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    stops.push(() => server.close());
    const address = server.address();
    const peer = await start();
    peer.addresses.set(3, `127.0.0.1:${typeof address === 'object' ? address?.port : 0}`);
    await expect
      .poll(() => {
        peer.transport.send([{ ...heartbeat, from: 2, to: 3 }]);
        return connections;
      }, eventually)
      .toBeGreaterThan(2);
    expect(peer.unreachable).toContain(3);
    expect(peer.log.filter((line) => line.startsWith('warn Peer is not reached'))).not.toEqual([]);
  });

  it('reports an address that nobody can connect to', async () => {
    const peer = await start();
    peer.addresses.set(3, '127.0.0.1:99999');
    peer.transport.send([{ ...heartbeat, from: 2, to: 3 }]);
    await expect.poll(() => peer.unreachable, eventually).toContain(3);
    expect(peer.log).toEqual([expect.stringContaining('99999')]);
  });
});

describe('streams under mutual TLS', () => {
  let authority: TestAuthority;
  let other: TestAuthority;
  let tls: PeerTls;

  beforeAll(() => {
    authority = new TestAuthority();
    other = new TestAuthority();
    tls = loadPeerTls(authority.issue('node', ['IP:127.0.0.1']));
  });

  afterAll(() => {
    authority.remove();
    other.remove();
  });

  it('are not given to a peer with a certificate of another authority', async () => {
    const forged = await start({ replica: 3, tls: loadPeerTls(other.issue('y', ['IP:127.0.0.1'])) });
    const peer = await start({ tls });
    peer.knows(forged);
    peer.transport.send([{ ...heartbeat, from: 2, to: 3 }]);
    await expect.poll(() => peer.unreachable, eventually).toContain(3);
    expect(forged.received).toEqual([]);
  });

  it.each([
    ['without a certificate', () => ({})],
    [
      'with a certificate of another authority',
      () => {
        const { certificate, key } = loadPeerTls(other.issue('z', ['IP:127.0.0.1']));
        return { cert: certificate, key };
      },
    ],
  ])('are refused to whoever comes %s', async (_name, credentials) => {
    const peer = await start({ tls });
    const socket = connectTls({
      port: peer.port,
      host: '127.0.0.1',
      ca: tls.ca,
      ALPNProtocols: [streamProtocol],
      ...credentials(),
    });
    const raw = new Raw(socket);
    socket.on('secureConnect', () => socket.write(Buffer.concat([opening, batch(heartbeat)])));
    await expect.poll(() => raw.isClosed, eventually).toBe(true);
    expect([raw.frames, peer.received]).toEqual([[], []]);
  });

  it('are refused to whoever comes without TLS', async () => {
    const peer = await start({ tls });
    const raw = Raw.to(peer);
    raw.socket.write(Buffer.concat([opening, batch(heartbeat)]));
    await expect.poll(() => raw.isClosed, eventually).toBe(true);
    expect(peer.received).toEqual([]);
  });
});
