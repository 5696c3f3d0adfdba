/**
 * What each client of the matrix does over each transport: one scenario after the other, over one library and version. Called by
 * `../matrix.test.ts`.
 */
import { expect } from 'vitest';
import { type ConnectOptions, type InteropClient, type Qos, textOf, type Version } from './client.ts';
import { persistent } from './common-suite.ts';
import { unique } from './fixture.ts';

export interface Cell {
  readonly version: Version;
  /** The client that is tested, over the transport that is tested. */
  connect(options?: Partial<ConnectOptions>): Promise<InteropClient>;
  /** MQTT.js over TCP with MQTT 5: who the client speaks with. */
  connectOther(options?: Partial<ConnectOptions>): Promise<InteropClient>;
}

const allQos: readonly Qos[] = [0, 1, 2];
/** From nothing to more than one read of a socket, one frame and one TLS record hold. */
const sizes = [0, 1, 125, 126, 16_384, 65_535, 65_536, 200_000];

/** Every QoS in both directions, in order, with payloads of all sizes. */
async function exchange({ connect, connectOther }: Cell): Promise<void> {
  const topic = unique('exchange');
  const [client, other] = [await connect(), await connectOther()];
  for (const [from, to, way] of [
    [client, other, 'out'],
    [other, client, 'in'],
  ] as const) {
    await to.subscribe(`${topic}/${way}/#`);
    for (const qos of allQos) {
      const payloads = sizes.map((size) => Buffer.alloc(size, `${qos}.`));
      await Promise.all(payloads.map((payload) => from.publish(`${topic}/${way}/${qos}`, payload, { qos })));
    }
    const received = await to.messages(allQos.length * sizes.length);
    for (const qos of allQos) {
      const own = received.filter((message) => message.topic.endsWith(`/${qos}`));
      expect(own.map(({ payload }) => payload.length)).toEqual(sizes);
      expect(own.every((message) => message.qos === qos && !message.retain)).toBe(true);
      expect(own.every(({ payload }) => payload.equals(Buffer.alloc(payload.length, `${qos}.`)))).toBe(true);
    }
  }
}

/** A retained message is set, seen and cleared. */
async function retained({ connect }: Cell): Promise<void> {
  const topic = unique('retained');
  const client = await connect();
  await client.publish(topic, 'kept', { qos: 1, retain: true });
  const reader = await connect();
  await reader.subscribe(topic);
  expect(await reader.messages(1)).toMatchObject([{ topic, retain: true, qos: 1 }]);
  await client.publish(topic, '', { qos: 1, retain: true });
  const late = await connect();
  await late.subscribe(topic);
  await late.exactly(0);
}

/** The will of a client that is cut comes, that of one that leaves does not. */
async function wills({ connect, connectOther }: Cell): Promise<void> {
  const topic = unique('will');
  const watcher = await connectOther();
  await watcher.subscribe(topic);
  const leaving = await connect({ will: { topic, payload: 'left', qos: 1 } });
  await leaving.disconnect();
  const dying = await connect({ will: { topic, payload: 'cut', qos: 2 } });
  await dying.cut();
  const received = await watcher.exactly(1);
  expect(textOf(received)).toEqual(['cut']);
  expect(received[0]?.qos).toBe(2);
}

/** Members of a group get each message once between them. */
async function shared({ connect, connectOther }: Cell): Promise<void> {
  const topic = unique('shared');
  const members = [await connect(), await connect(), await connectOther()];
  for (const member of members) expect(await member.subscribe([{ topic: `$share/g/${topic}`, qos: 1 }])).toEqual([1]);
  const publisher = await connect();
  const numbers = Array.from({ length: 60 }, (_, index) => `${index}`);
  await Promise.all(numbers.map((text) => publisher.publish(topic, text, { qos: 1 })));
  const total = (): number => members.reduce((sum, { received }) => sum + received.length, 0);
  for (let tries = 0; tries < 750 && total() < numbers.length; tries++) await sleep(20);
  await sleep(100);
  const all = members.flatMap(({ received }) => textOf(received));
  expect(all.sort()).toEqual([...numbers].sort());
  for (const { received } of members) expect(received.length).toBeGreaterThan(0);
}

/** What comes while a persistent session is away waits for it. */
async function sessions({ connect, connectOther, version }: Cell): Promise<void> {
  const [topic, clientId] = [unique('session'), unique('client')];
  const session = persistent(clientId, version);
  const first = await connect(session);
  await first.subscribe(`${topic}/#`);
  await first.disconnect();
  const publisher = await connectOther();
  for (const qos of [1, 2] as const) await publisher.publish(`${topic}/${qos}`, `${qos}`, { qos });
  const second = await connect(session);
  // CONNACK of MQTT 3.1 does not say it.
  expect(second.connack.sessionPresent).toBe(version > 3);
  expect(textOf(await second.exactly(2)).sort()).toEqual(['1', '2']);
  await second.disconnect();
  // And the session can be ended.
  const third = await connect({ clientId, clean: true });
  expect(third.connack.sessionPresent).toBe(false);
}

/** What MQTT 5 adds to a message, in both directions. */
async function userProperties({ connect, connectOther }: Cell): Promise<void> {
  const topic = unique('properties');
  const [client, other] = [await connect(), await connectOther()];
  const properties = {
    contentType: 'text/plain',
    responseTopic: 'answers/ü',
    correlationData: 'abc',
    userProperties: [
      ['name', '1'],
      ['name', '2'],
      ['__proto__', 'x'],
    ],
  } as const;
  for (const [from, to, way] of [
    [client, other, 'out'],
    [other, client, 'in'],
  ] as const) {
    await to.subscribe(`${topic}/${way}`);
    for (const qos of allQos) await from.publish(`${topic}/${way}`, 'text', { qos, properties });
    for (const message of await to.messages(3)) expect(message.properties).toMatchObject(properties);
  }
}

function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

/** In the order in which they run; the last one is for MQTT 5 alone. */
export function scenariosOf(version: Version): readonly (readonly [string, (cell: Cell) => Promise<void>])[] {
  const all = [
    ['every QoS both ways', exchange],
    ['retained', retained],
    ['will', wills],
    ['shared subscription', shared],
    ['session', sessions],
  ] as const;
  return version === 5 ? [...all, ['properties', userProperties]] : all;
}
