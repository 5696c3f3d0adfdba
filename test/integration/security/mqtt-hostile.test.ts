/**
 * Classes of published vulnerabilities of message brokers, against a running one that anybody on this machine may use: memory,
 * parsers, unfinished flows, strange names, floods. Which test stands for which class is told in
 * `docs/security/mqtt-cve-classes.md`.
 *
 * After each test no worker has died, nothing was logged as an error, and a client that did nothing wrong is served.
 */
import { readdirSync } from 'node:fs';
import net, { type Socket } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BrokerProcess } from '../../support/broker-process.ts';
import { connectPacket, hex, lengthed, RawClient, type RawConnect } from '../../support/mqtt/raw-client.ts';

const mebibyte = 1_048_576;
const inherited = [...Object.getOwnPropertyNames(Object.prototype), 'prototype', 'then', 'length'];
let broker: BrokerProcess;
let witness: RawClient;
let names = 0;
const sockets: Socket[] = [];

beforeAll(async () => {
  broker = await BrokerProcess.start({
    settings: {
      'listeners.1': { name: 'hasty', protocol: 'mqtt', address: '127.0.0.1:0', handshakeTimeoutMs: 300 },
      'limits.retainedCountMax': 500,
      'limits.connectionOutputBytesMax': 65_536,
      'mqtt.receiveMaximum': 100,
      'mqtt.sessionsMax': 2_000,
      'mqtt.subscriptionsMax': 2_000,
      'mqtt.queuedBytesMax': mebibyte,
    },
  });
  witness = await RawClient.connect(broker.port(), { clientId: 'witness', level: 5 });
  await witness.subscribe('witness', 1);
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  // Through the broker and back: it lives, and serves who did nothing wrong.
  witness.publish('witness', 'alive', { qos: 1 });
  const answers = [(await witness.frame())[0] >> 4, (await witness.frame())[0] >> 4];
  expect(answers.sort()).toEqual([3, 4]);
  expect(await broker.metric('ringmq_worker_restarts_total')).toBe(0);
  expect(broker.unexpectedErrors).toEqual([]);
});

afterAll(async () => {
  witness.socket.destroy();
  await broker.stop();
});

function kept(client: RawClient): RawClient {
  sockets.push(client.socket);
  return client;
}

async function open(level: 3 | 4 | 5 = 5): Promise<RawClient> {
  return kept(await RawClient.open(broker.port(), level));
}

async function connect(options: RawConnect = {}): Promise<RawClient> {
  return kept(await RawClient.connect(broker.port(), { clientId: `hostile-${names++}`, level: 5, ...options }));
}

/** A plain socket that reads and forgets what comes. */
async function rawSocket(listener = 'mqtt'): Promise<Socket> {
  const socket = net.connect({ port: broker.port(listener), host: '127.0.0.1', noDelay: true });
  sockets.push(socket);
  socket.on('error', () => undefined).resume();
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

function residentBytes(): Promise<number> {
  return broker.metric('process_resident_memory_bytes');
}

/**
 * By how much the broker's memory grows with the work. It is done once before, so that what is made once does not count, and the least of up
 * to three times counts: the heap grows by a young generation when a collection happens to be late.
 */
async function growthOf(work: () => Promise<void>): Promise<number> {
  await work();
  let least = Number.POSITIVE_INFINITY;
  for (let time = 0; time < 3 && least > 4 * mebibyte; time++) {
    const before = await residentBytes();
    await work();
    least = Math.min(least, (await residentBytes()) - before);
  }
  return least;
}

/** Waits for what the broker does a moment later; the runner's limit ends it. */
async function eventually(isTrue: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isTrue())) await sleep(10);
}

function variable(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest % 128) | (rest >= 128 ? 0x80 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** A frame of any length. */
function frame(firstByte: number, ...parts: (string | Uint8Array)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? hex(part) : part)));
  return Buffer.concat([Buffer.from([firstByte]), variable(body.length), body]);
}

