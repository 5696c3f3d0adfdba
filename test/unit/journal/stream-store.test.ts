import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { StoreHealth } from '../../../src/core/ports/stream-store.ts';
import type { JournalEvent } from '../../../src/journal/journal.ts';
import { type JournalStore, type JournalStoreOptions, openJournalStore } from '../../../src/journal/stream-store.ts';
import { append, batch, codeOf, readValues, stored, verdict } from '../../support/stream-batches.ts';
import { SimulatedFolders } from './journal-fixture.ts';

/** Two directories on simulated disks; syncs happen when the event loop turns. */
class Disks {
  readonly events: JournalEvent[] = [];
  readonly folders = [1, 2].map((seed) => new SimulatedFolders(seed * 100, (task) => setImmediate(task)));
  readonly broken = new Set<number>();
  nowMs = 1000;
  #store: JournalStore | null = null;

  open(options: Partial<JournalStoreOptions> = {}): JournalStore {
    const store = openJournalStore({
      directories: this.folders.map((folders, at) => ({ path: `disk ${at}`, open: () => this.#folders(folders, at) })),
      now: () => this.nowMs,
      onEvent: (event) => this.events.push(event),
      freeBytesMin: 0,
      ...options,
    });
    this.#store = store;
    onTestFinished(() => store.close());
    return store;
  }

  /** Ends the store without a goodbye; it is closed when the test ends. */
  crash(): JournalStore {
    for (const folders of this.folders) folders.crash();
    return this.open();
  }

  async reopen(): Promise<JournalStore> {
    await this.#store?.close();
    return this.open();
  }

  /** The disk of a partition. */
  diskOf(name: string) {
    for (const folders of this.folders) {
      const disk = folders.disks.get(name);
      if (disk !== undefined) return disk;
    }
    throw new Error(`No disk has "${name}"`);
  }

  #folders(folders: SimulatedFolders, at: number): SimulatedFolders {
    if (this.broken.has(at)) throw Object.assign(new Error('EIO: no disk'), { code: 'EIO' });
    return folders;
  }
}

describe('JournalStore', () => {
  it('append() of one turn is one round with one sync for each partition', async () => {
    const store = new Disks().open();
    const [one, two] = [await store.create('one'), await store.create('two')];
    const verdicts = [one, two, one, two, one].map((partition) => verdict(partition, batch(['v'])));
    expect(await Promise.all(verdicts)).toEqual([0, 0, 1, 1, 2]);
    const counts = store.journal.directories.map(({ commit }) => commit.counts);
    expect(counts.map(({ rounds, syncs }) => [rounds, syncs])).toEqual([
      [1, 1],
      [1, 1],
    ]);
  });

  it('a partition whose disk fails is out of service, the others are not, and it comes back', async () => {
    const disks = new Disks();
    const store = disks.open();
    const healths: StoreHealth['state'][] = [];
    store.onHealth(({ state }) => healths.push(state));
    const [bad, good] = [await store.create('bad'), await store.create('good')];
    await stored(bad, batch(['a']));
    disks.diskOf('bad').fail('sync', 1);
    expect(await verdict(bad, batch(['maybe']))).toBe('STORAGE_UNCERTAIN');
    expect(await verdict(bad, batch(['refused']))).toBe('STORAGE_PARTITION_FAILED');
    expect(await codeOf(bad.read({ offset: 0, bytesMax: 1 }))).toBe('STORAGE_PARTITION_FAILED');
    expect(await stored(good, batch(['b']))).toBe(0);
    await new Promise(setImmediate);
    expect(store.health()).toMatchObject({ state: 'degraded', reason: 'out of service: bad (1 in all)' });
    expect(disks.events).toMatchObject([{ type: 'failed', partition: 'bad' }]);
    await store.upkeep();
    expect(store.health()).toMatchObject({ state: 'ready', reason: '' });
    const found = await readValues(bad);
    expect(found.filter((value) => !value.endsWith(':maybe'))).toEqual(['0:a']);
    expect(await stored(bad, batch(['c']))).toBe(found.length);
    expect(healths).toEqual(['degraded', 'ready']);
    // What was read has to be as durable as what was acknowledged.
    for (const { disks: all } of disks.folders) for (const disk of all.values()) disk.crash('drop');
    const again = await disks.crash().open('bad');
    expect(await readValues(again)).toEqual([...found, `${found.length}:c`]);
  });

  it('a partition that stays broken is tried again only now and then', async () => {
    const disks = new Disks();
    const store = disks.open();
    const bad = await store.create('bad');
    disks.diskOf('bad').fail('sync', 1);
    await verdict(bad, batch(['maybe']));
    disks.diskOf('bad').fail('read', 1000);
    for (let round = 0; round < 5; round += 1) await store.upkeep();
    const tries = disks.events.length;
    expect(await verdict(bad, batch(['lost']))).toBe('STORAGE_PARTITION_FAILED');
    disks.diskOf('bad').fail('read', 0);
    await store.upkeep();
    expect([await verdict(bad, batch(['lost'])), disks.events.length]).toEqual(['STORAGE_PARTITION_FAILED', tries]);
    disks.nowMs += 60_000;
    await store.upkeep();
    expect(await stored(bad, batch(['v']))).toBe((await readValues(bad)).length - 1);
  });

  it('a directory that cannot be opened hides its partitions, and nothing takes their names', async () => {
    const disks = new Disks();
    const store = disks.open();
    for (const name of ['a', 'b']) await stored(await store.create(name), batch([name]));
    const [hidden, shown] = disks.folders[0].disks.has('a') ? ['a', 'b'] : ['b', 'a'];
    await store.close();
    disks.broken.add(0);
    const half = disks.open();
    expect(half.health()).toMatchObject({ state: 'degraded', reason: 'directory "disk 0": EIO: no disk' });
    expect(await half.names()).toEqual([shown]);
    expect(await readValues(await half.open(shown))).toEqual([`0:${shown}`]);
    for (const call of [half.open(hidden), half.create(hidden), half.create('new'), half.remove(hidden)]) {
      expect(await codeOf(call)).toBe('STORAGE_PARTITION_FAILED');
    }
    await half.close();
    disks.broken.add(1);
    const none = disks.open();
    expect(none.health().state).toBe('failed');
    await none.close();
    disks.broken.clear();
    expect(await disks.open().names()).toEqual(['a', 'b']);
  });

  it('a full disk refuses appends, and takes them again when there is room', async () => {
    const disks = new Disks();
    const store = disks.open({ freeBytesMin: 1000 });
    const partition = await store.create('p');
    await stored(partition, batch(['a']));
    for (const { root } of disks.folders) root.capacityBytes = 500;
    await store.upkeep();
    expect(await verdict(partition, batch(['b']))).toBe('STORAGE_DISK_FULL');
    expect(await codeOf(store.create('q'))).toBe('STORAGE_DISK_FULL');
    expect(store.health().state).toBe('degraded');
    expect(await readValues(partition)).toEqual(['0:a']);
    for (const { root } of disks.folders) root.capacityBytes = 1e9;
    await store.upkeep();
    expect(store.health().state).toBe('ready');
    expect(await stored(partition, batch(['c']))).toBe(1);
  });

  it('settings are kept over a crash, and damaged ones remove nothing', async () => {
    const disks = new Disks();
    let store = disks.open();
    await store.create('p', { retentionMs: 5 });
    await store.change('p', { batchBytesMax: 5000 });
    store = disks.crash();
    expect(await store.settings('p')).toEqual({ retentionMs: 5, batchBytesMax: 5000 });
    await stored(await store.open('p'), batch(['a'], { timestampMs: 1 }));
    await store.close();
    disks.diskOf('p').flipBit('settings', 77);
    store = disks.open();
    expect(disks.events).toMatchObject([{ type: 'corruption', partition: 'p', file: 'settings' }]);
    expect(await store.settings('p')).toEqual({});
    disks.nowMs += 1e9;
    await store.upkeep();
    expect(await readValues(await store.open('p'))).toEqual(['0:a']);
    await store.change('p', { retentionMs: 7 });
    expect(await (await disks.reopen()).settings('p')).toEqual({ retentionMs: 7 });
  });

  it('a partition whose making was cut off is not there, one with records is', async () => {
    const disks = new Disks();
    const store = disks.open();
    for (const name of ['empty', 'filled']) store.journal.create(name);
    store.journal.submit(store.journal.get('filled'), batch(['a']), { leaderEpoch: 0 }, () => undefined);
    store.flush();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const again = await disks.reopen();
    expect(await again.names()).toEqual(['filled']);
    expect(await readValues(await again.open('filled'))).toEqual(['0:a']);
    expect(disks.events).toEqual([]);
  });

  it('a partition that two directories have is served from the first, and told', async () => {
    const disks = new Disks();
    const store = disks.open();
    await stored(await store.create('p'), batch(['a']));
    await store.close();
    const [first, second] = disks.folders;
    const [from, to] = first.disks.has('p') ? [first, second] : [second, first];
    const disk = from.disks.get('p');
    if (disk !== undefined) to.disks.set('p', disk.clone({ seed: 9, schedule: (task) => setImmediate(task) }));
    const again = disks.open();
    expect(await again.names()).toEqual(['p']);
    expect(await readValues(await again.open('p'))).toEqual(['0:a']);
    expect(disks.events).toMatchObject([{ type: 'failed', reason: expect.stringContaining('"disk 1" has it too') }]);
  });

  it('remove() answers appends that are under way', async () => {
    const store = new Disks().open();
    const partition = await store.create('p');
    const first = verdict(partition, batch(['a']));
    await new Promise(setImmediate);
    const second = verdict(partition, batch(['b']));
    await store.remove('p');
    expect(await first).toBe(0);
    expect([1, 'STORAGE_PARTITION_UNKNOWN']).toContain(await second);
    expect(await store.names()).toEqual([]);
  });

  it('change() applies at once to the partition that is open', async () => {
    const store = new Disks().open();
    const partition = await store.create('p');
    for (let at = 0; at < 5; at += 1) await stored(partition, batch(['x'.repeat(500)]));
    expect(store.journal.get('p').segmentCount).toBe(1);
    await store.change('p', { segmentBytes: 1000 });
    for (let at = 0; at < 5; at += 1) await stored(partition, batch(['x'.repeat(500)]));
    expect(store.journal.get('p').segmentCount).toBeGreaterThan(3);
  });

  it('compaction goes on between appends, and loses none', async () => {
    const disks = new Disks();
    const store = disks.open();
    const partition = await store.create('p', { isCompacted: true, segmentBytes: 4000 });
    const put = (number: number): Promise<number> =>
      stored(partition, batch([`${number}`.padEnd(100, '.')], { keys: [`k${number % 7}`], timestampMs: disks.nowMs }));
    for (let number = 0; number < 200; number += 1) await put(number);
    const compacting = store.upkeep();
    for (let number = 200; number < 260; number += 1) await put(number);
    await compacting;
    const values = await readValues(partition);
    expect(values.length).toBeLessThan(150);
    const newest = new Map(values.map((value) => [Number.parseInt(value.split(':')[1], 10) % 7, value]));
    expect([...newest.values()].map((value) => Number.parseInt(value, 10)).sort()).toEqual([
      253, 254, 255, 256, 257, 258, 259,
    ]);
  });

  it('locate() says where the bytes are that are not in memory', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringmq-store-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const open = (): JournalStore => openJournalStore({ directories: [folder], freeBytesMin: 0, tailBytes: 0 });
    const first = open();
    const { baseOffset } = await append(await first.create('p'), batch(['on the disk']));
    await first.close();
    const store = open();
    onTestFinished(() => store.close());
    const partition = await store.open('p');
    expect('locate' in partition).toBe(true);
    const log = store.journal.get('p');
    const plan = log.locate({ offset: baseOffset, bytesMax: 1000 });
    expect(plan.type).toBe('file');
    if (plan.type !== 'file') return;
    const { path, position, end } = plan.file;
    expect(readFileSync(path).subarray(position, end).includes('on the disk')).toBe(true);
  });
});
