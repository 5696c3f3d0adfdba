import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  frameLength,
  headerLength,
  REMAINING_LENGTH_MAX,
  readVariableByteInteger,
  remainingLengthSize,
  writeRemainingLength,
} from '../../../../../src/protocols/mqtt/codec/frame.ts';
import { malformedHeaders } from '../../../../golden/mqtt/publish.ts';
import { bytes } from '../../../../golden/mqtt/vector.ts';

const EDGES = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, REMAINING_LENGTH_MAX];
const lengths = fc.oneof(fc.constantFrom(...EDGES), fc.nat(REMAINING_LENGTH_MAX));

function header(value: number): Buffer {
  const buffer = Buffer.alloc(8, 0xff);
  buffer[0] = 0x30;
  return buffer.subarray(0, writeRemainingLength(buffer, 1, value));
}

describe('frameLength()', () => {
  it('frameLength() reads back every length that was written', () => {
    fc.assert(
      fc.property(lengths, (value) => {
        const buffer = header(value);
        expect(buffer.length).toBe(1 + remainingLengthSize(value));
        expect(frameLength(buffer, 0, buffer.length)).toBe(buffer.length + value);
        expect(headerLength(buffer, 0)).toBe(buffer.length);
        expect(readVariableByteInteger(buffer, 1, buffer.length)).toBe(value);
      }),
    );
  });

  it('frameLength() says -1 for every header that is cut short', () => {
    for (const value of EDGES) {
      const buffer = header(value);
      for (let end = 0; end < buffer.length; end++) {
        expect(frameLength(buffer, 0, end)).toBe(-1);
        if (end > 0) expect(readVariableByteInteger(buffer, 1, end)).toBe(-1);
      }
    }
  });

  it('frameLength() works at any position', () => {
    const buffer = Buffer.from([0xaa, 0xaa, 0x30, 0x81, 0x01]);
    expect(frameLength(buffer, 2, 5)).toBe(3 + 129);
    expect(frameLength(buffer, 2, 4)).toBe(-1);
  });

  for (const vector of malformedHeaders) {
    it(`frameLength() says -2 for ${vector.name}`, () => {
      const buffer = bytes(vector.hex);
      expect(frameLength(buffer, 0, buffer.length)).toBe(-2);
      expect(readVariableByteInteger(buffer, 1, buffer.length)).toBe(-1);
    });
  }
});
