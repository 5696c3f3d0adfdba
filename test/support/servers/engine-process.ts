/**
 * The process of a storage engine for a test: started on a free port of 127.0.0.1, killed, started again over the same
 * folder, and gone with its folder at the end. Thread of the test; used by the servers beside it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './server-process.ts';

const startLimitMs = 30_000;
const pollMs = 20;
/** Enough to see why a server refuses to start. */
const outputCharactersMax = 4_000;

export interface EngineCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What to do when the program is not there. */
  readonly hint: string;
  /** Whether it serves; throws or answers false until it does. */
  readonly isReady: () => Promise<boolean>;
}

export class EngineProcess {
  readonly folder: string;
  readonly port: number;
  readonly #command: (server: EngineProcess) => EngineCommand;
  #child: ChildProcess | null = null;
  #output = '';

  private constructor(folder: string, port: number, command: (server: EngineProcess) => EngineCommand) {
    this.folder = folder;
    this.port = port;
    this.#command = command;
  }

  /** A folder, a port and a running process; `command` is asked again at each start. */
  static async start(name: string, command: (server: EngineProcess) => EngineCommand): Promise<EngineProcess> {
    const folder = await mkdtemp(join(tmpdir(), `ringmq-${name}-`));
    const server = new EngineProcess(folder, await freePort(), command);
    try {
      await server.run();
    } catch (error) {
      await server.remove();
      throw error;
    }
    return server;
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  get processId(): number {
    return this.#child?.pid ?? 0;
  }

  /** Starts the process and waits until it serves. */
  async run(): Promise<void> {
    const { program, args, env, hint, isReady } = this.#command(this);
    const child = spawn(program, args, { cwd: this.folder, env: { ...process.env, ...env }, stdio: 'pipe' });
    this.#child = child;
    this.#output = '';
    let failure: string | null = null;
    child.on('error', (error) => {
      failure = `${error.message}; ${hint}`;
    });
    child.on('exit', (code, signal) => {
      failure ??= `it ended with ${code ?? signal}`;
      if (this.#child === child) this.#child = null;
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text: Buffer) => {
        this.#output = (this.#output + text.toString()).slice(-outputCharactersMax);
      });
    }
    const deadline = Date.now() + startLimitMs;
    while (!(await isReady().catch(() => false))) {
      if (failure !== null) throw new Error(`Cannot start ${program}: ${failure}\n${this.#output}`);
      if (Date.now() > deadline) {
        await this.end('SIGKILL');
        throw new Error(`Cannot start ${program}: it does not serve after ${startLimitMs} ms\n${this.#output}`);
      }
      await sleep(pollMs);
    }
  }

  /** Sends the signal and waits until the process is gone. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === null || child.pid === undefined) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
    this.#child = null;
  }

  /** Nothing of it runs, and no connection is closed: a machine that hangs. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Ends the process, and the folder with it. */
  async remove(): Promise<void> {
    await this.end('SIGKILL');
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
