import { describe, expect, it } from 'vitest';
import { buildControlBatch } from '../../../src/core/batch/control-batch.ts';
import { batchOf, LogFixture } from './journal-fixture.ts';

const options = { segmentBytes: 16 * 1024, indexIntervalBytes: 512 };

describe('PartitionLog.compact()', () => {
  it('keeps the newest record of each key, all without a key, and every offset in place', () => {
    const fixture = new LogFixture();
    const log = fixture.open(options);
    for (let number = 0; number < 300; number += 1) {
      const keys = [`k${number % 10}`, number % 50 === 0 ? null : `k${number % 7}`];
      fixture.append(log, batchOf([`a${number}`, `b${number}`], { keys }));
    }
    log.roll(1000);
    const before = fixture.all(log);
    const segments = log.segmentCount;
    const compaction = log.compact({ nowMs: 2000, tombstoneMs: 1e9 });
    while (compaction.step());
    const after = fixture.all(log);
    expect(after.length).toBe(10 + 6);
    expect(before.filter((record) => after.includes(record))).toEqual(after);
    expect(compaction.recordsDropped).toBe(600 - 16);
    const again = log.compact({ nowMs: 2000, tombstoneMs: 1e9 });
    while (again.step());
    expect(log.segmentCount).toBeLessThan(segments);
    expect(fixture.all(log)).toEqual(after);
    expect(log.logEndOffset).toBe(600);
    fixture.disk.crash('drop');
    const opened = fixture.open(options);
    expect(fixture.all(opened)).toEqual(after);
    expect(fixture.events).toEqual([]);
    expect(fixture.append(opened, batchOf(['c']))[0].baseOffset).toBe(600);
  });

  it('drops tombstones when they are old, and what they delete at once', () => {
    const fixture = new LogFixture();
    const log = fixture.open(options);
    fixture.append(log, batchOf(['x', 'y'], { keys: ['k', 'l'] }), batchOf([''], { keys: ['k'], timestampMs: 5000 }));
    log.roll(1000);
    let compaction = log.compact({ nowMs: 6000, tombstoneMs: 2000 });
    while (compaction.step());
    expect(fixture.all(log)).toEqual(['1:y', '2:']);
    compaction = log.compact({ nowMs: 8000, tombstoneMs: 2000 });
    while (compaction.step());
    expect(fixture.all(log)).toEqual(['1:y']);
  });

  it('stops when its segments go away between two steps', () => {
    const fixture = new LogFixture();
    const log = fixture.open(options);
    for (let number = 0; number < 300; number += 1) fixture.append(log, batchOf(['x'], { keys: [`k${number % 9}`] }));
    for (let steps = 0; steps < 8; steps += 1) {
      const compaction = log.compact({ nowMs: 2000, tombstoneMs: 0 });
      let isMore = true;
      for (let step = 0; step < steps && isMore; step += 1) isMore = compaction.step();
      log.deleteRecordsBefore(log.logStartOffset + 30);
      while (isMore) isMore = compaction.step();
      expect(fixture.all(log).at(-1)).toBe('299:x');
      expect(fixture.events).toEqual([]);
    }
    const compaction = log.compact({ nowMs: 2000, tombstoneMs: 0 });
    log.reopen(2000);
    expect(() => compaction.step()).toThrow(/it was closed/);
  });

  it('drops what was written in aborted transactions', () => {
    const fixture = new LogFixture();
    const log = fixture.open(options);
    const producer = { producerId: 1, producerEpoch: 0 };
    fixture.append(log, batchOf(['old'], { keys: ['k'] }));
    fixture.append(log, batchOf(['bad'], { ...producer, keys: ['k'], attributes: 16, baseSequence: 0 }));
    const marker = { ...producer, type: 'abort', coordinatorEpoch: 0, timestampMs: 1 } as const;
    fixture.append(log, buildControlBatch(marker));
    log.roll(1000);
    const compaction = log.compact({ nowMs: 6000, tombstoneMs: 0 });
    while (compaction.step());
    expect(fixture.all(log)[0]).toBe('0:old');
    expect(fixture.all(log).join()).not.toContain('bad');
  });

  it('syncs a large segment beside the thread, and leaves the log as it was when that fails', () => {
    for (const fails of [false, true]) {
      const fixture = new LogFixture();
      const log = fixture.open({ segmentBytes: 12 * 1024 * 1024, batchBytesMax: 1024 * 1024 });
      const values = Array.from({ length: 16 }, (_, at) => `${at}${'x'.repeat(30_000)}`);
      // Every other batch is all that is left of its keys.
      for (let number = 0; number < 20; number += 1) {
        const keys = values.map((_, at) => (number % 2 === 0 ? 'same' : `${number}.${at}`));
        fixture.append(log, batchOf(values, { keys }));
      }
      log.roll(1000);
      const before = fixture.all(log);
      const compaction = log.compact({ nowMs: 2000, tombstoneMs: 1e9 });
      const waitsForSync = (): boolean => {
        if (fixture.tasks.length === 0) return false;
        // Until it is told how that ended, it puts nothing in place.
        for (let step = 0; step < 30; step += 1) expect(compaction.step()).toBe(true);
        if (fails) fixture.disk.fail('sync', 1);
        fixture.settle();
        return true;
      };
      let waits = 0;
      const run = (): void => {
        while (compaction.step()) if (waitsForSync()) waits += 1;
      };
      if (fails) expect(run).toThrow('EIO');
      else run();
      expect(waits).toBeGreaterThan(0);
      if (fails) log.reopen(3000);
      const after = fixture.all(log);
      if (fails) expect(after).toEqual(before);
      else expect(after.length).toBe(10 * 16 + 1);
    }
  });
});
