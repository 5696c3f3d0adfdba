/**
 * The data folder and its lock: two brokers on one folder would destroy each other's data. Main thread, at start.
 *
 * The lock is a file that holds the process id of its owner. Node has no `flock`, so a lock whose owner is dead is
 * taken over; a process id that was given to another program meanwhile asks the operator to remove the file.
 */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { BrokerError } from '../std/errors.ts';

const LOCK_NAME = 'ringmq.lock';

/** Locks of this process. In a container, a dead broker and its successor often have the same process id. */
const held = new Set<string>();

export interface DataFolder {
  readonly path: string;
  /** Gives the lock back. */
  release(): void;
}

/**
 * Creates the folder when it is missing and locks it. Throws `BrokerError` `DATA_FOLDER_LOCKED` when another broker has
 * it, `DATA_FOLDER_UNUSABLE` when it cannot be created or written.
 */
export function openDataFolder(path: string): DataFolder {
  const lock = join(resolve(path), LOCK_NAME);
  try {
    mkdirSync(path, { recursive: true });
    // The second try follows the removal of a dead broker's lock.
    if (!takeLock(lock)) {
      const owner = ownerOf(lock);
      if (owner !== null && isOwned(lock, owner)) throw lockedError(path, owner);
      rmSync(lock, { force: true });
      if (!takeLock(lock)) throw lockedError(path, ownerOf(lock));
    }
  } catch (error) {
    if (error instanceof BrokerError) throw error;
    const { message } = error as Error;
    throw new BrokerError('DATA_FOLDER_UNUSABLE', `Cannot use data folder "${path}": ${message}`, { cause: error });
  }
  return {
    path,
    release: () => {
      held.delete(lock);
      rmSync(lock, { force: true });
    },
  };
}

/** Process id of the broker that has the folder now; null when none has. Takes nothing and makes nothing. */
export function findDataFolderOwner(path: string): number | null {
  const lock = join(resolve(path), LOCK_NAME);
  const owner = ownerOf(lock);
  return owner !== null && isOwned(lock, owner) ? owner : null;
}

/** Creates the lock with its content in one step; false when it exists. */
function takeLock(lock: string): boolean {
  const draft = `${lock}.${process.pid}`;
  writeFileSync(draft, `${process.pid}\n`);
  try {
    linkSync(draft, lock);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  held.add(lock);
  return true;
}

function ownerOf(lock: string): number | null {
  try {
    const owner = Number(readFileSync(lock, 'utf8'));
    return Number.isInteger(owner) && owner > 0 ? owner : null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null; // Given back just now.
    throw error;
  }
}

function isOwned(lock: string, owner: number): boolean {
  return owner === process.pid ? held.has(lock) : isAlive(owner);
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0); // Signal 0 only asks.
    return true;
  } catch (error) {
    // Not permitted means that it lives and is somebody else's.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function lockedError(path: string, owner: number | null): BrokerError {
  const who = owner === null ? 'another broker' : `the broker with process id ${owner}`;
  return new BrokerError('DATA_FOLDER_LOCKED', `Cannot use data folder "${path}": ${who} has it`, { canRetry: true });
}
