/** What MQTT 5 adds, over one library. Called by the test files of the libraries. */
import { describe, expect, it } from 'vitest';
import { type ClientLibrary, ConnectionRefused, type MessageProperties, type Qos, textOf } from './client.ts';
import { treacherousNames } from './common-suite.ts';
import { type Fixture, unique, useBroker } from './fixture.ts';

const allQos: readonly Qos[] = [0, 1, 2];

export function describeVersion5(library: ClientLibrary): void {
  describe(`${library.name} with what MQTT 5 adds`, () => {
    const fixture = useBroker(library, 5);
    describeConnecting(fixture);
    describeProperties(fixture);
    if (!library.lacks.has('subscription identifiers')) describeIdentifiers(fixture);
    describeOptions(fixture);
    describeExpiry(fixture);
    if (!library.lacks.has('topic aliases')) describeAliases(fixture);
    describeShared(fixture);
  });
}

function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

function describeConnecting({ connect, library }: Fixture): void {
  it('a client without an id is told the one that it was assigned', async () => {
    const [one, other] = [await connect({ clientId: '' }), await connect({ clientId: '' })];
    const id = one.connack.properties.assignedClientIdentifier;
    expect(id).toMatch(/./);
    expect(other.connack.properties.assignedClientIdentifier).not.toBe(id);
    const named = await connect({ clientId: unique('named') });
    expect(named.connack.properties.assignedClientIdentifier).toBeUndefined();
  });

  it('CONNACK tells the limits of the broker', async () => {
    const { properties } = (await connect({ keepAliveS: 3_000 })).connack;
    expect(properties.serverKeepAlive).toBe(600);
    expect(properties.maximumPacketSize).toBe(1_048_576);
    expect(properties.receiveMaximum).toBe(1_024);
    expect(properties.topicAliasMaximum).toBe(64);
    expect((await connect({ keepAliveS: 30 })).connack.properties.serverKeepAlive).toBeUndefined();
  });

  it('response information comes to who asks for it', async () => {
    const asking = await connect({ properties: { requestResponseInformation: 1 } });
    expect(asking.connack.properties.responseInformation).toMatch(/./);
    expect((await connect()).connack.properties.responseInformation).toBeUndefined();
  });

  it('a will with an invalid topic is refused with a reason', async () => {
    const refused = connect({ will: { topic: 'a/#', payload: '' } });
    // Libraries may refuse it themselves; if they do not, the broker says why.
    await expect(refused).rejects.toSatisfy(
      (error: unknown) => !(error instanceof ConnectionRefused) || error.reasonCode === 0x90,
    );
  });

  it('DISCONNECT with reason 4 asks for the will', async () => {
    const topic = unique('will');
    const watcher = await connect();
    await watcher.subscribe(topic);
    const client = await connect({ will: { topic, payload: 'gone', qos: 1 } });
    await client.disconnect({ reasonCode: 4 });
    await watcher.exactly(1);
  });

  it('a publication to a topic of the broker is refused with a reason', async () => {
    const client = await connect();
    expect(await client.publish('$SYS/mine', 'no', { qos: 1 })).toBe(0x87);
    // paho answers the refusing PUBREC with PUBREL and reports what the broker says to that.
    expect(await client.publish('$SYS/mine', 'no', { qos: 2 })).toBe(library.name === 'paho' ? 0x92 : 0x87);
    // The connection goes on.
    if (!library.lacks.has('staying after a refusal'))
      expect(await client.publish(unique('mine'), 'yes', { qos: 2 })).toBe(0);
  });

  it('UNSUBACK says which filter was there', async () => {
    const topic = unique('unsubscribe');
    const client = await connect();
    await client.subscribe(topic);
    expect(await client.unsubscribe([topic, `${topic}/other`])).toEqual([0, 0x11]);
  });

  it('a user name and a password of any kind are taken', async () => {
    for (const username of treacherousNames) {
      const client = await connect({ username, password: '\u0001 ü 🚀' });
      expect(await client.publish(unique('user'), 'hello', { qos: 1 })).toBe(0);
    }
  });
}

const everyProperty: MessageProperties = {
  payloadFormatIndicator: 1,
  messageExpiryInterval: 1_000,
  contentType: 'text/plain; charset=utf-8',
  responseTopic: 'answers/ü',
  correlationData: 'corre\u0000lation',
  userProperties: [
    ['first', '1'],
    ['first', '2'],
    ['__proto__', 'polluted'],
    ['constructor', 'x'],
    ['toString', ''],
    ['ключ', 'значение 🚀'],
  ],
};

