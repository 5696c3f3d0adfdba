/**
 * Deletes objects that nobody needs, after a time. Thread: the one that holds the store; owned by the engine beside this file.
 *
 * Why after a time: the key of a run is what keeps two writers from storing the same offset, so that it has to stay taken
 * until an old writer has noticed that there is a newer one. What is not deleted when the process ends is found again
 * when the partition is opened the next time.
 */

import { StorageError } from '../../core/streams/storage-error.ts';
import { EngineLostError } from '../../core/streams/store-engine.ts';
import type { ObjectStore } from './object-store.ts';

const tickMs = 1000;
const deletesAtOnce = 8;
/** Keys that are remembered at most; further ones are left for the next opening. */
const keysMax = 100_000;

export class Janitor {
  readonly #objects: ObjectStore;
  readonly #now: () => number;
  /** Key and when it may go. */
  #due: { readonly key: string; readonly at: number }[] = [];
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | null = null;

  /** `now`: milliseconds of a clock that does not go back. */
  constructor(objects: ObjectStore, now: () => number) {
    this.#objects = objects;
    this.#now = now;
    this.#timer = setInterval(() => this.tick(), tickMs);
  }

  get waiting(): number {
    return this.#due.length;
  }

  deleteLater(keys: readonly string[], delayMs: number): void {
    const at = this.#now() + delayMs;
    for (const key of keys.slice(0, keysMax - this.#due.length)) this.#due.push({ key, at });
  }

  /** Begins with what is due. */
  tick(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#due = [];
    await this.#running;
  }

  async #run(): Promise<void> {
    const now = this.#now();
    const due = this.#due.filter(({ at }) => at <= now);
    if (due.length === 0) return;
    this.#due = this.#due.filter(({ at }) => at > now);
    for (let at = 0; at < due.length; at += deletesAtOnce) {
      const step = due.slice(at, at + deletesAtOnce);
      try {
        await Promise.all(step.map(({ key }) => this.#objects.delete(key)));
      } catch (error) {
        if (!(error instanceof EngineLostError) && !(error instanceof StorageError)) throw error;
        // Later, when the storage answers again; to delete something twice does no harm.
        this.#due.push(...due.slice(at));
        return;
      }
    }
  }
}
