import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { killRounds } from './kill-rounds.ts';

it('the journal keeps what it acknowledged over kill -9: 4 rounds', { timeout: 120_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-journal-'));
  try {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const result = await killRounds({ folder, rounds: 4, seed, loadMsMax: 300, say: () => undefined });
    expect(result.problems, `seed ${seed}`).toEqual([]);
    expect(result.rounds).toBe(4);
    // A round that killed before anything was acknowledged says nothing.
    expect(result.answered).toBeGreaterThan(10);
    expect(result.recordsRead).toBeGreaterThan(10);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
