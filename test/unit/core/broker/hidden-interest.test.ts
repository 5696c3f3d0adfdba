/** Whether somebody on the node subscribes below `$`, as each worker sees it. */
import { describe, expect, it } from 'vitest';
import { HiddenInterest } from '../../../../src/core/broker/hidden-interest.ts';
import { createInterestTable, InterestTable } from '../../../../src/core/routing/interest-table.ts';

function workers(count: number) {
  const table = createInterestTable(count, { bucketBits: 10, seed: 5 });
  const groups = new Set<string>();
  const views = Array.from({ length: count }, (_, index) => {
    return new HiddenInterest(new InterestTable(table, index), () => groups);
  });
  return { views, groups };
}

describe('HiddenInterest', () => {
  it('isThere is false for filters that do not begin with $', () => {
    const { views } = workers(2);
    for (const filter of ['#', '+/a', 'a/$SYS']) views[0].added(filter);
    expect(views.map(({ isThere }) => isThere)).toEqual([false, false]);
  });

  it('isThere is true on all workers from the first such filter to the last one', () => {
    const { views } = workers(3);
    expect(views.map(({ isThere }) => isThere)).toEqual([false, false, false]);
    views[1].added('$SYS/#');
    views[1].added('$SYS/a');
    expect(views.map(({ isThere }) => isThere)).toEqual([true, true, true]);
    views[1].removed('$SYS/#');
    expect(views.map(({ isThere }) => isThere)).toEqual([true, true, true]);
    views[1].removed('$SYS/a');
    expect(views.map(({ isThere }) => isThere)).toEqual([false, false, false]);
  });

  it('isThere sees the filters of shared groups when they change', () => {
    const { views, groups } = workers(1);
    const [view] = views;
    expect(view.isThere).toBe(false);
    groups.add('$SYS/#');
    view.groupChanged('$SYS/#');
    expect(view.isThere).toBe(true);
    groups.clear();
    view.groupChanged('$SYS/#');
    expect(view.isThere).toBe(false);
  });
});
