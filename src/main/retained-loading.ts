/**
 * Which connection workers have read the stored retained values. The node accepts its first client when all have. Main thread; the
 * broker feeds it with messages and deaths.
 */

/** A node whose storage is slower than this serves without them; subscriptions get theirs when they are read. */
const LOADED_WAIT_MS = 60_000;

export class RetainedLoading {
  private readonly workerCount: number;
  private readonly loaded = new Set<number>();
  private settled: () => void = () => undefined;

  constructor(workerCount: number) {
    this.workerCount = workerCount;
  }

  workerLoaded(worker: number): void {
    this.loaded.add(worker);
    if (this.loaded.size === this.workerCount) this.settled();
  }

  workerGone(worker: number): void {
    this.loaded.delete(worker);
  }

  /** Resolves when all have, or after `limitMs`; called once. */
  async whenLoaded(limitMs = LOADED_WAIT_MS): Promise<void> {
    if (this.loaded.size === this.workerCount) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.settled = resolve;
    const timer = setTimeout(resolve, limitMs);
    await promise;
    clearTimeout(timer);
  }
}
