/** Bindings and `$stream/…` against a real broker: what is copied survives a kill -9, and is read from where the subscriber says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BrokerProcess } from '../support/broker-process.ts';
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';
import { RawClient, type RawConnect } from '../support/mqtt/raw-client.ts';

const limitMs = 60_000;
const settings = {
  'mqtt.bindings': [
    { filter: 'dev/+/up', stream: 'up', partitions: 4, key: 'clientid', publisher: true },
    { filter: 'log/#', stream: 'log' },
  ],
  'mqtt.streams': { subscriptionsMax: 2, positionMs: 100 },
};
const lasting = { clean: false, properties: { sessionExpiryInterval: 3_600 } };
let data: string;
let broker: BrokerProcess;

function connect(clientId: string, more: RawConnect = {}): Promise<RawClient> {
  return RawClient.connect(broker.port(), { clientId, level: 5, ...more });
}

async function publishAll(client: RawClient, topic: string, payloads: readonly string[]): Promise<void> {
  for (const payload of payloads) client.publish(topic, payload, { qos: 1 });
  for (const { reasonCode } of await client.packets(payloads.length, 'puback')) expect(reasonCode ?? 0).toBe(0);
}

function propertiesOf({ properties }: AnyPacket): Record<string, string> {
  return (properties as { userProperties: Record<string, string> }).userProperties;
}

/** Payloads of the next publications, which are acknowledged. */
async function take(client: RawClient, count: number): Promise<string[]> {
  const found: string[] = [];
  while (found.length < count) {
    const { payload, qos, messageId } = await client.packet('publish');
    found.push(String(payload));
    if (qos === 1) client.send({ cmd: 'puback', messageId });
  }
  return found;
}

const numbers = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, at) => String(from + at));

