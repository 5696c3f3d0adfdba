// Plants a violation of every house rule in a tree that is otherwise clean, and expects exactly that one to be found.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findProblems, readTree, type TidyFile } from '../../../scripts/tidy.ts';

function file(path: string, text: string): TidyFile {
  return { path, sizeBytes: Buffer.byteLength(text), text };
}

const cleanTree: readonly TidyFile[] = [
  file('README.md', '# Title\n\nSee [the guide](docs/guide.md#start) and [the site](https://example.org).\n'),
  file('docs/guide.md', '# Guide\n\n```sh\n# a comment of the shell\n```\n\n[up](../README.md) [folder](../docs/)\n'),
  file('src/core/a.ts', '// What it is for.\nexport const a = 1; // @TODO(#12) say more\n'),
  file(
    'src/protocols/registry.ts',
    "// One line each.\nimport { mqtt } from './mqtt/index.ts';\nexport const p = [mqtt];\n",
  ),
  file(
    'src/protocols/mqtt/index.ts',
    "/** MQTT. */\nimport type { Server } from 'node:http';\nexport const mqtt = 1;\n",
  ),
  file('test/unit/a.test.ts', "it('a() adds', () => reader.skip(4));\n"),
];

/** The clean tree with some files added or replaced. */
function treeWith(...files: readonly TidyFile[]): TidyFile[] {
  const replaced = new Set(files.map(({ path }) => path));
  return [...cleanTree.filter(({ path }) => !replaced.has(path)), ...files];
}

describe('tidy', () => {
  it('findProblems() finds nothing when the tree is clean', () => {
    expect(findProblems(cleanTree)).toEqual([]);
  });

  it('findProblems() complains when there is nothing to check', () => {
    expect(findProblems([])).toEqual(['no file was checked']);
  });

  const planted: readonly (readonly [rule: string, problem: string, file: TidyFile])[] = [
    ...['std', 'shm', 'core', 'journal', 'workers', 'main'].map(
      (folder) =>
        [
          `a protocol is named in ${folder}`,
          `src/${folder}/b.ts:2: names a protocol; this folder serves all of them`,
          file(`src/${folder}/b.ts`, '// What it is for.\nconst isMqttClient = 1;\n'),
        ] as const,
    ),
    ...['MQTT', 'Kafka', 'AMQP', 'RocketMQ', 'SQS', 'ZooKeeper'].map(
      (name) =>
        [
          `a comment names ${name}`,
          'src/core/b.ts:1: names a protocol; this folder serves all of them',
          file('src/core/b.ts', `// As in ${name}.\n`),
        ] as const,
    ),
    ['there is a FIXME', 'docs/guide.md:3: FIXME does not merge', file('docs/guide.md', '# Guide\n\nFIXME: this\n')],
    [
      'a TODO has no issue',
      'src/net/b.ts:2: write @TODO(#issue) instead',
      file('src/net/b.ts', '// What it is for.\n// TODO: more\n'),
    ],
    ['there are two titles', 'docs/b.md: has 2 titles (# …) instead of one', file('docs/b.md', '# One\n\n# Two\n')],
    ['there is no title', 'docs/b.md: has 0 titles (# …) instead of one', file('docs/b.md', 'Text.\n')],
    ...['it.only', 'test.skip', 'describe.todo', 'it.concurrent.only', 'it.skip.each'].map(
      (call) =>
        [
          `a test says ${call}`,
          'test/unit/b.test.ts:1: leaves tests out',
          file('test/unit/b.test.ts', `${call}('b');\n`),
        ] as const,
    ),
    [
      'a source file has no first comment',
      'src/net/b.ts:1: begins without a comment that says what it is for, on which thread it lives, who calls it',
      file('src/net/b.ts', 'export const b = 1;\n'),
    ],
    ...["{ createServer } from 'node:http'", "https, { Agent } from 'node:https'", "process from 'node:process'"].map(
      (what) =>
        [
          `a source file imports ${what}`,
          'src/net/b.ts:2: loads what nobody asked for: use process, getBuiltinModule()',
          file('src/net/b.ts', `// What it is for.\nimport ${what};\n`),
        ] as const,
    ),
    ...['/work/main', '/root/.cache', '/tmp/brief/x'].map(
      (path) =>
        [
          `a file names ${path}`,
          'docs/b.md:2: names a folder that exists on one machine only',
          file('docs/b.md', `# B\nSee ${path}.\n`),
        ] as const,
    ),
    [
      'a file is too large',
      'docs/picture.bin: has 204801 bytes, more than 204800',
      { path: 'docs/picture.bin', sizeBytes: 204_801, text: undefined },
    ],
    ['a link is broken', 'docs/b.md: links to gone.md, which does not exist', file('docs/b.md', '# B\n[x](gone.md)\n')],
    [
      'a protocol is not registered',
      'src/protocols/echo: is not in registry.ts',
      file('src/protocols/echo/index.ts', '// Echo.\n'),
    ],
    [
      'the registry names a protocol without a folder',
      'src/protocols/registry.ts: names echo, which has no folder',
      file(
        'src/protocols/registry.ts',
        "// x\nimport { m } from './mqtt/index.ts';\nimport { e } from './echo/index.ts';\n",
      ),
    ],
  ];

  it.each(planted)('findProblems() reports one problem when %s', (_rule, problem, violation) => {
    expect(findProblems(treeWith(violation))).toEqual([problem]);
  });

  it('findProblems() lets the lock file be large', () => {
    const lock = { path: 'package-lock.json', sizeBytes: 1e6, text: '{}' };
    expect(findProblems(treeWith(lock))).toEqual([]);
  });

  it('readTree() sees the repository when it runs in it', () => {
    const paths = readTree(join(import.meta.dirname, '../../..')).map(({ path }) => path);
    expect(paths).toContain('scripts/tidy.ts');
    expect(paths.some((path) => path.startsWith('node_modules/'))).toBe(false);
  });
});
