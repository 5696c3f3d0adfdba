/** `$SYS` of one worker: values for new subscribers, values from time to time, events. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Alarm } from '../../../../../src/core/ports/alarms.ts';
import { type AnyPacket, defaultSettings, MqttHost, type TestClient } from '../../../../support/mqtt/mqtt-host.ts';

const { system } = defaultSettings;

function withEvents(events: Partial<(typeof system)['events']>, more: Partial<typeof system> = {}): MqttHost {
  return new MqttHost({ system: { ...system, ...more, events: { ...system.events, ...events } } });
}

/** What came by now, events of this turn included. */
async function received(host: MqttHost, client: TestClient): Promise<AnyPacket[]> {
  await nextTurn();
  host.settle();
  return client.take().filter(({ cmd }) => cmd === 'publish');
}

/** The events among it, by the end of their topics. */
async function events(host: MqttHost, client: TestClient): Promise<Record<string, unknown>[]> {
  return (await received(host, client)).map(({ topic, payload }) => {
    return { topic: String(topic).replace('$SYS/brokers/test/', ''), ...JSON.parse(String(payload)) };
  });
}

function eventCount(host: MqttHost, outcome: string): number {
  return host.metrics.get(host.metrics.slot('ringmq_mqtt_system_events_total', { outcome }));
}

describe('values of $SYS', () => {
  it('go to a new subscriber at once, as if they were retained', () => {
    const host = new MqttHost();
    const client = host.connect({ clientId: 'c' });
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$SYS/brokers/test/stats/#', qos: 1 }] });
    const values = client.take().slice(1);
    const found = new Map(values.map(({ topic, payload }) => [topic, String(payload)]));
    expect(found.get('$SYS/brokers/test/stats/connections/count')).toBe('0'); // This transport does not count.
    expect(found.get('$SYS/brokers/test/stats/subscriptions/count')).toBe('1');
    expect(values.every(({ retain, qos }) => retain === true && qos === 0)).toBe(true);
    expect(client.subscribe('$SYS/brokers', { rh: 2 }).cmd).toBe('suback');
    expect(client.take()).toEqual([]);
  });

  it('do not go to # and not to +/#', () => {
    const host = new MqttHost();
    const client = host.connect({ clientId: 'c' });
    for (const filter of ['#', '+/#', '+/brokers']) client.subscribe(filter);
    host.pass(120_000);
    expect(client.take()).toEqual([]);
  });

  it('are published at their intervals to those who subscribe, and to nobody else', async () => {
    const host = new MqttHost();
    const client = host.connect({ clientId: 'c' });
    host.pass(60_000);
    await nextTurn();
    expect(host.packets('sent', 'publish')).toBe(0);
    client.subscribe('$SYS/brokers/test/uptime', { rh: 2 });
    client.subscribe('$SYS/brokers/+/metrics/messages/qos1/received', { rh: 2 });
    client.take();
    client.publish('t', 'x', { qos: 1, messageId: 1 });
    for (let at = 0; at < 2; at++) host.pass(31_000);
    const values = await received(host, client);
    expect(values.map(({ topic }) => topic).sort()).toEqual([
      '$SYS/brokers/test/metrics/messages/qos1/received',
      '$SYS/brokers/test/uptime',
      '$SYS/brokers/test/uptime',
    ]);
    expect(values.find(({ topic }) => String(topic).includes('qos1'))?.payload?.toString()).toBe('1');
    expect(values.every(({ retain }) => retain === false)).toBe(true);
  });

  it('are never published when the interval is 0', async () => {
    const host = withEvents({ subscribed: false }, { intervalS: 0, heartbeatS: 0 });
    const client = host.connect({ clientId: 'c' });
    client.subscribe('$SYS/#');
    client.take();
    host.pass(600_000);
    expect(await received(host, client)).toEqual([]);
  });

  it('keep the highest there was', () => {
    const host = new MqttHost();
    const others = ['a', 'b', 'c'].map((clientId) => host.connect({ clientId }));
    host.pass(5_100);
    for (const { connection } of others) connection.cut();
    const client = host.connect({ clientId: 'd' });
    client.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [{ topic: '$SYS/brokers/test/stats/sessions/+', qos: 0 }],
    });
    expect(client.payloads()).toEqual(['1', '3']);
  });
});

