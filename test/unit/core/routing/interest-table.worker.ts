/**
 * One worker of the concurrency test of the interest table: it subscribes and unsubscribes at random, says so in a shared
 * ledger, and checks at the same time that its masks hold everything that the ledger of the others says.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { InterestTable } from '../../../../src/core/routing/interest-table.ts';

export interface InterestWorkerData {
  readonly table: SharedArrayBuffer;
  /** Per worker and filter the number of changes so far: odd while the worker is subscribed. */
  readonly ledger: SharedArrayBuffer;
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly filters: readonly string[];
  /** For each filter a topic that it matches. */
  readonly topics: readonly string[];
  /** Two words: workers that have begun, and workers that have done their rounds. */
  readonly progress: SharedArrayBuffer;
  /** Rounds to do at least; each worker goes on until all have done theirs, so that all of them overlap. */
  readonly rounds: number;
  /** The canary: keeps masks for ever instead of asking the epoch. */
  readonly ignoreEpoch: boolean;
}

export interface InterestWorkerResult {
  readonly checks: number;
  readonly cachedChecks: number;
  readonly misses: number;
}

const data = workerData as InterestWorkerData;
const ledger = new Int32Array(data.ledger);
const interest = new InterestTable(data.table, data.workerIndex);
const filterCount = data.filters.length;
const cache = data.topics.map(() => ({ epoch: 0, mask: 0, valid: false }));
let random = 77 + data.workerIndex;
let checks = 0;
let cachedChecks = 0;
let misses = 0;

function next(limit: number): number {
  random = (Math.imul(random, 1_664_525) + 1_013_904_223) | 0;
  return (random >>> 8) % limit;
}

function change(): void {
  const filter = next(filterCount);
  const at = data.workerIndex * filterCount + filter;
  const subscribed = (Atomics.load(ledger, at) & 1) === 1;
  if (subscribed) {
    Atomics.add(ledger, at, 1);
    interest.remove(data.filters[filter]);
  } else {
    interest.add(data.filters[filter]);
    Atomics.add(ledger, at, 1);
  }
}

function check(): void {
  const filter = next(filterCount);
  const other = (data.workerIndex + 1 + next(data.workerCount - 1)) % data.workerCount;
  const at = other * filterCount + filter;
  const before = Atomics.load(ledger, at);
  if ((before & 1) === 0) return;
  // From here on the other one's `add` has returned, so a mask of the present epoch must hold it.
  const epoch = interest.epoch();
  const cached = cache[filter];
  if (cached.valid && (cached.epoch === epoch || data.ignoreEpoch)) cachedChecks++;
  else {
    interest.workersFor(data.topics[filter]);
    cached.epoch = epoch;
    cached.mask = interest.maskLow;
    cached.valid = true;
  }
  const held = (cached.mask & (1 << other)) !== 0;
  if (Atomics.load(ledger, at) !== before) return;
  checks++;
  if (!held) misses++;
}

const progress = new Int32Array(data.progress);
if (Atomics.add(progress, 0, 1) + 1 === data.workerCount) Atomics.notify(progress, 0);
for (let begun = Atomics.load(progress, 0); begun < data.workerCount; begun = Atomics.load(progress, 0)) {
  Atomics.wait(progress, 0, begun, 10);
}
for (let round = 0; Atomics.load(progress, 1) < data.workerCount; round++) {
  if (round === data.rounds) Atomics.add(progress, 1, 1);
  if (next(16) === 0) change();
  check();
}
parentPort?.postMessage({ checks, cachedChecks, misses } satisfies InterestWorkerResult);
