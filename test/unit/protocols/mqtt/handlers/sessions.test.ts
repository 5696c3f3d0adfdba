/** Sessions and what ends them: subscriptions, retained messages, wills, expiry, keep-alive, take-over, on one worker. */
import { describe, expect, it } from 'vitest';
import { type ConnectOptions, MqttHost, type TestClient } from '../../../../support/mqtt/mqtt-host.ts';

const will = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  topic: 'will',
  payload: Buffer.from('gone'),
  qos: 1,
  retain: false,
  ...more,
});

function withReader(options: Partial<ConstructorParameters<typeof MqttHost>[0]> = {}): {
  host: MqttHost;
  reader: TestClient;
} {
  const host = new MqttHost(options);
  const reader = host.connect({ clientId: 'reader' });
  reader.subscribe('will', { qos: 0 });
  return { host, reader };
}

const five = (clientId: string, sessionExpiryInterval: number, more: Partial<ConnectOptions> = {}): ConnectOptions => ({
  level: 5,
  clientId,
  clean: false,
  ...more,
  properties: { ...more.properties, sessionExpiryInterval },
});

describe('SUBSCRIBE', () => {
  it('answers for each filter, and refuses what is not allowed', () => {
    const host = new MqttHost({ subscribeDenied: ['#'], subscriptionsMax: 3 });
    const client = host.connect({ level: 5, clientId: 'client' });
    const filters = [
      'a',
      '#',
      'a/#/b',
      '$share//x',
      '$share/g/',
      '$share/g+/x',
      '$share/g',
      '$share/g/x',
      'b',
      'a',
      'c',
    ];
    client.send({ cmd: 'subscribe', messageId: 5, subscriptions: filters.map((topic) => ({ topic, qos: 1 })) });
    expect(client.take()).toMatchObject([
      { messageId: 5, granted: [1, 0x80, 0x8f, 0x8f, 0x8f, 0x8f, 0x8f, 1, 1, 1, 0x97] },
    ]);
    expect(host.gauge('ringmq_mqtt_subscriptions')).toBe(3);
    client.send({ cmd: 'unsubscribe', messageId: 6, unsubscriptions: ['a', 'a', '$share/g/x', 'b/#/c'] });
    expect(client.take()).toMatchObject([{ messageId: 6, granted: [0, 0x11, 0, 0x8f] }]);
    expect(host.gauge('ringmq_mqtt_subscriptions')).toBe(1);
  });

  it('of MQTT 3.1.1 is refused with 0x80', () => {
    const client = new MqttHost({ subscribeDenied: ['#'] }).connect({ clientId: 'client' });
    client.send({
      cmd: 'subscribe',
      messageId: 5,
      subscriptions: [
        { topic: '#', qos: 2 },
        { topic: 'a/#/b', qos: 0 },
        { topic: 'x', qos: 2 },
      ],
    });
    expect(client.take()).toMatchObject([{ granted: [0x80, 0x80, 2] }]);
  });

  it('sends retained messages behind the answer, as Retain Handling says', () => {
    const host = new MqttHost();
    const publisher = host.connect({ level: 5, clientId: 'publisher' });
    for (const [index, topic] of ['r/0', 'r/1', 'r/2', 'other'].entries()) {
      publisher.publish(topic, topic, {
        qos: Math.min(index, 2),
        retain: true,
        messageId: index + 1,
        properties: { contentType: 'kept' },
      });
    }
    const client = host.connect({ level: 5, clientId: 'client' });
    const subscribe = (rh: number, topic = 'r/+'): unknown[] => {
      client.send({
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: [{ topic, qos: 1, rh }],
        properties: { subscriptionIdentifier: 3 },
      });
      const [suback, ...retained] = client.take();
      expect(suback.cmd).toBe('suback');
      return retained
        .map(({ topic: each, qos, retain, payload, properties }) => [each, qos, retain, String(payload), properties])
        .sort();
    };
    const properties = { contentType: 'kept', subscriptionIdentifier: 3 };
    const all = [
      ['r/0', 0, true, 'r/0', properties],
      ['r/1', 1, true, 'r/1', properties],
      ['r/2', 1, true, 'r/2', properties],
    ];
    expect(JSON.parse(JSON.stringify(subscribe(0)))).toEqual(all);
    expect(subscribe(1).length).toBe(0);
    expect(subscribe(2).length).toBe(0);
    expect(subscribe(0).length).toBe(3);
    expect(subscribe(1, 'r/#').length).toBe(3);
    expect(subscribe(0, '$share/g/r/#').length).toBe(0);
    publisher.publish('r/0', '', { retain: true });
    // Once for the subscription of its own and once as the group's only member.
    expect(client.take().map(({ retain }) => retain)).toEqual([false, false]);
    expect(subscribe(0).length).toBe(2);
  });

  it('again replaces the options', () => {
    const host = new MqttHost();
    const client = host.connect({ level: 5, clientId: 'client' });
    const publisher = host.connect({ clientId: 'publisher' });
    client.subscribe('a/+', { qos: 2 });
    client.subscribe('a/+', { qos: 0 });
    publisher.publish('a/b', 'x', { qos: 2, messageId: 1 });
    expect(client.take()).toMatchObject([{ qos: 0 }]);
    client.subscribe('$share/g/a/+', { qos: 0 });
    client.subscribe('$share/g/a/+', { qos: 1 });
    publisher.publish('a/c', 'x', { qos: 2, messageId: 2 });
    expect(
      client
        .take()
        .map(({ qos }) => qos)
        .sort(),
    ).toEqual([0, 1]);
  });
});

