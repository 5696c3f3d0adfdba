/**
 * PUBLISH in runs: whatever bytes of valid packets arrive in whatever chunks, everybody gets exactly what frame by frame
 * handling gives, and what a plain model of the specification says.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeAll, encode, type Level, MqttHost, type TestClient } from '../../../../support/mqtt/mqtt-host.ts';

/** One publication of the model. */
interface Burst {
  readonly topic: number;
  readonly qos: number;
  readonly retain: boolean;
  readonly dup: boolean;
  /** 0: none; 1 to 3: the alias of that topic. */
  readonly alias: number;
  readonly properties: number;
  readonly payloadBytes: number;
  readonly varies: boolean;
  readonly count: number;
  /** Packet identifiers count from here; overlapping ones repeat. */
  readonly firstId: number;
  /** What follows the burst. */
  readonly next: 'nothing' | 'release' | 'ping';
}

const topics = ['a', 'a/b', 'é/ß/長い', '$hidden/a'];
const propertySets: readonly (Record<string, unknown> | undefined)[] = [
  undefined,
  { payloadFormatIndicator: true, contentType: 'text/plain' },
  { messageExpiryInterval: 3_600, userProperties: { key: ['one', 'two'], other: 'x'.repeat(130) } },
  { responseTopic: 'answer/here', correlationData: Buffer.from([0, 1, 2]) },
];

const burst: fc.Arbitrary<Burst> = fc.record({
  topic: fc.oneof({ weight: 9, arbitrary: fc.nat(2) }, { weight: 1, arbitrary: fc.constant(3) }),
  qos: fc.nat(2),
  retain: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  dup: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  alias: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.integer({ min: 1, max: 3 }) }),
  properties: fc.nat(propertySets.length - 1),
  payloadBytes: fc.oneof(fc.nat(3), fc.integer({ min: 90, max: 140 }), fc.constant(300), fc.constant(16_500)),
  varies: fc.boolean(),
  count: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 40 })),
  firstId: fc.integer({ min: 1, max: 40 }),
  next: fc.constantFrom('nothing', 'nothing', 'release', 'ping'),
});

interface Stream {
  readonly frames: readonly Buffer[];
  /** Topic, QoS and payload of what goes to subscribers. */
  readonly published: readonly {
    readonly topic: string;
    readonly qos: number;
    readonly payload: string;
    readonly retain: boolean;
  }[];
}

/** The bytes of the bursts, and what the specification says is published. */
function streamOf(bursts: readonly Burst[], level: Level): Stream {
  const frames: Buffer[] = [];
  const published: { topic: string; qos: number; payload: string; retain: boolean }[] = [];
  const known = new Map<number, string>();
  const unreleased = new Set<number>();
  let number = 0;
  for (const {
    topic: index,
    qos,
    retain,
    dup,
    alias,
    properties,
    payloadBytes,
    varies,
    count,
    firstId,
    next,
  } of bursts) {
    const topic = topics[index];
    for (let at = 0; at < count; at++) {
      const size = varies ? (payloadBytes * (at % 3)) >> 1 : payloadBytes;
      const payload = `${number++}`.padEnd(size, '.');
      const messageId = qos === 0 ? undefined : ((firstId + at - 1) % 60) + 1;
      const usesAlias = level === 5 && alias > 0;
      const isKnown = usesAlias && known.get(alias) === topic;
      if (usesAlias) known.set(alias, topic);
      const own =
        level === 5 ? { ...propertySets[properties], ...(usesAlias ? { topicAlias: alias } : {}) } : undefined;
      // Every second time the topic comes with an alias that is known.
      const written = isKnown && at % 2 === 1 ? '' : topic;
      frames.push(
        encode(
          { cmd: 'publish', topic: written, payload, qos, retain, dup: dup && qos > 0, messageId, properties: own },
          level,
        ),
      );
      if (index === 3) {
        // Before MQTT 5 a publication that is not allowed is acknowledged as if it were.
        if (qos === 2 && level < 5) unreleased.add(messageId as number);
        continue;
      }
      if (qos === 2) {
        if (unreleased.has(messageId as number)) continue;
        unreleased.add(messageId as number);
      }
      published.push({ topic, qos, payload, retain });
    }
    if (next === 'ping') frames.push(encode({ cmd: 'pingreq' }, level));
    if (next !== 'release') continue;
    for (const messageId of unreleased) frames.push(encode({ cmd: 'pubrel', messageId }, level));
    unreleased.clear();
  }
  return { frames, published };
}

interface World {
  readonly host: MqttHost;
  readonly publisher: TestClient;
  readonly subscribers: readonly TestClient[];
}

