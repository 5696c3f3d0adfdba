/**
 * `npm run bench`: runs the suites of this folder and prints their times.
 *
 *   node native-free-bench/run.ts [--smoke] [--save] [--only SUITE,SUITE]
 *
 * `--smoke` runs each task a few times and judges no time: it fails when a suite or a task is missing or throws.
 * `--save` stores the results as the baseline that `compare.ts` compares with.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findMissingTasks, readBaseline, writeBaseline } from './baseline-store.ts';
import { findSuites, runSuite } from './suites.ts';
import { formatNs, formatTable } from './table.ts';

const folder = import.meta.dirname;
const baselines = join(folder, 'baselines');

/** Runs what `argv` asks for; returns the problems found, none of which is about time. */
async function run(argv: readonly string[]): Promise<string[]> {
  const { values } = parseArgs({
    args: [...argv],
    options: { smoke: { type: 'boolean' }, save: { type: 'boolean' }, only: { type: 'string' } },
  });
  const smoke = values.smoke === true;
  if (smoke && values.save === true) throw new Error('Cannot save a baseline of a smoke run: its times mean nothing');
  const only = values.only?.split(',') ?? [];
  const suites = findSuites(folder, only);
  const problems = only.length === 0 ? findLostSuites(suites) : [];
  for (const suite of suites) {
    const result = await runSuite(folder, suite, { smoke });
    const rows = result.tasks.map((task) => [
      task.name,
      formatNs(task.p50Ns),
      formatNs(task.meanNs),
      formatNs(task.p99Ns),
      String(task.samples),
    ]);
    process.stdout.write(`\n${formatTable([suite, 'p50', 'mean', 'p99', 'samples'], rows)}\n`);
    const baseline = readBaseline(baselines, suite);
    if (values.save === true) writeBaseline(baselines, result);
    else if (baseline !== undefined) {
      for (const name of findMissingTasks(baseline, result, smoke))
        problems.push(`task "${name}" of suite "${suite}" is missing`);
    }
  }
  return problems;
}

/** Suites that have a baseline and no file any more. */
function findLostSuites(suites: readonly string[]): string[] {
  const stored = existsSync(baselines) ? readdirSync(baselines).filter((file) => file.endsWith('.json')) : [];
  return stored
    .map((file) => file.slice(0, -'.json'.length))
    .filter((suite) => !suites.includes(suite))
    .map((suite) => `suite "${suite}" is missing`);
}

try {
  const problems = await run(process.argv.slice(2));
  for (const problem of problems) process.stderr.write(`bench: ${problem}; if that is wanted, run with --save\n`);
  if (problems.length > 0) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`bench: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
