/**
 * What must not be seen of the broker's threads: streams between workers, client ids that move between workers while
 * messages flow, many connections at once. MQTT.js.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BrokerProcess } from '../support/broker-process.ts';
import { type InteropClient, type Qos, textOf, type Version } from './support/client.ts';
import { persistent } from './support/common-suite.ts';
import { commonSettings, unique } from './support/fixture.ts';
import { createIncomingStore, MqttJsLibrary } from './support/mqtt-js.ts';

const library = new MqttJsLibrary();
let broker: BrokerProcess;

beforeAll(async () => {
  broker = await BrokerProcess.start({ workers: 2, settings: { ...commonSettings, 'mqtt.receiveMaximum': 65_535 } });
});
afterEach(() => library.closeAll());
afterAll(() => broker.stop());

function connect(version: Version, options: object = {}): Promise<InteropClient> {
  return library.connect({ port: broker.port(), version, clientId: unique('client'), ...options });
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${index}`);
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

describe('a stream of 20,000 messages between two workers', () => {
  it.each([
    { qos: 0, from: 4, to: 4 },
    { qos: 0, from: 4, to: 5 },
    { qos: 1, from: 4, to: 4 },
    { qos: 1, from: 5, to: 4 },
    { qos: 2, from: 4, to: 4 },
    { qos: 2, from: 5, to: 5 },
  ] as const)(
    'at QoS $qos from version $from to version $to loses nothing and keeps the order',
    async ({ qos, from, to }) => {
      const topic = unique('stream');
      // Connections go to the workers in turn: the two are on different ones.
      const [subscriber, publisher] = [await connect(to), await connect(from)];
      await subscriber.subscribe(topic);
      const texts = numbers(20_000);
      for (let at = 0; at < texts.length; at += 500) {
        await Promise.all(texts.slice(at, at + 500).map((text) => publisher.publish(topic, text, { qos })));
        await pause();
      }
      const received = await subscriber.exactly(texts.length);
      expect(textOf(received)).toEqual(texts);
      expect(received.every((message) => message.qos === qos && !message.dup)).toBe(true);
    },
  );
});

describe('a client id that moves between workers', () => {
  it.each([
    { qos: 1, version: 4 },
    { qos: 2, version: 4 },
    { qos: 1, version: 5 },
    { qos: 2, version: 5 },
  ] as const)('while QoS $qos messages flow loses nothing (version $version)', async ({ qos, version }) => {
    const [topic, clientId] = [unique('moving'), unique('client')];
    // One publisher on each worker.
    const publishers = [await connect(version), await connect(version)];
    const takers: InteropClient[] = [];
    const incomingStore = createIncomingStore();
    const take = async (): Promise<InteropClient> => {
      const client = await connect(version, { ...persistent(clientId, version), incomingStore });
      takers.push(client);
      return client;
    };
    await (await take()).subscribe(`${topic}/#`);
    let done = false;
    let sentCount = 0;
    const publish = async (publisher: InteropClient, name: string): Promise<void> => {
      for (let index = 0; !done; index++) {
        await publisher.publish(`${topic}/${name}`, `${name}${index}`, { qos });
        sentCount++;
      }
    };
    const publishing = publishers.map((publisher, index) => publish(publisher, 'ab'[index] as string));
    for (let round = 0; round < 15; round++) {
      // Every other time the next owner is the same worker.
      if (round % 3 === 2) await connect(version);
      const client = await take();
      if (version > 3) expect(client.connack.sessionPresent).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 60));
      if (round % 4 === 1) await client.cut();
      if (round % 4 === 3) await client.disconnect();
    }
    const last = await take();
    done = true;
    await Promise.all(publishing);
    expect(sentCount).toBeGreaterThan(50);
    await settled(takers, sentCount);
    await last.disconnect();
    const all = takers.flatMap(({ received }) => received);
    for (const name of ['a', 'b']) {
      const own = all.filter((message) => message.topic === `${topic}/${name}`);
      const expected = numbers(Math.max(...own.map(({ payload }) => Number(payload.toString().slice(1)))) + 1);
      const firsts = [...new Set(textOf(own))];
      // Nothing is lost, and the first time that each comes is in order.
      expect(firsts).toEqual(expected.map((number) => `${name}${number}`));
      const repeated = own.length - firsts.length;
      // Only what is marked so may come twice, and never at QoS 2.
      expect(repeated).toBeLessThanOrEqual(qos === 2 ? 0 : own.filter(({ dup }) => dup).length);
    }
    expect(new Set(textOf(all)).size).toBe(sentCount);
  });

  it('takes along what waits: 2,000 messages, over several moves without acknowledgements', async () => {
    const [topic, clientId] = [unique('moving'), unique('client')];
    const session = persistent(clientId, 5);
    const first = await connect(5, session);
    await first.subscribe([{ topic: `${topic}/#`, qos: 2, retainAsPublished: true }], { subscriptionIdentifier: 77 });
    await first.disconnect();
    const publisher = await connect(5);
    const texts = numbers(2_000);
    await Promise.all(texts.map((text) => publisher.publish(`${topic}/x`, text, { qos: 1 })));
    // These acknowledge nothing: their in-flight messages move as well.
    for (let round = 0; round < 5; round++) {
      const client = await connect(5, { ...session, acks: false });
      await client.messages(1);
      if (round % 2 === 0) await client.cut();
    }
    const last = await connect(5, session);
    const received = await last.exactly(2_000);
    expect(textOf(received)).toEqual(texts);
    // Those that were sent before, and they alone: at most what the window takes, fewer when the connections were cut sooner.
    const again = received.filter(({ dup }) => dup).length;
    expect(again).toBeGreaterThan(0);
    expect(again).toBeLessThanOrEqual(1_024);
    expect(received.map(({ dup }) => dup)).toEqual(texts.map((text) => Number(text) < again));
    expect(received.every(({ properties }) => properties.subscriptionIdentifiers?.[0] === 77)).toBe(true);
    await last.disconnect();
  });

  it.each([1, 2])('keeps its place in a shared group of %i: each message comes to one member once', async (size) => {
    const topic = unique('shared');
    const ids = numbers(size).map(() => unique('member'));
    const stores = new Map(ids.map((id) => [id, createIncomingStore()]));
    const members: InteropClient[] = [];
    const take = async (id: string): Promise<InteropClient> => {
      const client = await connect(5, { ...persistent(id, 5), incomingStore: stores.get(id) });
      members.push(client);
      return client;
    };
    for (const id of ids) await (await take(id)).subscribe([{ topic: `$share/g/${topic}`, qos: 2 }]);
    const publishers = [await connect(5), await connect(5)];
    let done = false;
    const sent: string[] = [];
    const publish = async (publisher: InteropClient, name: string): Promise<void> => {
      for (let index = 0; !done; index += 20) {
        const texts = numbers(20).map((text) => `${name}${index + Number(text)}`);
        sent.push(...texts);
        await Promise.all(texts.map((text) => publisher.publish(topic, text, { qos: 2 })));
      }
    };
    const publishing = publishers.map((publisher, index) => publish(publisher, 'ab'[index] as string));
    for (let round = 0; round < 30; round++) {
      if (round % 3 === 2) await connect(5);
      await take(ids[round % size] as string);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    done = true;
    await Promise.all(publishing);
    await settled(members, sent.length);
    expect(textOf(members.flatMap(({ received }) => received)).sort()).toEqual([...sent].sort());
  });

  it('many clients of one id at once: one of them stays, and it works', async () => {
    const clientId = unique('contended');
    const attempts = Array.from({ length: 40 }, (_, index) =>
      connect(5, { ...persistent(clientId, 5), clean: index % 5 === 0 }).then(
        (client) => client,
        () => null,
      ),
    );
    const clients = (await Promise.all(attempts)).filter((client) => client !== null);
    const gone: InteropClient[] = [];
    for (const client of clients) void client.closed.then(() => gone.push(client));
    const limit = performance.now() + 10_000;
    while (gone.length < clients.length - 1 && performance.now() < limit) await pause();
    const staying = clients.filter((client) => !gone.includes(client));
    expect(staying.length).toBe(1);
    const topic = unique('contended');
    await staying[0]?.subscribe(topic);
    await (await connect(5)).publish(topic, 'works', { qos: 2 });
    await staying[0]?.exactly(1);
    await staying[0]?.disconnect({ sessionExpiryInterval: 0 });
  });
});

/** Waits until that many distinct messages have come to all clients together. */
async function settled(clients: readonly InteropClient[], count: number): Promise<void> {
  const limit = performance.now() + 10_000;
  const distinct = (): number => new Set(clients.flatMap(({ received }) => textOf(received))).size;
  while (distinct() < count && performance.now() < limit) await new Promise((resolve) => setTimeout(resolve, 50));
  // For those that come too often.
  await new Promise((resolve) => setTimeout(resolve, 200));
}

