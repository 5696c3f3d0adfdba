/** Acknowledgements of retained messages: behind the store, in order, and with the right reason when it fails. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StreamStore } from '../../../../../src/core/ports/stream-store.ts';
import { openMemoryStore } from '../../../../../src/storage/memory/memory-store.ts';
import { type AppendFate, FaultyStore } from '../../../../support/faulty-store.ts';
import { type AnyPacket, MqttHost, type TestClient } from '../../../../support/mqtt/mqtt-host.ts';
import { until } from '../../../../support/routers.ts';

let inner: StreamStore;
let fate: AppendFate;
let host: MqttHost;

beforeEach(async () => {
  inner = await openMemoryStore({ bytesMax: 10_000_000 });
  fate = 'store';
  const store = new FaultyStore(inner, { fateOf: () => fate });
  host = new MqttHost();
  await host.router.retained.keepIn({ store, isKeeper: true, waitMsMax: 1_000 });
});

afterEach(async () => {
  host.router.stop();
  await inner.close();
});

async function take(client: TestClient, count: number): Promise<AnyPacket[]> {
  const packets: AnyPacket[] = [];
  await until(() => packets.push(...client.take()) >= count);
  return packets;
}

describe('a retained PUBLISH', () => {
  it('is acknowledged when it is stored, and what follows is behind it', async () => {
    const client = host.connect({ level: 5 });
    client.publish('plain', 'x', { qos: 1, messageId: 1 });
    expect(client.take()).toMatchObject([{ cmd: 'puback', messageId: 1 }]);
    client.publish('kept', 'x', { qos: 1, retain: true, messageId: 2 });
    client.publish('plain', 'x', { qos: 1, messageId: 3 });
    client.publish('kept', 'y', { qos: 2, retain: true, messageId: 4 });
    client.publish('plain', 'x', { qos: 2, messageId: 5 });
    expect(client.take()).toEqual([]);
    const packets = await take(client, 4);
    expect(packets.map(({ cmd, messageId }) => [cmd, messageId])).toEqual([
      ['puback', 2],
      ['puback', 3],
      ['pubrec', 4],
      ['pubrec', 5],
    ]);
  });

  it('of QoS 0 holds nothing up', () => {
    const client = host.connect({ level: 5 });
    client.publish('kept', 'x', { retain: true });
    client.publish('plain', 'x', { qos: 1, messageId: 1 });
    expect(client.take()).toMatchObject([{ cmd: 'puback', messageId: 1 }]);
  });

  it('that cannot be stored is answered with 0x83 in MQTT 5, and may come again with the same identifier', async () => {
    const client = host.connect({ level: 5 });
    fate = 'refuse';
    client.publish('kept', 'x', { qos: 1, retain: true, messageId: 1 });
    client.publish('plain', 'x', { qos: 1, messageId: 2 });
    expect(await take(client, 2)).toMatchObject([
      { cmd: 'puback', messageId: 1, reasonCode: 0x83 },
      { cmd: 'puback', messageId: 2, reasonCode: 0 },
    ]);
    client.publish('kept', 'x', { qos: 2, retain: true, messageId: 3 });
    fate = 'store';
    const [answer] = await take(client, 1);
    expect(answer).toMatchObject({ cmd: 'pubrec', messageId: 3 });
    await until(() => host.router.retained.unsaved === 0);
    client.publish('kept', 'again', { qos: 2, retain: true, messageId: 3 });
    expect(await take(client, 1)).toMatchObject([{ cmd: 'pubrec', messageId: 3, reasonCode: 0 }]);
  });

  it('that cannot be stored ends the connection of an older client, without an acknowledgement', async () => {
    const client = host.connect({ level: 4 });
    fate = 'lose';
    client.publish('kept', 'x', { qos: 1, retain: true, messageId: 1 });
    await until(() => client.connection.closed);
    expect(client.take()).toEqual([]);
    fate = 'store';
    await until(() => host.router.retained.unsaved === 0);
  });
});

describe('a retained message', () => {
  it('is sent before a live one of its topic, when its turn has not come', () => {
    host.router.stop();
    host = new MqttHost({}, 2_000);
    const writer = host.connect({ level: 5 });
    const reader = host.connect({ level: 5 });
    for (let at = 0; at < 100; at++)
      writer.publish(`t/${at}`, `old ${at} ${'x'.repeat(50)}`, { qos: 1, retain: true, messageId: 1 });
    reader.connection.stalled = true;
    reader.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't/#', qos: 1 }] });
    for (const at of [0, 50, 99]) writer.publish(`t/${at}`, 'live', { qos: 1, messageId: 1 });
    const seen: string[] = [];
    reader.connection.stalled = false;
    for (let round = 0; round < 1_000 && seen.length < 103; round++) {
      host.settle();
      for (const { cmd, topic, payload, messageId } of reader.take()) {
        if (cmd !== 'publish') continue;
        seen.push(`${String(topic)} ${String(payload).slice(0, 4)}`);
        reader.send({ cmd: 'puback', messageId });
      }
    }
    expect(seen).toHaveLength(103);
    for (const at of [0, 50, 99]) {
      expect(seen.filter((text) => text.startsWith(`t/${at} `))).toEqual([`t/${at} old `, `t/${at} live`]);
    }
    expect(host.dropped('queue-full')).toBe(0);
  });
});
