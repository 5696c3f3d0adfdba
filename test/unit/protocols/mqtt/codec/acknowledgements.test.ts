import fc from 'fast-check';
import { type Packet, parser } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import {
  ACKNOWLEDGEMENT_SIZE_MAX,
  Acknowledgement,
  decodeAcknowledgement,
  writeAcknowledgement,
} from '../../../../../src/protocols/mqtt/codec/acknowledgements.ts';
import { frameLength } from '../../../../../src/protocols/mqtt/codec/frame.ts';
import { encode } from '../../../../../src/protocols/mqtt/packets/mqtt-packet.ts';
import { malformedAcknowledgements, validAcknowledgements } from '../../../../golden/mqtt/acknowledgements.ts';
import { bytes } from '../../../../golden/mqtt/vector.ts';

const NAMES = { 4: 'puback', 5: 'pubrec', 6: 'pubrel', 7: 'pubcomp' } as const;
const result = new Acknowledgement();

function decode(frame: Buffer, level: number): number {
  expect(frameLength(frame, 0, frame.length)).toBe(frame.length);
  return decodeAcknowledgement(frame, 0, frame.length, level, result);
}

function oracle(frame: Buffer, level: number): Packet {
  const packets: Packet[] = [];
  const decoder = parser({ protocolVersion: level });
  decoder.on('packet', (packet) => packets.push(packet));
  decoder.on('error', (error: Error) => expect.unreachable(error.message));
  decoder.parse(frame);
  expect(packets).toHaveLength(1);
  return packets[0] as Packet;
}

const acknowledgements = fc
  .record({
    type: fc.constantFrom(4, 5, 6, 7) as fc.Arbitrary<4 | 5 | 6 | 7>,
    level: fc.constantFrom(3, 4, 5) as fc.Arbitrary<3 | 4 | 5>,
    packetId: fc.integer({ min: 1, max: 65_535 }),
    failed: fc.boolean(),
  })
  .map((fields) => ({
    ...fields,
    reasonCode: fields.level === 5 && fields.failed ? (fields.type < 6 ? 0x97 : 0x92) : 0,
  }));

describe('decodeAcknowledgement()', () => {
  for (const { name, level, hex, packet } of validAcknowledgements) {
    it(`decodeAcknowledgement() reads ${name}`, () => {
      const frame = bytes(hex);
      expect(decode(frame, level)).toBe(0);
      expect(result).toEqual({ packetId: packet.packetId, reasonCode: packet.reasonCode });
      expect(frame[0] >> 4).toBe(packet.type);
      const target = Buffer.alloc(ACKNOWLEDGEMENT_SIZE_MAX);
      const end = writeAcknowledgement(target, 0, packet.type, packet.packetId, packet.reasonCode, level);
      if (packet.canonical) expect(target.subarray(0, end)).toEqual(frame);
    });
  }

  for (const { name, level, hex, reasonCode } of malformedAcknowledgements) {
    it(`decodeAcknowledgement() rejects ${name}`, () => {
      expect(decode(bytes(hex), level)).toBe(reasonCode);
    });
  }

  it('decodeAcknowledgement() reads what mqtt-packet writes', () => {
    const properties = fc.record({ reasonString: fc.string(), userProperties: fc.constant({ k: ['a', 'b'] }) });
    fc.assert(
      fc.property(acknowledgements, fc.option(properties), ({ type, level, packetId, reasonCode }, extra) => {
        fc.pre(extra === null || !extra.reasonString.includes('\0'));
        const packet = { cmd: NAMES[type], messageId: packetId, reasonCode, ...(extra ? { properties: extra } : {}) };
        expect(decode(encode(packet as unknown as Packet, level), level)).toBe(0);
        expect(result).toEqual({ packetId, reasonCode });
      }),
    );
  });

  it('writeAcknowledgement() is read by mqtt-packet, at any offset', () => {
    fc.assert(
      fc.property(acknowledgements, fc.nat(3), ({ type, level, packetId, reasonCode }, offset) => {
        const target = Buffer.alloc(offset + ACKNOWLEDGEMENT_SIZE_MAX, 0xee);
        const end = writeAcknowledgement(target, offset, type, packetId, reasonCode, level);
        const packet = oracle(target.subarray(offset, end), level);
        expect(packet.cmd).toBe(NAMES[type]);
        expect(packet.messageId).toBe(packetId);
        if (level === 5) expect((packet as { reasonCode?: number }).reasonCode).toBe(reasonCode);
        expect(target.subarray(end).every((byte) => byte === 0xee)).toBe(true);
      }),
    );
  });
});
