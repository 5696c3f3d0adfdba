/** What the fuzz runs found, each as a fixed test: packets that once ended a worker or made it keep memory without bound. */
import { setTimeout as sleep } from 'node:timers/promises';
import { generate, type Packet } from 'mqtt-packet';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BrokerProcess } from '../support/broker-process.ts';
import { connectPacket, publishPacket, subscribePacket } from './packets.ts';
import { Random } from './random.ts';
import { RawClient } from './raw-client.ts';
import { upgradeRequest } from './ws-frames.ts';

const random = new Random(1);
let broker: BrokerProcess;
const clients: RawClient[] = [];

beforeAll(async () => {
  broker = await BrokerProcess.start({
    workers: 2,
    logLevel: 'warn',
    settings: { 'limits.ringBytes': 1_048_576 },
    flags: ['--mqtt-ws', '127.0.0.1:0'],
  });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  // No worker died of it.
  expect(broker.unexpectedErrors).toEqual([]);
  expect(await broker.metric('ringmq_worker_restarts_total')).toBe(0);
});
afterAll(() => broker.kill());

async function connect(clientId: string, reads = true): Promise<RawClient> {
  const client = await RawClient.connect(broker.port(), reads);
  clients.push(client);
  client.send(encode({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, clientId, keepalive: 0 }));
  if (reads) await client.waitForBytes(5, 5_000);
  return client;
}

function encode(packet: Packet): Buffer {
  return generate(packet, { protocolVersion: 5 });
}

/** Sends PINGREQ and waits until something more has come. */
async function expectAlive(client: RawClient): Promise<void> {
  const before = client.receivedBytes;
  client.send(Buffer.from([0xc0, 0]));
  await client.waitForBytes(before + 2, 10_000);
  expect(client.receivedBytes).toBeGreaterThan(before);
}

