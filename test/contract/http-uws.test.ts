/**
 * The HTTP contract over uWebSockets.js. It is really run on every machine: where the C library is too old, in a child
 * process under Debian 13's, which is fetched once (`scripts/debian13-libc.ts`).
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { nodeForUws } from '../../scripts/debian13-libc.ts';
import { httpContract } from './http.contract.ts';
import type { CheckResult } from './http-uws.child.ts';

/** The download of the C library included. */
const RUN_TIMEOUT_MS = 240_000;

const script = fileURLToPath(new URL('./http-uws.child.ts', import.meta.url));
const results = new Map<string, CheckResult>();
let stderr = '';
let end = '';
let kill: () => void = () => undefined;

beforeAll(async () => {
  const { command, args } = await nodeForUws();
  const child = spawn(command, [...args, script, command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  kill = () => child.kill('SIGKILL');
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString('utf8');
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString('utf8');
  });
  end = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(`exit code ${code}, signal ${signal}`));
  });
  for (const line of stdout.split('\n')) {
    if (!line.startsWith('{')) continue;
    const result = JSON.parse(line) as CheckResult;
    results.set(result.name, result);
  }
}, RUN_TIMEOUT_MS);

afterAll(() => kill());

describe('http adapter uws', () => {
  test('the child process ran every check and ended by itself', () => {
    expect(httpContract.length).toBeGreaterThan(30);
    expect({ end, stderr, checkCount: results.size }).toEqual({
      end: 'exit code 0, signal null',
      stderr: '',
      checkCount: httpContract.length,
    });
  });

  for (const { name } of httpContract) {
    test(name, () => {
      const result = results.get(name);
      expect(result, `the child process did not report this check (${end}) ${stderr}`).toBeDefined();
      expect(result?.error).toBeUndefined();
    });
  }
});
