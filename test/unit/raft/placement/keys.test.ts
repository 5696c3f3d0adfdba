import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { latin1Of } from '../../../../src/raft/placement/bytes.ts';
import { MalformedError, RecordInvalidError } from '../../../../src/raft/placement/errors.ts';
import { buildKey, type KeyPart, parseKey, prefixEnd } from '../../../../src/raft/placement/keys.ts';
import { recordKinds } from '../../../../src/raft/placement/records/registry.ts';

const text = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom('', '/', '\0'),
);
const number = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 0xffff_ffff }));

function partsOf(shape: readonly ('text' | 'number')[]): fc.Arbitrary<KeyPart[]> {
  return fc.tuple(...shape.map((type): fc.Arbitrary<KeyPart> => (type === 'text' ? text : number)));
}

const kindAndParts = fc
  .constantFrom(...recordKinds)
  .chain((kind) =>
    fc.record({ kind: fc.constant(kind), parts: partsOf(kind.keyShape), others: partsOf(kind.keyShape) }),
  );

describe('keys of typed records', () => {
  it('parseKey() gives back the parts of every kind', () => {
    fc.assert(
      fc.property(kindAndParts, ({ kind, parts }) => {
        expect(kind.parseKey(kind.key(...parts))).toEqual(parts);
      }),
      { numRuns: 1_000 },
    );
  });

  it('key() is different for different parts, and for different kinds', () => {
    fc.assert(
      fc.property(kindAndParts, ({ kind, parts, others }) => {
        const isSame = JSON.stringify(parts) === JSON.stringify(others);
        expect(latin1Of(kind.key(...parts)) === latin1Of(kind.key(...others))).toBe(isSame);
      }),
      { numRuns: 1_000 },
    );
    expect(new Set(recordKinds.map(({ tag }) => tag)).size).toBe(recordKinds.length);
    expect(new Set(recordKinds.map(({ name }) => name)).size).toBe(recordKinds.length);
  });

  it('a prefix of parts and its end take in exactly the keys that begin with these parts', () => {
    fc.assert(
      fc.property(kindAndParts, fc.nat(3), ({ kind, parts, others }, count) => {
        const shared = Math.min(count, parts.length);
        const prefix = kind.key(...parts.slice(0, shared));
        const low = latin1Of(prefix);
        const high = latin1Of(prefixEnd(prefix));
        const isWithin = (each: readonly KeyPart[]) => {
          const key = latin1Of(kind.key(...each));
          return key >= low && key < high;
        };
        expect(isWithin(parts)).toBe(true);
        const begins = JSON.stringify(others.slice(0, shared)) === JSON.stringify(parts.slice(0, shared));
        expect(isWithin(others)).toBe(begins);
      }),
      { numRuns: 1_000 },
    );
  });

  it('numbers sort as numbers', () => {
    fc.assert(
      fc.property(number, number, (a, b) => {
        const order = Buffer.compare(buildKey(1, ['number'], [a]), buildKey(1, ['number'], [b]));
        expect(order).toBe(Math.sign(a - b));
      }),
    );
  });

  it('buildKey() refuses parts that no key can have', () => {
    const shape = ['text', 'number'] as const;
    for (const parts of [
      ['\ud800'],
      [1],
      ['a', 'b'],
      ['a', -1],
      ['a', 1.5],
      ['a', 2 ** 32],
      ['a', 1, 'c'],
      ['x'.repeat(1_900)],
    ]) {
      expect(() => buildKey(1, shape, parts)).toThrow(RecordInvalidError);
    }
    expect(() => buildKey(1, shape, ['x'.repeat(1_800), 1])).not.toThrow();
  });

  it('parseKey() throws MalformedError for keys of other kinds and for broken ones', () => {
    const key = buildKey(1, ['text', 'number'], ['abc', 7]);
    expect(() => parseKey(2, ['text', 'number'], key)).toThrow(MalformedError);
    expect(() => parseKey(1, ['text'], key)).toThrow(MalformedError);
    for (let length = 0; length < key.length; length++) {
      expect(() => parseKey(1, ['text', 'number'], key.subarray(0, length))).toThrow(MalformedError);
    }
  });

  it('prefixEnd() of bytes that cannot grow is no bound', () => {
    expect(prefixEnd(Buffer.from([255, 255])).length).toBe(0);
    expect([...prefixEnd(Buffer.from([1, 255]))]).toEqual([2]);
  });
});
