/**
 * The port of the placement centre: the cluster's ordered key-value store with revisions, leases, watches and typed
 * records. Plain data only, so that the same objects go through gRPC, `postMessage` and the log. Any thread.
 *
 * Semantics are those that users of etcd expect: one growing revision for the whole store, a write of several keys has one
 * revision, reads are linearizable unless they ask for `serializable`.
 */

/** Keys and values; the core never looks into values. Keys that begin with 0x00 belong to RingMQ itself. */
export type Bytes = Uint8Array;

/** Grows by one with every write that changed something; 0 before the first. */
export type Revision = number;

/** 0 for none. */
export type LeaseId = number;

export interface KeyValue {
  readonly key: Bytes;
  readonly value: Bytes;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** Writes since it was created; 1 after the first. */
  readonly version: number;
  readonly lease: LeaseId;
}

// --- writes: replicated, applied in one order everywhere ---

export interface SetOperation {
  readonly type: 'set';
  readonly key: Bytes;
  readonly value: Bytes;
  /** The key goes when the lease ends. */
  readonly lease: LeaseId;
  readonly returnPrevious: boolean;
}

/** Removes one key, or with `end` all of [key, end). */
export interface DeleteOperation {
  readonly type: 'delete';
  readonly key: Bytes;
  readonly end: Bytes | null;
  readonly returnPrevious: boolean;
}

export interface RangeOperation {
  readonly type: 'range';
  readonly key: Bytes;
  /** null: exactly `key`. An empty one: no upper bound. */
  readonly end: Bytes | null;
  /** 0: the limit of the server. */
  readonly limit: number;
  readonly isReverse: boolean;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
}

export type Operation = SetOperation | DeleteOperation | RangeOperation;

export interface Compare {
  readonly key: Bytes;
  readonly target: 'value' | 'version' | 'create-revision' | 'mod-revision' | 'lease';
  readonly relation: 'equal' | 'not-equal' | 'greater' | 'less';
  /** Bytes for `value`, a number for the rest. A key that is missing has 0, and an empty value. */
  readonly operand: Bytes | number;
}

/**
 * `records`: all keys begin with 0x00 and hold RingMQ's own typed records; for RingMQ's own code alone, the API never
 * sets it. `user`, the default: no key begins with 0x00.
 */
export type KeyScope = 'user' | 'records';

/** `Set`, `Delete` and compare-and-set are transactions of one operation. */
export interface TransactionCommand {
  readonly type: 'transaction';
  readonly scope?: KeyScope;
  readonly compares: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure: readonly Operation[];
}

export type Command =
  | TransactionCommand
  | { readonly type: 'compact'; readonly revision: Revision }
  | { readonly type: 'lease-grant'; readonly lease: LeaseId; readonly ttlMs: number }
  | { readonly type: 'lease-revoke'; readonly lease: LeaseId }
  /** By the leader alone, when the time is up; does nothing when the epoch has moved on. */
  | { readonly type: 'lease-expire'; readonly lease: LeaseId; readonly epoch: number }
  | {
      readonly type: 'node-register';
      readonly node: string;
      /** Name of the listener → `host:port`. */
      readonly addresses: readonly (readonly [string, string])[];
      readonly roles: readonly string[];
      readonly rack: string;
      readonly ttlMs: number;
    }
  | { readonly type: 'node-unregister'; readonly node: string; readonly epoch: number }
  | { readonly type: 'node-expire'; readonly node: string; readonly epoch: number }
  | { readonly type: 'node-report'; readonly node: string; readonly epoch: number; readonly report: NodeReport }
  | {
      readonly type: 'topic-create';
      readonly tenant: string;
      readonly topic: string;
      readonly partitions: number;
      readonly replicationFactor: number;
    }
  | { readonly type: 'topic-delete'; readonly tenant: string; readonly topic: string }
  | {
      /** Refused unless all epochs are the present ones. */
      readonly type: 'isr-change';
      readonly tenant: string;
      readonly topic: string;
      readonly partition: number;
      readonly node: string;
      readonly nodeEpoch: number;
      readonly leaderEpoch: number;
      readonly partitionEpoch: number;
      readonly isr: readonly string[];
    };

/** What a node says of itself from time to time; all rates may be 0. */
export interface NodeReport {
  readonly cpuShare: number;
  readonly memoryBytes: number;
  readonly diskFreeBytes: number;
  readonly connections: number;
  readonly bytesInPerS: number;
  readonly bytesOutPerS: number;
}

/**
 * Chosen by the client for one write; a repeat with the same id, through whichever node, is applied once, also when it
 * changed nothing or was refused the first time. Remembered for 10,000 entries of the log. 16 bytes, or null for none.
 */
