/** Limits of clients over the running broker: per tenant, user, address and class, over both workers and every transport. */
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import mqtt, { type IClientOptions, MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../src/main/index.ts';
import { RawClient, type RawConnect } from '../support/mqtt/raw-client.ts';
import { counted } from '../support/transports/metrics.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringmq-limits-'));
const clients: RawClient[] = [];
let broker: Broker;
let names = 0;

const listener = (name: string, settings: object = {}) => ({
  ...{ name, protocol: 'mqtt', address: '127.0.0.1:0' },
  ...settings,
});

afterEach(() => {
  for (const { socket } of clients.splice(0)) socket.destroy();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function enter(options: RawConnect = {}, name = 'plain'): Promise<RawClient> {
  const client = await RawClient.tryConnect(broker.port(name), { clientId: `c${names++}`, level: 5, ...options });
  clients.push(client);
  return client;
}

const codeOf = ({ connack }: RawClient): unknown => connack.reasonCode ?? connack.returnCode;

function exceeded(limit: string): Promise<number> {
  return counted(broker, 'ringmq_limits_exceeded_total', `limit="${limit}"`);
}

/** The broker learns of the end of a connection a moment later. */
async function enterInTheEnd(options: RawConnect = {}): Promise<RawClient> {
  for (;;) {
    const client = await enter(options);
    if (codeOf(client) === 0) return client;
    await sleep(10);
  }
}

describe('limits of classes, users and names', () => {
  beforeAll(async () => {
    broker = await startBroker({
      workers: 2,
      logLevel: 'error',
      settings: {
        listeners: [listener('plain'), listener('calm'), listener('thin'), listener('small'), listener('few')],
        mqtt: { subscriptionsMax: 4 },
        limits: {
          userConnectionsMax: 2,
          clients: [
            { listeners: ['calm'], publishRatePerS: 100, publishBurst: 5 },
            { listeners: ['thin'], publishBytesPerS: 50_000 },
            { listeners: ['small'], packetBytesMax: 256 },
            { listeners: ['few'], subscriptionsMax: 2, inflightMax: 3 },
          ],
        },
      },
    });
  });
  afterAll(() => broker.stop());

  it('slow a client down that publishes faster than it may; nothing is lost, and others are not touched', async () => {
    const reader = await enter();
    await reader.subscribe('fast/#');
    const hasty = await enter({}, 'calm');
    const startMs = performance.now();
    for (let each = 0; each < 25; each++) hasty.publish('fast/topic', `${each}`, { qos: 1 });
    const answers = await hasty.packets(25, 'puback');
    // Five at once and twenty in 200 ms; a machine that is slow takes longer, never less.
    expect(performance.now() - startMs).toBeGreaterThan(150);
    expect(answers.map(({ messageId }) => messageId)).toEqual(Array.from({ length: 25 }, (_, at) => at + 1));
    const payloads = (await reader.packets(25)).map(({ payload }) => String(payload));
    expect(payloads).toEqual(Array.from({ length: 25 }, (_, at) => `${at}`));
    expect(await exceeded('client-publish-rate')).toBeGreaterThan(0);
    expect(hasty.socket.closed).toBe(false);
  });

  it('slow a client down by the bytes that it publishes', async () => {
    const heavy = await enter({}, 'thin');
    const startMs = performance.now();
    for (let each = 0; each < 6; each++) heavy.publish('heavy', 'x'.repeat(10_000), { qos: 1 });
    await heavy.packets(6, 'puback');
    heavy.publish('heavy', 'x', { qos: 1 });
    await heavy.packet('puback');
    expect(performance.now() - startMs).toBeGreaterThan(150);
    expect(await exceeded('client-publish-bytes')).toBeGreaterThan(0);
  });

  it('tell a client the packet size of its class and hold it to it: 0x95', async () => {
    const client = await enter({}, 'small');
    expect(client.connack.properties).toMatchObject({ maximumPacketSize: 256 });
    client.publish('t', 'x'.repeat(200));
    expect(await client.barrier()).toEqual([]);
    client.publish('t', 'x'.repeat(300));
    expect(await client.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x95 }]);
    expect(await exceeded('packet-bytes')).toBe(1);
  });

  it('refuse a CONNECT that is too large before it is there', async () => {
    const client = await RawClient.open(broker.port('plain'), 5);
    clients.push(client);
    client.write('10 ffffff7f 0004');
    expect(await client.closed()).toEqual([]);
    expect(await exceeded('handshake-bytes')).toBe(1);
  });

  it('refuse subscriptions beyond those of the class and of the protocol: 0x97, and 0x80 before MQTT 5', async () => {
    const few = await enter({}, 'few');
    const codes = [];
    for (const filter of ['a', 'b', 'c', 'a']) codes.push((await few.subscribe(filter)).granted);
    expect(codes).toEqual([[0], [0], [0x97], [0]]);
    const old = await enter({ level: 4 });
    const oldCodes = [];
    for (const filter of ['a', 'b', 'c', 'd', 'e']) oldCodes.push((await old.subscribe(filter)).granted);
    expect(oldCodes).toEqual([[0], [0], [0], [0], [0x80]]);
    expect(await exceeded('client-subscriptions')).toBe(2);
  });

  it('hold back what is beyond the messages that may be under way to a client of the class', async () => {
    const few = await enter({}, 'few');
    await few.subscribe('window', 1);
    const publisher = await enter();
    for (let each = 0; each < 5; each++) publisher.publish('window', `${each}`, { qos: 1 });
    await publisher.packets(5, 'puback');
    const first = await few.packets(3);
    expect(await few.barrier()).toEqual([]);
    for (const { messageId } of first) few.send({ cmd: 'puback', messageId });
    expect((await few.packets(2)).map(({ payload }) => String(payload))).toEqual(['3', '4']);
  });

  it('count the clients of a user, and one that comes back as one', async () => {
    const response = await fetch(`http://127.0.0.1:${broker.port('http')}/api/v1/users`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'ann', password: 'secret-word' }),
    });
    expect(response.status).toBe(201);
    const ann = { username: 'ann', password: 'secret-word' };
    expect(codeOf(await enter({ ...ann, clientId: 'first' }))).toBe(0);
    const second = await enter({ ...ann, clientId: 'second' });
    expect(codeOf(second)).toBe(0);
    expect(codeOf(await enter(ann))).toBe(0x97);
    expect(codeOf(await enter({ ...ann, level: 4 }))).toBe(3);
    // It takes over: it is not refused because of its former self.
    expect(codeOf(await enter({ ...ann, clientId: 'first' }))).toBe(0);
    await second.cut();
    await enterInTheEnd(ann);
    expect(await exceeded('user-connections')).toBeGreaterThanOrEqual(2);
  });
});

