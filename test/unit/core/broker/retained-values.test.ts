/** Retained values of several workers in one store: what is durable when, what a restart finds, limits and failures. */
import { afterEach, describe, expect, it } from 'vitest';
import type { RetainedStorage } from '../../../../src/core/broker/retained-values.ts';
import type { StreamStore } from '../../../../src/core/ports/stream-store.ts';
import { retainedStream } from '../../../../src/core/retained/retained-log.ts';
import { frameOf, type RetainedLimits, retainedRefusals } from '../../../../src/core/retained/retained-value.ts';
import type { StorageErrorCode } from '../../../../src/core/streams/storage-error.ts';
import { retainedLimits } from '../../../../src/observability/retained-metrics.ts';
import { openMemoryStore } from '../../../../src/storage/memory/memory-store.ts';
import { type AppendFate, FaultyStore } from '../../../support/faulty-store.ts';
import { decode, RouterGroup, routeOf, runOf, until } from '../../../support/routers.ts';

const groups: RouterGroup[] = [];
let store: StreamStore;

afterEach(async () => {
  for (const group of groups.splice(0)) group.stop();
  await store.close();
});

async function openStore(): Promise<StreamStore> {
  store = await openMemoryStore({ bytesMax: 256 * 1024 * 1024 });
  return store;
}

/** A node that starts. */
async function node(
  workerCount = 2,
  limits: Partial<RetainedLimits> = {},
  storage: Partial<RetainedStorage> = {},
): Promise<RouterGroup> {
  const retained = { countMax: 1_000, bytesMax: 10_000_000, ...limits };
  const group = new RouterGroup(workerCount, { retained, ringBytes: 1_048_576 });
  groups.push(group);
  const options = { store, waitMsMax: 1_000, ...storage };
  await Promise.all(
    group.routers.map((router, worker) => router.retained.keepIn({ ...options, isKeeper: worker === 0 })),
  );
  return group;
}

/** The node ends without a word; only the store is left. */
function kill(group: RouterGroup): void {
  groups.splice(groups.indexOf(group), 1);
  group.stop();
}

function retain(
  group: RouterGroup,
  worker: number,
  topic: string,
  text: string,
  { expiresAtS = 0, tenant = 'default' } = {},
): Promise<Error | null> {
  const router = group.routers[worker];
  return new Promise((resolve) => {
    const isKept = router.retain(routeOf(router, topic), runOf([text]), text === '', expiresAtS, tenant, resolve);
    if (!isKept) throw new Error('There is no room');
  });
}

function kept(group: RouterGroup, worker = 0, filter = '#'): Record<string, string> {
  const values: [string, string][] = [];
  group.routers[worker].matchRetained(filter, (topic, value) => {
    const run = runOf([]);
    run.buffer = frameOf(value);
    run.end = run.buffer.length;
    values.push([topic, decode(run).join()]);
  });
  return Object.fromEntries(values.sort());
}

const metric = (group: RouterGroup, worker: number, name: string, labels?: Record<string, string>): number =>
  group.metrics[worker].get(group.metrics[worker].slot(name, labels));

async function sizeOf(): Promise<number> {
  return (await (await store.open(retainedStream)).places()).sizeBytes;
}

