/** Delays between the deaths of a worker and its successor's start. Lives on the main thread, used by the supervisor. */

const FACTOR = 2;
/** A worker that lived this long was healthy: what killed it is not what killed its predecessor. */
const HEALTHY_MS = 30_000;

export class BackOff {
  private readonly firstMs: number;
  private readonly longestMs: number;
  private nextMs: number;

  constructor(firstMs: number, longestMs: number) {
    this.firstMs = firstMs;
    this.longestMs = longestMs;
    this.nextMs = firstMs;
  }

  /** Delay before the successor of a worker that served for `livedMs` starts, ms. */
  after(livedMs: number): number {
    if (livedMs >= HEALTHY_MS) this.nextMs = this.firstMs;
    const delayMs = this.nextMs;
    this.nextMs = Math.min(this.longestMs, delayMs * FACTOR);
    return delayMs;
  }
}
