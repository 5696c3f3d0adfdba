/** The tables of normative statements as they are, and with planted faults. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkConformance } from '../../../scripts/check-conformance.ts';
import { conformanceIds } from '../../conformance/mqtt-ids.ts';

const root = join(import.meta.dirname, '../../..');

function read(path: string): string | undefined {
  try {
    return readFileSync(join(root, path), 'utf8');
  } catch {
    return undefined;
  }
}

const text = read('docs/protocols/mqtt.md') as string;

function problemsWith(change: (text: string) => string): readonly string[] {
  const changed = change(text);
  expect(changed).not.toBe(text);
  return checkConformance(changed, conformanceIds, read).problems;
}

describe('checkConformance()', () => {
  it('finds a row with code and test for each statement of both versions', () => {
    const { rowCount, problems } = checkConformance(text, conformanceIds, read);
    expect(problems).toEqual([]);
    expect(rowCount).toBe(141 + 251);
  });

  it('finds a row that is missing, one too many, and one of no statement', () => {
    const row = /^\| 3\.1\.0-1 .*\n/m;
    expect(problemsWith((all) => all.replace(row, ''))).toEqual(['MQTT 3.1.1 [3.1.0-1]: there is no row']);
    expect(problemsWith((all) => all.replace(row, '$&$&'))).toEqual(['MQTT 3.1.1 [3.1.0-1]: there are two rows']);
    expect(problemsWith((all) => all.replace('| 3.1.0-1 |', '| 3.1.0-9 |'))).toEqual([
      'MQTT 3.1.1 [3.1.0-9]: there is no such statement',
      'MQTT 3.1.1 [3.1.0-1]: there is no row',
    ]);
  });

  it('finds a file that is not there, a test that is not there, and a row without them', () => {
    const replaced = (from: string, to: string): readonly string[] =>
      problemsWith((all) => all.replace(/^\| 3\.1\.0-1 .*$/m, (row) => row.replace(from, to)));
    expect(replaced('handlers/client.ts', 'handlers/none.ts')[0]).toContain('there is no file src/');
    expect(replaced('connect.test.ts', 'none.test.ts')[0]).toContain('there is no file test/');
    expect(replaced('that is not CONNECT', 'that is CONNECT')[0]).toContain('has no test "that is CONNECT');
    const bare = '| 3.1.0-1 | server | first | - | - |';
    expect(problemsWith((all) => all.replace(/^\| 3\.1\.0-1 .*$/m, bare))).toEqual([
      'MQTT 3.1.1 [3.1.0-1]: it names no file or no test',
    ]);
    expect(replaced('| both |', '| nobody |')[0]).toContain('"nobody" is none of server, client, both');
  });

  it('finds that it saw nothing', () => {
    expect(checkConformance('', new Map(), read).problems).toEqual(['no row was seen']);
    expect(checkConformance('', conformanceIds, read).problems.length).toBe(141 + 251 + 1);
  });
});
