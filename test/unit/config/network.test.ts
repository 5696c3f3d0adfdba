import { describe, expect, it } from 'vitest';
import { parseUnixAddress } from '../../../src/config/address.ts';
import { parseNetwork } from '../../../src/config/network.ts';

describe('parseNetwork()', () => {
  it.each([
    ['10.0.0.0/8', { address: '10.0.0.0', prefixBits: 8, family: 'ipv4' }],
    ['127.0.0.1', { address: '127.0.0.1', prefixBits: 32, family: 'ipv4' }],
    ['::/0', { address: '::', prefixBits: 0, family: 'ipv6' }],
    ['fd00::1', { address: 'fd00::1', prefixBits: 128, family: 'ipv6' }],
  ])('reads %s', (text, expected) => {
    expect(parseNetwork(text)).toEqual(expected);
  });

  it.each(['', '10.0.0.0/33', '::/129', '10.0.0/8', 'example.com/8', '10.0.0.0/', '10.0.0.0/-1', 'fe80::1%eth0'])(
    'refuses %j',
    (text) => {
      expect(parseNetwork(text)).toBeUndefined();
    },
  );
});

describe('parseUnixAddress()', () => {
  it.each([
    ['unix:/run/ringmq.sock', '/run/ringmq.sock'],
    ['unix:./ringmq.sock', './ringmq.sock'],
    ['unix:../ringmq.sock', '../ringmq.sock'],
  ])('reads %s', (text, path) => {
    expect(parseUnixAddress(text)).toBe(path);
  });

  it.each(['unix:', 'unix:1883', 'unix:ringmq.sock', '/run/ringmq.sock', `unix:/${'x'.repeat(107)}`, 'unix:/a\0b'])(
    'refuses %j',
    (text) => {
      expect(parseUnixAddress(text)).toBeUndefined();
    },
  );
});
