// The canary of the import law: writes every import from folder to folder and every special case into a temporary tree,
// runs the checker there and compares what it reports with what the table says.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cruise, describeProblems, type LawReport } from '../../../scripts/import-law.ts';

// The configuration is plain JavaScript, as dependency-cruiser wants it; its type is said here.
const configuration = new URL('../../../.dependency-cruiser.mjs', import.meta.url).href;
const { law }: { law: Record<string, readonly string[]> } = await import(configuration);

interface PlantedFile {
  /** The rule that must report the file; null when the law allows it. */
  readonly rule: string | null;
  readonly path: string;
  readonly text: string;
}

const specialCases: readonly PlantedFile[] = [
  // The canary's own alphabet of parts: the names mean nothing, only the places do.
  { rule: null, path: 'src/protocols/beta/index.ts', text: 'export const k = 1;' },
  { rule: null, path: 'src/protocols/registry.ts', text: "import { k } from './beta/index.ts'; export const p = [k];" },
  {
    rule: 'codec-is-pure',
    path: 'src/protocols/alpha/codec/decode.ts',
    text: "import { x } from '../../../core/target.ts'; export const d = x;",
  },
  {
    rule: 'codec-is-pure',
    path: 'src/protocols/alpha/codec/platform.ts',
    text: "import { inspect } from 'node:util'; export const d = inspect;",
  },
  {
    rule: 'codec-is-pure',
    path: 'src/protocols/alpha/codec/package.ts',
    text: "import { parse } from 'yaml'; export const d = parse;",
  },
  {
    rule: null,
    path: 'src/protocols/alpha/codec/encode.ts',
    text: "import { x } from '../../../std/target.ts'; export const e = x;",
  },
  {
    rule: 'siblings-are-strangers',
    path: 'src/protocols/alpha/session.ts',
    text: "import { k } from '../beta/index.ts'; export const s = k;",
  },
  {
    rule: 'plugin-only-through-registry',
    path: 'src/workers/bypass.ts',
    text: "import { k } from '../protocols/beta/index.ts'; export const b = k;",
  },
  {
    rule: null,
    path: 'src/workers/proper.ts',
    text: "import { p } from '../protocols/registry.ts'; export const b = p;",
  },
  {
    rule: 'consensus-is-pure',
    path: 'src/raft/consensus/raft.ts',
    text: "import { setTimeout } from 'node:timers'; export const r = setTimeout;",
  },
  {
    rule: 'layer-raft',
    path: 'src/raft/driver.ts',
    text: "import { x } from '../config/target.ts'; export const y = x;",
  },
  {
    rule: 'layer-raft-entry',
    path: 'src/raft/other.worker.ts',
    text: "import { x } from '../storage/target.ts'; export const y = x;",
  },
  {
    rule: null,
    path: 'src/raft/raft.worker.ts',
    text: "import { x } from '../config/target.ts'; export const y = x;",
  },
  {
    rule: 'home-of-lmdb',
    path: 'src/journal/native.ts',
    text: "import { open } from 'lmdb'; export const o = open;",
  },
  { rule: null, path: 'src/raft/placement/store.ts', text: "import { open } from 'lmdb'; export const o = open;" },
  { rule: null, path: 'src/storage/lmdb/index.ts', text: "import { open } from 'lmdb'; export const o = open;" },
  {
    rule: 'home-of-web-socket',
    path: 'src/main/acceptor/app.ts',
    text: "import { App } from 'uWebSockets.js'; export const a = App;",
  },
  {
    rule: 'home-of-web-socket',
    path: 'src/admin/socket.ts',
    text: "import { WebSocketServer } from 'ws'; export const s = WebSocketServer;",
  },
  { rule: null, path: 'src/net/uws.ts', text: "import { App } from 'uWebSockets.js'; export const a = App;" },
  { rule: null, path: 'src/net/http.ts', text: "import { a } from './uws.ts'; export const e = a;" },
  {
    rule: 'bench-stays-native-free',
    path: 'native-free-bench/b.ts',
    text: "import { e } from '../src/net/http.ts'; export const b = e;",
  },
  {
    rule: 'bench-starts-no-broker',
    path: 'native-free-bench/c.ts',
    text: "import { x } from '../src/main/target.ts'; export const c = x;",
  },
  {
    rule: null,
    path: 'native-free-bench/d.ts',
    text: "import { x } from '../src/core/target.ts'; export const d = x;",
  },
  { rule: null, path: 'test/support/h.ts', text: 'export const h = 1;' },
  {
    rule: 'src-never-imports-tests',
    path: 'src/core/t.ts',
    text: "import { h } from '../../test/support/h.ts'; export const t = h;",
  },
  {
    rule: 'no-cycle',
    path: 'src/shm/a.ts', // A cycle is reported once, where it is found first.
    text: "import type { b } from './b.ts'; export const a = 1; export type B = typeof b;",
  },
  {
    rule: null,
    path: 'src/shm/b.ts',
    text: "import type { a } from './a.ts'; export const b = 1; export type A = typeof a;",
  },
  {
    rule: 'folder-has-a-row',
    path: 'src/stray/s.ts',
    text: "import { x } from '../std/target.ts'; export const s = x;",
  },
];

/** Every folder of the table imports every other, as a type: the weakest import there is. */
function plantFolderPairs(): PlantedFile[] {
  const folders = Object.entries(law);
  const targets = folders.map(([name]) => ({
    rule: null,
    path: `src/${name}/target.ts`,
    text: `export const x = '${name}';`,
  }));
  const pairs = folders.flatMap(([from, allowed]) =>
    folders.map(([to]) => ({
      rule: from === to || allowed.includes(to) ? null : `layer-${from}`,
      path: `src/${from}/uses-${to}.ts`,
      text: `import type { x } from '../${to}/target.ts'; export type Y = typeof x;`,
    })),
  );
  return [...targets, ...pairs];
}

function createTree(files: readonly PlantedFile[]): string {
  const root = mkdtempSync(join(tmpdir(), 'import-law-'));
  const write = (path: string, text: string): void => {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), `${text}\n`);
  };
  for (const { path, text } of files) write(path, text);
  write('package.json', '{ "type": "module" }');
  write(
    'tsconfig.json',
    '{ "compilerOptions": { "module": "nodenext", "allowImportingTsExtensions": true, "noEmit": true } }',
  );
  return root;
}

describe('import law', () => {
  const planted = [...plantFolderPairs(), ...specialCases];
  let root: string;
  let report: LawReport;

  beforeAll(() => {
    root = createTree(planted);
    report = cruise(root);
  });

  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it('cruise() reads every planted file', () => {
    expect(report.unread).toEqual([]);
    expect(report.filesRead).toBe(planted.length);
  });

  it('cruise() reports every planted violation and nothing else', () => {
    const expected = planted.filter(({ rule }) => rule !== null).map(({ rule, path }) => `${rule} ${path}`);
    const found = new Set(report.violations.map(({ rule, from }) => `${rule} ${from}`));
    expect(expected.length).toBeGreaterThan(150);
    expect([...found].sort()).toEqual(expected.sort());
  });

  it('describeProblems() complains when nothing was read', () => {
    expect(describeProblems({ filesRead: 0, unread: ['src/a.ts'], violations: [] })).toEqual([
      'no file was read at all (is @swc/core installed?)',
    ]);
  });

  it('describeProblems() complains when one file was left out', () => {
    expect(describeProblems({ filesRead: 1, unread: ['src/a.ts'], violations: [] })).toEqual([
      'src/a.ts: was not read',
    ]);
  });
});
