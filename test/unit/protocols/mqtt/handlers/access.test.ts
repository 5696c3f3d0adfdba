/** What access control means for MQTT clients, packet by packet: refusals, denied publications, wills, sessions, changes. */
import { describe, expect, test } from 'vitest';
import type { Identity } from '../../../../../src/core/ports/access.ts';
import { identityOf, ruleOf } from '../../../../support/access.ts';
import { MqttHost } from '../../../../support/mqtt/mqtt-host.ts';

const deny = (topic: string) => ruleOf({ permission: 'deny', topics: [topic] });

describe('rules in force', () => {
  test('a denied publication reaches nobody and is answered by version and quality of service', () => {
    const host = new MqttHost();
    const subscriber = host.connect({ clientId: 's' });
    subscriber.subscribe('a/#');
    host.access.setRules([ruleOf({ permission: 'deny', actions: ['publish'], topics: ['a/no'] })]);
    const five = host.connect({ clientId: 'p5', level: 5 });
    five.publish('a/no', 'x', { qos: 0 });
    expect(five.take()).toEqual([]);
    five.publish('a/no', 'x', { qos: 1, messageId: 7 });
    expect(five.take()).toMatchObject([{ cmd: 'puback', messageId: 7, reasonCode: 0x87 }]);
    five.publish('a/no', 'x', { qos: 2, messageId: 8 });
    expect(five.take()).toMatchObject([{ cmd: 'pubrec', messageId: 8, reasonCode: 0x87 }]);
    const four = host.connect({ clientId: 'p4' });
    four.publish('a/no', 'x', { qos: 1, messageId: 7 });
    expect(four.take()).toMatchObject([{ cmd: 'puback', messageId: 7 }]);
    four.publish('a/yes', 'y');
    expect(subscriber.payloads()).toEqual(['y']);
    expect(host.dropped('not-allowed')).toBe(4);
  });

  test('a retained publication that is denied is not kept', () => {
    const host = new MqttHost();
    host.access.setRules([ruleOf({ permission: 'deny', retain: 'retained' })]);
    host.connect({ clientId: 'p' }).publish('a', 'x', { retain: true });
    const subscriber = host.connect({ clientId: 's' });
    subscriber.subscribe('a');
    expect(subscriber.payloads()).toEqual([]);
  });

  test('an alias is judged by its topic, also after the rules changed', () => {
    const host = new MqttHost();
    const subscriber = host.connect({ clientId: 's' });
    subscriber.subscribe('#');
    const client = host.connect({ clientId: 'p', level: 5 });
    client.publish('a', '1', { properties: { topicAlias: 1 } });
    host.access.setRules([ruleOf({ permission: 'deny', actions: ['publish'], topics: ['a'] })]);
    client.publish('', '2', { properties: { topicAlias: 1 } });
    expect(subscriber.payloads()).toEqual(['1']);
  });

  test('SUBACK says 0x87 since MQTT 5 and 0x80 before, for the filter behind a group too', () => {
    const host = new MqttHost();
    host.access.setRules([deny('a/no')]);
    const five = host.connect({ clientId: 'c5', level: 5 });
    for (const filter of ['a/no', 'a/+', '#', '$share/g/a/no', '$share/g/#']) {
      expect(five.subscribe(filter).granted, filter).toEqual([0x87]);
    }
    expect(five.subscribe('a/yes').granted).toEqual([0]);
    expect(host.connect({ clientId: 'c4' }).subscribe('a/no').granted).toEqual([0x80]);
  });

  test('a will is judged when it is published, not when it is given', () => {
    const host = new MqttHost();
    const subscriber = host.connect({ clientId: 's' });
    subscriber.subscribe('w/#');
    const wills = ['w/no', 'w/yes'].map((topic) =>
      host.connect({ clientId: topic, will: { topic, payload: topic, qos: 0, retain: false } }),
    );
    host.access.setRules([ruleOf({ permission: 'deny', actions: ['publish'], topics: ['w/no'] })]);
    for (const client of wills) client.connection.cut();
    host.settle();
    expect(subscriber.payloads()).toEqual(['w/yes']);
  });
});

