import { describe, expect, it } from 'vitest';
import { clearWorker, createTenantCounts, TenantCount } from '../../../../src/core/limits/tenant-counts.ts';

describe('TenantCount', () => {
  it('adds up what all workers have of a tenant, and of no other', () => {
    const buffer = createTenantCounts(3);
    const of = (slot: number, worker: number): TenantCount => new TenantCount(buffer, slot, worker, 3, 5);
    of(1, 0).add(2);
    of(1, 2).add(2);
    of(0, 2).add(9);
    of(2, 0).add(9);
    expect(of(1, 1).total).toBe(4);
    expect(of(1, 1).isFull).toBe(false);
    of(1, 1).add(1);
    expect(of(1, 0).isFull).toBe(true);
    of(1, 1).add(-1);
    expect(of(1, 0).isFull).toBe(false);
  });
});

describe('clearWorker()', () => {
  it('takes away what a worker had of every tenant', () => {
    const buffer = createTenantCounts(2);
    for (const slot of [0, 7, 1_023])
      for (const worker of [0, 1]) new TenantCount(buffer, slot, worker, 2, 9).add(worker + 1);
    clearWorker(buffer, 1, 2);
    for (const slot of [0, 7, 1_023]) expect(new TenantCount(buffer, slot, 0, 2, 9).total).toBe(1);
  });
});
