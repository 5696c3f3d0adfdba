// A few rounds of each scenario, and planted bugs that they must find.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { testSeed } from '../support/seed.ts';
import { killRounds } from './kill-rounds.ts';
import { type Plant, plants } from './planted-store.ts';
import { powerRounds } from './power-rounds.ts';

const say = (): undefined => undefined;

it('what was answered holds over kill -9, in the journal and in all services: 4 rounds', {
  timeout: 120_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-journal-'));
  try {
    const data = join(folder, 'data');
    const result = await killRounds({
      folder: data,
      cacheFolder: join(folder, 'modules'),
      rounds: 4,
      seed: testSeed,
      loadMsMax: 300,
      say,
    });
    expect(result.problems, `seed ${testSeed}`).toEqual([]);
    expect(result.rounds).toBe(4);
    // A round that killed before anything was acknowledged says nothing.
    const { producers, transactions, delayed, queues, half } = result.services;
    expect(producers['answered']).toBeGreaterThan(0);
    expect(transactions['committed']).toBeGreaterThan(0);
    expect(delayed['written']).toBeGreaterThan(0);
    expect(queues['confirmed']).toBeGreaterThan(0);
    expect(half['committed']).toBeGreaterThan(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('what was answered holds when the power goes: 2 rounds', { timeout: 120_000 }, async () => {
  const result = await powerRounds({ seed: testSeed, rounds: 2, crashes: 5, say });
  expect(result.problems).toEqual([]);
  expect(result.crashes).toBe(10);
});

it.each(Object.entries(plants))('a service is found out: %s', { timeout: 120_000 }, async (plant, service) => {
  const given = { seed: 12, rounds: 40, crashes: 6, services: [service], plant: plant as Plant, say };
  const { problems } = await powerRounds(given);
  expect(problems.length).toBeGreaterThan(0);
});
