/**
 * A page of the documentation, run: every block that is marked with `sh run`, one after the other in one shell, as a reader would. Only
 * the ports are others.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { findFixedPort } from './fixed-port.ts';

const root = join(import.meta.dirname, '../..');

export interface PageRun {
  /** All commands of the page. */
  readonly commands: string;
  /** What they have printed. */
  readonly output: string;
  readonly status: number | null;
  /** Of the broker that the page started, with its output in `broker.log`. */
  readonly log: string;
}

/** Everything that the page started is ended with the group of its shell. */
export async function runPage(path: string, limitMs: number): Promise<PageRun> {
  const page = await readFile(join(root, path), 'utf8');
  const blocks = [...page.matchAll(/^```sh run\n([\s\S]*?)^```$/gm)].map(([, text]) => text ?? '');
  const folder = await mkdtemp(join(tmpdir(), 'ringmq-page-'));
  try {
    const [output, status] = await runBlocks(blocks, folder, limitMs);
    const log = await readFile(join(folder, 'broker.log'), 'utf8');
    return { commands: blocks.join('\n'), output, status, log };
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function runBlocks(
  blocks: readonly string[],
  folder: string,
  limitMs: number,
): Promise<readonly [string, number | null]> {
  const bin = join(folder, 'bin');
  await mkdir(bin);
  // The default port of the page is that of whoever does not name one, so the command names one.
  const http = await findFixedPort();
  const other = await findFixedPort();
  const server = `case "$1" in ctl) set -- "$@" --server 127.0.0.1:${http};; esac`;
  const node = `exec '${process.execPath}' '${join(root, 'bin/ringmq.js')}' "$@"`;
  await writeFile(join(bin, 'ringmq'), `#!/bin/sh\n${server}\n${node}\n`);
  await chmod(join(bin, 'ringmq'), 0o755);
  const script = blocks.map((block, index) => `echo "== ${index}"\n${block}`).join('\n');
  const own = script.replaceAll(':8080', `:${http}`).replaceAll(/(:|-p )1881/g, `$1${other}`);
  await writeFile(join(folder, 'page.sh'), `set -euo pipefail\n${own}\necho "== done"\n`);
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('RINGMQ_'));
  const shell = spawn('bash', ['page.sh'], {
    cwd: folder,
    detached: true,
    env: { ...Object.fromEntries(kept), PATH: `${bin}${delimiter}${process.env.PATH}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const timer = setTimeout(() => endGroup(shell.pid), limitMs);
  const [status] = (await once(shell, 'exit')) as [number | null];
  clearTimeout(timer);
  endGroup(shell.pid);
  return [output, status];
}

function endGroup(pid: number | undefined): void {
  try {
    process.kill(-(pid ?? 0), 'SIGKILL');
  } catch (error) {
    // All of them have ended already.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
