// Order, window and place of what is stored for a remote broker; the remote broker is the test.

import type { Packet } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { MetricsLayout, ThreadMetrics } from '../../../../../src/observability/metrics.ts';
import { BridgeCounters, bridgeMetrics } from '../../../../../src/protocols/mqtt/bridge/bridge-metrics.ts';
import { Forwarder, type Sent } from '../../../../../src/protocols/mqtt/bridge/forwarder.ts';
import type { RemoteLimits } from '../../../../../src/protocols/mqtt/bridge/remote.ts';
import type { BridgeSettings } from '../../../../../src/protocols/mqtt/bridge/settings.ts';
import type { StoredMessage } from '../../../../../src/protocols/mqtt/bridge/stored-record.ts';
import { decode } from '../../../../../src/protocols/mqtt/packets/mqtt-packet.ts';
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

function rig(
  messages: (StoredMessage | null)[],
  inflightMax = 100,
  past = { isReady: true, received: [] as number[], doubtEnd: 0 },
) {
  const layout = new MetricsLayout([bridgeMetrics([{ name: 'b' } as BridgeSettings])]);
  const counters = new BridgeCounters(
    new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount))),
    'b',
  );
  const sent: { topic: string; qos: number | undefined; retain: boolean | undefined; answer: Sent }[] = [];
  const places: number[] = [];
  let at = 0;
  const frames: string[] = [];
  const stored: (() => void)[] = [];
  const exact = {
    begin: () => past.isReady,
    write: (bytes: Buffer) => {
      for (let from = 0; from < bytes.length; from += 2 + (bytes[from + 1] ?? 0)) {
        const packet = decode(bytes.subarray(from, from + 2 + (bytes[from + 1] ?? 0)), 5) as Packet & {
          topic?: string;
        };
        frames.push(
          `${packet.cmd} ${packet.messageId}${packet.cmd === 'publish' ? ` ${packet.topic}` : ''}${'dup' in packet && packet.dup ? ' dup' : ''}`,
        );
      }
    },
    received: (offset: number, told: () => void) => {
      frames.push(`stores ${offset}`);
      stored.push(told);
    },
    wasReceived: (offset: number) => past.received.includes(offset),
    isDoubtful: (offset: number) => offset < past.doubtEnd,
  };
  const forwarder = new Forwarder({
    ...{ clientId: 'me', level: 5, hopsMax: 8, inflightMax, counters },
    exact,
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
  const taken = (): string[] => frames.splice(0);
  const topics = (): string[] => sent.map(({ topic }) => topic);
  return { forwarder, counters, sent, places, answerAll, topics, taken, stored, past };
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
    expect(exact.taken()).toEqual(['publish 32768 a']);
    exact.forwarder.answered(32_768, false, 0);
    exact.stored[0]?.();
    expect(exact.taken()).toEqual(['stores 0', 'pubrel 32768']);
    exact.forwarder.answered(32_768, true, 0);
    expect([exact.taken(), exact.topics()]).toEqual([['publish 32769 b'], ['c']]);
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

  it('sends again what the remote broker has lost halfway with its session', () => {
    const { forwarder, taken, stored } = rig([...'ab'].map((topic) => messageOf(topic, { qos: 2 })));
    forwarder.connected(everything);
    forwarder.answered(32_768, false, 0);
    forwarder.answered(32_769, false, 0);
    stored[0]?.();
    forwarder.disconnected();
    taken();
    forwarder.connected({ ...everything, isSessionPresent: false });
    stored[1]?.();
    expect(taken()).toEqual(['publish 32768 a', 'publish 32769 b']);
  });

  it('makes it durable that a QoS 2 message was received before it is released', () => {
    const { forwarder, taken, stored, places } = rig([messageOf('a', { qos: 2 })]);
    forwarder.connected(everything);
    forwarder.answered(32_768, true, 0);
    forwarder.answered(32_768, false, 0);
    forwarder.answered(32_768, false, 0);
    expect(taken()).toEqual(['publish 32768 a', 'stores 0']);
    stored[0]?.();
    expect([taken(), places]).toEqual([['pubrel 32768'], []]);
    forwarder.disconnected();
    forwarder.connected(everything);
    expect(taken()).toEqual(['pubrel 32768']);
    forwarder.answered(32_768, true, 0x92);
    expect([places, forwarder.inFlight]).toEqual([[1], 0]);
  });

  it('sends a QoS 2 message again with its identifier, and takes "in use" as the answer to a repetition', () => {
    const { forwarder, taken, counters } = rig([messageOf('a', { qos: 2 })]);
    forwarder.connected(everything);
    forwarder.disconnected();
    forwarder.connected(everything);
    expect(taken()).toEqual(['publish 32768 a', 'publish 32768 a dup']);
    forwarder.answered(32_768, false, 0x91);
    expect([taken(), counters.droppedCount('out')]).toEqual([['stores 0'], 0]);
  });

  it('drops what is refused for good, and forgets its exchange', () => {
    const { forwarder, taken, counters, places } = rig([messageOf('a', { qos: 2 })]);
    forwarder.connected(everything);
    forwarder.answered(32_768, false, 0x87);
    expect([taken(), counters.droppedCount('out'), places]).toEqual([['publish 32768 a'], 1, [1]]);
  });

  it('goes on with what a former life has begun: releases, sends again, lets go', () => {
    const past = { isReady: false, received: [0], doubtEnd: 3 };
    const expired = messageOf('c', { qos: 2, expiresAtMs: 1 });
    const messages = [...'ab'].map((topic) => messageOf(topic, { qos: 2 }));
    const { forwarder, taken, places } = rig([...messages, expired, messageOf('d', { qos: 2 })], 100, past);
    forwarder.connected(everything);
    expect(taken()).toEqual([]);
    past.isReady = true;
    forwarder.send();
    expect(taken()).toEqual(['pubrel 32768', 'publish 32769 b dup', 'pubrel 32770', 'publish 32771 d']);
    forwarder.answered(32_768, true, 0);
    expect(places).toEqual([1]);
  });
});
