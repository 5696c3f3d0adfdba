/**
 * The replicated state machine of the placement centre over a state store: takes committed entries in order, answers from
 * memory at once, and commits to the store in the background with the applied index in the same transaction. Thread: the
 * Raft worker; driven by `raft/replica`, by callbacks only.
 *
 * What was applied and is not committed lies over the store (`state-table.ts`) and is lost in a crash; the log has it and
 * it is applied again from `durableIndex` on. So the log may be cut up to `durableIndex` and no further.
 */
import { createHash } from 'node:crypto';
import type {
  Command,
  CommandResult,
  Query,
  QueryResult,
  Revision,
  Watcher,
  WatchRequest,
} from '../../core/ports/placement.ts';
import { assert } from '../../std/assert.ts';
import { decodeMembershipChange } from '../consensus/membership-codec.ts';
import type { Membership } from '../consensus/types.ts';
import type { Done, Entry, LogIndex, ReplicaId, SnapshotPosition, StateStore, StoreChange } from '../ports.ts';
import { applyCommand } from './apply.ts';
import { readUint53, uint53Key } from './bytes.ts';
import { decodeProposal } from './command-codec.ts';
import { CommitQueue } from './commit-queue.ts';
import { SnapshotError } from './errors.ts';
import { limits, purgedRowsPerFlush } from './limits.ts';
import { decodeMemberContext } from './member-context.ts';
import { answer } from './queries.ts';
import { decodeRoot, emptyRoot, encodeRoot, otherHalf, type Root, replicasOf, rootKey } from './root-record.ts';
import { type InstallTarget, SnapshotSink, SnapshotSource, wasteOf } from './snapshot.ts';
import { type ExpiryListener, StateCore } from './state-core.ts';
import { prefixBytes } from './state-table.ts';
import { itemOf, WatchHub } from './watch-hub.ts';

export interface PlacementStateOptions {
  /** Milliseconds that never go back. Only decides when to flush. */
  now(): number;
  /** Runs a callback soon, and never at once; default `setImmediate`. Watchers are called from there. */
  defer?(callback: () => void): void;
  /** A flush is due when nothing was applied for so long, … */
  readonly flushQuietMs?: number;
  /** … or the oldest entry that is not committed waits for so long, give or take a fifth, while nobody else reads the store, … */
  readonly flushDelayMs?: number;
  /** … or for so long, while other threads read it, … */
  readonly flushReadDelayMs?: number;
  /** … or so many wait, … */
  readonly flushEntriesMax?: number;
  /** … or so many that came within `flushBusyMs`, … */
  readonly flushBusyEntriesMax?: number;
  readonly flushBusyMs?: number;
  /** … or so many bytes of them. */
  readonly flushBytesMax?: number;
}

/**
 * A flush holds the thread for some microseconds per entry, and the disk for some milliseconds, whatever it writes: writes that
 * come one by one meanwhile wait for both. So under a steady load it comes as seldom as those who read the store can bear. When
 * entries come fast, many callers wait at a time, and flushes are kept short instead.
 */
const defaultFlush = {
  flushQuietMs: 25,
  flushDelayMs: 1_500,
  flushReadDelayMs: 150,
  flushEntriesMax: 3_000,
  flushBusyEntriesMax: 1_000,
  flushBusyMs: 400,
  flushBytesMax: 4 * 1024 * 1024,
};

/** What became of a command: for the replica that took the call. */
export interface Applied {
  readonly origin: ReplicaId;
  readonly sequence: number;
  readonly result: CommandResult;
}

export class PlacementState {
  private readonly store: StateStore;
  private readonly core: StateCore;
  private readonly commits: CommitQueue;
  private readonly hub: WatchHub;
  private readonly options: Required<Omit<PlacementStateOptions, 'defer'>>;
  private durable: SnapshotPosition;
  private durableRevision: Revision;
  private entriesUnflushed = 0;
  private bytesUnflushed = 0;
  private oldestUnflushedMs = 0;
  private newestUnflushedMs = 0;
  /** Of the delay of the next flush. */
  private delayShare = 1;
  private isStoreRead = false;
  /** Changes up to here are not in the store any more. */
  private purgedRevision = 0;
  /** The half that is not in force may have rows. */
  private mayHaveWaste = true;
  private sink: SnapshotSink | null = null;
  private switchingTo: LogIndex | null = null;
  private fault: Error | null = null;

