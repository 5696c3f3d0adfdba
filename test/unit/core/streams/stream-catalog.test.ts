/** Streams over the partitions of a real store that is kept in memory, and over one that fails at any call. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { StreamStore } from '../../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { StreamCatalog } from '../../../../src/core/streams/stream-catalog.ts';
import { openMemoryStore } from '../../../../src/storage/memory/memory-store.ts';
import { append, batchOf } from '../../../support/storage/storage-rig.ts';

let store: StreamStore;
let catalog: StreamCatalog;

beforeEach(async () => {
  store = await openMemoryStore({ bytesMax: 64 * 1024 * 1024 });
  catalog = new StreamCatalog(store);
});

const namesOf = async (withInternal = false): Promise<string[]> =>
  (await catalog.list({ withInternal })).map(({ name, partitions }) => `${name}:${partitions.length}`);

/** The store of a process that dies at its call number `last` to make or remove a partition. */
function dyingStore(last: number): StreamStore {
  let calls = 0;
  const die = (): void => {
    calls += 1;
    if (calls > last) throw new StorageError('STORAGE_CLOSED', 'the process is gone');
  };
  return new Proxy(store, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]) => {
        if (key === 'create' || key === 'remove') die();
        return Reflect.apply(value, target, args);
      };
    },
  });
}

describe('StreamCatalog', () => {
  it('makes, lists, finds and deletes streams of numbered partitions', async () => {
    const made = await catalog.create('orders', 3, { retentionMs: 1000 });
    expect(made).toEqual({ name: 'orders', isInternal: false, partitions: ['orders-0', 'orders-1', 'orders-2'] });
    await catalog.create('orders-0');
    expect(await store.names()).toEqual(['orders-0', 'orders-0-0', 'orders-1', 'orders-2']);
    expect(await namesOf()).toEqual(['orders:3', 'orders-0:1']);
    expect(await store.settings('orders-2')).toMatchObject({ retentionMs: 1000 });
    expect(await catalog.find('orders')).toEqual(made);
    await expect(catalog.create('orders')).rejects.toMatchObject({ code: 'STREAM_EXISTS' });
    await catalog.delete('orders');
    expect(await namesOf()).toEqual(['orders-0:1']);
    await expect(catalog.delete('orders')).rejects.toMatchObject({ code: 'STREAM_UNKNOWN' });
    await expect(catalog.find('orders')).rejects.toMatchObject({ code: 'STREAM_UNKNOWN' });
  });

  it('changes the settings of all partitions, and adds partitions that are kept like the others', async () => {
    await catalog.create('orders', 2, { retentionMs: 1000 });
    await catalog.change('orders', { retentionBytes: 5000 }, 4);
    expect((await catalog.find('orders')).partitions).toHaveLength(4);
    for (const partition of ['orders-0', 'orders-3']) {
      expect(await store.settings(partition)).toMatchObject({ retentionMs: 1000, retentionBytes: 5000 });
    }
    await expect(catalog.change('orders', {}, 3)).rejects.toMatchObject({ code: 'STREAM_PARTITIONS_INVALID' });
    await expect(catalog.change('other', {}, 3)).rejects.toMatchObject({ code: 'STREAM_UNKNOWN' });
  });

  it('hides what is internal unless asked for it, and refuses to change it', async () => {
    for (const name of ['__transactions', '_queue-1-0-0', '_queue-1-group-2', 'plain']) await store.create(name);
    await catalog.create('orders');
    expect(await namesOf()).toEqual(['orders:1']);
    expect(await namesOf(true)).toEqual(['__transactions:1', '_queue-1-0-0:1', '_queue-1-group-2:1', 'orders:1']);
    expect((await catalog.openPartition('__transactions', 0)).name).toBe('__transactions');
    const internal = { code: 'STREAM_INTERNAL' };
    await expect(catalog.create('__x')).rejects.toMatchObject(internal);
    await expect(catalog.change('__transactions', {})).rejects.toMatchObject(internal);
    await expect(catalog.delete('_queue-1-0')).rejects.toMatchObject(internal);
  });

  it.each([
    ['', 1, 'STREAM_NAME_INVALID'],
    ['.', 1, 'STREAM_NAME_INVALID'],
    ['a/b', 1, 'STREAM_NAME_INVALID'],
    ['a\n', 1, 'STREAM_NAME_INVALID'],
    ['é', 1, 'STREAM_NAME_INVALID'],
    ['x'.repeat(245), 1, 'STREAM_NAME_INVALID'],
    ['a', 0, 'STREAM_PARTITIONS_INVALID'],
    ['a', 1.5, 'STREAM_PARTITIONS_INVALID'],
    ['a', 1025, 'STREAM_PARTITIONS_INVALID'],
    ['a', Number.NaN, 'STREAM_PARTITIONS_INVALID'],
  ])('refuses the stream %j of %d partitions', async (name, count, code) => {
    await expect(catalog.create(name, count)).rejects.toMatchObject({ code });
    expect(await store.names()).toEqual([]);
  });

  it('takes the longest name with most partitions apart again', async () => {
    const name = 'x'.repeat(244);
    await catalog.create(name, 1024);
    expect(await namesOf()).toEqual([`${name}:1024`]);
  });

  it('opens a partition by its number', async () => {
    await catalog.create('orders', 2);
    expect((await catalog.openPartition('orders', 1)).name).toBe('orders-1');
    for (const number of [2, -1, 0.5]) {
      await expect(catalog.openPartition('orders', number)).rejects.toMatchObject({ code: 'STREAM_PARTITION_UNKNOWN' });
    }
  });

  it('lets one of several that make the same stream win', async () => {
    const results = await Promise.allSettled([1, 2, 3].map((count) => catalog.create('orders', count)));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(await namesOf()).toEqual(['orders:1']);
  });

  it('has all of a stream or nothing after a crash at any call', async () => {
    for (let last = 0; last < 3; last += 1) {
      await expect(new StreamCatalog(dyingStore(last)).create('orders', 3)).rejects.toThrow('gone');
      expect(await namesOf()).toEqual([]);
      await catalog.create('orders', 2);
      await expect(new StreamCatalog(dyingStore(last)).change('orders', {}, 5)).rejects.toThrow('gone');
      expect(await namesOf()).toEqual(['orders:2']);
      expect((await catalog.change('orders', {}, 4)).partitions).toHaveLength(4);
      await append(await store.open('orders-3'), batchOf('x'));
      if (last > 0) {
        await expect(new StreamCatalog(dyingStore(last)).delete('orders')).rejects.toThrow('gone');
        expect(await namesOf()).toEqual([]);
        // What is left holds a record: nobody but a deletion may remove it.
        await expect(catalog.create('orders', 3)).rejects.toMatchObject({ code: 'STREAM_INCOMPLETE' });
      }
      await catalog.delete('orders');
      expect(await store.names()).toEqual([]);
    }
  });

  it('leaves nothing of a stream whose settings the store cannot keep', async () => {
    await expect(catalog.create('orders', 3, { retentionMs: -1 })).rejects.toMatchObject({
      code: 'STORAGE_SETTING_UNSUPPORTED',
    });
    expect(await store.names()).toEqual([]);
  });
});
