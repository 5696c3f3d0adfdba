/**
 * One life of a worker thread of which a broker has one at a time, as the main thread sees it: messages both ways, and the end with
 * its reason. Main thread; the base of the Raft thread and the journal thread, which add what they are given.
 */
import type { ResourceLimits, Transferable, Worker } from 'node:worker_threads';
import { startThread } from './start-thread.ts';

export class WorkerLife<In, Out> {
  /** Set by the owner; messages arrive only after the first `post`. */
  onMessage: (message: Out) => void = () => undefined;
  /** Resolves when the thread has ended, with what it threw or undefined. */
  readonly exited: Promise<unknown>;
  private readonly worker: Worker;

  constructor(url: URL, name: string, resourceLimits: ResourceLimits = {}) {
    this.worker = startThread(url, name, resourceLimits);
    this.worker.on('message', (message: Out) => this.onMessage(message));
    let thrown: unknown;
    this.worker.on('error', (error) => {
      thrown = error;
    });
    this.worker.on('messageerror', (error) => {
      thrown = error;
      void this.worker.terminate();
    });
    this.exited = new Promise((resolve) => {
      this.worker.once('exit', () => resolve(thrown));
    });
  }

  post(message: In, transfer: readonly Transferable[] = []): void {
    this.worker.postMessage(message, transfer);
  }

  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.exited;
  }
}
