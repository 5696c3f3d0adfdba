import { describe, expect, it } from 'vitest';
import { PendingWrites } from '../../../../src/raft/consensus/pending-writes.ts';

describe('PendingWrites', () => {
  it('finish() does answer the mark of the newest finished round', () => {
    const writes = new PendingWrites();
    expect(writes.begin(3, 0)).toBe(1);
    expect(writes.begin(5, 0)).toBe(2);
    expect(writes.begin(7, 2)).toBe(3);
    expect(writes.finish(2).last).toBe(5);
    expect(writes.finish(3)).toMatchObject({ last: 7, candidateTerm: 2 });
  });

  it('truncate() does lower the marks of rounds under way, and only theirs', () => {
    const writes = new PendingWrites();
    writes.begin(5, 0);
    writes.begin(8, 0);
    writes.truncate(6);
    writes.begin(9, 0);
    expect(writes.finish(1).last).toBe(5);
    expect(writes.finish(2).last).toBe(5);
    expect(writes.finish(3).last).toBe(9);
  });

  it('finish() does refuse a round twice, and one that was never handed out', () => {
    const writes = new PendingWrites();
    writes.begin(1, 0);
    expect(() => writes.finish(2)).toThrow('handed out');
    writes.finish(1);
    expect(() => writes.finish(1)).toThrow('once and in order');
  });
});
