import { describe, expect, it } from 'vitest';
import { LogTail } from '../../../../src/raft/consensus/log-tail.ts';
import type { Entry } from '../../../../src/raft/consensus/types.ts';

function entries(from: number, count: number, term = 1, bytes = 8): Entry[] {
  return Array.from({ length: count }, (_, i) => ({ term, index: from + i, kind: 0, data: new Uint8Array(bytes) }));
}

const indexes = (list: readonly Entry[]) => list.map((entry) => entry.index);

describe('LogTail', () => {
  it('last does follow appends and truncations', () => {
    const tail = new LogTail(5);
    expect(tail.last).toBe(4);
    tail.append(entries(5, 3));
    expect([tail.first, tail.last]).toEqual([5, 7]);
    tail.truncate(7);
    expect(tail.last).toBe(6);
    tail.append(entries(7, 1, 2));
    expect(tail.at(7).term).toBe(2);
  });

  it('truncate() does move the end before what was ever held', () => {
    const tail = new LogTail(5);
    tail.append(entries(5, 3));
    tail.truncate(3);
    expect([tail.first, tail.last, tail.bytes]).toEqual([3, 2, 0]);
    tail.append(entries(3, 1));
    expect(tail.at(3).index).toBe(3);
  });

  it('append() does refuse a gap', () => {
    const tail = new LogTail(1);
    expect(() => tail.append(entries(2, 1))).toThrow('Entries follow each other');
  });

  it('slice() does end at the limit of bytes, with one entry at least', () => {
    const tail = new LogTail(1);
    tail.append(entries(1, 4));
    expect(indexes(tail.slice(2, 5, 80))).toEqual([2, 3]);
    expect(indexes(tail.slice(2, 5, 1))).toEqual([2]);
    expect(indexes(tail.slice(1, 3, 1_000))).toEqual([1, 2]);
    expect(indexes(tail.slice(3, 99, 1_000))).toEqual([3, 4]);
  });

  it('drop() does let go of the oldest, however many there are', () => {
    const tail = new LogTail(1);
    for (let index = 1; index <= 5_000; index += 10) {
      tail.append(entries(index, 10));
      tail.drop(index + 4);
      expect([tail.first, tail.last]).toEqual([index + 5, index + 9]);
      expect(tail.at(index + 7).index).toBe(index + 7);
    }
    expect(tail.bytes).toBe(5 * 40);
    tail.drop(9_999);
    expect([tail.first, tail.last, tail.bytes]).toEqual([5_001, 5_000, 0]);
  });

  it('shrink() does keep what may not go, and what fits', () => {
    const tail = new LogTail(1);
    tail.append(entries(1, 10));
    tail.shrink(4, 100);
    expect(tail.first).toBe(5);
    tail.shrink(9, 100);
    expect([tail.first, tail.bytes]).toEqual([9, 80]);
  });
});
