/**
 * Whether a Redis server keeps what it answered, by what it says of its configuration. Pure. Thread: the one that holds
 * the store; called for each new connection.
 */

/** What a server said; a field is null when it did not want to say it. */
export interface ServerFacts {
  /** `7.0.15`. */
  readonly version: string;
  readonly appendOnly: string | null;
  readonly appendFsync: string | null;
  readonly evictionPolicy: string | null;
}

/**
 * `synced`: every answer comes after the sync of the append-only file. `wait`: WAITAOF has to be asked after each write.
 * `none`: an answer says nothing about the disk.
 */
export type DurabilityKind = 'synced' | 'wait' | 'none';

export interface Durability {
  readonly kind: DurabilityKind;
  /** Why records can be lost; empty when they cannot. */
  readonly reason: string;
}

const versionNeeded = [6, 2];
const versionWithWaitAof = [7, 2];

/** Why the version cannot be used; empty when it can. */
export function versionProblem(version: string): string {
  return isAtLeast(version, versionNeeded) ? '' : `version ${version} is older than ${versionNeeded.join('.')}`;
}

export function hasWaitAof(version: string): boolean {
  return isAtLeast(version, versionWithWaitAof);
}

/** In a cluster WAITAOF cannot be asked of the right node, so that each has to sync before it answers. */
export function judgeDurability(facts: ServerFacts, isCluster: boolean): Durability {
  const { version, appendOnly, appendFsync, evictionPolicy } = facts;
  if (appendOnly === null || appendFsync === null) return none('it does not let CONFIG GET be asked');
  if (appendOnly !== 'yes') return none(`appendonly is "${appendOnly}" and not "yes"`);
  if (evictionPolicy?.startsWith('allkeys-') === true) return none(`maxmemory-policy is "${evictionPolicy}"`);
  if (appendFsync === 'always') return { kind: 'synced', reason: '' };
  if (appendFsync === 'everysec' && hasWaitAof(version) && !isCluster) return { kind: 'wait', reason: '' };
  return none(`appendfsync is "${appendFsync}" and not "always"`);
}

function none(reason: string): Durability {
  return { kind: 'none', reason };
}

function isAtLeast(version: string, needed: readonly number[]): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > needed[0] || (major === needed[0] && minor >= needed[1]);
}
