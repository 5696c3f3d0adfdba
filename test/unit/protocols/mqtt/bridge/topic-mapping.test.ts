// How bridges rename topics, against the plain definition of a match as the oracle.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matches, topicError } from '../../../../../src/core/routing/topic.ts';
import { filtersOverlap, mapFilter, mapTopic } from '../../../../../src/protocols/mqtt/bridge/topic-mapping.ts';

const level = fc.constantFrom('', 'a', 'ab', 'b', '$x');
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, isOpen]) => [...levels, ...(isOpen ? ['#'] : [])].join('/'));
const prefix = fc.constantFrom('', 'a', 'a/', 'ab/', 'a/b', 'a/b/', '/', 'x/', 'x');

describe('mapTopic()', () => {
  it('takes one prefix off and puts the other one on', () => {
    expect(mapTopic('site/1/up', { removePrefix: 'site/', addPrefix: 'remote/' })).toBe('remote/1/up');
    expect(mapTopic('up', { removePrefix: '', addPrefix: '' })).toBe('up');
  });

  it('answers null for another beginning, and when nothing is left', () => {
    expect(mapTopic('other/1', { removePrefix: 'site/', addPrefix: '' })).toBeNull();
    expect(mapTopic('site/', { removePrefix: 'site/', addPrefix: '' })).toBeNull();
  });
});

describe('mapFilter()', () => {
  it('keeps exact filters exact', () => {
    expect(mapFilter('site/+/up', { removePrefix: 'site/', addPrefix: 'far/' })).toBe('far/+/up');
    expect(mapFilter('#', { removePrefix: '', addPrefix: 'far/' })).toBe('far/#');
    expect(mapFilter('a/b', { removePrefix: 'c/', addPrefix: '' })).toBeNull();
  });

  it('matches every name that a topic can get', () => {
    fc.assert(
      fc.property(filter, topic, prefix, prefix, (from, name, removePrefix, addPrefix) => {
        fc.pre(name !== '' && from !== '' && topicError(name) === undefined && matches(from, name));
        const mapped = mapTopic(name, { removePrefix, addPrefix });
        fc.pre(mapped !== null && !mapped.startsWith('$'));
        const image = mapFilter(from, { removePrefix, addPrefix });
        expect(image).not.toBeNull();
        expect([image, mapped, matches(image ?? '', mapped ?? '')]).toEqual([image, mapped, true]);
      }),
      { numRuns: 700 },
    );
  });
});

describe('filtersOverlap()', () => {
  it('is true wherever one topic matches both', () => {
    fc.assert(
      fc.property(filter, filter, topic, (one, other, name) => {
        fc.pre(name !== '' && one !== '' && other !== '' && matches(one, name) && matches(other, name));
        expect(filtersOverlap(one, other)).toBe(true);
        expect(filtersOverlap(other, one)).toBe(true);
      }),
      { numRuns: 700 },
    );
  });

  it('is false for filters without a common topic', () => {
    expect(filtersOverlap('a/+', 'b/#')).toBe(false);
    expect(filtersOverlap('a/+', 'a/b/c')).toBe(false);
    expect(filtersOverlap('#', '$SYS/#')).toBe(false);
    expect(filtersOverlap('+/a', '$x/a')).toBe(false);
    expect(filtersOverlap('a/#', 'a')).toBe(true);
  });
});
