/** Cover and overlap of topic filters, against the plain definition over all small topics. */
import { describe, expect, test } from 'vitest';
import { covers, levelsOf, overlaps } from '../../../../src/auth/acl/filters.ts';
import { filterError, matches, topicError } from '../../../../src/core/routing/topic.ts';

const words = ['a', 'b', '+', '#', '', '$s'];

/** All texts of up to three levels. */
function all(): string[] {
  const one = words;
  const two = one.flatMap((first) => words.map((second) => `${first}/${second}`));
  const three = two.flatMap((first) => words.map((second) => `${first}/${second}`));
  return [...one, ...two, ...three];
}

const filters = all().filter((text) => filterError(text) === undefined);
/** One level deeper than the filters, and with a word that no filter has. */
const topics = [
  ...all(),
  ...all().map((text) => `${text}/c`),
  'c',
  'c/c',
  'a/c',
  'c/a',
  'c/c/c',
  'a/c/c',
  '$s/c/c',
].filter((text) => topicError(text) === undefined);

/** The empty name is no topic, but what `/#` and `+` would both match: to deny it harms nobody. */
topics.push('');
const matched = new Map(filters.map((filter) => [filter, new Set(topics.filter((topic) => matches(filter, topic)))]));

describe('covers() and overlaps()', () => {
  test('covers() is never true when a topic of the inner filter is not matched by the outer one', () => {
    const wrong: string[] = [];
    for (const outer of filters) {
      for (const inner of filters) {
        if (!covers(levelsOf(outer), levelsOf(inner))) continue;
        const outside = [...(matched.get(inner) ?? [])].some((topic) => !matched.get(outer)?.has(topic));
        if (outside) wrong.push(`${outer} over ${inner}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('overlaps() is true exactly when a topic is matched by both', () => {
    const wrong: string[] = [];
    for (const one of filters) {
      for (const other of filters) {
        const expected = [...(matched.get(one) ?? [])].some((topic) => matched.get(other)?.has(topic));
        if (overlaps(levelsOf(one), levelsOf(other)) !== expected) wrong.push(`${one} and ${other}: ${expected}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test.each([
    ['a/#', 'a', true],
    ['a/#', 'a/b/#', true],
    ['a/+', 'a/#', false],
    ['#', '$s/a', false],
    ['+/a', '$s/a', false],
    ['$s/#', '$s/a', true],
    ['a/+/c', 'a/b/c', true],
    ['a/b', 'a/+', false],
  ])('covers("%s", "%s") is %s', (outer, inner, expected) => {
    expect(covers(levelsOf(outer), levelsOf(inner))).toBe(expected);
  });
});
