import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compare, generate } from '../../../scripts/generate-rpc.ts';

const folder = join(import.meta.dirname, '../../../src/rpc/generated');

describe('generate()', () => {
  test('generate() gives what is committed', () => {
    const committed = globSync('**/*.ts', { cwd: folder }).map(
      (path) => [path, readFileSync(join(folder, path), 'utf8')] as const,
    );
    expect(committed.length).toBeGreaterThan(0);
    expect(compare(generate(), new Map(committed))).toEqual([]);
  });
});

describe('compare()', () => {
  test('compare() names what is missing, stray and stale', () => {
    const expected = new Map([
      ['a.ts', '1'],
      ['b.ts', '2'],
    ]);
    const committed = new Map([
      ['b.ts', 'old'],
      ['c.ts', '3'],
    ]);
    expect(compare(expected, committed)).toEqual([
      'a.ts: is missing',
      'c.ts: has no source',
      'b.ts: is not what its source gives',
    ]);
  });
});
