/**
 * The words of the consensus core: entries, messages, and what one round of it asks of its driver. Types and numbers only;
 * any thread. Read by the log, the transport and the simulator too.
 *
 * The design is that of etcd's raft library (Ongaro's thesis, sections 3, 4, 6.4, 9.6 and 10.2.1): `step` and `tick` change
 * the state, `ready` says what to persist, send and apply, and nothing in here does I/O, reads a clock or draws a number.
 */

/** A replica: one data folder in one life of its disk. Random, 1 to 2^53 - 1, used once for all time; 0 is nobody. */
export type ReplicaId = number;

/** Counts elections; 0 before the first. */
export type Term = number;

/** Position in the log; the first entry has 1, 0 is before it. */
export type LogIndex = number;

/** What an entry carries. The numbers are stored. */
export const entryKinds = { command: 0, membership: 1 } as const;
export type EntryKind = (typeof entryKinds)[keyof typeof entryKinds];

export interface Entry {
  readonly term: Term;
  readonly index: LogIndex;
  readonly kind: EntryKind;
  /** Empty for the entry with which a leader begins its term. Never changed after it was proposed. */
  readonly data: Uint8Array;
}

/** What must survive a crash beside the entries. */
export interface HardState {
  readonly term: Term;
  /** Whom this replica voted for in `term`; 0 for nobody. */
  readonly vote: ReplicaId;
  /** May be behind after a crash: it only saves time. */
  readonly commit: LogIndex;
}

/** Who takes part. With `outgoing` not empty the group is in a joint configuration: both majorities are needed. */
export interface Membership {
  readonly voters: readonly ReplicaId[];
  /** Voters of the configuration that is being left. */
  readonly outgoing: readonly ReplicaId[];
  /** Receive the log and have no vote. */
  readonly learners: readonly ReplicaId[];
  /** Outgoing voters that become learners when the joint configuration is left. */
  readonly learnersNext: readonly ReplicaId[];
  /** The leader leaves the joint configuration by itself as soon as it is committed. */
  readonly autoLeave: boolean;
}

export type MemberChange = {
  readonly action: 'add-voter' | 'add-learner' | 'remove';
  readonly replica: ReplicaId;
};

/** Proposed as the data of a membership entry. No changes: leave the joint configuration. */
export interface MembershipChange {
  readonly changes: readonly MemberChange[];
  /** For the state machine, unread by the core: addresses and names of new members. */
  readonly context: Uint8Array;
}

/** Where a snapshot stands; the state itself travels outside of the core. */
export interface SnapshotPosition {
  readonly index: LogIndex;
  readonly term: Term;
  /** The configuration that is in force at `index`. */
  readonly membership: Membership;
}

interface Envelope {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  /** Term of the sender; the term it would take in pre-vote requests. 0 in `propose` and `read-index`, which carry none. */
  readonly term: Term;
}

export interface VoteRequest extends Envelope {
  readonly type: 'vote';
  /** Asks whether a vote would be given; changes nothing. */
  readonly preVote: boolean;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  /** The old leader asked for it, so a live leader is no reason to refuse. */
  readonly isTransfer: boolean;
}

export interface VoteResponse extends Envelope {
  readonly type: 'vote-response';
  readonly preVote: boolean;
  readonly isGranted: boolean;
}

export interface AppendRequest extends Envelope {
  readonly type: 'append';
  readonly previousIndex: LogIndex;
  readonly previousTerm: Term;
  readonly entries: readonly Entry[];
  readonly commit: LogIndex;
}

export interface AppendResponse extends Envelope {
  readonly type: 'append-response';
  /** Accepted: last index that is now durable here. Rejected: the `previousIndex` that did not match. */
  readonly index: LogIndex;
  readonly isRejected: boolean;
  /** Of a rejection: the last place where the logs may agree, and the follower's term there. */
  readonly hintIndex: LogIndex;
  readonly hintTerm: Term;
}