function connectFrame(properties: Uint8Array, ...payload: Uint8Array[]): Buffer {
  return frame(0x10, '00044d515454 05 02 0000', variable(properties.length), properties, ...payload);
}

const userProperty = Buffer.concat([hex('26'), lengthed('k'), lengthed('v')]);

describe('memory before authentication', () => {
  it('a first packet that declares 256 MB is refused by its length alone', async () => {
    const growth = await growthOf(async () => {
      const many = await Promise.all(Array.from({ length: 50 }, () => open()));
      for (const [at, client] of many.entries()) client.write(at % 2 === 0 ? '10 ffffff7f 00' : '30 ffffff7f 00');
      for (const client of many) expect(await client.closed()).toEqual([]);
    });
    expect(growth).toBeLessThan(20 * mebibyte);
  });

  it('a CONNECT that never ends keeps what has come of it and no more, and is cut in time', async () => {
    const before = await residentBytes();
    const many = await Promise.all(Array.from({ length: 200 }, () => rawSocket('hasty')));
    // 65,000 bytes are declared, some come, one at a time.
    let closedCount = 0;
    for (const socket of many) {
      socket.once('close', () => closedCount++);
      socket.write(hex('10 e8fb03 00044d515454'));
    }
    const drip = setInterval(() => {
      for (const socket of many) if (socket.writable) socket.write(hex('00'));
    }, 50);
    await eventually(() => closedCount === many.length);
    clearInterval(drip);
    expect((await residentBytes()) - before).toBeLessThan(30 * mebibyte);
    expect(await broker.metric('ringmq_connections_closed_total', 'reason="handshake-timeout"')).toBe(many.length);
  });
});

describe('amplification in parsers', () => {
  it('packets with thousands of user properties are refused', async () => {
    const many = Buffer.concat(Array.from({ length: 8_000 }, () => userProperty));
    const stranger = await open();
    stranger.write(connectFrame(many, lengthed('a')));
    expect(await stranger.closed()).not.toMatchObject([{ cmd: 'connack', reasonCode: 0 }]);
    for (const packet of [
      frame(0x30, lengthed('t'), variable(many.length), many),
      frame(0x82, '0001', variable(many.length), many, lengthed('t'), '00'),
      frame(0x40, '0001 00', variable(many.length), many),
      frame(0xe0, '00', variable(many.length), many),
    ]) {
      const client = await connect();
      client.write(packet);
      const [last] = await client.closed();
      expect([undefined, 0x81, 0x82, 0x97]).toContain(last?.reasonCode);
    }
  });

  it('topics and filters of 65,000 levels are refused', async () => {
    const deep = '/'.repeat(65_000);
    const publisher = await connect();
    publisher.write(frame(0x30, lengthed(deep), '00'));
    expect(await publisher.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x90 }]);
    const subscriber = await connect();
    for (const filter of [deep, '+/'.repeat(30_000), `$share/g/${deep}`.slice(0, 65_000)])
      expect((await subscriber.subscribe(filter)).granted).toEqual([0x8f]);
    const will = { topic: deep, payload: 'x', qos: 0, retain: false };
    expect((await RawClient.tryConnect(broker.port(), { level: 5, will }).then(kept)).connack.reasonCode).toBe(0x90);
  });

  it('thousands of subscriptions in one packet are answered, up to the limit', async () => {
    const client = await connect();
    const filters = Array.from({ length: 2_500 }, (_, at) => Buffer.concat([lengthed(`+/${at}/+/#`), hex('00')]));
    client.write(frame(0x82, '0001 00', ...filters));
    const { granted } = (await client.packet('suback')) as unknown as { granted: number[] };
    expect(granted.filter((code) => code === 0)).toHaveLength(2_000);
    expect(granted.filter((code) => code === 0x97)).toHaveLength(500);
    expect(await broker.metric('ringmq_limits_exceeded_total', 'limit="client-subscriptions"')).toBe(500);
  });

  it('filters of every shape cost others nothing but a look', async () => {
    const client = await connect();
    // Eleven levels, each fixed or a wildcard: as many shapes as a session may have filters.
    const filterOf = (shape: number): string =>
      Array.from({ length: 11 }, (_, level) => ((shape >> level) & 1 ? '+' : 'x')).join('/');
    const filters = Array.from({ length: 2_000 }, (_, at) => Buffer.concat([lengthed(filterOf(at)), hex('00')]));
    client.write(frame(0x82, '0001 00', ...filters));
    await client.packet('suback');
    const publisher = await connect();
    for (let at = 0; at < 500; at++) publisher.publish(Array.from({ length: 11 }, () => 'x').join('/'), `${at}`);
    await publisher.barrier();
    // It has the message once, whatever number of its filters match.
    expect((await client.packets(500)).map(({ payload }) => String(payload)).at(-1)).toBe('499');
  });
});

