/** Durable sessions of MQTT clients against a real broker with two workers: take-over, order, options. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DurableBroker, lasting, payloadsOf, publishStored } from '../../support/mqtt/durable-client.ts';

let broker: DurableBroker;

beforeAll(async () => {
  broker = await DurableBroker.start();
});
afterAll(() => broker.end());

describe('a durable session', () => {
  it('moves between workers with what waits and what is in flight, whichever of them it comes to', async () => {
    const first = await broker.connect(lasting('mover'));
    await first.subscribe('m/#', 1);
    // Connections go round: each of these is on another worker than the one before.
    const writer = await broker.connect({ clientId: 'writer' });
    await publishStored(writer, 'm/1', 'one');
    const [inFlight] = await first.packets(1);
    const other = await broker.connect({ clientId: 'other' });
    const second = await broker.connect(lasting('mover'));
    expect(await first.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8e }]);
    expect(second.connack).toMatchObject({ sessionPresent: true });
    const [again] = await second.packets(1);
    expect(again).toMatchObject({ messageId: inFlight.messageId, dup: true });
    second.send({ cmd: 'puback', messageId: again.messageId });
    await second.cut();
    await publishStored(writer, 'm/2', 'two');
    await publishStored(other, 'm/3', 'three');
    const third = await broker.connect(lasting('mover'));
    expect(payloadsOf(await third.packets(2))).toEqual(['two', 'three']);
  });

  it('has what it subscribed to, also when the client does not wait for SUBACK and leaves', async () => {
    const hasty = await broker.connect(lasting('hasty'));
    hasty.send(
      { cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: 'hasty/+', qos: 1 }] },
      { cmd: 'disconnect', reasonCode: 0 },
    );
    expect(await hasty.closed()).toMatchObject([{ cmd: 'suback', granted: [1] }]);
    const writer = await broker.connect({ clientId: 'hasty-writer' });
    await publishStored(writer, 'hasty/1', 'kept');
    const back = await broker.connect(lasting('hasty'));
    expect(payloadsOf(await back.packets(1))).toEqual(['kept']);
  });

  it('is forgotten by a clean start on any worker, its will published', async () => {
    const watcher = await broker.connect({ clientId: 'watcher' });
    await watcher.subscribe('will', 0);
    const will = { topic: 'will', payload: 'gone', qos: 1, properties: { willDelayInterval: 500 } };
    const first = await broker.connect(lasting('c', { will }));
    await first.subscribe('t', 1);
    await first.cut();
    const writer = await broker.connect({ clientId: 'writer' });
    await publishStored(writer, 't', 'lost');
    const clean = await broker.connect(lasting('c', { clean: true }));
    expect(clean.connack).toMatchObject({ sessionPresent: false });
    expect(payloadsOf(await watcher.packets(1))).toEqual(['gone']);
    await clean.cut();
    const back = await broker.connect(lasting('c'));
    expect(back.connack).toMatchObject({ sessionPresent: true });
    expect(await back.barrier()).toEqual([]);
  });

  it('ends with its connection when that has an expiry of 0, or DISCONNECT says so', async () => {
    const first = await broker.connect(lasting('c'));
    await first.subscribe('t', 1);
    await first.cut();
    const short = await broker.connect({ level: 5, clientId: 'c', clean: false });
    expect(short.connack).toMatchObject({ sessionPresent: true });
    await short.cut();
    await sleep(100);
    const second = await broker.connect(lasting('c'));
    expect(second.connack).toMatchObject({ sessionPresent: false });
    second.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
    await second.closed();
    await sleep(100);
    expect((await broker.connect(lasting('c'))).connack).toMatchObject({ sessionPresent: false });
  });
});

describe('publishers', () => {
  it('are acknowledged in order, stored or not', async () => {
    const reader = await broker.connect(lasting('reader'));
    await reader.subscribe('kept', 1);
    await reader.cut();
    const writer = await broker.connect({ clientId: 'writer', level: 5 });
    for (let id = 1; id <= 40; id += 1) {
      const topic = id % 3 === 0 ? 'other' : 'kept';
      const qos = id % 5 === 0 ? 2 : 1;
      writer.send({ cmd: 'publish', topic, payload: `${id}`, qos, messageId: id, retain: false, dup: false });
    }
    const ids: unknown[] = [];
    for (let id = 1; id <= 40; id += 1) ids.push((await writer.packet(id % 5 === 0 ? 'pubrec' : 'puback')).messageId);
    expect(ids).toEqual(Array.from({ length: 40 }, (_, at) => at + 1));
  });

  it('store a message once for all sessions that are away', async () => {
    for (let at = 0; at < 20; at += 1) {
      const client = await broker.connect(lasting(`s${at}`));
      await client.subscribe('fan/#', 1);
      await client.cut();
    }
    const writer = await broker.connect({ clientId: 'writer' });
    const payload = 'x'.repeat(10_000);
    const before = await broker.process.metric('ringmq_storage_appended_bytes_total');
    for (let at = 0; at < 20; at += 1) await publishStored(writer, 'fan/out', `${at}${payload}`);
    const bytes = (await broker.process.metric('ringmq_storage_appended_bytes_total')) - before;
    expect(bytes).toBeLessThan(2 * 20 * payload.length);
    const back = await broker.connect(lasting('s7'));
    expect((await back.packets(20)).length).toBe(20);
  });
});

describe('subscriptions of a durable session', () => {
  it('have their options: no local, retain as published, all identifiers', async () => {
    const client = await broker.connect(lasting('options'));
    await client.subscribe('own', 1, { nl: true });
    await client.subscribe('t/#', 1, { rap: true }, { subscriptionIdentifier: 3 });
    await client.subscribe('t/1', 2, {}, { subscriptionIdentifier: 4 });
    await client.subscribe('t/+', 0, {}, { subscriptionIdentifier: 5 });
    client.publish('own', 'mine', { qos: 1 });
    await client.packet('puback');
    const writer = await broker.connect({ clientId: 'writer', level: 5 });
    await publishStored(writer, 'own', 'theirs');
    expect(payloadsOf(await client.packets(1))).toEqual(['theirs']);
    writer.send({
      cmd: 'publish',
      topic: 't/1',
      payload: 'r',
      qos: 1,
      messageId: 9,
      retain: true,
      dup: false,
      properties: { contentType: 'text', userProperties: { a: 'b' } },
    });
    await writer.packet('puback');
    const [message] = await client.packets(1);
    expect(message).toMatchObject({ retain: true, properties: { contentType: 'text', userProperties: { a: 'b' } } });
    expect((message.properties as { subscriptionIdentifier: number[] }).subscriptionIdentifier.toSorted()).toEqual([
      3, 4, 5,
    ]);
  });

  it('get retained messages within the window beside those of the logs', async () => {
    const writer = await broker.connect({ clientId: 'writer' });
    writer.publish('r/1', 'kept', { qos: 1, retain: true });
    await writer.packet('puback');
    const client = await broker.connect(lasting('retained', { properties: { receiveMaximum: 2 } }));
    await client.subscribe('r/#', 1);
    const [retained] = await client.packets(1);
    expect(retained).toMatchObject({ payload: Buffer.from('kept'), retain: true, qos: 1 });
    await publishStored(writer, 'r/2', 'a');
    await publishStored(writer, 'r/3', 'b');
    expect(payloadsOf(await client.packets(1))).toEqual(['a']);
    expect(await client.barrier()).toEqual([]);
    client.send({ cmd: 'puback', messageId: retained.messageId });
    expect(payloadsOf(await client.packets(1))).toEqual(['b']);
  });
});

describe('a storage that takes nothing more', () => {
  it('lets nobody have an acknowledgement of what it did not store, and the others go on', async () => {
    const settings = {
      'storage.adapter': 'memory',
      'storage.memory.bytesMax': 1_048_576,
      'limits.handshakeTimeoutMs': 700,
    };
    const full = await DurableBroker.start({ settings, expectedErrors: [/./] });
    try {
      const reader = await full.connect(lasting('reader'));
      await reader.subscribe('t', 1);
      await reader.cut();
      const writer = await full.connect({ clientId: 'writer', level: 5 });
      const payload = 'x'.repeat(60_000);
      for (let at = 0; at < 40; at += 1) writer.publish('t', payload, { qos: 1 });
      await sleep(300);
      const answers = await writer.barrier().catch(() => []);
      expect(answers.filter(({ cmd, reasonCode }) => cmd === 'puback' && reasonCode === 0).length).toBeLessThan(20);
      const live = await full.connect({ clientId: 'live' });
      await live.subscribe('other', 1);
      live.publish('other', 'still here', { qos: 1 });
      const found = [await live.frame(), await live.frame()].map((frame) => frame[0] >> 4).sort();
      expect(found).toEqual([3, 4]);
      expect(full.process.isRunning).toBe(true);
    } finally {
      await full.end();
    }
  }, 20_000);
});
