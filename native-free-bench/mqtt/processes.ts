/** Child processes of the comparison: pinned starts, waiting for a line or a port, orderly ends. Used by `../mqtt.ts`. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const STOP_LIMIT_MS = 5000;

/** Whether broker and load can each have a core of their own. */
export const canPin = availableParallelism() >= 2 && findProgram('taskset') !== undefined;

/** Path of `name` on the PATH, or where daemons live. */
export function findProgram(name: string): string | undefined {
  try {
    const path = `${process.env.PATH ?? ''}:/usr/sbin:/usr/local/sbin`;
    return execFileSync('/bin/sh', ['-c', 'command -v "$0"', name], { env: { PATH: path }, encoding: 'utf8' }).trim();
  } catch {
    // `command -v` says "not there" by its exit status.
    return undefined;
  }
}

/** Puts `taskset` before a command where pinning is possible; the process keeps its id, since taskset becomes it. */
export function pinned(core: number, command: readonly string[]): string[] {
  return canPin ? ['taskset', '-c', `${core}`, ...command] : [...command];
}

export interface Running {
  readonly pid: number;
  /** Ends it, by force when it does not end by itself in time. */
  readonly stop: () => Promise<void>;
}

/** Starts `command` and waits for the line of its output that `pattern` matches. */
export async function startUntilLine(
  command: readonly string[],
  pattern: RegExp,
  cwd?: string,
): Promise<Running & { match: RegExpMatchArray }> {
  const child = spawn(command[0], command.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  });
  const match = await waitForLine(child, command, pattern);
  return { ...running(child), match };
}

/** Starts `command` and waits until `port` of 127.0.0.1 accepts. */
export async function startUntilPort(command: readonly string[], port: number): Promise<Running> {
  const child = spawn(command[0], command.slice(1), { stdio: 'ignore' });
  child.on('error', () => undefined); // The port then never opens, which is reported below.
  const one = running(child);
  if (!(await waitForPort(port, 10_000, () => child.exitCode !== null))) {
    await one.stop();
    throw new Error(`Cannot start "${command.join(' ')}": port ${port} does not accept`);
  }
  return one;
}

/** True as soon as `port` accepts a connection, false after `limitMs` or when `isOver`. */
export async function waitForPort(port: number, limitMs: number, isOver: () => boolean): Promise<boolean> {
  const limit = performance.now() + limitMs;
  while (performance.now() < limit && !isOver()) {
    if (await accepts(port)) return true;
    await sleep(2);
  }
  return false;
}

/** Runs `command` to its end and returns its standard output; throws with standard error when it fails. */
export async function runToEnd(command: readonly string[], limitMs: number): Promise<string> {
  const child = spawn(command[0], command.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limitMs,
    killSignal: 'SIGKILL',
  });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk;
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code !== 0)
    throw new Error(
      `Cannot finish "${command.join(' ')}": ${signal ?? `status ${code}`}: ${errors.trim().slice(-500)}`,
    );
  return output;
}

/** A port of 127.0.0.1 that was free a moment ago, for programs that cannot choose one themselves. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A handle on a child, whether it still runs or not. */
export function running(child: ChildProcess): Running {
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const closed = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
    await closed;
    clearTimeout(timer);
  };
  return { pid: child.pid ?? 0, stop };
}

function waitForLine(child: ChildProcess, command: readonly string[], pattern: RegExp): Promise<RegExpMatchArray> {
  return new Promise((resolve, reject) => {
    let output = '';
    let errors = '';
    const fail = (why: string): void =>
      reject(new Error(`Cannot start "${command.join(' ')}": ${why} ${errors.trim().slice(-500)}`));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail('not ready within 20 s');
    }, 20_000);
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code) => {
      clearTimeout(timer);
      fail(`ended with status ${code}`);
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      errors = (errors + chunk).slice(-2000);
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      output = (output + chunk).slice(-10_000);
      const match = pattern.exec(output);
      if (match === null) return;
      clearTimeout(timer);
      resolve(match);
    });
  });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const answer = (value: boolean): void => {
      socket.destroy();
      resolve(value);
    };
    socket.once('connect', () => answer(true));
    socket.once('error', () => answer(false));
  });
}