describe('unfinished flows', () => {
  it('identifiers of QoS 2 that are never released are bounded: 0x93', async () => {
    const client = await connect();
    for (let messageId = 1; messageId <= 101; messageId++)
      client.send({ cmd: 'publish', topic: 't', payload: '', qos: 2, messageId, retain: false, dup: false });
    const packets = await client.closed();
    expect(packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 });
    expect(await broker.metric('ringmq_limits_exceeded_total', 'limit="unfinished-messages"')).toBe(1);
  });

  it('clients that leave QoS 2 messages, wills and subscriptions unfinished leave no memory behind', async () => {
    const will = { topic: 'w', payload: 'x'.repeat(1_000), qos: 1, retain: false };
    const growth = await growthOf(async () => {
      for (let round = 0; round < 2; round++) {
        const some = await Promise.all(Array.from({ length: 50 }, () => connect({ will })));
        for (const client of some) {
          for (let messageId = 1; messageId < 90; messageId++)
            client.write(frame(0x34, lengthed('unfinished'), Buffer.from([0, messageId]), '00', 'ff'));
          client.write(frame(0x82, '0001 00', lengthed(`unfinished/${round}/#`), '02'));
          client.socket.end();
        }
        await Promise.all(some.map(({ socket }) => new Promise((resolve) => socket.once('close', resolve))));
      }
    });
    expect(growth).toBeLessThan(20 * mebibyte);
    await eventually(async () => (await broker.metric('ringmq_mqtt_sessions')) <= 1);
  });

  it('a will with wrong properties is refused, again and again', async () => {
    const twice = hex('18 00000001 18 00000002');
    const willed = Buffer.concat([variable(twice.length), twice, lengthed('w'), lengthed('x')]);
    const bad = frame(0x10, '00044d515454 05 06 0000 00', lengthed('bad-will'), willed);
    const growth = await growthOf(async () => {
      for (let round = 0; round < 3; round++) {
        const some = await Promise.all(Array.from({ length: 60 }, () => rawSocket()));
        const ends = some.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
        for (const socket of some) socket.write(bad);
        await Promise.all(ends);
      }
    });
    expect(growth).toBeLessThan(20 * mebibyte);
  });
});

