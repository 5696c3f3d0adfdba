import { describe, expect, it } from 'vitest';
import { readBatchHeader } from '../../../src/core/batch/batch-format.ts';
import { buildControlBatch } from '../../../src/core/batch/control-batch.ts';
import { StorageError } from '../../../src/core/streams/storage-error.ts';
import { type Dumped, dumpPartition } from '../../../src/journal/offline/dump.ts';
import { OfflinePartition } from '../../../src/journal/offline/offline-partition.ts';
import { type JournalProblem, verifyPartition } from '../../../src/journal/offline/verify.ts';
import type { PartitionLog } from '../../../src/journal/partition-log.ts';
import { Random } from '../../fuzz/random.ts';
import type { SimulatedDisk } from '../../support/simulated-disk.ts';
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

/** All files of the folder as a crash leaves them. */
function settle(fixture: LogFixture): void {
  for (const name of fixture.disk.list()) {
    const file = fixture.disk.open(name, { create: false });
    file.syncNow();
    file.close();
  }
}

interface Place {
  readonly position: number;
  readonly end: number;
  readonly offset: number;
}

/** Where each batch of each segment lies, by the name of the file. */
function placesOf(fixture: LogFixture): Map<string, Place[]> {
  const partition = new OfflinePartition('p', fixture.disk);
  const places = new Map<string, Place[]>();
  for (const each of partition.segments) {
    const found: Place[] = [];
    partition.scan(each, (bytes, size, position) => {
      found.push({ position, end: position + size, offset: readBatchHeader(bytes).baseOffset });
      return false;
    });
    places.set(each.segment.name, found);
  }
  return places;
}

function verify(disk: SimulatedDisk): JournalProblem[] {
  const problems: JournalProblem[] = [];
  verifyPartition(new OfflinePartition('p', disk), (problem) => problems.push(problem));
  return problems;
}

describe('verifyPartition()', () => {
  it.each([
    ['after a clean shutdown', true],
    ['after a crash', false],
  ])('names the place of each flipped bit, %s', (_, isClean) => {
    const kinds = new Map<string, number>();
    for (let seed = 1; seed <= 2; seed += 1) {
      const { fixture, log } = build(seed);
      if (isClean) log.close();
      else log.rest();
      settle(fixture);
      expect(verify(fixture.disk)).toEqual([]);
      const places = placesOf(fixture);
      const random = new Random(seed);
      for (let flip = 0; flip < 150; flip += 1) {
        const disk = fixture.disk.clone({ seed: flip, schedule: () => undefined });
        const name = random.pick(disk.list());
        const { length } = disk.content(name);
        const batches = places.get(name) ?? [];
        // Half of them in the fields in front of a batch, which no or another check covers than its records.
        const batch = batches.length > 0 && random.oneIn(2) ? random.pick(batches) : null;
        const at = batch === null ? random.below(length) : batch.position + random.below(61);
        disk.flipBit(name, at * 8 + random.below(8));
        const problems = verify(disk).filter(({ file }) => file === name);
        expect(problems.length, `byte ${at} of ${name}, seed ${seed}`).toBeGreaterThan(0);
        const hit = batches.find(({ position, end }) => position <= at && at < end);
        kinds.set(hit === undefined ? name.replace(/\d+/, '') : 'batch', 1);
        if (hit === undefined) continue;
        const lost = problems.find(({ firstOffset }) => firstOffset === hit.offset);
        expect(lost, `byte ${at} of ${name}, seed ${seed}`).toMatchObject({
          severity: 'damage',
          position: hit.position,
        });
        expect(lost?.nextOffset).toBeGreaterThan(hit.offset);
      }
    }
    const expected = isClean
      ? ['.index', '.log', '.producers', 'batch', 'checkpoint']
      : ['.log', '.producers', 'batch', 'checkpoint'];
    expect([...kinds.keys()]).toEqual(expect.arrayContaining(expected));
  });

  it('names a segment that is missing, and what a crash left', () => {
    const { fixture, log } = build(3);
    log.close();
    settle(fixture);
    const { disk } = fixture;
    const segments = disk.list().filter((name) => name.endsWith('.log'));
    disk.remove(segments[1]);
    disk.open('00000000000000000007.log.new', { create: true }).close();
    const first = Number(segments[1].slice(0, 20));
    const next = Number(segments[2].slice(0, 20));
    expect(verify(disk)).toMatchObject([
      { severity: 'damage', file: segments[0], firstOffset: first, nextOffset: next },
      { severity: 'note', file: '00000000000000000007.log.new' },
      { severity: 'note', file: segments[1].replace('.log', '.index') },
    ]);
  });
});

describe('dumpPartition()', () => {
  it('shows all records in order, and damage in its place', () => {
    const { fixture, log } = build(4);
    const expected = readAll(log);
    log.close();
    settle(fixture);
    // Not an empty one, that compaction left.
    const isFull = ({ position, end }: Place): boolean => end - position > 80;
    const [name, batches] = [...placesOf(fixture)].findLast(([, all]) => all.slice(0, -1).some(isFull)) ?? ['', []];
    const number = batches.findIndex(isFull);
    const { position, offset: first } = batches[number];
    const next = batches[number + 1].offset;
    fixture.disk.flipBit(name, (position + 70) * 8);
    const shown: string[] = [];
    const take = (item: Dumped): boolean => {
      if (item.type === 'record') shown.push(`${item.offset}:${item.value?.toString() ?? ''}`);
      if (item.type === 'damage') shown.push(`damaged ${item.firstOffset} to ${item.nextOffset - 1}`);
      return true;
    };
    dumpPartition(new OfflinePartition('p', fixture.disk), 3, take);
    const left = expected.flatMap((record, offset) => {
      if (offset === first) return [`damaged ${first} to ${next - 1}`];
      return offset < 3 || record === 'compacted' || (first < offset && offset < next) ? [] : [record];
    });
    expect(shown).toEqual(left);
    shown.length = 0;
    dumpPartition(new OfflinePartition('p', fixture.disk), 3, (item) => take(item) && shown.length < 5);
    expect(shown.length).toBe(5);
  });
});

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
      settle(fixture);
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
