/** The quick way of imports, in a process of its own: hooks of a test runner's thread are none of its business. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-quick-'));
  const source = join(import.meta.dirname, '../../../src/std/quick-resolution.ts');
  // The name needs encoding in a URL.
  for (const path of ['a #b/src/std', 'a #b/src/other', 'a #b/node_modules/dep', 'outside']) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  cpSync(source, join(folder, 'a #b/src/std/quick-resolution.ts'));
  write('a #b/package.json', '{"type":"module"}');
  write('a #b/src/other/value.ts', 'export const value: { n: number } = { n: 1 };');
  write('a #b/src/user.ts', "export { value } from './other/value.ts';\nexport { dep } from 'dep';");
  write('a #b/src/broken.ts', "import './absent.ts';");
  write('a #b/node_modules/dep/package.json', '{"main":"lib"}');
  write('a #b/node_modules/dep/lib/index.js', "exports.dep = require('./part').part;");
  write('a #b/node_modules/dep/lib/part.js', "exports.part = 'dep';");
  write('outside/absent.mjs', "import './nothing.ts';");
  symlinkSync(join(folder, 'a #b'), join(folder, 'link'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), text);
}

/** Runs `body` after the hook was set, and parses what it prints. */
function run(body: string, at = 'a #b'): unknown {
  const entry = join(folder, at, 'src/entry.ts');
  write(join(at, 'src/entry.ts'), `import { resolveQuickly } from './std/quick-resolution.ts';\n${body}`);
  return JSON.parse(execFileSync(process.execPath, [entry], { encoding: 'utf8' }));
}

describe('resolveQuickly()', () => {
  it('finds the same modules as without it, whichever comes first and through links too', () => {
    const body = `
      const before = await import('./other/value.ts');
      const end = resolveQuickly();
      const during = await import('./user.ts');
      end();
      const after = await import('./user.ts');
      const same = before.value === during.value && during === after;
      console.log(JSON.stringify({ same, dep: after.dep }));`;
    expect(run(body)).toEqual({ same: true, dep: 'dep' });
    expect(run(body, 'link')).toEqual({ same: true, dep: 'dep' });
  });

  it('names the file that is missing', () => {
    const body = `
      resolveQuickly();
      const error = await import('./broken.ts').catch((thrown) => thrown);
      console.log(JSON.stringify({ code: error.code, message: error.message }));`;
    const { code, message } = run(body) as { code: string; message: string };
    expect(code).toBe('ENOENT');
    expect(message).toContain('absent.ts');
  });

  it('leaves modules elsewhere to Node', () => {
    const body = `
      resolveQuickly();
      const error = await import('../../outside/absent.mjs').catch((thrown) => thrown);
      console.log(JSON.stringify(error.code));`;
    expect(run(body)).toBe('ERR_MODULE_NOT_FOUND');
  });
});
