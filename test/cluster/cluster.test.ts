/**
 * A few rounds of real faults on real processes, so that each change meets them. Hundreds of rounds, and the faults that
 * take root or minutes: `node test/cluster/run.ts --scenario … --rounds …`.
 */
import { describe, expect, test } from 'vitest';
import { testSeed } from '../support/seed.ts';
import { type RunResult, runRounds, type Scenario } from './rounds.ts';
import { kill } from './scenarios/kill.ts';
import { partition } from './scenarios/partition.ts';
import { pause } from './scenarios/pause.ts';

const LIMIT_MS = 120_000;

async function run(scenario: Scenario, rounds: number): Promise<RunResult> {
  const lines: string[] = [];
  const result = await runRounds(scenario, {
    rounds,
    seed: testSeed,
    secondsMax: 10,
    say: (line) => void lines.push(line),
  });
  expect(result.problems, `seed ${testSeed}\n${lines.join('\n')}`).toEqual([]);
  return result;
}

describe('a cluster of three processes', { timeout: LIMIT_MS }, () => {
  test('loses no acknowledged write and answers no stale read when nodes are killed', async () => {
    const result = await run(kill, 2);
    expect(result.uniqueWrites).toBeGreaterThan(0);
    expect(result.durations.get('new leader after kill -9')).toHaveLength(1);
  });

  test('answers no stale read when its leader stood still', async () => {
    expect((await run(pause, 1)).operations).toBeGreaterThan(0);
  });

  test('goes on without its leader when the network breaks', async () => {
    expect((await run(partition, 1)).operations).toBeGreaterThan(0);
  });
});
