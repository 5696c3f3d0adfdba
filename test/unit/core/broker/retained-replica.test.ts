/** One worker's copy of the retained values: which of two values wins, and what is remembered of forgotten ones. */
import { describe, expect, it, vi } from 'vitest';
import {
  fillRun,
  RetainedReplica,
  type RetainedValue,
  retainedValueOf,
} from '../../../../src/core/broker/retained-replica.ts';
import { Run } from '../../../../src/core/broker/run.ts';
import { RetainedStore } from '../../../../src/core/retained/retained-store.ts';

function replica(countMax = 1_000, bytesMax = 1_000_000): RetainedReplica {
  return new RetainedReplica(new RetainedStore<RetainedValue>({ countMax, bytesMax }), new SharedArrayBuffer(8));
}

function value(text: string, stamp: number, expiresAtS = 0): RetainedValue {
  return { layout: 1, frame: Buffer.from(text), detailA: 1, detailB: 2, detailC: 3, stamp, storedAtMs: 0, expiresAtS };
}

function textsOf(values: RetainedReplica, filter = '#', nowMs = 0): string[] {
  const found: string[] = [];
  values.match(filter, nowMs, (_topic, { frame }) => found.push(frame.toString()));
  return found.sort();
}

describe('keep()', () => {
  it('ignores a value with an older stamp, also around the end of the numbers', () => {
    const values = replica();
    values.keep('t', value('new', 10));
    values.keep('t', value('old', 9));
    expect(textsOf(values)).toEqual(['new']);
    values.keep('t', value('last', 0x7fffffff));
    values.keep('t', value('first', 0x80000000 | 0));
    expect(textsOf(values)).toEqual(['first']);
    values.keep('t', value('before', 0x7ffffffe));
    expect(textsOf(values)).toEqual(['first']);
  });

  it('ignores a value that is older than what made the topic empty', () => {
    const values = replica();
    values.forget('t', 10);
    expect(values.keep('t', value('late', 9))).toBe(true);
    expect(textsOf(values)).toEqual([]);
    values.keep('t', value('new', 11));
    values.forget('t', 10);
    expect(textsOf(values)).toEqual(['new']);
  });

  it('answers false when a limit refuses, and keeps what was there', () => {
    const values = replica(1);
    expect(values.keep('a', value('x', 1))).toBe(true);
    expect(values.keep('b', value('x', 2))).toBe(false);
    expect(values.count).toBe(1);
    expect(replica(10, 100).keep('a', value('x', 1))).toBe(false);
  });
});

describe('forget()', () => {
  it('gives memory back after a minute', () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    try {
      const values = replica();
      const { forgotten } = values as unknown as { forgotten: Map<string, unknown> };
      for (let count = 0; count < 100; count++) values.forget(`t/${count}`, count);
      expect(forgotten.size).toBe(100);
      vi.setSystemTime(Date.now() + 61_000);
      values.forget('last', 1_000);
      expect(forgotten.size).toBe(1);
    } finally {
      vi.useRealTimers();
    }
  });

  it('remembers a bounded number', () => {
    const values = replica();
    const { forgotten } = values as unknown as { forgotten: Map<string, unknown> };
    for (let count = 0; count < 70_000; count++) values.forget(`t/${count}`, count);
    expect(forgotten.size).toBe(65_536);
    expect(forgotten.has('t/69999')).toBe(true);
  });
});

describe('match()', () => {
  it('leaves out what has expired, and lets it go', () => {
    const values = replica();
    values.keep('a', value('short', 1, 100));
    values.keep('b', value('long', 2, 200));
    values.keep('c', value('ever', 3));
    expect(textsOf(values, '#', 99_999)).toEqual(['ever', 'long', 'short']);
    expect(values.count).toBe(3);
    expect(textsOf(values, '#', 100_000)).toEqual(['ever', 'long']);
    expect(values.count).toBe(2);
  });
});

describe('nextStamp()', () => {
  it('counts for all replicas together', () => {
    const shared = new SharedArrayBuffer(8);
    const replicas = [0, 1].map(
      () => new RetainedReplica(new RetainedStore<RetainedValue>({ countMax: 1, bytesMax: 1 }), shared),
    );
    expect(replicas.flatMap((each) => [each.nextStamp(), each.nextStamp()])).toEqual([1, 2, 3, 4]);
  });
});

describe('retainedValueOf() and fillRun()', () => {
  it('are each other’s inverse, and copy the bytes', () => {
    const run = new Run();
    Object.assign(run, {
      layout: 5,
      buffer: Buffer.from('xxframexx'),
      start: 2,
      end: 7,
      count: 1,
      detailA: 1,
      detailB: 5,
      detailC: 3,
      detailD: 77,
    });
    const kept = retainedValueOf(run, 9);
    run.buffer.fill(0);
    const back = new Run();
    fillRun(back, kept);
    expect(back.buffer.toString('utf8', back.start, back.end)).toBe('frame');
    expect(back).toMatchObject({
      layout: 5,
      count: 1,
      detailA: 1,
      detailB: 5,
      detailC: 3,
      detailD: 77,
      publisher: null,
    });
    expect(kept).toMatchObject({ stamp: 9, expiresAtS: 77 });
  });
});
