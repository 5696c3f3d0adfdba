/**
 * Durable sessions over kill -9: what clients left in the first life is there in the second, with another number of workers, and in the
 * third. The lives are prepared once for all tests.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DurableBroker, lasting, payloadsOf, publishStored } from '../../support/mqtt/durable-client.ts';
import type { AnyPacket } from '../../support/mqtt/mqtt-host.ts';
import type { RawClient } from '../../support/mqtt/raw-client.ts';

const names = ['n0', 'n1', 'n2'];

let broker: DurableBroker;
let folder: string;
/** Of QoS 2, in flight when the first life ended. */
let inFlight: AnyPacket;

async function leave(client: RawClient, ...topics: string[]): Promise<void> {
  for (const topic of topics) await client.subscribe(topic, 1);
  await client.cut();
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-rules-'));
  const rulesFile = join(folder, 'rules.yaml');
  writeFileSync(rulesFile, 'rules:\n  - permission: deny\n    topics: [never]\n');
  const settings = { 'access.rulesFile': rulesFile, 'sessions.countMax': 30 };
  const expectedErrors = [/Rule file cannot be used/];
  broker = await DurableBroker.start({ workers: 3, settings, expectedErrors });
  const writer = await broker.connect({ clientId: 'writer' });

  await leave(await broker.connect(lasting('reader')), 'a/+', 'dropped');
  const reader = await broker.connect(lasting('reader'));
  await reader.subscribe('b', 2, {}, { subscriptionIdentifier: 7 });
  reader.send({ cmd: 'unsubscribe', messageId: 77, unsubscriptions: ['dropped'] });
  await reader.packet('unsuback');
  await reader.cut();
  await publishStored(writer, 'a/1', 'one');
  await publishStored(writer, 'b', 'two', 2);
  await publishStored(writer, 'dropped', 'no');

  const flying = await broker.connect(lasting('flying'));
  await flying.subscribe('f/two', 2);
  await flying.subscribe('f/one', 1);
  await publishStored(writer, 'f/two', 'first', 2);
  [inFlight] = await flying.packets(1);
  await publishStored(writer, 'f/one', 'second');
  await flying.packets(1);

  await leave(await broker.connect(lasting('once')), 'o');
  const sender = await broker.connect(lasting('sender'));
  for (const [topic, messageId] of [
    ['o', 5],
    ['nobody', 6],
  ] as const) {
    sender.send({ cmd: 'publish', topic, payload: 'once', qos: 2, messageId, retain: false, dup: false });
    await sender.packet('pubrec');
  }

  await leave(await broker.connect(lasting('watcher')), 'will');
  const will = { topic: 'will', payload: 'late', qos: 1, properties: { willDelayInterval: 1 } };
  await (await broker.connect(lasting('mortal', { expiry: 2, will }))).cut();

  await leave(await broker.connect(lasting('limited')), 'l');
  for (let at = 0; at < 40; at += 1) await publishStored(writer, 'l', `${at}`);

  await leave(await broker.connect(lasting('ruled')), 'open', 'secret/x');
  await publishStored(writer, 'secret/x', 'not for you');
  await publishStored(writer, 'open', 'for you');

  for (const name of names) await leave(await broker.connect(lasting(name)), `t/${name}`);
  // Progress is stored within 200 ms.
  await sleep(500);
  writeFileSync(rulesFile, 'rules:\n  - permission: deny\n    actions: [subscribe]\n    topics: ["secret/#"]\n');
  await broker.restart({ workers: 1, settings, expectedErrors });
}, 60_000);

afterAll(async () => {
  await broker.end();
  rmSync(folder, { recursive: true, force: true });
});

