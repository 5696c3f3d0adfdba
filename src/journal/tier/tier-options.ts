/** Bounds of the cold tier, and what it tells whoever counts. Thread: the journal worker; used by all parts of the tier. */

import type { ObjectStore } from '../../core/ports/object-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import type { LocalBounds } from './partition-tier.ts';

export interface TierLimits {
  /** For partitions that do not say whether they are tiered. Default false. */
  readonly isDefault: boolean;
  /** For partitions that do not say how long their local copies stay. Default 1 GiB, any age. */
  readonly local: LocalBounds;
  /** A segment is sent in parts of this size; two of them are in memory for each upload. Default 8 MiB. */
  readonly partBytes: number;
  /** Partitions that are worked on at once. Default 2. */
  readonly uploadsMax: number;
  /** What was read last. Default 128 MiB. */
  readonly cacheBytes: number;
  /** Unit of what is read and kept. Default 256 KiB. */
  readonly blockBytes: number;
  /** How much is fetched ahead of who reads on from its last answer. Default 4 MiB. */
  readonly readAheadBytes: number;
  /** Requests for bytes that run at once. Each is up to `readAheadBytes`. Default 8. */
  readonly readsMax: number;
  /** Reads that may wait for one of these; more are refused. Default 1024. */
  readonly readsWaitingMax: number;
  /** Full segments that wait for the tier: more of it makes the store `degraded`. Default 8 GiB. */
  readonly backlogBytesMax: number;
  /** The objects of a removed partition are looked for once more after this time. Default 60 s. */
  readonly purgeAgainMs: number;
  /** Pause after the first failure, and at most; the half of it is chance. Default 1 s and 60 s. */
  readonly retryMsMin: number;
  readonly retryMsMax: number;
}

/** Told as things happen. */
export interface TierReport {
  /** A segment is in the tier. */
  uploaded(bytes: number): void;
  /** A range was fetched. */
  fetched(bytes: number, durationMs: number): void;
  /** Blocks that a read found in memory, and those that it had to wait for. */
  looked(hits: number, misses: number): void;
  /** The tier did not answer a request. */
  failed(): void;
  /** Bytes of full segments that are not in the tier; after each look at all partitions. */
  backlog(bytes: number): void;
}

export interface ColdTierOptions extends Partial<TierLimits> {
  readonly objects: ObjectStore;
  readonly report?: TierReport;
}

const mebibyte = 1024 * 1024;

const defaults: TierLimits = {
  isDefault: false,
  local: { bytes: 1024 * mebibyte, ms: null },
  partBytes: 8 * mebibyte,
  uploadsMax: 2,
  cacheBytes: 128 * mebibyte,
  blockBytes: 256 * 1024,
  readAheadBytes: 4 * mebibyte,
  readsMax: 8,
  readsWaitingMax: 1024,
  backlogBytesMax: 8 * 1024 * mebibyte,
  purgeAgainMs: 60_000,
  retryMsMin: 1000,
  retryMsMax: 60_000,
};

export function tierLimits({ objects, report: _, ...given }: ColdTierOptions): TierLimits {
  const limits = { ...defaults, ...given };
  return { ...limits, partBytes: Math.max(limits.partBytes, objects.partBytesMin) };
}

export const noReport: TierReport = {
  uploaded: nothing,
  fetched: nothing,
  looked: nothing,
  failed: nothing,
  backlog: nothing,
};

function nothing(): void {
  // Nobody counts.
}

/** The tier did not do what it was asked; it may do so later. What goes wrong on the local disk is told apart by this. */
export class TierAwayError extends Error {
  override readonly name = 'TierAwayError';
}

/** Asks the tier. @throws TierAwayError */
export async function askTier<T>(request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (error instanceof StorageError) throw new TierAwayError(error.message, { cause: error });
    throw error;
  }
}
