// A journal with a cold tier that is run with chance against a model of what must be in it: requests that are refused or lost at any
// step, power that goes at any step, deletions, retention, removal. Whatever happened: what was acknowledged and not deleted is read,
// with its offset and its bytes; nothing that was deleted comes back, unless the list of the tier was lost; and in the end no object is left that nobody needs.
import { describe, expect, it } from 'vitest';
import { readBatchHeader } from '../../../../src/core/batch/batch-format.ts';
import { Random } from '../../../fuzz/random.ts';
import { append, batch, batchesIn, codeOf } from '../../../support/stream-batches.ts';
import { kibibyte, TierBench } from './tier-fixture.ts';

const steps = 60;
const seeds = 8;

class Run {
  readonly bench: TierBench;
  readonly random: Random;
  /** Base offset and bytes without the place that the store gives, of what was acknowledged. */
  readonly batches = new Map<number, string>();
  /** Of the partition; below it nothing may be read. */
  start = 0;
  end = 0;
  next = 0;
  isStormy = true;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.bench = new TierBench({ backlogBytesMax: 1e9, local: { bytes: 30 * kibibyte, ms: null } }, seed * 1000);
    const { service } = this.bench;
    service.fate = () => {
      if (!this.isStormy || this.random.below(12) > 0) return 'answered';
      return this.random.below(2) === 0 ? 'refused' : 'lost';
    };
  }

  async begin(): Promise<void> {
    await this.bench.create('p', { segmentBytes: 24 * kibibyte });
  }

  async step(): Promise<void> {
    switch (this.random.below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return this.append(1 + this.random.below(40));
      case 4:
      case 5:
        return this.bench.work();
      case 6:
        return this.crash();
      case 7:
        return this.readSome();
      case 8:
        return this.delete();
      default:
        this.bench.service.isAway = this.isStormy && this.random.below(3) === 0;
        return this.bench.store.upkeep();
    }
  }

  async append(count: number): Promise<void> {
    const partition = await this.bench.store.open('p');
    for (let number = 0; number < count; number += 1) {
      const bytes = batch([`${this.next}`.padEnd(200 + this.random.below(3000), '.')]);
      this.next += 1;
      const { error, baseOffset } = await append(partition, bytes);
      expect(error).toBeNull();
      expect(baseOffset).toBe(this.end);
      this.batches.set(baseOffset, bytes.toString('latin1', 16));
      this.end = baseOffset + 1;
    }
  }

  /** At any step of what the tier is at. */
  async crash(): Promise<void> {
    const { bench, random } = this;
    let left = random.below(12);
    const crashed = Promise.withResolvers<void>();
    const old = bench.store;
    bench.service.before = async () => {
      left -= 1;
      if (left !== 0) return;
      crashed.resolve();
      // The old process does nothing more.
      await new Promise<void>(() => undefined);
    };
    await old.upkeep();
    await Promise.race([crashed.promise, old.tierIdle()]);
    bench.service.before = () => undefined;
    bench.crash();
    if (random.below(3) === 0) await this.loseList();
    await this.check();
  }

  /** The file is gone, and the object stands in for it: what was deleted last may be there again, and nothing may be missing. */
  async loseList(): Promise<void> {
    const { bench } = this;
    const disk = bench.folders.disks.get('p');
    if (disk === undefined || !disk.list().includes('tier')) return;
    await bench.store.close();
    // A disk that lost a file, in the life of the process that opens it next.
    disk.remove('tier');
    disk.syncFolder();
    this.isStormy = false;
    bench.service.isAway = false;
    bench.open();
    await bench.settle();
    this.isStormy = true;
    const { logStartOffset } = await (await bench.store.open('p')).places();
    expect(logStartOffset).toBeLessThanOrEqual(this.start);
    this.start = logStartOffset;
  }

  async delete(): Promise<void> {
    const offset = this.start + this.random.below(Math.max(1, Math.ceil((this.end - this.start) / 3)));
    expect(await (await this.bench.store.open('p')).deleteBefore(offset)).toBe(Math.max(offset, this.start));
    this.start = Math.max(offset, this.start);
  }

  async readSome(): Promise<void> {
    const partition = await this.bench.store.open('p');
    if (this.end === this.start) return;
    const from = this.start + this.random.below(this.end - this.start);
    try {
      const { slices } = await partition.read({ offset: from, bytesMax: 8 * kibibyte });
      this.compare(slices);
    } catch (error) {
      // Only while something is wrong with the tier.
      expect(error).toMatchObject({ code: 'STORAGE_UNAVAILABLE' });
      expect(this.isStormy).toBe(true);
    }
  }

  /** What the store says of itself without asking the tier. */
  async check(): Promise<void> {
    const { logStartOffset, logEndOffset } = await (await this.bench.store.open('p')).places();
    expect([logStartOffset, logEndOffset]).toEqual([this.start, this.end]);
    expect(await codeOf((await this.bench.store.open('p')).read({ offset: this.start - 1, bytesMax: 100 }))).toBe(
      'STORAGE_OFFSET_OUT_OF_RANGE',
    );
  }

  compare(slices: readonly Buffer[]): number {
    let next = -1;
    for (const { baseOffset, bytes } of batchesIn(slices)) {
      expect(readBatchHeader(bytes).baseOffset).toBe(baseOffset);
      expect(bytes.toString('latin1', 16)).toBe(this.batches.get(baseOffset));
      next = baseOffset + 1;
    }
    return next;
  }

  /** When the storm is over all is there, and nothing else. */
  async finish(): Promise<void> {
    this.isStormy = false;
    this.bench.service.isAway = false;
    await expect
      .poll(async () => {
        await this.bench.work();
        return this.bench.localSegments().length;
      })
      .toBeLessThan(5);
    // Orphans of lost requests are found by the next start.
    await this.bench.restart();
    await this.bench.settle();
    const partition = await this.bench.store.open('p');
    await this.check();
    for (let offset = this.start; offset < this.end; ) {
      const { slices, nextOffset } = await partition.read({ offset, bytesMax: 20 * kibibyte });
      expect(this.compare(slices)).toBe(nextOffset);
      offset = nextOffset;
    }
    const named = (this.bench.folders.disks.get('p')?.list() ?? []).length;
    expect(named).toBeGreaterThan(0);
    const entries = this.bench.store.tierEntries('p');
    expect(this.bench.service.segments().length).toBe(entries);
    expect(this.bench.service.uploads.size).toBe(0);
    expect(this.bench.store.health().state).toBe('ready');
  }
}

describe('JournalStore with a cold tier', () => {
  for (let seed = 1; seed <= seeds; seed += 1) {
    it(`keeps what it has acknowledged when requests fail and power goes, seed ${seed}`, async () => {
      const run = new Run(seed);
      await run.begin();
      for (let step = 0; step < steps; step += 1) await run.step();
      await run.finish();
    });
  }
});
