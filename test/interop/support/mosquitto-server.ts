/** The broker `mosquitto` as a process, on one port over its lives. Thread of the test. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../support/servers/server-process.ts';

/** Part of the system, and not on every path. */
const program = 'mosquitto';
const environment = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin` };
const readyLimitMs = 15_000;

/** Throws when it is not installed. */
export function ensureMosquittoServer(): void {
  try {
    execFileSync(program, ['-h'], { env: environment, stdio: 'ignore' });
  } catch (error) {
    // It ends with status 3 after its help.
    if ((error as { status?: number | null }).status == null) throw error;
  }
}

export class MosquittoServer {
  readonly port: number;
  private readonly folder = mkdtempSync(join(tmpdir(), 'ringmq-mosquitto-'));
  private child: ChildProcess | null = null;

  private constructor(port: number) {
    this.port = port;
  }

  /** `lines` are added to its configuration, behind those of its only listener. */
  static async start(lines: readonly string[] = []): Promise<MosquittoServer> {
    const server = new MosquittoServer(await freePort());
    const listener = [`listener ${server.port} 127.0.0.1`, 'allow_anonymous true', 'log_type none'];
    // As root it would become a user who may not read our folders.
    if (userInfo().uid === 0) listener.unshift('user root');
    writeFileSync(join(server.folder, 'mosquitto.conf'), [...listener, ...lines, ''].join('\n'));
    await server.begin();
    return server;
  }

  /** Another life on the same port. */
  async begin(): Promise<void> {
    const child = spawn(program, ['-c', join(this.folder, 'mosquitto.conf')], {
      cwd: this.folder,
      env: environment,
      stdio: 'ignore',
    });
    this.child = child;
    const limit = performance.now() + readyLimitMs;
    while (!(await this.accepts())) {
      if (child.exitCode !== null || performance.now() > limit) throw new Error('Cannot start mosquitto');
      await sleep(20);
    }
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child === null) return;
    child.kill(signal);
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  async stop(): Promise<void> {
    await this.end('SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async accepts(): Promise<boolean> {
    const socket = connect(this.port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return true;
    } catch {
      return false; // It does not listen yet.
    } finally {
      socket.destroy();
    }
  }
}
