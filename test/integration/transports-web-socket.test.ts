/** WebSockets of the running broker: the rules of MQTT for them, frames in any cut, and what attackers send. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { type Broker, startBroker } from '../../src/main/index.ts';
import { TestAuthority } from '../support/certificates.ts';
import { counted } from '../support/transports/metrics.ts';
import { connectPacket, type Peer, pingreq, plainPeer, tlsPeer, welcome } from '../support/transports/peer.ts';

let authority: TestAuthority;
let broker: Broker;
let ca: Buffer;
const peers: Peer[] = [];
const mask = Buffer.from([1, 2, 3, 4]);

function upgrade(headers: Readonly<Record<string, string>> = {}, path = '/mqtt'): Buffer {
  const all = {
    Host: 'mq.example',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol': 'mqtt',
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === '' ? [] : [`${name}: ${value}`]));
  return Buffer.from([`GET ${path} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
}

/** A masked frame; `opcode` 2 is binary, 1 text, 0 a continuation. */
function frame(payload: Uint8Array, opcode = 2, fin = true): Buffer {
  const { length } = payload;
  const head = length < 126 ? [0x80 | length] : [0xfe, length >> 8, length & 255];
  const masked = Uint8Array.from(payload, (byte, index) => byte ^ mask[index & 3]);
  return Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | opcode, ...head]), mask, masked]);
}

/** The status line of the answer to an upgrade, and the whole head. */
async function request(peer: Peer, bytes: Buffer): Promise<{ status: number; head: string }> {
  peer.write(bytes);
  while (!peer.bytes.includes('\r\n\r\n') && peer.ended === null) await new Promise((resolve) => setImmediate(resolve));
  const end = peer.bytes.indexOf('\r\n\r\n') + 4;
  const head = peer.bytes.toString('latin1', 0, end);
  peer.bytes = peer.bytes.subarray(end);
  return { status: Number(head.slice(9, 12)), head };
}

async function open(listener = 'ws', headers: Readonly<Record<string, string>> = {}): Promise<Peer> {
  const peer = await plainPeer(broker.port(listener));
  peers.push(peer);
  const { status } = await request(peer, upgrade(headers));
  expect(status).toBe(101);
  return peer;
}

/** The payload of the next frame that the broker sends, which is short. */
async function answer(peer: Peer): Promise<string> {
  const head = await peer.take(2);
  return peer.take(Number.parseInt(head.slice(2), 16));
}

/** The code of the close frame that comes next. */
async function closeCode(peer: Peer): Promise<number> {
  const head = await peer.take(2);
  if (!head.startsWith('88')) return head === '' ? 1006 : -1;
  return Number.parseInt((await peer.take(Number.parseInt(head.slice(2), 16))).slice(0, 4), 16);
}

async function statusOf(headers: Readonly<Record<string, string>>, path?: string): Promise<number> {
  const peer = await plainPeer(broker.port('ws'));
  peers.push(peer);
  return (await request(peer, upgrade(headers, path))).status;
}