describe('a broker', () => {
  it('does not die of short packets whose alias stands for a long topic', async () => {
    const subscribers = [await connect('alias-one'), await connect('alias-two')];
    for (const subscriber of subscribers) subscriber.send(subscribePacket(random, 5, ['alias/#']));
    await sleep(50);
    const publisher = await connect('alias-publisher');
    const topic = `alias/${'x'.repeat(60_000)}`;
    const options = { qos: 0, payload: Buffer.alloc(0), retain: false, topicAlias: 1 } as const;
    const short = Buffer.from([0x30, 6, 0, 0, 3, 0x23, 0, 1]);
    publisher.send(
      Buffer.concat([publishPacket(random, 5, { ...options, topic }), Buffer.alloc(short.length * 300, short)]),
    );
    for (const subscriber of subscribers) await subscriber.waitForBytes(300 * 60_000, 20_000);
    for (const subscriber of subscribers) expect(subscriber.receivedBytes).toBeGreaterThan(300 * 60_000);
    await expectAlive(publisher);
  }, 40_000);

  it('does not die of a run of small packets with a long topic for a shared group', async () => {
    const members = [await connect('member-one'), await connect('member-two')];
    for (const member of members) member.send(subscribePacket(random, 5, ['$share/group/shared/+']));
    await sleep(50);
    const topic = `shared/${'x'.repeat(300)}`;
    const one = encode({ cmd: 'publish', topic, payload: '', qos: 0, dup: false, retain: false });
    for (const name of ['one', 'two']) {
      const publisher = await connect(`shared-publisher-${name}`);
      publisher.send(Buffer.alloc(one.length * 4_000, one));
      await expectAlive(publisher);
    }
    const total = (): number => members.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0);
    for (let tries = 0; tries < 500 && total() < 8_000 * one.length; tries++) await sleep(20);
    expect(total()).toBeGreaterThanOrEqual(8_000 * one.length);
  }, 40_000);

  it('refuses a packet that its ring cannot take, and says before what it takes', async () => {
    const client = await connect('large');
    const maximum = client.received.indexOf(0x27);
    const bytesMax = client.received.readUInt32BE(maximum + 1);
    expect(bytesMax).toBeLessThan(262_144);
    client.send(
      encode({ cmd: 'publish', topic: 't', payload: Buffer.alloc(bytesMax), qos: 0, dup: false, retain: true }),
    );
    expect(await client.waitForClose(5_000)).toBe(true);
    const fitting = await connect('fitting');
    const payload = Buffer.alloc(bytesMax - 20);
    fitting.send(encode({ cmd: 'publish', topic: 't', payload, qos: 0, dup: false, retain: true }));
    await expectAlive(fitting);
  }, 20_000);

  it('stops reading from a client that does not read its acknowledgements', async () => {
    const deaf = await connect('deaf', false);
    const one = encode({ cmd: 'publish', topic: 'deaf', payload: '', qos: 1, messageId: 1, dup: false, retain: false });
    // 48 MB of acknowledgements: more than the kernel and the limits of the output hold together.
    const many = Buffer.alloc(one.length * 100_000, one);
    for (let count = 0; count < 120; count++) deaf.send(many);
    const received = (): Promise<number> =>
      broker.metric('ringmq_mqtt_packets_total', 'type="publish",direction="received"');
    let before = -1;
    for (let now = await received(); now !== before; now = await received()) {
      before = now;
      await sleep(500);
    }
    // It did read, and then it stopped.
    expect(before).toBeGreaterThan(100_000);
    expect(before).toBeLessThan(11_000_000);
    expect(deaf.socket.writableLength).toBeGreaterThan(0);
    const other = await connect('not-deaf');
    await expectAlive(other);
  }, 60_000);

  it('sends retained messages to many subscriptions without keeping the product of both', async () => {
    const publisher = await connect('retainer');
    for (let topic = 0; topic < 500; topic++) {
      publisher.send(
        publishPacket(random, 5, { topic: `kept/${topic}`, qos: 0, retain: true, payload: Buffer.alloc(100) }),
      );
    }
    await expectAlive(publisher);
    const reader = await connect('reader', false);
    const filters = Array.from({ length: 20_000 }, () => 'kept/#');
    const subscriptions = filters.map((topic) => ({ topic, qos: 1 as const, nl: false, rap: false, rh: 0 }));
    reader.send(encode({ cmd: 'subscribe', messageId: 1, subscriptions }));
    await sleep(1_000);
    // Ten million messages are due; others are served meanwhile.
    await expectAlive(publisher);
    expect(await broker.metric('process_resident_memory_bytes')).toBeLessThan(600 * 1_048_576);
  }, 30_000);

  it('leaves one connection of a client id that connects many times at once', async () => {
    for (let round = 0; round < 30; round++) {
      const racers = await Promise.all(Array.from({ length: 8 }, () => RawClient.connect(broker.port())));
      clients.push(...racers);
      const level = round % 2 === 0 ? 4 : 5;
      for (const [index, racer] of racers.entries()) {
        racer.send(connectPacket(random, level, { clientId: `race-${round}`, clean: true, sessionExpiryS: 0 }));
        if (index % 3 === 2) racer.end('reset');
      }
      const open = (): number => racers.filter(({ isClosed }) => !isClosed).length;
      for (let tries = 0; tries < 300 && open() > 1; tries++) await sleep(10);
      expect(open()).toBeLessThanOrEqual(1);
    }
  }, 60_000);

  it('counts a connection once whose WebSocket upgrade announces a body', async () => {
    const open = (): Promise<number> => broker.metric('ringmq_connections_open', 'listener="mqtt-ws"');
    for (const header of ['Content-Length: 10', 'Transfer-Encoding: chunked', 'Content-Length: 0']) {
      const client = await RawClient.connect(broker.port('mqtt-ws'));
      clients.push(client);
      client.socket.write(upgradeRequest(random, [header]));
      await client.waitForBytes(12, 5_000);
      const isRight = header === 'Content-Length: 0';
      expect(client.received.toString('latin1', 0, 12), header).toBe(`HTTP/1.1 ${isRight ? 101 : 400}`);
      client.end('reset');
      await client.waitForClose(5_000);
      for (let tries = 0; tries < 300 && (await open()) > 0; tries++) await sleep(10);
      expect(await open(), header).toBe(0);
    }
  }, 20_000);
});
