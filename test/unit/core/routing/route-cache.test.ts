import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RouteCache } from '../../../../src/core/routing/route-cache.ts';
import { hashBytes } from '../../../../src/std/hash.ts';
import { topics } from './arbitraries.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('RouteCache', () => {
  it('lookup() answers with what was inserted, at any place of a buffer', () => {
    const step = fc.record({ topic: topics, insert: fc.boolean(), clear: fc.nat({ max: 30 }).map((n) => n === 0) });
    const property = fc.property(fc.array(step, { maxLength: 100 }), fc.nat({ max: 9 }), (steps, shift) => {
      const cache = new RouteCache<{ topic: string }>(1_000);
      const model = new Map<string, { topic: string }>();
      for (const { topic, insert, clear } of steps) {
        if (clear) {
          cache.clear();
          model.clear();
        }
        const chunk = bytes(`${'x'.repeat(shift)}${topic}yz`);
        const length = chunk.length - shift - 2;
        expect(cache.lookup(chunk, shift, length)).toBe(model.get(topic));
        if (insert) {
          const route = { topic };
          cache.insert(chunk.subarray(shift, shift + length), route);
          model.set(topic, route);
          chunk.fill(0);
        }
        expect(cache.size).toBe(model.size);
      }
    });
    fc.assert(property, { numRuns: 300 });
  });

  it('insert() drops everything when the cache is full and never holds more', () => {
    const cache = new RouteCache<number>(100);
    for (let at = 0; at < 250; at++) {
      expect(cache.insert(bytes(`topic/${at}`), at)).toBe(at === 100 || at === 200);
      expect(cache.size).toBeLessThanOrEqual(100);
      expect(cache.lookup(bytes(`topic/${at}`), 0, `topic/${at}`.length)).toBe(at);
    }
    expect(cache.size).toBe(50);
    expect(cache.lookup(bytes('topic/199'), 0, 9)).toBeUndefined();
  });

  it('insert() bounds the bytes of topics too', () => {
    const cache = new RouteCache<number>(8);
    const long = bytes('x'.repeat(300));
    cache.insert(bytes('a'), 1);
    cache.insert(long, 2);
    expect(cache.lookup(long, 0, 300)).toBe(2);
    cache.insert(bytes('y'.repeat(300)), 3);
    expect(cache.lookup(long, 0, 300)).toBeUndefined();
    cache.insert(bytes('z'.repeat(5_000)), 4);
    expect(cache.lookup(bytes('z'.repeat(5_000)), 0, 5_000)).toBeUndefined();
    expect(cache.size).toBe(1);
  });

  it('lookup() tells bytes from padding and refuses what is longer than a topic', () => {
    const cache = new RouteCache<number>(100_000);
    // All lengths up to two words, with zero bytes at the end, and lengths that differ by 256.
    const zeros = new Uint8Array(70_000);
    for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 8, 256, 257, 260]) cache.insert(zeros.subarray(0, length), length);
    for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 8, 256, 257, 260])
      expect(cache.lookup(zeros, 3, length)).toBe(length);
    expect(cache.lookup(zeros, 0, 512)).toBeUndefined();
    expect(cache.insert(zeros, 1)).toBe(false);
    expect(cache.lookup(zeros, 0, zeros.length)).toBeUndefined();
    cache.insert(zeros.subarray(0, 65_535), 65_535);
    expect(cache.lookup(zeros, 0, 65_535)).toBe(65_535);
  });

  it('lookup() compares topics whose hashes are equal', () => {
    const seed = 1;
    const byHash = new Map<number, Uint8Array>();
    let pairs = 0;
    // Among 300,000 keys some ten pairs collide in all 32 bits.
    for (let at = 100_000; at < 400_000; at++) {
      const key = bytes(`topic/${at}`);
      const hash = hashBytes(key, 0, key.length, seed);
      const other = byHash.get(hash);
      byHash.set(hash, key);
      if (other === undefined) continue;
      pairs++;
      const cache = new RouteCache<string>(16, seed);
      cache.insert(other, 'other');
      expect(cache.lookup(key, 0, key.length)).toBeUndefined();
      cache.insert(key, 'key');
      expect(cache.lookup(other, 0, other.length)).toBe('other');
      expect(cache.lookup(key, 0, key.length)).toBe('key');
    }
    expect(pairs).toBeGreaterThan(0);
  });

  it('lookup() finds all keys that collide under the hash of another seed', () => {
    // 2,000 keys that share their lower 8 bits under seed 1 are spread again under seed 2: chains stay short.
    const cache = new RouteCache<number>(4_000, 2);
    const aimed: Uint8Array[] = [];
    for (let at = 0; aimed.length < 2_000; at++) {
      const key = bytes(`k${at}`);
      if ((hashBytes(key, 0, key.length, 1) & 0xff) === 0) aimed.push(key);
    }
    aimed.forEach((key, at) => {
      cache.insert(key, at);
    });
    aimed.forEach((key, at) => {
      expect(cache.lookup(key, 0, key.length)).toBe(at);
    });
    const spread = new Set(aimed.map((key) => hashBytes(key, 0, key.length, 2) & 0xff));
    expect(spread.size).toBeGreaterThan(250);
  });

  it('lookup() tells topics apart that differ in one byte or in length', () => {
    const cache = new RouteCache<number>(10_000);
    for (let at = 0; at < 5_000; at++) cache.insert(bytes(`a/common/prefix/${at}/and a common suffix`), at);
    for (let at = 0; at < 5_000; at++) {
      const topic = bytes(`a/common/prefix/${at}/and a common suffix`);
      expect(cache.lookup(topic, 0, topic.length)).toBe(at);
      expect(cache.lookup(topic, 0, topic.length - 1)).toBeUndefined();
    }
  });
});
