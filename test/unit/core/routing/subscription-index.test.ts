import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SubscriptionIndex } from '../../../../src/core/routing/subscription-index.ts';
import { matches } from '../../../../src/core/routing/topic.ts';
import { filters, topics } from './arbitraries.ts';

interface Subscription {
  readonly name: string;
}

function matchNames(index: SubscriptionIndex<Subscription>, topic: string): string[] {
  const into: Subscription[] = [];
  index.match(topic, into);
  return into.map(({ name }) => name).sort();
}

function expectEmpty(index: SubscriptionIndex<Subscription>): void {
  expect([index.filterCount, index.subscriptionCount, index.nodeCount]).toEqual([0, 0, 0]);
}

describe('SubscriptionIndex', () => {
  it('match() agrees with matches() over any sequence of add and remove', () => {
    const subscriptions: Subscription[] = ['s0', 's1', 's2'].map((name) => ({ name }));
    const step = fc.record({ add: fc.boolean(), filter: filters, who: fc.nat({ max: 2 }) });
    const property = fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.array(topics, { maxLength: 8 }),
      (steps, probes) => {
        const index = new SubscriptionIndex<Subscription>();
        const model = new Map<string, Set<Subscription>>();
        for (const { add, filter, who } of steps) {
          const subscription = subscriptions[who];
          const epoch = index.epoch;
          const present = model.get(filter) ?? new Set<Subscription>();
          const changes = present.has(subscription) !== add;
          if (add) {
            expect(index.add(filter, subscription)).toBe(present.size === 0);
            model.set(filter, present.add(subscription));
          } else {
            const last = present.delete(subscription) && present.size === 0;
            expect(index.remove(filter, subscription)).toBe(last);
            if (present.size === 0) model.delete(filter);
          }
          expect(index.epoch !== epoch).toBe(changes);
        }
        expect(index.filterCount).toBe(model.size);
        expect(index.subscriptionCount).toBe([...model.values()].reduce((sum, { size }) => sum + size, 0));
        for (const topic of probes) {
          const expected = [...model].filter(([filter]) => matches(filter, topic)).flatMap(([, set]) => [...set]);
          expect(matchNames(index, topic)).toEqual(expected.map(({ name }) => name).sort());
        }
        for (const [filter, set] of model) for (const subscription of set) index.remove(filter, subscription);
        expectEmpty(index);
      },
    );
    fc.assert(property, { numRuns: 600 });
  });

  it('match() finds nothing for names of object properties that nobody subscribed to', () => {
    const index = new SubscriptionIndex<Subscription>();
    index.add('a/+', { name: 'x' });
    for (const topic of ['__proto__', 'constructor', 'a/b/__proto__', 'toString/b', 'hasOwnProperty']) {
      expect(matchNames(index, topic)).toEqual([]);
    }
    index.add('__proto__/+', { name: 'proto' });
    index.add('__proto__', { name: 'exact' });
    expect(matchNames(index, '__proto__/constructor')).toEqual(['proto']);
    expect(matchNames(index, '__proto__')).toEqual(['exact']);
  });

  it('match() keeps topics that begin with $ from filters that begin with a wildcard', () => {
    const index = new SubscriptionIndex<Subscription>();
    for (const filter of ['#', '+/#', '+/a', '$SYS/#', '$SYS/+', '$SYS/a', '/#']) index.add(filter, { name: filter });
    expect(matchNames(index, '$SYS/a')).toEqual(['$SYS/#', '$SYS/+', '$SYS/a']);
    expect(matchNames(index, 'x/a')).toEqual(['#', '+/#', '+/a']);
    expect(matchNames(index, '/')).toEqual(['#', '+/#', '/#']);
  });

  it('match() survives topics and filters far deeper than allowed', () => {
    const index = new SubscriptionIndex<Subscription>();
    const deep = new Array<string>(50_000).fill('a').join('/');
    index.add(`${deep}/#`, { name: 'deep' });
    index.add(new Array<string>(50_000).fill('+').join('/'), { name: 'plus' });
    expect(matchNames(index, deep)).toEqual(['deep', 'plus']);
  });

  it('match() visits each node of a hostile tree at most once', () => {
    const index = new SubscriptionIndex<Subscription>();
    // Every combination of `a` and `+` over 12 levels: each of them matches, and 2^12 is all there is.
    for (let bits = 0; bits < 4096; bits++) {
      const levels = Array.from({ length: 12 }, (_, level) => ((bits >> level) & 1 ? '+' : 'a'));
      index.add(levels.join('/'), { name: `${bits}` });
    }
    expect(matchNames(index, new Array<string>(12).fill('a').join('/'))).toHaveLength(4096);
    expect(matchNames(index, new Array<string>(11).fill('a').join('/'))).toHaveLength(0);
  });

  it('remove() keeps a filter with many subscribers intact in any order of removal', () => {
    for (const [filter, count] of [
      ['a/b', 100_000],
      ['a/+', 20],
      ['a/#', 500],
    ] as const) {
      const index = new SubscriptionIndex<Subscription>();
      const subscriptions = Array.from({ length: count }, (_, at) => ({ name: `${at}` }));
      for (const subscription of subscriptions) index.add(filter, subscription);
      expect(index.add(filter, subscriptions[7])).toBe(false);
      expect(index.subscriptionCount).toBe(count);
      // From both ends and the middle, so that removals move others.
      for (let at = 0; at < count; at += 2) index.remove(filter, subscriptions[at]);
      const odd = subscriptions.filter((_, at) => at % 2 === 1);
      expect(new Set(matchNames(index, 'a/b'))).toEqual(new Set(odd.map(({ name }) => name)));
      const last = odd.pop() as Subscription;
      for (const subscription of odd.reverse()) expect(index.remove(filter, subscription)).toBe(false);
      expect(matchNames(index, 'a/b')).toEqual([last.name]);
      expect(index.remove(filter, last)).toBe(true);
      expect(index.remove(filter, last)).toBe(false);
      expectEmpty(index);
    }
  });

  it('match() answers among one million exact and 10,000 wildcard filters', { timeout: 60_000 }, () => {
    const index = new SubscriptionIndex<Subscription>();
    const exact = { name: 'exact' };
    for (let at = 0; at < 1_000_000; at++) index.add(`site/${at % 1000}/device/${at}/state`, exact);
    for (let at = 0; at < 5_000; at++) index.add(`site/${at}/device/+/state`, { name: `plus ${at}` });
    for (let at = 0; at < 5_000; at++) index.add(`site/+/device/${at}/#`, { name: `below ${at}` });
    expect(index.filterCount).toBe(1_010_000);
    expect(index.nodeCount).toBeLessThan(40_000);
    expect(matchNames(index, 'site/7/device/4007/state')).toEqual(['below 4007', 'exact', 'plus 7']);
    expect(matchNames(index, 'site/7/device/999007/state')).toEqual(['exact', 'plus 7']);
    expect(matchNames(index, 'site/7/device/999008/state')).toEqual(['plus 7']);
    expect(matchNames(index, 'site/x/device/12')).toEqual(['below 12']);
  });

  it('remove() gives the memory back', () => {
    const script = `
      import { SubscriptionIndex } from ${JSON.stringify(new URL('../../../../src/core/routing/subscription-index.ts', import.meta.url).href)};
      const used = () => { gc(); gc(); return process.memoryUsage().heapUsed; };
      const index = new SubscriptionIndex();
      const filterOf = (at) => at % 2 ? 'site/' + at + '/a rather long level/x' : 'site/' + at + '/+/a rather long level/#';
      const subscription = {};
      const before = used();
      for (let at = 0; at < 100_000; at++) index.add(filterOf(at), subscription);
      const loaded = used();
      for (let at = 0; at < 100_000; at++) index.remove(filterOf(at), subscription);
      const after = used();
      console.log(JSON.stringify({ loaded: loaded - before, left: after - before, count: index.filterCount }));
    `;
    const output = execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '--eval', script], {
      encoding: 'utf8',
    });
    const { loaded, left, count } = JSON.parse(output) as { loaded: number; left: number; count: number };
    expect(count).toBe(0);
    expect(loaded).toBeGreaterThan(5_000_000);
    expect(left).toBeLessThan(1_000_000);
  });

  it('add() keeps no long filter alive through a level that outlives it', () => {
    const script = `
      import { SubscriptionIndex } from ${JSON.stringify(new URL('../../../../src/core/routing/subscription-index.ts', import.meta.url).href)};
      const used = () => { gc(); gc(); return process.memoryUsage().heapUsed; };
      const index = new SubscriptionIndex();
      const subscription = {};
      const before = used();
      for (let at = 0; at < 300; at++) {
        const head = at + '/a level that is long and an only child/';
        const filter = Buffer.from(head + 'x'.repeat(60_000) + '/+').toString();
        index.add(filter, subscription);
        index.add(head + '+', subscription);
        index.remove(filter, subscription);
      }
      const left = used() - before;
      // The index is used again, so that it cannot be collected before it is measured.
      console.log(index.filterCount === 300 ? left : NaN);
    `;
    const output = execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '--eval', script], {
      encoding: 'utf8',
    });
    expect(Number(output)).toBeLessThan(3_000_000);
  });
});
