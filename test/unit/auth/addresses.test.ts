/** Addresses and ranges, in all the spellings in which clients and proxies may appear. */
import { describe, expect, test } from 'vitest';
import { isInRanges, isLoopback, parseIp, parseRange } from '../../../src/auth/addresses.ts';

describe('isLoopback()', () => {
  test.each(['127.0.0.1', '127.255.255.254', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::ffff:7f00:1'])(
    'is true for %s',
    (address) => expect(isLoopback(address)).toBe(true),
  );
  test.each([
    '',
    '128.0.0.1',
    '10.0.0.1',
    '::2',
    '::',
    '127.1',
    '0127.0.0.1',
    'localhost',
    '::ffff:128.0.0.1',
    '127.0.0.1 ',
  ])('is false for "%s"', (address) => expect(isLoopback(address)).toBe(false));
});

describe('isInRanges()', () => {
  test.each([
    ['10.1.2.3', '10.0.0.0/8', true],
    ['11.1.2.3', '10.0.0.0/8', false],
    ['::ffff:10.1.2.3', '10.0.0.0/8', true],
    ['10.1.2.3', '::ffff:10.0.0.0/104', true],
    ['192.168.1.77', '192.168.1.64/27', true],
    ['192.168.1.97', '192.168.1.64/27', false],
    ['2001:db8::5', '2001:db8::/32', true],
    ['2001:db9::5', '2001:db8::/32', false],
    ['fe80::1%eth0', 'fe80::/10', true],
    ['1.2.3.4', '0.0.0.0/0', true],
    ['::1', '0.0.0.0/0', false],
    ['1.2.3.4', '::/0', true],
    ['1.2.3.4', '1.2.3.4', true],
    ['not an address', '0.0.0.0/0', false],
    ['1.2.3.4', 'not a range', false],
  ])('%s in %s: %s', (address, range, expected) => expect(isInRanges(address, [range])).toBe(expected));
});

describe('parseRange()', () => {
  test.each(['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '10.0.0/8', '', 'fe80::1%eth0/64', '1.2.3.4/8/8'])(
    'is null for "%s"',
    (text) => expect(parseRange(text)).toBeNull(),
  );
  test('parseIp() expands every form of IPv6', () => {
    expect(Buffer.from(parseIp('1:2::f') ?? []).toString('hex')).toBe('0001000200000000000000000000000f');
    expect(Buffer.from(parseIp('1::2.3.4.5') ?? []).toString('hex')).toBe('00010000000000000000000002030405');
  });
});