beforeAll(async () => {
  authority = new TestAuthority();
  const { certificate, key } = authority.issue('mq.example', ['DNS:mq.example', 'IP:127.0.0.1']);
  ca = readFileSync(authority.ca);
  const listener = (name: string, transport: string, settings: object = {}) => ({
    name,
    protocol: 'mqtt',
    transport,
    address: '127.0.0.1:0',
    ...settings,
  });
  broker = await startBroker({
    workers: 2,
    logLevel: 'error',
    settings: {
      tls: { certificate, key },
      listeners: [
        listener('ws', 'ws', { webSocket: { messageBytesMax: 200_000 } }),
        listener('wss', 'wss'),
        listener('listed', 'ws', { webSocket: { path: '/elsewhere', originsAllowed: ['https://console.example'] } }),
        listener('short', 'ws', { handshakeTimeoutMs: 300 }),
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
});

describe('a WebSocket listener', () => {
  it('agrees on the sub-protocol by the names of MQTT and confirms no extension', async () => {
    const peer = await plainPeer(broker.port('ws'));
    peers.push(peer);
    const offers = {
      'Sec-WebSocket-Protocol': 'chat, mqttv3.1, mqtt',
      'Sec-WebSocket-Extensions': 'permessage-deflate',
    };
    const { status, head } = await request(peer, upgrade(offers));
    expect(status).toBe(101);
    expect(head.toLowerCase()).toContain('sec-websocket-protocol: mqtt\r\n');
    expect(head.toLowerCase()).not.toContain('sec-websocket-extensions');
    const expected = createHash('sha1')
      .update('dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11')
      .digest('base64');
    expect(head).toContain(expected);
    expect(await statusOf({ 'Sec-WebSocket-Protocol': 'mqttv3.1' })).toBe(101);
  });

  it('refuses what is no upgrade to MQTT', async () => {
    expect(await statusOf({ 'Sec-WebSocket-Protocol': '' })).toBe(400);
    expect(await statusOf({ 'Sec-WebSocket-Protocol': 'amqp' })).toBe(400);
    expect(await statusOf({}, '/other')).toBe(404);
    expect(await statusOf({ 'Sec-WebSocket-Version': '8' })).toBe(426);
    expect(await statusOf({ Upgrade: '', Connection: 'close' })).toBe(426);
    expect(await statusOf({ Origin: 'https://evil.example' })).toBe(403);
    expect(await statusOf({ Origin: 'null' })).toBe(403);
    expect(await statusOf({ Origin: 'https://mq.example' })).toBe(101);
    expect(await counted(broker, 'ringmq_transport_failures_total', 'upgrade-refused')).toBeGreaterThanOrEqual(7);
  });

  it('keeps to its own path and list of origins', async () => {
    const ask = async (origin: string, path: string): Promise<number> => {
      const peer = await plainPeer(broker.port('listed'));
      peers.push(peer);
      return (await request(peer, upgrade({ Origin: origin }, path))).status;
    };
    expect(await ask('https://console.example', '/elsewhere')).toBe(101);
    expect(await ask('https://mq.example', '/elsewhere')).toBe(403);
    expect(await ask('https://console.example', '/mqtt')).toBe(404);
  });

  it('takes packets that span messages, messages of many packets, and fragments', async () => {
    const peer = await open();
    const connect = connectPacket('pieces');
    for (const byte of connect) peer.write(frame(Buffer.of(byte)));
    expect(await answer(peer)).toBe(welcome);
    peer.write(frame(Buffer.concat([pingreq, pingreq, pingreq])));
    expect(await answer(peer)).toBe('d000d000d000');
    peer.write(
      frame(pingreq.subarray(0, 1), 2, false),
      frame(Buffer.from('are you there'), 9),
      frame(pingreq.subarray(1), 0),
    );
    expect(await peer.take(2)).toBe('8a0d');
    await peer.take(13);
    expect(await answer(peer)).toBe('d000');
  });

  it('closes with 1003 on text', async () => {
    const peer = await open();
    peer.write(frame(connectPacket('text'), 1));
    expect(await closeCode(peer)).toBe(1003);
    expect(await counted(broker, 'ringmq_transport_failures_total', 'web-socket-text')).toBe(1);
  });

  it('carries large messages back and forth, over TLS too', async () => {
    for (const url of [`${broker.url('ws')}/mqtt`, `${broker.url('wss')}/mqtt`]) {
      const client = new WebSocket(url, ['mqtt'], { ca });
      await new Promise((resolve) => client.once('open', resolve));
      let received = Buffer.alloc(0);
      client.on('message', (data: Buffer) => {
        received = Buffer.concat([received, data]);
      });
      const until = async (length: number): Promise<void> => {
        while (received.length < length) await new Promise((resolve) => setImmediate(resolve));
      };
      client.send(connectPacket('large'));
      client.send(Buffer.from([0x82, 6, 0, 1, 0, 1, 116, 0]));
      await until(9);
      const length = 150_000;
      const publication = Buffer.alloc(7 + length, 9);
      publication.set([
        0x30,
        ((length + 3) & 127) | 128,
        (((length + 3) >> 7) & 127) | 128,
        (length + 3) >> 14,
        0,
        1,
        116,
      ]);
      // Fewer bytes than may wait for one connection: beyond it messages of this QoS are dropped.
      for (let count = 0; count < 4; count++) client.send(publication);
      await until(9 + 4 * publication.length);
      expect(received.subarray(9).equals(Buffer.concat(Array.from({ length: 4 }, () => publication)))).toBe(true);
      client.close();
      await new Promise((resolve) => client.once('close', resolve));
    }
  });

  it('bounds what waits for a client that does not read', async () => {
    const reader = await open();
    reader.write(frame(connectPacket('deaf')));
    await answer(reader);
    reader.write(frame(Buffer.from([0x82, 6, 0, 1, 0, 1, 100, 0])));
    await answer(reader);
    reader.socket.pause();
    const writer = await open();
    writer.write(frame(connectPacket('loud')));
    await answer(writer);
    const publication = Buffer.concat([Buffer.from([0x30, 0xd3, 0xe8, 0x03, 0, 1, 100]), Buffer.alloc(62_544)]);
    for (let count = 0; count < 400; count++) {
      if (!writer.socket.write(frame(publication)))
        await new Promise((resolve) => writer.socket.once('drain', resolve));
    }
    writer.write(frame(pingreq));
    expect(await answer(writer)).toBe('d000');
    expect(await counted(broker, 'ringmq_messages_dropped_total', 'output-full')).toBeGreaterThan(0);
  });
});

describe('a WebSocket listener under attack', () => {
  it('ends connections that break the protocol', async () => {
    const unmasked = await open();
    unmasked.write(Buffer.from([0x82, 2, 0xc0, 0]));
    expect([1002, 1006]).toContain(await closeCode(unmasked));
    const reserved = await open();
    reserved.write(Buffer.concat([Buffer.from([0xc2, 0x82]), mask, pingreq]));
    expect([1002, 1006]).toContain(await closeCode(reserved));
    const orphan = await open();
    orphan.write(frame(pingreq, 0));
    expect([1002, 1006]).toContain(await closeCode(orphan));
    const longPing = await open();
    longPing.write(frame(Buffer.alloc(126), 9));
    expect([1002, 1006]).toContain(await closeCode(longPing));
  });

  it('refuses a message by its declared length, and one that grows by fragments', async () => {
    const declared = await open();
    declared.write(Buffer.from([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]));
    expect([1009, 1006]).toContain(await closeCode(declared));
    const growing = await open();
    const piece = Buffer.alloc(60_000);
    growing.write(frame(piece, 2, false));
    for (let count = 0; count < 4; count++) growing.write(frame(piece, 0, false));
    expect([1009, 1006]).toContain(await closeCode(growing));
    expect(await counted(broker, 'ringmq_transport_failures_total', 'web-socket-too-big')).toBeGreaterThan(0);
  });

  it('refuses a packet that declares more than its messages hold', async () => {
    const peer = await open();
    // CONNECT of 256 MB in a message of a few bytes.
    peer.write(frame(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4])));
    const head = await peer.take(2);
    expect(head === '' || head.startsWith('88') || head.startsWith('82')).toBe(true);
  });

  it('answers huge headers and broken requests, and cuts those that take too long', async () => {
    const huge = await plainPeer(broker.port('ws'));
    peers.push(huge);
    expect((await request(huge, upgrade({ 'X-Padding': 'x'.repeat(40_000) }))).status).toBe(431);
    const many = await plainPeer(broker.port('ws'));
    peers.push(many);
    const headers = Object.fromEntries(Array.from({ length: 3_000 }, (_, index) => [`X-${index}`, 'x']));
    expect((await request(many, upgrade(headers))).status).toBe(431);
    const broken = await plainPeer(broker.port('ws'));
    peers.push(broken);
    expect((await request(broken, Buffer.from('\0\0\0\0 nonsense\r\n\r\n'))).status).toBe(400);
    const silent = await plainPeer(broker.port('short'));
    const slow = await plainPeer(broker.port('short'));
    peers.push(silent, slow);
    slow.write(Buffer.from('GET /mqtt HTTP/1.1\r\n'));
    const timer = setInterval(() => slow.write(Buffer.from('X')), 40);
    await Promise.all([silent.end(), slow.end()]);
    clearInterval(timer);
    expect(await counted(broker, 'ringmq_transport_failures_total', 'upgrade-timeout')).toBe(2);
  });

  it('does not inflate: a compressed frame is an error', async () => {
    const peer = await open('ws', { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' });
    // RSV1 without the extension, over what would inflate a thousandfold.
    peer.write(Buffer.concat([Buffer.from([0xc2, 0x8a]), mask, Buffer.alloc(10)]));
    expect([1002, 1006]).toContain(await closeCode(peer));
  });

  it('refuses HTTP over TLS that is no WebSocket, and TLS that is no HTTP', async () => {
    const http = await tlsPeer({ port: broker.port('wss'), ca });
    peers.push(http);
    expect((await request(http, Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))).status).toBe(404);
    const mqtt = await tlsPeer({ port: broker.port('wss'), ca });
    peers.push(mqtt);
    mqtt.write(connectPacket('no upgrade'));
    await mqtt.end();
    const wrongAlpn = await tlsPeer({ port: broker.port('wss'), ca, ALPNProtocols: ['mqtt'] });
    expect(wrongAlpn.ended).not.toBe(null);
  });

  it('has no connection left when all have gone', async () => {
    for (const peer of peers.splice(0)) peer.close();
    while ((await counted(broker, 'ringmq_connections_open', '')) > 0)
      await new Promise((resolve) => setTimeout(resolve, 10));
  });
});