export interface HeartbeatRequest extends Envelope {
  readonly type: 'heartbeat';
  readonly commit: LogIndex;
  /** Number of the newest read request that the answer confirms; 0 for none. Grows within a term. */
  readonly readSequence: number;
}

export interface HeartbeatResponse extends Envelope {
  readonly type: 'heartbeat-response';
  readonly readSequence: number;
}

/** The follower is behind the leader's log: the driver streams the state at `position` (or newer), then steps this. */
export interface SnapshotRequest extends Envelope {
  readonly type: 'snapshot';
  readonly position: SnapshotPosition;
}

/** Campaign now, without pre-vote: the leader hands over. */
export interface TimeoutNowRequest extends Envelope {
  readonly type: 'timeout-now';
}

/** Asks the leader to hand over to `target`; forwarded by followers. */
export interface TransferRequest extends Envelope {
  readonly type: 'transfer';
  readonly target: ReplicaId;
}

/** Commands that a follower passes on to the leader. May get lost; nobody answers. */
export interface ProposeRequest extends Envelope {
  readonly type: 'propose';
  readonly entries: readonly { readonly kind: EntryKind; readonly data: Uint8Array }[];
}

/** A follower asks for a read index. `context` is the follower's own number, unique in the life of its process. */
export interface ReadIndexRequest extends Envelope {
  readonly type: 'read-index';
  readonly context: number;
}

export interface ReadIndexResponse extends Envelope {
  readonly type: 'read-index-response';
  readonly context: number;
  readonly index: LogIndex;
}

export type Message =
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | HeartbeatRequest
  | HeartbeatResponse
  | SnapshotRequest
  | TimeoutNowRequest
  | TransferRequest
  | ProposeRequest
  | ReadIndexRequest
  | ReadIndexResponse;

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

/** A read of the state is linearizable once everything up to `index` is applied. */
export interface ReadState {
  readonly context: number;
  readonly index: LogIndex;
}

/**
 * One round of work. The driver (`replica.ts`):
 * 1. sends `messages` at any time, also before anything is durable: they promise nothing that is not durable yet;
 * 2. writes `entries` (an entry with index i discards every stored one from i on), then `hardState`; when `snapshot` is
 *    there, the received state was installed before it was stepped and the log begins after it;
 * 3. once that and every earlier round is durable, sends `messagesAfterPersist` and calls `persisted(number)`;
 * 4. applies `committed` in order, and calls `applied(index)`. A leader may commit and apply what a quorum of others has
 *    made durable before its own disk has.
 * The next `ready` may be taken before this one is durable or applied.
 */
export interface Ready {
  /** Grows by one. */
  readonly number: number;
  readonly hardState: HardState | null;
  readonly entries: readonly Entry[];
  readonly snapshot: SnapshotPosition | null;
  /** Whether what is written must be synced; false when only `hardState.commit` moved. */
  readonly mustSync: boolean;
  readonly messages: readonly Message[];
  readonly messagesAfterPersist: readonly Message[];
  readonly committed: readonly Entry[];
  readonly readStates: readonly ReadState[];
}

/** What the core reads of the log that was written; synchronous. Thread: the Raft worker. */
export interface LogReader {
  /** As of the start. */
  initialState(): { readonly hardState: HardState; readonly snapshot: SnapshotPosition };
  /** First index that can be read; one after the snapshot when the log is empty. */
  firstIndex(): LogIndex;
  lastIndex(): LogIndex;
  /** Term at `index`, which is between `firstIndex() - 1` and `lastIndex()`; null when it was compacted. */
  term(index: LogIndex): Term | null;
  /** Entries in [low, high), at least one and as many as fit in `bytesMax`; null when `low` was compacted. */
  entries(low: LogIndex, high: LogIndex, bytesMax: number): readonly Entry[] | null;
  /** Position that a snapshot sent now would have: not before `firstIndex() - 1`. Null when none can be made now. */
  snapshotPosition(): SnapshotPosition | null;
}
