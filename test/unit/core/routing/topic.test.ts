import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  filterError,
  hasWildcard,
  isHiddenTopic,
  matches,
  TOPIC_BYTES_MAX,
  TOPIC_LEVELS_MAX,
  topicError,
} from '../../../../src/core/routing/topic.ts';
import { filters, topics } from './arbitraries.ts';

const deepest = new Array<string>(TOPIC_LEVELS_MAX).fill('a').join('/');

describe('topic', () => {
  it.each([
    'a',
    '/',
    '//',
    'a//b',
    '/a',
    'a/',
    '$SYS/x',
    '__proto__',
    'é/😀',
    ' ',
    deepest,
    'x'.repeat(TOPIC_BYTES_MAX),
  ])('topicError() accepts what may be published to (%#)', (topic) => {
    expect(topicError(topic)).toBeUndefined();
    expect(filterError(topic)).toBeUndefined();
  });

  it.each([
    ['', 'empty'],
    ['a/+', 'wildcard'],
    ['#', 'wildcard'],
    ['a+b', 'wildcard'],
    ['a\0b', 'U+0000'],
    [`${deepest}/a`, 'levels'],
    ['x'.repeat(TOPIC_BYTES_MAX + 1), 'bytes'],
    ['é'.repeat(TOPIC_BYTES_MAX / 2 + 1), 'bytes'],
    ['a\ud800', 'Unicode'],
  ])('topicError() says why a topic is refused (%#)', (topic, reason) => {
    expect(topicError(topic)).toContain(reason);
  });

  it.each(['#', '+', '+/#', '/#', '+/+', 'a/+/b', 'a/#', '/+', '+/', '$SYS/#', `${deepest.slice(0, -1)}#`])(
    'filterError() accepts the filter %s',
    (filter) => {
      expect(filterError(filter)).toBeUndefined();
      expect(hasWildcard(filter)).toBe(true);
    },
  );

  it.each([
    ['', 'empty'],
    ['#/a', 'last'],
    ['a/#/b', 'last'],
    ['#/', 'last'],
    ['a#', 'fill'],
    ['a/b#', 'fill'],
    ['a+', 'fill'],
    ['+a/b', 'fill'],
    ['++', 'fill'],
    ['+#', 'fill'],
    ['##', 'fill'],
    ['a\0', 'U+0000'],
    [`${deepest}/#`, 'levels'],
    ['x'.repeat(TOPIC_BYTES_MAX + 1), 'bytes'],
    ['\udc00', 'Unicode'],
  ])('filterError() says why a filter is refused (%#)', (filter, reason) => {
    expect(filterError(filter)).toContain(reason);
  });

  it.each<[string, string, boolean]>([
    ['a/b', 'a/b', true],
    ['a/b', 'a/c', false],
    ['a', 'a/b', false],
    ['a/b', 'a', false],
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['a/#', 'ab', false],
    ['a/+', 'a', false],
    ['a/+', 'a/', true],
    ['a/+/#', 'a/b', true],
    ['+', 'a', true],
    ['+', '/a', false],
    ['/+', '/a', true],
    ['+/+', '/a', true],
    ['#', 'a/b', true],
    ['#', '/', true],
    ['/#', '/', true],
    ['#', '$SYS/a', false],
    ['+/a', '$SYS/a', false],
    ['$SYS/#', '$SYS/a', true],
    ['$SYS/+', '$SYS/a', true],
    ['$SYS/#', '$SYS', true],
    ['a/+', 'a/$x', true],
    ['a/#', 'a/$x', true],
    ['+', '$', false],
    ['A', 'a', false],
  ])('matches(%s, %s) is %s', (filter, topic, expected) => {
    expect(matches(filter, topic)).toBe(expected);
  });

  it('matches() agrees with a regular expression', () => {
    const quote = (text: string): string => text.replace(/[\\^$.*?()[\]{}|]/g, '\\$&');
    const property = fc.property(filters, topics, (filter, topic) => {
      const levels = filter.split('/').map((level) => (level === '+' ? '[^/]*' : quote(level)));
      let source = levels.join('/');
      if (filter === '#') source = '.*';
      else if (filter.endsWith('/#')) source = `${source.slice(0, -2)}(/.*)?`;
      const hidden = isHiddenTopic(topic) && /^[+#]/.test(filter);
      expect(matches(filter, topic)).toBe(!hidden && new RegExp(`^${source}$`, 's').test(topic));
    });
    fc.assert(property, { numRuns: 3_000 });
  });
});
