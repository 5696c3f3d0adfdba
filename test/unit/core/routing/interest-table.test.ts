import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  createInterestTable,
  epochReached,
  InterestTable,
  type InterestTableOptions,
} from '../../../../src/core/routing/interest-table.ts';
import { matches } from '../../../../src/core/routing/topic.ts';
import { filters, topics } from './arbitraries.ts';
import type { InterestWorkerData, InterestWorkerResult } from './interest-table.worker.ts';

/** The workers in the mask for `topic`, as seen by `table`. */
function workersFor(table: InterestTable, topic: string): number[] {
  table.workersFor(topic);
  const workers: number[] = [];
  for (let worker = 0; worker < 64; worker++) {
    const mask = worker < 32 ? table.maskLow : table.maskHigh;
    if ((mask & (1 << (worker & 31))) !== 0) workers.push(worker);
  }
  return workers;
}

/** All views of a new table, and its buffer. */
function createViews(workerCount: number, options?: InterestTableOptions): [InterestTable[], SharedArrayBuffer] {
  // One seed: with few buckets, two filters of a random one share a bucket now and then.
  const buffer = createInterestTable(workerCount, { seed: 5, ...options });
  return [Array.from({ length: workerCount }, (_, index) => new InterestTable(buffer, index)), buffer];
}

/** Shared words that depend on filters: everything behind the header but the reach of the lists, and the flags. */
function residue(buffer: SharedArrayBuffer, workerCount: number, shapesMax: number): number {
  const words = new Int32Array(buffer);
  const lineWords = 16 + Math.ceil(shapesMax / 16) * 16;
  let count = words[17] === 0 && words[18] === 0 ? 0 : 1;
  for (let word = 48; word < words.length; word++) {
    const inLines = word < 48 + workerCount * lineWords;
    if (words[word] !== 0 && !(inLines && (word - 48) % lineWords === 0)) count++;
  }
  return count;
}

/** Filters that a worker has, and one that it adds: new bucket, new shape, new shape in a bucket in use, full list. */
const interleavings: { name: string; before: string[]; added: string; topic: string; options: InterestTableOptions }[] =
  [
    { name: 'anything', before: [], added: 'a/+', topic: 'a/b', options: { bucketBits: 12, seed: 5 } },
    { name: 'others of its shape', before: ['x/+'], added: 'a/+', topic: 'a/b', options: { bucketBits: 12, seed: 5 } },
    {
      name: 'others in its bucket',
      before: Array.from({ length: 600 }, (_, at) => `${at}`),
      added: 'a/+',
      topic: 'a/b',
      options: { bucketBits: 6, seed: 5 },
    },
    {
      name: 'a full list',
      before: ['x'],
      added: 'a/+',
      topic: 'a/b',
      options: { shapesMax: 1, bucketBits: 12, seed: 5 },
    },
  ];

