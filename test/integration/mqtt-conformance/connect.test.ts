/** Sections 3.1 and 3.2, CONNECT and CONNACK, and what they begin and end: sessions, wills, take-over. */
import { describe, expect, it } from 'vitest';
import { unique, useConformance } from '../../support/mqtt/conformance.ts';
import {
  connectPacket,
  frameOf,
  hex,
  lengthed,
  type RawClient,
  type RawConnect,
} from '../../support/mqtt/raw-client.ts';

const mqtt = useConformance();
const levels = [4, 5] as const;
type Level = (typeof levels)[number];

/** CONNECT with these flags and this payload. */
function connectFrame(level: Level, flags: number, ...payload: (string | Uint8Array)[]): Buffer {
  const properties = level === 5 ? '00' : '';
  return frameOf(0x10, '00044d515454', Buffer.from([level, flags, 0, 0]), properties, ...payload);
}

async function answerTo(
  level: 3 | 4 | 5,
  ...frames: Uint8Array[]
): Promise<{ frames: Awaited<ReturnType<RawClient['closed']>> }> {
  const client = await mqtt.open(level);
  client.write(...frames);
  return { frames: await client.closed() };
}

/** A session that outlives its connection, of either version. */
function lasting(level: Level, clientId: string): RawConnect {
  const properties = { sessionExpiryInterval: 60 };
  return { level, clientId, clean: false, ...(level === 5 && { properties }) };
}

describe('the first packet', () => {
  it('that is not CONNECT ends the connection without an answer', async () => {
    for (const packet of ['c000', '30030001 61', '82060001 0001 61 00', 'e000', '2002 0000', 'f000']) {
      expect((await answerTo(4, hex(packet))).frames).toEqual([]);
    }
  });

  it.each(levels)('may be CONNECT once: a second one of level %i ends the connection', async (level) => {
    const client = await mqtt.connect({ level, clientId: 'second' });
    client.send(connectPacket({ level, clientId: 'second' }));
    const last = await client.closed();
    expect(last).toMatchObject(level === 5 ? [{ cmd: 'disconnect', reasonCode: 0x82 }] : []);
  });

  it('of the broker is CONNACK, and there is one', async () => {
    for (const level of levels) {
      const clientId = unique();
      const first = await mqtt.connect(lasting(level, clientId));
      await first.subscribe(clientId, 1);
      await first.cut();
      const publisher = await mqtt.connect({ level });
      await publisher.publishTaken(clientId, 'waits', { qos: 1 });
      const back = await mqtt.connect(lasting(level, clientId));
      const rest = await back.barrier();
      expect(rest.map(({ cmd }) => cmd)).toEqual(['publish']);
    }
  });
});

describe('the protocol', () => {
  it('of another name ends the connection', async () => {
    for (const name of ['MQTX', 'mqtt', 'MQT', 'HTTP']) {
      const frame = frameOf(0x10, lengthed(name), '04020000', lengthed('c'));
      expect((await answerTo(4, frame)).frames).toEqual([]);
    }
  });

  it('of another level is refused with 0x01, or 0x84 by MQTT 5', async () => {
    const of = (level: string): Buffer => frameOf(0x10, '00044d515454', level, '02003c', '00', lengthed('c'));
    expect((await answerTo(4, of('02'))).frames).toMatchObject([
      { cmd: 'connack', returnCode: 1, sessionPresent: false },
    ]);
    expect((await answerTo(5, of('06'))).frames).toMatchObject([
      { cmd: 'connack', reasonCode: 0x84, sessionPresent: false },
    ]);
  });
});

