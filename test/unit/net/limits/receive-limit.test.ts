import { describe, expect, it } from 'vitest';
import { ReceiveLimiter } from '../../../../src/net/limits/receive-limit.ts';
import { createSharedBuckets, SharedBucket } from '../../../../src/shm/shared-bucket.ts';

describe('ReceiveLimiter', () => {
  it('received() lets one second of bytes through, then asks for the pause that they are worth', () => {
    const limiter = new ReceiveLimiter({ connectionBytesPerS: 1_000, listener: null });
    const connection = {};
    expect(limiter.received(connection, 1_000, 0)).toBe(0);
    expect(limiter.received(connection, 250, 0)).toBe(250);
    expect(limiter.received({}, 1_000, 0)).toBe(0);
    expect(limiter.received(connection, 100, 10_000)).toBe(0);
  });

  it('received() never asks for more than a second', () => {
    const limiter = new ReceiveLimiter({ connectionBytesPerS: 10, listener: null });
    expect(limiter.received({}, 1_000_000, 0)).toBe(1_000);
  });

  it('received() counts all connections against the limit of the listener', () => {
    const bucket = new SharedBucket(createSharedBuckets(1), 0, 1_000, 0);
    const limiter = new ReceiveLimiter({ connectionBytesPerS: 0, listener: bucket });
    expect(limiter.received({}, 900)).toBe(0);
    expect(limiter.received({}, 900)).toBeGreaterThan(500);
  });
});