describe('keepIn()', () => {
  it('opens no stream before there is a value', async () => {
    await openStore();
    await node();
    expect(await store.names()).toEqual([]);
  });

  it('finds values and removals of all workers after a restart', async () => {
    await openStore();
    const first = await node(3);
    await Promise.all([retain(first, 0, 'a', 'one'), retain(first, 1, 'b', 'two'), retain(first, 2, 'c', 'three')]);
    expect(await retain(first, 1, 'a', '')).toBeNull();
    expect(await retain(first, 0, 'b', 'newer')).toBeNull();
    kill(first);
    const second = await node(2);
    expect(kept(second, 0)).toEqual({ b: 'newer', c: 'three' });
    expect(kept(second, 1)).toEqual({ b: 'newer', c: 'three' });
    expect(metric(second, 1, 'ringmq_retained_messages')).toBe(2);
    // Stamps go on above what was stored.
    expect(await retain(second, 1, 'b', 'last')).toBeNull();
    kill(second);
    expect(kept(await node(1))).toEqual({ b: 'last', c: 'three' });
  });

  it('lets the highest stamp win, in whatever order the records lie', async () => {
    await openStore();
    const fates: AppendFate[] = ['refuse'];
    const faulty = new FaultyStore(store, { fateOf: () => fates.shift() ?? 'store' });
    const first = await node(2, {}, { store: faulty });
    // The older value is stored last, when it is tried again.
    const refused = retain(first, 0, 'a', 'older');
    await until(() => fates.length === 0);
    first.catchUp();
    expect(await retain(first, 1, 'a', 'newer')).toBeNull();
    expect(await refused).not.toBeNull();
    await until(() => metric(first, 0, 'ringmq_retained_stored_total') > 0);
    kill(first);
    expect(kept(await node(1))).toEqual({ a: 'newer' });
  });

  it('agrees with what the workers had, for random writers, faults and writing anew', async () => {
    await openStore();
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const fates: AppendFate[] = ['store', 'store', 'store', 'store', 'store', 'store', 'hide', 'lose', 'refuse'];
    let isFaulty = true;
    const faulty = new FaultyStore(store, { fateOf: () => (isFaulty ? fates[random(fates.length)] : 'store') });
    let group = await node(3, {}, { store: faulty, rewriteBytesMin: 2_000 });
    let rewrites = 0;
    for (let round = 0; round < 4; round++) {
      for (let burst = 0; burst < 8; burst++) {
        const dones: Promise<unknown>[] = [];
        for (let write = 0; write < 25; write++) {
          const text = random(4) === 0 ? '' : `value ${round} ${burst} ${write} ${'x'.repeat(50)}`;
          dones.push(retain(group, random(3), `t/${random(12)}`, text));
        }
        await Promise.all(dones);
      }
      isFaulty = false;
      await until(() => group.routers.every(({ retained }) => retained.unsaved === 0));
      const expected = kept(group, 0);
      for (const worker of [1, 2]) expect(kept(group, worker)).toEqual(expected);
      rewrites += metric(group, 0, 'ringmq_retained_rewrites_total');
      kill(group);
      group = await node(3, {}, { store: faulty, rewriteBytesMin: 2_000 });
      for (const worker of [0, 1, 2]) expect(kept(group, worker)).toEqual(expected);
      isFaulty = true;
    }
    expect(rewrites).toBeGreaterThan(0);
  });

  it('writes the stream anew when it has grown, and loses nothing', async () => {
    await openStore();
    const first = await node(2, {}, { rewriteBytesMin: 200_000 });
    await retain(first, 1, 'stays', 'here');
    await retain(first, 1, 'gone', 'x');
    await retain(first, 0, 'gone', '');
    for (let round = 0; round < 400; round++) await retain(first, 1, 'busy', `${round} ${'x'.repeat(900)}`);
    await until(() => metric(first, 0, 'ringmq_retained_rewrites_total') > 0);
    expect(await sizeOf()).toBeLessThan(400_000);
    kill(first);
    expect(Object.keys(kept(await node(1)))).toEqual(['busy', 'stays']);
  });

  it('leaves out what has expired, also when something older lies behind it', async () => {
    await openStore();
    const nowS = Math.ceil(Date.now() / 1000);
    const first = await node(1);
    await retain(first, 0, 'old', 'x', { expiresAtS: nowS - 10 });
    await retain(first, 0, 'live', 'y', { expiresAtS: nowS + 1_000 });
    kill(first);
    const second = await node(1);
    expect(kept(second)).toEqual({ live: 'y' });
    expect(metric(second, 0, 'ringmq_retained_messages')).toBe(1);
  });

  it('reads again until the store answers; whenLoaded() waits for it', async () => {
    await openStore();
    const first = await node(1);
    await retain(first, 0, 'a', 'one');
    kill(first);
    let failure: StorageErrorCode | null = 'STORAGE_UNAVAILABLE';
    const faulty = new FaultyStore(store, { fateOf: () => 'store', failureOf: () => failure });
    const group = new RouterGroup(1);
    groups.push(group);
    const [{ retained }] = group.routers;
    const loading = retained.keepIn({ store: faulty, isKeeper: true, waitMsMax: 1_000 });
    let isTold = false;
    retained.whenLoaded(() => {
      isTold = true;
    });
    await until(() => group.warnings.length > 0);
    expect([retained.isLoaded, isTold]).toEqual([false, false]);
    failure = null;
    await loading;
    expect([retained.isLoaded, isTold, kept(group)]).toEqual([true, true, { a: 'one' }]);
  });
});

