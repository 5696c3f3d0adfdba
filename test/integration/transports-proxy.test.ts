/** PROXY protocol, Unix socket and limits of listeners, over the running broker. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../src/main/index.ts';
import { TestAuthority } from '../support/certificates.ts';
import { counted } from '../support/transports/metrics.ts';
import { connectPacket, Peer, pingreq, plainPeer, welcome } from '../support/transports/peer.ts';

let authority: TestAuthority;
let folder: string;
let broker: Broker;
let ca: Buffer;
const peers: Peer[] = [];

async function open(listener: string, localAddress?: string): Promise<Peer> {
  const peer = await plainPeer(broker.port(listener), localAddress);
  peers.push(peer);
  return peer;
}

const version1 = Buffer.from('PROXY TCP4 192.0.2.1 127.0.0.1 56324 1883\r\n');
const version2 = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c6336407dc04075b', 'hex');
const local = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');

beforeAll(async () => {
  authority = new TestAuthority();
  folder = mkdtempSync(join(tmpdir(), 'ringmq-listeners-'));
  const { certificate, key } = authority.issue('mq.example', ['DNS:mq.example']);
  ca = readFileSync(authority.ca);
  const listener = (name: string, transport: string, settings: object = {}) => ({
    name,
    protocol: 'mqtt',
    transport,
    address: '127.0.0.1:0',
    ...settings,
  });
  const proxyProtocol = { enabled: true, trusted: ['127.0.0.1/32'], headerTimeoutMs: 300 };
  broker = await startBroker({
    workers: 2,
    logLevel: 'error',
    settings: {
      tls: { certificate, key },
      // The proxy's word makes them strangers from 192.0.2.1.
      access: { anonymous: 'always' },
      listeners: [
        listener('plain', 'tcp'),
        listener('proxied', 'tcp', { proxyProtocol }),
        listener('proxied-tls', 'tls', { proxyProtocol }),
        listener('proxied-ws', 'ws', { proxyProtocol }),
        listener('unix', 'unix', { address: `unix:${join(folder, 'plain.sock')}`, socketMode: '0600' }),
        listener('unix-proxied', 'unix', {
          address: `unix:${join(folder, 'proxied.sock')}`,
          proxyProtocol: { ...proxyProtocol, trusted: [] },
        }),
        listener('few', 'tcp', { connectionsMax: 2 }),
        listener('rare', 'tcp', { acceptRatePerS: 1, acceptBurst: 2 }),
        listener('slow', 'tcp', { connectionReceiveBytesPerS: 50_000 }),
        listener('hasty', 'tcp', { handshakeTimeoutMs: 200 }),
      ],
    },
  });
}, 30_000);

afterEach(() => {
  for (const peer of peers.splice(0)) peer.close();
});

afterAll(async () => {
  await broker?.stop();
  authority?.remove();
  rmSync(folder, { recursive: true, force: true });
});

describe('a listener behind a proxy', () => {
  it.each([
    ['version 1', version1],
    ['version 2', version2],
    ['LOCAL', local],
  ])('takes a header of %s in one piece with what follows, and byte by byte', async (_name, header) => {
    const whole = await open('proxied');
    expect(await whole.write(header, connectPacket('whole')).take(4)).toBe(welcome);
    expect(await whole.write(pingreq).take(2)).toBe('d000');
    const pieces = await open('proxied');
    for (const byte of Buffer.concat([header, connectPacket('pieces')])) {
      pieces.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await pieces.take(4)).toBe(welcome);
  });

  it('takes the header before TLS', async () => {
    for (const separately of [true, false]) {
      const raw = net.connect({ port: broker.port('proxied-tls'), host: '127.0.0.1' });
      raw.write(version2);
      if (separately) await new Promise((resolve) => setTimeout(resolve, 20));
      const peer = new Peer(tls.connect({ socket: raw, servername: 'mq.example', ca }));
      peers.push(peer);
      expect(await peer.write(connectPacket('secured')).take(4)).toBe(welcome);
    }
  });

  it('takes the header before a WebSocket', async () => {
    const peer = await open('proxied-ws');
    const request = [
      'GET /mqtt HTTP/1.1',
      'Host: mq.example',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Protocol: mqtt',
      '',
      '',
    ].join('\r\n');
    peer.write(version1, Buffer.from(request));
    expect(Buffer.from(await peer.take(12), 'hex').toString()).toBe('HTTP/1.1 101');
  });

  it('cuts and counts what is no header, what does not end, and what comes too late', async () => {
    const malformed = await open('proxied');
    malformed.write(connectPacket('liar'));
    await malformed.end();
    const forged = await open('proxied');
    forged.write(Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 99999 1\r\n'));
    await forged.end();
    const silent = await open('proxied');
    const endless = await open('proxied');
    endless.write(version2.subarray(0, 20));
    await Promise.all([silent.end(), endless.end()]);
    expect(await counted(broker, 'ringmq_transport_failures_total', 'proxy-malformed')).toBe(2);
    expect(await counted(broker, 'ringmq_transport_failures_total', 'proxy-timeout')).toBe(2);
  });

  it('refuses a proxy from another network before it reads a byte', async () => {
    const peer = await open('proxied', '127.0.0.2');
    expect(await peer.end()).toBe('ECONNRESET');
    expect(await counted(broker, 'ringmq_connections_refused_total', 'proxy-untrusted')).toBe(1);
  });

  it('gives the header of a listener without a proxy to the protocol, which refuses it', async () => {
    const peer = await open('plain');
    peer.write(version1, connectPacket('smuggled'));
    await peer.end();
    expect(peer.bytes.toString('hex')).not.toBe(welcome);
  });
});

describe('a Unix socket', () => {
  const connect = (name: string): Peer => {
    const peer = new Peer(net.connect({ path: join(folder, name) }));
    peers.push(peer);
    return peer;
  };

  it('serves with the permissions that it was told', async () => {
    expect(statSync(join(folder, 'plain.sock')).mode & 0o777).toBe(0o600);
    const peer = connect('plain.sock');
    expect(await peer.write(connectPacket('unix')).take(4)).toBe(welcome);
    expect(await peer.write(pingreq).take(2)).toBe('d000');
    expect(broker.url('unix')).toBe(`unix:${join(folder, 'plain.sock')}`);
  });

  it('takes the header of a proxy, whose network its file stands for', async () => {
    expect(await connect('proxied.sock').write(version2, connectPacket('unix')).take(4)).toBe(welcome);
  });
});

describe('the limits of a listener', () => {
  it('tells a client that there is no room, and lets the next one in when there is', async () => {
    const first = await open('few');
    await first.write(connectPacket('1')).take(4);
    await (await open('few')).write(connectPacket('2')).take(4);
    const third = await open('few');
    // Server unavailable, and the reason code 0x89 of version 5.
    expect(await third.write(connectPacket('3')).take(4)).toBe('20020003');
    expect(await third.end()).toBe('end');
    const modern = await open('few');
    expect((await modern.write(connectPacket('4', 5)).take(5)).slice(6, 8)).toBe('89');
    expect(await counted(broker, 'ringmq_connections_refused_total', 'listener-connections-max')).toBe(2);
    first.close();
    for (;;) {
      const again = await open('few');
      if ((await again.write(connectPacket('5')).take(4)) === welcome) break;
      again.close();
    }
  });

  it('refuses what comes faster than it may', async () => {
    const answers: string[] = [];
    for (let count = 0; count < 4; count++) {
      answers.push(await (await open('rare')).write(connectPacket(`${count}`)).take(4));
    }
    expect(answers.slice(0, 2)).toEqual([welcome, welcome]);
    expect(answers.slice(2)).toContain('20020003');
    expect(await counted(broker, 'ringmq_connections_refused_total', 'listener-accept-rate')).toBeGreaterThan(0);
  });

  it('reads a connection slower that sends more than it may, and loses nothing', async () => {
    const peer = await open('slow');
    await peer.write(connectPacket('slow')).take(4);
    peer.write(Buffer.from([0x82, 6, 0, 1, 0, 1, 116, 0]));
    await peer.take(5);
    const frame = Buffer.concat([Buffer.from([0x30, 0xcc, 0x0f, 0, 1, 116]), Buffer.alloc(1_993, 7)]);
    const started = performance.now();
    for (let count = 0; count < 40; count++) peer.write(frame);
    expect((await peer.take(40 * frame.length)).length).toBe(80 * frame.length);
    // 80 KB at 50 KB/s, of which one second's worth may come at once: this one waits until the rest is paid for.
    peer.write(frame);
    expect((await peer.take(frame.length)).length).toBe(2 * frame.length);
    expect(performance.now() - started).toBeGreaterThan(400);
  });

  it('has a time limit of its own for the hand-shake of the protocol', async () => {
    const peer = await open('hasty');
    expect(await peer.end()).toBe('end');
    expect(
      await counted(
        broker,
        'ringmq_connections_closed_total',
        'listener="hasty",protocol="mqtt",reason="handshake-timeout"',
      ),
    ).toBe(1);
  });
});

describe('a listener behind a proxy on this machine', () => {
  it('does not take strangers for clients of this machine when the proxy tells no address', async () => {
    const proxyProtocol = { enabled: true, trusted: ['127.0.0.1/32'] };
    const address = '127.0.0.1:0';
    const guarded = await startBroker({
      workers: 1,
      logLevel: 'error',
      settings: {
        listeners: [
          { name: 'plain', protocol: 'mqtt', address },
          { name: 'proxied', protocol: 'mqtt', address, proxyProtocol },
        ],
      },
    });
    try {
      const open = async (name: string): Promise<Peer> => {
        const peer = await plainPeer(guarded.port(name));
        peers.push(peer);
        return peer;
      };
      expect(await (await open('plain')).write(connectPacket('here')).take(4)).toBe(welcome);
      const notAuthorized = '20020005';
      for (const header of [local, Buffer.from('PROXY UNKNOWN\r\n')]) {
        expect(await (await open('proxied')).write(header, connectPacket('anywhere')).take(4)).toBe(notAuthorized);
      }
    } finally {
      await guarded.stop();
    }
  });
});
