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
import { openNodeFileSystem } from '../../core/files/node-file-system.ts';
import { toError } from '../../std/errors.ts';
import type { ReplicaId } from '../consensus/types.ts';
import { openSegmentLog, type SegmentLog } from '../log/segment-log.ts';
import { CorruptionError, MalformedError } from '../placement/errors.ts';
import { type LmdbStateStore, openLmdbStore } from '../placement/lmdb-store.ts';
import { PlacementState } from '../placement/placement-state.ts';
import { reconcile } from '../replica/reconcile.ts';
import { logFolder, stateFolder } from './folders.ts';

export interface Storage {
  readonly log: SegmentLog;
  readonly store: LmdbStateStore;
  readonly state: PlacementState;
  close(): Promise<void>;
}

/**
 * Opens both. Blocks while it reads. Throws `CorruptionError` for what is damaged or does not belong together, Node's
 * errors for what cannot be opened. `onFault`: damage was met later, outside of any call.
 */
export function openStorage(
  folder: string,
  replica: ReplicaId,
  freeBytesMin: number,
  onFault: (error: Error) => void,
): Storage {
  const random = (below: number): number => randomInt(below);
  const log = openSegmentLog(openNodeFileSystem(logFolder(folder, replica)), { replica, random, freeBytesMin });
  const store = openLmdbStore({ path: stateFolder(folder) });
  const close = async (): Promise<void> => {
    log.close();
    await store.closed();
  };
  try {
    const defer = (callback: () => void): void => void setImmediate(() => guarded(callback, onFault));
    const state = PlacementState.open(store, { now: () => performance.now(), defer });
    if (log.isNew && state.appliedIndex > 0) {
      throw new CorruptionError('The log is lost and the state is not: the replica may have forgotten its votes');
    }
    reconcile(log, state);
    return { log, store, state, close };
  } catch (error) {
    void close();
    throw error instanceof MalformedError ? unreadable(error) : error;
  }
}

/** A checksum may be right and the row nonsense, or of a program that is newer than this one. */
function unreadable(cause: MalformedError): CorruptionError {
  return new CorruptionError(`The state cannot be read: ${cause.message}`, { cause });
}

/** A watcher that reads on may meet damage: the replica leaves service, and the thread lives to say why. */
function guarded(callback: () => void, onFault: (error: Error) => void): void {
  try {
    callback();
  } catch (error) {
    onFault(toError(error));
  }
}
