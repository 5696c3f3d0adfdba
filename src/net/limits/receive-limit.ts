/**
 * Limits of received bytes per second: of one connection, and of all connections of a listener over all workers. Lives on
 * connection workers; only connections of listeners with a limit get here, the others pay nothing.
 */
import type { SharedBucket } from '../../shm/shared-bucket.ts';

/** What a listener allows; null: no limit. */
export interface ReceiveLimits {
  /** Of one connection, bytes per second; 0: no limit. */
  readonly connectionBytesPerS: number;
  /** Of the listener. */
  readonly listener: SharedBucket | null;
}

/** So long at most nothing is read at a time, ms: keep-alives of the peer still arrive between. */
const pauseMsMax = 1_000;

/** Decides after each read for how long a connection is not read. One per listener and worker. */
export class ReceiveLimiter {
  private readonly limits: ReceiveLimits;
  /** When the bytes that a connection has sent would have come at its rate, ms of `performance.now()`. */
  private readonly dueMs = new WeakMap<object, number>();

  constructor(limits: ReceiveLimits) {
    this.limits = limits;
  }

  /** `connection` received `bytes`; answers for how long it is to be left alone, ms. May use one second's worth at once. */
  received(connection: object, bytes: number, nowMs = performance.now()): number {
    const { connectionBytesPerS, listener } = this.limits;
    const listenerMs = listener === null ? 0 : listener.spend(bytes);
    let ownMs = 0;
    if (connectionBytesPerS > 0) {
      const due = Math.max(this.dueMs.get(connection) ?? nowMs, nowMs) + (bytes * 1000) / connectionBytesPerS;
      this.dueMs.set(connection, due);
      ownMs = due - nowMs - 1000;
    }
    return Math.min(pauseMsMax, Math.ceil(Math.max(listenerMs, ownMs, 0)));
  }
}
