import { describe, expect, it } from 'vitest';
import { PublishMeter } from '../../../../src/core/limits/publish-meter.ts';
import { OwnRate } from '../../../../src/core/limits/rate.ts';

function meter(): PublishMeter {
  return new PublishMeter([
    { limit: 'client-publish-rate', unit: 'messages', rate: new OwnRate(10, 4) },
    { limit: 'client-publish-bytes', unit: 'bytes', rate: new OwnRate(1_000, 0) },
  ]);
}

describe('PublishMeter', () => {
  it('countMax() is the number of whole messages that are left', () => {
    const each = meter();
    expect(each.countMax(0)).toBe(4);
    each.spend(3, 30, 0);
    expect(each.countMax(0)).toBe(1);
    each.spend(1, 10, 0);
    expect(each.countMax(50)).toBe(0);
    expect(each.wait(50)).toEqual({ ms: 50, limit: 'client-publish-rate' });
    expect(each.countMax(100)).toBe(1);
  });

  it('countMax() is 0 while more bytes came than may', () => {
    const each = meter();
    each.spend(1, 1_500, 0);
    expect(each.countMax(0)).toBe(0);
    expect(each.wait(0).limit).toBe('client-publish-bytes');
    expect(each.countMax(499)).toBe(0);
    expect(each.countMax(502)).toBeGreaterThan(0);
  });

  it('wait() is never longer than a second, so that a client that waits is seen to be alive', () => {
    const each = meter();
    each.spend(1, 1_000_000, 0);
    expect(each.wait(0).ms).toBe(1_000);
  });
});