describe('many connections', () => {
  it('500 clients connect at once, on both workers, and each gets its own messages', async () => {
    const topic = unique('crowd');
    const versions = [3, 4, 5] as const;
    const clients = await Promise.all(numbers(500).map((_, index) => connect(versions[index % 3] as Version)));
    await Promise.all(clients.map((client, index) => client.subscribe([{ topic: `${topic}/${index}`, qos: 1 }])));
    const shares = [0, 1].map((worker) => broker.metric('ringmq_connections_open', `worker="${worker}"`));
    for (const share of await Promise.all(shares)) expect(share).toBeGreaterThan(200);
    await Promise.all(
      clients.map((client, index) =>
        client.publish(`${topic}/${(index + 1) % 500}`, `${index}`, { qos: (index % 3) as Qos }),
      ),
    );
    await Promise.all(clients.map((client) => client.messages(1)));
    for (const [index, client] of clients.entries())
      expect(textOf(client.received)).toEqual([`${(index + 499) % 500}`]);
    // One message to all of them.
    await Promise.all(clients.map((client) => client.subscribe([{ topic: `${topic}/all`, qos: 1 }])));
    await (await connect(5)).publish(`${topic}/all`, 'all', { qos: 1 });
    await Promise.all(clients.map((client) => client.messages(2)));
    await library.closeAll();
    const limit = performance.now() + 10_000;
    while ((await broker.metric('ringmq_connections_open')) > 0 && performance.now() < limit) await pause();
    expect(await broker.metric('ringmq_connections_open')).toBe(0);
  });

  it('every connection of a thousand in a row is served', async () => {
    for (let round = 0; round < 50; round++) {
      const clients = await Promise.all(numbers(20).map((_, index) => connect((3 + (index % 3)) as Version)));
      await Promise.all(clients.map((client, index) => (index % 2 === 0 ? client.disconnect() : client.cut())));
    }
    expect(broker.unexpectedErrors).toEqual([]);
  });

  it('a new subscription is heard by a publisher that has used 70,000 other topics', async () => {
    const topic = unique('topics');
    const [subscriber, publisher] = [await connect(4), await connect(5)];
    await publisher.publish(`${topic}/mine`, 'unheard', { qos: 1, properties: { topicAlias: 1 } });
    const other = await connect(4);
    for (let at = 0; at < 70_000; at += 1_000) {
      const some = numbers(1_000).map((text) => other.publish(`${topic}/${at + Number(text)}`, '', { qos: 0 }));
      await Promise.all(some);
    }
    await other.publish(`${topic}/fence`, '', { qos: 1 });
    await publisher.publish('', 'unheard', { qos: 1, properties: { topicAlias: 1 } });
    await subscriber.subscribe(`${topic}/mine`);
    await publisher.publish('', 'heard', { qos: 1, properties: { topicAlias: 1 } });
    await publisher.publish(`${topic}/mine`, 'heard', { qos: 1 });
    expect(textOf(await subscriber.exactly(2))).toEqual(['heard', 'heard']);
  });
});
