/** Names with their tenant: no choice of names makes two tenants meet, and inside of one nothing changes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  filterError,
  hasWildcard,
  matches,
  TOPIC_BYTES_MAX,
  TOPIC_LEVELS_MAX,
  topicError,
} from '../../../../src/core/routing/topic.ts';
import {
  innerFilterError,
  innerName,
  innerSession,
  innerTopicError,
  namesOf,
  plainName,
  sessionOf,
  TenantNames,
  tenantNameError,
  tenantOfName,
  tenantPrefixBytes,
  tenantPrefixLength,
} from '../../../../src/core/tenants/tenant-names.ts';

/** What could make one name look like another. */
const hostile = fc
  .array(fc.constantFrom('a', 'b', '/', '+', '#', '$', '%', '%2F', '@', '..', 'ü', '\u{1f600}', '\u0001', ' ', 'SYS'), {
    maxLength: 6,
  })
  .map((parts) => parts.join(''));
const tenantName = hostile.filter((name) => tenantNameError(name) === undefined);
const topicName = hostile.filter((name) => topicError(name) === undefined);
const filterName = hostile.filter((name) => filterError(name) === undefined);

describe('TenantNames', () => {
  it('keeps topics and filters of different tenants apart, and those of one as they are', () => {
    fc.assert(
      fc.property(tenantName, tenantName, topicName, filterName, (one, other, topic, filter) => {
        const inner = new TenantNames(one).inner(topic);
        const subscribed = new TenantNames(other).inner(filter);
        expect(matches(subscribed, inner)).toBe(one === other && matches(filter, topic));
        // The default tenant, both ways.
        expect(matches(filter, inner)).toBe(false);
        expect(matches(subscribed, topic)).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });

  it('makes names that are valid, that no client can write, and that lead back', () => {
    fc.assert(
      fc.property(tenantName, topicName, filterName, (tenant, topic, filter) => {
        const names = new TenantNames(tenant);
        expect(innerTopicError(names.inner(topic))).toBeUndefined();
        expect(innerFilterError(names.inner(filter))).toBeUndefined();
        expect(topicError(names.inner(topic))).toContain('U+0000');
        expect(filterError(names.inner(filter))).toContain('U+0000');
        expect(hasWildcard(names.inner(filter))).toBe(hasWildcard(filter));
        expect(plainName(names.inner(topic))).toBe(topic);
        expect(innerName(tenant, topic)).toBe(names.inner(topic));
        expect(innerName('default', topic)).toBe(topic);
        expect(tenantOfName(names.inner(topic))).toBe(tenant);
        expect(tenantOfName(topic)).toBeNull();
        const bytes = Buffer.from(`xx${names.inner(topic)}xx`);
        const length = tenantPrefixBytes(bytes, 2, bytes.length - 4);
        expect(bytes.toString('utf8', 2 + length, bytes.length - 2)).toBe(topic);
        expect(length).toBe(tenantPrefixLength(names.inner(topic)));
      }),
      { numRuns: 500 },
    );
  });

  it('makes one session for each pair of tenant and client id', () => {
    fc.assert(
      fc.property(tenantName, hostile, tenantName, hostile, (one, id, other, otherId) => {
        const name = innerSession(one, id);
        expect(sessionOf(name)).toEqual({ tenant: one, clientId: id });
        expect(name === innerSession(other, otherId)).toBe(one === other && id === otherId);
        expect(name).not.toBe(id);
      }),
      { numRuns: 500 },
    );
    expect(innerSession('default', 'plain')).toBe('plain');
    expect(sessionOf('plain')).toEqual({ tenant: 'default', clientId: 'plain' });
  });

  it('bounds a name together with its tenant', () => {
    const names = new TenantNames('acme');
    const room = TOPIC_BYTES_MAX - names.prefixBytes.length;
    expect(innerTopicError(names.inner('x'.repeat(room)))).toBeUndefined();
    expect(innerTopicError(names.inner('x'.repeat(room + 1)))).toContain('longer than');
    expect(innerTopicError(names.inner('/'.repeat(TOPIC_LEVELS_MAX - 2)))).toBeUndefined();
    expect(innerTopicError(names.inner('/'.repeat(TOPIC_LEVELS_MAX - 1)))).toContain('levels');
    expect(innerFilterError(names.inner(`${'/'.repeat(TOPIC_LEVELS_MAX - 1)}#`))).toContain('levels');
  });

  it('refuses what is no name behind a tenant', () => {
    const names = new TenantNames('acme');
    expect(innerTopicError(names.inner(''))).toContain('empty');
    expect(innerTopicError(names.inner('a/+'))).toContain('wildcard');
    expect(innerTopicError(names.inner('a\0b'))).toContain('U+0000');
    expect(innerFilterError(names.inner('a/#/b'))).toContain('#');
    expect(innerFilterError(names.inner('#'))).toBeUndefined();
    expect(innerFilterError(`$share/g/${names.inner('a/+')}`)).toBeUndefined();
    expect(innerFilterError(`$share/g/${names.inner('a+')}`)).toContain('wildcard');
    expect(innerTopicError('$\0acme')).toContain('U+0000');
    expect(innerFilterError('$\0acme/a\0b')).toContain('U+0000');
    expect(innerFilterError('a\0/$\0acme/b')).toContain('U+0000');
  });
});

describe('namesOf()', () => {
  it('answers null for the default tenant and the same names for another one', () => {
    expect(namesOf('default')).toBeNull();
    expect(namesOf('acme')).toBe(namesOf('acme'));
    expect(namesOf('acme')?.tenant).toBe('acme');
  });

  it('keeps a bounded number of them', () => {
    for (let number = 0; number < 3_000; number++) namesOf(`t${number}`);
    expect(namesOf('t1')?.inner('x')).toBe('$\0t1/x');
  });
});

describe('tenantNameError()', () => {
  it.each([
    ['', 'empty'],
    ['x'.repeat(256), '255'],
    ['a\0b', 'U+0000'],
    ['\ud800', 'Unicode'],
  ])('refuses %j', (name, why) => {
    expect(tenantNameError(name)).toContain(why);
  });

  it('takes any other text', () => {
    for (const name of ['acme', 'a/b', '+', '#', '$SYS', 'x'.repeat(255)])
      expect(tenantNameError(name)).toBeUndefined();
  });
});