describe('retain()', () => {
  it('tells an error when the value is not stored, and stores it later', async () => {
    await openStore();
    const fates: AppendFate[] = ['refuse', 'lose'];
    const faulty = new FaultyStore(store, { fateOf: () => fates.shift() ?? 'store' });
    const first = await node(1, {}, { store: faulty });
    expect(await retain(first, 0, 'a', 'one')).toMatchObject({ code: 'STORAGE_UNAVAILABLE' });
    expect(metric(first, 0, 'ringmq_retained_store_failures_total')).toBe(1);
    await until(() => metric(first, 0, 'ringmq_retained_stored_total') === 1);
    kill(first);
    expect(kept(await node(1))).toEqual({ a: 'one' });
  });

  it('stores a topic that changes in one turn once, and tells all', async () => {
    await openStore();
    const group = await node(1);
    const dones = Array.from({ length: 100 }, (_, index) => retain(group, 0, 'a', `${index}`));
    expect(await Promise.all(dones)).toEqual(Array(100).fill(null));
    expect(metric(group, 0, 'ringmq_retained_stored_total')).toBe(1);
  });

  it('keeps the limits of a tenant, on all workers and after a restart', async () => {
    await openStore();
    const limits = { tenantCountMax: 2 };
    const first = await node(2, limits);
    const blue = { tenant: 'blue' };
    await retain(first, 0, 'a', '1', blue);
    await retain(first, 1, 'b', '1', blue);
    first.catchUp();
    expect(first.routers[0].retained.refusalOf('c', 10, 'blue')).toBe('tenant-count');
    expect(first.routers[1].retained.refusalOf('c', 10, 'blue')).toBe('tenant-count');
    await retain(first, 0, 'c', '1', blue);
    await retain(first, 0, 'd', '1', { tenant: 'red' });
    expect(metric(first, 0, 'ringmq_retained_refused_total', { limit: 'tenant-count' })).toBe(1);
    kill(first);
    const second = await node(2, limits);
    expect(kept(second, 1)).toEqual({ a: '1', b: '1', d: '1' });
    expect(second.routers[1].retained.refusalOf('c', 10, 'blue')).toBe('tenant-count');
    await retain(second, 1, 'b', '');
    expect(second.routers[1].retained.refusalOf('c', 10, 'blue')).toBeNull();
  });

  it('gives every value the expiry that the limits ask for', async () => {
    await openStore();
    const group = await node(1, { expiryDefaultS: 100, expiryMaxS: 1_000 });
    const nowS = Math.ceil(Date.now() / 1000);
    await retain(group, 0, 'default', 'x');
    await retain(group, 0, 'long', 'x', { expiresAtS: nowS + 1_000_000 });
    const { retained } = group.routers[0];
    expect(retained.get('default')?.expiresAtS).toBeGreaterThanOrEqual(nowS + 100);
    expect(retained.get('default')?.expiresAtS).toBeLessThan(nowS + 200);
    expect(retained.get('long')?.expiresAtS).toBeLessThan(nowS + 1_100);
  });

  it('has a metric for each limit', () => {
    expect(retainedLimits).toEqual(retainedRefusals);
  });
});

describe('handTo()', () => {
  it('gives a successor what the log does not have yet, removals too', async () => {
    await openStore();
    let fate: AppendFate = 'store';
    const faulty = new FaultyStore(store, { fateOf: () => fate });
    const group = await node(2, {}, { store: faulty });
    await retain(group, 0, 'stored', 'x');
    await retain(group, 0, 'removed', 'x', { tenant: 'blue' });
    await retain(group, 0, 'changed', 'before', { tenant: 'blue' });
    group.kill(1);
    fate = 'lose';
    const dones = [retain(group, 0, 'removed', ''), retain(group, 0, 'changed', 'after', { tenant: 'blue' })];
    await Promise.all(dones);
    const successor = group.replace(1);
    await successor.retained.keepIn({ store: faulty, isKeeper: false, waitMsMax: 1_000 });
    await until(() => kept(group, 1).changed === 'after');
    expect(kept(group, 1)).toEqual({ stored: 'x', changed: 'after' });
    expect(successor.retained.get('changed')?.tenant).toBe('blue');
  });
});

describe('a store that fails for long', () => {
  it('makes publishers wait, then refuses, with a bounded number of changes, and stores them in the end', async () => {
    await openStore();
    let fate: AppendFate = 'refuse';
    const faulty = new FaultyStore(store, { fateOf: () => fate });
    const group = await node(1, { countMax: 100_000, bytesMax: 1_000_000_000 }, { store: faulty });
    const [router] = group.routers;
    const publish = (topic: string, text: string): boolean =>
      router.retain(routeOf(router, topic), runOf([text]), text === '', 0);
    let count = 0;
    while (publish(`t/${count}`, 'x')) count++;
    expect(count).toBe(65_536);
    await new Promise<void>((resolve) => router.whenRoom(resolve));
    expect(router.retained.isStorageFull).toBe(true);
    expect(await retain(group, 0, 'more', 'x')).toMatchObject({ code: 'STORAGE_UNAVAILABLE' });
    expect(await retain(group, 0, 't/1', '')).toMatchObject({ code: 'STORAGE_UNAVAILABLE' });
    expect(router.retained.unsaved).toBe(65_536);
    fate = 'store';
    await until(() => router.retained.unsaved === 0);
    expect(publish('more', 'x')).toBe(true);
  }, 30_000);
});
