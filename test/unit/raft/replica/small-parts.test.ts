/** The order of promises, the plan of compaction, the guard of the disk, and who was heard of. */
import { describe, expect, it } from 'vitest';
import type { Command } from '../../../../src/core/ports/placement.ts';
import { Activity } from '../../../../src/raft/replica/activity.ts';
import { CompactionPlan } from '../../../../src/raft/replica/compaction.ts';
import { DiskGuard } from '../../../../src/raft/replica/disk-guard.ts';
import { LeaderWatch } from '../../../../src/raft/replica/leader-watch.ts';
import { PersistQueue } from '../../../../src/raft/replica/persist-queue.ts';
import { deletionOf, setOf } from './local-group.ts';

describe('PersistQueue', () => {
  it('releases a round when it and every earlier one is durable', () => {
    const released: number[] = [];
    const queue = new PersistQueue((number) => released.push(number));
    const [first, second, third] = [1, 2, 3].map((number) => queue.add(number, []));
    third();
    second();
    expect(released).toEqual([]);
    first();
    expect(released).toEqual([1, 2, 3]);
    expect(queue.isEmpty).toBe(true);
    const late = queue.add(4, []);
    queue.clear();
    late();
    expect(released).toEqual([1, 2, 3]);
  });
});

describe('CompactionPlan', () => {
  const membership = { voters: [1], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
  const at = (index: number) => ({ index, term: 1, membership });
  const view = { firstIndex: 1, logBytes: 0, neededAfter: Number.POSITIVE_INFINITY };

  function planWith(...indexes: number[]): CompactionPlan {
    const plan = new CompactionPlan({ keptEntries: 100, logBytesMax: 1_000 });
    for (const index of indexes) plan.remember(at(index));
    return plan;
  }

  it('keeps as many entries as are wanted, and does not cut for a few', () => {
    expect(planWith(50, 100).next({ ...view, durable: at(150) })).toBeNull();
    expect(planWith(50, 100, 150).next({ ...view, durable: at(300) })).toEqual(at(150));
    expect(planWith(50, 250).next({ ...view, durable: at(300) })).toEqual(at(50));
    expect(planWith().next({ ...view, durable: at(300) })).toBeNull();
  });

  it('keeps what a follower needs, until the log is far too large', () => {
    const needed = { ...view, durable: at(300), neededAfter: 60 };
    expect(planWith(50, 100, 150).next(needed)).toEqual(at(50));
    expect(planWith(50, 100, 150).next({ ...needed, logBytes: 3_000 })).toEqual(at(50));
    expect(planWith(50, 100, 150).next({ ...needed, logBytes: 5_000 })).toEqual(at(300));
  });

  it('keeps fewer when the log is too large', () => {
    const plan = planWith(50, 100, 250, 280);
    expect(plan.next({ ...view, logBytes: 2_000, durable: at(295) })).toEqual(at(280));
    expect(plan.next({ ...view, firstIndex: 281, logBytes: 2_000, durable: at(296) })).toBeNull();
  });

  it('remembers places at distances, and nothing from before a reset', () => {
    const plan = planWith(...Array.from({ length: 5_000 }, (_, index) => index * 3));
    const place = plan.next({ ...view, durable: at(15_000) });
    expect(place?.index).toBeGreaterThan(14_800);
    expect(place?.index).toBeLessThanOrEqual(14_900);
    plan.reset();
    expect(plan.next({ ...view, durable: at(15_000) })).toBeNull();
  });
});

describe('DiskGuard', () => {
  const compact: Command = { type: 'compact', revision: 1 };

  it('refuses what grows below the reserve, and everything when hardly anything is left', () => {
    const guard = new DiskGuard(1_000);
    expect(guard.refusalOf(setOf('key', 'value'))).toBeNull();
    guard.measure(999);
    expect(guard.refusalOf(setOf('key', 'value'))).toMatchObject({ code: 'DISK_FULL' });
    expect(guard.refusalOf({ type: 'lease-grant', lease: 1, ttlMs: 1 })).toMatchObject({ code: 'DISK_FULL' });
    for (const command of [deletionOf('key'), compact]) expect(guard.refusalOf(command)).toBeNull();
    expect([guard.isLow, guard.isCritical]).toEqual([true, false]);
    guard.measure(249);
    for (const command of [deletionOf('key'), compact]) {
      expect(guard.refusalOf(command)).toMatchObject({ code: 'DISK_FULL' });
    }
    guard.measure(1_000);
    expect(guard.refusalOf(setOf('key', 'value'))).toBeNull();
  });
});

describe('Activity', () => {
  it('counts silence in ticks', () => {
    const activity = new Activity(2);
    expect(activity.isActive(1)).toBe(false);
    activity.heard(1);
    for (const expected of [true, true, false]) {
      activity.tick();
      expect(activity.isActive(1)).toBe(expected);
    }
  });
});

describe('LeaderWatch', () => {
  const membership = { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
  const core = { replica: 1, isLearner: false, term: 1, commit: 0, applied: 0, lastIndex: 0, membership };
  const follower = (leader: number) => ({ ...core, role: 'follower' as const, leader, progress: new Map() });
  const leading = { ...core, role: 'leader' as const, leader: 1, progress: new Map() };

  /** Numbers of the ticks at which what waits is answered. */
  function answersIn(
    count: number,
    step: (tick: number, activity: Activity) => ReturnType<typeof follower> | typeof leading,
  ) {
    const activity = new Activity(10);
    const watch = new LeaderWatch(10, activity);
    const answers: number[] = [];
    for (let tick = 1; tick <= count; tick++) {
      activity.tick();
      watch.tick(step(tick, activity));
      if (watch.isTimeToAnswer) answers.push(tick);
    }
    return answers;
  }

  it('speaks up once per election time-out without a leader', () => {
    expect(answersIn(35, () => follower(0))).toEqual([10, 20, 30]);
  });

  it('a leader that is known and silent counts for one time-out, and so does a majority that is', () => {
    const heard = (replica: number) => (tick: number, activity: Activity) => {
      if (tick === 1) activity.heard(replica);
      return replica === 2 ? follower(2) : leading;
    };
    expect(answersIn(30, heard(2))).toEqual([21]);
    expect(answersIn(30, heard(3))).toEqual([21]);
  });

  it('says nothing while the leader is heard of, or a majority is', () => {
    const heard = (state: ReturnType<typeof follower> | typeof leading) => (tick: number, activity: Activity) => {
      if (tick % 5 === 0) activity.heard(2);
      return state;
    };
    expect(answersIn(100, heard(follower(2)))).toEqual([]);
    expect(answersIn(100, heard(leading))).toEqual([]);
  });
});
