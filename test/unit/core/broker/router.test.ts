/** Routers of several workers over the same rings, in one process: what is published on one arrives on the others. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { frameOf } from '../../../../src/core/retained/retained-value.ts';
import {
  decode,
  publish,
  Reader,
  RouterGroup,
  type RouterGroupOptions,
  routeOf,
  runOf,
  turn,
  until,
} from '../../../support/routers.ts';

let group: RouterGroup;

function start(workerCount: number, options: RouterGroupOptions = {}): RouterGroup {
  group = new RouterGroup(workerCount, options);
  return group;
}

afterEach(() => group.stop());

describe('subscribe()', () => {
  it('is reached by what any worker publishes', () => {
    const { routers } = start(3, { started: false });
    for (const router of routers) router.start();
    const readers = routers.map((router) => {
      const reader = new Reader();
      reader.on(router, 'a/b');
      return reader;
    });
    for (const [index, router] of routers.entries()) expect(publish(router, 'a/b', `from ${index}`)).toBe(true);
    group.catchUp();
    for (const [index, reader] of readers.entries()) {
      expect([...reader.received].sort()).toEqual(['from 0', 'from 1', 'from 2']);
      // What is published on the own worker is there at once.
      expect(reader.received[0]).toBe(index === 0 ? 'from 0' : reader.received[0]);
      expect(new Set(reader.topics)).toEqual(new Set(['a/b']));
    }
  });

  it('arrives without a call, by the doorbell', async () => {
    const { routers } = start(2);
    const reader = new Reader();
    reader.on(routers[1], 'bell/#');
    await turn();
    publish(routers[0], 'bell/1', 'one');
    await until(() => reader.received.length === 1);
    publish(routers[0], 'bell/2', 'two');
    await until(() => reader.received.length === 2);
  });

  it('reaches routes that were computed before, exact and wildcard, there and here', () => {
    const { routers } = start(2);
    const topics = ['a/b', 'a/c', 'x'];
    const routes = topics.map((topic) => routeOf(routers[0], topic));
    const send = (): void => {
      for (const [index, route] of routes.entries()) routers[0].publish(route, runOf([topics[index]]));
      group.catchUp();
    };
    send();
    const filters = ['a/b', 'a/+', '#', 'x', '+'];
    for (const router of [routers[0], routers[1]]) {
      for (const filter of filters) {
        const reader = new Reader();
        send();
        const subscription = reader.on(router, filter);
        send();
        const expected = topics.filter(
          (topic) =>
            filter === '#' ||
            filter === topic ||
            (filter === 'a/+' && topic !== 'x') ||
            (filter === '+' && topic === 'x'),
        );
        expect(reader.received).toEqual(expected);
        router.unsubscribe(subscription);
        send();
        expect(reader.received).toEqual(expected);
      }
    }
  });

  it('writes nothing to the ring for topics that nobody elsewhere wants', () => {
    const { routers } = start(3, { ringBytes: 4_096 });
    const reader = new Reader();
    const subscription = reader.on(routers[1], 'wanted/+');
    const unwanted = routeOf(routers[0], 'unwanted');
    // Without a consumer of records the ring would be full after a few of these.
    for (let count = 0; count < 1_000; count++)
      expect(routers[0].publish(unwanted, runOf(['x'.repeat(900)]))).toBe(true);
    expect(unwanted.maskLow | unwanted.maskHigh).toBe(0);
    const wanted = routeOf(routers[0], 'wanted/1');
    routers[0].publish(wanted, runOf(['y']));
    expect(wanted.maskLow).toBe(0b10);
    group.catchUp();
    routers[1].unsubscribe(subscription);
    routers[0].publish(wanted, runOf(['z']));
    expect(wanted.maskLow).toBe(0);
    group.catchUp();
    expect(reader.received).toEqual(['y']);
  });

  it('makes one target out of all subscriptions of one subscriber', () => {
    const { routers } = start(1);
    const reader = new Reader();
    const other = new Reader();
    const exact = reader.on(routers[0], 'a/b');
    reader.on(routers[0], 'a/#');
    other.on(routers[0], 'a/+');
    publish(routers[0], 'a/b', 'one');
    expect(reader.targets).toEqual([['a/#', 'a/b']]);
    expect(other.targets).toEqual([['a/+']]);
    expect([reader.received, other.received]).toEqual([['one'], ['one']]);
    routers[0].refresh(exact);
    publish(routers[0], 'a/b', 'two');
    expect(reader.targets.length).toBe(2);
    routers[0].unsubscribe(exact);
    publish(routers[0], 'a/b', 'three');
    expect(reader.targets[2]).toEqual(['a/#']);
    expect(reader.received).toEqual(['one', 'two', 'three']);
    expect(routers[0].subscriptionCount).toBe(2);
  });

  it('reaches routes that publishers held on to when the cache let everything go', () => {
    const { routers } = start(1);
    const [router] = routers;
    const held = routeOf(router, 'held');
    const bytes = Buffer.from('held');
    router.publish(held, runOf(['nobody']));
    for (let count = 0; count <= 65_536; count++) routeOf(router, `other/${count}`);
    expect(router.isRouteOf(held, bytes, 0, 4)).toBe(false);
    router.publish(held, runOf(['nobody']));
    const reader = new Reader();
    const subscription = reader.on(router, 'held');
    router.publish(held, runOf(['one']));
    const current = router.currentOf(held);
    expect(current).not.toBe(held);
    expect(router.isRouteOf(current, bytes, 0, 4)).toBe(true);
    expect(router.currentOf(current)).toBe(current);
    router.publish(current, runOf(['two']));
    router.unsubscribe(subscription);
    router.publish(held, runOf(['three']));
    router.publish(current, runOf(['four']));
    expect(reader.received).toEqual(['one', 'two']);
  });

  it('reaches topics that are too long to be cached, with a route that a publisher holds as well', () => {
    const { routers } = start(1);
    const [router] = routers;
    const topic = 'long/'.repeat(20) + 'x'.repeat(500);
    const held = routeOf(router, topic);
    router.publish(held, runOf(['nobody']));
    expect(routeOf(router, topic)).not.toBe(held);
    const reader = new Reader();
    const subscription = reader.on(router, topic);
    router.publish(held, runOf(['one']));
    publish(router, topic, 'two');
    router.unsubscribe(subscription);
    router.publish(held, runOf(['three']));
    expect(reader.received).toEqual(['one', 'two']);
  });

  it('is reached by every publication of an epoch that was read after it returned', () => {
    const { routers } = start(2);
    const before = routers[1].nextEpoch();
    const reader = new Reader();
    reader.on(routers[1], 'e');
    const floor = routers[1].nextEpoch();
    expect(floor - before).toBeGreaterThan(0);
    publish(routers[0], 'e', 'now');
    group.catchUp();
    expect(reader.received).toEqual(['now']);
    expect(reader.epochs[0] - floor).toBeGreaterThanOrEqual(0);
  });
});

describe('routeOf()', () => {
  it('answers null for what is no topic', () => {
    const { routers } = start(1);
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.from('a/+'),
      Buffer.from('#'),
      Buffer.from('a\0b'),
      Buffer.from([0xff]),
      Buffer.from([0xed, 0xa0, 0x80]),
    ]) {
      expect(routers[0].routeOf(bytes, 0, bytes.length)).toBeNull();
    }
  });

  it('knows topics that are names of every object', () => {
    const { routers } = start(1);
    for (const topic of ['__proto__', 'constructor', 'hasOwnProperty', '__proto__/toString']) {
      const reader = new Reader();
      reader.on(routers[0], topic);
      publish(routers[0], topic, topic);
      expect(reader.received).toEqual([topic]);
    }
  });
});

describe('publish()', () => {
  it('answers false when the ring is full, delivers nothing then, and goes on after whenRoom()', async () => {
    const { routers, metrics } = start(2, { ringBytes: 1_024, started: false });
    for (const router of routers) router.start();
    const [here, there] = [new Reader(), new Reader()];
    here.on(routers[0], 't');
    there.on(routers[1], 't');
    await turn();
    let sent = 0;
    while (publish(routers[0], 't', `${sent}`)) sent++;
    expect(sent).toBeGreaterThan(3);
    expect(here.received.length).toBe(sent);
    expect(metrics[0].get(metrics[0].slot('ringmq_ring_full_total'))).toBe(1);
    await new Promise<void>((resolve) => routers[0].whenRoom(resolve));
    expect(publish(routers[0], 't', `${sent++}`)).toBe(true);
    group.catchUp();
    const expected = Array.from({ length: sent }, (_, index) => `${index}`);
    expect(here.received).toEqual(expected);
    expect(there.received).toEqual(expected);
  });

  it('is not held up by a worker that sleeps while records are for others', async () => {
    const { routers } = start(3, { ringBytes: 1_024 });
    const reader = new Reader();
    reader.on(routers[1], 't');
    await turn();
    for (let count = 0; count < 300; ) {
      if (publish(routers[0], 't', `${count}`)) count++;
      else await new Promise<void>((resolve) => routers[0].whenRoom(resolve));
    }
    await until(() => reader.received.length === 300);
  });

  it('loses and reorders nothing for any interleaving of publishers on small rings', async () => {
    const met = { full: 0, records: 0 };
    const publication = fc.record({
      worker: fc.nat(2),
      topic: fc.constantFrom('a', 'b/c', 'd/e/f'),
      texts: fc.array(fc.string({ maxLength: 30 }), { minLength: 1, maxLength: 4 }),
      pause: fc.nat(20),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(publication, { minLength: 60, maxLength: 200 }),
        fc.constantFrom(1_024, 2_048, 4_096),
        async (publications, ringBytes) => {
          const routers = new RouterGroup(3, { ringBytes });
          const filters = [['a', '#'], ['b/+'], ['+/e/f', 'a']];
          const readers = filters.flatMap((names, worker) =>
            names.map((filter) => {
              const reader = new Reader();
              reader.on(routers.routers[worker], filter);
              return { reader, filter };
            }),
          );
          const bySender = new Map<number, typeof publications>();
          for (const each of publications) bySender.set(each.worker, [...(bySender.get(each.worker) ?? []), each]);
          const senders = [...bySender].map(async ([worker, own]) => {
            const router = routers.routers[worker];
            for (const [index, { topic, texts, pause }] of own.entries()) {
              const marked = texts.map((text, at) => `${worker}.${index}.${at} ${text}`);
              while (!publish(router, topic, ...marked)) {
                met.full++;
                await new Promise<void>((resolve) => router.whenRoom(resolve));
              }
              met.records++;
              if (pause === 0) await turn();
            }
          });
          await Promise.all(senders);
          routers.catchUp();
          for (const { reader, filter } of readers) {
            const matches = (topic: string): boolean =>
              filter === '#' ||
              filter === topic ||
              (filter === 'b/+' && topic === 'b/c') ||
              (filter === '+/e/f' && topic === 'd/e/f');
            for (const [worker, own] of bySender) {
              const expected = own.flatMap(({ topic, texts }, index) =>
                matches(topic) ? texts.map((text, at) => `${worker}.${index}.${at} ${text}`) : [],
              );
              expect(reader.received.filter((text) => text.startsWith(`${worker}.`))).toEqual(expected);
            }
          }
          routers.stop();
        },
      ),
      { numRuns: 60 },
    );
    expect(met.full).toBeGreaterThan(50);
    expect(met.records).toBeGreaterThan(1_000);
  });

  it('takes a run as long as runBytesMax() says', () => {
    const { routers } = start(2, { ringBytes: 4_096 });
    const reader = new Reader();
    reader.on(routers[1], 'topic');
    const text = 'x'.repeat(routers[0].runBytesMax(5) - 2);
    expect(publish(routers[0], 'topic', text)).toBe(true);
    group.catchUp();
    expect(reader.received).toEqual([text]);
  });
});

describe('publishOwned()', () => {
  it('waits for room by itself, in order, and copies what it keeps', async () => {
    const { routers } = start(2, { ringBytes: 1_024 });
    const reader = new Reader();
    reader.on(routers[1], 'will');
    await turn();
    for (let count = 0; count < 100; count++) {
      const run = runOf([`${count}`]);
      routers[0].publishOwned('will', run);
      run.buffer.fill(0);
    }
    await until(() => reader.received.length === 100);
    expect(reader.received).toEqual(Array.from({ length: 100 }, (_, index) => `${index}`));
    expect(group.warnings).toEqual([]);
  });

  it('gives up with a warning when too much waits', () => {
    const { routers } = start(2, { ringBytes: 1 << 20, started: false });
    routers[1].start();
    new Reader().on(routers[1], 'will');
    const run = runOf(['x'.repeat(60_000)]);
    for (let count = 0; count < 400; count++) routers[0].publishOwned('will', run);
    expect(group.warnings.length).toBeGreaterThan(0);
    expect(group.warnings[0]).toContain('too many wait');
  });
});

describe('retain()', () => {
  const kept = (worker: number, filter = '#'): Record<string, string> => {
    const values: [string, string][] = [];
    group.routers[worker].matchRetained(filter, (topic, value) => {
      const run = runOf([]);
      run.buffer = frameOf(value);
      run.end = run.buffer.length;
      values.push([topic, decode(run).join()]);
    });
    return Object.fromEntries(values.sort());
  };
  const retain = (worker: number, topic: string, text: string, expiresAtS = 0): boolean =>
    group.routers[worker].retain(routeOf(group.routers[worker], topic), runOf([text]), text === '', expiresAtS);

  it('keeps the last value on every worker, and forgets', () => {
    const { metrics } = start(3);
    retain(0, 'a', 'one');
    retain(1, 'a', 'two');
    retain(2, 'b/c', 'three');
    for (const worker of [0, 1, 2]) expect(kept(worker)).toEqual({ a: 'two', 'b/c': 'three' });
    for (const worker of [0, 1, 2]) expect(kept(worker, 'b/+')).toEqual({ 'b/c': 'three' });
    retain(2, 'a', '');
    for (const worker of [0, 1, 2]) expect(kept(worker)).toEqual({ 'b/c': 'three' });
    expect(metrics[1].get(metrics[1].slot('ringmq_retained_messages'))).toBe(1);
    expect(metrics[1].get(metrics[1].slot('ringmq_retained_bytes'))).toBeGreaterThan(0);
    retain(0, 'b/c', '');
    group.catchUp();
    expect(metrics.map((each) => each.get(each.slot('ringmq_retained_bytes')))).toEqual([0, 0, 0]);
  });

  it('agrees on one value everywhere, whatever order the records of two writers arrive in', () => {
    start(3);
    // Worker 1 writes later, but its record reaches worker 2 first or last; worker 0 sees it after its own.
    retain(0, 'a', 'older');
    retain(1, 'a', 'newer');
    retain(1, 'gone', 'x');
    retain(0, 'gone', '');
    for (const worker of [0, 1, 2]) expect(kept(worker)).toEqual({ a: 'newer' });
  });

  it('agrees everywhere for random writers', () => {
    const write = fc.record({
      worker: fc.nat(2),
      topic: fc.constantFrom('a', 'b', 'c'),
      text: fc.constantFrom('', 'x', 'y', 'z'),
      reads: fc.nat(5),
    });
    fc.assert(
      fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
        start(3);
        const expected = new Map<string, string>();
        for (const [index, { worker, topic, text, reads }] of writes.entries()) {
          const value = text === '' ? '' : `${text}${index}`;
          retain(worker, topic, value);
          if (value === '') expected.delete(topic);
          else expected.set(topic, value);
          if (reads < 3) group.routers[reads].catchUp();
        }
        for (const worker of [0, 1, 2]) expect(kept(worker)).toEqual(Object.fromEntries([...expected].sort()));
        group.stop();
      }),
      { numRuns: 60 },
    );
  });

  it('does not show a value that has expired', () => {
    start(2);
    const nowS = Math.floor(Date.now() / 1000);
    retain(0, 'gone', 'x', nowS - 1);
    retain(0, 'here', 'y', nowS + 1_000);
    for (const worker of [0, 1]) expect(kept(worker)).toEqual({ here: 'y' });
  });

  it('counts what a limit refuses', () => {
    const { metrics } = start(2, { retained: { countMax: 2, bytesMax: 3_000 } });
    for (const topic of ['a', 'b', 'c']) expect(retain(0, topic, 'v')).toBe(true);
    retain(0, 'a', 'x'.repeat(4_000));
    group.catchUp();
    expect(Object.keys(kept(1))).toEqual(['a', 'b']);
    // By the worker of the publisher, once: what it has sent the others keep.
    const dropped = metrics.map((each) =>
      each.get(each.slot('ringmq_messages_dropped_total', { reason: 'retained-full' })),
    );
    expect(dropped).toEqual([2, 0]);
  });

  it('answers false when the ring is full, and changes nothing then', async () => {
    start(2, { ringBytes: 1_024 });
    let count = 0;
    while (retain(0, 'r', `${count}`)) count++;
    const last = `${count - 1}`;
    expect(kept(0)).toEqual({ r: last });
    expect(kept(1)).toEqual({ r: last });
  });

  it('retainOwned() waits for room by itself', async () => {
    const { routers } = start(2, { ringBytes: 1_024 });
    for (let count = 0; count < 60; count++) routers[0].retainOwned(`r/${count % 3}`, runOf([`${count}`]), false, 0);
    await until(() => kept(1)['r/2'] === '59');
    expect(kept(0)).toEqual({ 'r/0': '57', 'r/1': '58', 'r/2': '59' });
    expect(kept(1)).toEqual(kept(0));
  });

  it('a worker that starts later gets all values, even when its ring is small', async () => {
    start(3, { ringBytes: 1_024 });
    await turn();
    for (let count = 0; count < 50; count++) {
      while (!retain(0, `r/${count}`, `${count}`))
        await new Promise<void>((resolve) => group.routers[0].whenRoom(resolve));
    }
    const expected = kept(1);
    expect(Object.keys(expected).length).toBe(50);
    group.kill(2);
    group.replace(2);
    await until(() => Object.keys(kept(2)).length === 50);
    expect(kept(2)).toEqual(expected);
  });
});

describe('removeWorker()', () => {
  it('frees those that waited for the dead worker, and nobody sends to it', async () => {
    const { routers } = start(3, { ringBytes: 1_024, started: false });
    for (const router of routers) router.start();
    const reader = new Reader();
    new Reader().on(routers[1], 't');
    reader.on(routers[2], 't');
    routers[1].stop(); // It stalls: its doorbell wakes nobody.
    let sent = 0;
    while (publish(routers[0], 't', `${sent}`)) sent++;
    const room = new Promise<void>((resolve) => routers[0].whenRoom(resolve));
    group.kill(1);
    await room;
    for (let count = 0; count < 100; ) {
      if (publish(routers[0], 't', `${sent}`)) {
        count++;
        sent++;
      } else await new Promise<void>((resolve) => routers[0].whenRoom(resolve));
    }
    expect(routeOf(routers[0], 't').maskLow).toBe(0b100);
    await until(() => reader.received.length === sent);
    expect(reader.received).toEqual(Array.from({ length: sent }, (_, index) => `${index}`));
  });

  it('a successor takes part from its start on', async () => {
    const { routers } = start(2);
    const reader = new Reader();
    reader.on(routers[0], 'up');
    group.kill(1);
    publish(routers[0], 'down', 'lost');
    const next = group.replace(1);
    const follower = new Reader();
    follower.on(next, 'down');
    publish(next, 'up', 'new');
    publish(routers[0], 'down', 'seen');
    await until(() => reader.received.length === 1 && follower.received.length === 1);
    expect([reader.received, follower.received]).toEqual([['new'], ['seen']]);
  });
});