export type RequestId = Bytes | null;

export type OperationResult =
  | { readonly type: 'set'; readonly previous: KeyValue | null }
  | { readonly type: 'delete'; readonly count: number; readonly previous: readonly KeyValue[] }
  | RangeResult;

export interface RangeResult {
  readonly type: 'range';
  readonly items: readonly KeyValue[];
  /** All that match, also beyond `limit`; -1 when it was not counted because `hasMore` says enough. */
  readonly count: number;
  readonly hasMore: boolean;
}

/** Why a command did nothing. The codes are stable and part of the API. */
export type RefusalCode =
  | 'EMPTY_KEY'
  | 'RESERVED_KEY'
  | 'KEY_TOO_LARGE'
  | 'VALUE_TOO_LARGE'
  | 'TOO_MANY_OPERATIONS'
  | 'DUPLICATE_KEY'
  | 'INVALID_ARGUMENT'
  | 'LEASE_NOT_FOUND'
  | 'LEASE_EXISTS'
  | 'COMPACTED'
  | 'FUTURE_REVISION'
  | 'NODE_NOT_FOUND'
  | 'NODE_FENCED'
  | 'TOPIC_EXISTS'
  | 'TOPIC_NOT_FOUND'
  | 'NOT_ENOUGH_NODES'
  | 'EPOCH_MISMATCH';

export type CommandResult =
  | {
      readonly type: 'transaction';
      readonly revision: Revision;
      readonly succeeded: boolean;
      readonly results: readonly OperationResult[];
      /**
       * It was applied before, maybe without changing anything: `revision` and `succeeded` are those of the first time,
       * `results` has only the kinds, without previous values and items. Never for a transaction that only reads, which
       * reads again.
       */
      readonly wasRepeated: boolean;
    }
  | { readonly type: 'compact'; readonly revision: Revision }
  | { readonly type: 'lease'; readonly lease: LeaseId; readonly epoch: number; readonly ttlMs: number }
  | { readonly type: 'node'; readonly node: string; readonly epoch: number }
  | { readonly type: 'topic'; readonly partitions: readonly PartitionRecord[] }
  | { readonly type: 'partition'; readonly partition: PartitionRecord }
  | { readonly type: 'done'; readonly revision: Revision }
  | { readonly type: 'refused'; readonly code: RefusalCode; readonly message: string };

export interface PartitionRecord {
  readonly tenant: string;
  readonly topic: string;
  readonly partition: number;
  /** Node names, the preferred leader first. */
  readonly replicas: readonly string[];
  /** '' while no member of the in-sync set is in service. */
  readonly leader: string;
  /** Grows when the leader changes. */
  readonly leaderEpoch: number;
  /** Grows with any change of the record. */
  readonly partitionEpoch: number;
  readonly isr: readonly string[];
}

export interface NodeRecord {
  readonly node: string;
  /** Grows with every registration; an older one is fenced. */
  readonly epoch: number;
  readonly addresses: readonly (readonly [string, string])[];
  readonly roles: readonly string[];
  readonly rack: string;
  readonly ttlMs: number;
  readonly state: 'in-service' | 'expired' | 'unregistered';
  readonly report: NodeReport | null;
}

// --- reads ---

export type Consistency = 'linearizable' | 'serializable';

export interface LeaseInfo {
  readonly lease: LeaseId;
  readonly epoch: number;
  readonly ttlMs: number;
  /** As the leader's clock has it; -1 on a node that is not the leader. */
  readonly remainingMs: number;
  readonly keys: readonly Bytes[];
}

export type Query =
  | (RangeOperation & { readonly consistency: Consistency; readonly scope?: KeyScope })
  | { readonly type: 'leases'; readonly consistency: Consistency }
  | { readonly type: 'lease'; readonly lease: LeaseId; readonly consistency: Consistency }
  | { readonly type: 'nodes'; readonly consistency: Consistency }
  | { readonly type: 'partitions'; readonly tenant: string; readonly topic: string; readonly consistency: Consistency };

export type QueryResult =
  | (RangeResult & { readonly revision: Revision })
  | { readonly type: 'leases'; readonly leases: readonly LeaseInfo[]; readonly revision: Revision }
  | { readonly type: 'nodes'; readonly nodes: readonly NodeRecord[]; readonly revision: Revision }
  | { readonly type: 'partitions'; readonly partitions: readonly PartitionRecord[]; readonly revision: Revision }
  | { readonly type: 'refused'; readonly code: RefusalCode; readonly message: string };

// --- watches ---

