/** What every version of MQTT does, over one library and one version. Called by the test files of the libraries. */
import { describe, expect, it } from 'vitest';
import { type ClientLibrary, type InteropClient, type Qos, textOf, type Version } from './client.ts';
import { type Fixture, unique, useBroker } from './fixture.ts';

const allQos: readonly Qos[] = [0, 1, 2];
/** What could be taken for something of JavaScript's own, were it the key of a plain object. */
export const treacherousNames = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '__proto__/constructor'];

export const versionNames = { 3: '3.1', 4: '3.1.1', 5: '5' } as const;

export function describeCommon(library: ClientLibrary, version: Version): void {
  describe(`${library.name} with MQTT ${versionNames[version]}`, () => {
    const fixture = useBroker(library, version);
    describeMessages(fixture);
    describeSubscriptions(fixture);
    describeRetained(fixture);
    describeWills(fixture);
    describeSessions(fixture);
    describeNames(fixture);
  });
}

/** Connect options for a session that outlives its connection. Before MQTT 5 such a session cannot start clean. */
export function persistent(clientId: string, version: Version): object {
  return { clientId, clean: false, ...(version === 5 ? { properties: { sessionExpiryInterval: 300 } } : {}) };
}

/** CONNACK of MQTT 3.1 does not say it. */
function expectPresent(client: InteropClient, present: boolean): void {
  expect(client.connack.sessionPresent).toBe(present && client.version > 3);
}

function describeMessages({ connect }: Fixture): void {
  it.each(allQos.flatMap((published) => allQos.map((wanted) => [published, wanted] as const)))(
    'a message of QoS %i arrives at a subscription of QoS %i with the smaller one',
    async (published, wanted) => {
      const topic = unique('qos');
      const [subscriber, publisher] = [await connect(), await connect()];
      expect(await subscriber.subscribe([{ topic, qos: wanted }])).toEqual([wanted]);
      expect(await publisher.publish(topic, 'hello', { qos: published })).toBe(0);
      const [message] = await subscriber.exactly(1);
      expect(message).toMatchObject({ topic, qos: Math.min(published, wanted), retain: false, dup: false });
      expect(message?.payload.toString()).toBe('hello');
    },
  );

  it('order is kept between messages of one QoS, and nothing is lost or repeated', async () => {
    const topic = unique('order');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe(`${topic}/#`);
    const numbers = Array.from({ length: 200 }, (_, index) => index);
    for (const qos of allQos) {
      await Promise.all(numbers.map((number) => publisher.publish(`${topic}/${qos}`, `${number}`, { qos })));
    }
    const received = await subscriber.messages(600);
    for (const qos of allQos) {
      const own = received.filter((message) => message.topic === `${topic}/${qos}`);
      expect(textOf(own)).toEqual(numbers.map(String));
      expect(own.every((message) => message.qos === qos)).toBe(true);
    }
  });

  it('empty payloads and binary ones arrive as they were', async () => {
    const topic = unique('bytes');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe(topic);
    const every = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    await publisher.publish(topic, '', { qos: 1 });
    await publisher.publish(topic, every, { qos: 1 });
    const [empty, full] = await subscriber.messages(2);
    expect(empty?.payload.length).toBe(0);
    expect(full?.payload.equals(every)).toBe(true);
  });

  it.each(allQos)('a payload of a million bytes arrives whole at QoS %i', async (qos) => {
    const topic = unique('large');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe(topic);
    const payload = Buffer.alloc(1_000_000, 'RingMQ is a broker. ');
    await publisher.publish(topic, payload, { qos });
    const [message] = await subscriber.messages(1);
    expect(message?.payload.equals(payload)).toBe(true);
  });

  it('a client gets what it publishes itself', async () => {
    const topic = unique('own');
    const client = await connect();
    await client.subscribe(topic);
    for (const qos of allQos) await client.publish(topic, `${qos}`, { qos });
    expect(textOf(await client.exactly(3))).toEqual(['0', '1', '2']);
  });
}

