/**
 * First entries of a group, and the entries that make one replica a group of its own after the others are lost. They
 * stand in the log as committed, so whoever starts on them needs nobody's vote. Thread: the Raft worker before it starts
 * a replica, the simulator, and the offline commands.
 */
import { encodeMembershipChange } from '../consensus/membership-codec.ts';
import {
  type Entry,
  type EntryKind,
  entryKinds,
  type LogIndex,
  type Membership,
  type ReplicaId,
} from '../consensus/types.ts';
import { encodeProposal } from '../placement/command-codec.ts';
import { encodeMemberContext } from '../placement/member-context.ts';
import type { Done, RaftLog } from '../ports.ts';
import type { NewMember } from './replica-ports.ts';

/** The term of entries that nobody was elected for. */
const FOUNDING_TERM = 1;

/**
 * Writes the beginning of a group into an empty log: one membership entry per founder, then the group's identity. The
 * same on every founder. Durable when `done` is called.
 */
export function foundGroup(log: RaftLog, founders: readonly NewMember[], clusterId: string, done: Done): void {
  const entries = founders.map((founder) => addVoter(founder));
  entries.push(identity(clusterId, founders[0]));
  appendCommitted(log, FOUNDING_TERM, entries, done);
}

/**
 * Makes `survivor` the only voter, under a cluster id that the lost members do not know. Everything that the log holds
 * counts as committed: an acknowledged write that this replica has is kept, and so may be one that nobody acknowledged.
 */
export function foundGroupAnew(
  log: RaftLog,
  membership: Membership,
  survivor: NewMember,
  clusterId: string,
  done: Done,
): void {
  const { voters, outgoing, learners, learnersNext } = membership;
  const lost = [...new Set([...voters, ...outgoing, ...learners, ...learnersNext])];
  const leave = {
    kind: entryKinds.membership,
    data: encodeMembershipChange({ changes: [], context: new Uint8Array() }),
  };
  const isJoint = outgoing.length > 0;
  const entries = [...(isJoint ? [leave] : []), addVoter(survivor)];
  for (const replica of lost) entries.push(removal(replica));
  entries.push(identity(clusterId, survivor));
  appendCommitted(log, log.initialState().hardState.term + 1, entries, done);
}

interface NewEntry {
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

function addVoter(member: NewMember): NewEntry {
  const changes = [{ action: 'add-voter', replica: member.replica } as const];
  const data = encodeMembershipChange({ changes, context: encodeMemberContext([member]) });
  return { kind: entryKinds.membership, data };
}

function removal(replica: ReplicaId): NewEntry {
  const changes = [{ action: 'remove', replica } as const];
  return { kind: entryKinds.membership, data: encodeMembershipChange({ changes, context: encodeMemberContext([]) }) };
}

function identity(clusterId: string, member: NewMember): NewEntry {
  const command = { type: 'bootstrap', clusterId, member } as const;
  const data = encodeProposal({ origin: member.replica, sequence: 0, requestId: null, command });
  return { kind: entryKinds.command, data };
}

function appendCommitted(log: RaftLog, term: number, newEntries: readonly NewEntry[], done: Done): void {
  const first: LogIndex = log.lastIndex() + 1;
  const entries = newEntries.map((entry, offset): Entry => ({ ...entry, term, index: first + offset }));
  const commit = first + entries.length - 1;
  log.append({ hardState: { term, vote: 0, commit }, entries, mustSync: true }, done);
}
