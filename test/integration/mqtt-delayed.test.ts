/** `$delayed/…` against a real broker: when messages come, what is kept of them, and that a kill -9 loses none. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BrokerProcess } from '../support/broker-process.ts';
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';
import { RawClient } from '../support/mqtt/raw-client.ts';

const limitMs = 60_000;
let data: string;
let broker: BrokerProcess;

function start(): Promise<BrokerProcess> {
  return BrokerProcess.start({ data, settings, workers: 3 });
}

const settings = {
  'mqtt.delayed': { messagesMax: 40 },
  'mqtt.topicRewrite': [{ action: 'publish', source: 'old/#', pattern: '^old/(.+)$', target: 'new/$1' }],
  'mqtt.bindings': [{ filter: 'crash/+', stream: 'crash' }],
};

async function subscriber(filter: string, qos = 1, port = broker.port()): Promise<RawClient> {
  const client = await RawClient.connect(port, { clientId: `sub-${filter}`, level: 5 });
  await client.subscribe(filter, qos);
  return client;
}

function publisher(level: 4 | 5 = 5): Promise<RawClient> {
  return RawClient.connect(broker.port(), { clientId: `pub-${level}`, level });
}

async function acknowledged(client: RawClient, topic: string, payload = 'x', more = {}): Promise<AnyPacket> {
  client.publish(topic, payload, { qos: 1, ...more });
  return client.packet('puback');
}

describe('$delayed/<when>/<topic>', () => {
  beforeAll(async () => {
    data = mkdtempSync(join(tmpdir(), 'ringmq-delayed-'));
    broker = await start();
  }, limitMs);
  afterAll(async () => {
    await broker.stop();
    rmSync(data, { recursive: true, force: true });
  }, limitMs);

  it('delivers to the exact topic, not early, with everything that the message had', async () => {
    const sub = await subscriber('/exact/t/#');
    const pub = await publisher();
    const sentMs = Date.now();
    const properties = {
      payloadFormatIndicator: true,
      messageExpiryInterval: 60,
      contentType: 'text/plain',
      responseTopic: 'r/1',
      correlationData: Buffer.from([1, 0, 255]),
      userProperties: { one: ['1', '2'], 'mqtt-topic': 'mine' },
    };
    expect((await acknowledged(pub, '$delayed/0.3//exact/t/1', 'later', { properties })).reasonCode).toBe(0);
    const message = await sub.packet('publish');
    expect(Date.now() - sentMs).toBeGreaterThanOrEqual(300);
    expect(message).toMatchObject({
      topic: '/exact/t/1',
      qos: 1,
      retain: false,
      properties: { contentType: 'text/plain' },
    });
    expect(String(message.payload)).toBe('later');
    const { messageExpiryInterval, ...others } = message.properties as Record<string, unknown>;
    expect(messageExpiryInterval).toBeLessThanOrEqual(60);
    expect({ ...others, userProperties: { ...(others.userProperties as object) } }).toMatchObject({
      payloadFormatIndicator: true,
      responseTopic: 'r/1',
      correlationData: Buffer.from([1, 0, 255]),
      userProperties: { one: ['1', '2'], 'mqtt-topic': 'mine' },
    });
    await sub.disconnect();
    await pub.disconnect();
  });

  it('takes a time, milliseconds, QoS 2 and the retain flag, and renames topics', async () => {
    const sub = await subscriber('new/#', 2);
    const pub = await publisher();
    const dueMs = Date.now() + 200;
    pub.publish(`$delayed/@${dueMs}/old/time`, 'at', { qos: 2, retain: true });
    const { messageId } = await pub.packet('pubrec');
    pub.send({ cmd: 'pubrel', messageId });
    await pub.packet('pubcomp');
    const message = await sub.packet('publish');
    expect(Date.now()).toBeGreaterThanOrEqual(dueMs);
    expect(message).toMatchObject({ topic: 'new/time', qos: 2, retain: false });
    await acknowledged(pub, '$delayed/1ms/new/soon', 'soon');
    const late = await RawClient.connect(broker.port(), { clientId: 'late', level: 4 });
    await late.subscribe('new/time');
    expect(await late.packet('publish')).toMatchObject({ topic: 'new/time', retain: true });
    for (const client of [sub, pub, late]) await client.disconnect();
  });

  it('refuses what is no delay, or nothing to delay, with the reason code', async () => {
    const pub = await publisher();
    for (const topic of ['$delayed/x/t', '$delayed/5', '$delayed/-1/t', '$delayed/99999999/t', '$delayed/5/$SYS/t'])
      expect((await acknowledged(pub, topic)).reasonCode).toBe(0x90);
    expect((await acknowledged(pub, '$other/5/t')).reasonCode).toBe(0x87);
    await pub.disconnect();
    // Before MQTT 5 there is no way to say it.
    const old = await publisher(4);
    await acknowledged(old, '$delayed/x/t');
    await old.disconnect();
  });

  it('shows what waits to the administrator, who can take it back', async () => {
    const sub = await subscriber('cancelled/#');
    const pub = await publisher();
    await acknowledged(pub, '$delayed/600/cancelled/1');
    const url = `http://127.0.0.1:${broker.port('http')}/api/v1/delayed`;
    const { messages } = (await (await fetch(url)).json()) as { messages: { id: string; partition: string }[] };
    const [waiting] = messages.filter(({ partition }) => partition === '_due-mqtt-0');
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${url}/cancel`, { method: 'POST', headers, body: JSON.stringify({ id: waiting?.id }) });
    expect(await answer.json()).toMatchObject({ outcome: expect.stringMatching(/cancelled|recorded/) });
    for (const client of [sub, pub]) await client.disconnect();
  });

  it(
    'loses nothing that was acknowledged when the broker is killed, and sends nothing early',
    async () => {
      const pub = await publisher();
      const due = new Map<string, number>();
      for (let number = 0; number < 20; number++) {
        const dueMs = Date.now() + 500 + number * 50;
        due.set(`m${number}`, dueMs);
        expect((await acknowledged(pub, `$delayed/@${dueMs}/crash/${number}`, `m${number}`)).reasonCode).toBe(0);
      }
      await broker.kill();
      broker = await start();
      // What is published while nobody subscribes is copied as well.
      const sub = await subscriber('$stream/crash@earliest', 0);
      const seen = new Set<string>();
      while (seen.size < due.size) {
        const { payload, properties } = await sub.packet('publish');
        const { userProperties } = properties as { userProperties: { timestamp: string } };
        expect(Number(userProperties.timestamp)).toBeGreaterThanOrEqual(due.get(String(payload)) ?? Infinity);
        seen.add(String(payload));
      }
      expect([...seen]).toEqual([...due.keys()]);
      await sub.disconnect();
    },
    limitMs,
  );

  it('refuses more than a tenant may have waiting', async () => {
    const pub = await publisher();
    const codes = new Set<unknown>();
    for (let number = 0; number < 45; number++) codes.add((await acknowledged(pub, '$delayed/3600/full/1')).reasonCode);
    expect(codes).toEqual(new Set([0, 0x97]));
    await pub.disconnect();
  });
});
