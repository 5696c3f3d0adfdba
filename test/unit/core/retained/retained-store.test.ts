import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RetainedStore } from '../../../../src/core/retained/retained-store.ts';
import { matches } from '../../../../src/core/routing/topic.ts';
import { filters, topics } from '../routing/arbitraries.ts';

const unlimited = { countMax: Number.POSITIVE_INFINITY, bytesMax: Number.POSITIVE_INFINITY };

function matchTopics(store: RetainedStore<number>, filter: string): string[] {
  const found: string[] = [];
  store.match(filter, (topic, value) => {
    if (store.get(topic) !== value) throw new Error(`match() visits a wrong value of ${topic}`);
    found.push(topic);
  });
  return found.sort();
}

describe('RetainedStore', () => {
  it('match() agrees with matches() over any sequence of set and delete under limits', () => {
    const step = fc.record({ set: fc.boolean(), topic: topics, value: fc.integer(), bytes: fc.nat({ max: 20 }) });
    const property = fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.array(filters, { maxLength: 8 }),
      (steps, probes) => {
        const limits = { countMax: 12, bytesMax: 150 };
        const store = new RetainedStore<number>(limits);
        const model = new Map<string, { value: number; bytes: number }>();
        const sum = (): number => [...model.values()].reduce((total, { bytes }) => total + bytes, 0);
        for (const { set, topic, value, bytes } of steps) {
          if (!set) {
            expect(store.delete(topic)).toBe(model.delete(topic));
          } else {
            const countFits = model.has(topic) || model.size < limits.countMax;
            const fits = countFits && sum() - (model.get(topic)?.bytes ?? 0) + bytes <= limits.bytesMax;
            expect(store.set(topic, value, bytes)).toBe(fits);
            if (fits) model.set(topic, { value, bytes });
          }
          expect(store.get(topic)).toBe(model.get(topic)?.value);
          expect([store.count, store.bytes]).toEqual([model.size, sum()]);
        }
        for (const filter of probes) {
          expect(matchTopics(store, filter)).toEqual(
            [...model.keys()].filter((topic) => matches(filter, topic)).sort(),
          );
        }
        for (const topic of model.keys()) store.delete(topic);
        expect([store.count, store.bytes, store.nodeCount]).toEqual([0, 0, 0]);
      },
    );
    fc.assert(property, { numRuns: 600 });
  });

  it('set() replaces when the count is reached and keeps the old value when bytes refuse the new one', () => {
    const store = new RetainedStore<string>({ countMax: 1, bytesMax: 10 });
    expect(store.set('a', 'one', 5)).toBe(true);
    expect(store.set('b', 'two', 1)).toBe(false);
    expect(store.set('a', 'three', 10)).toBe(true);
    expect(store.set('a', 'four', 11)).toBe(false);
    expect(store.get('a')).toBe('three');
    expect(store.nodeCount).toBe(1);
  });

  it('match() takes names of object properties, empty levels and hidden topics as what they are', () => {
    const store = new RetainedStore<number>(unlimited);
    for (const topic of ['__proto__', 'constructor/prototype', '/', 'a//b', '$SYS/x', 'a/$x']) store.set(topic, 1, 1);
    expect(store.get('toString')).toBeUndefined();
    expect(matchTopics(store, '#')).toEqual(['/', '__proto__', 'a/$x', 'a//b', 'constructor/prototype']);
    expect(matchTopics(store, '+')).toEqual(['__proto__']);
    expect(matchTopics(store, '+/+')).toEqual(['/', 'a/$x', 'constructor/prototype']);
    expect(matchTopics(store, 'a/+/b')).toEqual(['a//b']);
    expect(matchTopics(store, '$SYS/#')).toEqual(['$SYS/x']);
    expect(matchTopics(store, '__proto__/#')).toEqual(['__proto__']);
  });

  it('match() lets its visitor delete and replace', () => {
    const store = new RetainedStore<number>(unlimited);
    for (let at = 0; at < 1000; at++) store.set(`a/${at % 10}/${at}`, at, 1);
    const seen = new Set<string>();
    store.match('a/#', (topic, value) => {
      expect(seen.has(topic)).toBe(false);
      seen.add(topic);
      // What another visit deletes is not visited any more; each pair of neighbours is visited once or twice.
      if (value % 2 === 0) {
        store.delete(topic);
        store.delete(`a/${(value + 1) % 10}/${value + 1}`);
      } else store.set(topic, value, 2);
    });
    expect(store.count).toBe(0);
    expect(seen.size).toBeGreaterThanOrEqual(500);
    expect(store.nodeCount).toBe(0);
  });

  it('match() survives topics far deeper than allowed and visits only what can match', () => {
    const store = new RetainedStore<number>(unlimited);
    const deep = new Array<string>(50_000).fill('a').join('/');
    store.set(deep, 1, 1);
    expect(matchTopics(store, '#')).toEqual([deep]);
    expect(matchTopics(store, `${deep}/#`)).toEqual([deep]);
    store.delete(deep);
    expect(store.nodeCount).toBe(0);
  });

  it('match() answers among 200,000 topics', () => {
    const store = new RetainedStore<number>(unlimited);
    for (let at = 0; at < 200_000; at++) store.set(`site/${at % 100}/device/${at}`, at, 1);
    expect(matchTopics(store, 'site/7/device/+')).toHaveLength(2000);
    expect(matchTopics(store, 'site/+/device/4711')).toEqual(['site/11/device/4711']);
    expect(matchTopics(store, '#')).toHaveLength(200_000);
    for (let at = 0; at < 200_000; at++) store.delete(`site/${at % 100}/device/${at}`);
    expect([store.count, store.nodeCount]).toEqual([0, 0]);
  });
});
