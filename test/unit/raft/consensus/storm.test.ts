import { describe, expect, it } from 'vitest';
import { Storm, type StormOptions } from '../../../support/consensus/storm.ts';

function options(seed: number, changes: Partial<StormOptions> = {}): StormOptions {
  const voters = [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5]][seed % 4]!;
  return {
    seed,
    voters,
    spares: [6, 7],
    steps: 4_000,
    lossRate: (seed % 5) * 0.03,
    duplicateRate: (seed % 3) * 0.05,
    canCrash: seed % 7 !== 0,
    core: { electionTicks: 3 + (seed % 6) },
    ...changes,
  };
}

/** Seeds that found a defect once, and one that shows each kind of group. */
const seeds = [3, 99, 231, 412, 626, ...Array.from({ length: 120 }, (_, i) => 1_000 + i)];

describe('Consensus in a storm', () => {
  it('run() does keep every promise of Raft, and agrees afterwards', () => {
    const sums = { elections: 0, crashes: 0, snapshots: 0, changesApplied: 0, readsAnswered: 0, entriesCommitted: 0 };
    for (const seed of seeds) {
      const storm = new Storm(options(seed, seed < 1_000 ? { steps: 12_000 } : {}));
      storm.run();
      for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += storm[name];
    }
    // It did see something.
    for (const [name, sum] of Object.entries(sums)) expect([name, sum > seeds.length / 4]).toEqual([name, true]);
  });

  it('run() does give the same run for the same seed', () => {
    const trace = () => {
      const storm = new Storm(options(7, { canCrash: true }));
      storm.run();
      return [storm.elections, storm.crashes, storm.snapshots, storm.readsAnswered, storm.entriesCommitted];
    };
    expect(trace()).toEqual(trace());
  });

  it('run() does find a disk that says durable and is not', () => {
    const failures = new Set<string>();
    for (let seed = 1; seed <= 40; seed++) {
      try {
        new Storm(options(seed * 4 + 2, { canCrash: true, disk: 'lies', steps: 8_000 })).run();
      } catch (error) {
        failures.add((error as Error).name);
      }
    }
    expect(failures.size).toBeGreaterThan(0);
  });
});
