/** What the contract of stream stores needs of a store under test, and what its parts share. */
import { it } from 'vitest';
import type { StreamPartition, StreamStore } from '../../src/core/ports/stream-store.ts';

export interface OpenedStreamStore {
  readonly store: StreamStore;
  /** Closes the store that was opened last, and opens what it kept. Never called when `isDurable` is false. */
  reopen(): Promise<StreamStore>;
  /** Ends it without a goodbye, as a crash does, and opens what is left. */
  crash?(): Promise<StreamStore>;
  /** Applies retention and compaction to the store that was opened last, now. */
  upkeep(): Promise<void>;
  /** Ends everything. The store may be closed already. */
  stop(): Promise<void>;
}

export interface StoreCapabilities {
  /** What was answered is there when the store is opened again. */
  readonly isDurable: boolean;
  /** Settings `retentionBytes` and `retentionMs`. */
  readonly retains: boolean;
  /** Setting `isCompacted`. */
  readonly compacts: boolean;
  /** Seeds of the comparison with the model. Default 4. */
  readonly modelRounds?: number;
}

/** What the parts of the suite work with. */
export interface ContractBench {
  /** A store of this test's own. */
  open(): Promise<OpenedStreamStore>;
  /** A partition of this test's own. */
  partition(): Promise<StreamPartition>;
  readonly capabilities: StoreCapabilities;
}

/** Registers a test of what only some stores promise; the others have a test that they refuse it, or do not claim it. */
export function itWhen(isPromised: boolean): (name: string, check: () => Promise<void>) => void {
  return (name, check) => {
    if (isPromised) it(name, check);
  };
}
