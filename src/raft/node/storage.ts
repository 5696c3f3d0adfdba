/**
 * Log and state of a replica on the disk of this machine, opened together and checked against each other. Thread: the
 * Raft worker at start, and the offline commands.
 *
 * ```
 * <data>/placement/identity.json   who this is
 * <data>/placement/log-<id>/       segments of the log of the replica with this id
 * <data>/placement/state/          the LMDB environment
 * ```
 *
 * With the id in the name, the file that says who this is says which log counts too: a new life begins with one rename.
 */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { openNodeFileSystem } from '../../core/files/node-file-system.ts';
import type { ReplicaId } from '../consensus/types.ts';
import { openSegmentLog, type SegmentLog } from '../log/segment-log.ts';
import { CorruptionError } from '../placement/errors.ts';
import { type LmdbStateStore, openLmdbStore } from '../placement/lmdb-store.ts';
import { PlacementState } from '../placement/placement-state.ts';
import { reconcile } from '../replica/reconcile.ts';

export interface Storage {
  readonly log: SegmentLog;
  readonly store: LmdbStateStore;
  readonly state: PlacementState;
  close(): Promise<void>;
}

export const logFolder = (folder: string, replica: ReplicaId): string => join(folder, `log-${replica}`);
export const stateFolder = (folder: string): string => join(folder, 'state');

/**
 * Opens both. Blocks while it reads. Throws `CorruptionError` for what is damaged or does not belong together, Node's
 * errors for what cannot be opened.
 */
export function openStorage(folder: string, replica: ReplicaId, freeBytesMin: number): Storage {
  const random = (below: number): number => randomInt(below);
  const log = openSegmentLog(openNodeFileSystem(logFolder(folder, replica)), { replica, random, freeBytesMin });
  const store = openLmdbStore({ path: stateFolder(folder) });
  const close = async (): Promise<void> => {
    log.close();
    await store.closed();
  };
  try {
    const state = PlacementState.open(store, { now: () => performance.now() });
    if (log.isNew && state.appliedIndex > 0) {
      throw new CorruptionError('The log is lost and the state is not: the replica may have forgotten its votes');
    }
    reconcile(log, state);
    return { log, store, state, close };
  } catch (error) {
    void close();
    throw error;
  }
}
