/**
 * The replicated state: its tables, the numbers beside them, and what follows from them in memory. Changed by the
 * functions that apply commands (`transactions.ts`, `leases.ts`, `nodes.ts`, `topics.ts`), and by nothing else. Thread:
 * the Raft worker; owned by `placement-state.ts`.
 */
import type { KeyValue, LeaseId, NodeRecord, PartitionRecord, Revision } from '../../core/ports/placement.ts';
import type { LogIndex, Membership, Term } from '../consensus/types.ts';
import type { ReplicaId, StoreChange } from '../ports.ts';
import { latin1Of, uint53Key } from './bytes.ts';
import { type Change, changeCodec, recordCodec } from './change-log.ts';
import { prefixEnd } from './keys.ts';
import { type LeaseRow, leaseCodec, leaseKeyCodec } from './lease-rows.ts';
import { limits, recentLeaseBytes, recentRecordBytes } from './limits.ts';
import { PartitionIndex } from './partition-index.ts';
import { nodeKind } from './records/node.ts';
import { partitionKind } from './records/partition.ts';
import { topicKind } from './records/topic.ts';
import { type Request, type RequestOutcome, type RequestRow, requestCodec } from './request-rows.ts';
import { RequestWindow } from './request-window.ts';
import { noMembership, type Root } from './root-record.ts';
import { StateTable, type StoreReads } from './state-table.ts';

/** Second byte of the keys in the store. */
export const tableTags = { records: 1, changes: 2, leases: 3, leaseKeys: 4, requests: 5 } as const;

/** Revisions and epochs that a group skips when it begins anew from data that may be older than what was given out. */
const RENEWAL_STEP = 1_000_000;

/** The tables over a store; on other threads than the Raft worker's nothing is ever set in them. */
export class StateTables {
  readonly records: StateTable<KeyValue>;
  readonly changes: StateTable<Change>;
  readonly leases: StateTable<LeaseRow>;
  readonly leaseKeys: StateTable<true>;
  readonly requests: StateTable<RequestRow>;
  private readonly all: readonly StateTable<unknown>[];

  constructor(store: StoreReads, half: number) {
    this.records = new StateTable(store, half, tableTags.records, recordCodec, recentRecordBytes);
    this.changes = new StateTable(store, half, tableTags.changes, changeCodec);
    this.leases = new StateTable(store, half, tableTags.leases, leaseCodec, recentLeaseBytes);
    this.leaseKeys = new StateTable(store, half, tableTags.leaseKeys, leaseKeyCodec);
    this.requests = new StateTable(store, half, tableTags.requests, requestCodec);
    this.all = [this.records, this.changes, this.leases, this.leaseKeys, this.requests];
  }

  beginFlush(batch: StoreChange[]): void {
    for (const table of this.all) table.beginFlush(batch);
  }

  endFlush(): void {
    for (const table of this.all) table.endFlush();
  }

  reset(half: number): void {
    for (const table of this.all) table.reset(half);
  }
}

/** Told of leases and nodes as they are applied, and of a state that is another one altogether. */
export interface ExpiryListener {
  onGranted(lease: LeaseId, epoch: number, ttlMs: number): void;
  onLeaseEnded(lease: LeaseId): void;
  onRegistered(node: string, epoch: number, ttlMs: number): void;
  onNodeEnded(node: string): void;
  onReset(): void;
}

export class StateCore {
  readonly tables: StateTables;
  readonly window = new RequestWindow();
  readonly partitions = new PartitionIndex();
  /** All node records, by name. */
  readonly nodes = new Map<string, NodeRecord>();
  /** Names and addresses of the members of the group. */
  readonly members = new Map<ReplicaId, { readonly name: string; readonly address: string }>();
  half = 0;
  appliedIndex: LogIndex = 0;
  appliedTerm: Term = 0;
  membership: Membership = noMembership;
  clusterId = '';
  revision: Revision = 0;
  compactedRevision: Revision = 0;
  /** The last fencing epoch that was given out, to leases, nodes and topics alike. */
  epoch = 0;
  listener: ExpiryListener | null = null;
  /** Takes every change at once, for the watchers. */
  onChange: ((change: Change) => void) | null = null;

  /** Throws `CorruptionError`. */
  constructor(store: StoreReads, root: Root) {
    this.tables = new StateTables(store, root.half);
    this.load(root);
  }

