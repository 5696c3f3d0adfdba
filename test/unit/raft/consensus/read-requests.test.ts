import { describe, expect, it } from 'vitest';
import { ReadRequests } from '../../../../src/raft/consensus/read-requests.ts';

describe('ReadRequests', () => {
  it('confirm() does answer what came before the sequence was sent, and nothing else', () => {
    const reads = new ReadRequests();
    reads.begin(1, 11, 5);
    reads.begin(2, 21, 5);
    expect(reads.takeUnsent()).toBe(true);
    expect(reads.sequence).toBe(1);
    reads.begin(1, 12, 6);
    expect(reads.confirm(1)).toMatchObject([
      { from: 1, context: 11, index: 5 },
      { from: 2, context: 21, index: 5 },
    ]);
    expect(reads.takeUnsent()).toBe(true);
    expect(reads.confirm(1)).toEqual([]);
    expect(reads.confirm(2)).toMatchObject([{ context: 12, index: 6 }]);
    expect(reads.hasWaiting).toBe(false);
  });

  it('takeUnsent() does ask once for many requests', () => {
    const reads = new ReadRequests();
    expect(reads.takeUnsent()).toBe(false);
    for (let context = 1; context <= 100; context++) reads.begin(1, context, 3);
    expect([reads.takeUnsent(), reads.takeUnsent(), reads.sequence]).toEqual([true, false, 1]);
    expect(reads.confirm(1)).toHaveLength(100);
  });

  it('release() does begin held requests with the index that is to be trusted', () => {
    const reads = new ReadRequests();
    reads.hold({ from: 1, context: 11 });
    expect(reads.takeUnsent()).toBe(false);
    reads.release(9);
    reads.release(10);
    expect(reads.takeUnsent()).toBe(true);
    expect(reads.confirm(1)).toMatchObject([{ context: 11, index: 9 }]);
  });

  it('confirm() does refuse a sequence that was never sent', () => {
    expect(() => new ReadRequests().confirm(1)).toThrow('Only what was sent');
  });
});
