import { beforeEach, describe, expect, it } from 'vitest';
import { PendingReads } from '../../../../src/raft/replica/pending-reads.ts';

let reads: PendingReads;
let log: string[];
let asked: number[];
beforeEach(() => {
  reads = new PendingReads(4, 10, 100);
  log = [];
  asked = [];
});

function add(name: string, deadline = 1_000): void {
  reads.add({ deadline, run: () => log.push(`${name} ran`), fail: ({ code }) => log.push(`${name} ${code}`) });
}

function issue(tick: number, hasLeader = true): void {
  reads.issue(tick, (context) => {
    if (hasLeader) asked.push(context);
    return hasLeader;
  });
}

describe('PendingReads', () => {
  it('asks once for all reads that wait, and runs them when the index is applied', () => {
    add('a');
    add('b');
    issue(0);
    add('c');
    issue(0);
    expect(asked).toEqual([100, 101]);
    reads.confirm(100, 7);
    reads.run(6);
    expect(log).toEqual([]);
    reads.run(7);
    expect(log).toEqual(['a ran', 'b ran']);
    reads.confirm(101, 7);
    reads.run(9);
    expect(log).toEqual(['a ran', 'b ran', 'c ran']);
  });

  it('keeps them while there is no leader, and asks again under another number when no answer comes', () => {
    add('a');
    issue(0, false);
    issue(1);
    reads.sweep(10, 0, true);
    issue(10);
    reads.sweep(11, 0, true);
    issue(11);
    expect(asked).toEqual([100, 101]);
    // The answer to the first question is of no use any more.
    reads.confirm(100, 5);
    reads.run(5);
    expect(log).toEqual([]);
    reads.confirm(101, 5);
    reads.run(5);
    expect(log).toEqual(['a ran']);
  });

  it('ends reads whose time is up, wherever they wait', () => {
    add('confirmed', 10);
    issue(0);
    reads.confirm(100, 99);
    add('asked', 10);
    issue(0);
    add('waiting', 10);
    add('patient', 20);
    expect(reads.isFull).toBe(true);
    reads.sweep(1, 10, true);
    expect(log.sort()).toEqual(['asked TIMED_OUT', 'confirmed TIMED_OUT', 'waiting TIMED_OUT']);
    expect(reads.isFull).toBe(false);
    reads.sweep(2, 20, false);
    expect(log.at(-1)).toBe('patient NO_LEADER');
  });

  it('has at most a few questions under way; the rest joins the next', () => {
    const many = new PendingReads(1_000, 10, 1);
    let count = 0;
    const numbers: number[] = [];
    const ask = (context: number): boolean => {
      numbers.push(context);
      return true;
    };
    for (let turn = 0; turn < 20; turn++) {
      many.add({ deadline: 1, run: () => count++, fail: () => expect.fail('it failed') });
      many.issue(0, ask);
    }
    expect(numbers).toHaveLength(8);
    for (const number of numbers) many.confirm(number, 1);
    many.issue(0, ask);
    many.confirm(numbers[8], 1);
    many.run(1);
    expect(count).toBe(20);
  });
});
