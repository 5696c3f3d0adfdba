/** Part of the contract of stream stores: reads, times, places, and deletion from the front. */
import { expect, it } from 'vitest';
import type { StreamPartition } from '../../src/core/ports/stream-store.ts';
import {
  batch,
  batchesIn,
  codeOf,
  readBatches,
  readValues,
  sealedBatch,
  stored,
  verdict,
} from '../support/stream-batches.ts';
import { type ContractBench, itWhen } from './stream-store.harness.ts';

/** `count` batches of two records, all of the same length. */
async function filled(bench: ContractBench, count: number): Promise<StreamPartition> {
  const partition = await bench.partition();
  for (let at = 0; at < count; at += 1) {
    await stored(partition, batch([`${at}`.padStart(4, '0'), 'second'], { timestampMs: 1000 * (at + 1) }));
  }
  return partition;
}

export function readChecks(bench: ContractBench): void {
  it('read() answers whole batches up to the bound, but at least one', async () => {
    const partition = await filled(bench, 10);
    const [{ bytes: one }] = await readBatches(partition);
    for (const [bytesMax, count] of [
      [0, 1],
      [1, 1],
      [one.length, 1],
      [2 * one.length - 1, 1],
      [2 * one.length, 2],
      [3 * one.length + 1, 3],
      [1e6, 10],
    ]) {
      const { slices, bytes, nextOffset } = await partition.read({ offset: 0, bytesMax });
      const found = batchesIn(slices);
      expect(found.map(({ baseOffset }) => baseOffset)).toEqual(found.map((_, at) => 2 * at));
      expect([bytesMax, found.length]).toEqual([bytesMax, count]);
      expect([bytes, nextOffset]).toEqual([found.length * one.length, 2 * found.length]);
    }
  });

  it('read() begins with the batch that the offset is in', async () => {
    const partition = await filled(bench, 6);
    for (let offset = 0; offset < 12; offset += 1) {
      const { slices, nextOffset } = await partition.read({ offset, bytesMax: 1 });
      expect(batchesIn(slices).map(({ baseOffset }) => baseOffset)).toEqual([offset - (offset % 2)]);
      expect(nextOffset).toBe(offset - (offset % 2) + 2);
    }
    expect(await readValues(partition, 9)).toEqual(['9:second', '10:0005', '11:second']);
  });

  it('read() answers nothing at the end, and refuses what is out of range', async () => {
    const partition = await filled(bench, 2);
    expect(await partition.read({ offset: 4, bytesMax: 1000 })).toMatchObject({
      slices: [],
      bytes: 0,
      nextOffset: 4,
      logStartOffset: 0,
      highWatermark: 4,
      lastStableOffset: 4,
    });
    for (const offset of [5, -1, 1e15]) {
      expect(await codeOf(partition.read({ offset, bytesMax: 1000 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    }
  });

  it('read() answers each isolation of a partition without transactions alike', async () => {
    const partition = await filled(bench, 3);
    for (const isolation of ['committed', 'stable', 'durable'] as const) {
      const { nextOffset, aborted } = await partition.read({ offset: 0, bytesMax: 1e6, isolation });
      expect([nextOffset, aborted]).toEqual([6, []]);
    }
  });

  it('read() answers while appends go on', async () => {
    const partition = await bench.partition();
    const appends = Array.from({ length: 100 }, (_, at) => verdict(partition, batch([`v${at}`])));
    const expected: string[] = [];
    while (expected.length < 100) {
      const more = await readValues(partition, expected.length);
      for (const value of more) {
        expect(value).toBe(`${expected.length}:v${expected.length}`);
        expected.push(value);
      }
      await new Promise(setImmediate);
    }
    expect(await Promise.all(appends)).toEqual(appends.map((_, at) => at));
  });

  it('offsetForTime() answers the first record that is not older', async () => {
    const partition = await filled(bench, 5);
    for (const [time, offset] of [
      [-1, 0],
      [1000, 0],
      [1001, 2],
      [3000, 4],
      [4001, 8],
      [5000, 8],
    ]) {
      const timestamp = Math.max(1000, Math.ceil(time / 1000) * 1000);
      expect(await partition.offsetForTime(time)).toEqual({ offset, timestamp });
    }
    expect(await partition.offsetForTime(5001)).toBeNull();
  });

  it('offsetForTime() goes by the order of the log, and does not open what is compressed', async () => {
    const partition = await bench.partition();
    expect(await partition.offsetForTime(0)).toBeNull();
    await stored(partition, batch(['old'], { timestampMs: 1000 }));
    await stored(partition, batch(['new', 'new too'], { timestampMs: 9000 }));
    await stored(partition, batch(['old again'], { timestampMs: 2000 }));
    await stored(partition, sealedBatch(4, Buffer.from('closed'), 12_000));
    expect(await partition.offsetForTime(1500)).toEqual({ offset: 1, timestamp: 9000 });
    expect(await partition.offsetForTime(9500)).toEqual({ offset: 4, timestamp: 12_000 });
    expect(await partition.deleteBefore(3)).toBe(3);
    expect(await partition.offsetForTime(1500)).toEqual({ offset: 3, timestamp: 2000 });
  });

  it('deleteBefore() moves the start, and never the end', async () => {
    const partition = await filled(bench, 5);
    expect(await codeOf(partition.deleteBefore(11))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    expect(await partition.deleteBefore(4)).toBe(4);
    expect(await partition.deleteBefore(2)).toBe(4);
    expect(await codeOf(partition.read({ offset: 3, bytesMax: 1 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    expect(await readValues(partition, 4)).toEqual(
      ['0002', 'second', '0003', 'second', '0004', 'second'].map((value, at) => `${4 + at}:${value}`),
    );
    // In the middle of a batch: the batch is answered, as it is stored.
    expect(await partition.deleteBefore(7)).toBe(7);
    expect((await partition.read({ offset: 7, bytesMax: 1e6 })).logStartOffset).toBe(7);
    expect(await readValues(partition, 7)).toEqual(['7:second', '8:0004', '9:second']);
    expect(await partition.deleteBefore(10)).toBe(10);
    expect(await partition.read({ offset: 10, bytesMax: 1 })).toMatchObject({ slices: [], logStartOffset: 10 });
    expect(await stored(partition, batch(['more']))).toBe(10);
    expect(await readValues(partition, 10)).toEqual(['10:more']);
    expect(await partition.places()).toMatchObject({ logStartOffset: 10, logEndOffset: 11 });
  });

  itWhen(bench.capabilities.isDurable)('deleteBefore() holds when the store is opened again', async () => {
    const opened = await bench.open();
    const partition = await opened.store.create('p');
    for (let at = 0; at < 6; at += 1) await stored(partition, batch([`${at}`, 'x']));
    await partition.deleteBefore(5);
    let again = await (await opened.reopen()).open('p');
    expect(await again.places()).toMatchObject({ logStartOffset: 5, logEndOffset: 12 });
    expect(await codeOf(again.read({ offset: 4, bytesMax: 1 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    expect((await readValues(again, 5)).length).toBe(7);
    await again.deleteBefore(12);
    again = await (await opened.reopen()).open('p');
    expect(await again.places()).toMatchObject({ logStartOffset: 12, logEndOffset: 12 });
    expect(await stored(again, batch(['next']))).toBe(12);
  });

  it('places() tells the size of what is stored', async () => {
    const partition = await filled(bench, 4);
    const { sizeBytes } = await partition.places();
    const stored4 = (await readBatches(partition)).reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(sizeBytes).toBeGreaterThanOrEqual(stored4);
  });
}
