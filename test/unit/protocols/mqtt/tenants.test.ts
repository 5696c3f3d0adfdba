/** Clients of several tenants on one worker, with the same topics and client ids: nothing crosses. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { filterError, matches, topicError } from '../../../../src/core/routing/topic.ts';
import { identityOf, ruleOf } from '../../../support/access.ts';
import { type AnyPacket, type ConnectOptions, MqttHost, type TestClient } from '../../../support/mqtt/mqtt-host.ts';

const settings = { tenants: { choice: true, open: ['acme', 'other', 'a/b', '+', '#', '$SYS'] } };

function hostOf(
  more: ConstructorParameters<typeof MqttHost>[0] = {},
  answer?: ConstructorParameters<typeof MqttHost>[2],
) {
  return new MqttHost({ ...settings, ...more }, 1_048_576, answer);
}

function connect(host: MqttHost, tenant: string | null, clientId: string, more: ConnectOptions = {}): TestClient {
  const { properties, ...others } = more;
  const own = tenant === null ? {} : { userProperties: { tenant } };
  return host.connect({ level: 5, clientId, properties: { ...own, ...properties }, ...others });
}

/** The same client in each of these; null is the default tenant. */
const everywhere = [null, 'acme', 'other', 'a/b', '+', '#', '$SYS'] as const;

function topicsOf(client: TestClient): string[] {
  return publishes(client).map(({ topic, payload }) => `${topic} ${payload}`);
}

function publishes(client: TestClient): AnyPacket[] {
  return client.take().filter(({ cmd }) => cmd === 'publish');
}

describe('publications', () => {
  it('reach the subscribers of their tenant alone, with the topic that was published', () => {
    const host = hostOf();
    const readers = everywhere.map((tenant) => connect(host, tenant, 'reader'));
    for (const reader of readers)
      for (const filter of ['#', '+/+', 'x/y', 'a/b/x/y']) reader.subscribe(filter, { qos: 1 });
    for (const tenant of everywhere) {
      connect(host, tenant, 'writer').publish('x/y', `of ${tenant}`, { qos: 1, messageId: 1 });
    }
    for (const [index, tenant] of everywhere.entries())
      expect(topicsOf(readers[index] as TestClient)).toEqual([`x/y of ${tenant}`]);
  });

  it.each([0, 1, 2])('do so with QoS %i, an alias and a repeated topic', (qos) => {
    const host = hostOf();
    const [own, foreign, plain] = ['acme', 'other', null].map((tenant) => {
      const client = connect(host, tenant, 'reader', { properties: { topicAliasMaximum: 8 } });
      client.subscribe('t/#', { qos });
      return client;
    }) as [TestClient, TestClient, TestClient];
    const writer = connect(host, 'acme', 'writer');
    const messageId = (id: number) => (qos === 0 ? {} : { messageId: id });
    for (const id of [1, 2, 3]) writer.publish('t/1', `${id}`, { qos, ...messageId(id) });
    writer.publish('t/2', '4', { qos, ...messageId(4), properties: { topicAlias: 3 } });
    writer.publish('', '5', { qos, ...messageId(5), properties: { topicAlias: 3 } });
    const received = publishes(own);
    expect(received.map(({ payload }) => String(payload))).toEqual(['1', '2', '3', '4', '5']);
    expect(received[0]?.topic).toBe('t/1');
    expect(JSON.stringify(received)).not.toContain('acme');
    expect([...foreign.take(), ...plain.take()]).toEqual([]);
  });

  it('are encoded anew without the tenant for clients of another version', () => {
    const host = hostOf();
    const old = host.connect({ level: 4, clientId: 'acme@old' });
    old.subscribe('t', { qos: 1 });
    connect(host, 'acme', 'writer').publish('t', 'x', { qos: 1, messageId: 1, properties: { topicAlias: 1 } });
    expect(topicsOf(old)).toEqual(['t x']);
  });

  it('to a topic that another tenant uses are not found by its inner name', () => {
    const host = hostOf();
    const reader = connect(host, 'acme', 'reader');
    reader.subscribe('#');
    connect(host, 'acme', 'writer').publish('x', '1');
    reader.take();
    for (const tenant of [null, 'other', 'acme']) {
      for (const topic of ['$\0acme/x', '\0acme\0x', '$\0acme\0/$x']) {
        const intruder = connect(host, tenant, 'intruder');
        intruder.publish(topic, 'crossed');
        expect(intruder.connection.closed).toBe(true);
      }
    }
    expect(reader.take()).toEqual([]);
  });

  it('below $ are refused in every tenant', () => {
    const host = hostOf();
    const reader = connect(host, 'acme', 'reader');
    reader.subscribe('$SYS/#');
    reader.subscribe('$x/#');
    for (const topic of ['$SYS/brokers', '$x/y']) {
      const writer = connect(host, 'acme', 'writer');
      writer.publish(topic, 'x', { qos: 1, messageId: 1 });
      expect(writer.take()).toMatchObject([{ cmd: 'puback', reasonCode: 0x87 }]);
    }
    expect(reader.take()).toEqual([]);
  });

  it('keep to the limits of topics without their tenant', () => {
    const host = hostOf({ topicLevelsMax: 2, topicBytesMax: 3 });
    const client = connect(host, 'acme', 'c');
    client.subscribe('a/b');
    client.publish('a/b', 'x');
    expect(topicsOf(client)).toEqual(['a/b x']);
    client.publish('a//', 'x', { qos: 1, messageId: 1 });
    expect(client.take()).toMatchObject([{ cmd: 'puback', reasonCode: 0x90 }]);
  });

  it('are refused where topic and tenant together are too long', () => {
    const host = hostOf();
    const client = connect(host, 'acme', 'c');
    expect(client.subscribe('x'.repeat(65_530))).toMatchObject({ granted: [0x8f] });
    client.publish('x'.repeat(65_530), 'x');
    expect(client.connection.closed).toBe(true);
  });
});