describe('the connect flags', () => {
  const texts = { id: lengthed('c'), topic: lengthed('t'), payload: lengthed('m'), name: lengthed('u') };
  const { id, topic, payload, name } = texts;
  const none = Buffer.alloc(0);

  it.each(levels)('and the payload of level %i have to agree', async (level) => {
    const willProperties = level === 5 ? Buffer.from([0]) : none;
    const wrong: [string, number, Uint8Array[]][] = [
      ['the reserved flag', 0x03, [id]],
      ['a will without its topic', 0x06, [id]],
      ['a will without its message', 0x06, [id, willProperties, topic]],
      ['a will that no flag announces', 0x02, [id, topic, payload]],
      ['the QoS of a will without a will', 0x0a, [id]],
      ['the retain flag of a will without a will', 0x22, [id]],
      ['QoS 3 of a will', 0x1e, [id, willProperties, topic, payload]],
      ['a user name that no flag announces', 0x02, [id, name]],
      ['no user name where a flag announces one', 0x82, [id]],
      ['a password that no flag announces', 0x82, [id, name, payload]],
      ['no password where a flag announces one', 0xc2, [id, name]],
      ['no client identifier', 0x02, []],
    ];
    if (level === 4) wrong.push(['a password without a user name', 0x42, [id, payload]]);
    for (const [what, flags, parts] of wrong) {
      const { frames } = await answerTo(level, connectFrame(level, flags, ...parts));
      const expected = level === 5 ? ['connack'] : [];
      expect([what, ...frames.map(({ cmd }) => cmd)]).toEqual([what, ...expected]);
    }
  });

  it.each(levels)('of level %i say which fields follow, in their order', async (level) => {
    const willProperties = level === 5 ? Buffer.from([0]) : none;
    const client = await mqtt.open(level);
    const will = lengthed(unique());
    client.write(connectFrame(level, 0xce, lengthed(unique()), willProperties, will, payload, name, payload));
    const connack = await client.packet('connack');
    expect(connack[level === 5 ? 'reasonCode' : 'returnCode']).toBe(0);
    const reader = await mqtt.connect();
    await reader.subscribe(will.toString('utf8', 2));
    await client.cut();
    expect(await reader.packet('publish')).toMatchObject({ payload: Buffer.from('m') });
  });

  it('of MQTT 5 allow a password without a user name', async () => {
    const client = await mqtt.open(5);
    client.write(connectFrame(5, 0x42, lengthed(unique()), payload));
    expect((await client.packet('connack')).cmd).toBe('connack');
  });
});

describe('a client identifier', () => {
  it('of 1 to 23 letters and digits is taken', async () => {
    const letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    const ids = ['x', letters.slice(0, 23), letters.slice(23, 46), letters.slice(39)];
    for (const level of levels)
      for (const clientId of ids) await (await mqtt.connect({ level, clientId })).disconnect();
  });

  it('of no length is another one each time, which MQTT 5 is told', async () => {
    await (await mqtt.connect({ clientId: '' })).disconnect();
    const assigned: unknown[] = [];
    for (let at = 0; at < 3; at++) {
      const { connack } = await mqtt.connect({ clientId: '', level: 5 });
      assigned.push((connack.properties as { assignedClientIdentifier?: string }).assignedClientIdentifier);
    }
    expect(new Set(assigned).size).toBe(3);
    expect(assigned.every((id) => typeof id === 'string' && id.length > 0)).toBe(true);
    // It stands for the session like any other.
    const back = await mqtt.tryConnect({ clientId: `${assigned[0]}`, level: 5 });
    expect(back.connack.reasonCode).toBe(0);
  });

  it('of no length needs a clean session in 3.1.1, else 0x02 and the end', async () => {
    const { frames } = await answerTo(4, connectFrame(4, 0x00, lengthed('')));
    expect(frames).toMatchObject([{ cmd: 'connack', returnCode: 2, sessionPresent: false }]);
  });

  it.each(levels)('of level %i that connects again ends the former connection', async (level) => {
    const clientId = unique();
    const former = await mqtt.connect({ level, clientId });
    const other = await mqtt.connect({ level, clientId });
    expect(await former.closed()).toMatchObject(level === 5 ? [{ cmd: 'disconnect', reasonCode: 0x8e }] : []);
    expect(await other.barrier()).toEqual([]);
  });
});

