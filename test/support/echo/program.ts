/** Starts the program `ringmq start` of a checkout, and talks lines with its toy listener. Used by integration tests. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ProgramOptions {
  readonly flags?: readonly string[];
  /** Run by this shell line instead, which gets the command as "$@": for limits of the process. */
  readonly shell?: string;
}

/** The only listener of the programs here, so that no usual port has to be free. */
const echoListener = { name: 'echo', protocol: 'echo', address: '127.0.0.1:0' };

export class Program {
  readonly process: ChildProcess;
  readonly data: string;
  /** Ports by name, from the ready line. */
  readonly ports = new Map<string, number>();
  log = '';
  stdout = '';
  readonly exited: Promise<{ code: number | null; signal: string | null }>;

  private constructor(path: string, options: ProgramOptions) {
    this.data = mkdtempSync(join(tmpdir(), 'ringmq-data-'));
    const command = [
      join(path, 'bin/ringmq.js'),
      'start',
      ...['--data', this.data, '--http', '127.0.0.1:0', '--set', `listeners=${JSON.stringify([echoListener])}`],
      ...(options.flags ?? []),
    ];
    const env = { PATH: process.env.PATH };
    this.process =
      options.shell === undefined
        ? spawn(process.execPath, command, { env, stdio: ['ignore', 'pipe', 'pipe'] })
        : spawn('/bin/sh', ['-c', options.shell, 'sh', process.execPath, ...command], {
            env,
            stdio: ['ignore', 'pipe', 'pipe'],
          });
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    this.process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.exited = once(this.process, 'exit').then(([code, signal]) => ({ code, signal }));
  }

  /** Resolves when the ready line has come; rejects with the log when the program ends before. */
  static async start(path: string, options: ProgramOptions = {}): Promise<Program> {
    const program = new Program(path, options);
    const ready = until(() => program.stdout.includes('\n'));
    await Promise.race([ready, program.exited]);
    if (!program.stdout.includes('\n')) {
      rmSync(program.data, { recursive: true, force: true });
      throw new Error(`The program ended before it was ready:\n${program.log}`);
    }
    for (const [, name, port] of program.stdout.matchAll(/(\S+)=\S+:(\d+)/g)) program.ports.set(name, Number(port));
    return program;
  }

  async connect(): Promise<LineClient> {
    return LineClient.connect(this.ports.get('echo') as number);
  }

  async metrics(): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${this.ports.get('http')}/metrics`);
    return response.text();
  }

  /** Value of the first series whose line begins so, or NaN. */
  async metric(prefix: string): Promise<number> {
    const line = (await this.metrics()).split('\n').find((text) => text.startsWith(prefix));
    return Number(line?.split(' ').at(-1));
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.exited;
    rmSync(this.data, { recursive: true, force: true });
  }
}

export class LineClient {
  readonly socket: net.Socket;
  /** Resolves with how the connection ended: 'end', or the code of an error. */
  readonly closed: Promise<string>;
  private readonly lines: string[] = [];
  private wake: (() => void) | null = null;
  private ended = false;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => {
      let how = 'end';
      socket.on('error', (error: NodeJS.ErrnoException) => {
        how = error.code ?? error.message;
      });
      socket.on('close', () => {
        this.ended = true;
        this.wake?.();
        resolve(how);
      });
    });
    let unfinished: string[] = [];
    socket.setEncoding('utf8').on('data', (text: string) => {
      unfinished.push(text);
      if (!text.includes('\n')) return;
      const lines = unfinished.join('').split('\n');
      unfinished = [lines.pop() ?? ''];
      this.lines.push(...lines);
      this.wake?.();
    });
  }

  /** Resolves when it is connected, or has ended before. */
  static async connect(port: number): Promise<LineClient> {
    const socket = net.connect(port, '127.0.0.1');
    const client = new LineClient(socket);
    const connected = new Promise((resolve) => socket.on('connect', resolve));
    await Promise.race([connected, client.closed]);
    return client;
  }

  send(line: string): void {
    this.socket.write(`${line}\n`);
  }

  /** The next line, or undefined when the connection has ended. */
  async next(): Promise<string | undefined> {
    while (this.lines.length === 0 && !this.ended) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return this.lines.shift();
  }

  async ask(line: string): Promise<string | undefined> {
    this.send(line);
    return this.next();
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Resolves when `condition` holds; rejects after a time that no healthy run needs. */
export async function until(condition: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`The condition did not hold within ${limitMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
