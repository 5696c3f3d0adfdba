import { describe, expect, it } from 'vitest';
import { BlockCache } from '../../../../src/storage/s3/block-cache.ts';

const header = { baseOffset: 0, endOffset: 1, maxTimestamp: 0, bytes: 1, blocks: [] };

describe('BlockCache', () => {
  it('keeps what was used last, within its bound', () => {
    const cache = new BlockCache(5000);
    for (let index = 0; index < 4; index += 1) cache.addBlock('key', index, Buffer.alloc(1000, index));
    expect(cache.block('key', 0)?.[0]).toBe(0);
    cache.addBlock('key', 4, Buffer.alloc(1000, 4));
    expect(cache.bytes).toBeLessThanOrEqual(5000);
    expect([0, 1, 2, 3, 4].map((index) => cache.block('key', index) !== null)).toEqual([true, false, true, true, true]);
  });

  it('counts a block once though it is added again', () => {
    const cache = new BlockCache(5000);
    for (let count = 0; count < 10; count += 1) cache.addBlock('key', 0, Buffer.alloc(1000));
    expect(cache.bytes).toBeLessThan(1500);
  });

  it('does not take what is larger than its bound', () => {
    const cache = new BlockCache(500);
    cache.addBlock('key', 0, Buffer.alloc(501));
    expect(cache.bytes).toBe(0);
    new BlockCache(0).addHeader('key', header);
  });

  it('keeps headers and blocks of a key apart', () => {
    const cache = new BlockCache(5000);
    cache.addHeader('key', header);
    cache.addBlock('key', 0, Buffer.from('a'));
    expect(cache.header('key')).toBe(header);
    expect(cache.block('key', 0)).toEqual(Buffer.from('a'));
    expect(cache.header('key@0')).toBeNull();
    expect(cache.block('other', 0)).toBeNull();
  });
});
