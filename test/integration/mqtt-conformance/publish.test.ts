/** Sections 3.3 to 3.7 and 4.3 to 4.6: PUBLISH and its acknowledgements, quality of service, order, flow control. */
import { describe, expect, it } from 'vitest';
import { unique, useConformance } from '../../support/mqtt/conformance.ts';
import type { AnyPacket } from '../../support/mqtt/mqtt-host.ts';
import { frameOf, hex, lengthed, type RawClient, type RawConnect } from '../../support/mqtt/raw-client.ts';

const mqtt = useConformance({ receiveMaximum: 5, topicAliasMaximum: 3 });
const levels = [4, 5] as const;
type Level = (typeof levels)[number];

function lasting(level: Level, clientId: string, more: object = {}): RawConnect {
  const properties = { sessionExpiryInterval: 60, ...more };
  return { level, clientId, clean: false, ...(level === 5 && { properties }) };
}

async function expectRefused(client: RawClient, reasonCode: number): Promise<void> {
  const last = await client.closed();
  expect(last).toMatchObject(client.level === 5 ? [{ cmd: 'disconnect', reasonCode }] : []);
}

const texts = (packets: readonly AnyPacket[]): string[] => packets.map(({ payload }) => `${payload}`);

describe('DUP', () => {
  it.each(levels)(
    'is set by the broker of level %i when it sends again, with the same identifier and in order, and else not',
    async (level) => {
      const clientId = unique();
      const reader = await mqtt.connect(lasting(level, clientId));
      await reader.subscribe(clientId, 2);
      const publisher = await mqtt.connect({ level });
      for (const [at, qos] of [1, 2, 1, 2].entries()) publisher.publish(clientId, `${at}`, { qos, dup: true });
      await publisher.barrier();
      // Each QoS has its own order [MQTT-4.6.0-5]: QoS 2 waits until its packet identifier is stored.
      const first = (await reader.packets(4)).sort((a, b) => Number(a.messageId) - Number(b.messageId));
      expect(first.map(({ dup, qos }) => [dup, qos])).toEqual([1, 2, 1, 2].map((qos) => [false, qos]));
      reader.send({ cmd: 'pubrec', messageId: first[3].messageId });
      await reader.packet('pubrel');
      // Nothing is sent again while the connection lasts.
      expect(await reader.barrier()).toEqual([]);
      await reader.cut();
      const back = await mqtt.connect(lasting(level, clientId));
      const releases = [await back.packet('pubrel')];
      const messages = await back.packets(3);
      expect(messages.map(({ dup, messageId, payload }) => [dup, messageId, `${payload}`])).toEqual(
        first.slice(0, 3).map(({ messageId, payload }) => [true, messageId, `${payload}`]),
      );
      // What was answered with PUBREC is not published again: its PUBREL is.
      expect(releases.map(({ messageId }) => messageId)).toEqual([first[3].messageId]);
      for (const { qos, messageId } of messages) back.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId });
      back.send({ cmd: 'pubcomp', messageId: first[3].messageId });
      expect(await back.packet('pubrel')).toMatchObject({ messageId: messages[1].messageId });
      expect(await back.barrier()).toEqual([]);
    },
  );

  it.each(levels)('of level %i with QoS 0 ends the connection', async (level) => {
    const client = await mqtt.connect({ level });
    client.write(frameOf(0x38, lengthed('t'), level === 5 ? '00' : ''));
    await expectRefused(client, 0x81);
  });
});

describe('QoS 3', () => {
  it.each(levels)('of level %i ends the connection', async (level) => {
    const client = await mqtt.connect({ level });
    client.write(frameOf(0x36, lengthed('t'), '0001', level === 5 ? '00' : ''));
    await expectRefused(client, 0x81);
  });
});

