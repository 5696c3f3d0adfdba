/** Exclusive and automatic subscriptions, and topics that are renamed. */
import { describe, expect, it } from 'vitest';
import type { MqttSettings } from '../../../../../src/protocols/mqtt/settings.ts';
import { MqttHost, type TestClient } from '../../../../support/mqtt/mqtt-host.ts';

describe('$exclusive/', () => {
  it('is held by one session, and refused to others with 0x97 until that lets go', () => {
    const host = new MqttHost();
    const [one, two] = ['one', 'two'].map((clientId) => host.connect({ clientId, level: 5 }));
    expect(one.subscribe('$exclusive/a/b', { qos: 1 }).granted).toEqual([1]);
    expect(one.subscribe('$exclusive/a/b').granted).toEqual([0]);
    expect(two.subscribe('$exclusive/a/b').granted).toEqual([0x97]);
    expect(two.subscribe('$exclusive//a/b').granted).toEqual([0]);
    expect(two.subscribe('a/b').granted).toEqual([0]);
    host.connect({ clientId: 'p' }).publish('a/b', 'x');
    expect([one.payloads(), two.payloads()]).toEqual([['x'], ['x']]);
    one.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['$exclusive/a/b'] });
    expect(one.take()).toMatchObject([{ cmd: 'unsuback', granted: [0] }]);
    expect(two.subscribe('$exclusive/a/b').granted).toEqual([0]);
  });

  it('goes with the session, also one that is away, and ends with it', () => {
    const host = new MqttHost();
    const properties = { sessionExpiryInterval: 10 };
    const holder = host.connect({ clientId: 'holder', level: 5, clean: false, properties });
    const other = host.connect({ clientId: 'other' });
    holder.subscribe('$exclusive/a');
    holder.connection.cut();
    expect(other.subscribe('$exclusive/a').granted).toEqual([0x80]);
    host.pass(11_000);
    expect(other.subscribe('$exclusive/a').granted).toEqual([0]);
    other.connection.cut();
    expect(host.connect({ clientId: 'third' }).subscribe('$exclusive/a').granted).toEqual([0]);
  });

  it('can be switched off, and is checked like any filter', () => {
    const off = new MqttHost({ exclusiveSubscriptions: false }).connect({ clientId: 'c', level: 5 });
    expect(off.subscribe('$exclusive/a').granted).toEqual([0x8f]);
    const on = new MqttHost({ subscribeDenied: ['a'] }).connect({ clientId: 'c', level: 5 });
    expect(on.subscribe('$exclusive/').granted).toEqual([0x8f]);
    expect(on.subscribe('$exclusive/a').granted).toEqual([0x80]);
    expect(on.subscribe('$exclusivex').granted).toEqual([0]);
  });
});

const rule = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 };

describe('mqtt.autoSubscribe', () => {
  it('subscribes every client, with its own values, behind CONNACK', () => {
    const host = new MqttHost({
      autoSubscribe: [
        { ...rule, filter: `to/\${clientid}/+` },
        { ...rule, filter: `user/\${username}` },
        { ...rule, filter: '$share/g/work', qos: 0 },
      ],
    });
    const publisher = host.connect({ clientId: 'p' });
    publisher.publish('to/c/x', 'kept', { retain: true });
    const { client, connack } = host.tryConnect({ clientId: 'c', level: 5 });
    expect(connack).toMatchObject({ cmd: 'connack', reasonCode: 0 });
    expect(host.leftovers.get(client)).toMatchObject([{ cmd: 'publish', retain: true }]);
    publisher.publish('to/c/y', '1', { qos: 1, messageId: 1 });
    publisher.publish('to/d/y', '2');
    publisher.publish('user/', '3');
    const got = client.take();
    expect(got).toMatchObject([{ cmd: 'publish', topic: 'to/c/y', qos: 1 }]);
    client.send({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['to/c/+', 'user/', '$share/g/work'] });
    expect(client.take()).toMatchObject([{ cmd: 'unsuback', granted: [0, 0x11, 0] }]);
  });

  it.each(['+', '#', 'a/b', '$SYS'])(
    'puts nothing in the place of a value that means more than itself: %s',
    (clientId) => {
      const host = new MqttHost({ autoSubscribe: [{ ...rule, filter: `\${clientid}/x` }] });
      const client = host.connect({ clientId });
      host.connect({ clientId: 'p' }).publish('a/x', 'no');
      expect(client.take()).toEqual([]);
      expect(host.gauge('ringmq_mqtt_subscriptions')).toBe(1); // The publisher's own.
    },
  );

  it('respects what is denied, and says so', () => {
    const host = new MqttHost({ subscribeDenied: ['no'], autoSubscribe: [{ ...rule, filter: 'no' }] });
    host.connect({ clientId: 'c' });
    expect(host.gauge('ringmq_mqtt_subscriptions')).toBe(0);
    expect(host.logged.join('')).toContain('Cannot subscribe a client automatically');
  });
});

