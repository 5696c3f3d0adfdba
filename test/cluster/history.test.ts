import { describe, expect, test } from 'vitest';
import { History } from './history.ts';

function write(history: History, value: string | null, client = 'a'): void {
  history.call(client, 'key', { type: 'write', value }).answered({ type: 'write', value });
}

function read(history: History, value: string | null, client = 'b'): void {
  history.call(client, 'key', { type: 'read', value: null }).answered({ type: 'read', value });
}

describe('History', () => {
  test('check() finds nothing when each read sees the last write', () => {
    const history = new History();
    read(history, null);
    write(history, 'v1');
    read(history, 'v1');
    write(history, null);
    read(history, null);
    expect(history.check()).toEqual([]);
  });

  test('check() finds a stale read when one node is behind', () => {
    const history = new History();
    write(history, 'v1');
    write(history, 'v2');
    read(history, 'v1', 'node-2/0');
    const [problem] = history.check();
    expect(problem).toContain('key key is not linearizable');
    expect(problem).toContain('node-2/0');
  });

  test('check() finds a lost write when an acknowledged value is gone', () => {
    const history = new History();
    write(history, 'v1');
    read(history, null);
    expect(history.check()).toHaveLength(1);
  });

  test('check() finds two winners when a compare-and-set succeeded twice', () => {
    const history = new History();
    write(history, 'v1');
    for (const value of ['v2', 'v3']) {
      const action = { type: 'cas', expected: 'v1', value, didSet: true } as const;
      history.call('a', 'key', { ...action, didSet: null }).answered(action);
    }
    expect(history.check()).toHaveLength(1);
  });

  test('check() allows a write without an answer to happen late, or never', () => {
    for (const seen of [null, 'v1']) {
      const history = new History();
      history.call('a', 'key', { type: 'write', value: 'v1' }).unknown();
      read(history, null);
      read(history, seen);
      expect(history.check()).toEqual([]);
    }
  });

  test('check() does not let a write happen that surely did nothing', () => {
    const history = new History();
    history.call('a', 'key', { type: 'write', value: 'v1' }).nothing();
    read(history, 'v1');
    expect(history.check()).toHaveLength(1);
  });

  test('check() looks at each key for itself', () => {
    const history = new History();
    write(history, 'v1');
    history.call('b', 'other', { type: 'read', value: null }).answered({ type: 'read', value: null });
    expect(history.check()).toEqual([]);
  });
});
