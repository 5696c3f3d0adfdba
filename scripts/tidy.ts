// The house rules that no other tool checks, as one pass over the tracked files: `npm run tidy`. The rules are pure
// functions of a file's path and text, or of the whole tree; test/unit/house/tidy.test.ts plants a violation of each.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

export interface TidyFile {
  /** Path in the repository, with slashes. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Undefined for a binary file. */
  readonly text: string | undefined;
}

type FileRule = (file: TidyFile & { readonly text: string }) => string[];
type TreeRule = (files: readonly TidyFile[]) => string[];

/** Lock files are as large as they are; nobody reads them. */
const lockFile = 'package-lock.json';
const fileBytesMax = 200 * 1024;
/** These two quote what they look for. */
const quotingFiles = new Set(['scripts/tidy.ts', 'test/unit/house/tidy.test.ts']);

const neutralFolders = /^src\/(std|shm|core|journal|workers|main)\//;
const protocolNames = /mqtt|kafka|amqp|rocketmq|sqs|zookeeper/i;
const machinePaths = /(^|[^\w.:/-])\/(work|root|tmp\/brief)\//;
/** An import statement reads every export of a module of Node's, and some exports of these load what costs 2 to 25 ms in each thread. */
const costlyImports = /^import (?!type\b).*'node:(http|https|process)'/;
const unrunTests = /\b(it|test|describe|suite|bench)\b[\w.]*\.(only|skip|todo)\b/;

/** Reports each line of the file for which `isWrong` holds. */
function eachLine(
  file: TidyFile & { readonly text: string },
  isWrong: (line: string) => boolean,
  what: string,
): string[] {
  return file.text.split('\n').flatMap((line, i) => (isWrong(line) ? [`${file.path}:${i + 1}: ${what}`] : []));
}

function stripFences(text: string): string {
  return text.replace(/^(```|~~~)[\s\S]*?^\1/gm, (block) => block.replace(/[^\n]/g, ''));
}

const fileRules: ReadonlyMap<string, FileRule> = new Map<string, FileRule>([
  [
    'no protocol name in the neutral folders',
    (file) =>
      neutralFolders.test(file.path)
        ? eachLine(file, (line) => protocolNames.test(line), 'names a protocol; this folder serves all of them')
        : [],
  ],
  ['no FIXME', (file) => eachLine(file, (line) => /\bFIXME\b/.test(line), 'FIXME does not merge')],
  [
    'TODO with an issue',
    (file) =>
      eachLine(file, (line) => /\bTODO\b/.test(line.replace(/@TODO\(#\d+\)/g, '')), 'write @TODO(#issue) instead'),
  ],
  [
    'one title per Markdown file',
    (file) => {
      if (!file.path.endsWith('.md')) return [];
      const titles = stripFences(file.text).match(/^# /gm)?.length ?? 0;
      return titles === 1 ? [] : [`${file.path}: has ${titles} titles (# …) instead of one`];
    },
  ],
  [
    'no test left out',
    (file) =>
      file.path.startsWith('test/') ? eachLine(file, (line) => unrunTests.test(line), 'leaves tests out') : [],
  ],
  [
    'a source file says what it is for',
    (file) =>
      /^src\/.*\.ts$/.test(file.path) && !/^(#!.*\n)?\s*(\/\/|\/\*)/.test(file.text)
        ? [`${file.path}:1: begins without a comment that says what it is for, on which thread it lives, who calls it`]
        : [],
  ],
  [
    'no import that slows every start',
    (file) =>
      file.path.startsWith('src/')
        ? eachLine(
            file,
            (line) => costlyImports.test(line),
            'loads what nobody asked for: use process, getBuiltinModule()',
          )
        : [],
  ],
  [
    'no path of one machine',
    (file) => eachLine(file, (line) => machinePaths.test(line), 'names a folder that exists on one machine only'),
  ],
]);

const treeRules: ReadonlyMap<string, TreeRule> = new Map<string, TreeRule>([
  ['something to check', (files) => (files.length === 0 ? ['no file was checked'] : [])],
  [
    'no stray large file',
    (files) =>
      files
        .filter(({ path, sizeBytes }) => path !== lockFile && sizeBytes > fileBytesMax)
        .map(({ path, sizeBytes }) => `${path}: has ${sizeBytes} bytes, more than ${fileBytesMax}`),
  ],
  ['links of documents lead somewhere', findBrokenLinks],
  ['folders against registry', (files) => findRegistryGaps(files, 'src/protocols')],
]);

function findBrokenLinks(files: readonly TidyFile[]): string[] {
  const known = new Set<string>();
  for (const { path } of files) {
    for (let each = path; each !== '.'; each = posix.dirname(each)) known.add(each);
  }
  return files
    .filter((file): file is TidyFile & { text: string } => file.path.endsWith('.md') && file.text !== undefined)
    .flatMap(({ path, text }) =>
      [...stripFences(text).matchAll(/\]\(([^)#:\s]+)(#[^)]*)?\)/g)]
        .map((match) => match[1] ?? '')
        .filter((target) => !known.has(posix.join(posix.dirname(path), target).replace(/\/$/, '')))
        .map((target) => `${path}: links to ${target}, which does not exist`),
    );
}

/** A part that nobody registered is never used, and a registry line without a folder does not load. */
function findRegistryGaps(files: readonly TidyFile[], folder: string): string[] {
  const registry = files.find(({ path }) => path === `${folder}/registry.ts`);
  const present = new Set(
    files.filter(({ path }) => path.startsWith(`${folder}/`)).map(({ path }) => path.slice(folder.length + 1)),
  );
  const folders = new Set([...present].filter((path) => path.includes('/')).map((path) => path.split('/', 1)[0] ?? ''));
  const lines = registry?.text?.matchAll(/from '\.\/([^/']+)\/index\.ts'/g) ?? [];
  const registered = new Set([...lines].map((match) => match[1] ?? ''));
  return [
    ...[...folders].filter((each) => !registered.has(each)).map((each) => `${folder}/${each}: is not in registry.ts`),
    ...[...registered]
      .filter((each) => !folders.has(each))
      .map((each) => `${folder}/registry.ts: names ${each}, which has no folder`),
  ];
}

/** All problems of a tree, one line each, in the order of rules and files. */
export function findProblems(files: readonly TidyFile[]): string[] {
  const problems: string[] = [];
  for (const rule of treeRules.values()) problems.push(...rule(files));
  for (const file of files) {
    if (file.text === undefined || file.path === lockFile || quotingFiles.has(file.path)) continue;
    for (const rule of fileRules.values()) problems.push(...rule({ ...file, text: file.text }));
  }
  return problems;
}

/** The tracked files and those that git would track, as they are on disk. */
export function readTree(root: string): TidyFile[] {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root });
  const paths = [...new Set(list.toString('utf8').split('\0').filter(Boolean))];
  return paths.flatMap((path) => {
    try {
      const content = readFileSync(join(root, path));
      return [{ path, sizeBytes: content.length, text: content.includes(0) ? undefined : content.toString('utf8') }];
    } catch (error) {
      // Deleted but not yet committed.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  });
}

if (import.meta.main) {
  const files = readTree(join(import.meta.dirname, '..'));
  const problems = findProblems(files);
  for (const problem of problems) console.error(problem);
  console.log(`tidy: ${files.length} files checked, ${problems.length} problems`);
  if (problems.length > 0) process.exitCode = 1;
}
