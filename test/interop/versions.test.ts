/** Clients of different versions and libraries on one topic, and what the broker refuses to each. */
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { generate } from 'mqtt-packet';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ensureMosquittoClients, ensurePahoPython } from '../../scripts/interop-setup.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import type { ConnectOptions, InteropClient, Qos, Version } from './support/client.ts';
import { treacherousNames } from './support/common-suite.ts';
import { commonSettings, setupLimitMs, unique } from './support/fixture.ts';
import { MosquittoSub, mosquittoPub, mosquittoVersions } from './support/mosquitto.ts';
import { MqttJsLibrary } from './support/mqtt-js.ts';
import { PahoLibrary } from './support/paho.ts';

const mqttJs = new MqttJsLibrary();
const paho = new PahoLibrary();
const versions: readonly Version[] = [3, 4, 5];
let broker: BrokerProcess;
const processes: MosquittoSub[] = [];

beforeAll(async () => {
  ensureMosquittoClients();
  ensurePahoPython();
  broker = await BrokerProcess.start({ settings: commonSettings });
}, setupLimitMs);
afterEach(async () => {
  for (const each of processes.splice(0)) await each.stop('SIGKILL');
  await Promise.all([mqttJs.closeAll(), paho.closeAll()]);
});
afterAll(() => broker.stop());

function connectJs(version: Version, options: Partial<ConnectOptions> = {}): Promise<InteropClient> {
  return mqttJs.connect({ port: broker.port(), version, clientId: unique('client'), ...options });
}

