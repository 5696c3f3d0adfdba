import { describe, expect, it } from 'vitest';
import { PacketType } from '../../../../../src/protocols/mqtt/codec/frame.ts';
import {
  nextProperty,
  PropertyId,
  PropertyScan,
  scanProperties,
  USER_PROPERTIES_MAX,
  WILL_PROPERTIES,
} from '../../../../../src/protocols/mqtt/codec/properties.ts';

/** One valid value for each identifier, and the packets that may carry it (table 2-4 of the specification). */
const TABLE: readonly (readonly [id: number, value: string, packets: readonly number[]])[] = [
  [0x01, '01', [3, 0]],
  [0x02, '00000001', [3, 0]],
  [0x03, '000161', [3, 0]],
  [0x08, '000161', [3, 0]],
  [0x09, '000100', [3, 0]],
  [0x0b, '8001', [3, 8]],
  [0x11, '00000000', [1, 2, 14]],
  [0x12, '000161', [2]],
  [0x13, '0000', [2]],
  [0x15, '000161', [1, 2, 15]],
  [0x16, '000100', [1, 2, 15]],
  [0x17, '01', [1]],
  [0x18, '00000000', [0]],
  [0x19, '00', [1]],
  [0x1a, '000161', [2]],
  [0x1c, '000161', [2, 14]],
  [0x1f, '000161', [2, 4, 5, 6, 7, 9, 11, 14, 15]],
  [0x21, '0001', [1, 2]],
  [0x22, '0000', [1, 2]],
  [0x23, '0001', [3]],
  [0x24, '01', [2]],
  [0x25, '00', [2]],
  [0x26, '0001610000', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15]],
  [0x27, '00000001', [1, 2]],
  [0x28, '01', [2]],
  [0x29, '01', [2]],
  [0x2a, '01', [2]],
];

const scan = new PropertyScan();

function scanAll(buffer: Buffer, packetType: number): number {
  return scanProperties(buffer, 0, buffer.length, packetType, scan);
}

describe('scanProperties()', () => {
  it('scanProperties() accepts each property in its packets and nowhere else', () => {
    expect(TABLE.map(([id]) => id)).toEqual(Object.values(PropertyId).sort((a, b) => a - b));
    for (const [id, value, packets] of TABLE) {
      const buffer = Buffer.from([id, ...Buffer.from(value, 'hex')]);
      for (let packetType = 0; packetType < 16; packetType++) {
        const expected = packets.includes(packetType) ? 0 : 0x81;
        expect(scanAll(buffer, packetType), `property ${id} in packet ${packetType}`).toBe(expected);
      }
      expect(nextProperty(buffer, 0, buffer.length)).toBe(buffer.length);
    }
  });

  it('scanProperties() rejects identifiers that do not exist', () => {
    const known = new Set(TABLE.map(([id]) => id));
    for (let id = 0; id < 256; id++) {
      if (known.has(id)) continue;
      const buffer = Buffer.from([id, 0, 0, 0, 0]);
      for (let packetType = 0; packetType < 16; packetType++) expect(scanAll(buffer, packetType)).toBe(0x81);
    }
  });

  it('scanProperties() rejects a property that is cut at any byte', () => {
    for (const [id, value, packets] of TABLE) {
      const buffer = Buffer.from([id, ...Buffer.from(value, 'hex')]);
      for (let end = 1; end < buffer.length; end++) {
        expect(scanProperties(buffer, 0, end, packets[0] ?? 0, scan), `property ${id} cut at ${end}`).toBe(0x81);
      }
    }
  });

  it('scanProperties() rejects a second one of all but user properties and subscription identifiers in PUBLISH', () => {
    for (const [id, value, packets] of TABLE) {
      const one = Buffer.from([id, ...Buffer.from(value, 'hex')]);
      for (const packetType of packets) {
        const repeatable = id === 0x26 || (id === 0x0b && packetType === PacketType.PUBLISH);
        expect(scanAll(Buffer.concat([one, one]), packetType)).toBe(repeatable ? 0 : 0x82);
      }
    }
  });

  it('scanProperties() finds numbers and forgets those of the scan before', () => {
    expect(scanAll(Buffer.from('230007027fffffff', 'hex'), PacketType.PUBLISH)).toBe(0);
    expect(scan.number(PropertyId.TOPIC_ALIAS, 0)).toBe(7);
    expect(scan.number(PropertyId.MESSAGE_EXPIRY_INTERVAL, -1)).toBe(0x7fffffff);
    expect(scanAll(Buffer.from('18ffffffff', 'hex'), WILL_PROPERTIES)).toBe(0);
    expect(scan.number(PropertyId.TOPIC_ALIAS, 0)).toBe(0);
    expect(scan.has(PropertyId.MESSAGE_EXPIRY_INTERVAL)).toBe(false);
    expect(scan.number(PropertyId.WILL_DELAY_INTERVAL, 0)).toBe(0xffffffff);
  });

  it('scanProperties() refuses more user properties than its limit', () => {
    const one = Buffer.from('260001610000', 'hex');
    const most = Buffer.concat(new Array<Buffer>(USER_PROPERTIES_MAX).fill(one));
    expect(scanAll(most, PacketType.PUBLISH)).toBe(0);
    expect(scan.userPropertyCount).toBe(USER_PROPERTIES_MAX);
    expect(scanAll(Buffer.concat([most, one]), PacketType.PUBLISH)).toBe(0x97);
  });
});