describe('states and boundaries', () => {
  /** Packets of every type, those of a server and those that do not exist included; well formed where there is a form. */
  const everyType = Array.from({ length: 16 }, (_, type) => type).flatMap((type) =>
    ['', '0001', '0000', '0001 00', '0000 00', '0001 00 00', '0000 0001 61'].map((body) => frame(type << 4, body)),
  );

  it('every packet type in every state ends at worst the connection that sent it', async () => {
    for (const packet of everyType) {
      const connected: (3 | 4 | 5)[] = [4, 5];
      const [stranger, ...clients] = await Promise.all([open(), ...connected.map((level) => connect({ level }))]);
      for (const client of [stranger, ...clients]) client.socket.end(Buffer.concat([packet, packet]));
    }
  });

  it('a topic of no length and an alias that nobody defined are refused', async () => {
    for (const [level, packet] of [
      [4, '30 03 0000 61'],
      [5, '30 04 0000 00 61'],
      [5, '30 07 0000 03 230001 61'],
    ] as const) {
      const client = await connect({ level });
      client.write(packet);
      expect(await client.closed()).toMatchObject(level === 5 ? [{ cmd: 'disconnect' }] : []);
    }
  });

  it('a length of five bytes, and packets cut at every byte, end at worst the connection', async () => {
    const client = await connect();
    client.write('30 ffffffff01');
    expect(await client.closed()).toMatchObject([{ reasonCode: 0x81 }]);
    const properties = hex('11 0000003c 21 0005');
    const willProperties = Buffer.concat([hex('02 0000003c'), userProperty]);
    const whole = frame(
      0x10,
      '00044d515454 05 c6 003c',
      variable(properties.length),
      properties,
      ...[lengthed('cut'), variable(willProperties.length), willProperties],
      ...[lengthed('will/topic'), lengthed('payload'), lengthed('name'), lengthed('word')],
    );
    const cuts = Array.from({ length: whole.length }, (_, at) => at);
    for (const cut of cuts) (await rawSocket()).end(whole.subarray(0, cut));
    // The length fits and the rest does not.
    for (const cut of cuts.slice(2)) {
      const shortened = Buffer.from(whole.subarray(0, cut));
      shortened[1] = cut - 2;
      (await rawSocket()).end(shortened);
    }
  });

  it('names with NUL, surrogates, overlong or broken UTF-8 end the connection', async () => {
    for (const bytes of ['00', 'eda080', 'c0af', 'f8888080 80', 'ff', 'e282', 'f4908080']) {
      const publisher = await connect();
      publisher.write(frame(0x30, lengthed(hex(bytes)), '00'));
      expect((await publisher.closed()).at(-1)?.cmd).toBe('disconnect');
      const subscriber = await connect();
      subscriber.write(frame(0x82, '0001 00', lengthed(hex(bytes)), '00'));
      const [answer] = await subscriber.closed().catch(() => []);
      expect(answer?.cmd).not.toBe('publish');
      const stranger = await open();
      stranger.write(connectFrame(Buffer.alloc(0), lengthed(hex(bytes))));
      expect(await stranger.closed()).not.toMatchObject([{ reasonCode: 0 }]);
    }
  });
});