function describeSubscriptions({ connect }: Fixture): void {
  it('several filters of one request are granted in order, a denied one is refused', async () => {
    const topic = unique('several');
    const client = await connect();
    const filters = [
      { topic: `${topic}/0`, qos: 0 as const },
      { topic: 'denied/topic', qos: 1 as const },
      { topic: `${topic}/2`, qos: 2 as const },
    ];
    expect(await client.subscribe(filters)).toEqual([0, 0x80, 2]);
    await client.publish(`${topic}/2`, 'on', { qos: 2 });
    await client.messages(1);
  });

  it('unsubscribing ends the flow, of that filter only', async () => {
    const topic = unique('unsubscribe');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe([
      { topic: `${topic}/a`, qos: 1 },
      { topic: `${topic}/b`, qos: 1 },
    ]);
    await subscriber.unsubscribe([`${topic}/a`]);
    await publisher.publish(`${topic}/a`, 'gone', { qos: 1 });
    await publisher.publish(`${topic}/b`, 'there', { qos: 1 });
    expect(textOf(await subscriber.exactly(1))).toEqual(['there']);
  });

  it('subscribing again replaces the granted QoS', async () => {
    const topic = unique('again');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe([{ topic, qos: 2 }]);
    await subscriber.subscribe([{ topic, qos: 0 }]);
    await publisher.publish(topic, 'once', { qos: 2 });
    expect((await subscriber.exactly(1))[0]?.qos).toBe(0);
  });

  it('overlapping subscriptions of one client give one message, of the highest QoS', async () => {
    const topic = unique('overlap');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe([
      { topic: `${topic}/#`, qos: 0 },
      { topic: `${topic}/+`, qos: 2 },
      { topic: `${topic}/x`, qos: 1 },
    ]);
    await publisher.publish(`${topic}/x`, 'one', { qos: 2 });
    expect((await subscriber.exactly(1))[0]?.qos).toBe(2);
  });

  it('wildcards match levels, empty ones too, and leave out topics that begin with $', async () => {
    const topic = unique('wild');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe([
      { topic: `${topic}/+/c`, qos: 1 },
      { topic: `+/${topic}/#`, qos: 1 },
    ]);
    const topics = [`${topic}/b/c`, `${topic}//c`, `/${topic}`, `x/${topic}/a/b`];
    const others = [`${topic}/b/d`, `${topic}/b/c/d`, topic, `$x/${topic}`];
    for (const each of [...others, ...topics]) await publisher.publish(each, each, { qos: 1 });
    expect(textOf(await subscriber.exactly(topics.length))).toEqual(topics);
  });

  it('a thousand subscriptions of one client are all served', async () => {
    const topic = unique('many');
    const [subscriber, publisher] = [await connect(), await connect()];
    const filters = Array.from({ length: 1_000 }, (_, index) => ({ topic: `${topic}/${index}`, qos: 1 as const }));
    const granted = await subscriber.subscribe(filters);
    expect(granted.every((code) => code === 1)).toBe(true);
    await Promise.all([0, 1, 500, 999].map((index) => publisher.publish(`${topic}/${index}`, `${index}`, { qos: 1 })));
    expect(textOf(await subscriber.exactly(4)).sort()).toEqual(['0', '1', '500', '999']);
  });
}

function describeRetained({ connect }: Fixture): void {
  it.each(allQos)('a retained message of QoS %i is set, replaced and cleared', async (qos) => {
    const topic = unique('retained');
    const publisher = await connect();
    const read = async (count: number): Promise<InteropClient> => {
      const reader = await connect();
      await reader.subscribe(topic);
      await reader.exactly(count);
      return reader;
    };
    await publisher.publish(topic, 'first', { qos, retain: true });
    await publisher.publish(topic, 'second', { qos, retain: true });
    // A QoS 0 publication has no acknowledgement that says when it has arrived everywhere.
    if (qos === 0) await publisher.publish(unique('fence'), '', { qos: 1 });
    const [message] = (await read(1)).received;
    expect(message).toMatchObject({ topic, retain: true, qos });
    expect(message?.payload.toString()).toBe('second');
    await publisher.publish(topic, '', { qos, retain: true });
    if (qos === 0) await publisher.publish(unique('fence'), '', { qos: 1 });
    await read(0);
  });

  it('a wildcard subscription gets all retained messages; live ones have no retain flag', async () => {
    const topic = unique('retained');
    const publisher = await connect();
    for (let index = 0; index < 20; index++) {
      await publisher.publish(`${topic}/${index}`, `${index}`, { qos: 1, retain: true });
    }
    const subscriber = await connect();
    await subscriber.subscribe(`${topic}/+`);
    const received = await subscriber.exactly(20);
    expect(received.every(({ retain }) => retain)).toBe(true);
    expect(new Set(textOf(received)).size).toBe(20);
    await publisher.publish(`${topic}/0`, 'live', { qos: 1, retain: true });
    const all = await subscriber.exactly(21);
    expect(all[20]?.retain).toBe(false);
  });
}

