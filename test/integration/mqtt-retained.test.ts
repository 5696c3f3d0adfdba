/**
 * Retained messages of a real broker with two workers: they outlive its death, are bounded, and a large match is sent beside other
 * clients. Nothing here looks at the clock: it counts what came before what.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { BrokerProcess, type BrokerProcessOptions } from '../support/broker-process.ts';
import { Inspector, inspectorFlags, inspectorLines } from '../support/inspector.ts';
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';
import { RawClient, type RawConnect } from '../support/mqtt/raw-client.ts';

const brokers: BrokerProcess[] = [];
const clients: RawClient[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  for (const broker of brokers.splice(0)) await broker.kill();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-retained-'));
  folders.push(folder);
  return folder;
}

async function start(options: BrokerProcessOptions = {}): Promise<BrokerProcess> {
  const settings = { sharding: 'round-robin', ...options.settings };
  const broker = await BrokerProcess.start({ ...options, settings });
  brokers.push(broker);
  return broker;
}

/** Each further connection is on the other worker. */
async function connect(broker: BrokerProcess, options: RawConnect = {}): Promise<RawClient> {
  const client = await RawClient.connect(broker.port(), { level: 5, ...options });
  clients.push(client);
  return client;
}

/** Publishes a retained message with QoS 1 or 2 and answers the reason code of PUBACK or PUBREC. */
async function retain(
  client: RawClient,
  topic: string,
  payload: string,
  more: Record<string, unknown> = {},
): Promise<number> {
  const qos = (more.qos as number | undefined) ?? 1;
  client.publish(topic, payload, { qos, retain: true, ...more });
  const { messageId, reasonCode = 0 } = await client.packet(qos === 1 ? 'puback' : 'pubrec');
  if (qos === 2 && Number(reasonCode) < 0x80) {
    client.send({ cmd: 'pubrel', messageId });
    await client.packet('pubcomp');
  }
  return Number(reasonCode);
}

/** What a new subscriber is sent, by topic. */
async function kept(broker: BrokerProcess, filter: string): Promise<Record<string, string>> {
  const client = await connect(broker);
  await client.subscribe(filter);
  const found = (await client.barrier()).filter(({ cmd }) => cmd === 'publish');
  await client.cut();
  const entries = found.map(({ topic, payload }) => [String(topic), String(payload)] as const);
  return Object.fromEntries(entries.sort(([left], [right]) => (left < right ? -1 : 1)));
}

const payloadOf = ({ payload }: AnyPacket): string => String(payload);

describe('a broker that is killed', () => {
  it('keeps what it acknowledged: values, removals, properties and expiry', async () => {
    const data = newFolder();
    const first = await start({ data });
    const [one, two] = [await connect(first), await connect(first)];
    for (let at = 0; at < 20; at++) expect(await retain(at % 2 === 0 ? one : two, `t/${at}`, `value ${at}`)).toBe(0);
    expect(await retain(one, 'twice', 'exactly', { qos: 2 })).toBe(0);
    expect(await retain(two, 't/3', 'newer')).toBe(0);
    for (const at of [5, 6, 7]) expect(await retain(two, `t/${at}`, '')).toBe(0);
    const properties = { messageExpiryInterval: 600, contentType: 'text/plain', userProperties: { a: 'b' } };
    expect(await retain(one, 'rich', 'x', { properties })).toBe(0);
    expect(await retain(one, 'short', 'x', { properties: { messageExpiryInterval: 1 } })).toBe(0);
    await first.kill();

    const second = await start({ data });
    const values = await kept(second, '#');
    expect(Object.keys(values).filter((topic) => topic.startsWith('t/'))).toHaveLength(17);
    expect(values).toMatchObject({ 't/0': 'value 0', 't/3': 'newer', twice: 'exactly', rich: 'x' });
    expect(values['t/6']).toBeUndefined();
    const reader = await connect(second);
    await reader.subscribe('rich', 1);
    const [rich] = await reader.packets(1);
    expect(rich).toMatchObject({
      qos: 1,
      retain: true,
      properties: { contentType: 'text/plain', userProperties: { a: 'b' } },
    });
    expect((rich.properties as { messageExpiryInterval: number }).messageExpiryInterval).toBeLessThanOrEqual(600);
    // On the other worker, and it stays gone.
    const writer = await connect(second);
    expect(await retain(writer, 't/3', '')).toBe(0);
    await second.kill();
    const third = await start({ data });
    expect(Object.keys(await kept(third, 't/+'))).toHaveLength(16);
    while (Object.hasOwn(await kept(third, 'short'), 'short')) await new Promise((resolve) => setTimeout(resolve, 100));
    await third.stop();
    brokers.splice(0);
  }, 60_000);

  it('acknowledges in the order of the publications, retained and not', async () => {
    const broker = await start();
    const client = await connect(broker, { level: 4 });
    const ids: number[] = [];
    for (let at = 1; at <= 100; at++) {
      client.publish(`order/${at % 7}`, `${at}`, { qos: 1, retain: at % 3 === 0, messageId: at });
      ids.push(at);
    }
    const acknowledged = await client.packets(100, 'puback');
    expect(acknowledged.map(({ messageId }) => messageId)).toEqual(ids);
  }, 30_000);
});

