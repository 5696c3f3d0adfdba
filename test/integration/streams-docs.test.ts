/**
 * The commands of docs/operations/streams.md, run: every block that is marked with `sh run`, one after the other in one shell, as a
 * reader would. Only the ports are others.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findFreePort } from '../unit/cli/support.ts';

const root = join(import.meta.dirname, '../..');
const page = await readFile(join(root, 'docs/operations/streams.md'), 'utf8');
const blocks = [...page.matchAll(/^```sh run\n([\s\S]*?)^```$/gm)].map(([, text]) => text ?? '');
const limitMs = 120_000;

let folder = '';
let output = '';
let status: number | null = null;
let log = '';

/** Everything that the page started is ended with the shell's group. */
async function runBlocks(): Promise<void> {
  const bin = join(folder, 'bin');
  await mkdir(bin);
  // The default port of the page is that of whoever does not name one, so the command names one.
  const [http, other] = [await findFreePort(), await findFreePort()];
  const server = `case "$1" in ctl) set -- "$@" --server 127.0.0.1:${http};; esac`;
  const node = `exec '${process.execPath}' '${join(root, 'bin/ringmq.js')}' "$@"`;
  await writeFile(join(bin, 'ringmq'), `#!/bin/sh\n${server}\n${node}\n`);
  await chmod(join(bin, 'ringmq'), 0o755);
  const script = blocks.map((block, index) => `echo "== ${index}"\n${block}`).join('\n');
  const own = script.replaceAll(':8080', `:${http}`).replaceAll(':1881', `:${other}`);
  await writeFile(join(folder, 'page.sh'), `set -euo pipefail\n${own}\necho "== done"\n`);
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('RINGMQ_'));
  const shell = spawn('bash', ['page.sh'], {
    cwd: folder,
    detached: true,
    env: { ...Object.fromEntries(kept), PATH: `${bin}${delimiter}${process.env.PATH}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const timer = setTimeout(() => endGroup(shell.pid), limitMs - 10_000);
  [status] = (await once(shell, 'exit')) as [number | null];
  clearTimeout(timer);
  endGroup(shell.pid);
  log = await readFile(join(folder, 'broker.log'), 'utf8');
}

function endGroup(pid: number | undefined): void {
  try {
    process.kill(-(pid ?? 0), 'SIGKILL');
  } catch (error) {
    // All of them have ended already.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

describe('docs/operations/streams.md', () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ringmq-streams-page-'));
    await runBlocks();
  }, limitMs);

  afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

  it('has a command for every verb of streams and records', () => {
    const all = blocks.join('\n');
    for (const verb of ['create', 'list', 'describe', 'change', 'purge', 'delete'])
      expect(all).toContain(`stream ${verb}`);
    for (const verb of ['produce', 'read', 'find', 'export', 'import']) expect(all).toContain(`record ${verb}`);
  });

  it('can be followed as it is written', () => {
    expect(output, log).toContain('== done');
    expect(status).toBe(0);
  });

  it('copies a stream byte for byte', () => {
    expect(output).toContain('the copy is the same');
    expect(output).toContain('4 records, no bad line');
  });
});
