/**
 * The shared memory through which the routers of all connection workers reach each other. Made once by the main thread,
 * handed to every worker in its start data.
 */
import { createDoorbells, Doorbell } from '../../shm/doorbell.ts';
import { createRing, RingConsumer } from '../../shm/fan-out-ring.ts';
import { createInterestTable, InterestTable } from '../routing/interest-table.ts';

export interface RouterShared {
  /** One ring per worker: it produces, all others consume. */
  readonly rings: readonly SharedArrayBuffer[];
  readonly doorbells: SharedArrayBuffer;
  readonly interest: SharedArrayBuffer;
  /** One 64-bit counter that orders retained values over all workers, and over restarts since it begins with the time. */
  readonly retainStamp: SharedArrayBuffer;
}

export interface RouterSharedOptions {
  readonly workerCount: number;
  /** Capacity of each ring, bytes, a power of two. Memory: `workerCount` times this. */
  readonly ringBytes: number;
  /** Size of each worker's bitmap of filters, bytes, a power of two; take about one byte per expected filter. */
  readonly interestBitmapBytes: number;
}

export function createRouterShared(options: RouterSharedOptions): RouterShared {
  const { workerCount, ringBytes, interestBitmapBytes } = options;
  const bucketBits = Math.log2(interestBitmapBytes * 8);
  return {
    rings: Array.from({ length: workerCount }, () => createRing(ringBytes, workerCount)),
    doorbells: createDoorbells(workerCount),
    interest: createInterestTable(workerCount, { bucketBits }),
    retainStamp: createStamp(),
  };
}

/** Stamps per millisecond that a node can draw for its whole life without running ahead of the clock; 2^53 is in the year 2109. */
const stampsPerMs = 2_048;

/**
 * Above all that was drawn before the restart, unless the clock went back; then reading the stored values raises it (`RetainedLog`).
 */
function createStamp(): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(8);
  new BigInt64Array(buffer)[0] = BigInt(Date.now() * stampsPerMs);
  return buffer;
}

/** A worker died: nobody waits for it and nobody sends to it any more. Called by the supervisor on the main thread. */
export function removeWorker(shared: RouterShared, workerIndex: number): void {
  for (const ring of shared.rings) RingConsumer.detach(ring, workerIndex);
  InterestTable.clear(shared.interest, workerIndex);
  // It may have died between a record, a request for room or a bell and the wake-up that belongs to it.
  Doorbell.rouseAll(shared.doorbells);
}