describe('changes', () => {
  test('a subscription that is denied now ends; only an MQTT 5 client can be told', () => {
    const host = new MqttHost();
    const four = host.connect({ clientId: 'c4' });
    const five = host.connect({ clientId: 'c5', level: 5, properties: { sessionExpiryInterval: 100 }, clean: false });
    for (const client of [four, five]) {
      client.subscribe('a/#');
      client.subscribe('b/#');
    }
    host.access.setRules([deny('a/#')]);
    expect(five.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x87 }]);
    expect(four.connection.closed).toBe(false);
    host.access.setRules([]);
    const publisher = host.connect({ clientId: 'p' });
    publisher.publish('a/x', '1');
    publisher.publish('b/x', '2');
    expect(four.payloads()).toEqual(['2']);
  });

  test('what waits in a session goes with the subscription, and only that', () => {
    const host = new MqttHost();
    const session = { clientId: 'c', clean: false } as const;
    const client = host.connect(session);
    client.subscribe('a/#', { qos: 1 });
    client.subscribe('b/#', { qos: 1 });
    client.connection.cut();
    host.settle();
    const publisher = host.connect({ clientId: 'p' });
    publisher.publish('a/x', '1', { qos: 1, messageId: 1 });
    publisher.publish('b/x', '2', { qos: 1, messageId: 2 });
    host.access.setRules([deny('a/#')]);
    const again = host.connect(session);
    const waiting = (host.leftovers.get(again) ?? []).filter(({ cmd }) => cmd === 'publish');
    expect(waiting.map(({ payload }) => String(payload))).toEqual(['2']);
  });

  test('a session that another user comes back to has what that user may read', () => {
    const host = new MqttHost();
    host.access.setRules([ruleOf({ permission: 'deny', users: ['bob'], topics: ['a/#'] })]);
    const session = { clientId: 'c', clean: false } as const;
    const ann = host.connect({ ...session, username: 'ann' });
    ann.subscribe('a/#', { qos: 1 });
    ann.connection.cut();
    host.settle();
    host.connect({ clientId: 'p' }).publish('a/x', '1', { qos: 1, messageId: 1 });
    const bob = host.connect({ ...session, username: 'bob' });
    expect(host.leftovers.get(bob)).toEqual([]);
    host.connect({ clientId: 'p' }).publish('a/x', '2', { qos: 1, messageId: 1 });
    expect(bob.payloads()).toEqual([]);
  });

  test('clients of a user that is gone, or that is blocked, are cut', () => {
    const host = new MqttHost();
    const ann = host.connect({ clientId: 'c1', username: 'ann', level: 5 });
    const bob = host.connect({ clientId: 'c2', username: 'bob', level: 5 });
    host.access.change({ accounts: [{ tenant: 'default', user: 'ann', state: null }] });
    expect(ann.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x98 }]);
    expect(bob.connection.closed).toBe(false);
    host.access.change({
      blocksSet: [{ tenant: 'default', kind: 'client', value: 'c2', reason: '', untilMs: 0 }],
    });
    expect(bob.connection.closed).toBe(true);
    expect(host.tryConnect({ clientId: 'c2', level: 5 }).connack).toMatchObject({ reasonCode: 0x8a });
    expect(host.tryConnect({ clientId: 'c2' }).connack).toMatchObject({ returnCode: 5 });
  });

  test('a user that becomes a superuser, or stops to be one, is so at once', () => {
    const host = new MqttHost();
    host.access.setRules([ruleOf({ permission: 'deny', actions: ['publish'] })]);
    const client = host.connect({ clientId: 'c', username: 'ann', level: 5 });
    const publish = (): unknown => {
      client.publish('a', 'x', { qos: 1, messageId: 1 });
      return client.take()[0]?.reasonCode;
    };
    const state = { isEnabled: true, groups: [] };
    expect(publish()).toBe(0x87);
    host.access.change({ accounts: [{ tenant: 'default', user: 'ann', state: { ...state, isSuperuser: true } }] });
    expect(publish()).not.toBe(0x87);
    host.access.change({ accounts: [{ tenant: 'default', user: 'ann', state: { ...state, isSuperuser: false } }] });
    expect(publish()).toBe(0x87);
  });
});