describe('a retained message', () => {
  it.each(levels)(
    'of level %i takes the place of the one before, with its QoS, and an empty one ends it',
    async (level) => {
      const topic = unique();
      const publisher = await mqtt.connect({ level });
      const look = async (): Promise<[string, unknown, unknown][]> => {
        const reader = await mqtt.connect({ level });
        await reader.subscribe(topic, 2);
        const found = await reader.barrier();
        await reader.disconnect();
        return found.map(({ payload, qos, retain }) => [`${payload}`, qos, retain]);
      };
      await publisher.publishTaken(topic, 'one', { qos: 2, retain: true });
      expect(await look()).toEqual([['one', 2, true]]);
      await publisher.publishTaken(topic, 'not kept', { qos: 1 });
      await publisher.publishTaken(topic, '');
      expect(await look()).toEqual([['one', 2, true]]);
      await publisher.publishTaken(topic, 'two', { qos: 0, retain: true });
      expect(await look()).toEqual([['two', 0, true]]);
      const live = await mqtt.connect({ level });
      await live.subscribe(`${topic}/#`);
      expect(texts(await live.barrier())).toEqual(['two']);
      await publisher.publishTaken(topic, '', { retain: true });
      // It is a message like any other for who is there.
      expect(await live.packet('publish')).toMatchObject({ payload: Buffer.alloc(0), retain: false });
      expect(await look()).toEqual([]);
    },
  );

  it('comes with its flag to a new subscription, and without it to one that is there', async () => {
    const topic = unique();
    const client = await mqtt.connect();
    await client.subscribe(topic);
    client.publish(topic, 'x', { retain: true });
    expect(await client.packet('publish')).toMatchObject({ retain: false });
    await client.subscribe(topic);
    expect(await client.packet('publish')).toMatchObject({ retain: true });
  });

  it('keeps its flag where Retain As Published says so', async () => {
    const topic = unique();
    const [plain, asIs] = [await mqtt.connect({ level: 5 }), await mqtt.connect({ level: 5 })];
    await plain.subscribe(topic, 0, { rap: false });
    await asIs.subscribe(topic, 0, { rap: true });
    const publisher = await mqtt.connect({ level: 5 });
    for (const retain of [true, false]) {
      await publisher.publishTaken(topic, 'x', { retain });
      expect((await plain.packet('publish')).retain).toBe(false);
      expect((await asIs.packet('publish')).retain).toBe(retain);
    }
  });

  it('is sent as Retain Handling says', async () => {
    const topic = unique();
    await (await mqtt.connect()).publishTaken(topic, 'x', { retain: true });
    const client = await mqtt.connect({ level: 5 });
    const counts: number[] = [];
    for (const rh of [2, 0, 0, 1, 2]) {
      await client.subscribe(topic, 0, { rh });
      counts.push((await client.barrier()).length);
    }
    const fresh = await mqtt.connect({ level: 5 });
    await fresh.subscribe(topic, 0, { rh: 1 });
    counts.push((await fresh.barrier()).length);
    expect(counts).toEqual([0, 1, 1, 0, 0, 1]);
  });
});

describe('a topic', () => {
  it.each(levels)('of level %i with a wildcard, or of no length, ends the connection', async (level) => {
    for (const topic of ['a/+', '#', 'a+', 'a/#/b', '']) {
      const client = await mqtt.connect({ level });
      client.write(frameOf(0x30, lengthed(topic), level === 5 ? '00' : ''));
      expect((await client.closed()).length).toBe(level === 5 ? 1 : 0);
    }
  });

  it.each(levels)('of level %i arrives as it was published, and matches the filter', async (level) => {
    const client = await mqtt.connect({ level });
    const root = unique();
    await client.subscribe(`${root}/+/#`);
    const topics = [`${root}/`, `${root}/a`, `${root}/A//b`, `${root}/ä/\u{1f600}`, `${root}/ /x`];
    for (const topic of [root, ...topics, `${root}x/a`]) client.publish(topic, 'x');
    expect((await client.barrier()).map(({ topic }) => topic)).toEqual(topics);
  });

  it('that a client may not publish to is acknowledged before MQTT 5, and refused with 0x87 since', async () => {
    for (const level of levels) {
      const client = await mqtt.connect({ level });
      client.publish('$SYS/x', 'x', { qos: 1 });
      client.publish('$SYS/x', 'x', { qos: 2 });
      const codes = (await client.barrier()).map(({ cmd, reasonCode }) => [cmd, reasonCode]);
      const code = level === 5 ? 0x87 : undefined;
      expect(codes).toEqual([
        ['puback', code],
        ['pubrec', code],
      ]);
    }
  });
});

