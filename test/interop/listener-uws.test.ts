/**
 * A listener of the broker over uWebSockets.js, in a child process under Debian 13's C library where this one is too old.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { nodeForUws } from '../../scripts/debian13-libc.ts';
import type { CheckResult } from '../contract/http-uws.child.ts';

/** The download of the C library included. */
const RUN_TIMEOUT_MS = 240_000;
const script = fileURLToPath(new URL('./listener-uws.child.ts', import.meta.url));
let kill: () => void = () => undefined;

afterAll(() => kill());

describe('a listener over uWebSockets.js', () => {
  test(
    'keeps every check, and the process ends by itself',
    async () => {
      const { command, args } = await nodeForUws();
      const child = spawn(command, [...args, script], { stdio: ['ignore', 'pipe', 'pipe'] });
      kill = () => child.kill('SIGKILL');
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (chunk: Buffer) => {
        stdout += chunk.toString('utf8');
      });
      child.stderr.on('data', (chunk: Buffer) => {
        stderr += chunk.toString('utf8');
      });
      const end = await new Promise<string>((resolve) => {
        child.once('close', (code, signal) => resolve(`exit code ${code}, signal ${signal}`));
      });
      const results = stdout
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as CheckResult);
      expect({ end, stderr }).toEqual({ end: 'exit code 0, signal null', stderr: '' });
      expect(results.filter(({ error }) => error !== undefined)).toEqual([]);
      expect(results).toHaveLength(6);
    },
    RUN_TIMEOUT_MS,
  );
});
