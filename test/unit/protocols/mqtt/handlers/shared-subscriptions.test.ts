/** Shared subscriptions of MQTT clients: who gets what, and who gets what another one could not finish. */
import { describe, expect, it } from 'vitest';
import { MqttHost, type TestClient } from '../../../../support/mqtt/mqtt-host.ts';

const path = '$share/g/jobs';

function member(
  host: MqttHost,
  clientId: string,
  more: { expiryS?: number; qos?: number; filter?: string } = {},
): TestClient {
  const { expiryS = 0, qos = 1, filter = path } = more;
  const client = host.connect({ clientId, level: 5, clean: false, properties: { sessionExpiryInterval: expiryS } });
  client.subscribe(filter, { qos });
  return client;
}

function publish(client: TestClient, count: number, qos: number, from = 0): void {
  for (let at = from; at < from + count; at++) {
    client.publish('jobs', `${at}`, qos === 0 ? {} : { qos, messageId: at + 1 });
  }
  client.take();
}

const numbers = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, at) => `${from + at}`);

describe('$queue/', () => {
  it('is one group of its own for each filter', () => {
    const host = new MqttHost();
    const members = [member(host, 'a', { filter: '$queue/jobs' }), member(host, 'b', { filter: '$queue/jobs' })];
    const shared = member(host, 'c', { filter: '$share/queue/jobs' });
    publish(host.connect({ clientId: 'p' }), 10, 0);
    expect(members.map((client) => client.payloads().length)).toEqual([5, 5]);
    expect(shared.payloads().length).toBe(10);
    members[0].send({ cmd: 'unsubscribe', messageId: 7, unsubscriptions: ['$queue/jobs'] });
    expect(members[0].take()).toMatchObject([{ cmd: 'unsuback', granted: [0] }]);
  });

  it('with "no local" is refused, which has no meaning there', () => {
    const client = new MqttHost().connect({ clientId: 'a', level: 5 });
    expect(client.subscribe('$queue/jobs', { nl: true }).granted).toEqual([0x83]);
  });
});