describe('a session', () => {
  it.each(levels)('of level %i goes on with its subscriptions, and a clean start finds nothing', async (level) => {
    const clientId = unique();
    const topic = unique();
    const open = async (clean: boolean): Promise<RawClient> => {
      const client = await mqtt.connect({ ...lasting(level, clientId), clean });
      return client;
    };
    const first = await open(false);
    expect(first.connack.sessionPresent).toBe(false);
    await first.subscribe(topic, 2);
    await first.disconnect();
    const publisher = await mqtt.connect({ level });
    for (const qos of [0, 1, 2]) await publisher.publishTaken(topic, `${qos}`, qos === 0 ? {} : { qos });
    const second = await open(false);
    expect(second.connack.sessionPresent).toBe(true);
    expect((await second.packets(2)).map(({ payload, qos, dup }) => [`${payload}`, qos, dup])).toEqual([
      ['1', 1, false],
      ['2', 2, false],
    ]);
    await second.disconnect();
    const third = await open(true);
    expect(third.connack.sessionPresent).toBe(false);
    await publisher.publishTaken(topic, 'gone', { qos: 1 });
    expect(await third.barrier()).toEqual([]);
    await third.disconnect();
    // A clean session of 3.1.1 ends with its connection; in MQTT 5 the expiry says so.
    const fourth = await open(false);
    expect(fourth.connack.sessionPresent).toBe(level === 5);
  });

  it('ends without its retained messages', async () => {
    const topic = unique();
    const publisher = await mqtt.connect({ clientId: unique() });
    await publisher.publishTaken(topic, 'kept', { retain: true });
    await publisher.disconnect();
    const reader = await mqtt.connect();
    await reader.subscribe(topic);
    expect(await reader.packet('publish')).toMatchObject({ retain: true });
  });

  it('is kept as long as the connection lasts, whatever its expiry', async () => {
    const client = await mqtt.connect({ level: 5, properties: { sessionExpiryInterval: 0 } });
    const topic = unique();
    await client.subscribe(topic, 1);
    client.publish(topic, '1', { qos: 1, messageId: 5 });
    expect((await client.barrier()).map(({ cmd }) => cmd).sort()).toEqual(['puback', 'publish']);
  });
});

describe('a will', () => {
  it.each(levels)(
    'of level %i is published when the connection ends without DISCONNECT, and then forgotten',
    async (level) => {
      const topic = unique();
      const reader = await mqtt.connect({ level });
      await reader.subscribe(topic, 2, level === 5 ? { rap: true } : {});
      const will = { topic, payload: 'gone', qos: 1, retain: false };
      const clientId = unique();
      await (await mqtt.connect({ level, clientId, will })).cut();
      expect(await reader.packet('publish')).toMatchObject({ payload: Buffer.from('gone'), qos: 1, retain: false });
      // An error of the protocol is no goodbye either.
      const wrong = await mqtt.connect({ level, clientId, will });
      wrong.write('0000');
      await wrong.closed();
      expect((await reader.packet('publish')).payload).toEqual(Buffer.from('gone'));
      await (await mqtt.connect({ level, clientId, will })).disconnect();
      await (await mqtt.connect({ level, clientId })).cut();
      expect((await reader.barrier()).filter(({ cmd }) => cmd === 'publish')).toEqual([]);
      const late = await mqtt.connect({ level });
      await late.subscribe(topic);
      expect(await late.barrier()).toEqual([]);
    },
  );

  it.each(levels)('of level %i with the retain flag is a retained message', async (level) => {
    const topic = unique();
    await (await mqtt.connect({ level, will: { topic, payload: 'kept', qos: 0, retain: true } })).cut();
    const reader = await mqtt.connect({ level });
    await reader.subscribe(topic);
    expect(await reader.packet('publish')).toMatchObject({ payload: Buffer.from('kept'), retain: true });
  });

  it('is kept back by DISCONNECT with 0x00 and sent with 0x04', async () => {
    const topic = unique();
    const reader = await mqtt.connect({ level: 5 });
    await reader.subscribe(topic);
    const will = { topic, payload: 'x', qos: 0, retain: false };
    const quiet = await mqtt.connect({ level: 5, will });
    quiet.send({ cmd: 'disconnect', reasonCode: 0 });
    await quiet.closed();
    const loud = await mqtt.connect({ level: 5, will: { ...will, payload: 'y' } });
    loud.send({ cmd: 'disconnect', reasonCode: 4 });
    await loud.closed();
    expect((await reader.packet('publish')).payload).toEqual(Buffer.from('y'));
  });

  it('that is delayed is not sent when the client is back in time, and sent when its session ends', async () => {
    const topic = unique();
    const reader = await mqtt.connect({ level: 5 });
    await reader.subscribe(topic);
    const will = { topic, payload: 'late', qos: 0, retain: false, properties: { willDelayInterval: 60 } };
    const clientId = unique();
    await (await mqtt.connect({ ...lasting(5, clientId), will })).cut();
    const back = await mqtt.connect({ ...lasting(5, clientId), will });
    expect(await reader.barrier()).toEqual([]);
    await back.cut();
    await mqtt.connect({ level: 5, clientId, clean: true });
    expect((await reader.packet('publish')).payload).toEqual(Buffer.from('late'));
  });

  it('keeps its properties, user properties in their order', async () => {
    const topic = unique();
    const reader = await mqtt.connect({ level: 5 });
    await reader.subscribe(topic);
    const pairs = Buffer.concat(
      ['b', 'a', 'b'].map((name, at) => Buffer.concat([hex('26'), lengthed(name), lengthed(`${at}`)])),
    );
    const client = await mqtt.open(5);
    client.write(
      connectFrame(5, 0x06, lengthed(unique()), Buffer.from([pairs.length]), pairs, lengthed(topic), lengthed('x')),
    );
    await client.packet('connack');
    await client.cut();
    const frame = await reader.frame();
    expect(frame.includes(pairs)).toBe(true);
  });
});