describe('names', () => {
  it('of what every JavaScript object has are names like others: client id, user, topic, filter, group, property', async () => {
    for (const name of inherited) {
      const properties = { userProperties: { [name]: name }, responseTopic: name };
      const options = { clientId: name, username: name, password: name, properties: { sessionExpiryInterval: 60 } };
      const will = { topic: name, payload: name, qos: 1, retain: true };
      const client = await connect({ ...options, clean: false, will });
      for (const filter of [name, `${name}/#`, `$share/${name}/${name}/+`, `$exclusive/${name}/x`])
        expect((await client.subscribe(filter, 1)).granted, filter).toEqual([1]);
      client.publish(name, name, { qos: 1, retain: true, properties });
      const [taken, arrived] = [await client.frame(), await client.frame()].sort((one, other) => other[0] - one[0]);
      expect([taken[0] >> 4, arrived[0] >> 4].sort()).toEqual([3, 4]);
      await client.cut();
    }
    expect(broker.log).not.toContain('TypeError');
  });

  it('that look like paths make no files', async () => {
    const before = readdirSync(dirname(broker.data)).filter((name) => name.includes('evil'));
    for (const path of ['../../evil', '..\\evil', '/evil', `${broker.data}/../evil`, 'evil\n', '%2e%2e%2fevil']) {
      const client = await connect({ clientId: path, clean: false, properties: { sessionExpiryInterval: 60 } });
      await client.subscribe(path, 1);
      await client.publishTaken(path, 'x', { qos: 1, retain: true });
      await client.cut();
    }
    expect(readdirSync(dirname(broker.data)).filter((name) => name.includes('evil'))).toEqual(before);
    expect(readdirSync(broker.data, { recursive: true }).filter((name) => String(name).includes('evil'))).toEqual([]);
  });

  it('that try to write lines of their own into the log do not', async () => {
    const forged = '{"time":"2026-01-01T00:00:00.000Z","level":"error","message":"forged"}';
    for (const clientId of [`a\n${forged}\n`, `\u001b[31m%s%n\r\n${forged}`, `</script>\u2028${forged}`]) {
      const client = await connect({ clientId });
      client.write('00 00');
      await client.closed();
    }
    await eventually(() => broker.logLines.some(({ clientId }) => String(clientId).includes('forged')));
    expect(broker.logLines.filter(({ message }) => message === 'forged')).toEqual([]);
    for (const { time } of broker.logLines) expect(time).not.toBe('');
  });

  it('do not become series of metrics', async () => {
    const seriesOf = async (): Promise<number> => (await broker.metrics()).split('\n').length;
    const before = await seriesOf();
    const some = await Promise.all(Array.from({ length: 40 }, (_, at) => connect({ clientId: `series-${at}` })));
    for (const [at, client] of some.entries()) await client.subscribe(`series/${at}`);
    expect(await seriesOf()).toBe(before);
  });
});

describe('floods', () => {
  it('a subscriber that never reads costs bounded memory and holds up nobody', async () => {
    const deaf = await connect();
    await deaf.subscribe('flood/#', 1);
    deaf.socket.pause();
    const publisher = await connect();
    const before = await residentBytes();
    const block = frame(0x30, lengthed('flood/a'), '00', Buffer.alloc(16_000));
    const blocks = Buffer.concat(Array.from({ length: 64 }, () => block));
    for (let round = 0; round < 40; round++) publisher.write(blocks);
    for (let each = 0; each < 200; each++) publisher.publish('flood/b', 'x'.repeat(16_000), { qos: 1 });
    await publisher.packets(200, 'puback');
    expect((await residentBytes()) - before).toBeLessThan(40 * mebibyte);
    expect(await broker.metric('ringmq_messages_dropped_total', 'reason="output-full"')).toBeGreaterThan(0);
    expect(await broker.metric('ringmq_messages_dropped_total', 'reason="queue-full"')).toBeGreaterThan(0);
  });

  it('retained messages are bounded by their number', async () => {
    const client = await connect();
    for (let at = 0; at < 700; at++) client.publish(`retained/${at}`, 'x', { retain: true });
    await client.barrier();
    expect(await broker.metric('ringmq_messages_dropped_total', 'reason="retained-full"')).toBeGreaterThan(0);
    const reader = await connect();
    await reader.subscribe('retained/#');
    expect((await reader.barrier()).length).toBeLessThanOrEqual(500);
    for (let at = 0; at < 700; at++) client.publish(`retained/${at}`, '', { retain: true });
    await client.barrier();
  });

  it('one client id in many hands at once ends with one of them, subscriptions and QoS 2 under way', async () => {
    for (let round = 0; round < 4; round++) {
      const racers = await Promise.all(Array.from({ length: 8 }, () => open()));
      for (const [at, racer] of racers.entries()) {
        const properties = { sessionExpiryInterval: round % 2 === 0 ? 0 : 5 };
        racer.send(connectPacket({ level: 5, clientId: 'everybody', clean: at % 3 === 0, properties }));
        racer.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: `race/${at}`, qos: 2 }] });
        racer.publish(`race/${at}`, 'x', { qos: 2 });
      }
      await eventually(() => racers.filter(({ socket }) => !socket.closed).length <= 1);
    }
  });
});