describe('a will', () => {
  it('is sent when the connection is lost, and not after a goodbye', () => {
    const { host, reader } = withReader();
    host.connect({ clientId: 'lost', will: will() }).connection.cut();
    expect(reader.payloads()).toEqual(['gone']);
    host.connect({ clientId: 'left', will: will() }).send({ cmd: 'disconnect' });
    expect(reader.payloads()).toEqual([]);
    host.connect({ level: 5, clientId: 'asked', will: will() }).send({ cmd: 'disconnect', reasonCode: 4 });
    expect(reader.payloads()).toEqual(['gone']);
    host.connect({ clientId: 'wrong', will: will() }).sendBytes(Buffer.from([0, 0]));
    expect(reader.payloads()).toEqual(['gone']);
  });

  it('is retained when it says so, and an empty one removes what was retained', () => {
    const { host, reader } = withReader();
    host.connect({ clientId: 'one', will: will({ retain: true }) }).connection.cut();
    reader.take();
    const late = host.connect({ clientId: 'late' });
    late.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'will', qos: 1 }] });
    expect(late.take()).toMatchObject([{ cmd: 'suback' }, { cmd: 'publish', retain: true, qos: 1 }]);
    host.connect({ clientId: 'two', will: will({ retain: true, payload: Buffer.alloc(0) }) }).connection.cut();
    const later = host.connect({ clientId: 'later' });
    later.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'will', qos: 1 }] });
    expect(later.take().length).toBe(1);
  });

  it('keeps its properties', () => {
    const host = new MqttHost();
    const reader = host.connect({ level: 5, clientId: 'reader' });
    reader.subscribe('will');
    const properties = { contentType: 'text', userProperties: { key: 'value' }, messageExpiryInterval: 50 };
    host.connect({ level: 5, clientId: 'lost', will: will({ properties }) }).connection.cut();
    const [packet] = reader.take();
    expect(JSON.parse(JSON.stringify(packet.properties))).toEqual(properties);
  });

  it('is sent by the earlier of its delay and the end of the session', () => {
    for (const [delay, expiry, dueS] of [
      [10, 100, 10],
      [100, 10, 10],
      [10, 0, 0],
      [0, 100, 0],
    ] as const) {
      const { host, reader } = withReader();
      host.connect(five('lost', expiry, { will: will({ properties: { willDelayInterval: delay } }) })).connection.cut();
      if (dueS > 0) {
        host.pass((dueS - 1) * 1_000);
        expect(reader.payloads()).toEqual([]);
        host.pass(1_500);
      }
      expect(reader.payloads()).toEqual(['gone']);
      host.pass(200_000);
      expect(reader.payloads()).toEqual([]);
    }
  });

  it('is not sent when the client is back before its delay is over', () => {
    const { host, reader } = withReader();
    host.connect(five('back', 100, { will: will({ properties: { willDelayInterval: 10 } }) })).connection.cut();
    host.pass(5_000);
    host.connect(five('back', 100));
    host.pass(50_000);
    expect(reader.payloads()).toEqual([]);
  });

  it('is sent when the client comes back with a clean start, since the session ends', () => {
    const { host, reader } = withReader();
    host.connect(five('back', 100, { will: will({ properties: { willDelayInterval: 10 } }) })).connection.cut();
    host.connect(five('back', 100, { clean: true }));
    expect(reader.payloads()).toEqual(['gone']);
  });

  it('is not sent when the broker goes down', () => {
    const { host, reader } = withReader();
    const client = host.connect({ level: 5, clientId: 'client', will: will() });
    host.worker.drain();
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8b }]);
    expect(client.connection.closeReason).toBe('shutdown');
    expect(reader.payloads()).toEqual([]);
    expect(host.tryConnect({ clientId: 'new' }).connack).toMatchObject({ returnCode: 3 });
  });
});