describe('any traffic of several tenants', () => {
  const hostile = fc
    .array(fc.constantFrom('a', 'b', '/', '+', '#', '$', '%2F', 'acme', '@', '\u0001'), { minLength: 1, maxLength: 5 })
    .map((parts) => parts.join(''));
  const place = fc.constantFrom(...everywhere);
  const subscription = fc.tuple(
    place,
    hostile.filter((filter) => filterError(filter) === undefined && filter[0] !== '$'),
  );
  const publication = fc.tuple(
    place,
    hostile.filter((topic) => topicError(topic) === undefined && topic[0] !== '$'),
  );

  it('goes where the definition of matching says within each tenant, live and retained', () => {
    const run = fc.property(
      fc.array(subscription, { maxLength: 6 }),
      fc.array(publication, { maxLength: 6 }),
      fc.array(subscription, { maxLength: 3 }),
      (early, published, late) => {
        const host = hostOf();
        const expected = ([tenant, filter]: [string | null, string]): string[] =>
          published.flatMap(([own, topic], index) =>
            own === tenant && matches(filter, topic) ? [`${topic} ${index}`] : [],
          );
        const subscribe = ([tenant, topic]: [string | null, string], index: number): TestClient => {
          const client = connect(host, tenant, `reader-${index}`);
          client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 0 }] });
          return client;
        };
        const readers = early.map(subscribe);
        for (const [index, [tenant, topic]] of published.entries())
          connect(host, tenant, 'writer').publish(topic, `${index}`, { retain: true });
        for (const [index, reader] of readers.entries())
          expect(topicsOf(reader)).toEqual(expected(early[index] as [string | null, string]));
        for (const [index, asked] of late.entries()) {
          // The last one of each topic.
          const kept = new Map(expected(asked).map((text) => [text.slice(0, text.lastIndexOf(' ')), text]));
          expect(topicsOf(subscribe(asked, 100 + index)).toSorted()).toEqual([...kept.values()].toSorted());
        }
      },
    );
    fc.assert(run, { numRuns: 60 });
  });
});

describe('retained messages', () => {
  it('are each of one tenant, to replace, to remove and to read', () => {
    const host = hostOf();
    for (const tenant of everywhere) connect(host, tenant, 'w').publish('r/1', `of ${tenant}`, { retain: true });
    for (const tenant of everywhere) {
      const reader = connect(host, tenant, 'r1');
      reader.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos: 0 }] });
      expect(topicsOf(reader)).toEqual([`r/1 of ${tenant}`]);
    }
    connect(host, 'acme', 'w').publish('r/1', '', { retain: true });
    const counts = everywhere.map((tenant) => {
      const reader = connect(host, tenant, 'r2');
      reader.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'r/+', qos: 0 }] });
      return publishes(reader).length;
    });
    expect(counts).toEqual(everywhere.map((tenant) => (tenant === 'acme' ? 0 : 1)));
  });
});