function worldOf(level: Level): World {
  const host = new MqttHost({ receiveMaximum: 65_535, inflightMax: 65_535 }, Number.MAX_SAFE_INTEGER);
  const publisher = host.connect({ level, clientId: 'publisher' });
  const add = (clientId: string, clientLevel: Level, properties?: Record<string, unknown>, clean = true): TestClient =>
    host.connect({ level: clientLevel, clientId, clean, ...(properties === undefined ? {} : { properties }) });
  const old = add('old', 3);
  old.subscribe('#', { qos: 0 });
  const plain = add('plain', 4);
  plain.subscribe('#', { qos: 2 });
  const kept = add('kept', 4, undefined, false);
  kept.subscribe('a/#', { qos: 1 });
  const five = add('five', 5);
  five.subscribe('#', { qos: 2, rap: true });
  const identified = add('identified', 5, { sessionExpiryInterval: 100 });
  identified.subscribe('+', { qos: 1 }, { subscriptionIdentifier: 7 });
  identified.subscribe('#', { qos: 2 }, { subscriptionIdentifier: 300 });
  const aliased = add('aliased', 5, { topicAliasMaximum: 2 });
  aliased.subscribe('#', { qos: 1 });
  const small = add('small', 5, { maximumPacketSize: 128 });
  small.subscribe('#', { qos: 2 });
  const members = [add('member-4', 4), add('member-5', 5)];
  for (const member of members) member.subscribe('$share/g/#', { qos: 2 });
  publisher.subscribe('a', { qos: 0, ...(level === 5 ? { nl: true } : {}) });
  return { host, publisher, subscribers: [old, plain, kept, five, identified, aliased, small, ...members] };
}

/** Cuts the stream at these places. */
function chunksOf(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((one, other) => one - other);
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length));
}

/** What the publisher got. What comes back to it and the acknowledgements of a run are ordered among themselves only. */
function byKind(client: TestClient): unknown[] {
  const packets = client.take();
  return [packets.filter(({ cmd }) => cmd === 'publish'), packets.filter(({ cmd }) => cmd !== 'publish')];
}

describe('onPublish()', () => {
  it.each([3, 4, 5] as const)(
    'gives everybody what frame by frame handling gives, for any chunking, at level %i',
    (level) => {
      const met = { published: 0, repeated: 0 };
      fc.assert(
        fc.property(
          fc.array(burst, { minLength: 1, maxLength: 8 }),
          fc.array(fc.nat(200_000), { maxLength: 6 }),
          (bursts, cuts) => {
            const { frames, published } = streamOf(bursts, level);
            const [single, chunked] = [worldOf(level), worldOf(level)];
            for (const frame of frames) single.publisher.sendBytes(frame);
            for (const chunk of chunksOf(Buffer.concat(frames), cuts)) chunked.publisher.sendBytes(chunk);
            expect(chunked.publisher.connection.closed).toBe(false);
            expect(chunked.publisher.connection.unconsumedBytes).toBe(0);
            expect(byKind(chunked.publisher)).toEqual(byKind(single.publisher));
            for (const [index, subscriber] of chunked.subscribers.entries()) {
              const bytes = subscriber.connection.take();
              const expectedBytes = single.subscribers[index].connection.take();
              if (!bytes.equals(expectedBytes)) {
                expect({ index, packets: decodeAll(bytes, subscriber.level) }).toEqual({
                  index,
                  packets: decodeAll(expectedBytes, subscriber.level),
                });
              }
              expect(bytes.equals(expectedBytes)).toBe(true);
              if (index === 0 || index === 3) {
                const got = decodeAll(bytes, subscriber.level).map(({ topic, payload, qos, retain }) => ({
                  topic,
                  payload: String(payload),
                  qos,
                  retain,
                }));
                const expected = published.map((each) => (index === 0 ? { ...each, qos: 0, retain: false } : each));
                expect(got).toEqual(
                  expected.map(({ topic, payload, qos, retain }) => ({ topic, payload, qos, retain })),
                );
              }
            }
            for (const type of ['publish', 'puback', 'pubrec', 'pubcomp']) {
              expect(chunked.host.packets('sent', type)).toBe(single.host.packets('sent', type));
              expect(chunked.host.packets('received', type)).toBe(single.host.packets('received', type));
            }
            met.published += published.length;
            met.repeated += frames.length - published.length;
          },
        ),
        { numRuns: 40 },
      );
      expect(met.published).toBeGreaterThan(1_000);
      expect(met.repeated).toBeGreaterThan(100);
    },
  );
});
