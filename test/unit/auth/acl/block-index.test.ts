/** The block list by client id, user and address, with its times. */
import { expect, test } from 'vitest';
import { BlockIndex, blockKey } from '../../../../src/auth/acl/block-index.ts';
import type { AccessBlock } from '../../../../src/core/ports/access.ts';

const who = { tenant: 'default', user: 'ann', clientId: 'c1', address: '::ffff:10.0.0.7' };

function block(kind: AccessBlock['kind'], value: string, untilMs = 0): AccessBlock {
  return { tenant: 'default', kind, value, reason: '', untilMs };
}

test.each<[AccessBlock, boolean]>([
  [block('client', 'c1'), true],
  [block('client', 'c'), false],
  [block('client', '__proto__'), false],
  [block('user', 'ann'), true],
  [block('user', ''), false],
  [block('address', '10.0.0.7'), true],
  [block('address', '10.0.0.0/29'), true],
  [block('address', '10.0.0.8/29'), false],
  [block('address', '::ffff:a00:7'), true],
  [block('client', 'c1', 1_001), true],
  [block('client', 'c1', 1_000), false],
  [{ ...block('client', 'c1'), tenant: 'acme' }, false],
])('find() with %j: %s', (each, expected) => {
  const index = new BlockIndex();
  index.set(each);
  expect(index.find(who, 1_000) !== null).toBe(expected);
});

test('find() of an anonymous client passes over a block of the empty name', () => {
  const index = new BlockIndex();
  index.set(block('user', ''));
  expect(index.find({ ...who, user: '' }, 0)).toBeNull();
});

test('delete() takes a block out of every look-up', () => {
  const index = new BlockIndex();
  for (const each of [block('client', 'c1'), block('address', '10.0.0.7'), block('address', '10.0.0.0/8')]) {
    index.set(each);
    expect(index.find(who, 0)).toEqual(each);
    index.delete(blockKey(each));
    expect(index.find(who, 0)).toBeNull();
  }
  expect(index.size).toBe(0);
});
