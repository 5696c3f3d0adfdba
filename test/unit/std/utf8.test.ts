import { isUtf8 } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isWellFormedUtf8 } from '../../../src/std/utf8.ts';

function check(hex: string, rejectNull = false): boolean {
  const buffer = Buffer.from(hex, 'hex');
  return isWellFormedUtf8(buffer, 0, buffer.length, rejectNull);
}

describe('isWellFormedUtf8()', () => {
  it('isWellFormedUtf8() accepts the ends of every range', () => {
    for (const hex of [
      '',
      '00',
      '7f',
      'c280',
      'dfbf',
      'e0a080',
      'ed9fbf',
      'ee8080',
      'efbfbf',
      'f0908080',
      'f48fbfbf',
    ]) {
      expect(check(hex), hex).toBe(true);
    }
  });

  it('isWellFormedUtf8() rejects overlong forms, surrogates, too large and cut sequences', () => {
    const overlong = ['c080', 'c1bf', 'e08080', 'e09fbf', 'f0808080', 'f08fbfbf'];
    const surrogates = ['eda080', 'edbfbf'];
    const tooLarge = ['f4908080', 'f5808080', 'f8888080', 'ff', 'fe'];
    const cut = ['80', 'c2', 'e0a0', 'f09080', 'c241', 'e0a041', 'f0908041', '41424344c2'];
    for (const hex of [...overlong, ...surrogates, ...tooLarge, ...cut]) expect(check(hex), hex).toBe(false);
  });

  it('isWellFormedUtf8() rejects U+0000 at every offset when asked', () => {
    for (let length = 1; length < 12; length++) {
      for (let offset = 0; offset < length; offset++) {
        const buffer = Buffer.alloc(length, 0x61);
        buffer[offset] = 0;
        expect(isWellFormedUtf8(buffer, 0, length, true)).toBe(false);
        expect(isWellFormedUtf8(buffer, 0, length)).toBe(true);
      }
    }
  });

  it('isWellFormedUtf8() looks at nothing outside of its range', () => {
    const buffer = Buffer.from('ff61c3a9ff', 'hex');
    expect(isWellFormedUtf8(buffer, 1, 4)).toBe(true);
    expect(isWellFormedUtf8(buffer, 1, 3)).toBe(false);
  });

  it('isWellFormedUtf8() agrees with the platform on any bytes', () => {
    const near = fc.constantFrom(
      0x00,
      0x41,
      0x7f,
      0x80,
      0xbf,
      0xc2,
      0xe0,
      0xed,
      0xa0,
      0x9f,
      0xf0,
      0x90,
      0xf4,
      0x8f,
      0xff,
    );
    const anything = fc.oneof(fc.uint8Array({ maxLength: 24 }), fc.array(near, { maxLength: 12 }));
    fc.assert(
      fc.property(anything, (source) => {
        const buffer = Buffer.from(source);
        expect(isWellFormedUtf8(buffer, 0, buffer.length)).toBe(isUtf8(buffer));
        expect(isWellFormedUtf8(buffer, 0, buffer.length, true)).toBe(isUtf8(buffer) && !buffer.includes(0));
      }),
      { numRuns: 3_000 },
    );
  });

  it('isWellFormedUtf8() accepts what the platform encodes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        const buffer = Buffer.from(text);
        return isWellFormedUtf8(buffer, 0, buffer.length);
      }),
    );
  });
});
