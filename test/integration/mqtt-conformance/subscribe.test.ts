/** Sections 3.8 to 3.15 and 4.7 to 4.13: subscriptions, the rest of the packets, topics and filters, errors. */
import { describe, expect, it } from 'vitest';
import { unique, useConformance } from '../../support/mqtt/conformance.ts';
import type { AnyPacket } from '../../support/mqtt/mqtt-host.ts';
import { frameOf, lengthed, type RawClient } from '../../support/mqtt/raw-client.ts';

const mqtt = useConformance({ subscribeDenied: ['denied'] });
const levels = [4, 5] as const;

async function expectRefused(client: RawClient, ...reasonCodes: number[]): Promise<void> {
  const last = await client.closed();
  if (client.level === 5) expect(reasonCodes).toContain(last[0].reasonCode);
  else expect(last).toEqual([]);
}

const texts = (packets: readonly AnyPacket[]): string[] => packets.map(({ payload }) => `${payload}`);

describe('SUBSCRIBE', () => {
  it.each(levels)('of level %i is answered with one SUBACK: a code for each filter, in order', async (level) => {
    const client = await mqtt.connect({ level });
    const [one, two] = [unique(), unique()];
    const filters = [one, 'a/#/b', two, '', 'denied', `${one}/+`];
    client.send({
      cmd: 'subscribe',
      messageId: 77,
      subscriptions: filters.map((topic, qos) => ({ topic, qos: qos % 3 })),
    });
    const suback = await client.packet('suback');
    expect(suback.messageId).toBe(77);
    expect(suback.granted).toEqual(level === 5 ? [0, 0x8f, 2, 0x8f, 0x80, 2] : [0, 0x80, 2, 0x80, 0x80, 2]);
    for (const topic of [one, two, `${one}/x`]) client.publish(topic, topic, { qos: 2, messageId: client.id() + 100 });
    const got = (await client.barrier()).filter(({ cmd }) => cmd === 'publish');
    expect(got.map(({ payload, qos }) => [`${payload}`, qos])).toEqual([
      [one, 0],
      [two, 2],
      [`${one}/x`, 2],
    ]);
  });

  it.each(levels)(
    'of level %i without a filter, or with options that do not exist, ends the connection',
    async (level) => {
      const properties = level === 5 ? '00' : '';
      const wrong = level === 5 ? ['03', '40', '80', '30'] : ['03', '04', '80', '10'];
      const bodies = [
        Buffer.alloc(0),
        ...wrong.map((options) => Buffer.concat([lengthed('a'), Buffer.from(options, 'hex')])),
      ];
      for (const body of bodies) {
        const client = await mqtt.connect({ level });
        client.write(frameOf(0x82, '0001', properties, body));
        await expectRefused(client, 0x81, 0x82);
      }
    },
  );

  it('again takes the place of the one before: QoS, options, retained messages again, and no message is lost', async () => {
    const topic = unique();
    const client = await mqtt.connect({ level: 5 });
    await client.publishTaken(topic, 'kept', { retain: true });
    await client.subscribe(topic, 0, {}, { subscriptionIdentifier: 1 });
    expect(texts(await client.barrier())).toEqual(['kept']);
    const publisher = await mqtt.connect();
    client.send({
      ...{ cmd: 'subscribe', messageId: 5, subscriptions: [{ topic, qos: 1, rap: true }] },
      properties: { subscriptionIdentifier: 2 },
    });
    await publisher.publishTaken(topic, 'new', { qos: 2, messageId: 3 });
    // The two clients have connections of their own, so either packet may be the first: both subscriptions are right.
    const got = await client.barrier();
    expect(got).toHaveLength(3);
    const subackAt = got.findIndex(({ cmd }) => cmd === 'suback');
    const freshAt = got.findIndex(({ payload }) => `${payload}` === 'new');
    expect(got[subackAt]).toMatchObject({ granted: [1] });
    expect(got.find(({ payload }) => `${payload}` === 'kept')).toMatchObject({
      retain: true,
      properties: { subscriptionIdentifier: 2 },
    });
    const fresh = got[freshAt] as (typeof got)[number];
    const isFirst = freshAt < subackAt;
    expect(fresh).toMatchObject({ qos: isFirst ? 0 : 1, properties: { subscriptionIdentifier: isFirst ? 1 : 2 } });
    if (!isFirst) client.send({ cmd: 'puback', messageId: fresh.messageId });
    expect(await client.barrier()).toEqual([]);
  });

  it('has the QoS of its messages as its bound', async () => {
    const client = await mqtt.connect();
    const topic = unique();
    for (const granted of [0, 1, 2]) {
      const reader = await mqtt.connect();
      expect((await reader.subscribe(topic, granted)).granted).toEqual([granted]);
      for (const qos of [0, 1, 2]) await client.publishTaken(topic, `${qos}`, qos === 0 ? {} : { qos });
      const got = (await reader.packets(3)).map(({ payload, qos }) => [`${payload}`, qos]);
      expect(got).toEqual([0, 1, 2].map((qos) => [`${qos}`, Math.min(qos, granted)]));
      await reader.cut();
    }
  });

  it('that overlaps another one gives the highest QoS, once, with all identifiers', async () => {
    const root = unique();
    const topic = `${root}/t`;
    const client = await mqtt.connect({ level: 5 });
    for (const [at, filter] of [topic, `${root}/#`, `${root}/+`].entries()) {
      await client.subscribe(filter, at, {}, at < 2 ? { subscriptionIdentifier: at + 1 } : undefined);
    }
    const publisher = await mqtt.connect();
    await publisher.publishTaken(topic, 'x', { qos: 2, messageId: 3 });
    const got = await client.barrier();
    expect(got.length).toBe(1);
    expect(got[0].qos).toBe(2);
    const { subscriptionIdentifier } = got[0].properties as { subscriptionIdentifier: number[] };
    expect([...subscriptionIdentifier].sort()).toEqual([1, 2]);
    const old = await mqtt.connect();
    await old.subscribe(topic, 0);
    await old.subscribe(`${topic}/#`, 1);
    await publisher.publishTaken(topic, 'y', { qos: 1, messageId: 4 });
    expect((await old.barrier()).map(({ qos }) => qos)).toEqual([1]);
  });

  it('with No Local does not bring back what the client publishes, and cannot be shared', async () => {
    const topic = unique();
    const client = await mqtt.connect({ level: 5 });
    await client.subscribe(topic, 0, { nl: true });
    client.publish(topic, 'own');
    await (await mqtt.connect()).publishTaken(topic, 'other');
    expect(texts(await client.barrier())).toEqual(['other']);
    client.send({ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic: '$share/g/x', qos: 0, nl: true }] });
    await expectRefused(client, 0x82);
  });

  it('with a subscription identifier of zero, or two of them, ends the connection', async () => {
    for (const properties of ['020b00', '040b010b02']) {
      const client = await mqtt.connect({ level: 5 });
      client.write(frameOf(0x82, '0001', properties, lengthed('a'), '00'));
      await expectRefused(client, 0x82);
    }
  });
});

