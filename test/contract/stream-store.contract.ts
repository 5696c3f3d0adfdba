/**
 * What every `StreamStore` does, as tests: the whole port, over any adapter. `stream-store.test.ts` runs it over those that need no server,
 * `test/interop/storage` over the others.
 */
import { describe, expect, it, onTestFinished } from 'vitest';
import { batch, codeOf, readValues, stored, verdict } from '../support/stream-batches.ts';
import { appendChecks } from './stream-store.appends.ts';
import { type ContractBench, itWhen, type OpenedStreamStore, type StoreCapabilities } from './stream-store.harness.ts';
import { modelChecks } from './stream-store.model.ts';
import { producerChecks } from './stream-store.producers.ts';
import { readChecks } from './stream-store.reads.ts';
import { upkeepChecks } from './stream-store.upkeep.ts';

export type { OpenedStreamStore, StoreCapabilities } from './stream-store.harness.ts';

export function streamStoreContract(
  name: string,
  open: () => Promise<OpenedStreamStore>,
  capabilities: StoreCapabilities,
): void {
  const bench: ContractBench = {
    capabilities,
    open: async () => {
      const opened = await open();
      onTestFinished(() => opened.stop());
      return opened;
    },
    partition: async () => (await bench.open()).store.create('p'),
  };

  describe(`stream store contract: ${name}`, () => {
    describe('partitions', () => partitionChecks(bench));
    describe('appends', () => appendChecks(bench));
    describe('reads', () => readChecks(bench));
    describe('producers and transactions', () => producerChecks(bench));
    describe('upkeep', () => upkeepChecks(bench));
    describe('closing', () => closeChecks(bench));
    describe('model', () => modelChecks(bench));
  });
}

const goodNames = ['a', 'A', '...', '.hidden', '-x', '_', '0', 'x.removed', 'A.b-C_9', '--', 'n'.repeat(249)];
const badNames = ['', '.', '..', 'a/b', 'a b', 'ä', 'a\u0000', '%', "'", 'n'.repeat(250)];