function describeProperties({ connect }: Fixture): void {
  it.each(allQos)('every property of a QoS %i message arrives as it was sent', async (qos) => {
    const topic = unique('properties');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe(topic);
    await publisher.publish(topic, 'text', { qos, properties: everyProperty });
    await publisher.publish(topic, 'text', { qos });
    const [full, bare] = await subscriber.exactly(2);
    const { messageExpiryInterval, ...rest } = full?.properties ?? {};
    const { messageExpiryInterval: _, ...expected } = everyProperty;
    expect(rest).toEqual(expected);
    expect(messageExpiryInterval).toBeGreaterThan(990);
    expect(bare?.properties).toEqual({});
  });

  it('retained messages, wills and waiting messages keep their properties', async () => {
    const [topic, clientId] = [unique('properties'), unique('client')];
    const session = { clientId, clean: false, properties: { sessionExpiryInterval: 300 } };
    const absent = await connect(session);
    await absent.subscribe(`${topic}/#`);
    await absent.disconnect();
    const publisher = await connect();
    await publisher.publish(`${topic}/retained`, 'text', { qos: 1, retain: true, properties: everyProperty });
    const dying = await connect({
      will: { topic: `${topic}/will`, payload: 'text', qos: 1, properties: everyProperty },
    });
    const watcher = await connect();
    await watcher.subscribe(`${topic}/#`);
    await dying.cut();
    const seen = await watcher.exactly(2);
    const waited = await (await connect(session)).exactly(2);
    for (const { properties } of [...seen, ...waited]) {
      expect(properties.userProperties).toEqual(everyProperty.userProperties);
      expect(properties.contentType).toBe(everyProperty.contentType);
      expect(properties.correlationData).toBe(everyProperty.correlationData);
      expect(properties.payloadFormatIndicator).toBe(1);
      expect(properties.responseTopic).toBe(everyProperty.responseTopic);
    }
  });
}

function describeIdentifiers({ connect }: Fixture): void {
  it('subscription identifiers say which subscriptions matched', async () => {
    const topic = unique('identifiers');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe([{ topic: `${topic}/+`, qos: 1 }], { subscriptionIdentifier: 7 });
    await subscriber.subscribe([{ topic: `${topic}/a`, qos: 2 }], { subscriptionIdentifier: 268_435_455 });
    await subscriber.subscribe([{ topic: `${topic}/b`, qos: 2 }]);
    await publisher.publish(`${topic}/a`, 'both', { qos: 2 });
    await publisher.publish(`${topic}/b`, 'one', { qos: 1 });
    const received = await subscriber.exactly(2);
    const byText = new Map(received.map((message) => [message.payload.toString(), message.properties]));
    expect([...(byText.get('both')?.subscriptionIdentifiers ?? [])].sort((a, b) => a - b)).toEqual([7, 268_435_455]);
    expect(byText.get('one')?.subscriptionIdentifiers).toEqual([7]);
    // Subscribing again replaces the identifier.
    await subscriber.subscribe([{ topic: `${topic}/+`, qos: 1 }], { subscriptionIdentifier: 9 });
    await publisher.publish(`${topic}/b`, 'again', { qos: 1 });
    expect((await subscriber.exactly(3))[2]?.properties.subscriptionIdentifiers).toEqual([9]);
  });

  it('retained messages carry the subscription identifier', async () => {
    const topic = unique('identifiers');
    const [publisher, subscriber] = [await connect(), await connect()];
    await publisher.publish(topic, 'kept', { qos: 1, retain: true });
    await subscriber.subscribe([{ topic, qos: 1 }], { subscriptionIdentifier: 12 });
    expect((await subscriber.exactly(1))[0]?.properties.subscriptionIdentifiers).toEqual([12]);
  });
}

