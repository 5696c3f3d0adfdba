// What comes from a remote broker: what gets in, under which name, and when it is acknowledged.
import type { IPublishPacket } from 'mqtt';
import { describe, expect, it } from 'vitest';
import { MetricsLayout, ThreadMetrics } from '../../../../../src/observability/metrics.ts';
import { BridgeCounters, bridgeMetrics } from '../../../../../src/protocols/mqtt/bridge/bridge-metrics.ts';
import { Incoming } from '../../../../../src/protocols/mqtt/bridge/incoming.ts';
import { IncomingReceipts } from '../../../../../src/protocols/mqtt/bridge/incoming-receipts.ts';
import type { BridgeRule, BridgeSettings } from '../../../../../src/protocols/mqtt/bridge/settings.ts';
import { PacketType } from '../../../../../src/protocols/mqtt/codec/frame.ts';
import type { OwnMessage } from '../../../../../src/protocols/mqtt/handlers/own-publisher.ts';
import { CounterBlock, createCounters } from '../../../../../src/shm/counters.ts';

const rule: BridgeRule = { filter: 'a/#', qos: 2, removePrefix: '', addPrefix: '' };

function packet(topic: string, more: Partial<IPublishPacket> = {}): IPublishPacket {
  return { cmd: 'publish', topic, payload: Buffer.from('x'), qos: 1, retain: false, dup: false, ...more };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

function rig(rules: BridgeRule[], pendingMax = 100, tellsSession = true) {
  const layout = new MetricsLayout([bridgeMetrics([{ name: 'b' } as BridgeSettings])]);
  const counters = new BridgeCounters(
    new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount))),
    'b',
  );
  const published: { message: OwnMessage; done: (error: Error | null) => void }[] = [];
  const acknowledged: number[] = [];
  const failures: string[] = [];
  const incoming = new Incoming({
    ...{ clientId: 'me', rules, hopsMax: 2, pendingMax, packetBytesMax: 500, counters },
    publish: (message, done) => published.push({ message, done }),
    receipts: new IncomingReceipts(null),
    tellsSession,
    acknowledge: (type, packetId) => acknowledged.push(type === PacketType.PUBACK ? packetId : type * 1000 + packetId),
    failed: (reason) => failures.push(reason),
  });
  let reads = 0;
  const take = (given: IPublishPacket): void =>
    incoming.take(given, () => {
      reads += 1;
    });
  const topics = (): string[] => published.map(({ message }) => message.topic);
  return { incoming, counters, published, acknowledged, failures, take, topics, reads: () => reads };
}

