/**
 * Runs the suites and prints their times as ratios to the stored baseline: above 1 is slower than it was.
 *
 *   node native-free-bench/compare.ts [--only SUITE,SUITE]
 *
 * It judges nothing: whether 1.1 is noise is for the reader, who knows what else the machine was doing.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Baseline, describeMachine, findMissingTasks, readBaseline } from './baseline-store.ts';
import { findSuites, runSuite, type SuiteResult } from './suites.ts';
import { formatNs, formatTable } from './table.ts';

const folder = import.meta.dirname;

/** One row per task: baseline, now, ratio of the medians. */
function compareSuite(baseline: Baseline, result: SuiteResult): string[][] {
  const before = new Map(baseline.tasks.map((task) => [task.name, task]));
  return result.tasks.map((task) => {
    const old = before.get(task.name);
    if (old === undefined) return [task.name, 'new', formatNs(task.p50Ns), '-'];
    return [task.name, formatNs(old.p50Ns), formatNs(task.p50Ns), (task.p50Ns / old.p50Ns).toFixed(2)];
  });
}

async function compare(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options: { only: { type: 'string' } } });
  let compared = 0;
  for (const suite of findSuites(folder, values.only?.split(',') ?? [])) {
    const baseline = readBaseline(join(folder, 'baselines'), suite);
    if (baseline === undefined) {
      process.stderr.write(`compare: suite "${suite}" has no baseline; store one with run.ts --save --only ${suite}\n`);
      continue;
    }
    const result = await runSuite(folder, suite, { smoke: false });
    const head = [suite, 'baseline p50', 'now p50', 'ratio'];
    process.stdout.write(`\n${formatTable(head, compareSuite(baseline, result))}\n`);
    warnOfDifferences(baseline, result);
    compared++;
  }
  if (compared === 0) throw new Error('Cannot compare: no suite has a baseline');
}

function warnOfDifferences(baseline: Baseline, result: SuiteResult): void {
  const here = describeMachine();
  if (baseline.cpu !== here.cpu || baseline.node !== here.node) {
    process.stderr.write(
      `compare: the baseline is from ${baseline.cpu}, Node ${baseline.node}: ratios say little here\n`,
    );
  }
  for (const name of findMissingTasks(baseline, result)) process.stderr.write(`compare: task "${name}" is gone\n`);
}

try {
  await compare(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`compare: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
