/** Deliveries at their limits: a client that reads slowly, is away, is small, or has a full window; merged subscriptions. */
import { describe, expect, it, vi } from 'vitest';
import { MqttHost, type TestClient } from '../../../../support/mqtt/mqtt-host.ts';

function pair(
  host: MqttHost,
  options: Parameters<MqttHost['connect']>[0] = {},
  qos = 1,
): { client: TestClient; publisher: TestClient } {
  const client = host.connect({ clientId: 'client', ...options });
  client.subscribe('t/#', { qos });
  return { client, publisher: host.connect({ clientId: 'publisher', level: 5 }) };
}

function publishMany(publisher: TestClient, from: number, to: number, qos = 1): void {
  for (let number = from; number < to; number++) publisher.publish('t/x', `${number}`, { qos, messageId: number + 1 });
  publisher.take();
}

const texts = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => `${from + index}`);

/** Acknowledges everything until nothing comes any more; answers the payloads. */
function acknowledgeAll(client: TestClient): string[] {
  const received: string[] = [];
  for (let packets = client.take(); packets.length > 0; packets = client.take()) {
    for (const { cmd, messageId, payload, qos } of packets) {
      if (cmd === 'publish') {
        received.push(String(payload));
        if (qos === 1) client.send({ cmd: 'puback', messageId });
        else if (qos === 2) client.send({ cmd: 'pubrec', messageId });
      } else if (cmd === 'pubrel') client.send({ cmd: 'pubcomp', messageId });
    }
  }
  return received;
}

describe('a full window', () => {
  it('makes messages wait, in order, until the client acknowledges', () => {
    const host = new MqttHost({ inflightMax: 4 });
    const { client, publisher } = pair(host);
    publishMany(publisher, 0, 30);
    const first = client.take();
    expect(first.map(({ payload }) => String(payload))).toEqual(texts(0, 4));
    publishMany(publisher, 30, 35, 0);
    for (const { messageId } of first) client.send({ cmd: 'puback', messageId });
    const rest = acknowledgeAll(client);
    expect(rest.filter((text) => Number(text) < 30)).toEqual(texts(4, 30));
    // QoS 0 does not wait.
    expect(rest.slice(0, 5)).toEqual(texts(30, 35));
  });

  it('of MQTT 5 is no larger than Receive Maximum', () => {
    const host = new MqttHost();
    const { client, publisher } = pair(host, { level: 5, properties: { receiveMaximum: 3 } }, 2);
    publishMany(publisher, 0, 10, 2);
    expect(client.take().length).toBe(3);
  });

  it('splits a run between what goes and what waits', () => {
    const host = new MqttHost({ inflightMax: 4 });
    const { client, publisher } = pair(host);
    const frames = texts(0, 10).map((payload, index) => ({
      cmd: 'publish',
      topic: 't/run',
      payload,
      qos: 1,
      retain: false,
      dup: false,
      messageId: index + 1,
    }));
    publisher.send(...frames);
    expect(acknowledgeAll(client)).toEqual(texts(0, 10));
  });

  it('drops what is beyond the number of messages that may wait', () => {
    const host = new MqttHost({ inflightMax: 2, queuedMessagesMax: 5 });
    const { client, publisher } = pair(host);
    publishMany(publisher, 0, 10);
    expect(host.dropped('queue-full')).toBe(3);
    expect(acknowledgeAll(client)).toEqual(texts(0, 7));
    publishMany(publisher, 10, 12);
    expect(acknowledgeAll(client)).toEqual(texts(10, 12));
  });

  it('drops what is beyond the bytes that may wait, and no smaller one behind it', () => {
    const host = new MqttHost({ inflightMax: 1, queuedBytesMax: 1_000 });
    const { client, publisher } = pair(host);
    publisher.publish('t/a', 'first', { qos: 1, messageId: 1 });
    publisher.publish('t/a', 'x'.repeat(600), { qos: 1, messageId: 2 });
    publisher.publish('t/a', 'y'.repeat(600), { qos: 1, messageId: 3 });
    publisher.publish('t/a', 'last', { qos: 1, messageId: 4 });
    expect(host.dropped('queue-full')).toBe(1);
    expect(acknowledgeAll(client)).toEqual(['first', 'x'.repeat(600), 'last']);
  });
});

