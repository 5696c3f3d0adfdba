/**
 * The one life of the Raft worker, as the main thread sees it. Created by the placement host, or by `main.ts` ahead of it
 * so that it loads its modules while the main thread still reads the configuration.
 */
import { type MessagePort, Worker } from 'node:worker_threads';
import type { MainToRaft, RaftToMain } from '../../raft/messages.ts';
import { raftWorkerUrl } from '../../raft/worker-url.ts';

/** Less than the default of 48: what the state keeps until its next flush is copied by every collection, and writes wait for that. */
const resourceLimits = { maxYoungGenerationSizeMb: 32 };

export class RaftThread {
  /** Set by the owner; messages arrive only after the first `post`. */
  onMessage: (message: RaftToMain) => void = () => undefined;
  /** Resolves when the thread has ended, with what it threw or undefined. */
  readonly exited: Promise<unknown>;
  private readonly worker: Worker;

  constructor() {
    this.worker = new Worker(raftWorkerUrl, { name: 'ringmq raft worker', resourceLimits });
    this.worker.on('message', (message: RaftToMain) => this.onMessage(message));
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

  post(message: MainToRaft): void {
    this.worker.postMessage(message);
  }

  /** Gives the thread the other end of a client's port. */
  connect(port: MessagePort): void {
    this.worker.postMessage({ type: 'connect', port } satisfies MainToRaft, [port]);
  }

  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.exited;
  }
}
