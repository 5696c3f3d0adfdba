import { describe, expect, it } from 'vitest';
import { allGenerations, newestGenerations } from '../../../../src/storage/s3/names.ts';

function generations(...keys: string[]) {
  return newestGenerations(keys.map((key, modified) => ({ key, size: 1, modified })));
}

describe('allGenerations()', () => {
  it('tells old generations from the newest one', () => {
    const keys = ['names/p/0000000001', 'names/p/0000000001-removed', 'names/p/0000000002'];
    const found = allGenerations(keys.map((key, modified) => ({ key, size: 1, modified })));
    expect(found).toEqual([
      { name: 'p', key: keys[0], generation: 1, isRemoved: true, hasEntry: true, isNewest: false, modified: 1 },
      { name: 'p', key: keys[2], generation: 2, isRemoved: false, hasEntry: true, isNewest: true, modified: 2 },
    ]);
  });
});

describe('newestGenerations()', () => {
  it('takes the newest generation of each name, in whatever order', () => {
    const found = generations(
      'names/p/0000000010',
      'names/p/0000000009-removed',
      'names/p/0000000009',
      'names/q/0000000001',
    );
    expect(found.get('p')).toMatchObject({ key: 'names/p/0000000010', generation: 10, isRemoved: false });
    expect(found.get('q')).toMatchObject({ generation: 1, isRemoved: false });
  });

  it('a removal counts for its generation alone, and without it too', () => {
    for (const keys of [
      ['names/p/0000000002', 'names/p/0000000002-removed'],
      ['names/p/0000000002-removed', 'names/p/0000000002'],
      ['names/p/0000000002-removed'],
    ]) {
      expect(generations(...keys).get('p')).toMatchObject({ key: 'names/p/0000000002', isRemoved: true });
    }
    expect(generations('names/p/0000000001-removed', 'names/p/0000000002').get('p')?.isRemoved).toBe(false);
  });

  it('leaves alone what is no name', () => {
    expect(generations('names/', 'names/p', 'names/p/x', 'data/id/run/1').size).toBe(0);
  });
});
