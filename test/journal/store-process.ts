/** The process that hosts the store, from the side of the rounds: calls, answers, pushes, and its death. Thread of the test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CallError, type Link, linkOver, type Tell } from './link.ts';
import type { CallFailure, CallName, Calls, Line, Push } from './store-lines.ts';

const program = fileURLToPath(new URL('./store.child.ts', import.meta.url));

export interface StoreProcessOptions {
  readonly folder: string;
  /** Compiled modules are kept here, so that the next start is faster. */
  readonly cacheFolder: string;
  readonly plant: string | null;
  onPush(push: Push): void;
}

export class StoreProcess implements Link {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (failure: CallFailure | null, answer: never) => void>();
  readonly #cut = new Set<(error: Error) => void>();
  readonly #over: Promise<void>;
  readonly #ready: Promise<void>;
  #next = 0;
  #isOver = false;
  #errors = '';

  constructor({ folder, cacheFolder, plant, onPush }: StoreProcessOptions) {
    const flags = ['--disable-warning=ExperimentalWarning', program, folder];
    this.#child = spawn(process.execPath, plant === null ? flags : [...flags, plant], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, NODE_COMPILE_CACHE: cacheFolder },
    });
    this.#child.stderr?.on('data', (text) => {
      this.#errors += String(text);
    });
    // A process that was killed takes nothing more.
    this.#child.stdin?.on('error', () => undefined);
    let isReady: () => void = () => undefined;
    let failed: (error: Error) => void = () => undefined;
    this.#ready = new Promise((resolve, reject) => {
      isReady = resolve;
      failed = reject;
    });
    this.#ready.catch(() => undefined);
    const lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream });
    lines.on('line', (text) => {
      const line = parse(text);
      if (line === null) return;
      if (!('push' in line)) {
        const tell = this.#waiting.get(line.number);
        this.#waiting.delete(line.number);
        tell?.(line.failure, line.answer as never);
      } else if (line.push.type === 'ready') isReady();
      else onPush(line.push);
    });
    this.#over = new Promise((resolve) => {
      // After the last line that it wrote was read.
      this.#child.once('close', () => {
        this.#isOver = true;
        failed(new Error(`The process that hosts the store ended: ${this.#errors}`));
        for (const cut of [...this.#cut]) cut(over());
        resolve();
      });
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** What it wrote to its standard error. */
  get errors(): string {
    return this.#errors;
  }

  now(): number {
    return Date.now();
  }

  /** Lets it open the store, which nobody else has open; resolves when it serves. It is loaded before that. */
  open(): Promise<void> {
    this.#child.stdin?.write('open\n');
    return this.#ready;
  }

  send<Name extends CallName>(type: Name, given: Calls[Name]['given'], tell: Tell<Name>): void {
    this.#next += 1;
    this.#waiting.set(this.#next, tell);
    this.#child.stdin?.write(`${JSON.stringify({ ...given, type, number: this.#next })}\n`);
  }

  ask<Name extends CallName>(type: Name, given: Calls[Name]['given']): Promise<Calls[Name]['answer']> {
    if (this.#isOver) return Promise.reject(over());
    return new Promise((resolve, reject) => {
      this.#cut.add(reject);
      this.send(type, given, (failure, answer) => {
        this.#cut.delete(reject);
        if (failure === null) resolve(answer);
        else reject(new CallError(failure));
      });
    });
  }

  async pause(ms: number): Promise<void> {
    await sleep(ms);
    if (this.#isOver) throw over();
  }

  /** Kills it, and waits until all that it said was heard. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#over;
  }

  /** Lets it close in order. */
  async stop(): Promise<void> {
    this.#child.stdin?.end();
    await this.#over;
  }
}

function over(): CallError {
  return new CallError({ code: linkOver, message: 'the host of the store is gone' });
}

/** The last line of a process that was killed may be torn. */
function parse(text: string): Line | null {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return null;
  }
}