function describeOptions({ connect }: Fixture): void {
  it('no local leaves out what the client publishes itself, and nothing else', async () => {
    const topic = unique('no-local');
    const [client, other] = [await connect(), await connect()];
    await client.subscribe([{ topic: `${topic}/#`, qos: 2, noLocal: true }]);
    for (const qos of allQos) await client.publish(`${topic}/own`, 'own', { qos });
    await other.publish(`${topic}/other`, 'other', { qos: 1 });
    expect(textOf(await client.exactly(1))).toEqual(['other']);
    // An overlapping subscription without the option still wants it.
    await client.subscribe([{ topic: `${topic}/own`, qos: 1 }]);
    await client.publish(`${topic}/own`, 'wanted', { qos: 1 });
    expect(textOf(await client.exactly(2))).toEqual(['other', 'wanted']);
  });

  it('retain as published keeps the flag of live messages', async () => {
    const topic = unique('retain');
    const [keeping, usual, publisher] = [await connect(), await connect(), await connect()];
    await keeping.subscribe([{ topic, qos: 1, retainAsPublished: true }]);
    await usual.subscribe([{ topic, qos: 1 }]);
    await publisher.publish(topic, 'a', { qos: 1, retain: true });
    await publisher.publish(topic, 'b', { qos: 1 });
    expect((await keeping.exactly(2)).map(({ retain }) => retain)).toEqual([true, false]);
    expect((await usual.exactly(2)).map(({ retain }) => retain)).toEqual([false, false]);
  });

  it.each([
    { retainHandling: 0 as const, counts: [1, 2] },
    { retainHandling: 1 as const, counts: [1, 1] },
    { retainHandling: 2 as const, counts: [0, 0] },
  ])('retain handling $retainHandling', async ({ retainHandling, counts }) => {
    const topic = unique('retain-handling');
    const [publisher, subscriber] = [await connect(), await connect()];
    await publisher.publish(topic, 'kept', { qos: 1, retain: true });
    for (const count of counts) {
      await subscriber.subscribe([{ topic, qos: 1, retainHandling }]);
      await subscriber.exactly(count);
    }
  });

  it('messages above the maximum packet size of a client are left out for it alone', async () => {
    const topic = unique('size');
    const small = await connect({ properties: { maximumPacketSize: 200 } });
    const [usual, publisher] = [await connect(), await connect()];
    for (const client of [small, usual]) await client.subscribe(topic);
    for (const qos of allQos) {
      await publisher.publish(topic, 'x'.repeat(300), { qos });
      await publisher.publish(topic, `${qos}`, { qos });
    }
    await usual.exactly(6);
    expect(textOf(await small.exactly(3)).sort()).toEqual(['0', '1', '2']);
  });
}

function describeExpiry({ connect }: Fixture): void {
  it('a message that waits longer than its expiry is not delivered; the rest of it is told', async () => {
    const [topic, clientId] = [unique('expiry'), unique('client')];
    const session = { clientId, clean: false, properties: { sessionExpiryInterval: 300 } };
    const first = await connect(session);
    await first.subscribe(topic);
    await first.disconnect();
    const publisher = await connect();
    await publisher.publish(topic, 'short', { qos: 1, properties: { messageExpiryInterval: 1 } });
    await publisher.publish(topic, 'long', { qos: 2, properties: { messageExpiryInterval: 100 } });
    await publisher.publish(topic, 'for ever', { qos: 1 });
    await publisher.publish(`${topic}/kept`, 'short', {
      retain: true,
      qos: 1,
      properties: { messageExpiryInterval: 1 },
    });
    await sleep(2_200);
    const second = await connect(session);
    const received = await second.exactly(2);
    expect(textOf(received).sort()).toEqual(['for ever', 'long']);
    const long = received.find(({ payload }) => payload.toString() === 'long');
    expect(long?.properties.messageExpiryInterval).toBeLessThanOrEqual(98);
    expect(long?.properties.messageExpiryInterval).toBeGreaterThan(80);
    await second.subscribe(`${topic}/kept`);
    await second.exactly(2);
  });

  it('a session ends after its expiry, and at once without one', async () => {
    const clientId = unique('client');
    const session = { clientId, clean: false, properties: { sessionExpiryInterval: 1 } };
    await (await connect(session)).disconnect();
    expect((await connect(session)).connack.sessionPresent).toBe(true);
    await (await connect(session)).disconnect();
    await sleep(2_500);
    const late = await connect({ clientId, clean: false });
    expect(late.connack.sessionPresent).toBe(false);
    await late.disconnect();
    expect((await connect({ clientId, clean: false })).connack.sessionPresent).toBe(false);
  });

  it('DISCONNECT can shorten the session', async () => {
    const clientId = unique('client');
    const session = { clientId, clean: false, properties: { sessionExpiryInterval: 300 } };
    await (await connect(session)).disconnect({ sessionExpiryInterval: 0 });
    expect((await connect(session)).connack.sessionPresent).toBe(false);
  });

  it('a delayed will comes after its delay, or at the end of the session when that is earlier', async () => {
    const topic = unique('will-delay');
    const watcher = await connect();
    await watcher.subscribe(`${topic}/#`);
    const will = (name: string, delayS: number) => ({
      topic: `${topic}/${name}`,
      payload: name,
      qos: 1 as const,
      properties: { willDelayInterval: delayS },
    });
    const delayed = await connect({ will: will('delay', 1), properties: { sessionExpiryInterval: 100 } });
    const ended = await connect({ will: will('session', 100), properties: { sessionExpiryInterval: 2 } });
    await Promise.all([delayed.cut(), ended.cut()]);
    await watcher.exactly(0);
    expect(textOf(await watcher.messages(2))).toEqual(['delay', 'session']);
  });

  it('a client that is back before the delay is over sends no will', async () => {
    const [topic, clientId] = [unique('will-delay'), unique('client')];
    const watcher = await connect();
    await watcher.subscribe(topic);
    const session = { clientId, clean: false, properties: { sessionExpiryInterval: 100 } };
    const will = { topic, payload: 'late', qos: 1 as const, properties: { willDelayInterval: 1 } };
    await (await connect({ ...session, will })).cut();
    // On the other worker and on the same one.
    await (await connect({ ...session, will })).cut();
    await connect();
    await connect(session);
    await sleep(1_800);
    await watcher.exactly(0);
  });
}