  /** Takes the state from the store; an empty one is an empty state at index 0. Throws `CorruptionError`. */
  static open(store: StateStore, options: PlacementStateOptions): PlacementState {
    return new PlacementState(store, options);
  }

  private constructor(store: StateStore, options: PlacementStateOptions) {
    this.store = store;
    this.options = { ...defaultFlush, ...options };
    const root = store.get(rootKey);
    this.core = new StateCore(store, root === null ? emptyRoot : decodeRoot(root));
    this.durable = this.position;
    this.durableRevision = this.core.revision;
    this.commits = new CommitQueue(store);
    this.hub = new WatchHub(this.watchSource(), options.defer ?? ((callback) => void setImmediate(callback)));
    this.core.onChange = (change) => this.hub.push(change);
  }

  get appliedIndex(): LogIndex {
    return this.core.appliedIndex;
  }

  /** What is applied up to here survives a crash. */
  get durableIndex(): LogIndex {
    return this.durable.index;
  }

  /** Of the applied index. */
  get position(): SnapshotPosition {
    const { appliedIndex: index, appliedTerm: term, membership } = this.core;
    return { index, term, membership };
  }

  get durablePosition(): SnapshotPosition {
    return this.durable;
  }

  get membership(): Membership {
    return this.core.membership;
  }

  get members(): ReadonlyMap<ReplicaId, { readonly name: string; readonly address: string }> {
    return this.core.members;
  }

  /** '' before the bootstrap command was applied. */
  get clusterId(): string {
    return this.core.clusterId;
  }

  get revision(): Revision {
    return this.core.revision;
  }

  get compactedRevision(): Revision {
    return this.core.compactedRevision;
  }

  /** Entries that are applied and in no commit yet. */
  get unflushedEntries(): number {
    return this.entriesUnflushed;
  }

  get unflushedBytes(): number {
    return this.bytesUnflushed;
  }

  /**
   * Applies a committed command; null for the empty entry with which a leader begins. Entries come in order and without
   * gaps. Throws `CorruptionError` when the store is damaged and `MalformedError` for entries of a newer program: the
   * replica must stop then, and nothing more is applied or committed.
   */
  apply(entry: Entry): Applied | null {
    this.beforeEntry(entry);
    if (entry.data.length === 0) {
      this.afterEntry(entry);
      return null;
    }
    return this.guard(() => {
      const proposal = decodeProposal(entry.data);
      const result = applyCommand(this.core, proposal, entry.index);
      this.afterEntry(entry);
      return { origin: proposal.origin, sequence: proposal.sequence, result };
    });
  }

  /**
   * Applies a membership entry; `membership` is what the core made of it. Members are known by the context of the change
   * that brought them, and forgotten when they are in no part of the membership any more.
   */
  applyMembership(entry: Entry, membership: Membership): void {
    this.beforeEntry(entry);
    this.guard(() => {
      const { core } = this;
      const context = entry.data.length === 0 ? [] : decodeMemberContext(decodeMembershipChange(entry.data).context);
      const present = replicasOf(membership);
      for (const { replica, name, address } of context) {
        if (present.has(replica)) core.members.set(replica, { name, address });
      }
      for (const replica of [...core.members.keys()]) {
        if (!present.has(replica)) core.members.delete(replica);
      }
      core.membership = membership;
      this.afterEntry(entry);
    });
  }

  /** Other threads read the store, so it is kept close to what is applied. */
  setStoreRead(isRead: boolean): void {
    this.isStoreRead = isRead;
  }

