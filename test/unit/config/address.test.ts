import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAddress, parseAddress } from '../../../src/config/address.ts';

describe('parseAddress()', () => {
  it.each([
    ['127.0.0.1:1883', '127.0.0.1', 1883],
    ['0.0.0.0:0', '0.0.0.0', 0],
    ['[::1]:1883', '::1', 1883],
    ['[::]:65535', '::', 65_535],
    ['broker.example:1883', 'broker.example', 1883],
    ['localhost:1', 'localhost', 1],
    [':1883', '127.0.0.1', 1883],
  ])('parseAddress() reads %s', (text, host, port) => {
    expect(parseAddress(text)).toEqual({ host, port });
  });

  it.each([
    ...[
      '',
      '1883',
      'localhost',
      '::1:1883',
      '[::1]',
      '[::1]1883',
      '[127.0.0.1]:1883',
      '[]:1',
      '127.0.0.1:65536',
      '10.0.0.256:1',
    ],
    ...['a b:1', 'x:-1', 'x:1e3', 'x:', '*:1883', '1.2.3:1', 'a..b:1', '-a:1', 'x:1\n', 'http://x:1', 'x:000001'],
  ])('parseAddress() refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it('formatAddress() is its inverse', () => {
    const hosts = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
    fc.assert(
      fc.property(hosts, fc.integer({ min: 0, max: 65_535 }), (host, port) => {
        expect(parseAddress(formatAddress({ host, port }))).toEqual({ host, port });
      }),
    );
  });
});
