/**
 * A broker as its users run it: `ringmq start` as a process of its own, on free ports, with a data folder of its own.
 * Used by the interoperability, crash and fuzz tests and by scripts; thread of the test.
 *
 * Every test that starts one ends with `stop`, which fails when the broker did not leave in an orderly way or logged an
 * error that nobody expected.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const repository = join(import.meta.dirname, '../..');
const readyLimitMs = 30_000;
/** The broker drains for `shutdown.drainLimitMs`, 5 s as a default; then it is killed. */
const stopLimitMs = 15_000;

export interface BrokerProcessOptions {
  /** Connection worker threads; 2 as a default, so that every test meets several. */
  readonly workers?: number;
  /** Settings by path, as in `--set mqtt.keepAliveMaxS=60`; lists and objects are written as JSON. */
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly logLevel?: 'error' | 'warn' | 'info' | 'debug';
  /** Flags for `ringmq start` beside those. */
  readonly flags?: readonly string[];
  /** What starts Node: another loader, a tool that pins it to a core. As a default this Node itself. */
  readonly launcher?: { readonly command: string; readonly args: readonly string[] };
  /** Flags for Node, before the program. */
  readonly nodeFlags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** A data folder that outlives the broker; without it the broker has one of its own, removed by `stop`. */
  readonly data?: string;
  /** Log lines of level error that the test provokes. */
  readonly expectedErrors?: readonly RegExp[];
}

export interface LogLine {
  readonly time: string;
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface BrokerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class BrokerProcess {
  readonly host = '127.0.0.1';
  readonly data: string;
  /** Resolves when the process has ended, however. */
  readonly exited: Promise<BrokerExit>;
  private readonly child: ChildProcess;
  private readonly ports = new Map<string, number>();
  private readonly ownsData: boolean;
  private readonly expectedErrors: readonly RegExp[];
  private output = '';
  private errors = '';
  private hasExited = false;

  private constructor(options: BrokerProcessOptions) {
    this.ownsData = options.data === undefined;
    this.data = options.data ?? mkdtempSync(join(tmpdir(), 'ringmq-broker-'));
    this.expectedErrors = options.expectedErrors ?? [];
    const { command, args } = options.launcher ?? { command: process.execPath, args: [] };
    this.child = spawn(command, [...args, ...commandOf(this.data, options)], {
      cwd: this.data,
      env: { PATH: process.env.PATH, ...options.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    // 'close' and not 'exit': the log is complete then.
    this.exited = once(this.child, 'close').then(([code, signal]) => {
      this.hasExited = true;
      return { code, signal } as BrokerExit;
    });
  }

  /** Resolves when the broker serves. Rejects with its log when it ends before, or is not ready within 30 s. */
  static async start(options: BrokerProcessOptions = {}): Promise<BrokerProcess> {
    const broker = BrokerProcess.launch(options);
    await broker.becomeReady();
    return broker;
  }

  /** As `start`, without waiting: for tests that end it before it is ready. */
  static launch(options: BrokerProcessOptions = {}): BrokerProcess {
    return new BrokerProcess(options);
  }

  /** Resolves when it serves; rejects as `start` does. */
  async becomeReady(): Promise<void> {
    const limit = performance.now() + readyLimitMs;
    while (!this.output.includes('\n')) {
      const hasEnded = this.hasExited;
      if (hasEnded || performance.now() > limit) {
        await this.kill();
        const { code, signal } = await this.exited;
        const problem = hasEnded ? `it ended by ${signal ?? `status ${code}`}` : 'it is not ready';
        throw new Error(`Cannot start the broker: ${problem}\n${this.log}`);
      }
      await sleep(5);
    }
    for (const [, name, port] of this.output.matchAll(/(\S+)=\S+:(\d+)/g)) this.ports.set(name, Number(port));
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Port of the listener `name` of the ready line: `mqtt`, `http` or another one that was configured. */
  port(name = 'mqtt'): number {
    const port = this.ports.get(name);
    if (port === undefined) throw new Error(`Cannot find listener "${name}": the ready line is ${this.output.trim()}`);
    return port;
  }

  get isRunning(): boolean {
    return !this.hasExited;
  }

  /** Everything that it wrote to standard error so far. */
  get log(): string {
    return this.errors;
  }

  /** The log by lines; what is no log line (a message of Node itself) has level error. A line that is not whole yet is left out. */
  get logLines(): LogLine[] {
    // A pipe gives what has arrived: half a line is no message of Node. What a process that has ended did not finish is looked at.
    const whole = this.hasExited ? this.errors : this.errors.slice(0, this.errors.lastIndexOf('\n') + 1);
    return whole
      .split('\n')
      .filter((line) => line !== '')
      .map(parseLine);
  }

  /** Log lines of level error that the test did not expect. */
  get unexpectedErrors(): string[] {
    return this.logLines
      .filter(({ level }) => level === 'error')
      .map((line) => JSON.stringify(line))
      .filter((text) => !this.expectedErrors.some((expected) => expected.test(text)));
  }

  /** Prometheus text of `/metrics`. */
  async metrics(): Promise<string> {
    const response = await fetch(`http://${this.host}:${this.port('http')}/metrics`);
    return response.text();
  }

  /** Sum of all series of the metric `name` whose labels contain `labels`; 0 when there is none. */
  async metric(name: string, labels = ''): Promise<number> {
    let sum = 0;
    for (const line of (await this.metrics()).split('\n')) {
      if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
      if (line.includes(labels)) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
    }
    return sum;
  }

  /** Sends a signal to the broker and to nothing else. */
  signal(signal: NodeJS.Signals): void {
    if (!this.hasExited) this.child.kill(signal);
  }

  /** Orderly end. Throws when the broker had to be killed, ended with another status than 0, or logged errors. */
  async stop(): Promise<void> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), stopLimitMs);
    const { code, signal } = await this.exited;
    clearTimeout(timer);
    this.removeData();
    const how = signal ?? `status ${code}`;
    if (code !== 0) throw new Error(`Cannot stop the broker in an orderly way: it ended by ${how}\n${this.log}`);
    const errors = this.unexpectedErrors;
    if (errors.length > 0) throw new Error(`The broker logged errors:\n${errors.join('\n')}`);
  }

  /** The end of a broker that crashes. Its data folder stays when it was given. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited;
    this.removeData();
  }

  private removeData(): void {
    if (this.ownsData) rmSync(this.data, { recursive: true, force: true });
  }
}

function commandOf(data: string, options: BrokerProcessOptions): string[] {
  const settings = Object.entries({ 'log.format': 'json', ...options.settings });
  return [
    ...(options.nodeFlags ?? []),
    join(repository, 'bin/ringmq.js'),
    'start',
    ...['--data', data, '--workers', `${options.workers ?? 2}`],
    ...['--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0', '--log-level', options.logLevel ?? 'info'],
    ...settings.flatMap(([path, value]) => ['--set', `${path}=${textOf(value)}`]),
    ...(options.flags ?? []),
  ];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function parseLine(line: string): LogLine {
  try {
    const parsed: unknown = JSON.parse(line);
    if (typeof parsed === 'object' && parsed !== null && 'level' in parsed) return parsed as LogLine;
  } catch {
    // Not a log line: a warning or a crash report of Node.
  }
  return { time: '', level: 'error', message: line };
}
