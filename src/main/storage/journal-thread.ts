/** One life of the journal worker, as the main thread sees it. Main thread; created by the storage supervisor. */
import { Worker } from 'node:worker_threads';
import type { StorageLink } from '../../workers/storage/link.ts';
import type { MainToStorage, StorageToMain } from '../../workers/storage/messages.ts';
import { journalWorkerUrl } from '../../workers/worker-urls.ts';

export class JournalThread {
  /** Set by the owner; messages arrive only after the first `post`. */
  onMessage: (message: StorageToMain) => void = () => undefined;
  /** Resolves when the thread has ended, with what it threw or undefined. */
  readonly exited: Promise<unknown>;
  private readonly worker: Worker;

  constructor() {
    this.worker = new Worker(journalWorkerUrl, { name: 'ringmq journal worker' });
    this.worker.on('message', (message: StorageToMain) => this.onMessage(message));
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

  post(message: MainToStorage): void {
    this.worker.postMessage(message);
  }

  /** Gives the thread the host's end of a link. */
  connect(link: StorageLink): void {
    this.worker.postMessage({ type: 'connect', link } satisfies MainToStorage, [link.port, link.payloads]);
  }

  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.exited;
  }
}
