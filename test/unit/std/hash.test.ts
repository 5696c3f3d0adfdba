import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashBytes, hashBytesInto, hashString, randomSeed } from '../../../src/std/hash.ts';

/** HalfSipHash-1-3 as its authors write it: over words, one round function, unsigned. */
function reference(words: number[], length: number, last: number, k0: number, k1: number): number {
  const v = [k0 >>> 0, k1 >>> 0, (0x6c796765 ^ k0) >>> 0, (0x74656462 ^ k1) >>> 0];
  const rotate = (value: number, by: number): number => ((value << by) | (value >>> (32 - by))) >>> 0;
  const round = (): void => {
    v[0] = (v[0] + v[1]) >>> 0;
    v[1] = (rotate(v[1], 5) ^ v[0]) >>> 0;
    v[0] = rotate(v[0], 16);
    v[2] = (v[2] + v[3]) >>> 0;
    v[3] = (rotate(v[3], 8) ^ v[2]) >>> 0;
    v[0] = (v[0] + v[3]) >>> 0;
    v[3] = (rotate(v[3], 7) ^ v[0]) >>> 0;
    v[2] = (v[2] + v[1]) >>> 0;
    v[1] = (rotate(v[1], 13) ^ v[2]) >>> 0;
    v[2] = rotate(v[2], 16);
  };
  for (const word of [...words, ((length << 24) | last) >>> 0]) {
    v[3] = (v[3] ^ word) >>> 0;
    round();
    v[0] = (v[0] ^ word) >>> 0;
  }
  v[2] = (v[2] ^ 0xff) >>> 0;
  for (let count = 0; count < 3; count++) round();
  return (v[1] ^ v[3]) | 0;
}

/** The documented expansion of the seed. */
function secondKey(seed: number): number {
  const mixed = Math.imul(seed ^ (seed >>> 16) ^ 0x9e3779b9, 0x85ebca6b);
  return Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
}

describe('hash', () => {
  it('hashBytes() and hashBytesInto() are HalfSipHash-1-3 under the seed', () => {
    const property = fc.property(
      fc.uint8Array({ maxLength: 70 }),
      fc.integer(),
      fc.nat({ max: 5 }),
      (bytes, seed, shift) => {
        const words: number[] = [];
        let at = 0;
        for (; at + 4 <= bytes.length; at += 4) words.push(Buffer.from(bytes).readUInt32LE(at));
        let last = 0;
        for (let shiftBy = 0; at < bytes.length; at++, shiftBy += 8) last |= bytes[at] << shiftBy;
        const chunk = new Uint8Array(shift + bytes.length + 3).fill(0xee);
        chunk.set(bytes, shift);
        expect(hashBytes(chunk, shift, shift + bytes.length, seed)).toBe(
          reference(words, bytes.length, last, seed, secondKey(seed)),
        );
        const loaded = new Int32Array((bytes.length >>> 2) + 1);
        expect(hashBytesInto(chunk, shift, shift + bytes.length, seed, loaded)).toBe(
          hashBytes(chunk, shift, shift + bytes.length, seed),
        );
        expect([...loaded]).toEqual([...words.map((word) => word | 0), (bytes.length << 24) | last]);
      },
    );
    fc.assert(property, { numRuns: 1_000 });
  });

  it('hashString() hashes the code units of a part as hashBytes() hashes their UTF-16 bytes, but for the length', () => {
    expect(hashString('')).toBe(hashBytes(new Uint8Array(0), 0, 0));
    expect(hashString('xabcy', 7, 1, 4)).toBe(hashString('abc', 7));
    expect(hashString('abc', 7)).not.toBe(hashString('abc', 8));
    expect(hashString('abc', 7)).not.toBe(hashString('abc\0', 7));
    expect(hashString('é😀', 7)).not.toBe(hashString('é😁', 7));
  });

  it.each([
    [
      'hashBytes',
      (at: number, seed: number) => hashBytes(new TextEncoder().encode(`topic/${at}`), 0, `topic/${at}`.length, seed),
    ],
    ['hashString', (at: number, seed: number) => hashString(`topic/${at}`, seed)],
  ])('%s() spreads similar keys over buckets, low and high bits alike', (_, hash) => {
    const keys = 65_536;
    for (const shift of [0, 16]) {
      const used = new Set<number>();
      for (let at = 0; at < keys; at++) used.add((hash(at, 12_345) >>> shift) & 0xffff);
      // A random function reaches 1 - 1/e of the buckets.
      expect(Math.abs(used.size / keys - (1 - 1 / Math.E))).toBeLessThan(0.01);
    }
  });

  it('hashBytes() changes half of the bits when one bit of key or seed changes', () => {
    const key = new TextEncoder().encode('a/topic/of/twenty-one');
    const flips = new Array<number>(32).fill(0);
    let trials = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const before = hashBytes(key, 0, key.length, seed);
      for (let bit = 0; bit < key.length * 8; bit++) {
        key[bit >> 3] ^= 1 << (bit & 7);
        const changed = before ^ hashBytes(key, 0, key.length, seed);
        key[bit >> 3] ^= 1 << (bit & 7);
        for (let out = 0; out < 32; out++) flips[out] += (changed >>> out) & 1;
        trials++;
      }
    }
    for (const count of flips) expect(Math.abs(count / trials - 0.5)).toBeLessThan(0.05);
  });

  it('randomSeed() differs from call to call', () => {
    expect(new Set(Array.from({ length: 20 }, randomSeed)).size).toBeGreaterThan(15);
  });
});
