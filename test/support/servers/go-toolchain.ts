/**
 * A Go toolchain for servers that tests build: the machine's own when it is new enough, else a pinned one from the Go module proxy
 * (`GOPROXY`, or the public one), checked by its hash and unpacked once into node_modules/.cache. Thread of the test.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Oldest one that builds what is asked of it. */
const minorNeeded = 25;
const module = 'toolchain@v0.0.1-go1.25.4.linux-amd64';
const zipSha256 = 'f4fa35e13952bae9836a82d8cf077710cd58fee98d31680f94edf435852b1af2';
const cache = join(import.meta.dirname, '../../../node_modules/.cache/go');

/** Path of the program `go`. */
export async function goProgram(): Promise<string> {
  const own = join(cache, 'golang.org', module, 'bin', 'go');
  for (const program of ['go', '/usr/local/go/bin/go', own]) {
    const found = await run(program, ['version']).catch(() => null);
    const minor = Number(/go1\.(\d+)/.exec(found?.stdout ?? '')?.[1] ?? 0);
    if (minor >= minorNeeded) return program;
  }
  if (platform() !== 'linux' || arch() !== 'x64') throw new Error(`Cannot build: install Go 1.${minorNeeded} or newer`);
  await download();
  return own;
}

async function download(): Promise<void> {
  const [proxy = ''] = (process.env['GOPROXY'] ?? '').split(/[,|]/);
  const base = proxy.startsWith('http') ? proxy : 'https://proxy.golang.org';
  console.error('servers: downloading Go 1.25.4 from the module proxy');
  const response = await fetch(`${base}/golang.org/toolchain/@v/${module.slice('toolchain@'.length)}.zip`);
  if (!response.ok) throw new Error(`Cannot download Go: the module proxy answers ${response.status}`);
  const zip = Buffer.from(await response.arrayBuffer());
  const hash = createHash('sha256').update(zip).digest('hex');
  if (hash !== zipSha256) throw new Error(`Cannot use the downloaded Go: its hash is ${hash} and not ${zipSha256}`);
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'work-'));
  try {
    await writeFile(join(work, 'go.zip'), zip);
    await run('python3', ['-m', 'zipfile', '-e', join(work, 'go.zip'), work]);
    const root = join(work, 'golang.org', module);
    // The archive has no permissions.
    for (const folder of ['bin', 'pkg/tool/linux_amd64']) {
      for (const name of await readdir(join(root, folder))) await chmod(join(root, folder, name), 0o755);
    }
    await mkdir(join(cache, 'golang.org'), { recursive: true });
    const target = join(cache, 'golang.org', module);
    // Losing the race against another process is as good as winning it.
    await rename(root, target).catch((error: unknown) =>
      access(target).catch(() => {
        throw error;
      }),
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