describe('Incoming', () => {
  it('acknowledges when the message was taken, in the order in which they came, and reads on meanwhile', () => {
    const { take, published, acknowledged, reads } = rig([rule]);
    for (const messageId of [5, 6, 7]) take(packet('a/1', { messageId }));
    expect([reads(), acknowledged]).toEqual([3, []]);
    published[1]?.done(null);
    expect(acknowledged).toEqual([]);
    published[0]?.done(null);
    expect(acknowledged).toEqual([5, 6]);
  });

  it('reads no more while too much is under way', () => {
    const { take, published, reads } = rig([rule], 2);
    take(packet('a/1', { messageId: 1 }));
    take(packet('a/1', { messageId: 2 }));
    expect(reads()).toBe(1);
    published[0]?.done(null);
    expect(reads()).toBe(2);
  });

  it('ends the connection when a message could not be taken, and never acknowledges it', () => {
    const { take, published, acknowledged, failures, incoming } = rig([rule]);
    take(packet('a/1', { messageId: 1 }));
    take(packet('a/1', { messageId: 2 }));
    published[0]?.done(new Error('no room'));
    expect(failures).toEqual(['a message could not be taken: no room']);
    incoming.disconnected();
    published[1]?.done(null);
    expect(acknowledged).toEqual([]);
  });

  it('takes a QoS 2 message once, though it comes and is released over several connections', async () => {
    const { take, published, incoming, acknowledged } = rig([rule]);
    const twice = (dup: boolean): void => take(packet('a/1', { qos: 2, messageId: 9, dup }));
    incoming.begun(false);
    twice(false);
    expect(published).toEqual([]); // It is not known yet what came before.
    await settled();
    expect(published).toHaveLength(1);
    incoming.disconnected();
    incoming.begun(true);
    await settled();
    twice(true);
    published[0]?.done(null);
    expect(acknowledged).toEqual([5_009]);
    twice(true);
    await settled();
    incoming.released(9);
    await settled();
    incoming.released(9);
    await settled();
    expect([published.length, acknowledged]).toEqual([1, [5_009, 5_009, 7_009, 7_009]]);
    twice(false);
    expect(published).toHaveLength(2);
  });

  it('takes a QoS 2 message again that could not be taken, or that is of another session', async () => {
    const { take, published, incoming, failures } = rig([rule]);
    incoming.begun(true);
    await settled();
    const twice = (dup: boolean): void => take(packet('a/1', { qos: 2, messageId: 9, dup }));
    twice(false);
    published[0]?.done(new Error('no room'));
    expect(failures).toEqual(['a message could not be taken: no room']);
    incoming.disconnected();
    incoming.begun(true);
    await settled();
    twice(true);
    published[1]?.done(null);
    incoming.disconnected();
    incoming.begun(false);
    await settled();
    twice(true);
    expect(published).toHaveLength(3);
  });

  it('goes by the DUP flag where nothing is said about the session', async () => {
    const { take, published, incoming } = rig([rule], 100, false);
    incoming.begun(true);
    await settled();
    for (const dup of [false, true, false]) {
      take(packet('a/1', { qos: 2, messageId: 9, dup }));
      await settled();
      published.at(-1)?.done(null);
    }
    expect(published).toHaveLength(2);
  });

  it('gives names and QoS by the rules, and marks what it lets in', () => {
    const rules = [
      { ...rule, qos: 0, addPrefix: 'far/' },
      { ...rule, filter: '$share/g/a/+', qos: 1, removePrefix: 'a/', addPrefix: 'b/' },
    ];
    const { take, published, acknowledged } = rig(rules);
    take(packet('a/1', { qos: 1, messageId: 3, retain: true, properties: { userProperties: { k: 'v' } } }));
    expect(published.map(({ message: { topic, qos, retain } }) => [topic, qos, retain])).toEqual([
      ['far/a/1', 0, true],
      ['b/1', 1, true],
    ]);
    expect(published[0]?.message.properties.userProperties).toEqual([
      ['k', 'v'],
      ['ringmq-via', 'me'],
    ]);
    published[0]?.done(null);
    expect(acknowledged).toEqual([]);
    published[1]?.done(null);
    expect(acknowledged).toEqual([3]);
  });

  it.each([
    ['nobody asked for', packet('other/1')],
    ['with a wildcard', packet('a/+')],
    ['of the server itself', packet('$SYS/x')],
    ['that was here before', packet('a/1', { properties: { userProperties: { 'ringmq-via': ['x', 'me'] } } })],
    ['that came too far', packet('a/1', { properties: { userProperties: { 'ringmq-via': ['x', 'y'] } } })],
    ['too large', packet('a/1', { payload: Buffer.alloc(500) })],
    ['with a zero in a text', packet('a/1', { properties: { contentType: 'x\0' } })],
    ['with a pair that is too long', packet('a/1', { properties: { userProperties: { k: 'ä'.repeat(40_000) } } })],
    ['with a response topic that is none', packet('a/1', { properties: { responseTopic: 'a/#' } })],
    [
      'with a property that came twice',
      packet('a/1', { properties: { contentType: ['a', 'b'] as unknown as string } }),
    ],
  ])('drops, counts and acknowledges what is %s', async (_, given) => {
    const { take, topics, acknowledged, counters } = rig([rule, { ...rule, filter: '$SYS/#' }]);
    take({ ...given, messageId: 4 });
    await Promise.resolve();
    expect([topics(), acknowledged, counters.droppedCount('in')]).toEqual([[], [4], 1]);
  });
});
