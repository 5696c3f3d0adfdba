/**
 * The last resort: founds a group anew from what one replica, or one backup file, has. For nodes that do not run; called
 * by the offline commands on the main thread.
 *
 * Both end with a state, and a log of a new replica that begins after it with the entries that make this replica the only
 * voter of a group with a new identity. `identity.json` is written last: until then the old life counts.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { openNodeFileSystem } from '../../core/files/node-file-system.ts';
import { changeMembership } from '../consensus/membership.ts';
import { decodeMembershipChange } from '../consensus/membership-codec.ts';
import { type Entry, entryKinds, type ReplicaId, type SnapshotPosition } from '../consensus/types.ts';
import { openSegmentLog } from '../log/segment-log.ts';
import { openLmdbStore } from '../placement/lmdb-store.ts';
import { PlacementState } from '../placement/placement-state.ts';
import type { Done, LogReader } from '../ports.ts';
import { foundGroupAnew } from '../replica/founding.ts';
import { logFolder, stateFolder } from './folders.ts';
import { type Identity, newReplicaId, readIdentity, writeIdentity } from './identity.ts';
import { openStorage } from './storage.ts';

const READ_BYTES_MAX = 4 * 1024 * 1024;

export interface RecoveryReport {
  readonly clusterId: string;
  readonly replica: ReplicaId;
  /** Last entry of the old group that is kept. */
  readonly index: number;
  readonly revision: number;
  /** Entries that were not known to be committed and are kept all the same. */
  readonly uncertainEntries: number;
}

/** It cannot be done, for the reason in the message; nothing was changed. */
export class RecoveryError extends Error {
  override readonly name = 'RecoveryError';
}

/**
 * Makes the replica in `folder` the only voter of a group of its own. Everything in its log is applied, whether it is
 * known to be committed or not: an acknowledged write that this replica has is never lost by it. Throws `RecoveryError`,
 * `CorruptionError`, and Node's errors.
 */
export async function forceNewGroup(folder: string): Promise<RecoveryReport> {
  const identity = readIdentity(folder);
  if (identity === null || identity.clusterId === '') {
    throw new RecoveryError(`Cannot recover "${folder}": it holds no member of a group`);
  }
  const { log, state, close } = openStorage(folder, identity.replica, 0, (error) => {
    throw error;
  });
  try {
    const { commit, term } = log.initialState().hardState;
    const uncertainEntries = log.lastIndex() - Math.max(commit, state.appliedIndex);
    applyAll(log, state);
    await finished((done) => state.flush(done));
    const replica = newReplicaId();
    const report = await beginLife(folder, identity, replica, state, term);
    rmSync(logFolder(folder, identity.replica), { recursive: true, force: true });
    return { ...report, uncertainEntries: Math.max(0, uncertainEntries) };
  } finally {
    await close();
  }
}

/** Founds a group on the state of a backup. `chunks` are those of the file, in order. The folder must hold none yet. */
export async function restoreSnapshot(
  folder: string,
  position: Pick<SnapshotPosition, 'index' | 'term'>,
  chunks: AsyncIterable<Uint8Array>,
): Promise<RecoveryReport> {
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw new RecoveryError(`Cannot restore into "${folder}": it is not empty`);
  }
  mkdirSync(folder, { recursive: true });
  try {
    return await restoreInto(folder, position, chunks);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

async function restoreInto(
  folder: string,
  { index, term }: Pick<SnapshotPosition, 'index' | 'term'>,
  chunks: AsyncIterable<Uint8Array>,
): Promise<RecoveryReport> {
  const store = openLmdbStore({ path: stateFolder(folder) });
  try {
    const state = PlacementState.open(store, { now: () => performance.now() });
    // The membership of the position is the one that comes with the state.
    const sink = state.beginInstall({ index, term, membership: state.membership });
    for await (const chunk of chunks) await finished((done) => sink.write(chunk, done));
    await finished((done) => sink.finish(done));
    const nobody: Identity = {
      replica: 0,
      name: '',
      clusterId: '',
      isFounder: false,
      wantsVote: false,
      port: 0,
      seeds: [],
    };
    return { ...(await beginLife(folder, nobody, newReplicaId(), state, term)), uncertainEntries: 0 };
  } finally {
    await store.closed();
  }
}

/** A new replica on the state as it is on disk, in a new group of which it is the only member. */
async function beginLife(
  folder: string,
  old: Identity,
  replica: ReplicaId,
  state: PlacementState,
  lastTerm: number,
): Promise<Omit<RecoveryReport, 'uncertainEntries'>> {
  const { durablePosition: position, membership, members, revision } = state;
  const clusterId = randomUUID();
  const known = members.get(old.replica);
  const log = openSegmentLog(openNodeFileSystem(logFolder(folder, replica)), {
    replica,
    random: (below) => randomInt(below),
    freeBytesMin: 0,
  });
  try {
    const term = Math.max(lastTerm, position.term);
    log.reset(position, { term, vote: 0, commit: position.index });
    const survivor = { replica, name: old.name, address: known?.address ?? '' };
    await finished((done) => foundGroupAnew(log, membership, survivor, clusterId, done));
  } finally {
    log.close();
  }
  writeIdentity(folder, { ...old, replica, clusterId, isFounder: false, wantsVote: false, seeds: [] });
  return { clusterId, replica, index: position.index, revision };
}

function applyAll(log: LogReader, state: PlacementState): void {
  const end = log.lastIndex() + 1;
  while (state.appliedIndex + 1 < end) {
    const entries = log.entries(state.appliedIndex + 1, end, READ_BYTES_MAX) ?? [];
    if (entries.length === 0) throw new RecoveryError('Cannot recover: the log does not continue the state');
    for (const entry of entries) applyOne(entry, state);
  }
}

function applyOne(entry: Entry, state: PlacementState): void {
  if (entry.kind !== entryKinds.membership) {
    state.apply(entry);
    return;
  }
  const next = changeMembership(state.membership, decodeMembershipChange(entry.data).changes);
  state.applyMembership(entry, typeof next === 'string' ? state.membership : next);
}

function finished(start: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}
