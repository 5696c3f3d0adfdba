import { describe, expect, it } from 'vitest';
import { nearest } from '../../../src/config/nearest.ts';

describe('nearest()', () => {
  const candidates = ['limits', 'listeners', 'workers', 'connectionsMax', 'acceptRatePerS'];

  it.each([
    ['limts', 'limits'],
    ['limtis', 'limits'],
    ['worker', 'workers'],
    ['wokrers', 'workers'],
    ['CONNECTIONS_MAX', 'connectionsMax'],
    ['max-connections', undefined],
    ['banana', undefined],
    ['', undefined],
    ['x'.repeat(100_000), undefined],
  ])('nearest() answers %j with %j', (name, expected) => {
    expect(nearest(name, candidates)).toBe(expected);
  });
});
