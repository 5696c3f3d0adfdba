import { describe, expect, it } from 'vitest';
import { RetainedExpiry } from '../../../../src/core/retained/retained-expiry.ts';

describe('RetainedExpiry', () => {
  it('take() answers the topics whose time has come, some at a time', () => {
    const expiry = new RetainedExpiry();
    expect(expiry.dueS).toBe(Number.POSITIVE_INFINITY);
    for (const [index, topic] of ['a', 'b', 'c'].entries()) expiry.watch(topic, 100 + index, 0);
    expect(expiry.take(90, 10)).toEqual([]);
    expect(expiry.take(104, 2)).toEqual(['a', 'b']);
    expect(expiry.take(104, 2)).toEqual(['c']);
    expect([expiry.size, expiry.dueS]).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  it('watch() keeps one entry for a topic, at its earliest time', () => {
    const expiry = new RetainedExpiry();
    for (let round = 0; round < 100; round++) expiry.watch('a', 1_000 - round * 4, 0);
    expiry.watch('a', 2_000, 0);
    expect(expiry.size).toBe(1);
    expect(expiry.dueS).toBe(604);
    expiry.forget('a');
    expect([expiry.size, expiry.dueS]).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  it('looks at what is far away within an hour, so that there are few slots', () => {
    const expiry = new RetainedExpiry();
    for (let index = 0; index < 1_000; index++) expiry.watch(`t/${index}`, 1_000_000 + index * 1_000, 100);
    expect(expiry.dueS).toBe(3_700);
    expect(expiry.take(3_700, 2_000)).toHaveLength(1_000);
  });
});