describe('enhanced authentication', () => {
  const method = { authenticationMethod: 'SCRAM-SHA-256', authenticationData: Buffer.from('first') };

  /** A host whose main thread is the test. */
  function hostAndMain() {
    const host = new MqttHost({}, 1_048_576, () => null);
    const say = (step: object): void => {
      const login = host.access.posted.filter(({ type }) => type === 'login').at(-1) as { id: number };
      host.access.handle({ type: 'login-step', id: login.id, step } as never);
      host.settle();
    };
    return { host, say };
  }

  function accepted(user: string): object {
    const identity: Identity = { ...identityOf({} as never), tenant: 'default', clientId: 'c', address: '', user };
    return { type: 'accepted', identity, data: Buffer.from('last') };
  }

  test('AUTH goes to and fro before CONNACK, which has the last message', () => {
    const { host, say } = hostAndMain();
    const { client, connack } = host.tryConnect({ clientId: 'c', level: 5, properties: method });
    expect(connack).toBeUndefined();
    say({ type: 'continue', data: Buffer.from('challenge') });
    expect(client.take()).toMatchObject([
      {
        cmd: 'auth',
        reasonCode: 0x18,
        properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: Buffer.from('challenge') },
      },
    ]);
    client.send({ cmd: 'auth', reasonCode: 0x18, properties: { ...method, authenticationData: Buffer.from('proof') } });
    expect(host.access.posted.at(-1)).toMatchObject({ type: 'login-answer', data: Buffer.from('proof') });
    say(accepted('ann'));
    expect(client.take()).toMatchObject([
      {
        cmd: 'connack',
        reasonCode: 0,
        properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: Buffer.from('last') },
      },
    ]);
    client.subscribe('a');
    client.send({ cmd: 'auth', reasonCode: 0x19, properties: method });
    say(accepted('bob'));
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x87 }]);
  });

  test.each([
    ['a publication', { cmd: 'publish', topic: 'a', payload: 'x', qos: 0, retain: false, dup: false }],
    ['AUTH with another method', { cmd: 'auth', reasonCode: 0x18, properties: { authenticationMethod: 'PLAIN' } }],
    ['AUTH that begins again', { cmd: 'auth', reasonCode: 0x19, properties: method }],
  ])('%s between CONNECT and CONNACK ends the connection', (_, packet) => {
    const { host, say } = hostAndMain();
    const { client } = host.tryConnect({ clientId: 'c', level: 5, properties: method });
    say({ type: 'continue', data: Buffer.from('challenge') });
    client.send(packet);
    expect(client.connection.closed).toBe(true);
    expect(host.access.posted.at(-1)).toMatchObject({ type: 'login-cancel' });
  });

  test('AUTH of a client without a method is a protocol error', () => {
    const host = new MqttHost();
    const client = host.connect({ clientId: 'c', level: 5 });
    client.send({ cmd: 'auth', reasonCode: 0x19, properties: method });
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }]);
  });

  test.each([
    ['bad-credentials', 0x86, 4],
    ['not-authorized', 0x87, 5],
    ['too-many-attempts', 0x9f, 3],
    ['busy', 0x89, 3],
    ['unavailable', 0x88, 3],
  ])('%s is 0x%s, and %i before MQTT 5', (reason, reasonCode, returnCode) => {
    const { host, say } = hostAndMain();
    for (const level of [4, 5] as const) {
      const { client } = host.tryConnect({ clientId: `c${level}`, level, username: 'ann' });
      say({ type: 'refused', reason, message: 'because' });
      expect(client.take()).toMatchObject([{ cmd: 'connack', ...(level === 5 ? { reasonCode } : { returnCode }) }]);
      expect(client.connection.closed).toBe(true);
    }
  });
});