  needsFlush(nowMs: number): boolean {
    if (this.entriesUnflushed === 0 || !this.commits.isIdle) return false;
    const { flushEntriesMax, flushBusyEntriesMax, flushBusyMs } = this.options;
    const delayMs = this.isStoreRead ? this.options.flushReadDelayMs : this.options.flushDelayMs;
    const ageMs = nowMs - this.oldestUnflushedMs;
    return (
      this.entriesUnflushed >= (ageMs < flushBusyMs ? flushBusyEntriesMax : flushEntriesMax) ||
      this.bytesUnflushed >= this.options.flushBytesMax ||
      nowMs - this.newestUnflushedMs >= this.options.flushQuietMs ||
      ageMs >= delayMs * this.delayShare
    );
  }

  /** Everything that is applied when its turn comes is durable when `done(null)` is called. An error is for ever. */
  flush(done: Done): void {
    let position = this.durable;
    let revision = this.durableRevision;
    this.commits.add(
      () => {
        if (this.fault !== null) throw this.fault;
        position = this.position;
        revision = this.core.revision;
        return this.buildFlush();
      },
      (error) => {
        if (error === null) {
          this.core.tables.endFlush();
          this.durable = position;
          this.durableRevision = revision;
        } else {
          this.fault ??= error;
        }
        done(error);
      },
    );
  }

  /** As of the applied index. Throws `CorruptionError`. */
  query(query: Query): QueryResult {
    return answer(query, this.core.tables, this.core.revision);
  }

  /** Calls the watcher from `defer`, never from inside of this call. */
  watch(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    return this.hub.add(request, watcher);
  }

  /** Tells watchers that wait for nothing how far everything is; to be called from time to time. */
  watchProgress(): void {
    this.hub.progress();
  }

  endWatches(code: 'STOPPED'): void {
    this.hub.endAll(code);
  }

  get watchCount(): number {
    return this.hub.count;
  }

  /** For the leader to propose: the compaction that is due, or null. */
  compactionDue(): Command | null {
    const { revision, compactedRevision } = this.core;
    if (revision - compactedRevision < 2 * limits.revisionsKept) return null;
    return { type: 'compact', revision: revision - limits.revisionsKept };
  }

  /** Of what is committed to the store: at `durablePosition` or newer. Something must have been flushed. */
  openSnapshot(): SnapshotSource {
    return new SnapshotSource(this.store);
  }

  /**
   * Begins to install a snapshot that stands at `position`. An installation that is under way is aborted. From `finish`
   * until its callback no entry beyond the position may be applied.
   */
  beginInstall(position: SnapshotPosition): SnapshotSink {
    this.sink?.abort();
    // One that has everything cannot be given up any more, and until it has switched nobody knows which half is free.
    if (this.sink !== null) throw new SnapshotError('Another snapshot is just being put in place');
    const sink: SnapshotSink = new SnapshotSink(
      this.store,
      this.commits,
      this.installTarget(() => sink),
      position,
    );
    this.sink = sink;
    return sink;
  }

  /** One listener, which is told of leases and nodes as they are applied. */
  setExpiryListener(listener: ExpiryListener | null): void {
    this.core.listener = listener;
  }

  /**
   * SHA-256 of everything that is replicated, hexadecimal: replicas with the same applied index have the same. Reads the
   * whole state: for tests and for the simulator.
   */
  digest(): string {
    const { core } = this;
    const hash = createHash('sha256');
    const root = core.root();
    const members = [...root.members].sort((a, b) => a.replica - b.replica);
    hash.update(encodeRoot({ ...root, half: 0, members }));
    const { records, changes, leases, leaseKeys, requests } = core.tables;
    const start = uint53Key(core.compactedRevision + 1);
    records.digest(hash);
    changes.digest(hash, start);
    leases.digest(hash);
    leaseKeys.digest(hash);
    requests.digest(hash);
    return hash.digest('hex');
  }

  private beforeEntry({ index }: Entry): void {
    if (this.fault !== null) throw this.fault;
    assert(index === this.core.appliedIndex + 1, 'entries are applied in order and without gaps');
    assert(this.switchingTo === null || index <= this.switchingTo, 'nothing passes a snapshot that is being installed');
  }