export interface WatchRequest {
  readonly key: Bytes;
  /** As in `RangeOperation`. */
  readonly end: Bytes | null;
  /** First revision to report; 0 for what comes after now. */
  readonly fromRevision: Revision;
  readonly withPrevious: boolean;
  readonly scope?: KeyScope;
}

export interface WatchEvent {
  readonly type: 'set' | 'delete';
  readonly item: KeyValue;
  readonly previous: KeyValue | null;
}

/** All events of one or more whole revisions, in order; never a part of a revision. */
export interface WatchBatch {
  /** Everything up to here was reported. Also sent without events from time to time. */
  readonly revision: Revision;
  readonly events: readonly WatchEvent[];
}

export interface Watcher {
  /** Called in order, never inside of `watch`. The promise holds back what comes next; the server bounds what waits. */
  onBatch(batch: WatchBatch): void | Promise<void>;
  /** The watch is over: `COMPACTED` (read the state again, then watch from its revision), or the node stops. */
  onEnd(reason: {
    readonly code: RefusalCode | 'STOPPED' | 'SLOW_WATCHER';
    readonly compactedRevision: Revision;
  }): void;
}

// --- membership and state of the group ---

export interface MemberInfo {
  /** Decimal text: replica ids do not fit every reader's numbers. */
  readonly replica: string;
  readonly name: string;
  /** `host:port` of node-to-node traffic. */
  readonly address: string;
  readonly role: 'voter' | 'learner';
  readonly isLeader: boolean;
  /** As the leader sees it: last index known to be durable there; -1 on followers. */
  readonly matchIndex: number;
  /** Null: not known here; the leader knows it of everybody, the others of the leader. */
  readonly isReachable: boolean | null;
}

export interface GroupStatus {
  readonly clusterId: string;
  readonly replica: string;
  readonly leader: string | null;
  readonly role: 'follower' | 'pre-candidate' | 'candidate' | 'leader' | 'learner' | 'stopped';
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly lastIndex: number;
  readonly firstIndex: number;
  readonly revision: Revision;
  readonly compactedRevision: Revision;
  readonly logBytes: number;
  readonly stateBytes: number;
  readonly members: readonly MemberInfo[];
  /** Null while healthy; otherwise why this replica does not vote any more. */
  readonly fault: string | null;
}

/** Errors of a call that are nobody's fault but the moment's or the cluster's; thrown as `PlacementError`. */
export type PlacementErrorCode =
  /** Nobody leads at the moment, or the leader was lost: the write may or may not have happened. */
  | 'NO_LEADER'
  /** The deadline passed: the write may or may not have happened. */
  | 'TIMED_OUT'
  /** Too much waits to be committed: nothing happened. */
  | 'OVERLOADED'
  /** Nearly no space is left on the disk: nothing happened. */
  | 'DISK_FULL'
  /** Only the leader can do it; `leader` says who. */
  | 'NOT_LEADER'
  /** It would lose the quorum, or is against the rules of membership: nothing happened. */
  | 'MEMBERSHIP_REFUSED'
  | 'STOPPED'
  | 'CORRUPTED';

export class PlacementError extends Error {
  override readonly name = 'PlacementError';
  readonly code: PlacementErrorCode;
  /** Where to go instead, `host:port`; null when unknown. */
  readonly leaderAddress: string | null;

  constructor(code: PlacementErrorCode, message: string, leaderAddress: string | null = null) {
    super(message);
    this.code = code;
    this.leaderAddress = leaderAddress;
  }
}

/** One node of the placement centre, as the API and the other threads use it. All calls may reject with `PlacementError`. */
export interface PlacementNode {
  execute(
    command: Command,
    options: { readonly requestId: RequestId; readonly timeoutMs: number },
  ): Promise<CommandResult>;
  query(query: Query, options: { readonly timeoutMs: number }): Promise<QueryResult>;
  /** Starts in the background; answers how to stop it. */
  watch(request: WatchRequest, watcher: Watcher): { cancel(): void };
  /** Extends a lease on the leader; answers what is left, ms. Refused with `LEASE_NOT_FOUND` when it ended. */
  keepAlive(lease: LeaseId, options: { readonly timeoutMs: number }): Promise<CommandResult>;
  /** Extends the service of a registered node; refused with `NODE_FENCED` when a newer incarnation exists. */
  heartbeat(node: string, epoch: number, options: { readonly timeoutMs: number }): Promise<CommandResult>;
  status(): GroupStatus;
  addLearner(member: {
    readonly replica: string;
    readonly name: string;
    readonly address: string;
  }): Promise<GroupStatus>;
  promote(replica: string): Promise<GroupStatus>;
  remove(replica: string): Promise<GroupStatus>;
  transferLeadership(replica: string): Promise<GroupStatus>;
}
