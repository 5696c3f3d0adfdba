/**
 * One life of one connection worker, as the main thread sees it. Created by the supervisor, or by `main.ts` ahead of it
 * so that a worker loads its modules while the main thread still reads the configuration.
 */
import type { Socket } from 'node:net';
import type { Transferable, Worker } from 'node:worker_threads';
import type { MainToWorker, WorkerToMain } from '../../workers/messages.ts';
import { connectionWorkerUrl } from '../../workers/worker-urls.ts';
import { startThread } from './start-thread.ts';

/** Small for idle connections, large enough for messages that live until a disk has them (docs/adr/0006-worker-heap.md). */
const resourceLimits = { maxYoungGenerationSizeMb: 16 };

export class WorkerThread {
  /** Set by the owner; messages arrive only after the first `post`. */
  onMessage: (message: WorkerToMain) => void = () => undefined;
  /** Called once, after the last message. `error` is what was thrown, undefined after a plain exit. */
  private exitListener: ((error: unknown) => void) | null = null;
  private readonly worker: Worker;
  private error: unknown;
  /** Resolves when the thread has ended and its descriptors are closed. */
  readonly exited: Promise<void>;
  private ended = false;

  constructor() {
    this.worker = startThread(connectionWorkerUrl, 'ringmq connection worker', resourceLimits);
    this.worker.on('message', (message: WorkerToMain) => this.onMessage(message));
    this.worker.on('error', (error) => {
      this.error = error;
    });
    this.worker.on('messageerror', (error) => {
      // Every message is plain data, so one that cannot be read is a defect, and what it should have done is not done.
      this.error = error;
      void this.worker.terminate();
    });
    this.exited = new Promise((resolve) => {
      this.worker.once('exit', () => {
        this.ended = true;
        resolve();
        this.exitListener?.(this.error);
      });
    });
  }

  /** Registers who hears of the end; called at once when the thread has ended already. */
  onExit(listener: (error: unknown) => void): void {
    this.exitListener = listener;
    if (this.ended) listener(this.error);
  }

  post(message: MainToWorker, transfer: readonly Transferable[] = []): void {
    this.worker.postMessage(message, [...transfer]);
  }

  /** Moves a socket to the thread. Returns false when the thread is gone; the socket is then still the caller's. */
  handOver(listener: number, socket: Socket, isSurplus = false): boolean {
    // The types of `@types/node` do not list a socket among the transferable objects yet; Node 26.10 moves it.
    const transfer = [socket] as unknown as ArrayBuffer[];
    this.worker.postMessage({ type: 'connection', listener, socket, isSurplus } satisfies MainToWorker, transfer);
    // A moved socket is destroyed on this side. A post to a thread that has ended does nothing, and says nothing.
    return socket.destroyed;
  }

  /** Ends the thread wherever it is, an endless loop included. Its sockets are closed by Node with it. */
  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.exited;
  }
}