function describeWills({ connect }: Fixture): void {
  it.each(allQos)('a will of QoS %i is published when the connection breaks', async (qos) => {
    const topic = unique('will');
    const watcher = await connect();
    await watcher.subscribe(topic);
    const client = await connect({ will: { topic, payload: 'gone', qos } });
    await client.cut();
    expect(await watcher.exactly(1)).toMatchObject([{ topic, qos, retain: false }]);
  });

  it('a retained will stays', async () => {
    const topic = unique('will');
    const watcher = await connect();
    await watcher.subscribe(topic);
    const client = await connect({ will: { topic, payload: 'stays', qos: 1, retain: true } });
    await client.cut();
    await watcher.messages(1);
    const late = await connect();
    await late.subscribe(topic);
    expect(await late.exactly(1)).toMatchObject([{ retain: true, qos: 1 }]);
  });

  it('DISCONNECT takes the will back', async () => {
    const topic = unique('will');
    const watcher = await connect();
    await watcher.subscribe(topic);
    const client = await connect({ will: { topic, payload: 'gone', qos: 1 } });
    await client.disconnect();
    await watcher.exactly(0);
  });

  it('a client that falls silent is cut after one and a half times its keep-alive, and its will is published', async () => {
    const topic = unique('keep-alive');
    const watcher = await connect();
    await watcher.subscribe(topic);
    const client = await connect({ keepAliveS: 1, will: { topic, payload: 'silent', qos: 1 } });
    const sinceMs = performance.now();
    await client.fallSilent();
    await watcher.messages(1);
    // The latest packet can have come a moment before the silence began.
    expect(performance.now() - sinceMs).toBeGreaterThan(1_000);
  });

  it('a quiet client that pings is not cut', async () => {
    const topic = unique('keep-alive');
    const watcher = await connect();
    await watcher.subscribe(topic);
    await connect({ keepAliveS: 1, will: { topic, payload: 'silent', qos: 1 } });
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    await watcher.exactly(0);
  });
}

function describeSessions({ connect, library, version }: Fixture): void {
  it('messages of QoS 1 and 2 wait for a persistent session, in order; QoS 0 does not', async () => {
    const [topic, clientId] = [unique('offline'), unique('client')];
    const first = await connect(persistent(clientId, version));
    expectPresent(first, false);
    await first.subscribe(`${topic}/#`);
    await first.disconnect();
    const publisher = await connect();
    for (let index = 0; index < 30; index++) {
      await publisher.publish(`${topic}/${index}`, `${index}`, { qos: (index % 3) as Qos });
    }
    const second = await connect(persistent(clientId, version));
    expectPresent(second, true);
    const expected = Array.from({ length: 30 }, (_, index) => index).filter((index) => index % 3 !== 0);
    const received = await second.exactly(expected.length);
    // Libraries hand a QoS 2 message over when its exchange is over, so that order holds for each QoS by itself.
    for (const qos of [1, 2]) {
      const own = received.filter((message) => message.qos === qos);
      expect(textOf(own)).toEqual(expected.filter((index) => index % 3 === qos).map(String));
    }
    // The subscription is still there.
    await publisher.publish(`${topic}/live`, 'live');
    await second.exactly(expected.length + 1);
  });

  it.each([1, 2] as const)('what was not acknowledged at QoS %i comes again, marked as a duplicate', async (qos) => {
    const [topic, clientId] = [unique('dup'), unique('client')];
    const first = await connect(persistent(clientId, version));
    await first.subscribe(topic);
    await first.fallSilent();
    const publisher = await connect();
    for (const text of ['1', '2', '3']) await publisher.publish(topic, text, { qos });
    // Until it has left the broker for the client that does not read.
    await new Promise((resolve) => setTimeout(resolve, 300));
    await first.cut();
    const second = await connect(persistent(clientId, version));
    expectPresent(second, true);
    const received = await second.exactly(3);
    expect(textOf(received)).toEqual(['1', '2', '3']);
    if (!library.lacks.has('dup')) expect(received.map(({ dup }) => dup)).toEqual([true, true, true]);
  });

  it('a QoS 2 message whose exchange was cut between PUBREL and PUBCOMP does not come twice', async () => {
    const [topic, clientId] = [unique('once'), unique('client')];
    const first = await connect({ ...persistent(clientId, version), acks: false });
    await first.subscribe(topic);
    const publisher = await connect();
    await publisher.publish(topic, 'once', { qos: 2 });
    await first.messages(1);
    await first.cut();
    const second = await connect(persistent(clientId, version));
    await publisher.publish(topic, 'next', { qos: 2 });
    expect(textOf(await second.exactly(1))).toEqual(['next']);
  });

  it('a clean start ends the former session', async () => {
    const [topic, clientId] = [unique('clean'), unique('client')];
    const first = await connect(persistent(clientId, version));
    await first.subscribe(topic);
    await first.disconnect();
    const publisher = await connect();
    await publisher.publish(topic, 'lost', { qos: 1 });
    const second = await connect({ clientId, clean: true });
    expectPresent(second, false);
    await publisher.publish(topic, 'lost', { qos: 1 });
    await second.exactly(0);
    await second.disconnect();
    const third = await connect(persistent(clientId, version));
    expectPresent(third, false);
  });

  it.each(['the same worker', 'the other worker'])('a second client of one id takes over, on %s', async (where) => {
    const [topic, clientId] = [unique('take-over'), unique('client')];
    const watcher = await connect();
    await watcher.subscribe(`${topic}/will`);
    const will = { topic: `${topic}/will`, payload: 'cut', qos: 1 as const };
    const first = await connect({ ...persistent(clientId, version), will });
    await first.subscribe(topic);
    if (where === 'the same worker') await connect();
    const second = await connect(persistent(clientId, version));
    expectPresent(second, true);
    expect(await first.closed).toBe(version < 5 ? null : library.name === 'paho' ? 0 : 0x8e);
    await watcher.exactly(1);
    const publisher = await connect();
    await publisher.publish(topic, 'to the second', { qos: 2 });
    await second.exactly(1);
    expect(first.received).toEqual([]);
  });
}