describe('properties of PUBLISH', () => {
  it('reach every subscriber as they were sent', async () => {
    const topic = unique();
    const pairs = ['b', 'a', 'b'].map((name, at) => Buffer.concat([hex('26'), lengthed(name), lengthed(`${at}`)]));
    const properties = Buffer.concat([
      hex('0101'),
      ...[hex('08'), lengthed('re/ply')],
      pairs[0],
      ...[hex('09'), lengthed(hex('00ff'))],
      pairs[1],
      ...[hex('03'), lengthed('text/plain')],
      pairs[2],
    ]);
    const sent = frameOf(0x32, lengthed(topic), '0001', Buffer.from([properties.length]), properties, lengthed('pay'));
    const publisher = await mqtt.connect({ level: 5 });
    for (const qos of [0, 1] as const) {
      const reader = await mqtt.connect({ level: 5 });
      await reader.subscribe(topic, qos);
      publisher.write(sent);
      expect((await reader.frame()).includes(properties)).toBe(true);
      await reader.disconnect();
    }
    const old = await mqtt.connect({ level: 4 });
    await old.subscribe(topic);
    publisher.write(sent);
    expect(await old.frame()).toEqual(frameOf(0x30, lengthed(topic), lengthed('pay')));
  });

  it('that are wrong end the connection: a wildcard in the response topic, a subscription identifier, one twice', async () => {
    const wrong = [Buffer.concat([hex('08'), lengthed('a/+')]), ...['0b01', '01000101', '0102', '1100000001'].map(hex)];
    for (const body of wrong) {
      const client = await mqtt.connect({ level: 5 });
      client.write(frameOf(0x30, lengthed('t'), Buffer.from([body.length]), body));
      const [last] = await client.closed();
      expect([0x81, 0x82, 0x90]).toContain(last.reasonCode);
    }
  });

  it('say how long the message lives: it arrives with what is left', async () => {
    const topic = unique();
    const reader = await mqtt.connect({ level: 5 });
    await reader.subscribe(topic, 1);
    const publisher = await mqtt.connect({ level: 5 });
    publisher.publish(topic, 'x', { properties: { messageExpiryInterval: 100 } });
    expect((await reader.packet('publish')).properties).toEqual({ messageExpiryInterval: 100 });
  });

  it.each([0, 1])('say how long a retained message lives: never longer than that, QoS %i', async (qos) => {
    const topic = unique();
    const publisher = await mqtt.connect({ level: 5 });
    publisher.publish(topic, 'x', { qos: 1, retain: true, properties: { messageExpiryInterval: 100 } });
    await publisher.packet('puback');
    await publisher.subscribe(topic, qos);
    const { messageExpiryInterval } = (await publisher.packet('publish')).properties as Record<string, number>;
    expect(messageExpiryInterval).toBeLessThanOrEqual(100);
    expect(messageExpiryInterval).toBeGreaterThan(90);
  });
});

