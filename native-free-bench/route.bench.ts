/**
 * The way from the bytes of a topic to its route: hash, route cache, and the interest table that a miss asks. Each task
 * runs 1,000 operations, so a period in microseconds reads as nanoseconds per operation.
 */
import { Bench } from 'tinybench';
import { createInterestTable, InterestTable } from '../src/core/routing/interest-table.ts';
import { RouteCache } from '../src/core/routing/route-cache.ts';
import { hashBytes } from '../src/std/hash.ts';

const OPERATIONS = 1000;

/** A chunk that holds `count` topics of 20 bytes one behind the other. */
function topicChunk(count: number): Buffer {
  return Buffer.concat(
    Array.from({ length: count }, (_, at) => Buffer.from(`site/${`${at}`.padStart(7, '0')}/measure`)),
  );
}

function filledCache(chunk: Buffer): RouteCache<object> {
  const cache = new RouteCache<object>(65_536, 1);
  for (let at = 0; at < chunk.length; at += 20) cache.insert(chunk.subarray(at, at + 20), { at });
  return cache;
}

function addHashes(bench: Bench): void {
  let sink = 0;
  for (const bytes of [8, 20, 64, 1000]) {
    const chunk = Buffer.alloc(1200, 'abcdefg/');
    bench.add(`hashBytes ${bytes} B x1000`, () => {
      for (let at = 0; at < OPERATIONS; at++) sink ^= hashBytes(chunk, at & 63, (at & 63) + bytes, 1);
      return sink;
    });
  }
}

function addLookups(bench: Bench): void {
  for (const count of [1, 1000, 50_000]) {
    const chunk = topicChunk(count);
    const cache = filledCache(chunk);
    let next = 0;
    bench.add(`RouteCache.lookup 20 B, ${count} topics in turn x1000`, () => {
      let found = 0;
      for (let at = 0; at < OPERATIONS; at++) {
        if (cache.lookup(chunk, next, 20) !== undefined) found++;
        next += 20;
        if (next === chunk.length) next = 0;
      }
      if (found !== OPERATIONS) throw new Error('Cannot find a cached route: the cache is wrong');
    });
  }
  const chunk = topicChunk(1000);
  const cache = new RouteCache<object>(65_536, 1);
  const route = {};
  bench.add('RouteCache.insert 20 B and clear x1000', () => {
    for (let at = 0; at < chunk.length; at += 20) cache.insert(chunk.subarray(at, at + 20), route);
    cache.clear();
  });
}

function addInterest(bench: Bench, filterCount: number): void {
  const buffer = createInterestTable(8, { seed: 1 });
  const publisher = new InterestTable(buffer, 0);
  const subscriber = new InterestTable(buffer, 1);
  for (let at = 0; at < filterCount; at++) subscriber.add(`site/${at}/measure`);
  const wildcards = ['#', '+/x', 'site/+/measure', 'site/#', '+/+/measure', 'site/+/+/x', 'a/b/c/+', '+/b/+/d'];
  for (const filter of wildcards) subscriber.add(filter);
  const topics = Array.from({ length: OPERATIONS }, (_, at) => `site/${at}/measure`);
  let sink = 0;
  bench.add('InterestTable.workersFor 3 levels, 9 shapes x1000', () => {
    for (const topic of topics) {
      publisher.workersFor(topic);
      sink |= publisher.maskLow;
    }
    return sink;
  });
  bench.add('InterestTable.add and remove x1000', () => {
    for (let at = 0; at < OPERATIONS; at++) publisher.add(topics[at]);
    for (let at = 0; at < OPERATIONS; at++) publisher.remove(topics[at]);
  });
}

export default function createBench(options: { smoke: boolean }): Promise<Bench> {
  const bench = new Bench({ name: 'route', ...(options.smoke ? { time: 5, warmupTime: 1 } : { time: 500 }) });
  addHashes(bench);
  addLookups(bench);
  addInterest(bench, options.smoke ? 1000 : 100_000);
  return Promise.resolve(bench);
}
