import { describe, expect, it } from 'vitest';
import { addressKey, KeyedRates } from '../../../../src/core/limits/keyed-rates.ts';

describe('KeyedRates', () => {
  it('take() gives each key a rate of its own', () => {
    const rates = new KeyedRates(2, 3);
    const takes = (key: string, nowMs: number): number => [1, 2, 3, 4, 5].filter(() => rates.take(key, nowMs)).length;
    expect(takes('a', 0)).toBe(3);
    expect(takes('__proto__', 0)).toBe(3);
    expect(takes('a', 500)).toBe(1);
  });

  it('take() always gives when there is no rate', () => {
    expect(new KeyedRates(0, 0).take('a', 0)).toBe(true);
  });

  it('keeps a bounded number of keys and forgets the oldest', () => {
    const rates = new KeyedRates(1, 1);
    expect(rates.take('first', 0)).toBe(true);
    for (let at = 0; at < 50_000; at++) rates.take(`${at}`, 0);
    expect(rates.take('49999', 0)).toBe(false);
    expect(rates.take('first', 0)).toBe(true);
  });
});

describe('addressKey()', () => {
  it('is an IPv4 address itself, mapped or not', () => {
    expect(addressKey('192.0.2.7')).toBe('192.0.2.7');
    expect(addressKey('::ffff:192.0.2.7')).toBe('192.0.2.7');
  });

  it('is the network of 64 bits of an IPv6 address, however it is written', () => {
    const key = addressKey('2001:db8:0:1::1');
    expect(addressKey('2001:0db8:0000:0001:ffff:1:2:3')).toBe(key);
    expect(addressKey('2001:DB8:0:1:2:3:4:5')).toBe(key);
    expect(addressKey('2001:db8:0:2::1')).not.toBe(key);
    expect(addressKey('fe80::1%eth0')).toBe(addressKey('fe80::2'));
    expect(addressKey('::1')).toBe('0:0:0:0');
  });
});