describe('limits of tenants and addresses', () => {
  beforeAll(async () => {
    broker = await startBroker({
      workers: 2,
      logLevel: 'error',
      settings: {
        listeners: [
          listener('plain'),
          listener('web', { transport: 'ws' }),
          listener('file', { transport: 'unix', address: `unix:${join(folder, 'broker.sock')}` }),
        ],
        limits: {
          addressConnectionsMax: 3,
          addressAcceptRatePerS: 1,
          addressAcceptBurst: 150,
          publishExceeded: 'disconnect',
          tenants: {
            default: { connectionsMax: 1 },
            named: [{ name: 'default', connectionsMax: 5, publishRatePerS: 10, subscriptionsMax: 3 }],
          },
        },
      },
    });
  });
  afterAll(() => broker.stop());

  it('count the clients of a tenant over all transports', async () => {
    const options = (): IClientOptions => ({ reconnectPeriod: 0, protocolVersion: 5, clientId: `c${names++}` });
    const overFile = (): MqttClient => new MqttClient(() => net.connect(join(folder, 'broker.sock')), options());
    const web = await mqtt.connectAsync(`ws://127.0.0.1:${broker.port('web')}/mqtt`, options());
    const others = [overFile(), overFile(), overFile()];
    await Promise.all(others.map((each) => new Promise((resolve) => each.once('connect', resolve))));
    expect(codeOf(await enter())).toBe(0);
    expect(codeOf(await enter())).toBe(0x97);
    const refused = overFile();
    const why = await new Promise<Error>((resolve) => refused.once('error', resolve));
    expect(why).toMatchObject({ code: 0x97 });
    expect(await exceeded('tenant-connections')).toBe(2);
    await Promise.all([...others, web, refused].map((each) => each.endAsync(true)));
    await enterInTheEnd();
  });

  it('count the clients of an address', async () => {
    await enterInTheEnd();
    await enterInTheEnd();
    await enterInTheEnd();
    expect(codeOf(await enter())).toBe(0x97);
    expect(await exceeded('address-connections')).toBeGreaterThan(0);
  });

  it('count the subscriptions of a tenant over all workers, and those that end', async () => {
    const [one, other] = [await enterInTheEnd(), await enterInTheEnd()];
    expect((await one.subscribe('a')).granted).toEqual([0]);
    expect((await one.subscribe('b')).granted).toEqual([0]);
    expect((await other.subscribe('a')).granted).toEqual([0]);
    expect((await other.subscribe('b')).granted).toEqual([0x97]);
    one.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['a'] });
    await one.packet('unsuback');
    expect((await other.subscribe('b')).granted).toEqual([0]);
    expect(await exceeded('tenant-subscriptions')).toBe(1);
  });

  it('end a client with 0x96 where the settings say so', async () => {
    const [hasty, other] = [await enterInTheEnd(), await enterInTheEnd()];
    for (let each = 0; each < 50; each++) hasty.publish('t', 'x');
    expect(await hasty.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x96 }]);
    expect(await exceeded('tenant-publish-rate')).toBe(1);
    // The budget is the tenant's.
    other.publish('t', 'x');
    expect(await other.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x96 }]);
  });

  it('refuse an address that connects too often, and count it', async () => {
    const refused = (): Promise<number> =>
      counted(broker, 'ringmq_connections_refused_total', 'reason="address-accept-rate"');
    const sockets = Array.from({ length: 300 }, () => net.connect({ port: broker.port('plain'), host: '127.0.0.1' }));
    for (const socket of sockets) socket.on('error', () => undefined);
    while ((await refused()) === 0) await sleep(10);
    for (const socket of sockets) socket.destroy();
    expect(await refused()).toBeGreaterThan(0);
  });
});

