import { describe, expect, it } from 'vitest';
import { ownedCopy } from '../../../src/std/owned-copy.ts';

describe('ownedCopy()', () => {
  it('copies the range to memory that nothing else uses', () => {
    const source = Buffer.from('abcdef');
    const copy = ownedCopy(source, 2, 5);
    source.fill(0);
    expect(copy.toString()).toBe('cde');
    expect(copy.buffer.byteLength).toBe(3);
  });
});