describe('sessions', () => {
  it('of one client id in two tenants are two, neither takes the other over', () => {
    const host = hostOf();
    const lasting = { clean: false, properties: { sessionExpiryInterval: 600 } };
    const clients = everywhere.map((tenant) => connect(host, tenant, 'c', lasting));
    for (const client of clients) {
      expect(client.connection.closed).toBe(false);
      client.subscribe('q', { qos: 1 });
    }
    for (const client of clients) client.connection.cut();
    for (const tenant of everywhere) connect(host, tenant, 'w').publish('q', `of ${tenant}`, { qos: 1, messageId: 1 });
    for (const tenant of everywhere) {
      const { client, connack } = host.tryConnect({
        ...{ level: 5, clientId: 'c', clean: false },
        properties: { sessionExpiryInterval: 600, ...(tenant !== null && { userProperties: { tenant } }) },
      });
      expect(connack).toMatchObject({ reasonCode: 0, sessionPresent: true });
      const waiting = [...(host.leftovers.get(client) ?? []), ...client.take()];
      expect(waiting.map(({ topic, payload }) => `${topic} ${payload}`)).toEqual([`q of ${tenant}`]);
    }
  });

  it('publish wills in their tenant, by the rules of it', () => {
    const host = hostOf();
    const readers = everywhere.map((tenant) => connect(host, tenant, 'reader'));
    for (const reader of readers) reader.subscribe('#');
    for (const tenant of everywhere) {
      const will = { topic: 'gone', payload: Buffer.from(`of ${tenant}`), qos: 0, retain: true };
      connect(host, tenant, 'c', { will }).connection.cut();
    }
    for (const [index, tenant] of everywhere.entries())
      expect(topicsOf(readers[index] as TestClient)).toEqual([`gone of ${tenant}`]);
    const late = connect(host, 'acme', 'late');
    late.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'gone', qos: 0 }] });
    expect(topicsOf(late)).toEqual(['gone of acme']);
  });

  it('are given ids and response topics without the tenant', () => {
    const host = hostOf();
    const { connack } = host.tryConnect({
      ...{ level: 5, clientId: '' },
      properties: { requestResponseInformation: true, userProperties: { tenant: 'acme' } },
    });
    const { assignedClientIdentifier: id, responseInformation } = (connack?.properties ?? {}) as Record<string, string>;
    expect(id).toMatch(/^auto-[0-9a-f-]+$/);
    expect(responseInformation).toBe(`response/${id}`);
  });

  it('end subscriptions that rules of their tenant deny, and no others', () => {
    const host = hostOf();
    const [own, foreign] = ['acme', 'other'].map((tenant) => connect(host, tenant, 'c')) as [TestClient, TestClient];
    for (const client of [own, foreign]) client.subscribe('secret/1');
    host.access.setRules([ruleOf({ tenant: 'acme', permission: 'deny', topics: ['secret/#'] })]);
    expect(own.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x87 }]);
    connect(host, 'other', 'w').publish('secret/1', 'still');
    expect(topicsOf(foreign)).toEqual(['secret/1 still']);
    const writer = connect(host, 'acme', 'w');
    writer.publish('secret/1', 'x', { qos: 1, messageId: 1 });
    expect(writer.take()).toMatchObject([{ cmd: 'puback', reasonCode: 0x87 }]);
    expect(host.logged.join('\n')).toContain('secret/1');
    expect(host.logged.join('\n')).not.toContain('u0000');
  });
});

