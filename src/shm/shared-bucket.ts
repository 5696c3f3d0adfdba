/**
 * Token buckets in shared memory: several threads spend from one budget per second, without a message.
 *
 * Kept as one number, the time at which the bucket would be full again (the generic cell rate algorithm): a spender moves
 * it on by the cost and looks how far it lies ahead. The clock is the process's, the same on all threads.
 */
import { assert } from '../std/assert.ts';

const nanosecondsPerSecond = 1_000_000_000n;

/** Memory of `count` buckets, all full. */
export function createSharedBuckets(count: number): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.max(1, count) * BigInt64Array.BYTES_PER_ELEMENT);
}

/** One thread's view of one bucket. */
export class SharedBucket {
  private readonly cells: BigInt64Array;
  private readonly index: number;
  private readonly perSecond: bigint;
  private readonly depthNs: bigint;

  /** `perSecond` above 0; `burst` is what may be spent at once, 0 for as much as in one second. */
  constructor(buffer: SharedArrayBuffer, index: number, perSecond: number, burst: number) {
    this.cells = new BigInt64Array(buffer);
    assert(index < this.cells.length && perSecond > 0, 'the bucket exists and is filled');
    this.index = index;
    this.perSecond = BigInt(Math.ceil(perSecond));
    this.depthNs = (BigInt(Math.max(1, burst > 0 ? burst : perSecond)) * nanosecondsPerSecond) / this.perSecond;
  }

  /** Spends `amount` when it is there; false when not, and nothing was spent. */
  take(amount: number, nowNs = process.hrtime.bigint()): boolean {
    const costNs = this.cost(amount);
    for (;;) {
      // Sequentially consistent, as all of Atomics; the exchange below finds out when another thread came first.
      const seen = Atomics.load(this.cells, this.index);
      const next = later(seen, nowNs) + costNs;
      if (next - nowNs > this.depthNs) return false;
      if (Atomics.compareExchange(this.cells, this.index, seen, next) === seen) return true;
    }
  }

  /** Spends `amount` in any case. Answers for how long nobody should spend more, ms; 0 while there is some left. */
  spend(amount: number, nowNs = process.hrtime.bigint()): number {
    const costNs = this.cost(amount);
    for (;;) {
      // As in `take`.
      const seen = Atomics.load(this.cells, this.index);
      const next = later(seen, nowNs) + costNs;
      if (Atomics.compareExchange(this.cells, this.index, seen, next) !== seen) continue;
      const aheadNs = next - nowNs - this.depthNs;
      return aheadNs > 0n ? Math.ceil(Number(aheadNs) / 1e6) : 0;
    }
  }

  /** How much may be spent now, below 0 when more was spent than there was. Other threads spend meanwhile. */
  left(nowNs = process.hrtime.bigint()): number {
    // Sequentially consistent, as all of Atomics; nothing is ordered by it.
    const aheadNs = later(Atomics.load(this.cells, this.index), nowNs) - nowNs;
    return (Number(this.depthNs - aheadNs) * Number(this.perSecond)) / Number(nanosecondsPerSecond);
  }

  private cost(amount: number): bigint {
    return (BigInt(amount) * nanosecondsPerSecond) / this.perSecond;
  }
}

/** `Math.max` does not take these. */
function later(first: bigint, second: bigint): bigint {
  if (first > second) return first;
  return second;
}
