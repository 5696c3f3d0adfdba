import { describe, expect, it } from 'vitest';
import { Progress } from '../../../../src/raft/consensus/progress.ts';

const limits = { inflightMessagesMax: 2, inflightBytesMax: 1_000 };

function replicating(match: number): Progress {
  const progress = new Progress(2, match + 1, true, limits);
  progress.accept(match);
  progress.becomeReplicate();
  return progress;
}

describe('Progress', () => {
  it('sent() does pause a probe until it is answered', () => {
    const progress = new Progress(2, 8, true, limits);
    expect(progress.isPaused).toBe(false);
    progress.sent(3, 30, 0);
    expect([progress.isPaused, progress.next]).toEqual([true, 8]);
    progress.reject(7, 2);
    expect([progress.isPaused, progress.next]).toEqual([false, 3]);
  });

  it('sent() does advance a replicating follower within the limits', () => {
    const progress = replicating(5);
    progress.sent(3, 30, 5);
    expect([progress.next, progress.inflights.count]).toEqual([9, 1]);
    progress.sent(1, 10, 5);
    expect([progress.next, progress.inflights.isFull]).toEqual([10, true]);
    expect(progress.isPaused).toBe(false);
  });

  it('accept() does say whether it is news', () => {
    const progress = replicating(5);
    progress.sent(3, 30, 5);
    expect(progress.accept(7)).toBe(true);
    expect([progress.match, progress.next]).toEqual([7, 9]);
    expect(progress.accept(7)).toBe(false);
    expect(progress.accept(3)).toBe(false);
    expect(progress.accept(12)).toBe(true);
    expect(progress.next).toBe(13);
  });

  it('reject() does send a replicating follower back to a probe behind what it holds', () => {
    const progress = replicating(5);
    progress.sent(3, 30, 5);
    expect(progress.reject(5, 0)).toBe(false);
    expect(progress.reject(8, 2)).toBe(true);
    expect([progress.state, progress.next, progress.inflights.count]).toEqual(['probe', 6, 0]);
  });

  it('reject() does ignore the answer to an older probe', () => {
    const progress = new Progress(2, 8, true, limits);
    expect(progress.reject(9, 1)).toBe(false);
    expect(progress.reject(7, 4)).toBe(true);
    expect(progress.reject(7, 4)).toBe(false);
    expect(progress.next).toBe(5);
  });

  it('reject() does keep a probe above what the follower holds, however low the hint', () => {
    const progress = new Progress(2, 8, true, limits);
    progress.accept(3);
    expect(progress.reject(3, 1)).toBe(false);
    expect(progress.reject(7, 1)).toBe(true);
    expect([progress.match, progress.next]).toEqual([3, 4]);
  });

  it('isCommitNews() does hold once per commit index', () => {
    const progress = replicating(5);
    expect(progress.isCommitNews(5)).toBe(true);
    progress.sent(0, 0, 5);
    expect(progress.isCommitNews(5)).toBe(false);
    // Not beyond what was sent: it would not be believed.
    expect(progress.isCommitNews(6)).toBe(false);
    progress.sent(2, 20, 5);
    expect(progress.isCommitNews(6)).toBe(true);
  });

  it('isCommitDue() does hold when everybody is to know, or somebody waits at the follower', () => {
    const progress = replicating(5);
    progress.sent(10, 100, 5);
    expect([progress.isCommitDue(8, 5), progress.isCommitDue(8, 6)]).toEqual([false, true]);
    progress.wants(9, 9);
    progress.wants(12, 13);
    expect([progress.isCommitDue(8, 0), progress.isCommitDue(9, 0)]).toEqual([false, true]);
    progress.told(9);
    expect([progress.isCommitDue(10, 0), progress.isCommitDue(12, 0)]).toEqual([true, true]);
    progress.told(13);
    expect(progress.isCommitDue(15, 0)).toBe(false);
    expect(progress.isCommitNews(15)).toBe(true);
  });

  it('becomeSnapshot() does pause until the stream has ended', () => {
    const progress = new Progress(2, 3, true, limits);
    progress.becomeSnapshot(10);
    expect([progress.state, progress.isPaused, progress.next]).toEqual(['snapshot', true, 11]);
    progress.snapshotEnded(true);
    expect([progress.state, progress.isPaused, progress.next]).toEqual(['probe', true, 11]);
  });

  it('snapshotEnded() does go back to the old place when it failed', () => {
    const progress = new Progress(2, 3, true, limits);
    progress.accept(2);
    progress.becomeSnapshot(10);
    progress.snapshotEnded(false);
    expect([progress.state, progress.isPaused, progress.next]).toEqual(['probe', true, 3]);
  });

  it('becomeReplicate() does begin after what the follower holds', () => {
    const progress = new Progress(2, 3, true, limits);
    progress.becomeSnapshot(10);
    progress.accept(12);
    progress.becomeReplicate();
    expect([progress.state, progress.next]).toEqual(['replicate', 13]);
  });
});
