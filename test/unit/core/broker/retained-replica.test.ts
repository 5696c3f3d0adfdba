/** One worker's copy of the retained values: which of two values wins, and what is remembered of forgotten ones. */
import { describe, expect, it } from 'vitest';
import { fillRun, RetainedReplica, retainedValueOf } from '../../../../src/core/broker/retained-replica.ts';
import { Run } from '../../../../src/core/broker/run.ts';
import { bytesOf, type RetainedLimits, type RetainedValue } from '../../../../src/core/retained/retained-value.ts';

function replica(limits: Partial<RetainedLimits> = {}): RetainedReplica {
  return new RetainedReplica({ countMax: 1_000, bytesMax: 10_000_000, ...limits }, new SharedArrayBuffer(8));
}

function value(text: string, stamp: number, expiresAtS = 0, tenant = ''): RetainedValue {
  const details = { detailA: 1, detailB: 2, detailC: 3 };
  return { layout: 1, frame: text, ...details, stamp, storedAtMs: 0, expiresAtS, tenant };
}

function textsOf(values: RetainedReplica, filter = '#', nowMs = 0): string[] {
  const found: string[] = [];
  values.match(filter, nowMs, (_topic, { frame }) => found.push(frame.toString()));
  return found.sort();
}

describe('keep()', () => {
  it('ignores a value with an older stamp, however old that is', () => {
    const values = replica();
    expect(values.keep('t', value('new', 2 ** 40))).toBe(true);
    expect(values.keep('t', value('old', 2 ** 40 - 1))).toBe(false);
    expect(values.keep('t', value('older', 5))).toBe(false);
    expect(textsOf(values)).toEqual(['new']);
    expect(values.keep('t', value('newest', 2 ** 45))).toBe(true);
    expect(textsOf(values)).toEqual(['newest']);
  });

  it('ignores a value that is older than what made the topic empty', () => {
    const values = replica();
    values.forget('t', 10);
    expect(values.keep('t', value('late', 9))).toBe(false);
    expect(textsOf(values)).toEqual([]);
    values.keep('t', value('new', 11));
    expect(values.forget('t', 10)).toBe(false);
    expect(textsOf(values)).toEqual(['new']);
  });
});

describe('refusalOf()', () => {
  const one = bytesOf('a', 3, '');

  it('names the limit, and refuses no replacement because of the count', () => {
    const values = replica({ countMax: 2, bytesMax: 3 * one, valueBytesMax: 2_000 });
    for (const [at, topic] of ['a', 'b'].entries()) {
      expect(values.refusalOf(topic, 3, '')).toBeNull();
      values.keep(topic, value('xxx', at + 1));
    }
    expect(values.refusalOf('c', 3, '')).toBe('count');
    expect(values.refusalOf('a', 3, '')).toBeNull();
    expect(values.refusalOf('a', 1_000, '')).toBe('bytes');
    expect(values.refusalOf('a', 2_001, '')).toBe('value-bytes');
    values.forget('b', 3);
    expect(values.refusalOf('c', 3, '')).toBeNull();
  });

  it('counts for each tenant what it wrote last', () => {
    const values = replica({ tenantCountMax: 2, tenantBytesMax: 3 * bytesOf('a', 3, 'blue') });
    values.keep('a', value('xxx', 1, 0, 'blue'));
    values.keep('b', value('xxx', 2, 0, 'blue'));
    expect(values.refusalOf('c', 3, 'blue')).toBe('tenant-count');
    expect(values.refusalOf('a', 3, 'blue')).toBeNull();
    expect(values.refusalOf('a', 1_000, 'blue')).toBe('tenant-bytes');
    expect(values.refusalOf('c', 3, 'red')).toBeNull();
    values.keep('a', value('xxx', 3, 0, 'red'));
    expect(values.refusalOf('c', 3, 'blue')).toBeNull();
    values.forget('b', 4);
    values.forget('a', 5);
    expect([values.count, values.bytes]).toEqual([0, 0]);
    expect(values.refusalOf('c', 3, 'red')).toBeNull();
  });
});

