import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { groupsOf, insertSizes } from '../../../../src/storage/mysql/insertions.ts';

describe('insertSizes()', () => {
  it('takes the largest sizes first', () => {
    expect(insertSizes(0)).toEqual([]);
    expect(insertSizes(1)).toEqual([1]);
    expect(insertSizes(75)).toEqual([32, 32, 8, 2, 1]);
  });
});

describe('groupsOf()', () => {
  it('keeps all in order, and no group of several above the bound', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50)), fc.nat(100), (items, bytesMax) => {
        const groups = groupsOf(items, (item) => item, bytesMax);
        expect(groups.flat()).toEqual(items);
        for (const group of groups) {
          expect(group.length).toBeGreaterThan(0);
          if (group.length > 1) expect(group.reduce((sum, item) => sum + item, 0)).toBeLessThanOrEqual(bytesMax);
        }
      }),
    );
  });
});