  private afterEntry({ index, term, data }: Entry): void {
    this.core.appliedIndex = index;
    this.core.appliedTerm = term;
    const nowMs = this.options.now();
    if (this.entriesUnflushed === 0) this.beginDelay(nowMs);
    this.newestUnflushedMs = nowMs;
    this.entriesUnflushed++;
    this.bytesUnflushed += data.length;
  }

  /**
   * All replicas apply the same entries at about the same time, and would hold up the same write with their flushes: by the
   * last digits of the clock they come at different times.
   */
  private beginDelay(nowMs: number): void {
    this.oldestUnflushedMs = nowMs;
    this.delayShare = 0.8 + (Math.floor(nowMs * 1000) % 401) / 1000;
  }

  /** What was begun and not ended must never be committed. */
  private guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      this.fault = error as Error;
      throw error;
    }
  }

  private buildFlush(): StoreChange[] {
    const batch: StoreChange[] = [];
    const { core, store } = this;
    core.tables.beginFlush(batch);
    batch.push({ key: rootKey, value: encodeRoot(core.root()) });
    this.entriesUnflushed = 0;
    this.bytesUnflushed = 0;
    this.addWaste(batch, store);
    return batch;
  }

  /** A little of what is not needed any more goes with every flush. */
  private addWaste(batch: StoreChange[], store: StateStore): void {
    const { core } = this;
    if (this.purgedRevision < core.compactedRevision) this.purgeChanges(batch, store);
    if (this.mayHaveWaste && this.sink === null) {
      const rows = wasteOf(store, otherHalf(core.half), purgedRowsPerFlush);
      batch.push(...rows);
      this.mayHaveWaste = rows.length === purgedRowsPerFlush;
    }
  }

  /** Revisions follow one another, so there is no need to look for each; only a renewed group has a gap. */
  private purgeChanges(batch: StoreChange[], store: StateStore): void {
    const { changes } = this.core.tables;
    const { compactedRevision } = this.core;
    const view = store.openView();
    const start = changes.storeKey(uint53Key(this.purgedRevision + 1));
    const [first] = view.keys(start, changes.storeKey(uint53Key(compactedRevision + 1)), 1);
    view.close();
    if (first === undefined) {
      // What is newer than the last commit may be in this one.
      this.purgedRevision = Math.min(compactedRevision, this.durableRevision);
      return;
    }
    const from = readUint53(first, prefixBytes);
    const to = Math.min(compactedRevision, from + purgedRowsPerFlush - 1);
    for (let revision = from; revision <= to; revision++) {
      batch.push({ key: changes.storeKey(uint53Key(revision)), value: null });
    }
    this.purgedRevision = to;
  }

  private installTarget(sink: () => SnapshotSink): InstallTarget {
    const { core } = this;
    return {
      half: core.half,
      get appliedIndex() {
        return core.appliedIndex;
      },
      onSwitching: (index) => {
        this.switchingTo = index;
      },
      onSwitched: (root) => this.switchTo(root),
      onEnded: () => {
        if (this.sink === sink()) this.sink = null;
        this.switchingTo = null;
        this.mayHaveWaste = true;
      },
    };
  }

  private switchTo(root: Root): void {
    const before = this.core.revision;
    this.guard(() => this.core.load(root));
    this.entriesUnflushed = 0;
    this.bytesUnflushed = 0;
    this.durable = this.position;
    this.durableRevision = this.core.revision;
    this.purgedRevision = 0;
    this.core.listener?.onReset();
    this.hub.reset(before);
  }

  private watchSource() {
    const { core } = this;
    return {
      get revision() {
        return core.revision;
      },
      get compactedRevision() {
        return core.compactedRevision;
      },
      changesFrom: core.changesFrom.bind(core),
      previousOf: ({ item, previousRevision }: { item: { key: Uint8Array }; previousRevision: Revision }) =>
        previousRevision <= core.compactedRevision
          ? null
          : itemOf(core.tables.changes.get(uint53Key(previousRevision)), item.key),
    };
  }
}

export type { ExpiryListener, SnapshotSink, SnapshotSource };