function partitionChecks(bench: ContractBench): void {
  it('create() takes every name that is allowed, and keeps them apart', async () => {
    const { store } = await bench.open();
    for (const name of goodNames) {
      const partition = await store.create(name);
      expect(partition.name).toBe(name);
      expect(await stored(partition, batch([name.slice(0, 9)]))).toBe(0);
    }
    expect(await store.names()).toEqual([...goodNames].sort());
    for (const name of goodNames) {
      expect(await readValues(await store.open(name))).toEqual([`0:${name.slice(0, 9)}`]);
    }
  });

  it('create() refuses other names, and one that is taken', async () => {
    const { store } = await bench.open();
    for (const name of badNames) expect(await codeOf(store.create(name))).toBe('STORAGE_NAME_INVALID');
    await store.create('p');
    expect(await codeOf(store.create('p'))).toBe('STORAGE_PARTITION_EXISTS');
    expect(await store.names()).toEqual(['p']);
  });

  it('create() makes one partition when it is called twice at once', async () => {
    const { store } = await bench.open();
    const codes = await Promise.all([codeOf(store.create('p')), codeOf(store.create('p'))]);
    expect(codes.sort()).toEqual(['STORAGE_PARTITION_EXISTS', 'none']);
  });

  it('open() answers the same object, and refuses what is not there', async () => {
    const { store } = await bench.open();
    const partition = await store.create('p');
    expect(await store.open('p')).toBe(partition);
    for (const name of ['q', '..', '']) expect(await codeOf(store.open(name))).toBe('STORAGE_PARTITION_UNKNOWN');
  });

  it('remove() forgets a partition with everything that is known of it', async () => {
    const { store } = await bench.open();
    const old = await store.create('p');
    const producer = { producerId: 7, producerEpoch: 3, baseSequence: 0 };
    await stored(old, batch(['a', 'b'], producer));
    await store.remove('p');
    expect(await store.names()).toEqual([]);
    expect(await codeOf(store.open('p'))).toBe('STORAGE_PARTITION_UNKNOWN');
    expect(await codeOf(store.remove('p'))).toBe('STORAGE_PARTITION_UNKNOWN');
    expect(await verdict(old, batch(['x']))).toBe('STORAGE_PARTITION_UNKNOWN');
    expect(await codeOf(old.read({ offset: 0, bytesMax: 1 }))).toBe('STORAGE_PARTITION_UNKNOWN');
    const partition = await store.create('p');
    expect(partition).not.toBe(old);
    expect(await partition.places()).toMatchObject({ logStartOffset: 0, logEndOffset: 0, sizeBytes: 0 });
    expect(await stored(partition, batch(['c'], { ...producer, producerEpoch: 0 }))).toBe(0);
    expect(await readValues(partition)).toEqual(['0:c']);
  });

  it('change() replaces what it is given, and settings() tells all of it', async () => {
    const { store } = await bench.open();
    await store.create('p', { batchBytesMax: 5000, segmentBytes: 100_000 });
    await store.change('p', { batchBytesMax: 6000 });
    expect(await store.settings('p')).toMatchObject({ batchBytesMax: 6000, segmentBytes: 100_000 });
    for (const name of ['q', '..']) {
      expect(await codeOf(store.change(name, {}))).toBe('STORAGE_PARTITION_UNKNOWN');
      expect(await codeOf(store.settings(name))).toBe('STORAGE_PARTITION_UNKNOWN');
    }
  });

  it('create() and change() refuse settings that make no sense', async () => {
    const { store } = await bench.open();
    const wrong = [{ batchBytesMax: 0 }, { retentionBytes: -1 }, { retentionMs: 1.5 }, { segmentBytes: Number.NaN }];
    for (const settings of wrong) {
      expect(await codeOf(store.create('q', settings))).toBe('STORAGE_SETTING_UNSUPPORTED');
    }
    expect(await store.names()).toEqual([]);
    await store.create('p');
    for (const settings of wrong) {
      expect(await codeOf(store.change('p', settings))).toBe('STORAGE_SETTING_UNSUPPORTED');
    }
  });

  it('health() is good when all is well', async () => {
    const { store } = await bench.open();
    expect(store.health()).toMatchObject({ state: 'ready', reason: '' });
    expect(store.adapter).toMatch(/^[a-z0-9]+$/);
  });

  itWhen(bench.capabilities.isDurable)('all of it is there when the store is opened again', async () => {
    const opened = await bench.open();
    for (const name of goodNames) await stored(await opened.store.create(name), batch([name.slice(0, 9)]));
    await opened.store.change('a', { batchBytesMax: 7000 });
    await opened.store.remove('A');
    const store = await opened.reopen();
    const names = goodNames.filter((name) => name !== 'A');
    expect(await store.names()).toEqual([...names].sort());
    expect(await store.settings('a')).toMatchObject({ batchBytesMax: 7000 });
    for (const name of names) {
      const partition = await store.open(name);
      expect(await readValues(partition)).toEqual([`0:${name.slice(0, 9)}`]);
      expect(await stored(partition, batch(['more']))).toBe(1);
    }
  });
}

function closeChecks(bench: ContractBench): void {
  it('close() answers what is under way, and refuses what is new', async () => {
    const { store } = await bench.open();
    const partition = await store.create('p');
    const before = Array.from({ length: 50 }, (_, at) => verdict(partition, batch([`v${at}`])));
    const closed = store.close();
    const after = verdict(partition, batch(['late']));
    expect(await Promise.all(before)).toEqual(before.map((_, at) => at));
    expect(await after).toBe('STORAGE_CLOSED');
    await closed;
    await store.close();
    expect(await verdict(partition, batch(['late']))).toBe('STORAGE_CLOSED');
    expect(await codeOf(partition.read({ offset: 0, bytesMax: 1 }))).toBe('STORAGE_CLOSED');
    expect(await codeOf(partition.places())).toBe('STORAGE_CLOSED');
    expect(await codeOf(partition.offsetForTime(0))).toBe('STORAGE_CLOSED');
    expect(await codeOf(partition.deleteBefore(0))).toBe('STORAGE_CLOSED');
    for (const call of [store.create('q'), store.open('p'), store.remove('p'), store.names(), store.settings('p')]) {
      expect(await codeOf(call)).toBe('STORAGE_CLOSED');
    }
  });
}
