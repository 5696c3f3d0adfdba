/**
 * The subscription index and the retained store at the size that the broker promises: one million exact and 10,000
 * wildcard filters. Each task runs 1,000 operations unless its name says otherwise, so that a period in microseconds
 * reads as nanoseconds per operation.
 */
import { Bench } from 'tinybench';
import { RetainedStore } from '../src/core/retained/retained-store.ts';
import { SubscriptionIndex } from '../src/core/routing/subscription-index.ts';

const OPERATIONS = 1000;

interface Sizes {
  readonly exact: number;
  readonly wildcard: number;
}

function exactFilters(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `site/${at % 1000}/device/${at}/state`);
}

function wildcardFilters(count: number): string[] {
  return Array.from({ length: count }, (_, at) =>
    at % 2 === 0 ? `site/${at}/device/+/state` : `site/+/device/${at}/#`,
  );
}

function addMatches(bench: Bench, label: string, filters: readonly string[]): void {
  const index = new SubscriptionIndex<object>();
  const subscription = {};
  for (const filter of filters) index.add(filter, subscription);
  // New strings, as they come from a decoder: a string that was looked up before has its hash cached.
  const chunk = Buffer.from(
    exactFilters(OPERATIONS)
      .map((topic) => topic.padEnd(32, ' '))
      .join(''),
  );
  const lengths = exactFilters(OPERATIONS).map((topic) => topic.length);
  const into: object[] = [];
  bench.add(`SubscriptionIndex.match ${label} x1000`, () => {
    let found = 0;
    for (let at = 0; at < OPERATIONS; at++) {
      index.match(chunk.toString('latin1', at * 32, at * 32 + lengths[at]), into);
      found += into.length;
      into.length = 0;
    }
    if (found === 0) throw new Error('Cannot match any topic: the index is wrong');
  });
}

function addChurn(bench: Bench, sizes: Sizes): void {
  const filters = [...exactFilters(sizes.exact), ...wildcardFilters(sizes.wildcard)];
  const subscription = {};
  bench.add(`SubscriptionIndex.add ${filters.length} filters (whole load)`, () => {
    const index = new SubscriptionIndex<object>();
    for (const filter of filters) index.add(filter, subscription);
    if (index.filterCount !== filters.length) throw new Error('Cannot load the filters: the index is wrong');
  });
  const loaded = new SubscriptionIndex<object>();
  for (const filter of filters) loaded.add(filter, subscription);
  bench.add('SubscriptionIndex.add and remove exact x1000', () => {
    for (let at = 0; at < OPERATIONS; at++) loaded.add(`new/${at}`, subscription);
    for (let at = 0; at < OPERATIONS; at++) loaded.remove(`new/${at}`, subscription);
  });
  bench.add('SubscriptionIndex.add and remove wildcard x1000', () => {
    for (let at = 0; at < OPERATIONS; at++) loaded.add(`new/${at}/+`, subscription);
    for (let at = 0; at < OPERATIONS; at++) loaded.remove(`new/${at}/+`, subscription);
  });
}

function addPopularFilter(bench: Bench, subscriberCount: number): void {
  const index = new SubscriptionIndex<object>();
  const subscriptions = Array.from({ length: subscriberCount }, () => ({}));
  for (const subscription of subscriptions) index.add('popular/+', subscription);
  bench.add(`SubscriptionIndex.remove and add, one of ${subscriberCount} subscribers x1000`, () => {
    for (let at = 0; at < OPERATIONS; at++) index.remove('popular/+', subscriptions[at]);
    for (let at = 0; at < OPERATIONS; at++) index.add('popular/+', subscriptions[at]);
  });
}

function addRetained(bench: Bench, count: number): void {
  const store = new RetainedStore<number>({ countMax: count, bytesMax: count });
  const topics = exactFilters(count);
  for (const topic of topics) store.set(topic, 1, 1);
  bench.add('RetainedStore.set (replace) x1000', () => {
    for (let at = 0; at < OPERATIONS; at++) store.set(topics[at], at, 1);
  });
  let visited = 0;
  bench.add(`RetainedStore.match site/7/device/+/state among ${count} (once)`, () => {
    store.match('site/7/device/+/state', () => visited++);
    return visited;
  });
}

export default function createBench(options: { smoke: boolean }): Promise<Bench> {
  const bench = new Bench({
    name: 'index',
    ...(options.smoke ? { time: 5, iterations: 2, warmup: false } : { time: 500, iterations: 5, warmupIterations: 2 }),
  });
  const sizes: Sizes = options.smoke ? { exact: 10_000, wildcard: 1000 } : { exact: 1_000_000, wildcard: 10_000 };
  addMatches(bench, `${sizes.exact} exact`, exactFilters(sizes.exact));
  addMatches(bench, `${sizes.exact} exact and ${sizes.wildcard} wildcard`, [
    ...exactFilters(sizes.exact),
    ...wildcardFilters(sizes.wildcard),
  ]);
  addChurn(bench, sizes);
  addPopularFilter(bench, options.smoke ? 2000 : 100_000);
  addRetained(bench, options.smoke ? 10_000 : 200_000);
  return Promise.resolve(bench);
}