describe('limits of connections', () => {
  it('shed new ones politely while the process has more memory than it may', async () => {
    broker = await startBroker({
      workers: 1,
      logLevel: 'error',
      settings: { listeners: [listener('plain')], limits: { memoryBytesMax: 1_048_576 } },
    });
    expect(codeOf(await enter())).toBe(0x89);
    expect(codeOf(await enter({ level: 4 }))).toBe(3);
    expect(await counted(broker, 'ringmq_connections_refused_total', 'reason="memory"')).toBe(2);
    for (const { socket } of clients) socket.destroy();
    await broker.stop();
  });

  it('cut silent clients of every version that asked for no keep-alive, or for a longer one', async () => {
    broker = await startBroker({
      workers: 1,
      logLevel: 'error',
      http: false,
      settings: { listeners: [listener('plain')], mqtt: { keepAliveMaxS: 1 } },
    });
    const silent = await Promise.all([
      enter(),
      enter({ keepalive: 65_535 }),
      enter({ level: 4 }),
      enter({ level: 3, keepalive: 65_535 }),
    ]);
    expect(silent[0].connack.properties).toMatchObject({ serverKeepAlive: 1 });
    const ends = await Promise.all(silent.map((client) => client.closed()));
    const told = [{ cmd: 'disconnect', reasonCode: 0x8d }];
    expect(ends).toMatchObject([told, told, [], []]);
    await broker.stop();
  });
});
