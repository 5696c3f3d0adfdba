/**
 * Rates that a client may use up, of its own or shared with others: one interface over the two kinds of token bucket. Lives on
 * the thread of who spends; no timer, no allocation (the shared one computes with big integers).
 */
import type { SharedBucket } from '../../shm/shared-bucket.ts';

export interface Rate {
  /** How much may be spent now; fractions count. Nothing or less: somebody has to wait. */
  available(nowMs: number): number;
  /** Spends it, also beyond what is there: what comes next then waits for longer. */
  spend(amount: number, nowMs: number): void;
  /** Until `amount` is there, ms; 0 when it is. */
  waitMs(amount: number, nowMs: number): number;
}

/** Of one client, on its thread: the time at which the bucket would be full again (generic cell rate algorithm). */
export class OwnRate implements Rate {
  private readonly perMs: number;
  private readonly depth: number;
  private fullAtMs = 0;

  /** `perSecond` above 0; `burst` may be spent at once, 0 for as much as in one second. */
  constructor(perSecond: number, burst: number) {
    this.perMs = perSecond / 1000;
    this.depth = Math.max(1, burst > 0 ? burst : perSecond);
  }

  available(nowMs: number): number {
    return this.depth - Math.max(0, this.fullAtMs - nowMs) * this.perMs;
  }

  spend(amount: number, nowMs: number): void {
    this.fullAtMs = Math.max(this.fullAtMs, nowMs) + amount / this.perMs;
  }

  waitMs(amount: number, nowMs: number): number {
    const missing = amount - this.available(nowMs);
    return missing > 0 ? missing / this.perMs : 0;
  }
}

/** Of many clients on several threads; the clock is the process's own. */
export class SharedRate implements Rate {
  private readonly bucket: SharedBucket;
  private readonly perMs: number;

  constructor(bucket: SharedBucket, perSecond: number) {
    this.bucket = bucket;
    this.perMs = perSecond / 1000;
  }

  available(): number {
    return this.bucket.left();
  }

  spend(amount: number): void {
    this.bucket.spend(amount);
  }

  waitMs(amount: number): number {
    const missing = amount - this.bucket.left();
    return missing > 0 ? missing / this.perMs : 0;
  }
}