describe('a client that does not read', () => {
  it('loses QoS 0 beyond the limit, counted, and gets QoS 1 and 2 when it reads again', () => {
    const host = new MqttHost({}, 20_000);
    const { client, publisher } = pair(host, {}, 2);
    client.connection.stalled = true;
    for (let number = 0; number < 30; number++) publisher.publish('t/zero', `${number}`.padEnd(1_000), { qos: 0 });
    const dropped = host.dropped('output-full');
    expect(dropped).toBeGreaterThan(5);
    publishMany(publisher, 0, 10, 1);
    publisher.publish('t/x', 'exactly', { qos: 2, messageId: 100 });
    expect(client.payloads().length).toBe(30 - dropped);
    client.connection.stalled = false;
    host.settle();
    expect(acknowledgeAll(client)).toEqual([...texts(0, 10), 'exactly']);
    publisher.publish('t/zero', 'again');
    expect(client.payloads()).toEqual(['again']);
    expect(host.dropped('output-full')).toBe(dropped);
  });

  it('does not hold up others', () => {
    const host = new MqttHost({}, 5_000);
    const { client, publisher } = pair(host);
    const other = host.connect({ clientId: 'other' });
    other.subscribe('t/#', { qos: 1 });
    client.connection.stalled = true;
    publishMany(publisher, 0, 500);
    expect(acknowledgeAll(other)).toEqual(texts(0, 500));
  });
});

describe('a client that is away', () => {
  it('finds QoS 1 and 2 when it is back, and no QoS 0', () => {
    const host = new MqttHost();
    const { client, publisher } = pair(host, { clean: false }, 2);
    client.send({ cmd: 'disconnect' });
    publishMany(publisher, 0, 3, 0);
    publishMany(publisher, 3, 6, 1);
    publishMany(publisher, 6, 9, 2);
    expect(host.dropped('offline')).toBe(3);
    const { client: back, connack } = host.tryConnect({ clientId: 'client', clean: false });
    expect(connack?.sessionPresent).toBe(true);
    const found = host.leftovers.get(back) ?? [];
    expect(found.map(({ payload, qos, dup }) => [String(payload), qos, dup])).toEqual([
      ['3', 1, false],
      ['4', 1, false],
      ['5', 1, false],
      ['6', 2, false],
      ['7', 2, false],
      ['8', 2, false],
    ]);
  });

  it('finds what has expired neither, and the rest with the time that is left', () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    try {
      const host = new MqttHost();
      const { client, publisher } = pair(host, {
        level: 5,
        clean: false,
        properties: { sessionExpiryInterval: 1_000 },
      });
      client.connection.cut();
      for (const [index, expiry] of [10, 100, undefined].entries()) {
        const properties = expiry === undefined ? {} : { messageExpiryInterval: expiry };
        publisher.publish('t/x', `${expiry}`, { qos: 1, messageId: index + 1, properties });
      }
      vi.setSystemTime(Date.now() + 30_000);
      const { client: back } = host.tryConnect({
        level: 5,
        clientId: 'client',
        clean: false,
        properties: { sessionExpiryInterval: 1_000 },
      });
      const found = host.leftovers.get(back) ?? [];
      expect(
        found.map(({ payload, properties }) => [
          String(payload),
          (properties as { messageExpiryInterval?: number } | undefined)?.messageExpiryInterval,
        ]),
      ).toEqual([
        ['100', 70],
        ['undefined', undefined],
      ]);
      expect(host.dropped('expired')).toBe(1);
    } finally {
      vi.useRealTimers();
    }
  });

  it('sends again what was sent before its time was over', () => {
    const host = new MqttHost();
    const properties = { sessionExpiryInterval: 60 };
    const client = host.connect({ clientId: 'c', level: 5, clean: false, properties });
    client.subscribe('t', { qos: 2 });
    const publisher = host.connect({ clientId: 'p', level: 5 });
    const { now } = Date;
    const start = now();
    try {
      Date.now = () => start;
      publisher.publish('t', 'x', { qos: 2, messageId: 1, properties: { messageExpiryInterval: 5 } });
      const [first] = client.take();
      client.connection.cut();
      Date.now = () => start + 10_000;
      const { client: back } = host.tryConnect({ clientId: 'c', level: 5, clean: false, properties });
      expect(host.leftovers.get(back)).toMatchObject([{ cmd: 'publish', dup: true, messageId: first.messageId }]);
    } finally {
      Date.now = now;
    }
  });
});

