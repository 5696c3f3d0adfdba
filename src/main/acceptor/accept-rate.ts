/**
 * Token bucket for accepted connections. Lives on the main thread, used by the acceptor.
 *
 * A connection beyond the rate is refused at once, not delayed: Node cannot leave it in the kernel's backlog without
 * closing the listening socket, so a delayed one would hold a descriptor, and just in a storm there are none to spare.
 * A refused client knows at once and backs off by itself.
 */
export class AcceptRate {
  private readonly perMs: number;
  private readonly burst: number;
  private tokens: number;
  private lastMs: number;

  /** `perSecond` 0 means no limit; `burst` connections may come at once, 0 for as many as in one second. */
  constructor(perSecond: number, burst: number, nowMs: number) {
    this.perMs = perSecond / 1000;
    this.burst = burst > 0 ? burst : Math.max(1, perSecond);
    this.tokens = this.burst;
    this.lastMs = nowMs;
  }

  /** Whether one more connection may come in now. */
  take(nowMs: number): boolean {
    if (this.perMs === 0) return true;
    this.tokens = Math.min(this.burst, this.tokens + Math.max(0, nowMs - this.lastMs) * this.perMs);
    this.lastMs = nowMs;
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }
}