function describeNames({ connect, version, library }: Fixture): void {
  it.each(treacherousNames)(
    '"%s" is a topic, filter, payload, client id and user name like any other',
    async (name) => {
      const credentials = { username: name, password: name };
      const subscriber = await connect({ ...persistent(name, version), ...credentials });
      await subscriber.subscribe([
        { topic: name, qos: 2 },
        { topic: `${name}/+`, qos: 1 },
      ]);
      const publisher = await connect();
      await publisher.publish(name, name, { qos: 2, retain: true });
      await publisher.publish(`${name}/x`, name, { qos: 2 });
      await publisher.publish(`${name}x`, name, { qos: 2 });
      expect((await subscriber.exactly(2)).map(({ topic }) => topic).sort()).toEqual([name, `${name}/x`]);
      await subscriber.disconnect();
      const again = await connect(persistent(name, version));
      expectPresent(again, true);
      await again.unsubscribe([name, `${name}/+`]);
      await publisher.publish(name, '', { qos: 1, retain: true });
      await again.exactly(0);
      const clean = await connect({ clientId: name, clean: true });
      expectPresent(clean, false);
    },
  );

  const texts = ['Ünïcode/Grüße', '温度/湿度', '🚀/🛰️', 'a b/ c ', '/', '//', 'e\u0301', '\u{10ffff}'].filter(
    (text) =>
      !(library.lacks.has('characters beyond U+FFFF') && /[\u{10000}-\u{10ffff}]/u.test(text)) &&
      !(library.lacks.has('U+10FFFF') && text.includes('\u{10ffff}')),
  );
  it.each(texts)('the topic "%s" arrives as it was written', async (name) => {
    const topic = `${unique('unicode')}/${name}`;
    const clientId = unique(name);
    const [subscriber, publisher] = [await connect({ clientId }), await connect()];
    await subscriber.subscribe(topic);
    await publisher.publish(topic, name, { qos: 1 });
    const [message] = await subscriber.exactly(1);
    expect(message?.topic).toBe(topic);
    expect(message?.payload.toString()).toBe(name);
  });

  it('a topic and a client id may be long', async () => {
    const topic = `${unique('long')}/${'x'.repeat(60_000)}`;
    const [subscriber, publisher] = [await connect({ clientId: unique('c'.repeat(10_000)) }), await connect()];
    await subscriber.subscribe(topic);
    await publisher.publish(topic, 'far', { qos: 2 });
    expect((await subscriber.exactly(1))[0]?.topic).toBe(topic);
  });
}