describe('a session after kill -9', () => {
  it('has its subscriptions and the messages that wait for it', async () => {
    const back = await broker.connect(lasting('reader'));
    expect(back.connack).toMatchObject({ sessionPresent: true });
    const messages = await back.packets(2);
    expect(payloadsOf(messages).sort()).toEqual(['one', 'two']);
    const two = messages.find(({ topic }) => topic === 'b');
    expect(two).toMatchObject({ qos: 2, dup: false, properties: { subscriptionIdentifier: 7 } });
    for (const { messageId, qos } of messages) back.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId });
    back.send({ cmd: 'pubcomp', messageId: (await back.packet('pubrel')).messageId });
    const writer = await broker.connect({ clientId: 'w' });
    await publishStored(writer, 'a/2', 'three');
    expect(payloadsOf(await back.packets(1))).toEqual(['three']);
  });

  it('gets what was in flight again, with DUP and the same packet identifiers', async () => {
    const back = await broker.connect(lasting('flying'));
    const again = await back.packets(2);
    expect(again.find(({ topic }) => topic === 'f/two')).toMatchObject({ dup: true, messageId: inFlight.messageId });
    expect(again.find(({ topic }) => topic === 'f/one')).toMatchObject({ dup: true, qos: 1 });
    back.send({ cmd: 'pubrec', messageId: inFlight.messageId });
    expect(await back.packet('pubrel')).toMatchObject({ messageId: inFlight.messageId });
  });

  it('has a message of QoS 2 once that was acknowledged with PUBREC', async () => {
    const back = await broker.connect(lasting('sender'));
    expect(back.connack).toMatchObject({ sessionPresent: true });
    back.send({ cmd: 'publish', topic: 'o', payload: 'once', qos: 2, messageId: 5, retain: false, dup: true });
    expect(await back.packet('pubrec')).toMatchObject({ messageId: 5 });
    for (const messageId of [5, 6]) {
      back.send({ cmd: 'pubrel', messageId });
      expect(await back.packet('pubcomp')).toMatchObject({ messageId, reasonCode: 0 });
    }
    back.send({ cmd: 'pubrel', messageId: 6 });
    expect(await back.packet('pubcomp')).toMatchObject({ messageId: 6, reasonCode: 0x92 });
    await publishStored(back, 'o', 'last', 2);
    const reader = await broker.connect(lasting('once'));
    expect(payloadsOf(await reader.packets(2))).toEqual(['once', 'last']);
  });

  it('publishes its delayed will, and ends when its time is over', async () => {
    const back = await broker.connect(lasting('watcher'));
    expect(payloadsOf(await back.packets(1))).toEqual(['late']);
    await sleep(1_500);
    expect((await broker.connect(lasting('mortal'))).connack).toMatchObject({ sessionPresent: false });
  });

  it('has lost the oldest of what waited beyond the limit', async () => {
    const back = await broker.connect(lasting('limited'));
    const expected = Array.from({ length: 30 }, (_, at) => `${at + 10}`);
    expect(payloadsOf(await back.packets(30))).toEqual(expected);
    expect(await back.barrier()).toEqual([]);
  });

  it('has lost subscriptions that the rules deny now, with what waited for them', async () => {
    const back = await broker.connect(lasting('ruled'));
    expect(payloadsOf(await back.packets(1))).toEqual(['for you']);
    const writer = await broker.connect({ clientId: 'w' });
    await publishStored(writer, 'secret/x', 'still not');
    expect(await back.barrier()).toEqual([]);
  });

  it('of a worker that is no more is found, and again when there are as many as before', async () => {
    const check = async (text: string): Promise<void> => {
      const writer = await broker.connect({ clientId: 'w' });
      for (const name of names) await publishStored(writer, `t/${name}`, text);
      for (const name of names) {
        const back = await broker.connect(lasting(name));
        const [message] = await back.packets(1);
        expect(String(message.payload)).toBe(text);
        back.send({ cmd: 'puback', messageId: message.messageId });
        await back.barrier();
        await back.cut();
      }
    };
    await check('one worker');
    await sleep(500);
    await broker.restart({ workers: 3 });
    await check('three workers');
    const flying = await broker.connect(lasting('flying'));
    expect(await flying.packet('pubrel')).toMatchObject({ messageId: inFlight.messageId });
  }, 30_000);
});