describe('a session', () => {
  it('ends with its connection when it does not expire later, and gives everything back', () => {
    const host = new MqttHost();
    const client = host.connect({ clientId: 'client' });
    client.subscribe('a/#');
    client.subscribe('$share/g/b');
    client.connection.cut();
    expect(host.gauge('ringmq_mqtt_sessions')).toBe(0);
    expect(host.gauge('ringmq_mqtt_subscriptions')).toBe(0);
    expect(host.router.subscriptionCount).toBe(0);
    expect(host.router.groups.groupCount).toBe(0);
    expect(host.tryConnect({ clientId: 'client', clean: false }).connack?.sessionPresent).toBe(false);
  });

  it('goes on until it expires', () => {
    const host = new MqttHost();
    const first = host.connect(five('client', 10));
    first.subscribe('a', { qos: 1 });
    first.connection.cut();
    host.pass(9_000);
    const { client: second, connack } = host.tryConnect(five('client', 10));
    expect(connack?.sessionPresent).toBe(true);
    host.pass(60_000); // It does not expire while the client is there.
    host.connect({ clientId: 'publisher' }).publish('a', 'x', { qos: 1, messageId: 1 });
    expect(second.payloads()).toEqual(['x']);
    second.connection.cut();
    host.pass(11_000);
    expect(host.gauge('ringmq_mqtt_subscriptions')).toBe(0);
    expect(host.tryConnect(five('client', 10)).connack?.sessionPresent).toBe(false);
  });

  it('of MQTT 3 is kept for the configured time', () => {
    const host = new MqttHost({ sessionExpiryMaxS: 20 });
    host.connect({ clientId: 'client', clean: false }).send({ cmd: 'disconnect' });
    host.pass(19_000);
    expect(host.gauge('ringmq_mqtt_sessions')).toBe(1);
    host.pass(2_000);
    expect(host.gauge('ringmq_mqtt_sessions')).toBe(0);
  });

  it('takes another expiry from DISCONNECT, but none when it had none', () => {
    const host = new MqttHost();
    host
      .connect(five('shorter', 1_000))
      .send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 5 } });
    host.pass(6_000);
    expect(host.gauge('ringmq_mqtt_sessions')).toBe(0);
    const client = host.connect(five('none', 0));
    client.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 5 } });
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }]);
  });

  it('that never expires stays', () => {
    const host = new MqttHost({ sessionExpiryMaxS: 0xffffffff });
    host.connect(five('client', 0xffffffff)).connection.cut();
    host.pass(100_000_000);
    expect(host.gauge('ringmq_mqtt_sessions')).toBe(1);
  });

  it('is limited in time by the broker, which says so', () => {
    const host = new MqttHost({ sessionExpiryMaxS: 60, keepAliveMaxS: 30 });
    const { connack } = host.tryConnect(five('client', 1_000));
    expect(connack?.properties).toMatchObject({
      sessionExpiryInterval: 60,
      serverKeepAlive: 30,
      receiveMaximum: 1_024,
    });
  });

  it('of names that are keys of every object is one like any other', () => {
    const host = new MqttHost();
    for (const clientId of ['__proto__', 'constructor', 'toString']) {
      expect(host.tryConnect({ clientId, clean: false }).connack?.sessionPresent).toBe(false);
      expect(host.tryConnect({ clientId, clean: false }).connack?.sessionPresent).toBe(true);
    }
  });
});

