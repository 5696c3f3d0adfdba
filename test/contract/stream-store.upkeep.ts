/** Part of the contract of stream stores: retention and compaction, or their refusal. */
import { expect } from 'vitest';
import type { StreamPartition } from '../../src/core/ports/stream-store.ts';
import { batch, codeOf, readBatches, readValues, stored } from '../support/stream-batches.ts';
import { type ContractBench, itWhen } from './stream-store.harness.ts';

const batchCount = 60;

async function fill(partition: StreamPartition, timestampMs: number): Promise<void> {
  for (let at = 0; at < batchCount; at += 1) {
    await stored(partition, batch([`${at}`.padEnd(100, '.')], { timestampMs }));
  }
}

/** What is left is whole, from the start of the log to its end. */
async function checkRest(partition: StreamPartition): Promise<number> {
  const { logStartOffset, logEndOffset } = await partition.places();
  expect(logEndOffset).toBe(batchCount);
  if (logStartOffset > 0) {
    expect(await codeOf(partition.read({ offset: 0, bytesMax: 1 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
  }
  const values = await readValues(partition, logStartOffset);
  expect(values.map((value) => value.slice(0, value.indexOf('.')))).toEqual(
    values.map((_, at) => `${logStartOffset + at}:${logStartOffset + at}`),
  );
  expect(values.length).toBe(batchCount - logStartOffset);
  return logStartOffset;
}

export function upkeepChecks(bench: ContractBench): void {
  const { retains, compacts } = bench.capabilities;

  itWhen(retains)('retention by bytes removes the oldest records, and not too many', async () => {
    const opened = await bench.open();
    const bytes = 4000;
    const partition = await opened.store.create('p', { retentionBytes: bytes, segmentBytes: 1000 });
    await fill(partition, Date.now());
    await opened.upkeep();
    expect(await checkRest(partition)).toBeGreaterThan(0);
    const left = (await readBatches(partition, (await partition.places()).logStartOffset)).reduce(
      (sum, item) => sum + item.bytes.length,
      0,
    );
    expect(left).toBeGreaterThanOrEqual(bytes - 1000);
    expect(left).toBeLessThan(batchCount * 100);
  });

  itWhen(retains)('retention by age removes what is old, and nothing else', async () => {
    const opened = await bench.open();
    const settings = { retentionMs: 60_000, segmentBytes: 1000 };
    const old = await opened.store.create('old', settings);
    const young = await opened.store.create('young', settings);
    await fill(old, Date.now() - 3_600_000);
    await fill(young, Date.now());
    await opened.upkeep();
    expect(await checkRest(old)).toBe(batchCount);
    expect(await checkRest(young)).toBe(0);
    expect(await stored(old, batch(['more']))).toBe(batchCount);
  });

  itWhen(retains)('retention goes by the settings as they are now', async () => {
    const opened = await bench.open();
    const partition = await opened.store.create('p', { segmentBytes: 1000 });
    await fill(partition, 1000);
    await opened.upkeep();
    expect(await checkRest(partition)).toBe(0);
    await opened.store.change('p', { retentionMs: 60_000 });
    await opened.upkeep();
    expect(await checkRest(partition)).toBe(batchCount);
    await opened.store.change('p', { retentionMs: null });
    expect(await opened.store.settings('p')).toMatchObject({ retentionMs: null });
  });

  itWhen(!retains)('retention is refused', async () => {
    const { store } = await bench.open();
    for (const settings of [{ retentionBytes: 1000 }, { retentionMs: 1000 }]) {
      expect(await codeOf(store.create('p', settings))).toBe('STORAGE_SETTING_UNSUPPORTED');
    }
  });

  itWhen(!compacts)('compaction is refused', async () => {
    const { store } = await bench.open();
    expect(await codeOf(store.create('p', { isCompacted: true }))).toBe('STORAGE_SETTING_UNSUPPORTED');
    expect(await store.names()).toEqual([]);
    await store.create('p', { isCompacted: false });
    expect(await codeOf(store.change('p', { isCompacted: true }))).toBe('STORAGE_SETTING_UNSUPPORTED');
  });

  itWhen(compacts)('compaction keeps the newest record of each key, and all offsets', async () => {
    const opened = await bench.open();
    const partition = await opened.store.create('p', { isCompacted: true, segmentBytes: 2000 });
    for (let at = 0; at < batchCount; at += 1) {
      await stored(partition, batch([`${at}`.padEnd(100, '.')], { keys: [`k${at % 5}`], timestampMs: Date.now() }));
    }
    await opened.upkeep();
    const offsets = (await readValues(partition)).map((value) => Number(value.split(':')[0]));
    expect(offsets.length).toBeLessThan(batchCount);
    expect(offsets.slice(-5)).toEqual([55, 56, 57, 58, 59]);
    let next = 0;
    for (const { baseOffset, lastOffset } of await readBatches(partition)) {
      expect(baseOffset).toBe(next);
      next = lastOffset + 1;
    }
    expect(next).toBe(batchCount);
    expect(await stored(partition, batch(['more'], { keys: ['k0'] }))).toBe(batchCount);
  });
}