describe('bindings and $stream', () => {
  beforeAll(async () => {
    data = mkdtempSync(join(tmpdir(), 'ringmq-mqtt-streams-'));
    broker = await BrokerProcess.start({ data, settings });
  }, limitMs);
  afterAll(async () => {
    await broker.stop();
    rmSync(data, { recursive: true, force: true });
  }, limitMs);

  it(
    'keeps what was acknowledged over a kill -9, in order by key, and delivers it with its place',
    async () => {
      const devices = await Promise.all(numbers(0, 6).map((number) => connect(`d${number}`)));
      await Promise.all(devices.map((device, at) => publishAll(device, `dev/d${at}/up`, numbers(0, 25))));
      await broker.kill();
      broker = await BrokerProcess.start({ data, settings });
      const reader = await connect('reader');
      const { granted } = await reader.subscribe('$stream/up@earliest', 2, {}, { subscriptionIdentifier: 9 });
      expect(granted).toEqual([1]);
      const values = new Map<string, string[]>();
      const partitions = new Map<string, Set<string>>();
      for (let count = 0; count < 150; count++) {
        const message = await reader.packet('publish');
        const { key = '', partition = '', stream, offset, timestamp } = propertiesOf(message);
        expect(message).toMatchObject({ topic: `dev/${key}/up`, qos: 1, properties: { subscriptionIdentifier: 9 } });
        expect([stream, Number.isInteger(Number(offset)), Number(timestamp) > 0]).toEqual(['up', true, true]);
        values.set(key, [...(values.get(key) ?? []), String(message.payload)]);
        partitions.set(key, (partitions.get(key) ?? new Set()).add(partition));
        reader.send({ cmd: 'puback', messageId: message.messageId });
      }
      for (const number of numbers(0, 6)) {
        expect(values.get(`d${number}`)).toEqual(numbers(0, 25));
        expect(partitions.get(`d${number}`)?.size).toBe(1);
      }
      await reader.disconnect();
    },
    limitMs,
  );

  it('begins at an offset, at a time, at the end, or where MQTT 3 says in the path; and filters by topic', async () => {
    const pub = await connect('logger');
    await publishAll(pub, 'log/a', numbers(0, 5));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const timeMs = Date.now();
    await publishAll(pub, 'log/b', numbers(5, 10));
    const read = async (path: string, count: number, from?: string, level: 4 | 5 = 5): Promise<string[]> => {
      const reader = await connect(`r-${path}-${from}`, { level });
      const properties = from === undefined ? undefined : { userProperties: { from } };
      await reader.subscribe(path, 1, {}, properties);
      const found = await take(reader, count);
      await reader.disconnect();
      return found;
    };
    expect(await read('$stream/log', 3, 'offset:7')).toEqual(['7', '8', '9']);
    expect(await read('$stream/log', 5, `time:${timeMs}`)).toEqual(numbers(5, 10));
    expect(await read('$stream/log', 5, new Date(timeMs).toISOString())).toEqual(numbers(5, 10));
    expect(await read('$stream/log/log/b', 5, 'earliest')).toEqual(numbers(5, 10));
    expect(await read('$stream/log@offset:8', 2, undefined, 4)).toEqual(['8', '9']);
    const live = await connect('live');
    await live.subscribe('$stream/log', 0);
    await publishAll(pub, 'log/c', ['10']);
    expect(await take(live, 1)).toEqual(['10']);
    for (const client of [pub, live]) await client.disconnect();
  });

  it('refuses streams that are not there, are of the broker, or are too many, and ends with UNSUBSCRIBE', async () => {
    const client = await connect('refused');
    const codeOf = async (path: string, properties?: object): Promise<unknown> =>
      ((await client.subscribe(path, 1, {}, properties)).granted as number[])[0];
    expect(await codeOf('$stream/nothing')).toBe(0x8f);
    expect(await codeOf('$stream/__messages.0')).toBe(0x8f);
    expect(await codeOf('$share/g/$stream/log')).toBe(0x8f);
    expect(await codeOf('$stream/log@soon')).toBe(0x8f);
    expect(await codeOf('$stream/log', { userProperties: { from: 'soon' } })).toBe(0x8f);
    expect(await codeOf('$stream/log')).toBe(1);
    expect(await codeOf('$stream/up')).toBe(1);
    expect(await codeOf('$stream/log/a')).toBe(0x97);
    client.send({ cmd: 'unsubscribe', messageId: 99, unsubscriptions: ['$stream/log', '$stream/log'] });
    expect((await client.packet('unsuback')).granted).toEqual([0, 0x11]);
    await publishAll(client, 'log/x', ['unheard']);
    expect(await client.barrier()).toEqual([]);
    await client.disconnect();
  });

  it('sends no more than the client takes, and goes on when it acknowledges', async () => {
    const slow = await connect('slow', { properties: { receiveMaximum: 4 } });
    await slow.subscribe('$stream/up@earliest', 1);
    const first = await slow.packets(2);
    // Half of the window is left for other messages.
    expect(await slow.barrier()).toEqual([]);
    for (const { messageId } of first) slow.send({ cmd: 'puback', messageId });
    expect(await take(slow, 20)).toHaveLength(20);
    await slow.disconnect();
  });

  it(
    'keeps the position of a session that outlives its connection, and the broker',
    async () => {
      const pub = await connect('writer');
      await publishAll(pub, 'log/p', ['before']);
      let reader = await connect('keeper', { ...lasting, clean: true });
      expect((await reader.subscribe('$stream/log', 1)).granted).toEqual([1]);
      await publishAll(pub, 'log/p', numbers(0, 10));
      expect(await take(reader, 10)).toEqual(numbers(0, 10));
      await reader.barrier();
      await reader.disconnect();
      await publishAll(pub, 'log/p', numbers(10, 15));
      reader = await connect('keeper', lasting);
      expect(reader.connack.sessionPresent).toBe(true);
      expect(await take(reader, 5)).toEqual(numbers(10, 15));
      await reader.barrier();
      // The position is stored some time behind the acknowledgement.
      await new Promise((resolve) => setTimeout(resolve, 500));
      await broker.kill();
      broker = await BrokerProcess.start({ data, settings });
      const again = await connect('writer');
      await publishAll(again, 'log/p', numbers(15, 20));
      reader = await connect('keeper', lasting);
      expect(reader.connack.sessionPresent).toBe(true);
      expect(await take(reader, 5)).toEqual(numbers(15, 20));
      for (const client of [again, reader]) await client.disconnect();
    },
    limitMs,
  );
});
