// The bootstrap in a made-up clone: a lock file of two packages, a node_modules folder, and an npm that only notes how it
// was called and installs what the test says. The real npm is tried by `.ci/run` on a fresh clone.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const bootstrap = join(import.meta.dirname, '../../../scripts/bootstrap.mjs');
const stamp = 'node_modules/.ringmq-installed';
const version = process.versions.node;

const lock = {
  packages: {
    '': { optionalDependencies: { fast: '1.0.0' } },
    'node_modules/node': { version },
    'node_modules/fast': { version: '1.0.0', optional: true },
    'node_modules/elsewhere': { version: '1.0.0', optional: true },
  },
};

/** What npm writes into node_modules about what it installed. */
const complete = { packages: { 'node_modules/node': { version }, 'node_modules/fast': { version: '1.0.0' } } };

describe('bootstrap', () => {
  let root: string;

  const write = (path: string, content: string | object): void => {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), typeof content === 'string' ? content : JSON.stringify(content));
  };

  const run = async (...args: string[]): Promise<{ code: number | null; output: string; errors: string }> => {
    const env = { ...process.env, npm_execpath: join(root, 'npm-cli.js'), CLONE: root };
    const child = spawn(process.execPath, [join(root, 'scripts/bootstrap.mjs'), ...args], { env });
    const ended = once(child, 'exit');
    const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    return { code, output, errors };
  };

  const installNode = (): void => {
    mkdirSync(join(root, 'node_modules/node/bin'), { recursive: true });
    symlinkSync(process.execPath, join(root, 'node_modules/node/bin/node'));
  };

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'bootstrap-'));
    mkdirSync(join(root, 'scripts'));
    cpSync(bootstrap, join(root, 'scripts/bootstrap.mjs'));
    write('package.json', { type: 'module', engines: { node: '>=26.10.0' } });
    write('package-lock.json', lock);
    write('bin/ringmq.js', 'console.log(process.argv.slice(2).join(" ")); process.exitCode = 7;');
    write(
      'npm-cli.js',
      `import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
      const root = process.env.CLONE;
      writeFileSync(root + '/npm-arguments', process.argv.slice(2).join(' '));
      mkdirSync(root + '/node_modules/node/bin', { recursive: true });
      symlinkSync(process.execPath, root + '/node_modules/node/bin/node');`,
    );
  });

  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it('start runs npm ci first when node_modules is missing', async () => {
    const { code, output, errors } = await run('start', '--workers', '2');
    expect(errors).toContain('node_modules is missing; running npm ci');
    expect(readFileSync(join(root, 'npm-arguments'), 'utf8')).toContain(`ci --prefix ${root}`);
    expect(output).toBe('start --workers 2\n');
    expect(code).toBe(7);
  });

  it('start says nothing and runs no npm when all is there', async () => {
    await run('install');
    rmSync(join(root, 'npm-arguments'));
    const { output, errors } = await run('start');
    expect(errors).toBe('');
    expect(output).toBe('start\n');
    expect(existsSync(join(root, 'npm-arguments'))).toBe(false);
  });

  it('install accepts what npm has installed by hand when it is complete', async () => {
    installNode();
    write('node_modules/.package-lock.json', complete);
    expect(await run('install')).toMatchObject({ code: 0, errors: '' });
    expect(existsSync(join(root, stamp))).toBe(true);
  });

  it.each([
    ['a package is missing', { packages: { 'node_modules/fast': { version: '1.0.0' } } }, 'node is missing'],
    ['our own optional package is missing', { packages: { 'node_modules/node': { version } } }, 'fast is missing'],
    [
      'a package is another version',
      { packages: { ...complete.packages, 'node_modules/fast': { version: '0.9.0' } } },
      'fast is 0.9.0 instead of 1.0.0',
    ],
  ])('install runs npm when %s', async (_what, installed, reason) => {
    installNode();
    write('node_modules/.package-lock.json', installed);
    write('npm-cli.js', `import { writeFileSync } from 'node:fs'; writeFileSync(process.env.CLONE + '/ran', '');`);
    const { code, errors } = await run('install');
    expect(errors).toContain(`${reason}; running npm ci`);
    expect(existsSync(join(root, 'ran'))).toBe(true);
    expect(code).toBe(0);
  });

  it('install leaves no stamp and exits 1 when npm fails', async () => {
    write('npm-cli.js', 'process.exitCode = 3;');
    const { code, errors } = await run('install');
    expect(errors).toContain('npm ci ended with 3');
    expect(code).toBe(1);
    expect(existsSync(join(root, stamp))).toBe(false);
  });

  it('install exits 1 when install scripts were switched off', async () => {
    write('npm-cli.js', '');
    const { code, errors } = await run('install');
    expect(errors).toContain('install scripts are switched off');
    expect(code).toBe(1);
  });

  it('install takes up a new lock file without npm when the packages are the same', async () => {
    await run('install');
    write('node_modules/.package-lock.json', complete);
    write('package-lock.json', JSON.stringify(lock, null, 2));
    expect(await run('install')).toMatchObject({ code: 0, errors: '' });
  });

  it('an unknown verb is refused', async () => {
    expect(await run('dance')).toMatchObject({ code: 1, output: '' });
  });
});