/** Runs `main`, and `intruder` just before its access number `step` to shared memory; false when there are fewer. */
function runAtStep(step: number, main: () => void, intruder: () => void): boolean {
  let accesses = 0;
  const spies = (['add', 'and', 'load', 'or', 'store'] as const).map((name) => {
    const access = Atomics[name] as (...args: unknown[]) => number;
    const intrudeAndAccess = (...args: unknown[]): number => {
      if (accesses++ === step) intruder();
      return access(...args);
    };
    return vi.spyOn(Atomics, name).mockImplementation(intrudeAndAccess as never);
  });
  try {
    main();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return accesses > step;
}

describe('InterestTable', () => {
  it.each([
    { workerCount: 2, bucketBits: 16, shapesMax: 64 },
    { workerCount: 3, bucketBits: 6, shapesMax: 64 },
    { workerCount: 5, bucketBits: 6, shapesMax: 3 },
    { workerCount: 32, bucketBits: 8, shapesMax: 5 },
    { workerCount: 33, bucketBits: 10, shapesMax: 20 },
    { workerCount: 64, bucketBits: 6, shapesMax: 8 },
  ])(
    'workersFor() misses no worker and a cached mask of the epoch neither ($workerCount workers, 2^$bucketBits, $shapesMax shapes)',
    (options) => {
      const { workerCount } = options;
      const step = fc.record({ add: fc.boolean(), worker: fc.nat({ max: workerCount - 1 }), filter: filters });
      const steps = fc.array(step, { maxLength: 50 });
      const property = fc.property(
        steps,
        fc.array(topics, { maxLength: 6 }),
        fc.nat({ max: workerCount - 1 }),
        (list, probes, reader) => {
          const [views, buffer] = createViews(workerCount, options);
          const model = views.map(() => new Map<string, number>());
          const cache = new Map<string, { epoch: number; workers: number[] }>();
          const verify = (): void => {
            for (const topic of probes) {
              let cached = cache.get(topic);
              const epoch = views[reader].epoch();
              if (cached?.epoch !== epoch) {
                cached = { epoch, workers: workersFor(views[reader], topic) };
                cache.set(topic, cached);
              }
              expect(cached.workers).not.toContain(reader);
              model.forEach((counts, worker) => {
                const wants = worker !== reader && [...counts.keys()].some((filter) => matches(filter, topic));
                if (wants) expect(cached.workers).toContain(worker);
              });
            }
          };
          for (const { add, worker, filter } of list) {
            const count = model[worker].get(filter) ?? 0;
            if (add) {
              views[worker].add(filter);
              model[worker].set(filter, count + 1);
            } else if (count > 0) {
              views[worker].remove(filter);
              if (count === 1) model[worker].delete(filter);
              else model[worker].set(filter, count - 1);
            }
            verify();
          }
          model.forEach((counts, worker) => {
            for (const [filter, count] of counts) for (let at = 0; at < count; at++) views[worker].remove(filter);
          });
          expect(residue(buffer, workerCount, options.shapesMax)).toBe(0);
          for (const topic of probes) expect(workersFor(views[reader], topic)).toEqual([]);
        },
      );
      fc.assert(property, { numRuns: 120 });
    },
  );

  it('workersFor() is exact but for collisions', () => {
    const [[publisher, subscriber]] = createViews(2, { bucketBits: 20, seed: 1 });
    for (let at = 0; at < 1000; at++) subscriber.add(`a/${at}/+`);
    let falsePositives = 0;
    for (let at = 0; at < 1000; at++) {
      expect(workersFor(publisher, `a/${at}/x`)).toEqual([1]);
      if (workersFor(publisher, `b/${at}/x`).length > 0) falsePositives++;
    }
    expect(falsePositives).toBeLessThan(10);
    expect(workersFor(publisher, 'a/1')).toEqual([]);
    expect(workersFor(publisher, 'a/1/x/y')).toEqual([]);
  });

  it('workersFor() leaves hidden topics to filters that begin with a level', () => {
    const [[publisher, first, second]] = createViews(3);
    for (const filter of ['#', '+/#', '+/x']) first.add(filter);
    second.add('$SYS/+');
    expect(workersFor(publisher, '$SYS/x')).toEqual([2]);
    expect(workersFor(publisher, 'a/x')).toEqual([1]);
    expect(workersFor(publisher, '/')).toEqual([1]);
  });

  it('add() moves the epoch when it changes a mask, remove() when it changes one back, repeated ones do not', () => {
    const [[publisher, subscriber]] = createViews(2);
    const epochs: number[] = [publisher.epoch()];
    const note = (): number => epochs.push(publisher.epoch());
    subscriber.add('a/+');
    note();
    subscriber.add('a/+');
    note();
    subscriber.remove('a/+');
    note();
    subscriber.remove('a/+');
    note();
    expect(epochs.map((epoch, at) => at > 0 && epoch !== epochs[at - 1])).toEqual([false, true, false, false, true]);
    expect(publisher.bumpEpoch()).toBe(subscriber.epoch());
  });

  it('add() moves the epoch for a new shape although another filter of the worker uses its bucket', () => {
    // 64 buckets and 600 filters: every bucket is in use by the time of the last new shape.
    const [[publisher, subscriber]] = createViews(2, { bucketBits: 6 });
    for (let at = 0; at < 600; at++) subscriber.add(`${at}`);
    const epoch = publisher.epoch();
    expect(workersFor(publisher, 'x/y')).toEqual([]);
    subscriber.add('x/y');
    expect(publisher.epoch()).not.toBe(epoch);
    expect(workersFor(publisher, 'x/y')).toEqual([1]);
  });

  it('add() counts more than 255 filters of one bucket', () => {
    const [[publisher, subscriber], buffer] = createViews(2, { bucketBits: 8 });
    const deep = new Array<string>(16).fill('a').join('/');
    for (let at = 0; at < 1000; at++) subscriber.add(`${deep}/${at}`);
    for (let at = 0; at < 999; at++) subscriber.remove(`${deep}/${at}`);
    expect(workersFor(publisher, `${deep}/999`)).toEqual([1]);
    subscriber.remove(`${deep}/999`);
    expect(workersFor(publisher, `${deep}/999`)).toEqual([]);
    expect(residue(buffer, 2, 1024)).toBe(0);
  });

  it('add() asks for everything while the list of shapes is full, and no longer', () => {
    const [[publisher, subscriber]] = createViews(2, { shapesMax: 2 });
    for (const filter of ['a', 'a/b', 'a/b/c', 'a/b/c/d']) subscriber.add(filter);
    expect(workersFor(publisher, 'unrelated')).toEqual([1]);
    subscriber.remove('a');
    // A place is free now, but the filters that had none stay counted as everything until they go.
    subscriber.add('x/y/z');
    subscriber.remove('a/b/c');
    subscriber.remove('a/b/c/d');
    expect(workersFor(publisher, 'x/y/z')).toEqual([1]);
    subscriber.remove('x/y/z');
    expect(workersFor(publisher, 'unrelated')).toEqual([]);
    expect(workersFor(publisher, 'a/b')).toEqual([1]);
    subscriber.add('p/q/r');
    expect(workersFor(publisher, 'p/q/r')).toEqual([1]);
    expect(workersFor(publisher, 'unrelated')).toEqual([]);
  });

  it('add() and remove() move the epoch when a worker begins and ceases to ask for everything', () => {
    const [[publisher, subscriber]] = createViews(2, { shapesMax: 1 });
    subscriber.add('a');
    const before = publisher.epoch();
    subscriber.add('a/b');
    const during = publisher.epoch();
    expect(during).not.toBe(before);
    // Everything is asked for already, so further shapes change no mask.
    subscriber.add('a/b/c');
    expect(publisher.epoch()).toBe(during);
    subscriber.remove('a/b');
    subscriber.remove('a/b/c');
    expect(publisher.epoch()).not.toBe(during);
  });

  it('workersFor() sends everything to workers whose shapes are too many to search', () => {
    const [[publisher, first, second]] = createViews(3, { shapesMax: 2 });
    first.add('a');
    first.add('a/b');
    second.add('a/b/c');
    expect(workersFor(publisher, 'unrelated')).toEqual([2]);
    first.remove('a');
    expect(workersFor(publisher, 'unrelated')).toEqual([]);
    expect(workersFor(publisher, 'a/b/c')).toEqual([2]);
  });

  it.each([2, 32, 64])('clear() forgets one worker of %i and leaves the others', (workerCount) => {
    const [views, buffer] = createViews(workerCount, { bucketBits: 8, shapesMax: 2 });
    const dead = workerCount - 1;
    for (const view of views) for (const filter of ['a', 'b/+', 'c/#', 'd/+/e']) view.add(filter);
    const before = views[0].epoch();
    InterestTable.clear(buffer, dead);
    expect(epochReached(views[0].epoch(), before)).toBe(true);
    expect(views[0].epoch()).not.toBe(before);
    for (const topic of ['a', 'b/x', 'c', 'd/x/e', 'unrelated']) {
      expect(workersFor(views[0], topic)).not.toContain(dead);
      expect(workersFor(views[dead], topic)).toHaveLength(workerCount - 1);
    }
    for (const view of views.slice(0, dead)) for (const filter of ['a', 'b/+', 'c/#', 'd/+/e']) view.remove(filter);
    expect(residue(buffer, workerCount, 2)).toBe(0);
    const successor = new InterestTable(buffer, dead);
    successor.add('b/+');
    expect(workersFor(views[0], 'b/x')).toEqual(dead === 0 ? [] : [dead]);
  });

  it.each([2, 32, 64])('hold() makes one worker of %i want everything until letGo(), over clear()', (workerCount) => {
    const [views, buffer] = createViews(workerCount, { bucketBits: 8, shapesMax: 2 });
    const dead = workerCount - 1;
    views[dead].add('a/+');
    const before = views[0].epoch();
    InterestTable.hold(buffer, dead);
    InterestTable.clear(buffer, dead);
    expect(views[0].epoch()).not.toBe(before);
    expect(workersFor(views[0], 'anything')).toContain(dead);
    const successor = new InterestTable(buffer, dead);
    successor.add('b');
    const held = views[0].epoch();
    InterestTable.letGo(buffer, dead);
    expect(views[0].epoch()).not.toBe(held);
    expect(workersFor(views[0], 'anything')).not.toContain(dead);
    expect(workersFor(views[0], 'b')).toContain(dead);
    const released = views[0].epoch();
    InterestTable.letGo(buffer, dead);
    expect(views[0].epoch()).toBe(released);
  });

  it('remove() asserts that the filter was added', () => {
    const [[view]] = createViews(1);
    expect(() => view.remove('a')).toThrow('was added');
  });

  it('epochReached() orders epochs across the wrap', () => {
    expect(epochReached(5, 5)).toBe(true);
    expect(epochReached(4, 5)).toBe(false);
    expect(epochReached(-2_147_483_648, 2_147_483_647)).toBe(true);
    expect(epochReached(2_147_483_647, -2_147_483_648)).toBe(false);
  });

  it.each(interleavings)(
    'add() before $name hides from no publisher that looks in between its writes',
    ({ before, added, topic, options }) => {
      // Every schedule in which a publisher runs whole between two accesses of `add` to the shared table.
      for (let step = 0; ; step++) {
        const [[publisher, subscriber]] = createViews(2, options);
        for (const filter of before) subscriber.add(filter);
        workersFor(publisher, 'warm/up');
        let mask: { epoch: number; workers: number[] } | undefined;
        const ran = runAtStep(
          step,
          () => subscriber.add(added),
          () => {
            mask = { epoch: publisher.epoch(), workers: workersFor(publisher, topic) };
          },
        );
        if (!ran) {
          expect(step).toBeGreaterThan(0);
          return;
        }
        if (mask?.epoch === publisher.epoch()) expect(mask.workers).toEqual([1]);
        expect(workersFor(publisher, topic)).toEqual([1]);
      }
    },
  );

  it.each(interleavings)(
    'add() before $name hides from no publisher in between whose reads it runs',
    ({ before, added, topic, options }) => {
      // Every second schedule begins with a publisher that has read no list yet.
      for (let schedule = 0; ; schedule++) {
        const step = schedule >> 1;
        const [[publisher, subscriber]] = createViews(2, options);
        for (const filter of before) subscriber.add(filter);
        if (schedule % 2 === 0) workersFor(publisher, 'warm/up');
        let mask = { epoch: 0, workers: [0] };
        const publish = (): void => {
          mask = { epoch: publisher.epoch(), workers: workersFor(publisher, topic) };
        };
        if (!runAtStep(step, publish, () => subscriber.add(added))) {
          expect(step).toBeGreaterThan(2);
          // The cold publisher makes more accesses than the warm one, so it ends the loop.
          if (schedule % 2 === 0) continue;
          return;
        }
        if (mask.epoch === publisher.epoch()) expect(mask.workers).toEqual([1]);
        publish();
        expect(mask.workers).toEqual([1]);
      }
    },
  );

  it('add() and workersFor() keep the promise of the epoch between three threads', { timeout: 60_000 }, async () => {
    const results = await runThreads(false);
    for (const result of results) {
      expect(result.misses).toBe(0);
      expect(result.checks).toBeGreaterThan(1000);
    }
    expect(results.reduce((sum, { cachedChecks }) => sum + cachedChecks, 0)).toBeGreaterThan(100);
  });

  it('the check between threads fails when masks are kept past their epoch', { timeout: 60_000 }, async () => {
    const results = await runThreads(true);
    expect(results.reduce((sum, { misses }) => sum + misses, 0)).toBeGreaterThan(0);
  });
});

async function runThreads(ignoreEpoch: boolean): Promise<InterestWorkerResult[]> {
  const workerCount = 3;
  // Different shapes, more of them than the list holds, and few buckets: every path is taken concurrently.
  const wanted: string[] = [];
  const published: string[] = [];
  for (let at = 0; at < 24; at++) {
    const levels = Array.from({ length: 2 + (at % 4) }, (_, level) => `${at}-${level}`);
    published.push(levels.join('/'));
    if (at % 3 === 1) levels[at % levels.length] = '+';
    if (at % 3 === 2) levels[levels.length - 1] = '#';
    wanted.push(levels.join('/'));
  }
  const table = createInterestTable(workerCount, { bucketBits: 9, shapesMax: 6 });
  const ledger = new SharedArrayBuffer(workerCount * wanted.length * 4);
  const progress = new SharedArrayBuffer(8);
  const workers = Array.from({ length: workerCount }, (_, workerIndex) => {
    const workerData: InterestWorkerData = {
      table,
      ledger,
      workerIndex,
      workerCount,
      filters: wanted,
      topics: published,
      progress,
      rounds: 300_000,
      ignoreEpoch,
    };
    return new Worker(new URL('./interest-table.worker.ts', import.meta.url), { workerData, execArgv: [] });
  });
  try {
    return await Promise.all(
      workers.map(async (worker) => {
        const [result] = (await once(worker, 'message')) as [InterestWorkerResult];
        return result;
      }),
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