  /** Takes the state that `root` stands for from the store. Throws `CorruptionError`. */
  load(root: Root): void {
    this.half = root.half;
    this.appliedIndex = root.index;
    this.appliedTerm = root.term;
    this.membership = root.membership;
    this.clusterId = root.clusterId;
    this.revision = root.revision;
    this.compactedRevision = root.compactedRevision;
    this.epoch = root.epoch;
    this.members.clear();
    for (const { replica, name, address } of root.members) this.members.set(replica, { name, address });
    this.tables.reset(root.half);
    this.loadWindow();
    this.loadNodes();
    this.loadPartitions();
  }

  root(): Root {
    return {
      half: this.half,
      index: this.appliedIndex,
      term: this.appliedTerm,
      revision: this.revision,
      compactedRevision: this.compactedRevision,
      epoch: this.epoch,
      clusterId: this.clusterId,
      membership: this.membership,
      members: [...this.members].map(([replica, { name, address }]) => ({ replica, name, address })),
    };
  }

  nextEpoch(): number {
    this.epoch++;
    return this.epoch;
  }

  /** Remembers a command that made no revision. */
  remember(request: Request, outcome: RequestOutcome): void {
    const key = uint53Key(request.index);
    this.tables.requests.set(latin1Of(key), key, { request, ...outcome });
    this.window.add(request, outcome, true);
  }

  /** Forgets the commands of entries up to `index`. */
  forgetRequests(index: LogIndex): void {
    this.window.forget(index, (forgotten) => {
      const key = uint53Key(forgotten);
      this.tables.requests.set(latin1Of(key), key, null);
    });
  }

  /** Goes on with numbers that were never given out; everything before is compacted and forgotten, requests included. */
  renew(): void {
    this.epoch += RENEWAL_STEP;
    this.revision += RENEWAL_STEP;
    this.compactedRevision = this.revision;
    this.forgetRequests(Number.POSITIVE_INFINITY);
  }

  /** Changes from `revision` on, up to about `bytesMax` of values. */
  changesFrom(revision: Revision, limit: number, bytesMax: number): Change[] {
    const changes: Change[] = [];
    let bytes = 0;
    this.tables.changes.scan(uint53Key(revision), null, false, limit, ({ value: change }) => {
      changes.push(change);
      for (const { item } of change.events) bytes += item.key.length + item.value.length;
      return changes.length < limit && bytes < bytesMax;
    });
    return changes;
  }

  private loadWindow(): void {
    const { window } = this;
    window.clear();
    const rows = this.tables.requests.range(new Uint8Array(0), null, limits.requestsKept);
    let next = 0;
    const addRowsBefore = (index: LogIndex) => {
      for (; next < rows.length && rows[next].value.request.index < index; next++) {
        window.add(rows[next].value.request, rows[next].value, true);
      }
    };
    const first = Math.max(this.compactedRevision, this.revision - limits.requestsKept) + 1;
    this.tables.changes.scan(uint53Key(first), null, false, limits.requestsKept, ({ value: change }) => {
      addRowsBefore(change.request.index);
      window.add(change.request, { ...change, refusal: null }, false);
      return true;
    });
    addRowsBefore(Number.POSITIVE_INFINITY);
  }

  private loadNodes(): void {
    this.nodes.clear();
    const prefix = nodeKind.key();
    this.tables.records.scan(prefix, prefixEnd(prefix), false, 100, ({ value }) => {
      const node = nodeKind.decode(value.value);
      this.nodes.set(node.node, node);
      return true;
    });
  }

  private loadPartitions(): void {
    this.partitions.clear();
    const factors = new Map<string, number>();
    const prefix = partitionKind.key();
    this.tables.records.scan(prefix, prefixEnd(prefix), false, 1_000, ({ key, value }) => {
      const partition: PartitionRecord = partitionKind.decode(value.value);
      const topicKey = topicKind.key(partition.tenant, partition.topic);
      const topicText = latin1Of(topicKey);
      let factor = factors.get(topicText);
      if (factor === undefined) {
        const topic = this.tables.records.find(topicText, topicKey);
        factor = topic === null ? 0 : topicKind.decode(topic.value).replicationFactor;
        factors.set(topicText, factor);
      }
      this.partitions.update(latin1Of(key), null, partition, factor);
      return true;
    });
  }
}
