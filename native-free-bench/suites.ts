/**
 * Finds and runs the benchmark suites of a folder: each `NAME.bench.ts` exports by default a function that makes a
 * configured tinybench `Bench`. Main thread of the benchmark's process; called by `run.ts` and `compare.ts`.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Bench } from 'tinybench';

/** What a `*.bench.ts` exports by default. In smoke mode its tasks run a few times only. */
export type Suite = (options: { smoke: boolean }) => Promise<Bench>;

/** Times of one task in nanoseconds per call. */
export interface TaskResult {
  readonly name: string;
  readonly p50Ns: number;
  readonly meanNs: number;
  readonly p99Ns: number;
  readonly samples: number;
}

export interface SuiteResult {
  readonly suite: string;
  readonly tasks: readonly TaskResult[];
}

const SUFFIX = '.bench.ts';

/** Names of the suites in `folder`, sorted; `only` picks some. Throws when none is left: seeing nothing is a failure. */
export function findSuites(folder: string, only: readonly string[] = []): string[] {
  const all = readdirSync(folder)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .sort();
  for (const name of only) {
    if (!all.includes(name)) throw new Error(`Cannot run suite "${name}": there are ${all.join(', ') || 'none'}`);
  }
  const found = only.length === 0 ? all : all.filter((name) => only.includes(name));
  if (found.length === 0) throw new Error(`Cannot run benchmarks: no *${SUFFIX} in "${folder}"`);
  return found;
}

/** Runs one suite to its end; throws when it has no task or when a task throws. */
export async function runSuite(folder: string, suite: string, options: { smoke: boolean }): Promise<SuiteResult> {
  const module: { default?: unknown } = await import(pathToFileURL(join(folder, suite + SUFFIX)).href);
  if (typeof module.default !== 'function')
    throw new Error(`Cannot run suite "${suite}": it exports no function by default`);
  const bench = await (module.default as Suite)(options);
  if (!(bench instanceof Bench)) throw new Error(`Cannot run suite "${suite}": its function gave no Bench`);
  if (bench.tasks.length === 0) throw new Error(`Cannot run suite "${suite}": it has no task`);
  await bench.run();
  return { suite, tasks: bench.tasks.map((task) => readTask(suite, task)) };
}

function readTask(suite: string, task: Bench['tasks'][number]): TaskResult {
  const { result } = task;
  if (result.state === 'errored') {
    throw new Error(`Cannot finish task "${task.name}" of suite "${suite}": ${result.error.message}`, {
      cause: result.error,
    });
  }
  if (result.state !== 'completed')
    throw new Error(`Cannot finish task "${task.name}" of suite "${suite}": ${result.state}`);
  const { p50, mean, p99, samplesCount } = result.latency;
  // tinybench counts in milliseconds.
  return { name: task.name, p50Ns: toNs(p50), meanNs: toNs(mean), p99Ns: toNs(p99), samples: samplesCount };
}

function toNs(ms: number): number {
  return Number((ms * 1e6).toFixed(1));
}
