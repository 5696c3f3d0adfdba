/**
 * How late each worker's event loop is, in shared memory: the worker says it with every tick, the main thread looks before
 * it gives the worker another connection. A loop that stands still shows too, by the age of its last word.
 */
import { assert } from '../std/assert.ts';

/** Time of the last tick, then how late it was, ns; on a cache line of its own. */
const lineCells = 8;
const nanosecondsPerMs = 1_000_000n;

export function createLateness(workerCount: number): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.max(1, workerCount) * lineCells * BigInt64Array.BYTES_PER_ELEMENT);
}

/** The worker's side; call `tick` on a timer. */
export class LatenessWriter {
  private readonly cells: BigInt64Array;
  private readonly at: number;
  private readonly intervalNs: bigint;
  private lastNs = 0n;
  private lateNs = 0n;

  constructor(buffer: SharedArrayBuffer, worker: number, intervalMs: number) {
    this.cells = new BigInt64Array(buffer);
    this.at = worker * lineCells;
    assert(this.at < this.cells.length, 'lateness is kept for this worker');
    this.intervalNs = BigInt(intervalMs) * nanosecondsPerMs;
  }

  tick(nowNs = process.hrtime.bigint()): void {
    const late = this.lastNs === 0n ? 0n : nowNs - this.lastNs - this.intervalNs;
    // Falls by half with each tick, so that one quick turn among slow ones does not hide them.
    const remembered = this.lateNs / 2n;
    this.lateNs = larger(late, remembered);
    this.lastNs = nowNs;
    // Nothing is ordered by them: a reader that sees one without the other is off by one tick.
    Atomics.store(this.cells, this.at + 1, this.lateNs);
    Atomics.store(this.cells, this.at, nowNs);
  }
}

/** The main thread's side. */
export class LatenessReader {
  private readonly cells: BigInt64Array;
  private readonly intervalNs: bigint;

  constructor(buffer: SharedArrayBuffer, intervalMs: number) {
    this.cells = new BigInt64Array(buffer);
    this.intervalNs = BigInt(intervalMs) * nanosecondsPerMs;
  }

  /** The worker is replaced: its successor begins in time. */
  reset(worker: number): void {
    Atomics.store(this.cells, worker * lineCells, 0n);
    Atomics.store(this.cells, worker * lineCells + 1, 0n);
  }

  /** ms; 0 for a worker that has not ticked yet. */
  of(worker: number, nowNs = process.hrtime.bigint()): number {
    // As in `tick`.
    const lastNs = Atomics.load(this.cells, worker * lineCells);
    if (lastNs === 0n) return 0;
    const toldNs = Atomics.load(this.cells, worker * lineCells + 1);
    const sinceNs = nowNs - lastNs - this.intervalNs;
    return Number(larger(sinceNs, toldNs) / nanosecondsPerMs);
  }
}

/** `Math.max` does not take these. */
function larger(first: bigint, second: bigint): bigint {
  if (first > second) return first;
  return second;
}
