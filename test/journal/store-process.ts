/** The process that holds a store, from the side of the rounds: requests, answers, and its death. Thread of the test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Answer, Request } from './store-lines.ts';

const program = fileURLToPath(new URL('./store.child.ts', import.meta.url));

type Unnumbered<T> = T extends unknown ? Omit<T, 'number'> : never;

export class StoreProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #over: Promise<void>;
  readonly #ready: Promise<void>;
  #next = 0;
  #isOver = false;
  errors = '';

  constructor(folder: string, onEvent: (text: string) => void) {
    this.#child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, folder], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stderr?.on('data', (text) => {
      this.errors += String(text);
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
    lines.on('line', (line) => {
      const answer = parse(line);
      if (answer === null) return;
      if (answer.type === 'ready') isReady();
      else if (answer.type === 'event') onEvent(answer.text);
      else {
        const tell = this.#waiting.get(answer.number);
        this.#waiting.delete(answer.number);
        tell?.(answer);
      }
    });
    this.#over = new Promise((resolve) => {
      // After the last line that it wrote was read.
      this.#child.once('close', () => {
        this.#isOver = true;
        failed(new Error(`The process that holds the store ended: ${this.errors}`));
        resolve();
      });
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get inFlight(): number {
    return this.#waiting.size;
  }

  ready(): Promise<void> {
    return this.#ready;
  }

  /** Answers the number of the request; `tell` is never called when the process dies before. */
  send(request: Unnumbered<Request>, tell: (answer: Answer) => void): number {
    this.#next += 1;
    this.#waiting.set(this.#next, tell);
    this.#child.stdin?.write(`${JSON.stringify({ ...request, number: this.#next })}\n`);
    return this.#next;
  }

  ask(request: Unnumbered<Request>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.send(request, (answer) => {
        if (answer.type === 'error') reject(new Error(`${answer.code}: ${answer.message}`));
        else resolve(answer);
      });
      void this.#over.then(() => reject(new Error(`The process that holds the store ended: ${this.errors}`)));
    });
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

/** The last line of a process that was killed may be torn. */
function parse(line: string): Answer | null {
  try {
    return JSON.parse(line) as Answer;
  } catch {
    return null;
  }
}
