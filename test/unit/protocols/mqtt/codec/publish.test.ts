import fc from 'fast-check';
import { type IPublishPacket, type Packet, parser } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { frameLength, type ProtocolLevel } from '../../../../../src/protocols/mqtt/codec/frame.ts';
import {
  decodePublish,
  PublishView,
  publishFlags,
  publishSize,
  writePublish,
} from '../../../../../src/protocols/mqtt/codec/publish.ts';
import { encode } from '../../../../../src/protocols/mqtt/packets/mqtt-packet.ts';
import { malformedPublishes, validPublishes } from '../../../../golden/mqtt/publish.ts';
import { bytes } from '../../../../golden/mqtt/vector.ts';

const view = new PublishView();

/** Puts `frame` between foreign bytes, so that offsets that forget the start or the end are seen. */
function decode(frame: Buffer, level: number): { code: number; buffer: Buffer } {
  expect(frameLength(frame, 0, frame.length)).toBe(frame.length);
  const buffer = Buffer.concat([Buffer.alloc(5, 0xff), frame, Buffer.alloc(5, 0xff)]);
  return { code: decodePublish(buffer, 5, 5 + frame.length, level, view), buffer };
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

const text = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((value) => !value.includes('\0'));
const properties = fc.record(
  {
    payloadFormatIndicator: fc.boolean(),
    messageExpiryInterval: fc.nat(0xffffffff),
    topicAlias: fc.integer({ min: 1, max: 65_535 }),
    responseTopic: text.map((value) => value.replace(/[+#]/g, '_')),
    correlationData: fc.uint8Array({ maxLength: 20 }).map((value) => Buffer.from(value)),
    userProperties: fc.constant({ a: ['1', '2'], b: 'x' }),
    subscriptionIdentifier: fc.array(fc.integer({ min: 1, max: 268_435_455 }), { minLength: 1, maxLength: 4 }),
    contentType: text,
  },
  { requiredKeys: [] },
);
const publishes = fc.record({
  level: fc.constantFrom<ProtocolLevel>(3, 4, 5),
  topic: text.filter((value) => value.length > 0),
  payload: fc.uint8Array({ maxLength: 300 }).map((value) => Buffer.from(value)),
  qos: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
  retain: fc.boolean(),
  dup: fc.boolean(),
  messageId: fc.integer({ min: 1, max: 65_535 }),
  properties: fc.option(properties, { nil: undefined }),
});

describe('decodePublish()', () => {
  for (const { name, level, hex, packet } of validPublishes) {
    it(`decodePublish() reads ${name}`, () => {
      const { code, buffer } = decode(bytes(hex), level);
      expect(code).toBe(0);
      expect(buffer.toString('utf8', view.topicStart, view.topicStart + view.topicLength)).toBe(packet.topic);
      expect(buffer.toString('utf8', view.payloadStart, view.payloadStart + view.payloadLength)).toBe(packet.payload);
      expect(view.payloadStart + view.payloadLength).toBe(view.end);
      expect({ ...view }).toMatchObject({
        qos: packet.qos,
        retain: packet.retain ?? 0,
        dup: packet.dup ?? 0,
        packetId: packet.packetId ?? 0,
        topicAlias: packet.topicAlias ?? 0,
        expiryS: packet.expiryS ?? -1,
        payloadFormat: packet.payloadFormat ?? 0,
        hasSubscriptionIdentifier: packet.hasSubscriptionIdentifier ?? false,
        propertiesLength: packet.propertiesLength ?? 0,
        keptPropertiesLength: packet.keptPropertiesLength ?? 0,
      });
    });
  }

  for (const { name, level, hex, reasonCode } of malformedPublishes) {
    it(`decodePublish() rejects ${name}`, () => {
      expect(decode(bytes(hex), level).code).toBe(reasonCode);
    });
  }

  it('decodePublish() reads what mqtt-packet writes', () => {
    fc.assert(
      fc.property(publishes, (fields) => {
        const { level, ...packet } = fields;
        const dup = fields.dup && fields.qos > 0;
        const source = { cmd: 'publish', ...packet, dup } as unknown as IPublishPacket;
        if (level < 5 || packet.properties === undefined) delete source.properties;
        const { code, buffer } = decode(encode(source, level), level);
        expect(code).toBe(0);
        const properties = level === 5 ? packet.properties : undefined;
        expect(buffer.toString('utf8', view.topicStart, view.topicStart + view.topicLength)).toBe(fields.topic);
        expect(buffer.subarray(view.payloadStart, view.end)).toEqual(fields.payload);
        expect({ ...view }).toMatchObject({
          qos: fields.qos,
          retain: fields.retain ? 1 : 0,
          dup: dup ? 1 : 0,
          packetId: fields.qos > 0 ? fields.messageId : 0,
          topicAlias: properties?.topicAlias ?? 0,
          expiryS: properties?.messageExpiryInterval ?? -1,
          payloadFormat: properties?.payloadFormatIndicator === true ? 1 : 0,
          hasSubscriptionIdentifier: properties?.subscriptionIdentifier !== undefined,
        });
      }),
      { numRuns: 500 },
    );
  });

  it('decodePublish() rejects or shortens a frame that is cut at any byte, and never reads past it', () => {
    for (const { level, hex } of validPublishes) {
      const frame = bytes(hex);
      for (let end = 2; end < frame.length; end++) {
        // The bytes behind `end` change between two runs; what is behind the frame must not matter.
        const first = Buffer.from(frame).fill(0x00, end);
        const second = Buffer.from(frame).fill(0xff, end);
        if (frameLength(first, 0, end) < 0) continue;
        const codes = [first, second].map((buffer) => {
          const code = decodePublish(buffer, 0, end, level, view);
          return { code, ...(code === 0 ? view : {}) };
        });
        expect(codes[1]).toEqual(codes[0]);
        if (codes[0]?.code === 0) expect(view.payloadStart).toBeLessThanOrEqual(end);
      }
    }
  });
});

describe('writePublish()', () => {
  it('writePublish() is read by mqtt-packet and takes publishSize() bytes', () => {
    fc.assert(
      fc.property(publishes, fc.nat(7), (fields, offset) => {
        const { level, qos, payload, messageId } = fields;
        const topic = Buffer.from(fields.topic);
        const encoded = fields.properties === undefined ? null : Buffer.from('26000161000162', 'hex');
        const propertiesLength = encoded === null ? 0 : encoded.length;
        const size = publishSize(topic.length, qos, level, propertiesLength, payload.length);
        const target = Buffer.alloc(offset + size + 3, 0xee);
        const flags = publishFlags(qos, qos > 0 && fields.dup ? 1 : 0, fields.retain ? 1 : 0);
        const end = writePublish(target, offset, flags, level, topic, messageId, encoded, payload);
        expect(end).toBe(offset + size);
        expect(target.subarray(end)).toEqual(Buffer.alloc(3, 0xee));
        const packet = oracle(target.subarray(offset, end), level);
        expect(packet).toMatchObject({ topic: fields.topic, qos, retain: fields.retain, dup: qos > 0 && fields.dup });
        expect(packet.payload).toEqual(payload);
        if (qos > 0) expect(packet.messageId).toBe(messageId);
        if (level === 5 && encoded !== null) expect(packet.properties?.userProperties?.['a']).toBe('b');
      }),
    );
  });
});
