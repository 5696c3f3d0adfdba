/** Stored results of earlier runs, one JSON file per suite, to compare with. Called by `run.ts` and `compare.ts`. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { SuiteResult } from './suites.ts';

export interface Baseline extends SuiteResult {
  /** Where it was taken: ratios across machines say little. */
  readonly node: string;
  readonly cpu: string;
}

/** The baseline of `suite`, or undefined when none was stored. */
export function readBaseline(folder: string, suite: string): Baseline | undefined {
  const path = join(folder, `${suite}.json`);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Baseline) : undefined;
}

export function writeBaseline(folder: string, result: SuiteResult): void {
  mkdirSync(folder, { recursive: true });
  const baseline: Baseline = { ...result, ...describeMachine() };
  writeFileSync(join(folder, `${result.suite}.json`), `${JSON.stringify(baseline, undefined, 2)}\n`);
}

/**
 * Tasks of the baseline that `result` lacks: a benchmark that vanished would otherwise never be missed.
 * Numbers in names do not count when `ignoresNumbers`, since smoke runs use smaller sizes.
 */
export function findMissingTasks(baseline: Baseline, result: SuiteResult, ignoresNumbers = false): string[] {
  const shapeOf = (name: string): string => (ignoresNumbers ? name.replace(/\d+/g, '#') : name);
  const present = result.tasks.map((task) => shapeOf(task.name));
  return baseline.tasks
    .map((task) => task.name)
    .filter((name) => {
      const index = present.indexOf(shapeOf(name));
      // Each task answers for one only: several may differ by a number alone.
      if (index >= 0) present.splice(index, 1);
      return index < 0;
    });
}

export function describeMachine(): { node: string; cpu: string } {
  return { node: process.version, cpu: `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}` };
}