describe('a topic alias', () => {
  it('of a client stands for its topic on that connection, up to the maximum', async () => {
    const reader = await mqtt.connect();
    const root = unique();
    await reader.subscribe(`${root}/#`);
    const client = await mqtt.connect({ level: 5, clientId: `${root}c` });
    expect((client.connack.properties as { topicAliasMaximum: number }).topicAliasMaximum).toBe(3);
    for (const topicAlias of [1, 2, 3]) client.publish(`${root}/${topicAlias}`, 'a', { properties: { topicAlias } });
    for (const topicAlias of [3, 2, 1]) client.publish('', 'b', { properties: { topicAlias } });
    client.publish(`${root}/new`, 'c', { properties: { topicAlias: 2 } });
    client.publish('', 'd', { properties: { topicAlias: 2 } });
    await client.barrier();
    const got = (await reader.barrier()).map(({ topic }) => `${topic}`.slice(root.length + 1));
    expect(got).toEqual(['1', '2', '3', '3', '2', '1', 'new', 'new']);
    await client.disconnect();
    const back = await mqtt.connect({ level: 5, clientId: `${root}c` });
    back.publish('', 'x', { properties: { topicAlias: 1 } });
    await expectRefused(back, 0x82);
  });

  it('of zero, or beyond the maximum, ends the connection with 0x94', async () => {
    for (const alias of ['0000', '0004', 'ffff']) {
      const client = await mqtt.connect({ level: 5 });
      client.write(frameOf(0x30, lengthed('t'), '03', '23', alias));
      await expectRefused(client, 0x94);
    }
  });

  it('of the broker is used as far as the client allows it, and is new on each connection', async () => {
    const root = unique();
    const aliasesOf = async (topicAliasMaximum: number | undefined): Promise<[unknown, unknown][]> => {
      const properties = topicAliasMaximum === undefined ? {} : { topicAliasMaximum };
      const reader = await mqtt.connect({ level: 5, clientId: `${root}r`, properties });
      await reader.subscribe(`${root}/#`);
      const publisher = await mqtt.connect();
      for (const topic of ['a', 'b', 'a', 'b']) publisher.publish(`${root}/${topic}`, 'x');
      await publisher.barrier();
      const found = await reader.barrier();
      return found.map(({ topic, properties: own }) => [
        `${topic}`.slice(root.length),
        (own as { topicAlias?: number } | undefined)?.topicAlias,
      ]);
    };
    const none = ['/a', '/b', '/a', '/b'].map((topic) => [topic, undefined]);
    expect(await aliasesOf(undefined)).toEqual(none);
    expect(await aliasesOf(0)).toEqual(none);
    for (let round = 0; round < 2; round++) {
      expect(await aliasesOf(1)).toEqual([
        ['/a', 1],
        ['/b', undefined],
        ['', 1],
        ['/b', undefined],
      ]);
    }
  });
});