/** Sends bytes and answers everything that came until the broker closed the connection. */
async function ask(bytes: Buffer): Promise<Buffer> {
  const socket = connectSocket(broker.port(), '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // A reset after the answer is an end as well.
  socket.on('error', () => undefined);
  socket.write(bytes);
  await once(socket, 'close');
  return Buffer.concat(chunks);
}

describe('all versions on one topic', () => {
  it('MQTT.js, paho and mosquitto exchange messages of every QoS', async () => {
    const topic = unique('everybody');
    const connecting = versions.flatMap((version) => [
      connectJs(version),
      paho.connect({ port: broker.port(), version, clientId: unique('client') }),
    ]);
    const clients: InteropClient[] = await Promise.all(connecting);
    for (const client of clients) await client.subscribe(topic);
    for (const version of mosquittoVersions) {
      const subscriber = new MosquittoSub(broker.port(), version, ['-t', topic, '-q', '2']);
      processes.push(subscriber);
      await subscriber.subscribed();
    }
    const expected: string[] = [];
    for (const qos of [0, 1, 2] as const) {
      for (const [index, client] of clients.entries()) {
        expected.push(`${index} ${qos}`);
        await client.publish(topic, `${index} ${qos}`, { qos });
      }
      for (const version of mosquittoVersions) {
        expected.push(`${version} ${qos}`);
        await mosquittoPub(broker.port(), version, ['-t', topic, '-q', `${qos}`, '-m', `${version} ${qos}`]);
      }
    }
    const sorted = expected.sort();
    for (const client of clients) {
      const received = await client.exactly(expected.length);
      expect(received.map(({ payload }) => payload.toString()).sort()).toEqual(sorted);
      expect(received.every(({ payload, qos }) => payload.toString().endsWith(`${qos}`))).toBe(true);
    }
    for (const subscriber of processes) {
      const received = await subscriber.received(expected.length);
      expect(received.map(({ payload }) => payload).sort()).toEqual(sorted);
    }
  });

  it('properties reach MQTT 5 clients only, whoever is beside them', async () => {
    const topic = unique('properties');
    const [old, first, second] = [await connectJs(4), await connectJs(5), await connectJs(5)];
    for (const client of [old, first, second]) await client.subscribe(topic);
    const properties = {
      contentType: 'text',
      correlationData: 'x',
      userProperties: treacherousNames.map((name) => [name, name] as const),
    };
    for (const qos of [0, 1, 2] as const) {
      await (await connectJs(5)).publish(topic, 'with', { qos, properties });
      await (await connectJs(3)).publish(topic, 'without', { qos });
    }
    for (const client of [old, first, second]) {
      for (const { payload, properties: got } of await client.exactly(6)) {
        expect(got).toEqual(client.version === 5 && payload.toString() === 'with' ? properties : {});
      }
    }
  });

  it('a session that was made with one version goes on with another', async () => {
    const [topic, clientId] = [unique('session'), unique('client')];
    const first = await connectJs(4, { clientId, clean: false });
    await first.subscribe(topic);
    await first.disconnect();
    const publisher = await connectJs(5);
    const properties = { userProperties: [['a', 'b'] as const] };
    await publisher.publish(topic, 'waits', { qos: 1, properties });
    const second = await connectJs(5, { clientId, clean: false, properties: { sessionExpiryInterval: 100 } });
    expect(second.connack.sessionPresent).toBe(true);
    expect((await second.exactly(1))[0]?.properties).toEqual(properties);
    await second.disconnect();
    await publisher.publish(topic, 'waits', { qos: 2, properties });
    const third = await connectJs(3, { clientId, clean: false });
    expect((await third.exactly(1))[0]).toMatchObject({ qos: 2, properties: {} });
  });

  it('a group shares among members of all versions', async () => {
    const topic = unique('shared');
    const members = await Promise.all(versions.map((version) => connectJs(version)));
    for (const member of members) await member.subscribe([{ topic: `$share/g/${topic}`, qos: 1 }]);
    const publisher = await connectJs(5);
    for (let index = 0; index < 30; index++) await publisher.publish(topic, `${index}`, { qos: (index % 3) as Qos });
    await Promise.all(members.map((member) => member.exactly(10)));
  });
});

describe('refusals', () => {
  // The libraries refuse it themselves, so the broker is asked by a socket.
  it.each([3, 4] as const)(
    'MQTT level %i without a client id and with a session to keep is refused with 2',
    async (level) => {
      const protocolId = level === 3 ? 'MQIsdp' : 'MQTT';
      const packet = generate({
        cmd: 'connect',
        protocolId,
        protocolVersion: level,
        clean: false,
        clientId: 'x',
        keepalive: 0,
      });
      // The library generates no such packet either: the id is taken out afterwards.
      const withoutId = Buffer.concat([packet.subarray(0, -3), Buffer.from([0, 0])]);
      withoutId[1] = withoutId.length - 2;
      expect((await ask(withoutId)).toString('hex')).toBe('20020002');
    },
  );

  it('a connection that begins with anything but CONNECT is closed', async () => {
    for (const bytes of ['c000', '300400016178', 'GET / HTTP/1.1\r\n\r\n', '100400044d51']) {
      const answer = await ask(/^[0-9a-f]+$/.test(bytes) ? Buffer.from(bytes, 'hex') : Buffer.from(bytes));
      expect(answer.length).toBe(0);
    }
  });

  it('an unknown protocol level is refused in words that every client knows', async () => {
    for (const level of [2, 6, 127]) {
      const packet = Buffer.from([0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, level, 2, 0, 60, 0, 1, 0x61]);
      // As MQTT 3 says it, or as MQTT 5 does: reason 0x84.
      expect(['20020001', '2003008400']).toContain((await ask(packet)).toString('hex'));
    }
  });

  it('a packet above the maximum ends the connection, with a reason for MQTT 5', async () => {
    for (const [version, reason] of [
      [4, null],
      [5, 0x95],
    ] as const) {
      const client = await connectJs(version);
      client.publish('large', Buffer.alloc(2_000_000)).catch(() => undefined);
      expect(await client.closed).toBe(reason);
    }
  });

  it.each([
    { topic: '', topicAlias: 3, reason: 0x82 },
    { topic: 'x', topicAlias: 65, reason: 0x94 },
  ])(
    'topic "$topic" with alias $topicAlias ends the connection with a reason',
    async ({ topic, topicAlias, reason }) => {
      const options = { protocolVersion: 5 };
      const packets = [
        generate({ cmd: 'connect', protocolVersion: 5, clientId: unique('client'), keepalive: 0 }, options),
        generate(
          { cmd: 'publish', topic, payload: 'x', qos: 0, dup: false, retain: false, properties: { topicAlias } },
          options,
        ),
      ];
      const answer = await ask(Buffer.concat(packets));
      const disconnect = answer.subarray(2 + (answer[1] as number));
      expect(disconnect[0]).toBe(0xe0);
      expect(disconnect[2]).toBe(reason);
    },
  );

  it('more unfinished QoS 2 messages than the receive maximum end the connection', async () => {
    const own = await BrokerProcess.start({ settings: { 'mqtt.receiveMaximum': 20 } });
    const client = await mqttJs.connect({ port: own.port(), version: 5 });
    // MQTT.js does not look at the receive maximum of the broker.
    const all = Array.from({ length: 500 }, () => client.publish('flood', 'x', { qos: 2 }).catch(() => undefined));
    expect(await client.closed).toBe(0x93);
    await client.cut();
    expect(all.length).toBe(500);
    await mqttJs.closeAll();
    await own.stop();
  });
});

describe('topic aliases of the broker', () => {
  it('a client that allows them gets each topic once', async () => {
    const topic = unique('alias');
    const client = await connectJs(5, { properties: { topicAliasMaximum: 2 } });
    const publisher = await connectJs(4);
    await client.subscribe(`${topic}/#`);
    for (let round = 0; round < 3; round++) {
      for (const name of ['a', 'b', 'c']) await publisher.publish(`${topic}/${name}`, name, { qos: 1 });
    }
    const received = await client.exactly(9);
    expect(received.every(({ topic: name, payload }) => name === `${topic}/${payload}`)).toBe(true);
    const aliases = received.map(({ properties }) => properties.topicAlias);
    expect(aliases).toEqual([1, 2, undefined, 1, 2, undefined, 1, 2, undefined]);
  });
});

describe('large payloads', () => {
  it.each([1, 2])('payloads of 1 to 15 MiB pass where the settings allow, over %i workers', async (workers) => {
    const mebibyte = 1_048_576;
    const own = await BrokerProcess.start({
      workers,
      settings: {
        sharding: 'round-robin',
        'mqtt.packetBytesMax': 17 * mebibyte,
        'mqtt.queuedBytesMax': 64 * mebibyte,
        'limits.ringBytes': 128 * mebibyte,
        'limits.retainedValueBytesMax': 16 * mebibyte,
        'limits.connectionOutputBytesMax': 64 * mebibyte,
      },
    });
    const port = own.port();
    const topic = unique('large');
    const subscribers = await Promise.all([
      mqttJs.connect({ port, version: 5 }),
      mqttJs.connect({ port, version: 4 }),
      paho.connect({ port, version: 5, clientId: unique('client') }),
    ]);
    for (const each of subscribers) await each.subscribe(topic);
    const publisher = await mqttJs.connect({ port, version: 5 });
    const payloads = [1, 2, 15].map((size) => Buffer.alloc(size * mebibyte, `${size} MiB `));
    for (const [index, payload] of payloads.entries()) {
      await publisher.publish(topic, payload, { qos: index as Qos, retain: true });
    }
    for (const each of subscribers) {
      const received = await each.messages(3);
      expect(received.map(({ payload }, index) => payload.equals(payloads[index] as Buffer))).toEqual([
        true,
        true,
        true,
      ]);
    }
    const late = await mqttJs.connect({ port, version: 4 });
    await late.subscribe(topic);
    expect((await late.messages(1))[0]?.payload.length).toBe(15 * mebibyte);
    await Promise.all([mqttJs.closeAll(), paho.closeAll()]);
    await own.stop();
  });

  it('a maximum packet size that does not fit into a ring is lowered, and clients are told', async () => {
    const own = await BrokerProcess.start({
      settings: { 'mqtt.packetBytesMax': 16_000_000, 'limits.ringBytes': 1_048_576 },
    });
    const port = own.port();
    const client = await mqttJs.connect({ port, version: 5 });
    const limit = client.connack.properties.maximumPacketSize ?? 0;
    expect(limit).toBeGreaterThan(65_535);
    expect(limit).toBeLessThan(1_048_576);
    await client.subscribe('fits');
    await client.publish('fits', Buffer.alloc(limit - 100), { qos: 1, retain: true });
    await client.messages(1);
    client.publish('fits', Buffer.alloc(limit + 100), { qos: 1, retain: true }).catch(() => undefined);
    expect(await client.closed).toBe(0x95);
    await mqttJs.closeAll();
    await own.stop();
  });
});
