import { describe, expect, it } from 'vitest';
import { checkRegister, type RegisterAction, type RegisterOperation } from './linearizability.ts';
import { Random } from './random.ts';

const never = Number.POSITIVE_INFINITY;

/** One operation per line: start, end, action. */
function history(...lines: readonly (readonly [number, number, RegisterAction])[]): RegisterOperation[] {
  return lines.map(([start, end, action], id) => ({ id, start, end, action }));
}

const read = (value: string | null): RegisterAction => ({ type: 'read', value });
const write = (value: string | null): RegisterAction => ({ type: 'write', value });
const cas = (expected: string | null, value: string, didSet: boolean | null): RegisterAction => ({
  type: 'cas',
  expected,
  value,
  didSet,
});

function verdict(operations: readonly RegisterOperation[]): boolean | null {
  return checkRegister(operations, { initial: null, stepsMax: 100_000 }).isLinearizable;
}

describe('checkRegister()', () => {
  const good: Record<string, RegisterOperation[]> = {
    'nothing happened': [],
    'a missing key': history([0, 1, read(null)]),
    'write, then read': history([0, 1, write('a')], [2, 3, read('a')]),
    'a read beside a write sees either': history([0, 5, write('a')], [1, 2, read(null)], [3, 4, read('a')]),
    'two writes at once in either order': history([0, 9, write('a')], [1, 8, write('b')], [10, 11, read('a')]),
    'a write without an answer that is seen late': history(
      [0, never, write('a')],
      [1, 2, read(null)],
      [3, 4, write('b')],
      [5, 6, read('a')],
    ),
    'a write without an answer that never happened': history([0, never, write('a')], [1, 2, read(null)]),
    'a compare-and-set that fits': history([0, 1, write('a')], [2, 3, cas('a', 'b', true)], [4, 5, read('b')]),
    'a compare-and-set that does not fit': history([0, 1, write('a')], [2, 3, cas('x', 'b', false)], [4, 5, read('a')]),
    'an unanswered compare-and-set that is seen': history(
      [0, 1, write('a')],
      [2, never, cas('a', 'b', null)],
      [3, 4, read('b')],
    ),
    'an unanswered write that makes a compare-and-set fail': history(
      [0, 1, write('a')],
      [2, never, write('b')],
      [3, 4, cas('a', 'c', false)],
    ),
    'a delete': history([0, 1, write('a')], [2, 3, write(null)], [4, 5, read(null)]),
  };
  for (const [name, operations] of Object.entries(good)) {
    it(`checkRegister() accepts ${name}`, () => expect(verdict(operations)).toBe(true));
  }

  const bad: Record<string, RegisterOperation[]> = {
    'a read of what was never written': history([0, 1, read('a')]),
    'a stale read': history([0, 1, write('a')], [2, 3, write('b')], [4, 5, read('a')]),
    'a lost write': history([0, 1, write('a')], [2, 3, read(null)]),
    'reads that go back': history([0, 9, write('a')], [1, 2, read('a')], [3, 4, read(null)]),
    'two compare-and-sets from one value': history(
      [0, 1, write('a')],
      [2, 5, cas('a', 'b', true)],
      [3, 6, cas('a', 'c', true)],
    ),
    'a compare-and-set that failed without a reason': history([0, 1, write('a')], [2, 3, cas('a', 'b', false)]),
    'an unanswered write that is seen, then unseen': history(
      [0, 1, write('a')],
      [2, never, write('b')],
      [3, 4, read('b')],
      [5, 6, read('a')],
    ),
    'a delete that came undone': history([0, 1, write('a')], [2, 3, write(null)], [4, 5, read('a')]),
    'a write that took effect before its call': history([0, 1, read('a')], [2, 3, write('a')]),
  };
  for (const [name, operations] of Object.entries(bad)) {
    it(`checkRegister() refuses ${name}`, () => expect(verdict(operations)).toBe(false));
  }

  it('checkRegister() agrees with a search of all orders on small histories', () => {
    const random = new Random(7, 'histories');
    let refused = 0;
    for (let round = 0; round < 1500; round++) {
      const operations = randomHistory(random);
      const expected = isLinearizableBySearch(operations);
      expect(verdict(operations), JSON.stringify(operations)).toBe(expected);
      if (!expected) refused++;
    }
    expect(refused).toBeGreaterThan(100);
    expect(refused).toBeLessThan(1400);
  });

  it('checkRegister() says so when it gives up', () => {
    const many = Array.from({ length: 14 }, (_, i): [number, number, RegisterAction] => [i, 100, write(`v${i}`)]);
    const operations = history(...many, [101, 102, read('missing')]);
    expect(checkRegister(operations, { initial: null, stepsMax: 500 }).isLinearizable).toBe(null);
  });
});

function randomHistory(random: Random): RegisterOperation[] {
  const count = random.between(2, 6);
  const values = [null, 'v0', 'v1', 'v2', 'v3', 'v4', 'v5'];
  return Array.from({ length: count }, (_, id) => {
    const start = random.below(12) * 10 + id;
    const end = random.chance(0.25) ? never : start + 5.05 + random.below(60) + id / 10;
    const value = random.pick(values.slice(0, 4));
    const kind = random.below(3);
    if (kind === 0) return { id, start, end, action: read(value ?? null) };
    if (kind === 1) return { id, start, end, action: write(`v${id}`) };
    const didSet = end === never ? null : random.chance(0.6);
    return { id, start, end, action: cas(value ?? null, `v${id}`, didSet) };
  });
}

/** Tries every order of every subset that has all answered operations. */
function isLinearizableBySearch(operations: readonly RegisterOperation[]): boolean {
  function search(state: string | null, left: readonly RegisterOperation[]): boolean {
    if (left.every(({ end }) => end === never)) return true;
    const firstEnd = Math.min(...left.map(({ end }) => end));
    return left.some((operation) => {
      if (operation.start > firstEnd) return false;
      const { action } = operation;
      const rest = left.filter((each) => each !== operation);
      if (operation.end === never && action.type === 'read') return search(state, rest);
      if (action.type === 'read') return action.value === state && search(state, rest);
      if (action.type === 'write') return search(action.value, rest);
      const fits = state === action.expected;
      if (action.didSet !== null && action.didSet !== fits) return false;
      return search(fits ? action.value : state, rest);
    });
  }
  return search(null, operations);
}