describe('CONNACK', () => {
  it('of success has no flags but Session Present', async () => {
    for (const level of levels) {
      const client = await mqtt.open(level);
      client.send(connectPacket({ level, clientId: unique() }));
      const frame = await client.frame();
      expect([frame[0], frame[2], frame[3]]).toEqual([0x20, 0, 0]);
    }
  });

  it('of a refusal says no session, ends the connection, and nothing behind CONNECT is done', async () => {
    const topic = unique();
    const reader = await mqtt.connect();
    await reader.subscribe(topic);
    const clientId = unique();
    await (await mqtt.connect(lasting(5, clientId))).disconnect();
    const properties = { authenticationMethod: 'NOT-KNOWN' };
    const client = await mqtt.open(5);
    client.send(connectPacket({ level: 5, clientId, clean: false, properties }), {
      ...{ cmd: 'publish', topic, payload: 'no', qos: 0, retain: false, dup: false },
    });
    expect(await client.closed()).toMatchObject([{ cmd: 'connack', reasonCode: 0x8c, sessionPresent: false }]);
    const old = await mqtt.open(4);
    old.write(connectFrame(4, 0x00, lengthed('')), frameOf(0x30, lengthed(topic)));
    expect(await old.closed()).toMatchObject([{ cmd: 'connack', returnCode: 2, sessionPresent: false }]);
    expect(await reader.barrier()).toEqual([]);
  });

  it('does not come when no return code of 3.1.1 fits', async () => {
    const will = { topic: '$SYS/x', payload: 'x', qos: 0, retain: false };
    const client = await mqtt.open(4);
    client.send(connectPacket({ clientId: unique(), will }));
    expect(await client.closed()).toEqual([]);
  });

  it('of MQTT 5 limits nothing that is there: QoS 2, retained messages, wildcards, identifiers, shared subscriptions', async () => {
    const { connack } = await mqtt.connect({ level: 5, will: { topic: 'w', payload: '', qos: 2, retain: true } });
    const properties = (connack.properties ?? {}) as Record<string, unknown>;
    for (const name of ['maximumQoS', 'retainAvailable', 'wildcardSubscriptionAvailable'])
      expect(properties[name]).toBeUndefined();
    for (const name of ['subscriptionIdentifiersAvailable', 'sharedSubscriptionAvailable', 'authenticationMethod'])
      expect(properties[name]).toBeUndefined();
    expect(properties.serverKeepAlive).toBeUndefined();
  });

  it('has response information only for who asks for it', async () => {
    const of = async (asks: boolean | undefined): Promise<unknown> => {
      const properties = asks === undefined ? {} : { requestResponseInformation: asks };
      const { connack } = await mqtt.connect({ level: 5, properties });
      return (connack.properties as Record<string, unknown>).responseInformation;
    };
    expect(await of(undefined)).toBeUndefined();
    expect(await of(false)).toBeUndefined();
    expect(await of(true)).toEqual(expect.any(String));
  });

  it('is no larger than Maximum Packet Size: what is for information is left out, else the connection ends', async () => {
    const clientId = unique().padEnd(60, 'x');
    const properties = { requestResponseInformation: true, maximumPacketSize: 60 };
    const client = await mqtt.open(5);
    client.send(connectPacket({ level: 5, clientId, properties }));
    const frame = await client.frame();
    expect(frame.length).toBeLessThanOrEqual(60);
    const tiny = await mqtt.open(5);
    tiny.send(connectPacket({ level: 5, clientId: unique(), properties: { maximumPacketSize: 6 } }));
    expect(await tiny.closed()).toEqual([]);
  });
});
