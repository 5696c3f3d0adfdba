/**
 * Who this data folder is: `identity.json` in the placement folder, written before anything else is, and replaced in one
 * step. A folder without it is a new replica under a new id: what a wiped disk had promised to others is forgotten, so
 * nobody may take the new life for the old one. Thread: the Raft worker at start, and the offline commands.
 */
import { randomInt } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ReplicaId } from '../consensus/types.ts';
import { CorruptionError } from '../placement/errors.ts';

const FILE = 'identity.json';
const VERSION = 1;

export interface Seed {
  readonly replica: ReplicaId;
  readonly name: string;
  readonly address: string;
}

export interface Identity {
  readonly replica: ReplicaId;
  /** Under which the node is known; '' until the first start has chosen one. */
  readonly name: string;
  /** '' until the replica has founded or joined a group. */
  readonly clusterId: string;
  /** It founds the group `clusterId`: the first entries of its log are its own. */
  readonly isFounder: boolean;
  /** It joined as a learner and wants to vote as soon as it can. */
  readonly wantsVote: boolean;
  /** Port of node-to-node traffic in this life, taken again when any free one is asked for; 0 for none. */
  readonly port: number;
  /** Members as of the time when it joined: enough to answer before the first entry has come. */
  readonly seeds: readonly Seed[];
}

/** The identity of the folder, made when there is none. Throws `CorruptionError` for a file that cannot be understood. */
export function openIdentity(folder: string): Identity {
  mkdirSync(folder, { recursive: true });
  const found = readIdentity(folder);
  if (found !== null) return found;
  const identity: Identity = {
    replica: newReplicaId(),
    name: '',
    clusterId: '',
    isFounder: false,
    wantsVote: false,
    port: 0,
    seeds: [],
  };
  writeIdentity(folder, identity);
  return identity;
}

/** Null when the folder has none. */
export function readIdentity(folder: string): Identity | null {
  let text: string;
  try {
    text = readFileSync(join(folder, FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    return parse(JSON.parse(text));
  } catch (error) {
    throw new CorruptionError(`Cannot read "${join(folder, FILE)}": ${(error as Error).message}`);
  }
}

/**
 * The seeds that still count: none once the group's own list has this replica, since seeds would outlive members that were
 * removed.
 */
export function seedsInForce(
  { replica, seeds }: Pick<Identity, 'replica' | 'seeds'>,
  members: ReadonlyMap<ReplicaId, unknown>,
): readonly Seed[] {
  return members.has(replica) ? [] : seeds;
}

/** Durable when it returns. */
export function writeIdentity(folder: string, identity: Identity): void {
  const draft = join(folder, `${FILE}.new`);
  const file = openSync(draft, 'w', 0o600);
  try {
    writeSync(
      file,
      `${JSON.stringify({ version: VERSION, ...identity, replica: String(identity.replica) }, null, 2)}\n`,
    );
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(draft, join(folder, FILE));
  const directory = openSync(folder, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/** 1 to 2^53 - 1, used once for all time. */
export function newReplicaId(): ReplicaId {
  // 48 bits at most come from one call.
  return randomInt(2 ** 21) * 2 ** 32 + randomInt(1, 2 ** 32);
}

function parse(value: unknown): Identity {
  const fields = value as Partial<Record<keyof Identity | 'version', unknown>> | null;
  if (typeof fields !== 'object' || fields === null) throw new Error('it is no object');
  if (fields.version !== VERSION) throw new Error(`version ${String(fields.version)} is not known`);
  const { name, clusterId, isFounder, wantsVote, port, seeds } = fields;
  if (typeof name !== 'string' || typeof port !== 'number' || !Array.isArray(seeds))
    throw new Error('a field is missing');
  if (typeof clusterId !== 'string' || typeof isFounder !== 'boolean' || typeof wantsVote !== 'boolean') {
    throw new Error('a field is missing');
  }
  return { replica: idOf(fields.replica), name, clusterId, isFounder, wantsVote, port, seeds: seeds.map(seedOf) };
}

function idOf(value: unknown): ReplicaId {
  const id = Number(value);
  if (!Number.isSafeInteger(id) || id < 1) throw new Error('the replica id is no such number');
  return id;
}

function seedOf(value: unknown): Seed {
  const { replica, name, address } = value as Partial<Record<keyof Seed, unknown>>;
  if (typeof name !== 'string' || typeof address !== 'string') throw new Error('a seed is damaged');
  return { replica: idOf(replica), name, address };
}