describe('limits', () => {
  it('refuse with 0x97 whom they can tell, deliver for the others, and count', async () => {
    const settings = { 'limits.retainedTenantCountMax': 3, 'limits.retainedValueBytesMax': 1_000 };
    const broker = await start({ settings });
    const [reader, five, four] = [await connect(broker), await connect(broker), await connect(broker, { level: 4 })];
    await reader.subscribe('#', 1);
    for (const topic of ['a', 'b', 'c']) expect(await retain(five, topic, topic)).toBe(0);
    expect((await reader.packets(3)).map(payloadOf)).toEqual(['a', 'b', 'c']);
    expect(await retain(five, 'd', 'refused')).toBe(0x97);
    expect(await retain(five, 'e', 'refused', { qos: 2 })).toBe(0x97);
    expect(await retain(five, 'a', 'x'.repeat(2_000))).toBe(0x97);
    expect(await retain(five, 'a', 'replaced')).toBe(0);
    await retain(four, 'f', 'passed on');
    five.publish('g', 'passed on too', { retain: true });
    expect((await reader.packets(3)).map(payloadOf).sort()).toEqual(['passed on', 'passed on too', 'replaced']);
    expect(Object.keys(await kept(broker, '#'))).toEqual(['a', 'b', 'c']);
    expect(await retain(five, 'b', '')).toBe(0);
    expect(await retain(five, 'd', 'now')).toBe(0);
    expect(await broker.metric('ringmq_retained_refused_total', 'limit="tenant-count"')).toBe(4);
    expect(await broker.metric('ringmq_retained_refused_total', 'limit="value-bytes"')).toBe(1);
  }, 30_000);
});

describe('a subscriber with a large match', () => {
  const count = 20_000;

  async function fill(client: RawClient): Promise<void> {
    for (let at = 0; at < count; at++) client.publish(`big/${at % 100}/${at}`, `old ${at}`, { retain: true });
    await client.barrier();
  }

  it('does not keep others waiting, and gets no old value behind a live one', async () => {
    const broker = await start({ workers: 1, settings: { 'storage.retained': false } });
    const [writer, reader, other] = [await connect(broker), await connect(broker), await connect(broker)];
    await fill(writer);
    await other.subscribe('ping');
    await reader.subscribe('big/#');
    // The reader does not read: its output fills, and the rest waits.
    reader.socket.pause();
    for (let round = 0; round < 50; round++) {
      writer.publish('ping', `${round}`);
      expect(payloadOf(await other.packet('publish'))).toBe(`${round}`);
    }
    const live = new Set<string>();
    for (let at = 0; at < count; at += 97) {
      live.add(`big/${at % 100}/${at}`);
      writer.publish(`big/${at % 100}/${at}`, 'live');
    }
    await writer.barrier();
    reader.socket.resume();
    const seen = new Map<string, string[]>();
    let oldCount = 0;
    while (oldCount < count) {
      const { topic, payload } = await reader.packet('publish');
      const payloads = seen.get(String(topic)) ?? [];
      seen.set(String(topic), [...payloads, String(payload)]);
      if (String(payload).startsWith('old')) oldCount++;
    }
    for (const [topic, payloads] of seen) {
      expect(payloads.filter((payload) => payload.startsWith('old'))).toHaveLength(1);
      if (live.has(topic)) expect(payloads[0]).toMatch(/^old/);
    }
  }, 60_000);

  it('with QoS 1 is sent as many as its window allows, and stops with UNSUBSCRIBE', async () => {
    const broker = await start({ workers: 1, settings: { 'storage.retained': false } });
    const writer = await connect(broker);
    for (let at = 0; at < 500; at++) writer.publish(`q/${at}`, `${at}`, { qos: 1, retain: true });
    await writer.packets(500, 'puback');
    const reader = await connect(broker, { properties: { receiveMaximum: 10 } });
    await reader.subscribe('q/+', 1);
    const seen = new Set<string>();
    let window = await reader.barrier();
    while (seen.size < 200) {
      expect(window).toHaveLength(10);
      for (const packet of window) {
        seen.add(String(packet.topic));
        reader.send({ cmd: 'puback', messageId: packet.messageId });
      }
      window = await reader.barrier();
    }
    expect(await broker.metric('ringmq_messages_dropped_total')).toBe(0);
    reader.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['q/+'] });
    await reader.packet('unsuback');
    for (const { messageId } of window) reader.send({ cmd: 'puback', messageId });
    expect(await reader.barrier()).toEqual([]);
    expect(seen.size).toBe(200);
  }, 60_000);
});

