/** A walk that pauses while the store changes, against the plain definition of what it should visit. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RetainedStore } from '../../../../src/core/retained/retained-store.ts';
import type { RetainedWalk } from '../../../../src/core/retained/retained-walk.ts';
import { matches } from '../../../../src/core/routing/topic.ts';
import { filters, topics } from '../routing/arbitraries.ts';

const unlimited = { countMax: Number.POSITIVE_INFINITY, bytesMax: Number.POSITIVE_INFINITY };

function storeOf(names: readonly string[]): RetainedStore<number> {
  const store = new RetainedStore<number>(unlimited);
  for (const topic of names) store.set(topic, 1, 1);
  return store;
}

function rest(walk: RetainedWalk<number>): string[] {
  const found: string[] = [];
  for (let entry = walk.next(1); entry !== undefined; entry = walk.next(1)) if (entry !== null) found.push(entry.topic);
  return found;
}

describe('RetainedWalk', () => {
  it('next() visits what match() does', () => {
    const property = fc.property(fc.uniqueArray(topics, { maxLength: 40 }), filters, (names, filter) => {
      const expected = names.filter((topic) => matches(filter, topic));
      expect(rest(storeOf(names).walk(filter)).sort()).toEqual(expected.sort());
    });
    fc.assert(property, { numRuns: 400 });
  });

  it('next() visits each topic that stays once, and hasPassed() knows which it will not visit', () => {
    const change = fc.record({ set: fc.boolean(), topic: topics });
    const property = fc.property(
      fc.uniqueArray(topics, { minLength: 1, maxLength: 30 }),
      filters,
      fc.array(fc.record({ steps: fc.nat({ max: 5 }), changes: fc.array(change, { maxLength: 4 }) }), {
        maxLength: 12,
      }),
      (names, filter, script) => {
        const store = storeOf(names);
        const walk = store.walk(filter);
        const stayed = new Set(names.filter((topic) => matches(filter, topic)));
        const visited: string[] = [];
        const visit = (steps: number): void => {
          const entry = walk.next(steps);
          if (entry !== undefined && entry !== null) visited.push(entry.topic);
        };
        const look = (): void => {
          for (const topic of stayed) expect([topic, walk.hasPassed(topic)]).toEqual([topic, visited.includes(topic)]);
        };
        for (const { steps, changes } of script) {
          for (const { set, topic } of changes) {
            if (set) store.set(topic, 2, 1);
            else if (store.delete(topic)) stayed.delete(topic);
          }
          look();
          visit(steps);
          look();
        }
        for (const topic of rest(walk)) visited.push(topic);
        expect(new Set(visited).size).toBe(visited.length);
        for (const topic of visited) expect(matches(filter, topic)).toBe(true);
        for (const topic of stayed) expect(visited).toContain(topic);
      },
    );
    fc.assert(property, { numRuns: 500 });
  });

  it('next() answers null after so many nodes without a value', () => {
    const walk = storeOf(Array.from({ length: 10 }, (_, index) => `a/${index}/x`)).walk('a/+/y');
    let pauses = 0;
    for (let entry = walk.next(3); entry !== undefined; entry = walk.next(3)) if (entry === null) pauses++;
    expect(pauses).toBeGreaterThan(2);
  });
});
