// Checks the tables of normative statements in docs/protocols/mqtt.md: `node scripts/check-conformance.ts`. Every statement
// of the committed list has exactly one row; the files of a row exist, and each test that it names is in the file that it
// names. Says how many rows it saw; seeing none is a failure. The check is a pure function of text and a reader of files, so
// that test/unit/scripts/check-conformance.test.ts can plant faults.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { conformanceIds } from '../test/conformance/mqtt-ids.ts';

const document = 'docs/protocols/mqtt.md';
/** Who a statement binds. What binds clients alone has no code here, and no test. */
const kinds = new Set(['server', 'client', 'both']);

export interface ConformanceReport {
  readonly rowCount: number;
  readonly problems: readonly string[];
}

/**
 * @param text the document, with one table below a heading for each key of `ids`
 * @param read the text of a file of the repository, undefined when there is none
 */
export function checkConformance(
  text: string,
  ids: ReadonlyMap<string, readonly string[]>,
  read: (path: string) => string | undefined,
): ConformanceReport {
  const problems: string[] = [];
  let rowCount = 0;
  for (const [title, expected] of ids) {
    const rows = rowsBelow(text, title);
    rowCount += rows.length;
    const seen = new Set<string>();
    for (const cells of rows) {
      const id = cells[0] ?? '';
      const where = `${title} [${id}]`;
      if (seen.has(id)) problems.push(`${where}: there are two rows`);
      seen.add(id);
      if (!expected.includes(id)) problems.push(`${where}: there is no such statement`);
      problems.push(...problemsOf(cells, read).map((problem) => `${where}: ${problem}`));
    }
    for (const id of expected) if (!seen.has(id)) problems.push(`${title} [${id}]: there is no row`);
  }
  if (rowCount === 0) problems.push('no row was seen');
  return { rowCount, problems };
}

/** The cells of the table's rows between the heading `title` and the next heading. */
function rowsBelow(text: string, title: string): string[][] {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === title);
  if (start < 0) return [];
  const end = lines.findIndex((line, at) => at > start && /^#+ /.test(line));
  return lines
    .slice(start + 1, end < 0 ? undefined : end)
    .filter((line) => /^\| \d/.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

function problemsOf(cells: readonly string[], read: (path: string) => string | undefined): string[] {
  const [, kind = '', what = '', source = '', test = ''] = cells;
  if (cells.length !== 5) return [`the row has ${cells.length} cells, not 5`];
  if (!kinds.has(kind)) return [`"${kind}" is none of ${[...kinds].join(', ')}`];
  const problems: string[] = [];
  if (what === '') problems.push('nothing is said about it');
  const files = [...source.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
  const tests = [...test.matchAll(/`([^`]+)` "([^"]+)"/g)].map((match) => [match[1] ?? '', match[2] ?? ''] as const);
  if (kind !== 'client' && (files.length === 0 || tests.length === 0)) problems.push('it names no file or no test');
  for (const file of files) if (read(`src/${file}`) === undefined) problems.push(`there is no file src/${file}`);
  for (const [file, name] of tests) {
    const content = read(`test/${file}`);
    if (content === undefined) problems.push(`there is no file test/${file}`);
    else if (!hasTest(content, name)) problems.push(`test/${file} has no test "${name}"`);
  }
  return problems;
}

/** Whether the name stands there as a whole literal, as the title of a test does. */
function hasTest(content: string, name: string): boolean {
  return content.includes(`'${name}'`) || content.includes(`\`${name}\``);
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..');
  const read = (path: string): string | undefined => {
    try {
      return readFileSync(join(root, path), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  };
  const text = read(document);
  const report = checkConformance(text ?? '', conformanceIds, read);
  for (const problem of report.problems) console.error(`${document}: ${problem}`);
  console.log(`${report.rowCount} statements in ${document}, ${report.problems.length} problems`);
  if (report.problems.length > 0) process.exitCode = 1;
}
