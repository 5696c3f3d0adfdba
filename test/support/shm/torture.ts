/** Runs threads of `torture.worker.ts` against each other; used by the ring's tests. Every run is bounded in time. */
import { Worker } from 'node:worker_threads';
import { createDoorbells, Doorbell } from '../../../src/shm/doorbell.ts';
import { createRing, RingConsumer } from '../../../src/shm/fan-out-ring.ts';
import {
  checkedWord,
  controlBytes,
  heldWord,
  stopWord,
  type TortureFault,
  type TortureReport,
  type TortureWorkerData,
} from './torture.worker.ts';
import { tortureIndexes } from './torture-records.ts';

export interface TortureOptions {
  threadCount: number;
  capacityBytes: number;
  mode: 'poll' | 'events';
  /** At least; the run goes on until every thread has checked some records of every other. */
  durationMs: number;
  fault?: TortureFault;
  positionStart?: number;
}

/** Per pair of threads, and so also after a late replacement. */
const checkedMin = 400;
/** Without any progress for this long, a thread hangs. */
const stallMs = 8000;

interface Thread {
  worker: Worker;
  incarnation: number;
  report: Promise<TortureReport>;
}

/** A running torture. `finish` rejects with the first error of any thread. */
export class Torture {
  private readonly options: TortureOptions;
  private readonly rings: SharedArrayBuffer[];
  private readonly doorbells: SharedArrayBuffer;
  private readonly control: SharedArrayBuffer;
  private readonly threads: Thread[] = [];
  private readonly endMs: number;

  private constructor(options: TortureOptions) {
    this.options = options;
    this.rings = Array.from({ length: options.threadCount }, () =>
      createRing(options.capacityBytes, 64, options.positionStart ?? 0),
    );
    this.doorbells = createDoorbells(64);
    this.control = new SharedArrayBuffer(controlBytes);
    this.endMs = Date.now() + options.durationMs;
  }

  static async start(options: TortureOptions, holdThread = -1, holdAtSequence = -1): Promise<Torture> {
    const torture = new Torture(options);
    for (let thread = 0; thread < options.threadCount; thread++) {
      torture.threads.push(await torture.launch(thread, 0, thread === holdThread ? holdAtSequence : -1));
    }
    for (const thread of torture.threads) thread.worker.postMessage('go');
    return torture;
  }

  /** Terminates a thread wherever it is, takes it out of the rings and puts a successor in its place. */
  async replace(thread: number): Promise<void> {
    const dead = this.threads[thread];
    dead.report.catch(() => undefined);
    await dead.worker.terminate();
    for (let source = 0; source < this.rings.length; source++) {
      if (source === thread) continue;
      RingConsumer.detach(this.rings[source], tortureIndexes[thread]);
    }
    Doorbell.rouseAll(this.doorbells);
    this.threads[thread] = await this.launch(thread, dead.incarnation + 1, -1);
    this.threads[thread].worker.postMessage('go');
  }

  /** Resolves when this thread stands in the middle of the record it was told to hold at. */
  async held(thread: number): Promise<void> {
    const control = new Int32Array(this.control);
    while (Atomics.load(control, heldWord(thread)) === 0) await sleepMs(5);
  }

  /** Lets the threads run, ends them and returns what they report. */
  async finish(): Promise<TortureReport[]> {
    const reports = Promise.all(this.threads.map((thread) => thread.report));
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    reports.then(settle, settle);
    const control = new Int32Array(this.control);
    try {
      let seen = -1;
      let movedMs = Date.now();
      while (!settled) {
        await sleepMs(10);
        // Every word here only grows while the threads get on.
        const sum = control.reduce((total, word) => total + word, 0);
        if (sum !== seen) movedMs = Date.now();
        seen = sum;
        if (Date.now() - movedMs > stallMs) throw new Error('Cannot finish the torture: a thread hangs');
        if (Date.now() >= this.endMs && this.allHaveChecked(control)) Atomics.store(control, stopWord, 1);
      }
      return await reports;
    } finally {
      await this.stop();
    }
  }

  private allHaveChecked(control: Int32Array): boolean {
    const indexes = this.threads.map((_, index) => index);
    return indexes.every((thread) =>
      indexes.every((source) => source === thread || Atomics.load(control, checkedWord(thread, source)) >= checkedMin),
    );
  }

  async stop(): Promise<void> {
    for (const thread of this.threads) thread.report.catch(() => undefined);
    await Promise.all(this.threads.map((thread) => thread.worker.terminate()));
  }

  private async launch(thread: number, incarnation: number, holdAtSequence: number): Promise<Thread> {
    const { threadCount, mode, fault } = this.options;
    const workerData: TortureWorkerData = {
      thread,
      threadCount,
      rings: this.rings,
      doorbells: this.doorbells,
      control: this.control,
      mode,
      fault: fault ?? 'none',
      incarnation,
      late: incarnation > 0,
      holdAtSequence,
    };
    const worker = new Worker(new URL('./torture.worker.ts', import.meta.url), { workerData });
    const report = new Promise<TortureReport>((resolve, reject) => {
      worker.on('message', (message: TortureReport | string) => {
        if (typeof message !== 'string') resolve(message);
      });
      worker.on('error', reject);
      worker.on('exit', () => reject(new Error('Cannot finish the torture: a thread ended without a report')));
    });
    report.catch(() => undefined);
    await new Promise<void>((resolve, reject) => {
      worker.once('message', () => resolve());
      report.catch(reject);
    });
    return { worker, incarnation, report };
  }
}

export async function sleepMs(durationMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, durationMs));
}
