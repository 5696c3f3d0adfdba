import { describe, expect, it } from 'vitest';
import { crashRun, newCounts } from './crash-run.ts';
import { defects } from './cut-folders.ts';

/** Set it to look at one seed, or for a longer run: STORAGE_SEEDS=1000. */
const seeds = Number(process.env['STORAGE_SEEDS'] ?? 60);
const firstSeed = Number(process.env['STORAGE_SEED'] ?? 1);

describe('the journal over crashes', () => {
  it(`keeps what it answered and invents nothing: ${seeds} seeds`, { timeout: 3_600_000 }, () => {
    const counts = newCounts();
    for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
      try {
        crashRun({ seed, crashes: 12, callsMax: 700 }, counts);
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
    if (process.env['STORAGE_SEEDS'] !== undefined) console.log(counts);
    for (const [what, count] of Object.entries(counts)) expect(count, what).toBeGreaterThan(0);
  });

  it.each(defects)('a journal that %s is found out', { timeout: 3_600_000 }, (defect) => {
    let found = 0;
    let message = '';
    for (let seed = 1; seed <= 300 && found === 0; seed += 1) {
      try {
        crashRun({ seed, crashes: 12, callsMax: 700, defect }, newCounts());
      } catch (error) {
        found = seed;
        message = String(error);
      }
    }
    if (process.env['STORAGE_SEEDS'] !== undefined) console.log(`${defect}: seed ${found}: ${message}`);
    expect(found).toBeGreaterThan(0);
  });
});
