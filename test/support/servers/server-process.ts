/**
 * What the test servers of databases share: a program of the system, started from a copy of a prepared data folder on a free port,
 * killed, paused, restarted and stopped with all of its processes. Thread of the test; used by the files beside it.
 *
 * As root the program runs as the system user that its package made, because such servers refuse root.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const readyLimitMs = 60_000;
const stopLimitMs = 20_000;
/** So much of the server's log is kept for messages of failed tests. */
const logCharsMax = 64 * 1024;

export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

export interface ServerProgram {
  /** For messages. */
  readonly name: string;
  /** System user that it runs as when the tests run as root. */
  readonly user: string;
  readonly command: string;
  arguments(data: string, port: number): readonly string[];
  /** Matches the line of the log that says that it serves. */
  readonly ready: RegExp;
  readonly stopSignal: NodeJS.Signals;
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('Cannot find a free port: no address');
  return address.port;
}

/** The account `name` when the tests run as root; null otherwise: the program then runs as whoever runs the tests. */
export function serverUser(name: string): ServerUser | null {
  if (userInfo().uid !== 0) return null;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  if (uid === undefined) throw new Error(`Cannot run the server as user "${name}": there is no such account`);
  return { uid: Number(uid), gid: Number(gid) };
}

/**
 * A prepared data folder, shared by all tests of this machine and made by `prepare` when it is missing. `key` names everything that
 * it depends on.
 */
export function dataTemplate(key: string, user: ServerUser | null, prepare: (folder: string) => void): string {
  const owner = user?.uid ?? userInfo().uid;
  const template = join(tmpdir(), `ringmq-template-${key}-${owner}`);
  if (existsSync(template)) {
    if (statSync(template).uid !== owner) throw new Error(`Cannot use "${template}": it belongs to another user`);
    return template;
  }
  const folder = mkdtempSync(`${template}.`);
  if (user !== null) chownSync(folder, user.uid, user.gid);
  try {
    prepare(folder);
    renameSync(folder, template);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    // Another test was quicker.
    if (!existsSync(template)) throw error;
  }
  return template;
}

/** Runs a command of the server's package to its end, as the server's user. */
export function runAs(user: ServerUser | null, command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { ...user, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { stderr, stdout } = error as { readonly stderr?: Buffer; readonly stdout?: Buffer };
    throw new Error(`Cannot run "${command}": ${stderr ?? ''}${stdout ?? ''}`, { cause: error });
  }
}

export class ServerProcess {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly folder: string;
  readonly #program: ServerProgram;
  readonly #user: ServerUser | null;
  #child: ReturnType<typeof spawn> | null = null;
  #closed: Promise<unknown> = Promise.resolve();
  #log = '';
  #isReady = false;

  private constructor(program: ServerProgram, folder: string, port: number, user: ServerUser | null) {
    this.#program = program;
    this.folder = folder;
    this.port = port;
    this.#user = user;
  }

  /** `files` are copied into the folder of the server, readable for it alone; `{folder}` in arguments stands for it. */
  static async start(
    program: ServerProgram,
    template: string,
    user: ServerUser | null,
    files: readonly string[] = [],
  ): Promise<ServerProcess> {
    const folder = mkdtempSync(join(tmpdir(), `ringmq-${program.name}-`));
    if (user !== null) chownSync(folder, user.uid, user.gid);
    // Keeps owners and modes, which `fs.cp` does not.
    execFileSync('cp', ['--archive', '--reflink=auto', template, join(folder, 'data')]);
    for (const file of files) {
      const copy = join(folder, basename(file));
      copyFileSync(file, copy);
      chmodSync(copy, 0o600);
      if (user !== null) chownSync(copy, user.uid, user.gid);
    }
    const server = new ServerProcess(program, folder, await freePort(), user);
    try {
      await server.start();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  get log(): string {
    return this.#log;
  }

  /** After `kill`, on the same port with the same data. Resolves when it serves. */
  async start(): Promise<void> {
    const { command, name, ready } = this.#program;
    const given = this.#program.arguments(join(this.folder, 'data'), this.port);
    const args = given.map((argument) => argument.replace('{folder}', this.folder));
    this.#isReady = false;
    const child = spawn(command, args, { ...this.#user, cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    const failed = once(child, 'error').then(([error]) => {
      throw new Error(`Cannot start ${name}: ${error}`);
    });
    failed.catch(() => undefined);
    this.#child = child;
    this.#closed = once(child, 'close').catch(() => undefined);
    let hasEnded = false;
    void this.#closed.then(() => {
      hasEnded = true;
    });
    const take = (text: string): void => {
      this.#log = (this.#log + text).slice(-logCharsMax);
      // Lines can be divided: what is kept is looked at, from the start of this process on.
      this.#isReady ||= ready.test(this.#log.slice(this.#log.lastIndexOf('\f') + 1));
    };
    this.#log += '\f';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', take);
    const limit = performance.now() + readyLimitMs;
    while (!this.#isReady) {
      await Promise.race([sleep(10), failed]);
      if (hasEnded || performance.now() > limit) {
        throw new Error(`Cannot start ${name}: ${hasEnded ? 'it ended' : 'it is not ready'}\n${this.#log}`);
      }
    }
  }

  /** kill -9 of all of its processes at once, as when the machine goes down, but for what the kernel has taken already. */
  async kill(): Promise<void> {
    // While the first one is stopped, it starts no further ones.
    this.pause();
    this.#signal('SIGKILL');
    await this.#closed;
    this.#child = null;
  }

  /** Nothing of it runs, and no connection is closed: a machine that hangs. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
    this.#signal('SIGSTOP');
  }

  resume(): void {
    this.#signal('SIGCONT');
  }

  /** An orderly end, and the end of the data. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child !== null && child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      this.resume();
      child.kill(this.#program.stopSignal);
      const timer = setTimeout(() => this.#signal('SIGKILL'), stopLimitMs);
      await this.#closed;
      clearTimeout(timer);
    }
    this.#child = null;
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  #signal(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    for (const each of [...childrenOf(pid), pid]) {
      try {
        process.kill(each, signal);
      } catch (error) {
        // It ended in between.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
  }
}

/** Processes whose parent is `pid`. */
function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
    .map(Number);
}

function parentOf(pid: string): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    // It ended in between.
    return -1;
  }
}