describe('UNSUBSCRIBE', () => {
  it.each(levels)('of level %i ends exactly the filters that it names, and is answered in any case', async (level) => {
    const root = unique();
    const client = await mqtt.connect({ level });
    for (const filter of [`${root}/+`, `${root}/a`, `${root}/#`]) await client.subscribe(filter);
    client.send({ cmd: 'unsubscribe', messageId: 8, unsubscriptions: [`${root}/+`, `${root}/b`, `${root}/#`] });
    const unsuback = await client.packet('unsuback');
    expect(unsuback.messageId).toBe(8);
    if (level === 5) expect(unsuback.granted).toEqual([0, 0x11, 0]);
    for (const topic of ['a', 'b', 'A']) client.publish(`${root}/${topic}`, topic);
    expect(texts(await client.barrier())).toEqual(['a']);
    client.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['never'] });
    expect((await client.packet('unsuback')).messageId).toBe(9);
  });

  it.each(levels)('of level %i without a filter ends the connection', async (level) => {
    const client = await mqtt.connect({ level });
    client.write(frameOf(0xa2, '0001', level === 5 ? '00' : ''));
    await expectRefused(client, 0x81, 0x82);
  });

  it('lets what is on its way arrive', async () => {
    const topic = unique();
    const clientId = unique();
    const options = { level: 5, clientId, clean: false, properties: { sessionExpiryInterval: 60 } } as const;
    const client = await mqtt.connect(options);
    await client.subscribe(topic, 2);
    const publisher = await mqtt.connect();
    publisher.publish(topic, '1', { qos: 1 });
    publisher.publish(topic, '2', { qos: 2 });
    const [, two] = await client.packets(2);
    client.send({ cmd: 'unsubscribe', messageId: 8, unsubscriptions: [topic] });
    await client.packet('unsuback');
    publisher.publish(topic, '3', { qos: 1 });
    await publisher.barrier();
    client.send({ cmd: 'pubrec', messageId: two.messageId });
    await client.packet('pubrel');
    await client.cut();
    const back = await mqtt.connect(options);
    const rest = await back.barrier();
    expect(rest.map(({ cmd }) => cmd)).toEqual(['pubrel', 'publish']);
    expect(rest[1]).toMatchObject({ payload: Buffer.from('1'), dup: true });
  });
});

