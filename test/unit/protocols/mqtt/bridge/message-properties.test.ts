// Properties on their way from a publisher's frame through the store to MQTT.js, and back.
import { describe, expect, it } from 'vitest';
import { BatchBuilder } from '../../../../../src/core/batch/batch-builder.ts';
import { RecordCursor } from '../../../../../src/core/batch/record-cursor.ts';
import { captureMessage, remoteTopics } from '../../../../../src/protocols/mqtt/bridge/captured-message.ts';
import { fromRemote, readProperties, toRemote } from '../../../../../src/protocols/mqtt/bridge/message-properties.ts';
import { decodeStored, encodeStored } from '../../../../../src/protocols/mqtt/bridge/stored-record.ts';
import { mayHaveVia, passageOf, viaProperty, withVia } from '../../../../../src/protocols/mqtt/bridge/via.ts';
import { decodePublish, PublishView } from '../../../../../src/protocols/mqtt/codec/publish.ts';
import { generatePublish } from '../../../../../src/protocols/mqtt/packets/generate.ts';
import type { MessageProperties } from '../../../../../src/protocols/mqtt/packets/types.ts';

const everything: MessageProperties = {
  payloadFormat: 1,
  expiryS: 60,
  contentType: 'text/plain',
  responseTopic: 'answers/1',
  correlationData: Buffer.from([0, 1, 255]),
  userProperties: [
    ['b', '1'],
    ['a', 'ä'],
    ['b', '2'],
    ['__proto__', '3'],
    ['7', '4'],
  ],
};

function throughStore(properties: MessageProperties | undefined, level: 4 | 5) {
  const frame = generatePublish(
    { topic: 'a/1', payload: Buffer.from('body'), qos: 2, retain: true, packetId: 7, properties },
    level,
  );
  const view = new PublishView();
  expect(decodePublish(frame, 0, frame.length, level, view)).toBe(0);
  const builder = new BatchBuilder();
  builder.add(encodeStored(captureMessage(frame, view, 'far/1', 1, 1_000), 1_000));
  const cursor = new RecordCursor().reset(builder.build());
  expect(cursor.next()).toBe(true);
  return decodeStored(cursor);
}

describe('a message that is stored for a remote broker', () => {
  it('keeps everything of MQTT 5, the order of user properties included', () => {
    const stored = throughStore(everything, 5);
    expect(stored).toMatchObject({ topic: 'far/1', qos: 1, retain: true, expiresAtMs: 61_000 });
    expect(stored?.payload.toString()).toBe('body');
    const { expiryS, ...others } = everything;
    expect(readProperties(stored?.properties ?? Buffer.alloc(0))).toEqual(others);
  });

  it('has no properties when it came with MQTT 3', () => {
    expect(throughStore(undefined, 4)).toMatchObject({ expiresAtMs: 0, properties: Buffer.alloc(0) });
  });

  it('is null for records of somebody else', () => {
    const builder = new BatchBuilder();
    const meta = (bytes: number[]) => [{ key: Buffer.from('m'), value: Buffer.from(bytes) }];
    builder.add({ timestampMs: 0, value: Buffer.from('x') });
    builder.add({ timestampMs: 0, key: Buffer.from('t'), headers: meta([1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]) });
    builder.add({ timestampMs: 0, key: Buffer.from('t'), headers: meta([2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]) });
    builder.add({ timestampMs: 0, key: Buffer.from('t'), headers: meta([1, 1, 0, 255, 255, 0, 0, 0, 0, 0, 0]) });
    const cursor = new RecordCursor().reset(builder.build());
    while (cursor.next()) expect(decodeStored(cursor)).toBeNull();
  });
});

describe('remoteTopics()', () => {
  it('sends one message for each name, with the highest QoS', () => {
    const rule = { filter: 'a/#', qos: 0, removePrefix: '', addPrefix: '' };
    const topics = remoteTopics('a/1', [rule, { ...rule, qos: 2 }, { ...rule, qos: 1, addPrefix: 'x/' }]);
    expect([...topics]).toEqual([
      ['a/1', 2],
      ['x/a/1', 1],
    ]);
    expect(remoteTopics('a/1', [{ ...rule, removePrefix: 'b/' }]).size).toBe(0);
  });
});

describe('toRemote() and fromRemote()', () => {
  it('give back what was given', () => {
    const { userProperties, ...given } = toRemote(everything, 5);
    expect(given).toEqual({
      payloadFormatIndicator: true,
      messageExpiryInterval: 5,
      contentType: 'text/plain',
      responseTopic: 'answers/1',
      correlationData: Buffer.from([0, 1, 255]),
    });
    expect(userProperties).toHaveLength(5);
    const received = { ...given, userProperties: { a: '1', b: ['2', '3'] } };
    expect(fromRemote({ properties: received })).toEqual({
      payloadFormat: 1,
      expiryS: 5,
      contentType: 'text/plain',
      responseTopic: 'answers/1',
      correlationData: Buffer.from([0, 1, 255]),
      userProperties: [
        ['a', '1'],
        ['b', '2'],
        ['b', '3'],
      ],
    });
    expect(fromRemote({})).toEqual({ userProperties: [] });
  });
});

describe('passageOf()', () => {
  it('knows what has been here, and what came too far', () => {
    const one = withVia([['x', 'y']], 'one');
    expect(one).toEqual([
      ['x', 'y'],
      [viaProperty, 'one'],
    ]);
    expect(passageOf(one, 'two', 8)).toBe('new');
    expect(passageOf(one, 'one', 8)).toBe('returned');
    expect(passageOf(withVia(one, 'three'), 'two', 2)).toBe('too-far');
  });

  it('mayHaveVia() finds the name in encoded properties', () => {
    const stored = throughStore({ userProperties: withVia([], 'one') }, 5);
    expect(mayHaveVia(stored?.properties ?? Buffer.alloc(0))).toBe(true);
    expect(mayHaveVia(throughStore(everything, 5)?.properties ?? Buffer.alloc(0))).toBe(false);
  });
});