describe('a subscriber whose session is kept', () => {
  it('gets all values within its window, and what comes live behind them', async () => {
    const broker = await start();
    const writer = await connect(broker);
    for (let at = 0; at < 100; at++) writer.publish(`k/${at}`, 'old', { qos: 1, retain: true });
    await writer.packets(100, 'puback');
    const properties = { sessionExpiryInterval: 60, receiveMaximum: 7 };
    const reader = await connect(broker, { clientId: 'kept', properties });
    await reader.subscribe('k/+', 1);
    writer.publish('k/live', 'live', { qos: 1 });
    await writer.packet('puback');
    const seen: string[] = [];
    while (seen.length < 101) {
      const { topic, messageId } = await reader.packet('publish');
      seen.push(String(topic));
      reader.send({ cmd: 'puback', messageId });
    }
    expect(new Set(seen).size).toBe(101);
    expect(await reader.barrier()).toEqual([]);
  }, 30_000);
});

describe('an administrator', () => {
  it('lists them page by page, sees one and removes one', async () => {
    const broker = await start();
    const writer = await connect(broker);
    for (let at = 0; at < 25; at++) await retain(writer, `site/${at}`, `value ${at}`);
    const get = async (path: string): Promise<Record<string, unknown>> => {
      const response = await fetch(`http://127.0.0.1:${broker.port('http')}/api/v1/retained${path}`);
      return { status: response.status, ...((await response.json()) as object) };
    };
    const topics: string[] = [];
    let cursor: unknown = null;
    do {
      const page = await get(`?limit=10&filter=site/%2B${cursor === null ? '' : `&cursor=${String(cursor)}`}`);
      expect(page.status).toBe(200);
      for (const { topic } of page.values as { topic: string }[]) topics.push(topic);
      ({ cursor } = page);
    } while (cursor !== null);
    expect(new Set(topics).size).toBe(25);
    expect(await get('?cursor=none')).toMatchObject({ status: 410, code: 'CURSOR_UNKNOWN' });
    expect(await get('?filter=a/%23/b')).toMatchObject({ status: 400 });
    expect(await get('/value?topic=site/%2B')).toMatchObject({ status: 400 });
    const payload = Buffer.from('value 7').toString('base64');
    expect(await get('/value?topic=site/7')).toMatchObject({ qos: 1, payloadBytes: 7, expiresAtMs: null, payload });
    const body = JSON.stringify({ topic: 'site/7' });
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
    const url = `http://127.0.0.1:${broker.port('http')}/api/v1/retained/delete`;
    expect((await fetch(url, init)).status).toBe(200);
    expect((await fetch(url, init)).status).toBe(404);
    expect(Object.keys(await kept(broker, 'site/+'))).toHaveLength(24);
  }, 30_000);
});

describe('a worker that dies', () => {
  it('has the stored values again when there is no other', async () => {
    const expectedErrors = [...inspectorLines, /worker died/];
    const broker = await start({ workers: 1, nodeFlags: inspectorFlags, expectedErrors });
    const writer = await connect(broker);
    for (let at = 0; at < 50; at++) expect(await retain(writer, `t/${at}`, `${at}`)).toBe(0);
    const inspector = await Inspector.attach(broker);
    try {
      await inspector.throwIn(inspector.workers[0], 'killed by the test');
      await writer.closed();
    } finally {
      inspector.close();
    }
    let found: Record<string, string> = {};
    while (Object.keys(found).length < 50) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      try {
        found = await kept(broker, 't/+');
      } catch {
        found = {}; // The socket was handed to the worker that died.
      }
    }
    expect(found['t/7']).toBe('7');
  }, 60_000);
});
