import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeChange,
  encodeTombstone,
  encodeValue,
  markRecord,
} from '../../../../src/core/retained/retained-record.ts';
import { frameOf, type RetainedValue } from '../../../../src/core/retained/retained-value.ts';

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const values = fc.record({
  layout: fc.nat({ max: 255 }),
  frame: fc.uint8Array({ maxLength: 2_000, size: 'max' }).map((bytes) => Buffer.from(bytes)),
  detailA: int32,
  detailB: int32,
  detailC: int32,
  stamp: fc.maxSafeNat(),
  storedAtMs: fc.maxSafeNat(),
  expiresAtS: fc.nat({ max: 0xffff_ffff }),
  tenant: fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => text.isWellFormed()),
});

describe('decodeChange()', () => {
  it('reads what encodeValue() wrote', () => {
    const property = fc.property(values, (value) => {
      const change = decodeChange(encodeValue(value));
      expect(change?.kind).toBe('value');
      const read = (change as { value: RetainedValue }).value;
      expect({ ...read, frame: frameOf(read) }).toEqual(value);
    });
    fc.assert(property, { numRuns: 100 });
  });

  it('reads what encodeTombstone() wrote', () => {
    expect(decodeChange(encodeTombstone(2 ** 52))).toEqual({ kind: 'tombstone', stamp: 2 ** 52 });
  });

  it('answers null for a mark, for any other bytes and for a number that is no stamp', () => {
    expect(decodeChange(markRecord)).toBeNull();
    expect(decodeChange(Buffer.alloc(0))).toBeNull();
    const value: RetainedValue = {
      ...{ layout: 5, frame: 'x', detailA: 0, detailB: 0, detailC: 0 },
      ...{ stamp: 1, storedAtMs: 1, expiresAtS: 0, tenant: 'blue' },
    };
    const bytes = encodeValue(value);
    for (let length = 0; length < bytes.length - 1; length++)
      expect(decodeChange(bytes.subarray(0, length))).toBeNull();
    bytes.writeDoubleBE(Number.NaN, 2);
    expect(decodeChange(bytes)).toBeNull();
    const tombstone = encodeTombstone(1);
    tombstone.writeDoubleBE(-1, 1);
    expect(decodeChange(tombstone)).toBeNull();
  });
});
