import { describe, expect, it } from 'vitest';
import { createSharedBuckets, SharedBucket } from '../../../src/shm/shared-bucket.ts';

const second = 1_000_000_000n;
const start = 1_000n * second;

function bucket(perSecond: number, burst: number, buffer = createSharedBuckets(2)): SharedBucket {
  return new SharedBucket(buffer, 1, perSecond, burst);
}

function takeMany(each: SharedBucket, count: number, nowNs: bigint): number {
  let taken = 0;
  for (let attempt = 0; attempt < count; attempt++) if (each.take(1, nowNs)) taken++;
  return taken;
}

describe('SharedBucket', () => {
  it('take() gives one second at once, then as much as the time brings', () => {
    const each = bucket(50, 0);
    expect(takeMany(each, 80, start)).toBe(50);
    expect(takeMany(each, 80, start + second / 10n)).toBe(5);
    expect(takeMany(each, 80, start + 100n * second)).toBe(50);
  });

  it('take() gives the burst at once', () => {
    expect(takeMany(bucket(50, 7), 80, start)).toBe(7);
  });

  it('left() says what may be spent, and how far too much was', () => {
    const each = bucket(50, 100);
    expect(each.left(start)).toBeCloseTo(100);
    each.spend(30, start);
    expect(each.left(start)).toBeCloseTo(70);
    each.spend(100, start);
    expect(each.left(start)).toBeCloseTo(-30);
    expect(each.left(start + second)).toBeCloseTo(20);
  });

  it('take() of two views spends from one bucket', () => {
    const buffer = createSharedBuckets(2);
    expect(takeMany(bucket(10, 0, buffer), 6, start)).toBe(6);
    expect(takeMany(bucket(10, 0, buffer), 6, start)).toBe(4);
  });

  it('spend() answers for how long the debt lasts', () => {
    const each = bucket(1_000, 0);
    expect(each.spend(1_000, start)).toBe(0);
    expect(each.spend(500, start)).toBe(500);
    expect(each.spend(0, start + second)).toBe(0);
  });

  it('take() gives nothing for a clock that goes back', () => {
    const each = bucket(1, 1);
    expect(each.take(1, start)).toBe(true);
    expect(each.take(1, start - second)).toBe(false);
  });
});