describe('subscriptions', () => {
  it('end by the name that was subscribed to', () => {
    const host = hostOf();
    const client = connect(host, 'acme', 'c');
    for (const filter of ['a', '$share/g/a', '$exclusive/a', '$queue/a']) client.subscribe(filter);
    client.send({
      cmd: 'unsubscribe',
      messageId: 2,
      unsubscriptions: ['a', '$share/g/a', '$exclusive/a', '$queue/a', 'b', '#/'],
    });
    expect(client.take()).toMatchObject([{ cmd: 'unsuback', granted: [0, 0, 0, 0, 0x11, 0x8f] }]);
    connect(host, 'acme', 'w').publish('a', 'x');
    expect(client.take()).toEqual([]);
  });

  it('to the inner names of another tenant are refused', () => {
    const host = hostOf();
    const intruder = connect(host, null, 'intruder');
    for (const filter of ['$\0acme/#', '$share/g/$\0acme/#', '$exclusive/$\0acme/x']) {
      expect(() => intruder.subscribe(filter)).toThrow();
    }
    expect(intruder.connection.closed).toBe(true);
    const inside = connect(host, 'other', 'inside');
    expect(inside.subscribe('$\u0001acme/#')).toMatchObject({ granted: [0] });
    connect(host, 'acme', 'w').publish('x', 'x');
    expect(inside.take()).toEqual([]);
  });

  it('are shared among the members of one tenant', () => {
    const host = hostOf();
    const members = everywhere.map((tenant) => connect(host, tenant, 'm'));
    for (const member of members) member.subscribe('$share/g/s/#', { qos: 1 });
    const writer = connect(host, 'acme', 'w');
    for (let id = 1; id <= 4; id++) writer.publish('s/1', `${id}`, { qos: 1, messageId: id });
    const counts = members.map((member) => publishes(member).length);
    expect(counts).toEqual(everywhere.map((tenant) => (tenant === 'acme' ? 4 : 0)));
  });

  it('pass what a member of a group leaves behind on to one of its tenant', () => {
    const host = hostOf();
    const first = connect(host, 'acme', 'first', { properties: { sessionExpiryInterval: 60 } });
    first.subscribe('$share/g/s', { qos: 1 });
    connect(host, 'acme', 'w').publish('s', 'passed on', { qos: 1, messageId: 1 });
    const second = connect(host, 'acme', 'second');
    second.subscribe('$share/g/s', { qos: 1 });
    const foreign = connect(host, 'other', 'second');
    foreign.subscribe('$share/g/s', { qos: 1 });
    first.connection.cut();
    host.settle();
    expect(topicsOf(second)).toEqual(['s passed on']);
    expect(foreign.take()).toEqual([]);
  });

  it('are exclusive within one tenant', () => {
    const host = hostOf();
    for (const tenant of everywhere) {
      expect(connect(host, tenant, 'c').subscribe('$exclusive/e')).toMatchObject({ granted: [0] });
      expect(connect(host, tenant, 'd').subscribe('$exclusive/e')).toMatchObject({ granted: [0x97] });
    }
  });

  it('to streams are for the default tenant', () => {
    const host = hostOf();
    expect(connect(host, 'acme', 'c').subscribe('$stream/s')).toMatchObject({ granted: [0x8f] });
  });

  it('count for their own session, however often they are made', () => {
    const host = hostOf({ subscriptionsMax: 1 });
    const client = connect(host, 'acme', 'c');
    expect(client.subscribe('a')).toMatchObject({ granted: [0] });
    expect(client.subscribe('a', { qos: 1 })).toMatchObject({ granted: [1] });
    expect(client.subscribe('b')).toMatchObject({ granted: [0x97] });
  });
});

describe('rules of the settings', () => {
  const rewrite = { action: 'all', source: 'old/#', pattern: '^old/(.*)$', target: 'new/$1' } as const;

  it('rename the topics of the tenants that they name', () => {
    const host = hostOf({ topicRewrite: [{ ...rewrite, tenants: ['acme'] }] });
    const readers = ['acme', 'other', null].map((tenant) => {
      const reader = connect(host, tenant, 'r');
      reader.subscribe('#');
      connect(host, tenant, 'w').publish('old/1', 'x');
      return topicsOf(reader);
    });
    expect(readers).toEqual([['new/1 x'], ['old/1 x'], ['old/1 x']]);
  });

  it('do not rename a topic into one of the broker', () => {
    const host = hostOf({ topicRewrite: [{ ...rewrite, target: '$SYS/$1' }] });
    const reader = connect(host, 'acme', 'r');
    reader.subscribe('$SYS/#');
    const writer = connect(host, 'acme', 'w');
    writer.publish('old/1', 'x', { qos: 1, messageId: 1 });
    expect(writer.take()).toMatchObject([{ cmd: 'puback', reasonCode: 0x87 }]);
    expect(reader.take()).toEqual([]);
  });

  it('subscribe the clients of the tenants that they name', () => {
    const rule = { filter: `auto/\${clientid}`, qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 };
    const host = hostOf({ autoSubscribe: [{ ...rule, tenants: ['acme'] }] });
    const clients = ['acme', 'other'].map((tenant) => connect(host, tenant, 'c'));
    for (const tenant of [null, 'acme', 'other']) connect(host, tenant, 'w').publish('auto/c', `of ${tenant}`);
    expect(clients.map((client) => topicsOf(client))).toEqual([['auto/c of acme'], []]);
  });
});

