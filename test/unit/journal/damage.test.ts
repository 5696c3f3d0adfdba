import { describe, expect, it } from 'vitest';
import { buildControlBatch } from '../../../src/core/batch/control-batch.ts';
import { StorageError } from '../../../src/core/streams/storage-error.ts';
import type { PartitionLog } from '../../../src/journal/partition-log.ts';
import { Random } from '../../fuzz/random.ts';
import { batchOf, LogFixture, recordsOf } from './journal-fixture.ts';

const options = { segmentBytes: 16 * 1024, indexIntervalBytes: 512 };

/** A log of several segments, epochs, producers and transactions; some of them compacted. */
function build(seed: number): { fixture: LogFixture; log: PartitionLog } {
  const fixture = new LogFixture(seed);
  const { random } = fixture;
  const log = fixture.open(options);
  for (let number = 0; number < 120; number += 1) {
    const values = Array.from(
      { length: random.between(1, 4) },
      (_, at) => `${number}.${at}.${'x'.repeat(random.below(80))}`,
    );
    const keys = values.map(() => `k${random.below(40)}`);
    fixture.appendAs(log, 1 + (number >> 5), batchOf(values, { keys }));
    if (number % 17 === 0) {
      const producer = { producerId: 5, producerEpoch: 0 };
      fixture.append(log, batchOf(['t'], { ...producer, attributes: 16, baseSequence: number / 17 }));
      const marker = { ...producer, type: 'abort', coordinatorEpoch: 0, timestampMs: 1 } as const;
      fixture.appendAs(log, 1 + (number >> 5), buildControlBatch(marker));
    }
  }
  const compaction = log.compact({ nowMs: 1e9, tombstoneMs: 0 });
  while (compaction.step());
  for (let number = 0; number < 30; number += 1) fixture.appendAs(log, 9, batchOf([`end ${number}`]));
  return { fixture, log };
}

/** What each offset answers: its record, nothing, or the error. */
function readAll(log: PartitionLog): string[] {
  const answers: string[] = [];
  for (let offset = log.logStartOffset; offset < log.logEndOffset; offset += 1) {
    try {
      const { slices } = log.read({ offset, bytesMax: 1 });
      answers.push(recordsOf(slices).find((record) => record.startsWith(`${offset}:`)) ?? 'compacted');
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      expect(error.code).toBe('STORAGE_CORRUPTED');
      expect(error.file).not.toBeNull();
      answers.push('corrupted');
    }
  }
  return answers;
}

describe('a flipped bit', () => {
  it.each([
    ['after a clean shutdown', true],
    ['after a crash', false],
  ])('anywhere in the files is found before it is read out, %s', (_, isClean) => {
    let refused = 0;
    for (let seed = 1; seed <= 2; seed += 1) {
      const { fixture, log } = build(seed);
      const expected = readAll(log);
      const state = JSON.stringify([log.producer(5), log.abortedIn(0, 1e9), log.lastStableOffset]);
      if (isClean) log.close();
      else log.rest();
      for (const name of fixture.disk.list().filter((item) => item.endsWith('.log'))) {
        const file = fixture.disk.open(name, { create: false });
        file.syncNow();
        file.close();
      }
      const random = new Random(seed);
      for (let flip = 0; flip < 40; flip += 1) {
        const damaged = new LogFixture(seed * 1000 + flip);
        const disk = fixture.disk.clone({ seed: flip, schedule: (task) => damaged.tasks.push(task) });
        const name = random.pick(disk.list());
        const { length } = disk.content(name);
        // Most of a small segment is the pages in front of it.
        const from = length > 12288 && random.oneIn(2) ? 12288 : 0;
        disk.flipBit(name, random.between(from * 8, length * 8 - 1));
        const again = damaged.open(options, isClean, disk);
        const found = readAll(again);
        expect(found.length, name).toBe(expected.length);
        for (const [offset, answer] of found.entries()) {
          if (answer === 'corrupted') refused += 1;
          else expect(answer, name).toBe(expected[offset]);
        }
        if (found.includes('corrupted')) expect(damaged.events.map(({ type }) => type)).toContain('corruption');
        else {
          expect(JSON.stringify([again.producer(5), again.abortedIn(0, 1e9), again.lastStableOffset])).toBe(state);
        }
        again.close();
      }
    }
    expect(refused).toBeGreaterThan(20);
  });
});
