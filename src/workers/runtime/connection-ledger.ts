/**
 * How many connections each worker has, fresh enough to choose the next worker by.
 *
 * The main thread counts up when it hands a socket over, the worker counts down in shared memory when a connection has
 * ended: a socket that is still on its way counts, and nobody sends a message to count. One cell per worker and
 * listener holds the connections that have ended; only its worker writes it, the main thread reads it.
 */
import { assert } from '../../std/assert.ts';

/** Cells of two workers never share a cache line (64 bytes). */
const CELLS_PER_LINE = 16;

function stride(listenerCount: number): number {
  return Math.ceil(Math.max(1, listenerCount) / CELLS_PER_LINE) * CELLS_PER_LINE;
}

export function createLedger(workerCount: number, listenerCount: number): SharedArrayBuffer {
  // Connections that have ended, then those that were handed over; only the main thread writes the second half.
  return new SharedArrayBuffer(2 * workerCount * stride(listenerCount) * Int32Array.BYTES_PER_ELEMENT);
}

/** The worker's side. */
export class LedgerWriter {
  private readonly cells: Int32Array;
  private readonly base: number;

  constructor(buffer: SharedArrayBuffer, workerIndex: number, listenerCount: number) {
    this.cells = new Int32Array(buffer);
    this.base = workerIndex * stride(listenerCount);
  }

  /** A connection of `listener` that was handed to this worker has ended. */
  ended(listener: number): void {
    // Atomic so that the main thread never reads a torn or cached value; nothing is ordered by it.
    Atomics.add(this.cells, this.base + listener, 1);
  }

  /** A connection began on this worker without the main thread: as if one that was handed over had not ended. */
  began(listener: number): void {
    // As in `ended`.
    Atomics.sub(this.cells, this.base + listener, 1);
  }
}

/** The main thread's side; other threads may look, too. Counts wrap around together in 32 bits, so differences stay right. */
export class Ledger {
  private readonly cells: Int32Array;
  private readonly handedOver: Int32Array;
  private readonly workerCount: number;
  private readonly listenerCount: number;
  private readonly stride: number;

  constructor(buffer: SharedArrayBuffer, workerCount: number, listenerCount: number) {
    const cellCount = workerCount * stride(listenerCount);
    this.cells = new Int32Array(buffer, 0, cellCount);
    this.workerCount = workerCount;
    this.listenerCount = listenerCount;
    this.stride = stride(listenerCount);
    assert(
      buffer.byteLength === 2 * cellCount * Int32Array.BYTES_PER_ELEMENT,
      'the ledger was made for these workers and listeners',
    );
    this.handedOver = new Int32Array(buffer, this.cells.byteLength, cellCount);
  }

  handOver(worker: number, listener: number): void {
    // Atomic for those who look from other threads; nothing is ordered by it.
    Atomics.add(this.handedOver, worker * this.stride + listener, 1);
  }

  /** A worker died and its connections with it: the successor begins with none. */
  reset(worker: number): void {
    for (let listener = 0; listener < this.listenerCount; listener++) {
      const cell = worker * this.stride + listener;
      Atomics.store(this.cells, cell, 0); // Nobody else writes: the worker is dead and its successor not yet started.
      this.handedOver[cell] = 0;
    }
  }

  ofWorker(worker: number): number {
    let count = 0;
    for (let listener = 0; listener < this.listenerCount; listener++) count += this.open(worker, listener);
    return count;
  }

  ofListener(listener: number): number {
    let count = 0;
    for (let worker = 0; worker < this.workerCount; worker++) count += this.open(worker, listener);
    return count;
  }

  get total(): number {
    let count = 0;
    for (let worker = 0; worker < this.workerCount; worker++) count += this.ofWorker(worker);
    return count;
  }

  private open(worker: number, listener: number): number {
    const cell = worker * this.stride + listener;
    // `| 0` keeps the difference right when the counts have wrapped around.
    return (Atomics.load(this.handedOver, cell) - Atomics.load(this.cells, cell)) | 0;
  }
}
