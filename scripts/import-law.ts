// Checks the import law (.dependency-cruiser.mjs) on this repository: `npm run law`. Fails on a violation, and when any
// source file was not read: a checker that saw nothing must not pass. The canary test uses `cruise` on a planted tree.
import { spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { join } from 'node:path';

const repository = join(import.meta.dirname, '..');

export interface Violation {
  readonly rule: string;
  readonly from: string;
  readonly to: string;
}

export interface LawReport {
  readonly filesRead: number;
  /** Source files on disk that dependency-cruiser did not read; any of them makes the run worthless. */
  readonly unread: readonly string[];
  readonly violations: readonly Violation[];
}

interface CruiseResult {
  readonly modules: readonly { readonly source: string }[];
  readonly summary: {
    readonly totalCruised: number;
    readonly violations: readonly {
      readonly rule: { readonly name: string };
      readonly from: string;
      readonly to: string;
    }[];
  };
}

/** Runs dependency-cruiser's program in `root` over the folders of it that exist. Throws when it cannot run. */
export function cruise(root: string): LawReport {
  const folders = ['src', 'test', 'native-free-bench', 'scripts', 'bin'].filter((each) => existsSync(join(root, each)));
  const program = join(repository, 'node_modules/.bin/depcruise');
  const args = [program, ...folders, '--config', join(repository, '.dependency-cruiser.mjs'), '-T', 'json'];
  const { stdout, stderr, error } = spawnSync(process.execPath, args, {
    cwd: root,
    maxBuffer: 1 << 28,
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  // Its exit status is the number of violations; without a report it is a failure of its own.
  if (!stdout.startsWith('{')) throw new Error(`Cannot run dependency-cruiser: ${stdout}${stderr}`);
  const result: CruiseResult = JSON.parse(stdout);
  const read = new Set(result.modules.map(({ source }) => source));
  const files = globSync(`{${folders.join(',')}}/**/*.{ts,js,mjs}`, { cwd: root });
  const unread = result.summary.totalCruised === 0 ? files : files.filter((file) => !read.has(file));
  const violations = result.summary.violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to }));
  return { filesRead: files.length - unread.length, unread, violations };
}

/** What is wrong with `report`, one line each; empty when the law holds. */
export function describeProblems({ filesRead, unread, violations }: LawReport): string[] {
  const problems = violations.map(({ rule, from, to }) => `${from}: must not import ${to} (${rule})`);
  if (filesRead === 0) problems.push('no file was read at all (is @swc/core installed?)');
  else problems.push(...unread.map((file) => `${file}: was not read`));
  return problems;
}

if (import.meta.main) {
  const report = cruise(repository);
  const problems = describeProblems(report);
  for (const problem of problems) console.error(problem);
  console.log(`import law: ${report.filesRead} files read, ${problems.length} problems`);
  if (problems.length > 0) process.exitCode = 1;
}
