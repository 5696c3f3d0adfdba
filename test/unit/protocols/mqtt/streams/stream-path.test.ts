import { describe, expect, it } from 'vitest';
import {
  fromOfProperties,
  parseStreamPath,
  streamFilter,
} from '../../../../../src/protocols/mqtt/streams/stream-path.ts';

describe('parseStreamPath()', () => {
  it.each([
    ['$stream/orders', { name: 'orders', from: null, filter: null }],
    ['$stream/orders/a/+/#', { name: 'orders', from: null, filter: 'a/+/#' }],
    ['$stream/orders@earliest', { name: 'orders', from: { kind: 'earliest' }, filter: null }],
    ['$stream/orders@latest/a', { name: 'orders', from: { kind: 'latest' }, filter: 'a' }],
    ['$stream/o.r-d_1@offset:42/a', { name: 'o.r-d_1', from: { kind: 'offset', offset: 42 }, filter: 'a' }],
    ['$stream/o@time:1700000000000', { name: 'o', from: { kind: 'time', timeMs: 1_700_000_000_000 }, filter: null }],
    ['$stream/o@2023-11-14T22:13:20Z/a', { name: 'o', from: { kind: 'time', timeMs: 1_700_000_000_000 }, filter: 'a' }],
    ['$stream/o//', { name: 'o', from: null, filter: '/' }],
  ])('reads %s', (path, parts) => {
    expect(parseStreamPath(path)).toEqual(parts);
  });

  it.each([
    '$stream/',
    '$stream//a',
    '$stream/orders/',
    '$stream/_internal',
    '$stream/__messages.0/#',
    '$stream/..',
    '$stream/+/a',
    '$stream/a b',
    '$stream/a@',
    '$stream/a@soon',
    '$stream/a@offset:-1',
    '$stream/a@offset:1e3',
    '$stream/a@time:x',
    '$stream/a@2023-99-99T00:00:00Z',
    `$stream/${'x'.repeat(245)}`,
  ])('refuses %s', (path) => {
    expect(parseStreamPath(path)).toBeNull();
  });
});

describe('streamFilter()', () => {
  it('is the path without the place to begin', () => {
    const filterOf = (path: string): string => {
      const parsed = parseStreamPath(path);
      if (parsed === null) throw new Error(path);
      return streamFilter(parsed);
    };
    expect(filterOf('$stream/o@earliest/a/+')).toBe('$stream/o/a/+');
    expect(filterOf('$stream/o')).toBe('$stream/o/#');
  });
});

describe('fromOfProperties()', () => {
  it('takes the first property that says it', () => {
    expect(fromOfProperties([['x', 'y']])).toBeUndefined();
    expect(
      fromOfProperties([
        ['from', 'offset:3'],
        ['from', 'latest'],
      ]),
    ).toEqual({ kind: 'offset', offset: 3 });
    expect(fromOfProperties([['from', '3']])).toBeNull();
    expect(fromOfProperties([['stream-offset', '1700000000000']])).toEqual({ kind: 'time', timeMs: 1_700_000_000_000 });
    expect(fromOfProperties([['stream-offset', 'earliest']])).toEqual({ kind: 'earliest' });
  });
});
