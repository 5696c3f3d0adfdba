// Order, window and place of what is stored for a remote broker; the remote broker is the test.
import { describe, expect, it } from 'vitest';
import { MetricsLayout, ThreadMetrics } from '../../../../../src/observability/metrics.ts';
import { BridgeCounters, bridgeMetrics } from '../../../../../src/protocols/mqtt/bridge/bridge-metrics.ts';
import { Forwarder, type Sent } from '../../../../../src/protocols/mqtt/bridge/forwarder.ts';
import type { RemoteLimits } from '../../../../../src/protocols/mqtt/bridge/remote.ts';
import type { BridgeSettings } from '../../../../../src/protocols/mqtt/bridge/settings.ts';
import type { StoredMessage } from '../../../../../src/protocols/mqtt/bridge/stored-record.ts';
import { CounterBlock, createCounters } from '../../../../../src/shm/counters.ts';

const everything: RemoteLimits = {
  isSessionPresent: true,
  receiveMaximum: 65_535,
  qos2Max: 65_535,
  maximumQos: 2,
  canRetain: true,
  packetBytesMax: 1_000,
};

function messageOf(topic: string, more: Partial<StoredMessage> = {}): StoredMessage {
  const nothing = Buffer.alloc(0);
  return { topic, payload: nothing, qos: 1, retain: true, expiresAtMs: 0, properties: nothing, ...more };
}

function rig(messages: (StoredMessage | null)[], inflightMax = 100) {
  const layout = new MetricsLayout([bridgeMetrics([{ name: 'b' } as BridgeSettings])]);
  const counters = new BridgeCounters(
    new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount))),
    'b',
  );
  const sent: { topic: string; qos: number | undefined; retain: boolean | undefined; answer: Sent }[] = [];
  const places: number[] = [];
  let at = 0;
  const forwarder = new Forwarder({
    ...{ clientId: 'me', isVersion5: true, hopsMax: 8, inflightMax, counters },
    take: () => (at < messages.length ? { offset: at, message: messages[at++] ?? null } : undefined),
    confirm: (offset) => places.push(offset),
    publish: (topic, _payload, { qos, retain }, answer) => sent.push({ topic, qos, retain, answer }),
    refused: () => undefined,
    now: () => 1_000,
    random: () => 0,
  });
  const answerAll = (): void => {
    for (const each of sent.splice(0)) each.answer(null);
  };
  return { forwarder, counters, sent, places, answerAll, topics: () => sent.map(({ topic }) => topic) };
}

describe('Forwarder', () => {
  it('keeps to the window, and to that of the remote broker', () => {
    const messages = ['a', 'b', 'c', 'd', 'e'].map((topic) => messageOf(topic));
    const { forwarder, topics, sent } = rig(messages, 3);
    expect(topics()).toEqual([]);
    forwarder.connected(everything);
    expect(topics()).toEqual(['a', 'b', 'c']);
    sent[1]?.answer(null);
    expect(topics()).toEqual(['a', 'b', 'c']);
    sent[0]?.answer(null);
    expect(topics()).toEqual(['a', 'b', 'c', 'd', 'e']);
    const narrow = rig(messages, 3);
    narrow.forwarder.connected({ ...everything, receiveMaximum: 1 });
    expect(narrow.topics()).toEqual(['a']);
    const exact = rig([...'abc'].map((topic) => messageOf(topic, { qos: topic === 'c' ? 1 : 2 })));
    exact.forwarder.connected({ ...everything, qos2Max: 1 });
    expect(exact.topics()).toEqual(['a']);
    exact.sent[0]?.answer(null);
    expect(exact.topics()).toEqual(['a', 'b', 'c']);
  });

  it('moves the place over the oldest that are confirmed, whatever the order of the answers', () => {
    const { forwarder, sent, places } = rig(['a', 'b', 'c'].map((topic) => messageOf(topic)));
    forwarder.connected(everything);
    sent[2]?.answer(null);
    sent[1]?.answer(null);
    expect(places).toEqual([]);
    sent[0]?.answer(null);
    expect(places).toEqual([3]);
    expect(forwarder.inFlight).toBe(0);
  });

  it('passes over what cannot be sent, and counts it', () => {
    const via = Buffer.from([0x26, 0, 10, ...Buffer.from('ringmq-via'), 0, 2, ...Buffer.from('me')]);
    const { forwarder, topics, places, counters, answerAll } = rig([
      null,
      messageOf('late', { expiresAtMs: 1_000 }),
      messageOf('loop', { properties: via }),
      messageOf('long', { payload: Buffer.alloc(1_000) }),
      messageOf('good', { expiresAtMs: 1_001 }),
    ]);
    forwarder.connected(everything);
    expect(topics()).toEqual(['good']);
    expect(counters.droppedCount('out')).toBe(3);
    answerAll();
    expect(places.at(-1)).toBe(5);
    expect(counters.passedCount('out')).toBe(1);
  });

  it('sends no more than the remote broker can take', () => {
    const { forwarder, sent } = rig([messageOf('a', { qos: 2 })]);
    forwarder.connected({ ...everything, maximumQos: 1, canRetain: false });
    expect(sent).toMatchObject([{ qos: 1, retain: false }]);
  });

  it('sends again, before anything new, what was given back with its connection', () => {
    const { forwarder, sent, topics, answerAll, places } = rig(
      ['a', 'b', 'c', 'd'].map((topic) => messageOf(topic)),
      3,
    );
    forwarder.connected(everything);
    const [a, b, c] = sent.splice(0);
    forwarder.disconnected();
    a?.answer(null);
    b?.answer(new Error('Connection closed'));
    c?.answer(new Error('Connection closed'));
    forwarder.connected(everything);
    expect(topics()).toEqual(['b', 'c', 'd']);
    answerAll();
    expect(places.at(-1)).toBe(4);
  });

  it('lets go of what is refused for good, and pauses after what is refused for now', () => {
    const { forwarder, sent, topics, places } = rig(
      ['a', 'b', 'c'].map((topic) => messageOf(topic)),
      1,
    );
    const refusal = (code: number) => Object.assign(new Error('refused'), { code });
    forwarder.connected(everything);
    sent.splice(0)[0]?.answer(refusal(0x87));
    expect(topics()).toEqual(['b']);
    sent.splice(0)[0]?.answer(refusal(0x97));
    expect(topics()).toEqual([]);
    forwarder.send();
    expect(topics()).toEqual([]);
    expect(places).toEqual([1]);
    // The pause ends with the connection.
    forwarder.disconnected();
    forwarder.connected(everything);
    expect(topics()).toEqual(['b']);
    forwarder.stop();
  });

  it('sends again at once what the remote broker has forgotten halfway', () => {
    const { forwarder, sent, topics } = rig([messageOf('a', { qos: 2 })]);
    forwarder.connected(everything);
    sent.splice(0)[0]?.answer(Object.assign(new Error('Packet Identifier not found'), { code: 0x92 }));
    expect(topics()).toEqual(['a']);
  });
});
