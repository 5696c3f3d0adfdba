import { describe, expect, it } from 'vitest';
import { BoundedCache } from '../../../src/std/bounded-cache.ts';

describe('BoundedCache', () => {
  it('set() lets go what was not used for the longest time, within the bound', () => {
    const cache = new BoundedCache<string>(30);
    cache.set('a', 'A', 10);
    cache.set('b', 'B', 10);
    cache.set('c', 'C', 10);
    expect(cache.get('a')).toBe('A');
    cache.set('d', 'D', 10);
    expect([cache.has('a'), cache.has('b'), cache.has('c'), cache.has('d')]).toEqual([true, false, true, true]);
    expect(cache.bytes).toBe(30);
  });

  it('set() takes the place of the value before, and keeps nothing that is too large alone', () => {
    const cache = new BoundedCache<string>(30);
    cache.set('a', 'A', 20);
    cache.set('a', 'B', 5);
    expect([cache.get('a'), cache.bytes]).toEqual(['B', 5]);
    cache.set('a', 'C', 31);
    expect([cache.get('a'), cache.bytes]).toEqual([undefined, 0]);
    cache.set('b', 'B', 1);
    cache.delete('b');
    cache.delete('b');
    cache.set('c', 'C', 1);
    cache.clear();
    expect(cache.bytes).toBe(0);
  });
});
