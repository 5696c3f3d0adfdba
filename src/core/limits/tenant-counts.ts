/**
 * How much each tenant has of something on all workers together, in shared memory: one cell for each tenant and worker, which
 * that worker alone writes. Whoever asks adds them up; two workers that ask at once may both find room for the last one.
 *
 * Thread: `TenantCounts` on connection workers; `clearWorker` on the main thread, between a worker and its successor.
 */
import { assert } from '../../std/assert.ts';
import { tenantsMax } from './admissions.ts';

export function createTenantCounts(workerCount: number): SharedArrayBuffer {
  return new SharedArrayBuffer(tenantsMax * workerCount * Int32Array.BYTES_PER_ELEMENT);
}

/** The worker died: what it had is gone. */
export function clearWorker(buffer: SharedArrayBuffer, worker: number, workerCount: number): void {
  const cells = new Int32Array(buffer);
  // Nobody else writes them now. Atomic so that nobody reads an old value; nothing is ordered by it.
  for (let at = worker; at < cells.length; at += workerCount) Atomics.store(cells, at, 0);
}

/** The counts of one tenant, as one worker sees and changes them. */
export class TenantCount {
  private readonly cells: Int32Array;
  private readonly first: number;
  private readonly own: number;
  private readonly workerCount: number;
  private readonly max: number;

  constructor(buffer: SharedArrayBuffer, slot: number, worker: number, workerCount: number, max: number) {
    this.cells = new Int32Array(buffer);
    this.first = slot * workerCount;
    this.own = this.first + worker;
    this.workerCount = workerCount;
    this.max = max;
    assert(slot < tenantsMax && worker < workerCount, 'the tenant and the worker have a cell');
  }

  add(count: number): void {
    // As in `clearWorker`.
    Atomics.add(this.cells, this.own, count);
  }

  get total(): number {
    let sum = 0;
    for (let at = this.first; at < this.first + this.workerCount; at++) sum += Atomics.load(this.cells, at);
    return sum;
  }

  get isFull(): boolean {
    return this.total >= this.max;
  }
}
