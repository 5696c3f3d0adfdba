/**
 * The journal over crashes, as many as asked for:
 *
 *   node test/journal/run.ts [--scenario kill|power] [--rounds N] [--seed 1] [--load-ms 400] [--folder DIR]
 *
 * `kill`: kill -9 of a process that holds the journal on real files, at a random moment under load (default 500 rounds). `power`: the
 * journal on a simulated disk that loses what was not synced, tears writes at any byte and reorders between files (default 200
 * rounds of 12 crashes each). Status 0: everything held; 1: something did not.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { crashRun, newCounts } from '../unit/journal/crash-run.ts';
import { killRounds } from './kill-rounds.ts';

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: 'kill' },
    rounds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    'load-ms': { type: 'string', default: '400' },
    folder: { type: 'string', default: tmpdir() },
  },
});

function toNumber(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`Cannot use ${flag} "${text}": expected a whole number`);
  return value;
}

const seed = toNumber('--seed', values.seed);

async function kill(): Promise<string[]> {
  const rounds = toNumber('--rounds', values.rounds ?? '500');
  const folder = mkdtempSync(join(values.folder, 'ringmq-journal-'));
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const result = await killRounds({ folder, rounds, seed, loadMsMax: toNumber('--load-ms', values['load-ms']), say });
  const { problems, ...counts } = result;
  process.stdout.write(`kill, seed ${seed}: ${JSON.stringify(counts)}\n`);
  if (problems.length === 0) rmSync(folder, { recursive: true });
  else process.stdout.write(`the data folder is left: ${folder}\n`);
  return problems;
}

function power(): string[] {
  const rounds = toNumber('--rounds', values.rounds ?? '200');
  const counts = newCounts();
  const problems: string[] = [];
  for (let round = 0; round < rounds; round += 1) {
    try {
      crashRun({ seed: seed + round, crashes: 12, callsMax: 700 }, counts);
    } catch (error) {
      problems.push(`seed ${seed + round}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  process.stdout.write(`power, seeds ${seed} to ${seed + rounds - 1}: ${JSON.stringify(counts)}\n`);
  return problems;
}

const scenarios = new Map<string, () => string[] | Promise<string[]>>([
  ['kill', kill],
  ['power', power],
]);
const scenario = scenarios.get(values.scenario);
if (scenario === undefined) {
  throw new Error(`Cannot run "${values.scenario}": expected ${[...scenarios.keys()].join(' or ')}`);
}
const problems = await scenario();
process.stdout.write(problems.length === 0 ? 'everything held\n' : `${problems.length} PROBLEMS\n`);
for (const problem of problems.slice(0, 20)) process.stdout.write(`- ${problem}\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