function describeAliases({ connect }: Fixture): void {
  it.each(allQos)('a client may use topic aliases at QoS %i, which mean nothing to others', async (qos) => {
    const topic = unique('alias');
    const [subscriber, publisher] = [await connect(), await connect()];
    await subscriber.subscribe(`${topic}/#`);
    const send = (name: string, text: string, topicAlias: number) =>
      publisher.publish(name, text, { qos, properties: { topicAlias, userProperties: [['text', text]] } });
    await send(`${topic}/a`, 'a1', 1);
    await send(`${topic}/b`, 'b1', 2);
    for (const index of [2, 3]) {
      await send('', `a${index}`, 1);
      await send('', `b${index}`, 2);
    }
    await send(`${topic}/c`, 'c1', 1);
    await send('', 'c2', 1);
    const received = await subscriber.exactly(8);
    for (const { topic: name, payload, properties } of received) {
      const text = payload.toString();
      expect(name).toBe(`${topic}/${text[0]}`);
      expect(properties).toEqual({ userProperties: [['text', text]] });
    }
    expect(textOf(received)).toEqual(['a1', 'b1', 'a2', 'b2', 'a3', 'b3', 'c1', 'c2']);
  });
}

function describeShared({ connect }: Fixture): void {
  it.each(allQos)('the members of a group share QoS %i messages, on whichever worker they are', async (qos) => {
    const topic = unique('shared');
    const members = [await connect(), await connect(), await connect(), await connect()];
    for (const member of members) {
      expect(await member.subscribe([{ topic: `$share/group/${topic}/+`, qos: 2 }])).toEqual([2]);
    }
    const [witness, publisher] = [await connect(), await connect()];
    await witness.subscribe(`${topic}/#`);
    const numbers = Array.from({ length: 400 }, (_, index) => `${index}`);
    await Promise.all(numbers.map((text) => publisher.publish(`${topic}/x`, text, { qos })));
    await witness.messages(400);
    await sleep(300);
    const shares = members.map(({ received }) => textOf(received));
    expect(shares.flat().sort()).toEqual([...numbers].sort());
    for (const share of shares) {
      expect(share.length).toBeGreaterThanOrEqual(80);
      expect(share.length).toBeLessThanOrEqual(120);
    }
  });

  it('a group gets one copy of each message beside ordinary subscriptions and other groups', async () => {
    const topic = unique('shared');
    const client = await connect();
    const publisher = await connect();
    await client.subscribe([{ topic: `$share/one/${topic}`, qos: 1 }]);
    await client.subscribe([{ topic: `$share/two/${topic}`, qos: 1 }]);
    await client.subscribe([{ topic, qos: 1 }]);
    await publisher.publish(topic, 'hello', { qos: 1 });
    await client.exactly(3);
    expect(await client.unsubscribe([`$share/one/${topic}`])).toEqual([0]);
    await publisher.publish(topic, 'hello', { qos: 1 });
    await client.exactly(5);
  });

  it('members that leave leave nothing behind; those that are away are passed over', async () => {
    const topic = unique('shared');
    const session = { clientId: unique('client'), clean: false, properties: { sessionExpiryInterval: 300 } };
    const [leaving, absent, staying] = [await connect(), await connect(session), await connect()];
    for (const member of [leaving, absent, staying]) await member.subscribe([{ topic: `$share/g/${topic}`, qos: 1 }]);
    await leaving.disconnect();
    await absent.disconnect();
    // Both were told to all workers before this subscription was.
    const publisher = await connect();
    await publisher.subscribe([{ topic: `$share/fence/${topic}/fence`, qos: 1 }]);
    await sleep(200);
    for (let index = 0; index < 20; index++) await publisher.publish(topic, `${index}`, { qos: 1 });
    await staying.exactly(20);
    await (await connect(session)).exactly(0);
  });
}
