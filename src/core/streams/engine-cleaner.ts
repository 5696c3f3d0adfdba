/**
 * Deletes what nobody needs any more in the database of an engine, beside its other calls, one partition after the other. Thread: the one
 * that holds the store; owned by engines that only mark what is deleted.
 */

import { EngineFailedError } from './store-engine.ts';

export class EngineCleaner {
  readonly #keys = new Set<number>();
  readonly #cleanOne: (key: number) => Promise<void>;
  #running: Promise<void> | null = null;
  #isClosed = false;

  /** `cleanOne`: of one partition; may be cut anywhere and done again. */
  constructor(cleanOne: (key: number) => Promise<void>) {
    this.#cleanOne = cleanOne;
  }

  /** What is under way should end soon. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Some time soon. What is not reached, or fails, the next deletion or the next start cleans up. */
  cleanLater(key: number): void {
    this.#keys.add(key);
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
  }

  /** Begins nothing more. */
  stop(): void {
    this.#isClosed = true;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    for (const key of this.#keys) {
      if (this.#isClosed) return;
      this.#keys.delete(key);
      try {
        await this.#cleanOne(key);
      } catch (error) {
        // Calls of the front find out what is wrong with the engine.
        if (error instanceof EngineFailedError) return;
      }
    }
  }
}