describe('a client with a Maximum Packet Size', () => {
  it('gets what fits, and what does not is dropped and acknowledged to nobody', () => {
    for (const qos of [0, 1, 2]) {
      const host = new MqttHost();
      const client = host.connect({
        level: 5,
        clientId: `small-${qos}`,
        properties: { maximumPacketSize: 60, receiveMaximum: 2 },
      });
      client.subscribe('t', { qos });
      const publisher = host.connect({ level: 5, clientId: 'publisher' });
      for (let number = 0; number < 20; number++)
        publisher.publish('t', 'x'.repeat(number % 2 === 0 ? 10 : 100), { qos, messageId: number + 1 });
      // What was too large holds no place in the window.
      expect(acknowledgeAll(client).every((text) => text.length === 10)).toBe(true);
      expect(host.dropped('too-large')).toBe(10);
    }
  });

  it('gets what fits exactly, with topic aliases or without', () => {
    for (const topicAliasMaximum of [0, 5]) {
      const host = new MqttHost();
      const client = host.connect({
        level: 5,
        clientId: 'small',
        properties: { maximumPacketSize: 100, topicAliasMaximum },
      });
      client.subscribe('t');
      const publisher = host.connect({ level: 5, clientId: 'publisher' });
      // Fixed header 2, topic 3, properties 1.
      for (const length of [94, 93, 90, 95, 20, 94]) publisher.publish('t', 'x'.repeat(length));
      expect(client.payloads().map((text) => text.length)).toEqual([94, 93, 90, 20, 94]);
      expect(host.dropped('too-large')).toBe(1);
    }
  });
});

describe('topic aliases to a client', () => {
  it('come with the topic once and without it afterwards, up to the maximum', () => {
    const host = new MqttHost();
    const { client, publisher } = pair(host, { level: 5, properties: { topicAliasMaximum: 1 } }, 0);
    for (const topic of ['t/a', 't/a', 't/b', 't/a']) publisher.publish(topic, 'x');
    expect(
      client
        .take()
        .map(({ topic, properties }) => [topic, (properties as { topicAlias?: number } | undefined)?.topicAlias]),
    ).toEqual([
      ['t/a', 1],
      ['', 1],
      ['t/b', undefined],
      ['', 1],
    ]);
  });
});

describe('overlapping subscriptions', () => {
  it('give one message with the highest QoS and all identifiers', () => {
    const host = new MqttHost();
    const client = host.connect({ level: 5, clientId: 'client' });
    client.subscribe('a/b', { qos: 0 }, { subscriptionIdentifier: 1 });
    client.subscribe('a/+', { qos: 2 }, { subscriptionIdentifier: 200 });
    client.subscribe('#', { qos: 1 });
    client.subscribe('c', { qos: 2 }, { subscriptionIdentifier: 9 });
    host.connect({ clientId: 'publisher' }).publish('a/b', 'x', { qos: 2, messageId: 1 });
    const packets = client.take();
    expect(packets).toMatchObject([{ cmd: 'publish', qos: 2, topic: 'a/b' }]);
    const { subscriptionIdentifier } = packets[0].properties as { subscriptionIdentifier: number[] };
    expect([...subscriptionIdentifier].sort((one, other) => one - other)).toEqual([1, 200]);
  });

  it('leave the own publications of "no local" ones out, and not of the others', () => {
    const host = new MqttHost();
    const client = host.connect({ level: 5, clientId: 'client' });
    const other = host.connect({ level: 5, clientId: 'other' });
    client.subscribe('a/b', { qos: 2, nl: true }, { subscriptionIdentifier: 1 });
    client.subscribe('a/+', { qos: 1 }, { subscriptionIdentifier: 2 });
    client.subscribe('alone', { qos: 0, nl: true });
    client.publish('a/b', 'own', { qos: 2, messageId: 1 });
    client.publish('alone', 'own');
    const own = client.take().filter(({ cmd }) => cmd === 'publish');
    expect(own).toMatchObject([{ qos: 1, properties: { subscriptionIdentifier: 2 } }]);
    other.publish('a/b', 'theirs', { qos: 2, messageId: 1 });
    other.publish('alone', 'theirs');
    expect(client.take().map(({ topic, qos }) => [topic, qos])).toEqual([
      ['a/b', 2],
      ['alone', 0],
    ]);
  });

  it('keep the retain flag as published when one of them asks for it', () => {
    const host = new MqttHost();
    const client = host.connect({ level: 5, clientId: 'client' });
    const publisher = host.connect({ clientId: 'publisher' });
    client.subscribe('a', { qos: 0 });
    publisher.publish('a', 'one', { retain: true });
    expect(client.take()).toMatchObject([{ retain: false }]);
    client.subscribe('+', { qos: 0, rap: true, rh: 2 });
    publisher.publish('a', 'two', { retain: true });
    publisher.publish('a', 'three');
    expect(client.take()).toMatchObject([{ retain: true }, { retain: false }]);
  });
});