describe('events of $SYS', () => {
  it('tell of a client from CONNACK to its end, with its id as one level', async () => {
    const host = new MqttHost();
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/+/clients/+/+');
    await events(host, reader);
    const client = host.connect({ clientId: 'a/+#', level: 5, keepalive: 10, clean: false, username: 'ann' });
    client.subscribe('$share/g/x', { qos: 1, rap: true }, { subscriptionIdentifier: 7 });
    client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['$share/g/x', 'unknown'] });
    client.send({ cmd: 'disconnect' });
    const found = await events(host, reader);
    const who = { clientid: 'a/+#', username: 'ann', ts: expect.any(Number) };
    const common = { ...who, ipaddress: '127.0.0.1', sockport: 1883, proto_name: 'MQTT', proto_ver: 5 };
    const id = 'clients/a%2F%2B%23';
    const times = { connected_at: expect.any(Number) };
    const subscription = { ...who, protocol: 'mqtt', topic: '$share/g/x' };
    expect(found).toEqual([
      {
        ...{ topic: `${id}/connected`, ...common, ...times, keepalive: 10, clean_start: false },
        ...{ expiry_interval: 0, connack: 0 },
      },
      { topic: `${id}/session_created`, ...common, ...times, clean_start: false, expiry_interval: 0 },
      { ...subscription, subopts: { qos: 1, nl: 0, rap: 1, rh: 0, subid: 7, is_new: true } },
      subscription,
      { topic: `${id}/disconnected`, ...common, ...times, reason: 'normal', disconnected_at: expect.any(Number) },
    ]);
  });

  it('tell of sessions that are resumed, taken over and expired', async () => {
    const host = withEvents({ connected: false, subscribed: false });
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/test/clients/c/#');
    const lasting = { clientId: 'c', level: 5, clean: false, properties: { sessionExpiryInterval: 5 } } as const;
    host.connect(lasting);
    host.connect(lasting).connection.cut();
    host.pass(6_000);
    const found = await events(host, reader);
    expect(found.map(({ topic, reason }) => [topic, reason])).toEqual([
      ['clients/c/session_created', undefined],
      ['clients/c/disconnected', 'takenover'],
      ['clients/c/session_taken_over', undefined],
      ['clients/c/session_resumed', undefined],
      ['clients/c/disconnected', 'tcp_error'],
      ['clients/c/session_expired', undefined],
    ]);
  });

  it('tell of clients that were not let in, ten in a second', async () => {
    const no = { type: 'refused', reason: 'bad-credentials', message: 'no' } as const;
    const host = new MqttHost({}, undefined, () => no);
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/+/clients/+/authentication_failed');
    for (let at = 0; at < 30; at++) host.tryConnect({ clientId: 'x', username: 'ann', level: 5 });
    const found = await events(host, reader);
    expect(found[0]).toMatchObject({ clientid: 'x', username: 'ann', reason_code: 0x86, ipaddress: '127.0.0.1' });
    // The clock may have gone from one second to the next.
    expect(found.length).toBeGreaterThanOrEqual(10);
    expect(found.length).toBeLessThanOrEqual(20);
    expect(eventCount(host, 'dropped')).toBe(30 - found.length);
  });

  it('are switched off one by one', async () => {
    const host = withEvents({ connected: false, sessionCreated: false, disconnected: false });
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/+/clients/c/#');
    const client = host.connect({ clientId: 'c' });
    client.subscribe('t');
    client.connection.cut();
    expect((await events(host, reader)).map(({ topic }) => topic)).toEqual(['t']);
  });

  it('are not even counted while nobody reads them', async () => {
    const host = new MqttHost();
    for (let at = 0; at < 5; at++) host.connect({ clientId: `c${at}` }).subscribe('a/#');
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/test/clients/other/connected');
    host.connect({ clientId: 'c6' });
    await nextTurn();
    expect(eventCount(host, 'published') + eventCount(host, 'dropped')).toBe(0);
  });

  it('are bounded in each second', async () => {
    const host = withEvents({ sessionCreated: false }, { eventsPerSMax: 5 });
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/+/clients/+/connected');
    for (let at = 0; at < 50; at++) host.connect({ clientId: `c${at}` });
    const found = await events(host, reader);
    expect([5, 10]).toContain(found.length);
    expect(eventCount(host, 'dropped')).toBe(50 - found.length);
  });

  it('are left out when they are larger than a packet may be', async () => {
    const host = new MqttHost({ packetBytesMax: 600, connectBytesMax: 2_000 });
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/+/clients/+/connected');
    host.connect({ clientId: 'i'.repeat(600) });
    host.connect({ clientId: 'short' });
    expect((await events(host, reader)).map(({ clientid }) => clientid)).toEqual(['short']);
    expect(eventCount(host, 'dropped')).toBe(1);
  });

  it('tell how many messages were dropped, by reason', async () => {
    const host = new MqttHost();
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/test/messages/dropped');
    host.pass(1_100);
    const publisher = host.connect({ clientId: 'p', level: 5 });
    for (let at = 0; at < 3; at++) publisher.publish('$not/allowed', 'x');
    host.pass(1_100);
    const found = await events(host, reader);
    expect(found).toMatchObject([{ reason: 'not-allowed', count: 3, total: 3 }]);
    host.pass(5_000);
    expect(await events(host, reader)).toEqual([]);
  });

  it('tell of alarms', async () => {
    const host = new MqttHost();
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$SYS/brokers/+/alarms/+');
    const alarm: Alarm = {
      ...{ name: 'disk-low', subject: '', message: 'm', value: 4, threshold: 5, unit: 'percent' },
      ...{ activatedAtMs: 1_000, deactivatedAtMs: null },
    };
    host.node.handle({ type: 'alarm-change', change: { type: 'activated', alarm } });
    host.node.handle({
      type: 'alarm-change',
      change: { type: 'deactivated', alarm: { ...alarm, deactivatedAtMs: 3_000 } },
    });
    const details = { value: 4, threshold: 5, unit: 'percent' };
    expect(await events(host, reader)).toMatchObject([
      { topic: 'alarms/activate', name: 'disk-low', details, activate_at: 1_000 },
      { topic: 'alarms/deactivate', activate_at: 1_000, deactivate_at: 3_000, duration: 2_000 },
    ]);
  });
});