describe('an answer with many codes', () => {
  it('is not sent when it is larger than Maximum Packet Size: the connection ends with 0x95', async () => {
    const client = await mqtt.connect({ level: 5, clientId: unique(), properties: { maximumPacketSize: 30 } });
    const subscriptions = Array.from({ length: 40 }, () => ({ topic: unique(), qos: 0 }));
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions });
    const last = await client.closed();
    expect(last).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x95 }]);
    expect((last[0].properties as { reasonString?: string } | undefined)?.reasonString).toBeUndefined();
  });

  it('goes with no reason string where the client wants none, or has no room', async () => {
    const reasonOf = async (properties: Record<string, unknown>): Promise<unknown> => {
      const client = await mqtt.connect({ level: 5, properties });
      client.write('0000');
      const [last] = await client.closed();
      expect([0x81, 0x82]).toContain(last.reasonCode);
      return (last.properties as { reasonString?: string } | undefined)?.reasonString;
    };
    expect(await reasonOf({})).toEqual(expect.any(String));
    expect(await reasonOf({ requestProblemInformation: false })).toBeUndefined();
    expect(await reasonOf({ maximumPacketSize: 20 })).toBeUndefined();
  });
});

describe('PINGREQ', () => {
  it('is answered with PINGRESP', async () => {
    const client = await mqtt.connect();
    client.write('c000');
    expect((await client.frame()).toString('hex')).toBe('d000');
  });
});

describe('DISCONNECT', () => {
  it('ends the connection: nothing behind it is handled', async () => {
    const topic = unique();
    const reader = await mqtt.connect();
    await reader.subscribe(topic);
    for (const level of levels) {
      const client = await mqtt.connect({ level });
      client.write('e000', frameOf(0x30, lengthed(topic), level === 5 ? '00' : '', Buffer.from('late')));
      expect(await client.closed()).toEqual([]);
    }
    expect(await reader.barrier()).toEqual([]);
  });

  it('with a reason code or a length that it does not have ends the connection as malformed', async () => {
    for (const bytes of ['e00105', 'e0018b', 'e0020000 00', 'e00100ff']) {
      const client = await mqtt.connect({ level: 5 });
      client.write(bytes);
      await client.closed();
    }
    const old = await mqtt.connect({ level: 4, will: { topic: 'w', payload: 'x', qos: 0, retain: false } });
    old.write('e00100');
    expect(await old.closed()).toEqual([]);
  });

  it('of the broker is the last packet, behind CONNACK only, and says nothing of the session', async () => {
    const client = await mqtt.connect({ level: 5 });
    client.write('0000', 'c000');
    const last = await client.closed();
    expect(last.map(({ cmd }) => cmd)).toEqual(['disconnect']);
    expect(last[0].properties).not.toHaveProperty('sessionExpiryInterval');
    const stranger = await mqtt.open(5);
    stranger.write('c000');
    expect(await stranger.closed()).toEqual([]);
  });
});

describe('AUTH', () => {
  it('from a client that named no method ends the connection', async () => {
    const client = await mqtt.connect({ level: 5 });
    client.send({ cmd: 'auth', reasonCode: 0x18, properties: { authenticationMethod: 'SCRAM-SHA-1' } });
    await expectRefused(client, 0x82);
    const empty = await mqtt.connect({ level: 5 });
    empty.write('f000');
    await expectRefused(empty, 0x82, 0x81);
    const old = await mqtt.connect({ level: 4 });
    old.write('f000');
    await expectRefused(old);
  });
});

