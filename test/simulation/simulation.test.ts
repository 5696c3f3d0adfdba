import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { drawProfile, faultKinds, noLimits } from './profile.ts';
import { describeFailure, Totals } from './report.ts';
import { type RunReport, simulate } from './world.ts';

const steps = 2000;

function run(seed: number): RunReport {
  return simulate({ seed, steps });
}

describe('simulate()', () => {
  it('simulate() keeps every promise under the faults of a slice of seeds', () => {
    const totals = new Totals();
    for (let seed = 1; seed <= 16; seed++) {
      const report = run(seed);
      if (report.violation !== null) throw new Error(describeFailure(report), { cause: report.violation });
      totals.add(report);
    }
    // A slice in which little happened would prove little.
    for (const what of [
      'writes',
      'reads',
      'elections',
      'entries',
      'events watched',
      'messages lost',
      'kill',
      'power-loss',
      'partition',
      'grow',
    ]) {
      expect(totals.runsWith.get(what) ?? 0, what).toBeGreaterThan(1);
    }
  });

  it('simulate() does the same again with the same seed, and something else with another', () => {
    const [first, again, other] = [run(17), run(17), run(18)];
    expect(again.digest).toBe(first.digest);
    expect(again.events).toBe(first.events);
    expect(again.clients).toEqual(first.clients);
    expect(other.digest).not.toBe(first.digest);
  });

  it('simulate() fails a run in which nothing happened', () => {
    const report = simulate({ seed: 3, steps: 1, limits: { ...noLimits, disabled: faultKinds } });
    expect(report.violation?.invariant).toBe('nothing-happened');
  });
});

describe('drawProfile()', () => {
  it('drawProfile() draws each fault in some seeds and leaves it out in others', () => {
    const counts = new Map(faultKinds.map((kind) => [kind, 0]));
    for (let seed = 0; seed < 100; seed++) {
      const { faults } = drawProfile(seed);
      for (const kind of faultKinds) if (faults[kind] > 0) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    }
    for (const [kind, count] of counts) {
      expect(count, kind).toBeGreaterThan(10);
      expect(count, kind).toBeLessThan(90);
    }
  });

  it('drawProfile() changes nothing else when a fault is left out', () => {
    const whole = drawProfile(5);
    const less = drawProfile(5, { ...noLimits, disabled: ['kill'] });
    expect(less).toEqual({ ...whole, faults: { ...whole.faults, kill: 0 } });
  });
});

describe('npm run sim', () => {
  const command = async (...args: string[]): Promise<string> => {
    const program = new URL('./run.ts', import.meta.url).pathname;
    const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
    return stdout;
  };

  it('npm run sim finds planted bugs of each kind, and says how many seeds it took', async () => {
    for (const canary of ['vote-not-stored', 'election-restriction-removed']) {
      expect(await command('--seed', '1', '--canary', canary)).toMatch(new RegExp(`^found {2}${canary} with \\d+ of`));
    }
  });

  it('npm run sim prints the digest of the trace', async () => {
    expect(await command('--seed', '17', '--steps', '2000')).toContain(`trace digest ${run(17).digest}`);
  });
});
