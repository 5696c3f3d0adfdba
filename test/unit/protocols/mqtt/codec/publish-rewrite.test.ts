import fc from 'fast-check';
import { type IPublishPacket, type Packet, parser } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import type { ProtocolLevel } from '../../../../../src/protocols/mqtt/codec/frame.ts';
import { decodePublish, PublishView } from '../../../../../src/protocols/mqtt/codec/publish.ts';
import {
  encodeSubscriptionIdentifiers,
  PublishRewrite,
  rewrite,
  rewrittenSize,
} from '../../../../../src/protocols/mqtt/codec/publish-rewrite.ts';
import { encode } from '../../../../../src/protocols/mqtt/packets/mqtt-packet.ts';
import { bytes } from '../../../../golden/mqtt/vector.ts';

const view = new PublishView();

function rewritten(source: Buffer, sourceLevel: number, options: PublishRewrite): Buffer {
  expect(decodePublish(source, 0, source.length, sourceLevel, view)).toBe(0);
  const size = rewrittenSize(view, options);
  const target = Buffer.alloc(size + 8, 0xee);
  expect(rewrite(target, 4, source, view, options)).toBe(4 + size);
  expect(target.subarray(0, 4)).toEqual(Buffer.alloc(4, 0xee));
  expect(target.subarray(4 + size)).toEqual(Buffer.alloc(4, 0xee));
  return target.subarray(4, 4 + size);
}

function oracle(frame: Buffer, level: number): IPublishPacket {
  const packets: Packet[] = [];
  const decoder = parser({ protocolVersion: level });
  decoder.on('packet', (packet) => packets.push(packet));
  decoder.on('error', (error: Error) => expect.unreachable(error.message));
  decoder.parse(frame);
  expect(packets).toHaveLength(1);
  return packets[0] as IPublishPacket;
}

function options(fields: Partial<PublishRewrite>): PublishRewrite {
  return Object.assign(new PublishRewrite(), fields);
}

const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((value) => !/[\0+#]/.test(value));
const identifiers = fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 4 });
const sources = fc.record({
  topic: text.filter((value) => value.length > 0),
  payload: fc.uint8Array({ maxLength: 200 }).map((value) => Buffer.from(value)),
  qos: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
  properties: fc.record(
    {
      payloadFormatIndicator: fc.boolean(),
      messageExpiryInterval: fc.nat(0xffffffff),
      topicAlias: fc.integer({ min: 1, max: 65_535 }),
      responseTopic: text,
      correlationData: fc.uint8Array({ maxLength: 40 }).map((value) => Buffer.from(value)),
      subscriptionIdentifier: identifiers,
      contentType: text,
    },
    { requiredKeys: [] },
  ),
});
const targets = fc.record({
  level: fc.constantFrom<ProtocolLevel>(3, 4, 5),
  qos: fc.constantFrom(0, 1, 2),
  retain: fc.constantFrom(0, 1),
  packetId: fc.integer({ min: 1, max: 65_535 }),
  topicAlias: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 65_535 })),
  wantsEmptyTopic: fc.boolean(),
  expiryS: fc.oneof(fc.constant(-1), fc.nat(0xffffffff)),
  subscriptionIdentifiers: fc.option(identifiers),
  encodeIdentifiers: fc.boolean(),
});

describe('rewrite()', () => {
  it('rewrite() makes what mqtt-packet reads, from any level to any level', () => {
    fc.assert(
      fc.property(fc.constantFrom<ProtocolLevel>(3, 4, 5), sources, targets, (sourceLevel, source, target) => {
        const packet = { cmd: 'publish', ...source, messageId: 9, dup: false, retain: false } as IPublishPacket;
        const frame = encode(packet, sourceLevel);
        const { wantsEmptyTopic, encodeIdentifiers, ...fields } = target;
        const emptyTopic = wantsEmptyTopic && fields.level === 5 && fields.topicAlias > 0;
        const list = fields.subscriptionIdentifiers;
        const encoded = list !== null && encodeIdentifiers ? encodeSubscriptionIdentifiers(list) : list;
        const wanted = options({ ...fields, emptyTopic, subscriptionIdentifiers: encoded });
        const read = oracle(rewritten(frame, sourceLevel, wanted), fields.level);

        expect(read).toMatchObject({ topic: emptyTopic ? '' : source.topic, qos: fields.qos, dup: false });
        expect(read.retain).toBe(fields.retain === 1);
        expect(read.payload).toEqual(source.payload);
        if (fields.qos > 0) expect(read.messageId).toBe(fields.packetId);
        if (fields.level < 5) return;

        const {
          topicAlias: _alias,
          messageExpiryInterval: _expiry,
          subscriptionIdentifier: _ids,
          ...kept
        } = source.properties;
        const expected: Record<string, unknown> = sourceLevel === 5 ? { ...kept } : {};
        if (fields.topicAlias > 0) expected['topicAlias'] = fields.topicAlias;
        if (fields.expiryS >= 0) expected['messageExpiryInterval'] = fields.expiryS;
        if (list !== null) expected['subscriptionIdentifier'] = list.length === 1 ? list[0] : list;
        expect(read.properties ?? {}).toEqual(expected);
      }),
      { numRuns: 1_000 },
    );
  });

  it('rewrite() keeps the other properties byte for byte and in order', () => {
    const source = bytes(
      '32 34 0001 "a" 0001 2d 26 0001 "b" 0001 "1" 23 0005 26 0001 "a" 0001 "2" 02 00000009 01 01 0b 07 26 0001 "b" 0001 "1" 03 0001 "c" "x"',
    );
    source[1] = source.length - 2;
    source[7] = source.length - 9;
    const made = rewritten(source, 5, options({ level: 5, qos: 0, expiryS: 8, subscriptionIdentifiers: [300, 1] }));
    const properties =
      '02 00000008 0b ac02 0b 01 26 0001 "b" 0001 "1" 26 0001 "a" 0001 "2" 01 01 26 0001 "b" 0001 "1" 03 0001 "c"';
    const expected = Buffer.concat([
      bytes(`30 00 0001 "a" ${bytes(properties).length.toString(16)}`),
      bytes(`${properties} "x"`),
    ]);
    expected[1] = expected.length - 2;
    expect(made).toEqual(expected);
  });

  it('rewrite() writes the topic that an alias stands for', () => {
    const source = bytes('30 07 0000 03 23 0003 "x"');
    const made = rewritten(source, 5, options({ level: 4, topic: Buffer.from('long/topic/of/the/alias/3') }));
    expect(oracle(made, 4)).toMatchObject({ topic: 'long/topic/of/the/alias/3' });
  });

  it('rewrite() changes the size of the remaining length with the message', () => {
    const payload = Buffer.alloc(120, 0x61);
    const source = encode({ cmd: 'publish', topic: 'a', payload, qos: 0, dup: false, retain: false }, 4);
    const made = rewritten(source, 4, options({ level: 5, qos: 1, packetId: 3, subscriptionIdentifiers: [1] }));
    expect(made.length).toBe(1 + 2 + 3 + 2 + 1 + 2 + 120);
    expect(oracle(made, 5).payload).toEqual(payload);
  });

  it('rewrite() refuses to write neither topic nor alias', () => {
    const source = bytes('30 07 0000 03 23 0003 "x"');
    expect(() => rewritten(source, 5, options({ level: 4 }))).toThrow('a topic or an alias');
  });
});