describe('PUBLISH', () => {
  it.each(levels)('of level %i is answered as its QoS says, in order', async (level) => {
    const client = await mqtt.connect({ level });
    const sent = [0, 1, 2, 1, 0, 2, 1];
    for (const [at, qos] of sent.entries()) client.publish('t', 'x', qos === 0 ? {} : { qos, messageId: at + 1 });
    const answers = await client.barrier();
    expect(answers.map(({ cmd, messageId }) => [cmd, messageId])).toEqual([
      ['puback', 2],
      ['pubrec', 3],
      ['puback', 4],
      ['pubrec', 6],
      ['puback', 7],
    ]);
    client.send({ cmd: 'pubrel', messageId: 3 }, { cmd: 'pubrel', messageId: 6 });
    expect((await client.barrier()).map(({ cmd, messageId }) => [cmd, messageId])).toEqual([
      ['pubcomp', 3],
      ['pubcomp', 6],
    ]);
  });

  it.each(levels)(
    'of QoS 1 and level %i with an identifier that was acknowledged is a new message, DUP or not',
    async (level) => {
      const topic = unique();
      const client = await mqtt.connect({ level });
      await client.subscribe(topic);
      for (const dup of [false, true]) client.publish(topic, `${dup}`, { qos: 1, messageId: 7, dup });
      const got = (await client.barrier()).filter(({ cmd }) => cmd === 'publish');
      expect(texts(got)).toEqual(['false', 'true']);
    },
  );

  it.each(levels)(
    'of QoS 2 and level %i is passed on once until PUBREL, and is a new message behind it',
    async (level) => {
      const topic = unique();
      const clientId = unique();
      const reader = await mqtt.connect();
      await reader.subscribe(topic);
      let client = await mqtt.connect(lasting(level, clientId));
      const send = async (payload: string, dup: boolean): Promise<void> => {
        client.publish(topic, payload, { qos: 2, messageId: 9, dup });
        expect(await client.packet('pubrec')).toMatchObject({ messageId: 9 });
      };
      await send('one', false);
      await send('one', true);
      await client.cut();
      client = await mqtt.connect(lasting(level, clientId));
      await send('one', true);
      for (let round = 0; round < 2; round++) {
        client.send({ cmd: 'pubrel', messageId: 9 });
        expect(await client.packet('pubcomp')).toMatchObject({ messageId: 9 });
      }
      await send('two', false);
      expect(texts(await reader.barrier())).toEqual(['one', 'two']);
    },
  );

  it('of QoS 2 that is refused frees its identifier', async () => {
    const client = await mqtt.connect({ level: 5 });
    client.publish('$SYS/x', 'x', { qos: 2, messageId: 3 });
    expect(await client.packet('pubrec')).toMatchObject({ reasonCode: 0x87 });
    const topic = unique();
    await client.subscribe(topic);
    client.publish(topic, 'new', { qos: 2, messageId: 3 });
    expect((await client.barrier()).map(({ cmd }) => cmd).sort()).toEqual(['publish', 'pubrec']);
  });
});

