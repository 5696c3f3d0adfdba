import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findMissingTasks, readBaseline, writeBaseline } from '../../../native-free-bench/baseline-store.ts';
import { findSuites, runSuite, type TaskResult } from '../../../native-free-bench/suites.ts';

const root = join(import.meta.dirname, '..', '..', '..');
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-suites-'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function writeSuite(name: string, body: string): void {
  const lines = [
    `import { Bench } from 'tinybench';`,
    'export default async function suite() {',
    'const bench = new Bench({ time: 1, iterations: 2, warmup: false });',
    body,
    'return bench;',
    '}',
  ];
  writeFileSync(join(folder, `${name}.bench.ts`), lines.join('\n'));
}

function task(name: string): TaskResult {
  return { name, p50Ns: 1, meanNs: 1, p99Ns: 1, samples: 1 };
}

describe('findSuites()', () => {
  test('findSuites() lists what is there and picks what is asked for', () => {
    writeSuite('b', '');
    writeSuite('a', '');
    expect(findSuites(folder)).toEqual(['a', 'b']);
    expect(findSuites(folder, ['b'])).toEqual(['b']);
  });

  test('findSuites() throws when it sees none, or not the one asked for', () => {
    expect(() => findSuites(folder)).toThrow('Cannot run benchmarks');
    writeSuite('a', '');
    expect(() => findSuites(folder, ['c'])).toThrow('there are a');
  });
});

describe('runSuite()', () => {
  test('runSuite() gives the times of each task', async () => {
    writeSuite('good', `bench.add('one', () => {}); bench.add('two', () => {});`);
    const result = await runSuite(folder, 'good', { smoke: true });
    expect(result.tasks.map((one) => one.name)).toEqual(['one', 'two']);
    for (const one of result.tasks) expect(one.samples).toBeGreaterThan(0);
  });

  test('runSuite() throws when a task throws', async () => {
    writeSuite('bad', `bench.add('broken', () => { throw new Error('it broke'); });`);
    await expect(runSuite(folder, 'bad', { smoke: true })).rejects.toThrow('it broke');
  });

  test('runSuite() throws when a suite has no task or no function', async () => {
    writeSuite('empty', '');
    await expect(runSuite(folder, 'empty', { smoke: true })).rejects.toThrow('no task');
    writeFileSync(join(folder, 'none.bench.ts'), 'export const nothing = 1;');
    await expect(runSuite(folder, 'none', { smoke: true })).rejects.toThrow('no function');
  });
});

describe('baselines', () => {
  test('readBaseline() gives back what writeBaseline() stored', () => {
    const result = { suite: 'ring', tasks: [task('one')] };
    writeBaseline(folder, result);
    expect(readBaseline(folder, 'ring')).toMatchObject({ ...result, node: process.version });
    expect(readBaseline(folder, 'other')).toBeUndefined();
  });

  test('findMissingTasks() names tasks that are gone, sizes aside when told so', () => {
    const baseline = { suite: 's', node: '', cpu: '', tasks: [task('match 1000'), task('match 2000'), task('add')] };
    const now = { suite: 's', tasks: [task('match 1000'), task('other')] };
    expect(findMissingTasks(baseline, now)).toEqual(['match 2000', 'add']);
    const small = { suite: 's', tasks: [task('match 10'), task('add')] };
    expect(findMissingTasks(baseline, small, true)).toEqual(['match 2000']);
  });
});

describe('run.ts', () => {
  test('run.ts ends with 1 for a suite that is not there', () => {
    const script = join(root, 'native-free-bench', 'run.ts');
    const run = spawnSync(process.execPath, [script, '--smoke', '--only', 'no-such-suite'], { encoding: 'utf8' });
    expect(run.status).toBe(1);
    expect(run.stderr).toContain('Cannot run suite "no-such-suite"');
  });
});
