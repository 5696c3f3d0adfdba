// The dispatcher `bin/ringmq.js`, in made-up packages: which program it takes, and what it says to an old Node.
import { execFile } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const command = join(import.meta.dirname, '../../../bin/ringmq.js');

describe('ringmq', () => {
  let folder: string;
  let root: string;

  const write = (path: string, content: string): void => {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };

  const run = (args: readonly string[], nodeFlags: readonly string[] = []) =>
    new Promise<{ code: number; output: string; errors: string }>((resolve) => {
      const { NODE_COMPILE_CACHE: _cache, NODE_DISABLE_COMPILE_CACHE: _off, ...env } = process.env;
      const argv = [...nodeFlags, join(root, 'bin/ringmq.js'), ...args];
      execFile(process.execPath, argv, { env: { ...env, TMPDIR: folder } }, (error, output, errors) => {
        resolve({ code: error === null ? 0 : Number(error.code), output, errors });
      });
    });

  /** A module that prints who it is, and the cache that worker threads would use. */
  const program = (name: string): string =>
    `export async function main(argv) { console.log('${name}', argv.join(' '), process.env.NODE_COMPILE_CACHE); }\n`;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringmq-command-'));
    root = join(folder, 'clone');
    mkdirSync(join(root, 'bin'), { recursive: true });
    cpSync(command, join(root, 'bin/ringmq.js'));
    write('package.json', JSON.stringify({ type: 'module', version: '1.2.3' }));
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('--version prints the version of the package', async () => {
    expect(await run(['--version'])).toEqual({ code: 0, output: '1.2.3\n', errors: '' });
  });

  it('--help lists the commands on standard output', async () => {
    const { code, output } = await run(['--help']);
    expect(code).toBe(0);
    for (const verb of ['start', 'config check', 'pub', 'sub', 'bench']) expect(output).toContain(`  ${verb} `);
  });

  it('no command at all is a mistake and prints the help on standard error', async () => {
    expect(await run([])).toMatchObject({ code: 2, output: '', errors: expect.stringContaining('Usage') });
  });

  it('takes the sources where they exist, with the cache in node_modules', async () => {
    mkdirSync(join(root, 'node_modules'));
    write('src/main/main.ts', program('source main'));
    write('dist/src/main/main.js', program('built main'));
    const cache = join(root, 'node_modules/.cache/ringmq');
    expect((await run(['start', '--workers', '2'])).output).toBe(`source main start --workers 2 ${cache}\n`);
    expect((await run(['config', 'check'])).output).toBe(`source main config check ${cache}\n`);
    expect(readdirSync(cache)).toHaveLength(1);
  });

  it('takes what was built in an installed package, with the cache in the node_modules around it', async () => {
    const installed = join(folder, 'project/node_modules/ringmq');
    mkdirSync(dirname(installed), { recursive: true });
    cpSync(root, installed, { recursive: true });
    root = installed;
    write('dist/src/cli/main.js', program('built cli'));
    const cache = join(folder, 'project/node_modules/.cache/ringmq');
    expect((await run(['pub', '-t', 'a'])).output).toBe(`built cli pub -t a ${cache}\n`);
  });

  it('keeps the cache in a private temporary folder when there is no node_modules', async () => {
    write('src/cli/main.ts', program('source cli'));
    const { output } = await run(['sub']);
    expect(output).toContain(join(folder, 'ringmq-cache-'));
    expect(existsSync(join(root, 'node_modules'))).toBe(false);
  });

  it('starts without a cache when others could write to the folder', async () => {
    write('src/cli/main.ts', program('source cli'));
    const cache = /cli sub (.*)\n/.exec((await run(['sub'])).output)?.[1] ?? '';
    chmodSync(cache, 0o777);
    expect((await run(['sub'])).output).toBe('source cli sub undefined\n');
  });

  it('refuses an older Node and says what to do', async () => {
    write(
      'old-node.cjs',
      "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '26.9.0' } });",
    );
    const { code, output, errors } = await run(['start'], ['--require', join(root, 'old-node.cjs')]);
    expect(code).toBe(1);
    expect(output).toBe('');
    expect(errors).toMatch(/Node "26\.9\.0".*needs Node 26\.10 or newer/);
    expect(errors).toContain('npm start');
  });
});