describe('events', () => {
  it('tell each tenant of its own clients, by the names that they have there', async () => {
    const host = hostOf();
    const readers = [null, 'acme', 'other'].map((tenant) => connect(host, tenant, 'reader'));
    for (const reader of readers) reader.subscribe('$SYS/#');
    await new Promise((resolve) => setImmediate(resolve));
    host.settle();
    for (const reader of readers) reader.take();
    const client = connect(host, 'acme', 'c');
    client.subscribe('$share/g/t');
    client.connection.cut();
    await new Promise((resolve) => setImmediate(resolve));
    host.settle();
    const seen = readers.map((reader) => publishes(reader).map(({ topic, payload }) => [topic, String(payload)]));
    const [ofDefault, ofAcme, ofOther] = seen as [string[][], string[][], string[][]];
    expect(ofAcme.map(([topic]) => topic)).toEqual(
      ['connected', 'session_created', 'subscribed', 'disconnected'].map(
        (name) => `$SYS/brokers/test/clients/c/${name}`,
      ),
    );
    expect(JSON.parse(ofAcme[2]?.[1] ?? '')).toMatchObject({ clientid: 'c', topic: '$share/g/t' });
    for (const other of [ofDefault, ofOther])
      expect(other.filter(([topic]) => topic?.includes('/clients/c/'))).toEqual([]);
  });

  it('are not made for the subscriptions of tenants to other topics', () => {
    const host = hostOf();
    connect(host, 'acme', 'c').subscribe('#');
    expect(host.router.hasHiddenSubscribers).toBe(false);
    connect(host, 'acme', 'd').subscribe('$SYS/#');
    expect(host.router.hasHiddenSubscribers).toBe(true);
  });
});

describe('a tenant that was chosen', () => {
  it('is refused to a client without an account of it', () => {
    const host = hostOf();
    for (const tenant of ['closed', 'acme/', '', 'x'.repeat(256)]) {
      const { connack } = host.tryConnect({ level: 5, clientId: 'c', properties: { userProperties: { tenant } } });
      expect(connack).toMatchObject({ reasonCode: 0x87 });
    }
    const { connack } = host.tryConnect({ level: 4, clientId: 'closed@c' });
    expect(connack).toMatchObject({ returnCode: 5 });
  });

  it('is the one in which the account is looked for', () => {
    const asked: string[] = [];
    const host = hostOf({}, (request) => {
      asked.push(`${request.tenant} ${request.user} ${request.needsAccount}`);
      return { type: 'accepted', identity: identityOf(request), data: null };
    });
    const reader = host.connect({ level: 4, clientId: 'r', username: 'closed@ann' });
    reader.subscribe('#');
    host.connect({ level: 4, clientId: 'w', username: 'ann' }).publish('x', 'of default');
    host.connect({ level: 4, clientId: 'w', username: 'closed@bob' }).publish('x', 'of closed');
    expect(asked).toEqual(['closed ann true', 'default ann false', 'closed bob true']);
    expect(topicsOf(reader)).toEqual(['x of closed']);
  });

  it('is left when the account goes, also by who has a certificate', () => {
    const host = hostOf({}, (request) => ({
      type: 'accepted',
      identity: {
        ...identityOf(request),
        mechanism: 'certificate',
        ...(request.needsAccount && { needsAccount: true }),
      },
      data: null,
    }));
    const [chosen, open] = ['closed@ann', 'acme@ann'].map((username, index) =>
      host.connect({ level: 5, clientId: `${index}`, username }),
    ) as [TestClient, TestClient];
    host.access.change({ accounts: ['closed', 'acme'].map((tenant) => ({ tenant, user: 'ann', state: null })) });
    expect(chosen.connection.closed).toBe(true);
    expect(open.connection.closed).toBe(false);
  });

  it('is not looked for while the settings do not let clients choose', () => {
    const host = new MqttHost();
    const reader = host.connect({ level: 5, clientId: 'r', properties: { userProperties: { tenant: 'acme' } } });
    reader.subscribe('#');
    host.connect({ clientId: 'acme@w' }).publish('x', '1');
    expect(topicsOf(reader)).toEqual(['x 1']);
  });
});