type Rules = MqttSettings['topicRewrite'];
const rewriting: Rules = [
  { action: 'publish', source: 'up/#', pattern: '^up/(.+)$', target: `in/\${clientid}/$1` },
  { action: 'subscribe', source: 'down/#', pattern: '^down/(.+)$', target: 'out/$1' },
  { action: 'all', source: 'old/+', pattern: '^old/([a-z+]+)$', target: 'new/$1' },
  { action: 'publish', source: 'bad/#', pattern: '^bad/(.*)$', target: `u/\${username}/$1` },
  { action: 'publish', source: 'sys', pattern: 'sys', target: '$SYS/x' },
];

function pair(level: 3 | 4 | 5 = 4): { host: MqttHost; sender: TestClient; reader: TestClient } {
  const host = new MqttHost({ topicRewrite: rewriting });
  const reader = host.connect({ clientId: 'reader', level: 5 });
  reader.subscribe('#', { qos: 2, rap: true });
  return { host, sender: host.connect({ clientId: 's1', level }), reader };
}

describe('mqtt.topicRewrite', () => {
  it.each([3, 4, 5] as const)(
    'renames what a client of level %i publishes, the first message of a topic included',
    (level) => {
      const { sender, reader } = pair(level);
      sender.send(
        ...['a', 'b', 'c'].map((payload) => ({
          cmd: 'publish',
          topic: 'up/x/y',
          payload,
          qos: 0,
          retain: false,
          dup: false,
        })),
      );
      sender.publish('up/z', 'd', { qos: 2, messageId: 5 });
      sender.publish('plain', 'e');
      sender.publish('old/x', 'f', { qos: 1, messageId: 6 });
      const got = reader.take().map(({ topic, payload, qos }) => `${topic} ${payload} ${qos}`);
      expect(got).toEqual(['in/s1/x/y a 0', 'in/s1/x/y b 0', 'in/s1/x/y c 0', 'in/s1/z d 2', 'plain e 0', 'new/x f 1']);
      expect(sender.take().map(({ cmd, messageId }) => [cmd, messageId])).toEqual([
        ['pubrec', 5],
        ['puback', 6],
      ]);
    },
  );

  it('renames what an alias stands for, keeps properties and the retain flag', () => {
    const { host, sender, reader } = pair(5);
    const properties = { topicAlias: 1, userProperties: { k: 'v' }, messageExpiryInterval: 100 };
    sender.publish('up/x', '1', { properties, retain: true });
    sender.publish('', '2', { properties: { topicAlias: 1 } });
    sender.publish('plain', '3', { properties: { topicAlias: 1 } });
    sender.publish('', '4', { properties: { topicAlias: 1 } });
    const got = reader.take();
    expect(got.map(({ topic }) => topic)).toEqual(['in/s1/x', 'in/s1/x', 'plain', 'plain']);
    expect(got[0]).toMatchObject({
      retain: true,
      properties: { userProperties: { k: 'v' }, messageExpiryInterval: 100 },
    });
    const late = host.connect({ clientId: 'late' });
    late.subscribe('in/#');
    expect(late.take()).toEqual([]); // `subscribe` swallowed the retained one behind SUBACK.
    expect(host.gauge('ringmq_retained_messages')).toBe(1);
  });

  it('renames filters behind their prefixes, at SUBSCRIBE and UNSUBSCRIBE', () => {
    const { host, sender } = pair();
    const client = host.connect({ clientId: 'c', level: 5 });
    for (const path of ['down/a', '$share/g/down/b', '$exclusive/old/+']) client.subscribe(path);
    for (const topic of ['out/a', 'out/b', 'new/c', 'down/a']) sender.publish(topic, topic);
    expect(client.payloads()).toEqual(['out/a', 'out/b', 'new/c']);
    client.send({
      cmd: 'unsubscribe',
      messageId: 1,
      unsubscriptions: ['down/a', '$share/g/down/b', '$exclusive/old/+'],
    });
    expect(client.take()).toMatchObject([{ granted: [0, 0, 0] }]);
    expect(host.connect({ clientId: 'd', level: 5 }).subscribe('$exclusive/new/+').granted).toEqual([0]);
  });

  it('renames wills', () => {
    const { host, reader } = pair();
    const client = host.connect({ clientId: 'c', will: { topic: 'up/gone', payload: 'bye', qos: 0, retain: false } });
    client.connection.cut();
    expect(reader.take()).toMatchObject([{ topic: 'in/c/gone' }]);
    const will = { topic: 'bad/x', payload: 'bye', qos: 0, retain: false };
    expect(host.tryConnect({ clientId: 'd', level: 5, will }).connack).toMatchObject({ reasonCode: 0x90 });
  });

  it('refuses what no valid name comes of, and topics of the server', () => {
    const { sender, reader } = pair(5);
    sender.publish('bad/x', '1', { qos: 1, messageId: 1 });
    sender.publish('sys', '2', { qos: 1, messageId: 2 });
    expect(sender.take()).toMatchObject([{ reasonCode: 0x90 }, { reasonCode: 0x87 }]);
    // Nor can an alias stand for what was refused.
    sender.publish('bad/x', '3', { properties: { topicAlias: 1 } });
    sender.publish('', '4', { properties: { topicAlias: 1 } });
    expect(sender.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }]);
    expect(reader.take()).toEqual([]);
  });
});
