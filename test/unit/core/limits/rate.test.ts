import { describe, expect, it } from 'vitest';
import { OwnRate, SharedRate } from '../../../../src/core/limits/rate.ts';
import { createSharedBuckets, SharedBucket } from '../../../../src/shm/shared-bucket.ts';

describe('OwnRate', () => {
  it('available() begins with one second, and grows no further', () => {
    const rate = new OwnRate(50, 0);
    expect(rate.available(1_000)).toBe(50);
    expect(rate.available(1_000_000)).toBe(50);
  });

  it('available() comes back with time', () => {
    const rate = new OwnRate(50, 10);
    rate.spend(10, 1_000);
    expect(rate.available(1_000)).toBeCloseTo(0);
    expect(rate.waitMs(1, 1_000)).toBeCloseTo(20);
    expect(rate.available(1_100)).toBeCloseTo(5);
  });

  it('spend() beyond what is there makes everybody wait for longer', () => {
    const rate = new OwnRate(1_000, 0);
    rate.spend(3_000, 0);
    expect(rate.available(0)).toBeCloseTo(-2_000);
    expect(rate.waitMs(1, 0)).toBeCloseTo(2_001);
    expect(rate.waitMs(1, 5_000)).toBe(0);
  });
});

describe('SharedRate', () => {
  it('spends from one budget through every view of it', () => {
    const buffer = createSharedBuckets(1);
    const [one, other] = [0, 1].map(() => new SharedRate(new SharedBucket(buffer, 0, 1, 100), 1));
    one?.spend(60);
    expect(other?.available()).toBeCloseTo(40, -1);
    other?.spend(60);
    expect(one?.available()).toBeCloseTo(-20, -1);
    expect(one?.waitMs(1)).toBeGreaterThan(20_000);
  });
});
