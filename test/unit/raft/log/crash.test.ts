import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CorruptionError } from '../../../../src/raft/log/log-errors.ts';
import { Random } from '../../../fuzz/random.ts';
import type { SimulatedDisk } from '../../../support/simulated-disk.ts';
import { type CrashRunOptions, crashRun, newCounts } from './crash-run.ts';
import { contentOf, entriesOf, entry, hardStateOf, LogFixture, positionOf } from './log-fixture.ts';

const someRun = fc.record({
  seed: fc.integer(),
  crashes: fc.integer({ min: 2, max: 6 }),
  callsMax: fc.constantFrom(30, 150, 600),
});

/** A log with several segments that came to rest, durable with its mark when `isClosed`. */
function restingLog(seed: number, isClosed: boolean): LogFixture {
  const fixture = new LogFixture(seed);
  const log = fixture.open();
  fixture.append(log, [entry(1)], hardStateOf(3, 1));
  fixture.fill(log, 2, 150);
  log.compact(positionOf(100));
  fixture.settle();
  fixture.append(log, entriesOf(140, 170, 4, 120), hardStateOf(4, 100));
  fixture.settle();
  if (isClosed) log.close();
  fixture.disk.crash('drop');
  return fixture;
}

function openedContent(fixture: LogFixture, disk: SimulatedDisk): string {
  return JSON.stringify(contentOf(fixture.open({}, disk)));
}

describe('a log whose power goes at any call to the disk', () => {
  it('is what it was after one of its calls, not before the last acknowledged one', () => {
    const counts = newCounts();
    fc.assert(
      fc.property(someRun, (run) => crashRun(run, counts)),
      { numRuns: 400, interruptAfterTimeLimit: 8000 },
    );
    // The run saw what it is for.
    expect(counts.tornTails).toBeGreaterThan(10);
    expect(counts.cutsInRecovery).toBeGreaterThan(10);
    expect(counts.segments).toBeGreaterThan(4);
    expect(counts.compactions).toBeGreaterThan(10);
    expect(counts.resets).toBeGreaterThan(10);
    expect(counts.unacknowledgedKept).toBeGreaterThan(10);
  });

  it('is found to lose what was acknowledged when syncs are skipped', () => {
    const runs: CrashRunOptions[] = Array.from({ length: 100 }, (_, seed) => {
      return { seed, crashes: 4, callsMax: 150, skipsSyncs: true };
    });
    const found = runs.filter((run) => {
      try {
        crashRun(run, newCounts());
        return false;
      } catch {
        return true;
      }
    });
    expect(found.length).toBeGreaterThan(50);
  });
});

describe('a log with a damaged byte or sector', () => {
  it('is refused, or is what it was, never less', () => {
    const fixture = restingLog(1, true);
    const { disk } = fixture;
    const sound = openedContent(fixture, disk.clone({ seed: 1, schedule: () => {} }));
    const names = disk.list().filter((name) => name.endsWith('.log'));
    const outcomes = { refused: 0, unharmed: 0 };
    const damage = fc.record({ seed: fc.integer(), isSector: fc.boolean() });
    fc.assert(
      fc.property(damage, ({ seed, isSector }) => {
        const random = new Random(seed);
        const copy = disk.clone({ seed, schedule: () => {} });
        const name = random.pick(names);
        const size = copy.content(name).length;
        if (isSector) copy.overwrite(name, Buffer.alloc(512), 512 * random.below(size / 512));
        else copy.flipBit(name, random.below(8 * size));
        try {
          const found = openedContent(fixture, copy);
          outcomes.unharmed += 1;
          expect(found).toBe(sound);
        } catch (error) {
          if (!(error instanceof CorruptionError)) throw error;
          expect(names).toContain(error.file);
          outcomes.refused += 1;
        }
      }),
      { numRuns: 1000, interruptAfterTimeLimit: 5000 },
    );
    expect(outcomes.refused).toBeGreaterThan(100);
    expect(outcomes.unharmed).toBeGreaterThan(20);
  });

  it('loses no more than the very last batch while its mark is not on the disk', () => {
    const fixture = restingLog(1, false);
    const { disk } = fixture;
    const before = JSON.parse(openedContent(fixture, disk.clone({ seed: 1, schedule: () => {} }))) as {
      lastIndex: number;
    };
    const name = disk.list().findLast((item) => item.endsWith('.log')) ?? '';
    const size = disk.content(name).length;
    const random = new Random(7);
    const lengths = new Set<number>();
    for (let round = 0; round < 500; round += 1) {
      const copy = disk.clone({ seed: round, schedule: () => {} });
      copy.flipBit(name, random.below(8 * size));
      try {
        lengths.add((JSON.parse(openedContent(fixture, copy)) as { lastIndex: number }).lastIndex);
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
      }
    }
    // 170 with the last batch, which overwrote from 140 on; 150 without.
    expect(before.lastIndex).toBe(170);
    expect([...lengths].every((length) => length === 170 || length === 150)).toBe(true);
  });
});
