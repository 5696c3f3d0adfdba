import { generate } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { expiresAtHeader } from '../../../../../src/core/queues/stored-message.ts';
import { decodePublish, PublishView } from '../../../../../src/protocols/mqtt/codec/publish.ts';
import { headersOfPublication, messageOfHeaders } from '../../../../../src/protocols/mqtt/streams/message-record.ts';

const nowMs = 1_700_000_000_000;

function headersOf(packet: Record<string, unknown>, level: 4 | 5 = 5): { key: Buffer; value: Buffer | null }[] {
  const frame = generate(
    { cmd: 'publish', topic: 'a/b', payload: 'x', qos: 1, messageId: 7, retain: false, dup: false, ...packet } as never,
    { protocolVersion: level },
  );
  const view = new PublishView();
  expect(decodePublish(frame, 0, frame.length, level, view)).toBe(0);
  const publisher = { clientId: 'c1', user: 'u1' };
  return headersOfPublication(frame, view, Buffer.from('a/b'), publisher, nowMs) as never;
}

const header = (key: string, value: string | Buffer | null) => ({
  key: Buffer.from(key),
  value: value === null ? null : Buffer.from(value),
});

describe('headersOfPublication() and messageOfHeaders()', () => {
  it('keep everything that a message says about itself', () => {
    const properties = {
      payloadFormatIndicator: true,
      messageExpiryInterval: 60,
      contentType: 'text/plain',
      responseTopic: 'r/1',
      correlationData: Buffer.from([0, 1, 255]),
      userProperties: { one: ['1', '2'], 'mqtt-topic': 'forged', 'ringmq-expires-at': '1', 'mqtt-property:x': 'y' },
    };
    const headers = headersOf({ qos: 2, retain: true, properties });
    const message = messageOfHeaders(headers);
    expect(message).toMatchObject({ topic: 'a/b', qos: 2, retain: true, clientId: 'c1', user: 'u1' });
    expect(message.properties).toEqual({
      payloadFormat: 1,
      contentType: 'text/plain',
      responseTopic: 'r/1',
      correlationData: Buffer.from([0, 1, 255]),
      userProperties: [
        ['one', '1'],
        ['one', '2'],
        ['mqtt-topic', 'forged'],
        ['ringmq-expires-at', '1'],
        ['mqtt-property:x', 'y'],
      ],
    });
    const expires = headers.filter(({ key }) => key.toString() === expiresAtHeader);
    expect(expires.map(({ value }) => String(value))).toEqual([String(nowMs + 60_000)]);
  });

  it('take what MQTT 3 has', () => {
    expect(messageOfHeaders(headersOf({}, 4))).toMatchObject({ topic: 'a/b', qos: 1, retain: false });
  });
});

describe('messageOfHeaders()', () => {
  it.each(['', 'a/+', '$SYS/x', 'a\0b'])('names no topic when a record claims %j', (topic) => {
    expect(messageOfHeaders([header('mqtt-topic', topic)]).topic).toBeNull();
  });

  it('sends bytes that are no text as base64, and leaves out names that are none', () => {
    const { properties } = messageOfHeaders([
      header('bin', Buffer.from([0xff, 0])),
      header('none', null),
      { key: Buffer.from([0xff]), value: Buffer.from('x') },
    ]);
    expect(properties.userProperties).toEqual([
      ['bin-base64', '/wA='],
      ['none', ''],
    ]);
  });

  it('bounds the number of user properties', () => {
    const many = Array.from({ length: 500 }, (_, index) => header(`h${index}`, 'x'));
    expect(messageOfHeaders(many, 100).properties.userProperties).toHaveLength(100);
  });
});
