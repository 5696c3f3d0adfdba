/** Two connection workers, connections handed out in turn: what one client sends reaches the other, and sessions move. */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../../../src/main/index.ts';
import type { AnyPacket } from '../../../support/mqtt/mqtt-host.ts';
import { WireClient, type WireOptions } from '../../../support/mqtt/wire-client.ts';

let broker: Broker;
const open: WireClient[] = [];

beforeAll(async () => {
  broker = await startBroker({ workers: 2, http: false, settings: { sharding: 'round-robin' } });
});
afterAll(async () => {
  for (const client of open) client.socket.destroy();
  await broker.stop();
});

/** Connections alternate between the workers, so that two in a row are on different ones. */
async function connect(options: WireOptions): Promise<WireClient> {
  const client = await WireClient.connect(broker.port(), options);
  open.push(client);
  return client;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe('two workers', () => {
  it('pass publications of every QoS on, in order', async () => {
    const received: string[] = [];
    const reader = await connect({
      clientId: 'reader',
      onPacket: (packet) => {
        if (packet.cmd !== 'publish') return;
        received.push(`${packet.qos} ${String(packet.payload)}`);
        if (packet.qos === 1) reader.send({ cmd: 'puback', messageId: packet.messageId });
        if (packet.qos === 2) reader.send({ cmd: 'pubrec', messageId: packet.messageId });
      },
    });
    reader.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'q/#', qos: 2 }] });
    const publisher = await connect({ clientId: 'publisher', onPacket: () => undefined });
    await until(() => {
      publisher.publish('q/ready', 'x');
      return received.length > 0;
    });
    for (let number = 0; number < 300; number++)
      publisher.publish('q/x', `${number}`, { qos: number % 3, messageId: number + 1 });
    const numbered = (): string[] => received.filter((text) => !text.endsWith('x'));
    await until(() => numbered().length === 300);
    for (const qos of [0, 1, 2]) {
      const expected = Array.from({ length: 100 }, (_, index) => `${qos} ${index * 3 + qos}`);
      expect(numbered().filter((text) => text.startsWith(`${qos}`))).toEqual(expected);
    }
    await Promise.all([reader.end(), publisher.end()]);
  });

  it('share retained messages and wills', async () => {
    const one = await connect({ clientId: 'one' });
    one.publish('kept', 'value', { qos: 1, messageId: 1, retain: true });
    await one.next('puback');
    const two = await connect({ clientId: 'two' });
    await two.subscribe('kept', 1);
    expect(await two.next('publish')).toMatchObject({ retain: true, payload: Buffer.from('value') });
    two.send({ cmd: 'puback', messageId: 1 });
    await two.subscribe('last', 0);
    const lost = await connect({ clientId: 'lost', will: { topic: 'last', payload: 'words', qos: 1, retain: false } });
    const other = await connect({
      clientId: 'lost-too',
      will: { topic: 'last', payload: 'words', qos: 1, retain: false },
    });
    await lost.cut();
    expect(await two.next('publish')).toMatchObject({ topic: 'last' });
    await other.cut();
    expect(await two.next('publish')).toMatchObject({ topic: 'last' });
  });

  it('tell the former connection when its client id connects on the other one', async () => {
    for (const clean of [true, false]) {
      const former = await connect({ clientId: 'same', level: 5, clean, properties: { sessionExpiryInterval: 100 } });
      const closed = once(former.socket, 'close');
      const next = await connect({ clientId: 'same', level: 5, clean, properties: { sessionExpiryInterval: 100 } });
      expect(next.sessionPresent).toBe(!clean);
      expect(await former.next('disconnect')).toMatchObject({ reasonCode: 0x8e });
      await closed;
      await next.cut();
    }
  });

  it('move a session back and forth in the middle of a stream: nothing is lost, nothing is reordered', async () => {
    const count = 2_000;
    const received: { number: number; dup: boolean }[] = [];
    const onPacket = (packet: AnyPacket, client: WireClient): void => {
      if (packet.cmd !== 'publish') return;
      received.push({ number: Number(packet.payload), dup: packet.dup === true });
      if (!client.socket.destroyed) client.send({ cmd: 'puback', messageId: packet.messageId });
    };
    const mover = async (): Promise<WireClient> => connect({ clientId: 'mover', clean: false, onPacket });
    let current = await mover();
    current.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'move', qos: 1 }] });
    // One publisher on each worker.
    let acknowledged = 0;
    const publishers = [];
    for (const clientId of ['left', 'right'])
      publishers.push(await connect({ clientId, onPacket: () => acknowledged++ }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    let published = 0;
    let moves = 0;
    while (published < count) {
      for (let batch = 0; batch < 40 && published < count; batch++, published++) {
        publishers[published % 2].publish('move', `${published}`, { qos: 1, messageId: published + 1 });
      }
      current = await mover();
      moves++;
      expect(current.sessionPresent).toBe(true);
      // An odd number of connections between two of the mover would keep it on one worker.
      if (moves % 3 === 0) await (await connect({ clientId: 'between' })).end();
    }
    await until(() => acknowledged === count);
    await until(() => new Set(received.map(({ number }) => number)).size === count);
    // Each publisher's messages come in order; those that come again say so [MQTT-4.6.0-1].
    for (const parity of [0, 1]) {
      const first: number[] = [];
      const seen = new Set<number>();
      for (const { number } of received) {
        if (number % 2 !== parity || seen.has(number)) continue;
        seen.add(number);
        first.push(number);
      }
      expect(first).toEqual([...first].sort((one, other) => one - other));
    }
    expect(moves).toBeGreaterThanOrEqual(50);
  });

  it('share a group: nothing is lost when a member leaves in the middle', async () => {
    const received: number[] = [];
    const member = async (clientId: string): Promise<WireClient> => {
      const client: WireClient = await connect({
        clientId,
        onPacket: (packet) => {
          if (packet.cmd === 'publish') received.push(Number(packet.payload));
        },
      });
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$share/g/work', qos: 0 }] });
      return client;
    };
    const members = [await member('m1'), await member('m2'), await member('m3'), await member('m4')];
    await new Promise((resolve) => setTimeout(resolve, 50));
    const publisher = await connect({ clientId: 'boss' });
    let published = 0;
    for (let round = 0; round < 20; round++) {
      for (let batch = 0; batch < 50; batch++) publisher.publish('work', `${published++}`);
      if (round === 10) members[3].send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['$share/g/work'] });
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => received.length >= published);
    expect([...received].sort((one, other) => one - other)).toEqual(
      Array.from({ length: published }, (_, index) => index),
    );
  });
});
