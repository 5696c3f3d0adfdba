import { expect, test } from 'vitest';
import { matchesFilter } from '../../../../src/cli/client/topic-filter.ts';

test.each([
  ['a/b', 'a/b', true],
  ['a/+', 'a/b', true],
  ['a/+', 'a/b/c', false],
  ['a/#', 'a', true],
  ['a/#', 'a/b/c', true],
  ['+/+', '/a', true],
  ['#', '$SYS/x', false],
  ['+/x', '$SYS/x', false],
  ['$SYS/#', '$SYS/x', true],
  ['a/b', 'a', false],
])('matchesFilter() answers for "%s" and "%s" with %s', (filter, topic, expected) => {
  expect(matchesFilter(filter, topic)).toBe(expected);
});
