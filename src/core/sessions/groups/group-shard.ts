/**
 * The groups of one shard in their stream: one record for each group that changed, at most one in the time of progress unless somebody
 * waits for it. The stream is written anew when it has grown by twice what lives in it. Thread: the owner of the groups.
 */
import type { WheelTimer } from '../../../std/timing-wheel.ts';
import type { RecordCursor } from '../../batch/record-cursor.ts';
import type { StreamPartition } from '../../ports/stream-store.ts';
import { type QueueContext, timerOf } from '../../queues/queue-context.ts';
import type { QueueError } from '../../queues/queue-error.ts';
import { StateLog, type StateLogUser } from '../../queues/state-log.ts';
import { SessionError } from '../session-error.ts';
import { producerBaseOf, slotsMax } from '../session-options.ts';
import { failureCode } from '../session-store.ts';
import { decodeGroup, decodeGroupKey, encodeGroup, groupRecordKey, type StoredGroup } from './group-records.ts';
import type { SharedGroup } from './shared-group.ts';

export interface GroupShardOptions {
  readonly number: number;
  readonly partition: StreamPartition;
  readonly context: QueueContext;
  readonly progressMs: number;
  readonly rewriteBytesMin: number;
  onFailed(error: SessionError): void;
}

type Done = (error: Error | null) => void;
type Add = (key: Uint8Array | null, value: Uint8Array | null) => void;

const batchBytesMax = 256 * 1024;
/** Of a record beside key and value. */
const recordBytes = 12;

