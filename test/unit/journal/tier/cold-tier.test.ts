import { describe, expect, it } from 'vitest';
import { append, batch, codeOf, marker, produced, readValues, stored } from '../../../support/stream-batches.ts';
import { kibibyte, numbered, numbers, numbersOf, TierBench } from './tier-fixture.ts';

async function filled(count = 200, options = {}): Promise<TierBench> {
  const bench = new TierBench(options);
  await bench.fill(await bench.create(), 0, count);
  await bench.settle();
  return bench;
}

describe('ColdTier', () => {
  it('run() moves full segments to the tier, and all is read over both', async () => {
    const bench = await filled();
    const partition = await bench.store.open('p');
    expect(bench.service.segments().length).toBeGreaterThan(4);
    expect(bench.localSegments()).toHaveLength(1);
    expect(bench.uploaded).toHaveLength(bench.service.segments().length);
    expect(numbersOf(await readValues(partition))).toEqual(numbers(0, 200));
    const { logStartOffset, logEndOffset, sizeBytes } = await partition.places();
    expect([logStartOffset, logEndOffset]).toEqual([0, 200]);
    expect(sizeBytes).toBeGreaterThan(200 * kibibyte);
    expect(bench.store.health().state).toBe('ready');
  });

  it('run() sends a large segment in parts, and a small one as a whole', async () => {
    const bench = await filled();
    expect(bench.service.requests.filter((request) => request.startsWith('complete')).length).toBeGreaterThan(4);
    const small = new TierBench();
    await small.fill(await small.create('p', { segmentBytes: 20 * kibibyte }), 0, 100);
    await small.settle();
    expect(small.service.requests.filter((request) => request.startsWith('complete'))).toEqual([]);
    expect(numbersOf(await readValues(await small.store.open('p')))).toEqual(numbers(0, 100));
  });

  it('run() leaves streams alone that do not ask for it, unless all do', async () => {
    const bench = new TierBench();
    await bench.fill(await bench.store.create('own', { segmentBytes: 40 * kibibyte }), 0, 100);
    await bench.settle();
    expect(bench.service.keys()).toEqual([]);
    const all = new TierBench({ isDefault: true });
    await all.fill(await all.store.create('q', { segmentBytes: 40 * kibibyte }), 0, 100);
    await all.store.create('compacted', { isCompacted: true });
    await all.fill(await all.store.create('not', { segmentBytes: 40 * kibibyte, isTiered: false }), 0, 100);
    await all.settle();
    expect(new Set(all.service.keys().map((key) => key.split('/')[0])).size).toBe(1);
  });

  it('run() keeps local copies as long as the stream says', async () => {
    const bench = new TierBench();
    await bench.fill(await bench.create('p', { localRetentionBytes: 100 * kibibyte }), 0, 200);
    await bench.settle();
    expect(bench.localSegments().length).toBeGreaterThan(2);
    await bench.store.change('p', { localRetentionBytes: null, localRetentionMs: 1000 });
    await bench.settle();
    // The times of the records are long ago.
    expect(bench.localSegments()).toHaveLength(1);
    expect(numbersOf(await readValues(await bench.store.open('p')))).toEqual(numbers(0, 200));
  });

  it('locate() answers with bytes when the tier alone has them', async () => {
    const bench = await filled();
    const partition = await bench.store.open('p');
    const plan = await (partition as never as { locate(r: object): Promise<{ type: string }> }).locate({
      offset: 3,
      bytesMax: 4096,
    });
    expect(plan.type).toBe('answer');
  });

  it('restart() finds the same records, with the tier and without it', async () => {
    const bench = await filled();
    await bench.restart();
    await bench.settle();
    expect(numbersOf(await readValues(await bench.store.open('p')))).toEqual(numbers(0, 200));
    await bench.restart(false);
    const partition = await bench.store.open('p');
    expect((await partition.places()).logStartOffset).toBe(0);
    expect(await codeOf(partition.read({ offset: 5, bytesMax: 1000 }))).toBe('STORAGE_UNAVAILABLE');
    expect(await stored(partition, batch(['new']))).toBe(200);
    await bench.store.change('p', { retentionMs: 1e12 });
  });

  it('read() refuses what only the tier has while it is away, and appends go on', async () => {
    const bench = await filled();
    await bench.restart();
    const partition = await bench.store.open('p');
    bench.service.isAway = true;
    expect(await codeOf(partition.read({ offset: 5, bytesMax: 1000 }))).toBe('STORAGE_UNAVAILABLE');
    await bench.fill(partition, 200, 300);
    await bench.work();
    await bench.work();
    const local = bench.localSegments();
    expect(local.length).toBeGreaterThan(2);
    await expect.poll(() => bench.store.health().state).toBe('degraded');
    expect(bench.store.health().reason).toMatch(/does not answer/);
    bench.service.isAway = false;
    await expect
      .poll(async () => {
        await bench.work();
        return bench.localSegments().length;
      })
      .toBe(1);
    expect(numbersOf(await readValues(partition))).toEqual(numbers(0, 300));
    expect(bench.store.health().state).toBe('ready');
  });

  it('faults() tells a backlog above its bound', async () => {
    const bench = new TierBench({ backlogBytesMax: 50 * kibibyte });
    bench.service.isAway = true;
    await bench.fill(await bench.create(), 0, 200);
    await bench.work();
    expect(bench.backlogBytes).toBeGreaterThan(100 * kibibyte);
    expect(bench.store.health().reason).toMatch(/wait for the cold tier/);
  });

  it('read() tells damage by object and position, and serves the rest', async () => {
    const bench = await filled();
    const [first, second] = bench.service.segments();
    const bytes = bench.service.objects.get(first) as Buffer;
    bytes[20 * kibibyte] ^= 1;
    await bench.restart();
    const partition = await bench.store.open('p');
    await expect(readValues(partition)).rejects.toMatchObject({ code: 'STORAGE_CORRUPTED', file: first });
    const from = Number(second.split('/')[1].slice(0, 20));
    expect(numbersOf(await readValues(partition, from))).toEqual(numbers(from, 200));
  });

  it('read() asks once more when bytes were damaged on their way', async () => {
    const bench = await filled();
    await bench.restart();
    const [first] = bench.service.segments();
    const bytes = bench.service.objects.get(first) as Buffer;
    let gets = 0;
    bench.service.before = (request) => {
      if (request !== 'get') return;
      gets += 1;
      // The description comes first, then the batches.
      if (gets === 2 || gets === 3) bytes[13 * kibibyte] ^= 1;
    };
    const partition = await bench.store.open('p');
    const { nextOffset } = await partition.read({ offset: 0, bytesMax: 30 * kibibyte });
    expect(nextOffset).toBeGreaterThan(0);
    expect(gets).toBeGreaterThan(2);
  });

  it('read() tells a missing object as damage, not as the end', async () => {
    const bench = await filled();
    bench.service.objects.delete(bench.service.segments()[0]);
    await bench.restart();
    expect(await codeOf((await bench.store.open('p')).read({ offset: 0, bytesMax: 100 }))).toBe('STORAGE_CORRUPTED');
  });

  it('offsetForTime() finds records in the tier and behind it', async () => {
    const bench = await filled();
    const partition = await bench.store.open('p');
    for (const number of [0, 7, 63, 120, 199]) {
      expect(await partition.offsetForTime(number)).toEqual({ offset: number, timestamp: number });
    }
    expect(await partition.offsetForTime(200)).toBeNull();
    await partition.deleteBefore(50);
    expect(await partition.offsetForTime(7)).toEqual({ offset: 50, timestamp: 50 });
  });

  it('read() gives the aborted transactions of what the tier has', async () => {
    const bench = new TierBench();
    const partition = await bench.create();
    const producer = { producerId: 7, producerEpoch: 0 };
    await bench.fill(partition, 0, 30);
    await stored(partition, produced(producer, 0, [numbered(30)], true));
    await bench.fill(partition, 31, 90);
    await bench.settle();
    const open = bench.service.segments().length;
    // Nothing behind the beginning of a transaction that is under way goes to the tier.
    expect(open).toBeLessThan(3);
    await stored(partition, marker('abort', producer));
    await bench.fill(partition, 91, 200);
    await bench.settle();
    expect(bench.service.segments().length).toBeGreaterThan(open);
    await bench.restart();
    const found = await (await bench.store.open('p')).read({ offset: 30, bytesMax: 1000, isolation: 'stable' });
    expect(found.aborted).toMatchObject([{ producerId: 7, firstOffset: 30, lastOffset: 90 }]);
    const plain = await (await bench.store.open('p')).read({ offset: 30, bytesMax: 1000 });
    expect(plain.aborted).toEqual([]);
    // Behind its marker it is of no interest.
    const behind = await (await bench.store.open('p')).read({ offset: 91, bytesMax: 1000, isolation: 'stable' });
    expect(behind.aborted).toEqual([]);
  });

  it('deleteBefore() moves the start through the tier, and objects go', async () => {
    const bench = await filled();
    const partition = await bench.store.open('p');
    const before = bench.service.segments().length;
    expect(await partition.deleteBefore(100)).toBe(100);
    expect(await codeOf(partition.read({ offset: 99, bytesMax: 100 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    await bench.settle();
    expect(bench.service.segments().length).toBeLessThan(before);
    expect(numbersOf(await readValues(partition, 100))).toEqual(numbers(100, 200));
    bench.crash();
    expect((await (await bench.store.open('p')).places()).logStartOffset).toBe(100);
    expect(numbersOf(await readValues(await bench.store.open('p'), 100))).toEqual(numbers(100, 200));
    await (await bench.store.open('p')).deleteBefore(200);
    await bench.settle();
    expect(bench.service.segments()).toEqual([]);
    expect(await stored(await bench.store.open('p'), batch(['next']))).toBe(200);
  });

  it('upkeep() counts both for the retention of the stream', async () => {
    const bench = await filled();
    await bench.store.change('p', { retentionBytes: 100 * kibibyte });
    await bench.settle();
    const partition = await bench.store.open('p');
    const { logStartOffset, sizeBytes } = await partition.places();
    expect(logStartOffset).toBeGreaterThan(50);
    expect(logStartOffset).toBeLessThan(110);
    expect(sizeBytes).toBeGreaterThan(90 * kibibyte);
    expect(numbersOf(await readValues(partition, logStartOffset))).toEqual(numbers(logStartOffset, 200));
    await bench.store.change('p', { retentionBytes: null, retentionMs: 1000 });
    await bench.settle();
    await bench.settle();
    expect((await partition.places()).logStartOffset).toBe(200);
    expect(bench.service.segments()).toEqual([]);
  });

  it('remove() has the objects deleted, also when the tier is away for a time', async () => {
    const bench = await filled();
    bench.service.isAway = true;
    await bench.store.remove('p');
    bench.crash();
    await bench.fill(await bench.create(), 0, 100);
    await bench.work();
    bench.service.isAway = false;
    await expect
      .poll(async () => {
        await bench.work();
        return bench.folders.root.list().filter((name) => name.startsWith('tier-removed'));
      })
      .toEqual([]);
    await bench.settle();
    expect(new Set(bench.service.keys().map((key) => key.split('/')[0])).size).toBe(1);
    expect(numbersOf(await readValues(await bench.store.open('p')))).toEqual(numbers(0, 100));
  });

  it('run() deletes what an upload left that was cut off', async () => {
    const bench = await filled();
    const id = bench.service.keys()[0].split('/')[0];
    bench.service.objects.set(`${id}/00000000000000000000-00000000000000000005-0123456789abcdef`, Buffer.from('left'));
    bench.service.uploads.set(1000, { key: `${id}/other`, parts: new Map() });
    await bench.restart();
    await bench.settle();
    expect(bench.service.keys().filter((key) => key.includes('0123456789abcdef'))).toEqual([]);
    expect(bench.service.uploads.size).toBe(0);
    expect(numbersOf(await readValues(await bench.store.open('p')))).toEqual(numbers(0, 200));
  });

  it('run() fetches a lost list from the tier, and refuses reads until then', async () => {
    for (const how of ['missing', 'damaged'] as const) {
      const bench = await filled();
      await bench.store.close();
      const disk = bench.folders.disks.get('p');
      if (how === 'missing') disk?.remove('tier');
      else {
        const file = disk?.open('tier', { create: false });
        file?.write(Buffer.from('x'), 20);
        file?.close();
      }
      bench.service.isAway = true;
      bench.open();
      const partition = await bench.store.open('p');
      expect(bench.events).toContainEqual(expect.objectContaining({ type: 'corruption', file: 'tier' }));
      expect(await codeOf(partition.read({ offset: 5, bytesMax: 100 }))).toBe('STORAGE_UNAVAILABLE');
      bench.service.isAway = false;
      await expect
        .poll(async () => {
          await bench.work();
          return (await partition.places()).logStartOffset;
        })
        .toBe(0);
      expect(numbersOf(await readValues(partition))).toEqual(numbers(0, 200));
    }
  });

  it('run() changes nothing in a tier that knows more than the folder', async () => {
    const bench = await filled(100);
    await bench.store.close();
    const disk = bench.folders.disks.get('p');
    const file = disk?.open('tier', { create: false });
    const old = Buffer.alloc(file?.size() ?? 0);
    file?.read(old, 0);
    file?.close();
    bench.open();
    await bench.fill(await bench.store.open('p'), 100, 200);
    await bench.settle();
    await bench.store.close();
    disk?.remove('tier');
    const restored = disk?.open('tier', { create: true });
    restored?.write(old, 0);
    restored?.close();
    const keys = bench.service.keys();
    bench.open();
    await bench.settle();
    expect(bench.service.keys()).toEqual(keys);
    expect(bench.store.health()).toMatchObject({ state: 'degraded' });
    expect(bench.store.health().reason).toMatch(/the folder is older/);
  });

  it('change() and create() refuse compaction together with the tier', async () => {
    const bench = await filled();
    expect(await codeOf(bench.create('q', { isCompacted: true }))).toBe('STORAGE_SETTING_UNSUPPORTED');
    expect(await codeOf(bench.store.change('p', { isCompacted: true }))).toBe('STORAGE_SETTING_UNSUPPORTED');
    expect(await codeOf(bench.store.change('p', { isCompacted: true, isTiered: false }))).toBe(
      'STORAGE_SETTING_UNSUPPORTED',
    );
    const none = new TierBench(null);
    expect(await codeOf(none.create('q'))).toBe('STORAGE_SETTING_UNSUPPORTED');
  });

  it('run() sends nothing of a damaged segment, and says so', async () => {
    const bench = new TierBench({ local: { bytes: null, ms: null } });
    await bench.fill(await bench.create(), 0, 100);
    await bench.store.close();
    const disk = bench.folders.disks.get('p');
    const [first] = bench.localSegments();
    const file = disk?.open(first, { create: false });
    file?.write(Buffer.from('damage'), 20 * kibibyte);
    file?.close();
    bench.open();
    await bench.settle();
    expect(bench.service.segments()).toEqual([]);
    expect(bench.store.health().reason).toMatch(/is not tiered: .*is damaged/);
    expect(bench.localSegments().length).toBeGreaterThan(1);
  });

  it('change() stops uploads and leaves what is there readable', async () => {
    const bench = await filled();
    const before = bench.service.segments();
    await bench.store.change('p', { isTiered: false });
    const partition = await bench.store.open('p');
    await bench.fill(partition, 200, 300);
    await bench.settle();
    expect(bench.service.segments()).toEqual(before);
    expect(numbersOf(await readValues(partition))).toEqual(numbers(0, 300));
    await bench.store.change('p', { isTiered: true });
    await bench.settle();
    expect(bench.service.segments().length).toBeGreaterThan(before.length);
    expect(numbersOf(await readValues(partition))).toEqual(numbers(0, 300));
  });

  it('append() of a repetition is known though its batch lies in the tier', async () => {
    const bench = new TierBench();
    const partition = await bench.create();
    const producer = { producerId: 9, producerEpoch: 0 };
    await stored(partition, produced(producer, 0, [numbered(0)]));
    await bench.fill(partition, 1, 100);
    await bench.settle();
    bench.crash();
    const again = await append(await bench.store.open('p'), produced(producer, 0, [numbered(0)]));
    expect(again).toMatchObject({ error: null, isDuplicate: true, baseOffset: 0 });
  });
});