describe('forget()', () => {
  const forgotten = (values: RetainedReplica): readonly string[] => [...values.lately()].map(([topic]) => topic);

  it('gives memory back after a minute, or after what may arrive late', () => {
    const values = replica();
    for (let count = 0; count < 100; count++) values.forget(`t/${count}`, count, 1_000);
    expect(forgotten(values)).toHaveLength(100);
    values.forget('last', 1_000, 62_000);
    expect(forgotten(values)).toEqual(['last']);
    values.allowLateness(100_000);
    values.forget('more', 1_001, 250_000);
    expect(forgotten(values)).toHaveLength(2);
  });

  it('remembers a bounded number', () => {
    const values = replica();
    for (let count = 0; count < 70_000; count++) values.forget(`t/${count}`, count);
    expect(forgotten(values)).toHaveLength(65_536);
    expect(forgotten(values)).toContain('t/69999');
  });
});

describe('match()', () => {
  it('leaves out what has expired; sweep() lets it go', () => {
    const values = replica();
    values.keep('a', value('short', 1, 100), 0);
    values.keep('b', value('long', 2, 200), 0);
    values.keep('c', value('ever', 3), 0);
    expect(textsOf(values, '#', 99_999)).toEqual(['ever', 'long', 'short']);
    expect(textsOf(values, '#', 100_000)).toEqual(['ever', 'long']);
    expect(values.get('a', 100_000)).toBeUndefined();
    expect(values.sweepDueMs).toBe(100_000);
    expect(values.sweep(100_000)).toBe(1);
    expect(values.count).toBe(2);
    expect(values.keep('a', value('late', 0))).toBe(false);
    expect(values.sweepDueMs).toBe(200_000);
    expect(values.sweep(200_000)).toBe(1);
    expect(values.sweepDueMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('sweep() keeps a value that was written again with more time', () => {
    const values = replica();
    values.keep('a', value('one', 1, 100), 0);
    values.keep('a', value('two', 2, 300), 0);
    expect(values.sweep(100_000)).toBe(0);
    expect(textsOf(values, '#', 100_000)).toEqual(['two']);
    expect(values.sweep(300_000)).toBe(1);
  });
});

describe('nextStamp()', () => {
  it('counts for all replicas together, and goes on above what raiseStamp() was told', () => {
    const shared = new SharedArrayBuffer(8);
    const replicas = [0, 1].map(() => new RetainedReplica({ countMax: 1, bytesMax: 1 }, shared));
    expect(replicas.flatMap((each) => [each.nextStamp(), each.nextStamp()])).toEqual([1, 2, 3, 4]);
    replicas[0].raiseStamp(2 ** 50);
    replicas[1].raiseStamp(7);
    expect(replicas[1].nextStamp()).toBe(2 ** 50 + 1);
    expect(replicas[0].latestStamp).toBe(2 ** 50 + 1);
  });
});

describe('retainedValueOf() and fillRun()', () => {
  it.each([5, 5_000])('are each other’s inverse, and copy the bytes, for %i bytes', (length) => {
    const run = new Run();
    const buffer = Buffer.alloc(length + 4, 0xe9);
    const details = { detailA: 1, detailB: 5, detailC: 3, detailD: -1 };
    Object.assign(run, { layout: 5, buffer, start: 2, end: 2 + length, count: 1, ...details });
    const kept = retainedValueOf(run, 9, 'blue');
    run.buffer.fill(0);
    const back = new Run();
    fillRun(back, kept);
    expect(back.buffer.subarray(back.start, back.end)).toEqual(Buffer.alloc(length, 0xe9));
    expect(back).toMatchObject({ layout: 5, count: 1, detailA: 1, detailB: 5, detailC: 3, publisher: null });
    expect(kept).toMatchObject({ stamp: 9, expiresAtS: 0xffff_ffff, tenant: 'blue' });
  });
});
