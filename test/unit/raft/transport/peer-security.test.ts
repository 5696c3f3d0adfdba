/** Who may be a peer, with real certificates. */
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { probePeer } from '../../../../src/raft/transport/join-client.ts';
import type { PeerTls } from '../../../../src/raft/transport/peer-ports.ts';
import {
  clusterAddressProblem,
  isLoopbackAddress,
  joinTokenMatches,
  loadPeerTls,
} from '../../../../src/raft/transport/peer-security.ts';
import { TestAuthority } from '../../../support/certificates.ts';
import { eventually, TestPeer } from './test-peer.ts';

describe('clusterAddressProblem()', () => {
  it.each(['127.0.0.1:1', '127.9.9.9:1', 'localhost:1', 'LOCALHOST:1', '[::1]:1'])(
    'lets %s pass without TLS',
    (address) => {
      expect(isLoopbackAddress(address)).toBe(true);
      expect(clusterAddressProblem(address, { hasTls: false, isInsecureAllowed: false })).toBe(null);
    },
  );

  it.each(['0.0.0.0:1', '[::]:1', '192.168.1.1:1', '[2001:db8::1]:1', 'node.example:1', '127.0.0.1.example:1'])(
    'refuses %s without TLS unless it is allowed',
    (address) => {
      expect(clusterAddressProblem(address, { hasTls: false, isInsecureAllowed: false })).toContain(`"${address}"`);
      expect(clusterAddressProblem(address, { hasTls: true, isInsecureAllowed: false })).toBe(null);
      expect(clusterAddressProblem(address, { hasTls: false, isInsecureAllowed: true })).toBe(null);
    },
  );
});

describe('joinTokenMatches()', () => {
  it('compares whole tokens, and asks for none when there is none', () => {
    expect(joinTokenMatches(null, 'anything')).toBe(true);
    expect(joinTokenMatches('secret', 'secret')).toBe(true);
    for (const wrong of ['', 'secre', 'secrets', 'Secret']) expect(joinTokenMatches('secret', wrong)).toBe(false);
    expect(joinTokenMatches('', '')).toBe(true);
  });
});

describe('mutual TLS', () => {
  let authority: TestAuthority;
  let other: TestAuthority;
  let tls: PeerTls;
  const peers: TestPeer[] = [];
  const call = { timeoutMs: 2_000 };

  beforeAll(() => {
    authority = new TestAuthority();
    other = new TestAuthority();
    tls = loadPeerTls(authority.issue('node', ['IP:127.0.0.1']));
  });

  afterEach(async () => {
    for (const peer of peers.splice(0)) await peer.stop();
  });

  afterAll(() => {
    authority.remove();
    other.remove();
  });

  async function start(replica: number, with_: PeerTls | null): Promise<TestPeer> {
    const peer = await TestPeer.start({ replica, tls: with_ });
    peers.push(peer);
    return peer;
  }

  it('carries messages between nodes with certificates of the same authority', async () => {
    const [a, b] = [await start(1, tls), await start(2, tls)];
    a.knows(b);
    a.transport.send([{ type: 'timeout-now', from: 1, to: 2, term: 1 }]);
    await expect.poll(() => b.received, eventually).toHaveLength(1);
    expect(await probePeer(b.address, { ...call, tls })).toEqual({ clusterId: 'cluster', replica: 2, name: 'node-2' });
  });

  it.each([
    [
      'with a certificate of another authority',
      () => ({ ...loadPeerTls(other.issue('x', ['IP:127.0.0.1'])), ca: tls.ca }),
    ],
    ['without TLS', () => null],
  ])('is refused to a node %s', async (_name, credentials) => {
    const peer = await start(2, tls);
    const with_ = credentials();
    const probe = (async () => probePeer(peer.address, { ...call, tls: with_ }))();
    await expect(probe).rejects.toThrow();
    const stranger = await start(1, null);
    stranger.knows(peer);
    stranger.transport.send([{ type: 'timeout-now', from: 1, to: 2, term: 1 }]);
    await expect.poll(() => stranger.unreachable, eventually).toContain(2);
    expect(peer.received).toEqual([]);
  });

  it('is refused by the server to a client without a certificate', async () => {
    const peer = await start(2, tls);
    const socket = connect({ port: peer.port, host: '127.0.0.1', ca: tls.ca, ALPNProtocols: ['h2'] });
    const ended = new Promise((resolve) => {
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code));
      socket.on('end', () => resolve('end'));
    });
    socket.resume();
    expect(await ended).toMatch(/ERR_SSL_.*CERTIFICATE_REQUIRED/);
  });

  it('is not given to a server with a certificate of another authority, or for another host', async () => {
    const forged = await start(1, loadPeerTls(other.issue('y', ['IP:127.0.0.1'])));
    await expect(probePeer(forged.address, { ...call, tls })).rejects.toThrow();
    const elsewhere = await start(2, loadPeerTls(authority.issue('z', ['DNS:elsewhere.example'])));
    await expect(probePeer(elsewhere.address, { ...call, tls })).rejects.toThrow();
    const named = { ...tls, serverName: 'elsewhere.example' };
    expect(await probePeer(elsewhere.address, { ...call, tls: named })).toMatchObject({ replica: 2 });
  });

  it('needs files that can be read', () => {
    expect(() => loadPeerTls({ ca: '/nowhere/ca', certificate: '/nowhere/c', key: '/nowhere/k' })).toThrow(
      '/nowhere/ca',
    );
  });
});