describe('mqtt.sharedGroups', () => {
  it('gives groups their strategy, others have that of mqtt.sharedStrategy', () => {
    const host = new MqttHost({
      sharedStrategy: 'sticky',
      sharedGroups: [
        { group: 'turn', strategy: 'round-robin' },
        { group: '$queue', strategy: 'hash-topic' },
      ],
    });
    const counts = (filter: string): number[] => {
      const clients = ['a', 'b', 'c'].map((id) => member(host, id + filter, { filter }));
      publish(host.connect({ clientId: `p${filter}` }), 30, 0);
      return clients.map((client) => client.payloads().length).sort((one, other) => one - other);
    };
    expect(counts('$share/turn/jobs')).toEqual([10, 10, 10]);
    expect(counts('$share/other/jobs')).toEqual([0, 0, 30]);
    expect(counts('$queue/jobs')).toEqual([0, 0, 30]);
  });

  it('ordered-by-key keeps the publications of a key together, whoever publishes them', () => {
    const host = new MqttHost({ sharedStrategy: 'ordered-by-key', sharedKeyProperty: 'device' });
    const clients = ['a', 'b', 'c'].map((id) => member(host, id, { filter: '$share/g/#', qos: 0 }));
    const publishers = ['p', 'q'].map((clientId) => host.connect({ clientId, level: 5 }));
    for (let at = 0; at < 200; at++) {
      const userProperties = { other: 'x', device: `d${at % 20}` };
      publishers[at % 2].publish(`t/${at}`, `${at % 20}:${at}`, { properties: { userProperties } });
    }
    const got = clients.map((client) => client.payloads());
    const keysOf = (payloads: string[]): Set<string> => new Set(payloads.map((payload) => payload.split(':', 1)[0]));
    const keys = got.map(keysOf);
    expect(keys.reduce((sum, { size }) => sum + size, 0)).toBe(20);
    expect(got.flat().length).toBe(200);
    for (const payloads of got) {
      const at = payloads.map((payload) => Number(payload.split(':')[1]));
      expect(at).toEqual([...at].sort((one, other) => one - other));
    }
    expect(keys.filter(({ size }) => size > 0).length).toBeGreaterThan(1);
    // Without the property, and before MQTT 5, the topic is the key.
    const old = host.connect({ clientId: 'old' });
    for (let at = 0; at < 10; at++) old.publish('same', `${at}`);
    expect(clients.map((client) => client.payloads().length).sort()).toEqual([0, 0, 10]);
  });

  it('hash-client-id keeps to a member for each publisher', () => {
    const host = new MqttHost({ sharedStrategy: 'hash-client-id' });
    const clients = Array.from({ length: 4 }, (_, at) => member(host, `m${at}`, { filter: '$share/g/#', qos: 0 }));
    const seen = new Set<string>();
    for (let at = 0; at < 20; at++) {
      const publisher = host.connect({ clientId: `p${at}` });
      for (let topic = 0; topic < 5; topic++) publisher.publish(`t/${topic}`, 'x');
      const counts = clients.map((client) => client.payloads().length);
      expect([...counts].sort()).toEqual([0, 0, 0, 5]);
      seen.add(`${counts.indexOf(5)}`);
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  it('least-inflight spares a member that does not acknowledge', () => {
    const host = new MqttHost({ sharedStrategy: 'least-inflight' });
    const [slow, fast] = [member(host, 'slow'), member(host, 'fast')];
    const publisher = host.connect({ clientId: 'p' });
    let fastCount = 0;
    for (let at = 0; at < 20; at++) {
      publish(publisher, 1, 1, at);
      for (const { messageId } of fast.take()) {
        fastCount++;
        fast.send({ cmd: 'puback', messageId });
      }
    }
    expect(slow.payloads().length).toBe(1);
    expect(fastCount).toBe(19);
  });
});

describe('a member that leaves', () => {
  it('for good leaves what it did not acknowledge to others, QoS 1 in flight and all that waits', () => {
    const host = new MqttHost({ inflightMax: 2 });
    const leaver = member(host, 'leaver');
    publish(host.connect({ clientId: 'p' }), 5, 1);
    expect(leaver.payloads()).toEqual(['0', '1']);
    const other = member(host, 'other');
    leaver.connection.cut();
    host.settle();
    expect(other.take().map(({ payload, dup, messageId }) => ({ text: String(payload), dup, messageId }))).toEqual([
      { text: '0', dup: false, messageId: 1 },
      { text: '1', dup: false, messageId: 2 },
    ]);
    other.send({ cmd: 'puback', messageId: 1 }, { cmd: 'puback', messageId: 2 });
    expect(other.payloads()).toEqual(['2', '3']);
  });

  it('keeps QoS 2 that it was sent to itself: it ends with the session', () => {
    const host = new MqttHost();
    const leaver = member(host, 'leaver', { qos: 2, expiryS: 60 });
    publish(host.connect({ clientId: 'p' }), 2, 2);
    const [first] = leaver.take();
    leaver.send({ cmd: 'pubrec', messageId: first.messageId });
    const other = member(host, 'other', { qos: 2 });
    leaver.connection.cut();
    host.settle();
    expect(other.payloads()).toEqual([]);
    const { client: back } = host.tryConnect({ clientId: 'leaver', level: 5, clean: false });
    const resent = host.leftovers.get(back) ?? [];
    expect(resent.map(({ cmd, dup }) => [cmd, dup])).toEqual([
      ['pubrel', false],
      ['publish', true],
    ]);
    back.connection.cut();
    host.pass(61_000);
    expect(other.payloads()).toEqual([]);
  });

  it('for a while passes on what others can take, and keeps it where nobody is', () => {
    const host = new MqttHost();
    const [one, two] = [member(host, 'one', { expiryS: 60 }), member(host, 'two', { expiryS: 60 })];
    const publisher = host.connect({ clientId: 'p' });
    publish(publisher, 4, 1);
    expect([one.payloads(), two.payloads()]).toEqual([
      ['0', '2'],
      ['1', '3'],
    ]);
    one.connection.cut();
    host.settle();
    expect(two.payloads()).toEqual(['0', '2']);
    two.connection.cut();
    host.settle();
    publish(publisher, 2, 1, 4);
    const found = ['one', 'two'].flatMap((clientId) => {
      const { client } = host.tryConnect({
        clientId,
        level: 5,
        clean: false,
        properties: { sessionExpiryInterval: 60 },
      });
      return (host.leftovers.get(client) ?? []).map(({ payload }) => String(payload));
    });
    expect(found.sort()).toEqual(numbers(0, 6));
  });

  it('passes messages on with the time that is left to them, and none whose time is over', () => {
    const host = new MqttHost();
    const leaver = member(host, 'leaver');
    const publisher = host.connect({ clientId: 'p', level: 5 });
    const now = Date.now;
    const start = now();
    try {
      Date.now = () => start;
      publisher.publish('jobs', 'short', { qos: 1, messageId: 1, properties: { messageExpiryInterval: 5 } });
      publisher.publish('jobs', 'long', { qos: 1, messageId: 2, properties: { messageExpiryInterval: 100 } });
      const other = member(host, 'other');
      Date.now = () => start + 10_000;
      leaver.connection.cut();
      host.settle();
      expect(other.take()).toMatchObject([{ properties: { messageExpiryInterval: 90 } }]);
    } finally {
      Date.now = now;
    }
  });

  it('passes nothing on when the broker goes down', () => {
    const host = new MqttHost();
    const [one, two] = [member(host, 'one'), member(host, 'two')];
    publish(host.connect({ clientId: 'p' }), 2, 1);
    two.take();
    one.take();
    host.worker.drain();
    expect(two.take().map(({ cmd }) => cmd)).toEqual(['disconnect']);
  });
});
