/** What the consensus core is given and what it answers: types of `consensus.ts` and of the parts under it. Any thread. */
import type { EntryKind, LogIndex, LogReader, Membership, ReplicaId, Role, Term } from './types.ts';

export interface ConsensusOptions {
  readonly replica: ReplicaId;
  /** What it holds at the start must be durable, not only readable: the core counts it as written. */
  readonly log: LogReader;
  /** Last entry in the state machine: not before the log's snapshot, not after its last entry. */
  readonly applied: LogIndex;
  /** The configuration in force at `applied`: the state machine's, which may be newer than that of the log's snapshot. */
  readonly membership: Membership;
  /** The election time-out is this many ticks and up to as many again at random. More than `heartbeatTicks`. */
  readonly electionTicks: number;
  /** Ticks between two heartbeats of a leader. */
  readonly heartbeatTicks: number;
  /** An integer in [0, below). */
  random(below: number): number;
  /** Entries of one append message; a single larger entry still travels. */
  readonly messageBytesMax: number;
  /** Append messages with entries that a follower has not answered yet. */
  readonly inflightMessagesMax: number;
  /** The same in bytes. */
  readonly inflightBytesMax: number;
  /** What a leader takes on before it is committed and handed out. */
  readonly uncommittedBytesMax: number;
  /** Committed entries that are handed out and not yet applied. */
  readonly committedBytesMax: number;
}

export interface Proposal {
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

export type ProposeResult = 'accepted' | 'no-leader' | 'overloaded' | 'transferring';

/** Why the membership cannot be changed to what was asked for. */
export type MembershipRefusal =
  /** A joint configuration has to be left first. */
  | 'joint'
  /** There is no joint configuration to leave. */
  | 'not-joint'
  /** No voter would remain, nothing would change, or a replica id is none. */
  | 'invalid';

export type ProposeMembershipResult =
  | Exclude<ProposeResult, 'overloaded'>
  | MembershipRefusal
  /** Nothing of this leader's term is committed yet. */
  | 'not-ready'
  /** An earlier change is not applied yet. */
  | 'pending';

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

export interface ProgressStatus {
  /** Last entry that the follower is known to hold durably. */
  readonly match: LogIndex;
  /** Next entry to send. */
  readonly next: LogIndex;
  readonly state: ProgressState;
  /** Whether it was heard of since the last check of the quorum. */
  readonly isActive: boolean;
}

export interface ConsensusStatus {
  readonly replica: ReplicaId;
  readonly role: Role;
  readonly isLearner: boolean;
  readonly term: Term;
  /** 0 while none is known. */
  readonly leader: ReplicaId;
  readonly commit: LogIndex;
  readonly applied: LogIndex;
  readonly lastIndex: LogIndex;
  readonly membership: Membership;
  /** On the leader: every member, itself included. Empty elsewhere. As of when it is looked at. */
  readonly progress: ReadonlyMap<ReplicaId, ProgressStatus>;
}
