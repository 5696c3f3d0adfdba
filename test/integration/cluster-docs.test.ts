/**
 * The commands of docs/operations/cluster.md, run: every block that is marked with `sh run`, one after the other in one
 * shell, as a reader would. Only the ports are others.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const page = await readFile(join(root, 'docs/operations/cluster.md'), 'utf8');
const blocks = [...page.matchAll(/^```sh run\n([\s\S]*?)^```$/gm)].map(([, text]) => text ?? '');
const limitMs = 240_000;

interface Finished {
  readonly status: number | null;
  readonly output: string;
  /** The logs of the nodes, for whoever reads a failure. */
  readonly logs: string;
}

let folder = '';
let result: Finished;

/** Runs the blocks until the first command that fails. Every node that was started is ended with the shell's group. */
async function runBlocks(): Promise<Finished> {
  const script = await withFreePorts(blocks.map((block, index) => `echo "== ${index}"\n${block}`).join('\n'));
  const bin = join(folder, 'bin');
  await writeFile(join(folder, 'page.sh'), `set -euo pipefail\n${script}\necho "== done"\n`);
  const shell = spawn('bash', ['page.sh'], {
    cwd: folder,
    detached: true,
    env: { ...withoutOurs(process.env), PATH: `${bin}${delimiter}${process.env.PATH}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const timer = setTimeout(() => endGroup(shell.pid), limitMs - 10_000);
  const [status] = (await once(shell, 'exit')) as [number | null];
  clearTimeout(timer);
  endGroup(shell.pid);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.log'));
  const logs = await Promise.all(
    names.map(async (name) => `${name}:\n${(await readFile(join(folder, name), 'utf8')).slice(-1_500)}`),
  );
  return { status, output, logs: logs.join('\n') };
}

/** The page's own variables are to count. */
function withoutOurs(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('RINGMQ_')));
}

function endGroup(pid: number | undefined): void {
  try {
    process.kill(-(pid ?? 0), 'SIGKILL');
  } catch (error) {
    // All of them have ended already.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Every port of the page, the same one for the same number. */
async function withFreePorts(script: string): Promise<string> {
  const ports = [...new Set(script.match(/(?<=127\.0\.0\.1:)[1-9]\d{3}\b/g))];
  const free = await freePorts(ports.length);
  // Also where a port stands without its host.
  return ports.reduce(
    (text, port, index) => text.replaceAll(new RegExp(`\\b${port}\\b`, 'g'), `${free[index]}`),
    script,
  );
}

async function freePorts(amount: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: amount }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

describe('docs/operations/cluster.md', () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ringmq-cluster-page-'));
    await mkdir(join(folder, 'bin'));
    const command = join(folder, 'bin/ringmq');
    await writeFile(command, `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'bin/ringmq.js')}' "$@"\n`);
    await chmod(command, 0o755);
    result = await runBlocks();
  }, limitMs);

  afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

  it("has commands for every part of a cluster's life", () => {
    const all = blocks.join('\n');
    for (const verb of [
      '--join',
      'openssl x509',
      'member transfer',
      'member remove',
      'snapshot save',
      'recover --data',
    ]) {
      expect(all).toContain(verb);
    }
  });

  it('can be followed as it is written', () => {
    expect(result.output, result.logs).toContain('== done');
    expect(result.status).toBe(0);
  });

  it('keeps what was written through backup, restore and recovery', () => {
    // Read on a follower, after the restore, and after the recovery.
    expect(result.output.match(/^greeting\s+hello\s/gm)).toHaveLength(3);
  });
});