describe('what the broker sends with QoS 1 and 2', () => {
  it.each(levels)('to level %i is unacknowledged until PUBACK, or PUBREC and PUBCOMP', async (level) => {
    const clientId = unique();
    let reader = await mqtt.connect(lasting(level, clientId));
    await reader.subscribe(clientId, 2);
    const publisher = await mqtt.connect();
    publisher.publish(clientId, '1', { qos: 1 });
    publisher.publish(clientId, '2', { qos: 2 });
    const reconnect = async (): Promise<string[]> => {
      await reader.cut();
      reader = await mqtt.connect(lasting(level, clientId));
      return (await reader.barrier()).map(({ cmd, payload, messageId }) => `${cmd} ${payload ?? messageId}`);
    };
    const [one, two] = await reader.packets(2);
    expect(await reconnect()).toEqual(['publish 1', 'publish 2']);
    reader.send({ cmd: 'puback', messageId: one.messageId }, { cmd: 'pubrec', messageId: two.messageId });
    expect(await reader.packet('pubrel')).toMatchObject({ messageId: two.messageId });
    expect(await reconnect()).toEqual([`pubrel ${two.messageId}`]);
    reader.send({ cmd: 'pubcomp', messageId: two.messageId });
    expect(await reconnect()).toEqual([]);
  });

  it('ends with PUBACK or PUBREC of 0x80 and above: no PUBREL, and it is not sent again', async () => {
    const clientId = unique();
    const reader = await mqtt.connect(lasting(5, clientId));
    await reader.subscribe(clientId, 2);
    const publisher = await mqtt.connect();
    publisher.publish(clientId, '1', { qos: 1 });
    publisher.publish(clientId, '2', { qos: 2 });
    const [one, two] = await reader.packets(2);
    reader.send({ cmd: 'puback', messageId: one.messageId, reasonCode: 0x80 });
    reader.send({ cmd: 'pubrec', messageId: two.messageId, reasonCode: 0x97 });
    expect(await reader.barrier()).toEqual([]);
    await reader.cut();
    expect(await (await mqtt.connect(lasting(5, clientId))).barrier()).toEqual([]);
  });

  it('is bounded by Receive Maximum, which holds up nothing else', async () => {
    const topic = unique();
    const reader = await mqtt.connect({ level: 5, properties: { receiveMaximum: 2 } });
    await reader.subscribe(topic, 2);
    const publisher = await mqtt.connect();
    for (let at = 0; at < 5; at++) publisher.publish(topic, `${at}`, { qos: 1 + (at % 2) });
    publisher.publish(topic, 'free');
    await publisher.barrier();
    const first = await reader.barrier();
    expect(texts(first)).toEqual(['0', '1', 'free']);
    expect((await reader.subscribe(unique())).granted).toEqual([0]);
    reader.publish(unique(), 'x', { qos: 1 });
    await reader.packet('puback');
    reader.send({ cmd: 'puback', messageId: first[0].messageId });
    expect(texts([await reader.packet('publish')])).toEqual(['2']);
    reader.send({ cmd: 'pubrec', messageId: first[1].messageId });
    await reader.packet('pubrel');
    // The identifier is in use until PUBCOMP.
    expect(await reader.barrier()).toEqual([]);
    reader.send({ cmd: 'pubcomp', messageId: first[1].messageId });
    expect(texts([await reader.packet('publish')])).toEqual(['3']);
  });

  it('of a client is bounded by the Receive Maximum of the broker: 0x93', async () => {
    const client = await mqtt.connect({ level: 5 });
    expect((client.connack.properties as { receiveMaximum: number }).receiveMaximum).toBe(5);
    for (let at = 1; at <= 5; at++) client.publish('t', 'x', { qos: 2, messageId: at });
    expect((await client.barrier()).length).toBe(5);
    // Other packets are handled as ever.
    expect((await client.subscribe(unique())).granted).toEqual([0]);
    client.publish('t', 'x', { qos: 2, messageId: 6 });
    expect((await client.closed()).at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 });
  });

  it('comes in the order in which one client published, for each QoS and topic', async () => {
    const topic = unique();
    const reader = await mqtt.connect();
    await reader.subscribe(topic, 2);
    const publisher = await mqtt.connect();
    for (let at = 0; at < 300; at++)
      publisher.publish(topic, `${at}`, at % 3 === 0 ? {} : { qos: at % 3, messageId: at });
    for (const { cmd, messageId } of await publisher.barrier())
      if (cmd === 'pubrec') publisher.send({ cmd: 'pubrel', messageId });
    const got = (await reader.packets(300)).map(({ qos, payload }) => ({ qos, at: Number(`${payload}`) }));
    for (const qos of [0, 1, 2]) {
      const order = got.filter((one) => one.qos === qos).map(({ at }) => at);
      expect(order).toEqual(Array.from({ length: 100 }, (_, index) => index * 3 + qos));
    }
  });
});

describe('an acknowledgement', () => {
  it('of the broker has one of its reason codes, and nothing when all is well', async () => {
    const client = await mqtt.connect({ level: 5 });
    client.write(
      frameOf(0x32, lengthed('t'), '000a00'),
      frameOf(0x34, lengthed('t'), '000b00'),
      '6202000b',
      '6202000c',
    );
    const frames = [await client.frame(), await client.frame(), await client.frame(), await client.frame()];
    expect(frames.map((frame) => frame.toString('hex'))).toEqual(['4002000a', '5002000b', '7002000b', '7003000c92']);
    client.write('5002000d');
    expect((await client.frame()).toString('hex')).toBe('6203000d92');
  });

  it('with a reason code that its packet does not have ends the connection', async () => {
    for (const bytes of ['4003000101', '5003000192', '6203000180', '7003000110', '4003000192']) {
      const client = await mqtt.connect({ level: 5 });
      client.write(bytes);
      const [last] = await client.closed();
      expect(last.reasonCode === 0x81 || last.reasonCode === 0x82).toBe(true);
    }
  });
});