export class GroupShard implements StateLogUser {
  readonly number: number;
  readonly groups = new Map<string, SharedGroup>();
  /** What was stored when it was opened. */
  readonly found = new Map<string, StoredGroup>();
  /** Slots that have said what their members hold, and those that still have to. */
  readonly synced = new Set<number>();
  readonly awaited = new Set<number>();
  isStarted = false;
  readonly #options: GroupShardOptions;
  readonly #timer: WheelTimer;
  #log: StateLog | null = null;
  #isOpen = false;
  #queue: SharedGroup[] = [];
  #lazy: SharedGroup[] = [];
  #removed: { readonly key: string; readonly done: Done }[] = [];
  #inFlight: { readonly ticket: number; readonly done: Done }[] = [];
  #written = 0;
  #living = 0;
  /** Groups that are still to be written anew; null: not under way. */
  #rewrite: {
    readonly left: SharedGroup[];
    readonly first: number;
    last: number;
    offset: number;
    bytes: number;
  } | null = null;
  /** For metrics and tests. */
  bytesWritten = 0;

  private constructor(options: GroupShardOptions) {
    this.#options = options;
    this.number = options.number;
    this.#timer = timerOf(() => this.#flushLazy());
  }

  /** Fences the owner before, and reads what it has stored. Rejects with StorageError, QueueError or SessionError. */
  static async open(options: GroupShardOptions): Promise<GroupShard> {
    const shard = new GroupShard(options);
    const { partition, context, number } = options;
    // Behind those of the owners of sessions.
    const producerBase = producerBaseOf(slotsMax + number);
    shard.#log = await StateLog.open({ partition, producerBase, context, user: shard });
    shard.#isOpen = true;
    return shard;
  }

  get generation(): number {
    return this.#log?.generation ?? 0;
  }

  /** The group changed; `done` is told when that is durable, never inside of the call. */
  save(group: SharedGroup, done: Done): void {
    const error = this.#log?.error ?? null;
    if (error !== null) {
      this.#options.context.defer(() => done(error));
      return;
    }
    group.dirtyWaiters.push(done);
    this.#enqueue(group);
  }

  /** The same, within the time of progress. */
  saveLater(group: SharedGroup): void {
    if (group.isDirty) return;
    group.isDirty = true;
    this.#lazy.push(group);
    if (this.#timer.dueTick === -1) this.#options.context.timers.start(this.#timer, this.#options.progressMs);
  }

  /** Removes a group from the stream and from here. */
  remove(group: SharedGroup, done: Done): void {
    this.groups.delete(group.key);
    const dones = [done, ...group.dirtyWaiters.splice(0)];
    const all: Done = (error) => {
      for (const each of dones) each(error);
    };
    const error = this.#log?.error ?? null;
    if (error !== null) {
      this.#options.context.defer(() => all(error));
      return;
    }
    this.#removed.push({ key: group.key, done: all });
    this.#log?.touch();
  }

  /** Stores what there is, if the storage takes it. */
  async close(): Promise<void> {
    this.#flushLazy();
    this.#options.context.timers.cancel(this.#timer);
    await this.#log?.close();
  }

  // ---- the log's side

  replay({ key, value, offset }: RecordCursor): void {
    const name = decodeGroupKey(key);
    const stored = name === null || value === null ? null : decodeGroup(name, value);
    if (name === null || (value !== null && stored === null)) {
      const text = `Cannot read the groups of shard ${this.number}: the record at offset ${offset} is damaged, or of a newer version`;
      throw new SessionError('SESSION_STATE_CORRUPTED', text);
    }
    if (stored === null) this.found.delete(name);
    else this.found.set(name, stored);
  }

  collect(add: Add, ticket: number): boolean {
    let bytes = 0;
    const put = (key: Buffer, value: Buffer | null): void => {
      add(key, value);
      bytes += key.length + (value?.length ?? 0) + recordBytes;
    };
    // Removals first: a group of the same name can have come since.
    for (const { key, done } of this.#removed.splice(0)) {
      put(groupRecordKey(key), null);
      this.#inFlight.push({ ticket, done });
    }
    let at = 0;
    const queue = this.#queue;
    for (; at < queue.length && bytes < batchBytesMax; at += 1) {
      const group = queue[at];
      group.isQueued = false;
      if (group.isClosed) continue;
      group.isDirty = false;
      put(groupRecordKey(group.key), encodeGroup(group.stored));
      for (const done of group.dirtyWaiters.splice(0)) this.#inFlight.push({ ticket, done });
    }
    this.#queue = queue.slice(at);
    this.#written += bytes;
    this.bytesWritten += bytes;
    this.#writeAnew(ticket, put);
    return this.#queue.length > 0 || (this.#rewrite !== null && this.#rewrite.left.length > 0);
  }

  stored(ticket: number, offset: number): void {
    const rewrite = this.#rewrite;
    if (rewrite !== null && ticket >= rewrite.first && rewrite.offset < 0) rewrite.offset = offset;
    if (rewrite !== null && rewrite.last > 0 && ticket >= rewrite.last) {
      this.#rewrite = null;
      this.#living = rewrite.bytes;
      if (rewrite.offset >= 0) void this.#log?.trim(rewrite.offset);
    }
    let told = 0;
    while (told < this.#inFlight.length && this.#inFlight[told].ticket <= ticket) told += 1;
    if (told === 0) return;
    for (const { done } of this.#inFlight.splice(0, told)) done(null);
  }

  failed(error: QueueError): void {
    if (!this.#isOpen) return;
    const failure = new SessionError(failureCode(error), error.message, { cause: error });
    const dones = this.#inFlight.splice(0).map(({ done }) => done);
    for (const { done } of this.#removed.splice(0)) dones.push(done);
    for (const group of this.groups.values()) dones.push(...group.dirtyWaiters.splice(0));
    this.#queue = [];
    this.#lazy = [];
    this.#options.context.timers.cancel(this.#timer);
    for (const done of dones) done(failure);
    this.#options.onFailed(failure);
  }

  #enqueue(group: SharedGroup): void {
    if (!group.isQueued) {
      group.isQueued = true;
      this.#queue.push(group);
    }
    this.#log?.touch();
  }

  #flushLazy(): void {
    this.#options.context.timers.cancel(this.#timer);
    const lazy = this.#lazy;
    this.#lazy = [];
    // One that was stored meanwhile is not dirty any more.
    for (const group of lazy) if (group.isDirty && !group.isClosed) this.#enqueue(group);
  }

  /** Everything again from here on, so that what is before can go. */
  #writeAnew(ticket: number, put: (key: Buffer, value: Buffer | null) => void): void {
    if (this.#rewrite === null) {
      if (this.#written < Math.max(this.#options.rewriteBytesMin, 2 * this.#living)) return;
      this.#written = 0;
      this.#rewrite = { left: [...this.groups.values()], first: ticket, last: 0, offset: -1, bytes: 0 };
    }
    const rewrite = this.#rewrite;
    if (rewrite.last > 0) return;
    let bytes = 0;
    for (let group = rewrite.left.pop(); group !== undefined; group = rewrite.left.pop()) {
      if (group.isClosed || !group.isPlaced) continue;
      const key = groupRecordKey(group.key);
      const value = encodeGroup(group.stored);
      put(key, value);
      bytes += key.length + value.length + recordBytes;
      if (bytes >= batchBytesMax) break;
    }
    rewrite.bytes += bytes;
    this.bytesWritten += bytes;
    if (rewrite.left.length === 0) rewrite.last = ticket;
  }
}