describe('keep-alive', () => {
  it('ends a connection that was silent for one and a half times of it', () => {
    const { host, reader } = withReader();
    const client = host.connect({ level: 5, clientId: 'silent', keepalive: 10, will: will() });
    host.pass(14_000);
    client.send({ cmd: 'pingreq' });
    host.pass(14_000);
    expect(client.connection.closed).toBe(false);
    host.pass(1_500);
    expect(client.connection.closeReason).toBe('keep-alive');
    expect(client.take()).toMatchObject([{ cmd: 'pingresp' }, { cmd: 'disconnect', reasonCode: 0x8d }]);
    expect(reader.payloads()).toEqual(['gone']);
  });

  it('of 0 lets a client be silent for ever', () => {
    const host = new MqttHost();
    const client = host.connect({ clientId: 'silent', keepalive: 0 });
    host.pass(10_000_000);
    expect(client.connection.closed).toBe(false);
  });
});

describe('a client id that connects again', () => {
  it('takes the session over with everything, and the former connection is told', () => {
    const { host, reader } = withReader();
    const former = host.connect(five('same', 100, { will: will() }));
    former.subscribe('a', { qos: 1 });
    const publisher = host.connect({ clientId: 'publisher' });
    publisher.publish('a', 'unacknowledged', { qos: 1, messageId: 1 });
    const [{ messageId }] = former.take();
    const { client: next, connack } = host.tryConnect(five('same', 100));
    expect(former.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8e }]);
    expect(former.connection.closeReason).toBe('taken-over');
    expect(connack?.sessionPresent).toBe(true);
    expect(host.leftovers.get(next)).toMatchObject([{ cmd: 'publish', dup: true, messageId }]);
    publisher.publish('a', 'new', { qos: 1, messageId: 2 });
    expect(next.payloads()).toEqual(['new']);
    expect(reader.payloads()).toEqual(['gone']); // The will without a delay [MQTT-3.1.4-3].
    expect(host.gauge('ringmq_mqtt_sessions_taken_over_total')).toBe(1);
  });

  it('with a clean start finds nothing', () => {
    const host = new MqttHost();
    const former = host.connect(five('same', 100));
    former.subscribe('a', { qos: 1 });
    const { client: next, connack } = host.tryConnect(five('same', 100, { clean: true }));
    expect(former.connection.closed).toBe(true);
    expect(connack?.sessionPresent).toBe(false);
    host.connect({ clientId: 'publisher' }).publish('a', 'x', { qos: 1, messageId: 1 });
    expect(next.payloads()).toEqual([]);
    expect(host.gauge('ringmq_mqtt_sessions')).toBe(2);
  });

  it('makes room for nobody else: a full worker refuses new ones only', () => {
    const host = new MqttHost({ sessionsMax: 2 });
    host.connect({ level: 5, clientId: 'one' });
    host.connect({ level: 5, clientId: 'two' });
    expect(host.tryConnect({ level: 5, clientId: 'three' }).connack).toMatchObject({ reasonCode: 0x97 });
    expect(host.tryConnect({ level: 5, clientId: 'two' }).connack).toMatchObject({ reasonCode: 0 });
  });
});

describe('a packet behind CONNECT', () => {
  it('that came in the same bytes is handled when the session is open', () => {
    const host = new MqttHost();
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('t');
    const connection = host.accept();
    const publish = Buffer.concat([Buffer.from([0x30, 4, 0, 1]), Buffer.from('tx')]);
    const connect = Buffer.concat([
      Buffer.from([0x10, 17, 0, 4]),
      Buffer.from('MQTT'),
      Buffer.from([4, 2, 0, 0, 0, 5]),
      Buffer.from('dev-1'),
    ]);
    connection.receive(Buffer.concat([connect, publish]));
    host.settle();
    expect(reader.payloads()).toEqual(['x']);
  });
});

describe('CONNECT that asks for response information', () => {
  it('is told a topic of its own, and none where its id leaves no room for one', () => {
    const host = new MqttHost({ connectBytesMax: 1_048_576 });
    const connackOf = (clientId: string): unknown =>
      host.tryConnect({ level: 5, clientId, properties: { requestResponseInformation: true } }).connack;
    expect(connackOf('short')).toMatchObject({ reasonCode: 0, properties: { responseInformation: 'response/short' } });
    const long = connackOf('x'.repeat(65_530)) as { reasonCode: number; properties: object };
    expect(long.reasonCode).toBe(0);
    expect(long.properties).not.toHaveProperty('responseInformation');
  });
});