describe('filters', () => {
  it('match as the specification says, character by character', async () => {
    const root = unique();
    const topics = ['', '/', '/a', '/a/b', '/a/b/c', '/A', '/a/', '//', '/\u{e9}', '/e\u{301}'].map(
      (end) => root + end,
    );
    const cases: [string, string[]][] = [
      [`${root}/#`, topics],
      [`${root}/+`, ['/', '/a', '/A', '/\u{e9}', '/e\u{301}']],
      [`${root}/+/+`, ['/a/b', '/a/', '//']],
      [`${root}/a/#`, ['/a', '/a/b', '/a/b/c', '/a/']],
      [`${root}/+/b/#`, ['/a/b', '/a/b/c']],
      [`${root}/\u{e9}`, ['/\u{e9}']],
      [`${root}//`, ['//']],
    ];
    const publisher = await mqtt.connect();
    const client = await mqtt.connect();
    for (const [filter, ends] of cases) {
      await client.subscribe(filter);
      for (const topic of topics) publisher.publish(topic, 'x');
      await publisher.barrier();
      const expected = ends === topics ? topics : ends.map((end) => root + end);
      expect([filter, ...(await client.barrier()).map(({ topic }) => topic)]).toEqual([filter, ...expected]);
      client.send({ cmd: 'unsubscribe', messageId: 1, unsubscriptions: [filter] });
      await client.packet('unsuback');
    }
  });

  it('that are none are refused', async () => {
    const client = await mqtt.connect({ level: 5 });
    for (const filter of ['a/#/b', 'a#', '#a', 'a/b+', '+a', 'a/++', '', '##']) {
      expect([filter, ...((await client.subscribe(filter)).granted as number[])]).toEqual([filter, 0x8f]);
    }
  });

  it('that begin with a wildcard match no topic that begins with $', async () => {
    const clientId = unique();
    const client = await mqtt.connect({ level: 5, clientId });
    for (const filter of ['#', '+/#', '+/x']) await client.subscribe(filter, 0, { rh: 2 });
    const will = { topic: unique(), payload: 'x', qos: 0, retain: false };
    await (await mqtt.connect({ will })).cut();
    expect((await client.packet('publish')).topic).toBe(will.topic);
    client.publish('$SYS/x', 'x');
    client.publish('$other', 'x');
    expect(await client.barrier()).toEqual([]);
  });

  it('may be as long as a text can be', async () => {
    const client = await mqtt.connect();
    const topic = 'x'.repeat(65_535);
    await client.subscribe(topic);
    client.publish(topic, 'p');
    expect((await client.packet('publish')).topic).toBe(topic);
  });
});

describe('a shared subscription', () => {
  it('needs the name of a group and a filter', async () => {
    const client = await mqtt.connect({ level: 5 });
    for (const filter of [
      '$share//a',
      '$share/g+/a',
      '$share/#/a',
      '$share/g',
      '$share/',
      '$share/g/',
      '$share/g/a+',
    ]) {
      expect([filter, ...((await client.subscribe(filter)).granted as number[])]).toEqual([filter, 0x8f]);
    }
    expect((await client.subscribe('$share/g/a/+', 1)).granted).toEqual([1]);
  });

  it('gives each message to one member, with no more than its own QoS, and no retained one', async () => {
    const topic = unique();
    const publisher = await mqtt.connect();
    await publisher.publishTaken(topic, 'kept', { retain: true });
    const members: RawClient[] = [];
    for (const qos of [0, 1, 2]) {
      const client = await mqtt.connect({ level: 5 });
      await client.subscribe(`$share/g/${topic}`, qos);
      members.push(client);
    }
    for (let at = 0; at < 6; at++) await publisher.publishTaken(topic, `${at}`, { qos: 2 });
    const got: string[] = [];
    for (const [qos, member] of members.entries()) {
      const messages = await member.barrier();
      expect(messages.map((message) => message.qos)).toEqual([qos, qos]);
      got.push(...texts(messages));
    }
    expect(got.sort()).toEqual(['0', '1', '2', '3', '4', '5']);
  });

  it('that is refused by its member is passed on to nobody', async () => {
    const topic = unique();
    const [one, other] = [await mqtt.connect({ level: 5 }), await mqtt.connect({ level: 5 })];
    await one.subscribe(`$share/g/${topic}`, 1);
    await (await mqtt.connect()).publishTaken(topic, 'x', { qos: 1 });
    await other.subscribe(`$share/g/${topic}`, 1);
    const [message] = await one.packets(1);
    one.send({ cmd: 'puback', messageId: message.messageId, reasonCode: 0x80 });
    await one.barrier();
    await one.cut();
    expect(await other.barrier()).toEqual([]);
  });
});

describe('an error', () => {
  it('of one client ends its connection, and nobody else notices', async () => {
    const topic = unique();
    const witness = await mqtt.connect();
    await witness.subscribe(topic);
    for (const level of levels) {
      for (const bytes of ['0000', 'f000', '3600', '82020001', '62020000', '2000', 'd000', '9003000100']) {
        const client = await mqtt.connect({ level });
        client.write(bytes);
        await client.closed();
      }
    }
    witness.publish(topic, 'here');
    expect(texts(await witness.barrier())).toEqual(['here']);
  });

  it('in how bytes arrive is none: packets come in any pieces', async () => {
    const topic = unique();
    const client = await mqtt.connect();
    await client.subscribe(topic);
    const frame = frameOf(0x30, lengthed(topic), Buffer.from('pieces'));
    for (const byte of [...frame, ...frame, ...frame]) client.write(Buffer.from([byte]));
    expect(texts(await client.packets(3))).toEqual(['pieces', 'pieces', 'pieces']);
  });
});
