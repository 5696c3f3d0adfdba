/**
 * Follows what each replica applies: the same entry at the same index everywhere, in order and once, the same answer and
 * the same state. The first replica to apply an index feeds the model.
 */
import { crc32 } from 'node:zlib';
import type { CommandResult, Revision } from '../../../src/core/ports/placement.ts';
import {
  type Entry,
  entryKinds,
  type LogIndex,
  type Membership,
  type ReplicaId,
} from '../../../src/raft/consensus/types.ts';
import { decodeProposal } from '../../../src/raft/placement/command-codec.ts';
import { Model, textOf } from '../model.ts';
import { demand } from '../violation.ts';
import { digestOf, type LogChecker } from './logs.ts';

/** Of plain data; bytes count by what is in them. */
function digestOfPlain(value: unknown, seed = 0): number {
  if (value instanceof Uint8Array) return crc32(value, (seed ^ 1) >>> 0);
  if (Array.isArray(value))
    return value.reduce<number>((digest, each) => digestOfPlain(each, digest), (seed ^ 2) >>> 0);
  if (typeof value === 'object' && value !== null) {
    let digest = (seed ^ 3) >>> 0;
    for (const [name, each] of Object.entries(value)) digest = digestOfPlain(each, crc32(name, digest));
    return digest;
  }
  return crc32(`${typeof value} ${String(value)}`, seed);
}

export class StateMachineChecker {
  readonly model = new Model();
  readonly #logs: LogChecker;
  readonly #results: number[] = [0];
  readonly #states = new Map<LogIndex, string>();
  readonly #applied = new Map<ReplicaId, LogIndex>();
  #membership: Membership | null = null;
  #membershipIndex: LogIndex = 0;
  /** Entries behind this were proposed after somebody had applied that membership. */
  #knownBehind: LogIndex = 0;
  readonly #termMax: () => number;
  /** Told of each command when it is applied first. */
  readonly #onCommand: (command: ReturnType<typeof decodeProposal>, result: CommandResult) => void;

  constructor(
    logs: LogChecker,
    termMax: () => number,
    onCommand: (command: ReturnType<typeof decodeProposal>, result: CommandResult) => void,
  ) {
    this.#logs = logs;
    this.#termMax = termMax;
    this.#onCommand = onCommand;
  }

  /** The highest index that was applied anywhere. */
  get frontier(): LogIndex {
    return this.#logs.committed.length - 1;
  }

  /** A replica starts, or has taken a snapshot, with the state as of `index`. */
  onState(replica: ReplicaId, index: LogIndex): void {
    demand(
      index <= this.frontier,
      'state-machine-safety',
      () => `${replica} has the state as of ${index}; nobody has applied more than ${this.frontier}`,
    );
    this.#applied.set(replica, index);
  }

  onApply(replica: ReplicaId, entry: Entry, result: CommandResult | null, revision: Revision): void {
    const before = this.#applied.get(replica) ?? 0;
    demand(
      entry.index === before + 1,
      'state-machine-safety',
      () => `${replica} applied entry ${entry.index} after entry ${before}`,
    );
    this.#applied.set(replica, entry.index);
    const digest = digestOf(entry);
    const resultDigest = digestOfPlain(result);
    const known = this.#logs.committed[entry.index];
    if (known === undefined) {
      this.#onFirst(entry, digest, result, revision);
      this.#results[entry.index] = resultDigest;
      return;
    }
    demand(
      known.term === entry.term && known.digest === digest,
      'state-machine-safety',
      () =>
        `${replica} applied at ${entry.index} an entry of term ${entry.term} with digest ${digest}; elsewhere it was ` +
        `term ${known.term}, digest ${known.digest}`,
    );
    demand(
      this.#results[entry.index] === resultDigest,
      'state-digest',
      () => `${replica} got another result of entry ${entry.index}: ${JSON.stringify(result)}`,
    );
  }

  #onFirst(entry: Entry, digest: number, result: CommandResult | null, revision: Revision): void {
    demand(
      entry.index === this.frontier + 1,
      'state-machine-safety',
      () => `Entry ${entry.index} was applied first; the one before was applied by nobody`,
    );
    this.#logs.committed.push({ term: entry.term, digest, knownInTerm: this.#termMax() });
    if (entry.kind !== entryKinds.command || entry.data.length === 0 || result === null) return;
    const proposal = decodeProposal(entry.data);
    const { command, requestId, origin, sequence } = proposal;
    if (command.type !== 'bootstrap') {
      const identity = requestId === null ? `${origin} ${sequence}` : textOf(requestId);
      this.model.apply({ command, requestId, identity }, result, revision);
    }
    this.#onCommand(proposal, result);
  }

  onMembership(index: LogIndex, membership: Membership): void {
    if (index <= this.#membershipIndex) return;
    this.#membershipIndex = index;
    this.#membership = membership;
    this.#knownBehind = this.#logs.lastIndexMax;
  }

  /** The newest that was applied anywhere. */
  get membership(): Membership | null {
    return this.#membership;
  }

  /**
   * Whether no other membership can be or come into force without a new request, and enough members know that it is
   * committed: those that have acknowledged an entry that was proposed after it was applied.
   */
  get isMembershipSettled(): boolean {
    return this.frontier > this.#knownBehind && !this.#logs.hasMembershipAfter(this.#membershipIndex);
  }

  /** The digest of a replica's whole state as of `index`. */
  onDigest(replica: ReplicaId, index: LogIndex, digest: string): void {
    const known = this.#states.get(index);
    demand(
      known === undefined || known === digest,
      'state-digest',
      () => `${replica} has at ${index} the state ${digest}, others have ${known}`,
    );
    this.#states.set(index, digest);
  }
}
