import { describe, expect, test } from 'vitest';
import { backOffMs } from '../../../../src/rpc/client/back-off.ts';
import { Endpoints, parseEndpoints } from '../../../../src/rpc/client/endpoints.ts';
import { canTryAgain, PlacementCallError } from '../../../../src/rpc/client/errors.ts';
import { prefixEnd, toRange } from '../../../../src/rpc/client/keys.ts';
import { nextRequestId } from '../../../../src/rpc/client/request-id.ts';
import { toWireCompare, toWireOperation } from '../../../../src/rpc/client/transactions.ts';

describe('backOffMs()', () => {
  test('backOffMs() doubles its bound up to a quarter of a second, with full jitter', () => {
    expect([1, 2, 3, 10, 10_000].map((attempt) => backOffMs(attempt, () => 1))).toEqual([40, 80, 160, 250, 250]);
    expect(backOffMs(5, () => 0)).toBe(0);
  });
});

describe('parseEndpoints()', () => {
  test('parseEndpoints() reads lists and drops repetitions', () => {
    expect(parseEndpoints('a:1, b:2,a:1')).toEqual(['a:1', 'b:2']);
    expect(parseEndpoints(['[::1]:5'])).toEqual(['[::1]:5']);
  });

  test('parseEndpoints() throws for what is no address', () => {
    for (const text of ['', 'a', 'a:', 'a:0', 'a:65536', 'http://a:1', 'a:1,,b:2', '::1:5']) {
      expect(() => parseEndpoints(text), text).toThrow(TypeError);
    }
  });
});

describe('Endpoints', () => {
  test('Endpoints.current() is the leader when it is known, else the first that works', () => {
    let nowMs = 0;
    const endpoints = new Endpoints(['a:1', 'b:1'], () => nowMs);
    expect(endpoints.current()).toBe('a:1');
    endpoints.avoid('a:1');
    expect(endpoints.current()).toBe('b:1');
    expect(endpoints.prefer('c:1')).toBe(true);
    expect(endpoints.current()).toBe('c:1');
    endpoints.avoid('c:1');
    expect(endpoints.current()).toBe('b:1');
    expect(endpoints.prefer('c:1')).toBe(false);
    nowMs += 60_000;
    expect(endpoints.prefer('c:1')).toBe(true);
    expect(endpoints.prefer('')).toBe(false);
  });

  test('Endpoints.avoid() comes back to the only server', () => {
    const endpoints = new Endpoints(['a:1'], () => 0);
    endpoints.avoid('a:1');
    expect(endpoints.current()).toBe('a:1');
  });
});

describe('canTryAgain()', () => {
  test('canTryAgain() repeats a write that may have happened only when that is harmless', () => {
    const verdicts = (isHarmless: boolean): string[] =>
      [
        'OVERLOADED',
        'NOT_LEADER',
        'NOT_CONNECTED',
        'NO_LEADER',
        'UNAVAILABLE',
        'STOPPED',
        'TIMED_OUT',
        'DISK_FULL',
      ].filter((code) => canTryAgain(new PlacementCallError(code, 0, ''), isHarmless));
    expect(verdicts(false)).toEqual(['OVERLOADED', 'NOT_LEADER', 'NOT_CONNECTED']);
    expect(verdicts(true)).toEqual([...verdicts(false), ...['NO_LEADER', 'UNAVAILABLE', 'STOPPED']]);
  });

  test('PlacementCallError is known across copies of the module', () => {
    const foreign = { [Symbol.for('ringmq.PlacementCallError')]: true };
    expect(foreign instanceof PlacementCallError).toBe(true);
    expect(new Error('x') instanceof PlacementCallError).toBe(false);
  });
});

describe('toRange()', () => {
  test('toRange() makes prefixes to ranges', () => {
    expect(toRange({ key: 'a' })).toEqual({ key: Buffer.from('a'), end: undefined });
    expect(toRange({ key: 'a', end: '' }).end).toHaveLength(0);
    const { key, end } = toRange({ prefix: Buffer.from('ab') });
    expect([Buffer.from(key).toString(), Buffer.from(end ?? '').toString()]).toEqual(['ab', 'ac']);
    // All keys: from the first one that users may have.
    expect([...toRange({ prefix: '' }).key]).toEqual([1]);
    expect(toRange({ prefix: '' }).end).toHaveLength(0);
  });

  test('prefixEnd() is the first key after all that begin so', () => {
    expect([...prefixEnd(Uint8Array.of(1, 2))]).toEqual([1, 3]);
    expect([...prefixEnd(Uint8Array.of(1, 0xff, 0xff))]).toEqual([2]);
    expect(prefixEnd(Uint8Array.of(0xff))).toHaveLength(0);
  });
});

describe('nextRequestId()', () => {
  test('nextRequestId() never gives one twice', () => {
    const ids = Array.from({ length: 1000 }, () => Buffer.from(nextRequestId()).toString('hex'));
    expect(new Set(ids).size).toBe(1000);
    expect(ids.every((id) => id.length === 32)).toBe(true);
  });
});

describe('transactions', () => {
  test('toWireCompare() takes every kind of operand', () => {
    const key = 'k';
    const cases = [
      toWireCompare({ key, value: 'v' }),
      toWireCompare({ key, version: 1, relation: 'not-equal' }),
      toWireCompare({ key, createRevision: 2, relation: 'greater' }),
      toWireCompare({ key, modRevision: 3, relation: 'less' }),
      toWireCompare({ key, lease: 4, relation: 'equal' }),
    ].map(({ relation, operand }) => `${relation} ${operand?.$case} ${operand?.value}`);
    expect(cases).toEqual(['1 value v', '2 version 1', '3 createRevision 2', '4 modRevision 3', '1 lease 4']);
  });

  test('toWireOperation() takes every kind of operation', () => {
    const cases = [
      toWireOperation({ set: 'k', value: 'v', lease: 5, returnPrevious: true }),
      toWireOperation({ delete: { prefix: 'k' } }),
      toWireOperation({ range: { key: 'k' }, limit: 3, isReverse: true, keysOnly: true }),
    ];
    expect(cases.map(({ operation }) => operation?.$case)).toEqual(['set', 'delete', 'range']);
    expect(cases[0].operation?.value).toMatchObject({ lease: 5, returnPrevious: true });
    expect(cases[2].operation?.value).toMatchObject({ limit: 3, isReverse: true, keysOnly: true, end: undefined });
  });
});
