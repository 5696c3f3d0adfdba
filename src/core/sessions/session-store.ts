/**
 * Keeps the sessions of one owner in their stream: what one turn changed is one batch, all records of a session in the same one.
 * Progress that nobody waits for is gathered for `progressMs`. The stream is written anew when it is twice as long as what lives in
 * it. Thread: the owner of the sessions.
 */
import type { WheelTimer } from '../../std/timing-wheel.ts';
import type { RecordCursor } from '../batch/record-cursor.ts';
import type { StreamPartition } from '../ports/stream-store.ts';
import { type QueueContext, timerOf } from '../queues/queue-context.ts';
import type { QueueError } from '../queues/queue-error.ts';
import { StateLog, type StateLogUser } from '../queues/state-log.ts';
import { dirtyPart, flightsPerChunk, type SessionEntry, type SessionSubscription } from './session-entry.ts';
import { SessionError } from './session-error.ts';
import {
  encodeArrival,
  encodeFlights,
  encodeFloors,
  encodeHead,
  encodeMembership,
  encodeProgress,
  encodeSubscription,
  flightsKey,
  floorsKey,
  membershipKey,
  recordKind,
  recordsOf,
  sessionKey,
  subscriptionKey,
} from './session-records.ts';
import { SessionReplay } from './session-replay.ts';
import type { SessionTable } from './session-table.ts';

export type StoredDone = (error: Error | null) => void;
type Add = (key: Uint8Array | null, value: Uint8Array | null) => void;

export interface SessionStoreOptions {
  readonly partition: StreamPartition;
  readonly producerBase: number;
  readonly context: QueueContext;
  readonly table: SessionTable;
  readonly progressMs: number;
  /** The stream is not written anew before it has grown by so much. */
  readonly rewriteBytesMin: number;
  /** Where the session is in each message log, now. */
  positionsOf(entry: SessionEntry): readonly number[];
  /** From where on receipts may be that no progress record knows, when everything that is dirty now is stored. */
  floors(): readonly number[];
  onFailed(error: SessionError): void;
}

const batchBytesMax = 256 * 1024;
const none: ReadonlyMap<string, SessionSubscription> = new Map();

interface InFlight {
  readonly ticket: number;
  readonly done: StoredDone;
}

export class SessionStore implements StateLogUser {
  readonly #options: SessionStoreOptions;
  readonly #replay: SessionReplay;
  readonly #progressTimer: WheelTimer;
  #log: StateLog | null = null;
  #queue: SessionEntry[] = [];
  #lazy: SessionEntry[] = [];
  /** To be written behind all that is in the queue; null: not asked for. */
  #floors: readonly number[] | null = null;
  #lastFloors: readonly number[] = [];
  #inFlight: InFlight[] = [];
  #removed: { readonly keys: readonly Buffer[]; readonly waiters: readonly StoredDone[] }[] = [];
  #add: Add = () => undefined;
  #batchBytes = 0;
  #written = 0;
  #living = 0;
  #isOpen = false;
  // Of the writing anew that is under way: row that is next, -1 none; tickets of its first and last batch.
  #rewriteRow = -1;
  #rewriteFirst = 0;
  #rewriteLast = 0;
  #rewriteOffset = -1;
  #rewriteBytes = 0;
  /** Receipt floors as they are stored: what lies behind them may be the only proof of a receipt, and must stay. */
  storedFloors: readonly number[] = [];
  /** For metrics and tests. */
  bytesWritten = 0;

  private constructor(options: SessionStoreOptions) {
    this.#options = options;
    this.#replay = new SessionReplay(options.table);
    this.#progressTimer = timerOf(() => this.#flushLazy());
  }

  /** Fences the owner before, and reads everything into the table. @throws StorageError, SessionError, QueueError */
  static async open(
    options: SessionStoreOptions,
  ): Promise<{ readonly store: SessionStore; readonly replay: SessionReplay }> {
    const store = new SessionStore(options);
    const { partition, producerBase, context } = options;
    store.#log = await StateLog.open({ partition, producerBase, context, user: store });
    store.#replay.finish();
    store.#isOpen = true;
    store.#lastFloors = store.#replay.floors;
    store.storedFloors = store.#replay.floors;
    store.#living = store.#replay.bytes;
    return { store, replay: store.#replay };
  }

  /** Of this owner; grows with each. */
  get generation(): number {
    return this.#log?.generation ?? 0;
  }

  get isStalled(): boolean {
    return this.#log?.isStalled ?? false;
  }

  /** The session changed; `done` is told when that is durable. Stored at the end of the turn. */
  save(entry: SessionEntry, parts: number, done: StoredDone | null = null): void {
    const error = this.#log?.error ?? null;
    if (error !== null) {
      if (done !== null) this.#options.context.defer(() => done(error));
      return;
    }
    entry.dirty |= parts;
    if (done !== null) {
      entry.waiters ??= [];
      entry.waiters.push(done);
    }
    if (!entry.isQueued) {
      entry.isQueued = true;
      this.#queue.push(entry);
    }
    this.#log?.touch();
  }

  /** The progress of the session changed; stored within `progressMs`. */
  saveLater(entry: SessionEntry): void {
    if ((entry.dirty & dirtyPart.progress) !== 0) return;
    entry.dirty |= dirtyPart.progress;
    this.#lazy.push(entry);
    if (this.#progressTimer.dueTick === -1) {
      this.#options.context.timers.start(this.#progressTimer, this.#options.progressMs);
    }
  }

  /** Removes all records of a session that the table has let go. */
  remove(entry: SessionEntry, done: StoredDone | null): void {
    const { id, storedChunks, subscriptions, dirtyFilters } = entry;
    const keys = [sessionKey(recordKind.head, id), sessionKey(recordKind.progress, id)];
    if (entry.movedEnds !== null || (entry.dirty & dirtyPart.arrival) !== 0)
      keys.push(sessionKey(recordKind.arrival, id));
    for (const chunk of storedChunks ?? []) keys.push(flightsKey(chunk, id));
    const filters = new Set([...subscriptions.map(({ filter }) => filter), ...(dirtyFilters ?? [])]);
    for (const filter of filters) keys.push(subscriptionKey(id, filter));
    const groups = new Set([...(entry.memberships?.keys() ?? []), ...(entry.dirtyGroups ?? [])]);
    for (const group of groups) keys.push(membershipKey(id, group));
    const waiters = [...(entry.waiters ?? []), ...(done === null ? [] : [done])];
    entry.waiters = null;
    const error = this.#log?.error ?? null;
    if (error !== null) {
      this.#options.context.defer(() => {
        for (const waiter of waiters) waiter(error);
      });
      return;
    }
    this.#removed.push({ keys, waiters });
    this.#log?.touch();
  }

  /** Writes down from where on receipts may be unknown, behind everything that is dirty now. */
  saveFloors(): void {
    this.#flushLazy();
    this.#floors = this.#options.floors();
    this.#log?.touch();
  }

  async close(): Promise<void> {
    this.#options.context.timers.cancel(this.#progressTimer);
    if (!this.isStalled) {
      this.saveFloors();
      await this.#drained();
    }
    await this.#log?.close();
  }

  // ---- the log's side

  replay(record: RecordCursor): void {
    this.#replay.record(record);
  }

  collect(add: Add, ticket: number): boolean {
    this.#add = add;
    this.#batchBytes = 0;
    // Removals first: a session of the same name can have come since.
    const removed = this.#removed.splice(0);
    for (const { keys, waiters } of removed) {
      for (const key of keys) this.#put(key, null);
      for (const done of waiters) this.#inFlight.push({ ticket, done });
    }
    let at = 0;
    const queue = this.#queue;
    for (; at < queue.length && this.#batchBytes < batchBytesMax; at += 1) this.#write(queue[at], ticket);
    this.#queue = at === queue.length ? [] : queue.slice(at);
    if (this.#queue.length === 0 && this.#floors !== null) {
      const floors = this.#floors;
      this.#put(floorsKey, encodeFloors(floors));
      this.#lastFloors = floors;
      this.#floors = null;
      this.#inFlight.push({
        ticket,
        done: (error) => {
          if (error === null) this.storedFloors = floors;
        },
      });
    }
    this.#written += this.#batchBytes;
    this.bytesWritten += this.#batchBytes;
    this.#rewrite(ticket);
    return this.#queue.length > 0 || this.#floors !== null || (this.#rewriteRow >= 0 && this.#rewriteLast === 0);
  }

  stored(ticket: number, offset: number): void {
    if (this.#rewriteFirst !== 0 && this.#rewriteOffset < 0 && ticket >= this.#rewriteFirst)
      this.#rewriteOffset = offset;
    if (this.#rewriteLast !== 0 && ticket >= this.#rewriteLast) this.#finishRewrite();
    const inFlight = this.#inFlight;
    let told = 0;
    while (told < inFlight.length && inFlight[told].ticket <= ticket) told += 1;
    if (told === 0) return;
    this.#inFlight = inFlight.slice(told);
    for (let index = 0; index < told; index += 1) inFlight[index].done(null);
  }

  failed(error: QueueError): void {
    if (!this.#isOpen) return;
    const code = failureCode(error);
    const failure = new SessionError(code, error.message, { cause: error });
    const dones = this.#inFlight.map(({ done }) => done);
    this.#inFlight = [];
    for (const entry of this.#queue) {
      dones.push(...(entry.waiters ?? []));
      entry.waiters = null;
    }
    for (const { waiters } of this.#removed) dones.push(...waiters);
    this.#queue = [];
    this.#removed = [];
    this.#options.context.timers.cancel(this.#progressTimer);
    for (const done of dones) done(failure);
    this.#options.onFailed(failure);
  }

  #flushLazy(): void {
    this.#options.context.timers.cancel(this.#progressTimer);
    const lazy = this.#lazy;
    this.#lazy = [];
    for (const entry of lazy) if (!entry.isRemoved) this.save(entry, 0);
    if (lazy.length > 0) this.#floors = this.#options.floors();
  }

  async #drained(): Promise<void> {
    while ((this.#queue.length > 0 || this.#floors !== null) && this.#log?.error === null && !this.isStalled) {
      await this.#log.whenStored(this.#log.touch()).catch(ignoreFailure);
    }
  }

  #write(entry: SessionEntry, ticket: number): void {
    entry.isQueued = false;
    if (entry.isRemoved) return;
    const { dirty, dirtyChunks, dirtyFilters, dirtyGroups, waiters, id } = entry;
    entry.dirty = 0;
    entry.dirtyChunks = null;
    entry.dirtyFilters = null;
    entry.dirtyGroups = null;
    entry.waiters = null;
    if ((dirty & dirtyPart.head) !== 0) this.#put(sessionKey(recordKind.head, id), encodeHead(entry));
    if ((dirty & dirtyPart.arrival) !== 0) {
      const { arrivalEpoch, movedEnds } = entry;
      this.#put(sessionKey(recordKind.arrival, id), movedEnds === null ? null : encodeArrival(arrivalEpoch, movedEnds));
    }
    const subscriptions =
      dirtyFilters === null ? none : new Map(entry.subscriptions.map((each) => [each.filter, each]));
    for (const filter of dirtyFilters ?? []) {
      const found = subscriptions.get(filter);
      this.#put(subscriptionKey(id, filter), found === undefined ? null : encodeSubscription(found));
    }
    for (const group of dirtyGroups ?? []) {
      const found = entry.memberships?.get(group);
      this.#put(membershipKey(id, group), found === undefined ? null : encodeMembership(found));
    }
    // A flight is only true with the position that goes with it.
    if ((dirty & dirtyPart.progress) !== 0 || dirtyChunks !== null) {
      this.#put(sessionKey(recordKind.progress, id), encodeProgress(entry, this.#options.positionsOf(entry)));
    }
    for (const chunk of dirtyChunks ?? []) this.#writeChunk(entry, chunk);
    for (const done of waiters ?? []) this.#inFlight.push({ ticket, done });
  }

  #writeChunk(entry: SessionEntry, chunk: number): void {
    const value = encodeFlights(entry, chunk);
    if (value !== null) {
      entry.storedChunks ??= new Set();
      entry.storedChunks.add(chunk);
    } else if (entry.storedChunks?.delete(chunk) !== true) return;
    if (entry.storedChunks?.size === 0) entry.storedChunks = null;
    this.#put(flightsKey(chunk, entry.id), value);
  }

  #put(key: Buffer, value: Buffer | null): void {
    this.#add(key, value);
    this.#batchBytes += key.length + (value?.length ?? 0) + 12;
  }

  // ---- writing anew

  #rewrite(ticket: number): void {
    const { table, rewriteBytesMin } = this.#options;
    if (this.#rewriteFirst === 0) {
      if (this.#written < Math.max(rewriteBytesMin, 2 * this.#living)) return;
      this.#written = 0;
      this.#rewriteRow = 0;
      this.#rewriteBytes = 0;
      this.#rewriteFirst = ticket;
      this.#put(floorsKey, encodeFloors(this.#lastFloors));
    }
    if (this.#rewriteLast !== 0) return;
    const end = this.#batchBytes + batchBytesMax;
    const before = this.#batchBytes;
    for (; this.#rewriteRow < table.rowCount && this.#batchBytes < end; this.#rewriteRow += 1) {
      const entry = table.at(this.#rewriteRow);
      if (entry !== null) this.#writeAll(entry);
    }
    this.#rewriteBytes += this.#batchBytes - before;
    this.bytesWritten += this.#batchBytes - before;
    if (this.#rewriteRow >= table.rowCount) this.#rewriteLast = ticket;
  }

  /** As it is now, with what is not stored yet: its own turn of the queue writes the same again. */
  #writeAll(entry: SessionEntry): void {
    for (const [key, value] of recordsOf(entry, this.#options.positionsOf(entry))) this.#put(key, value);
    for (const packetId of entry.flights?.keys() ?? []) {
      entry.storedChunks ??= new Set();
      entry.storedChunks.add(Math.floor(packetId / flightsPerChunk));
    }
  }

  #finishRewrite(): void {
    const start = this.#rewriteOffset;
    this.#living = this.#rewriteBytes;
    this.#rewriteRow = -1;
    this.#rewriteFirst = 0;
    this.#rewriteLast = 0;
    this.#rewriteOffset = -1;
    if (start >= 0) void this.#log?.trim(start);
  }
}

/** What the failure of a stream of ours means to sessions. */
export function failureCode(error: QueueError): 'SESSION_FENCED' | 'SESSION_CLOSED' | 'SESSION_STORAGE_FAILED' {
  if (error.code === 'QUEUE_FENCED') return 'SESSION_FENCED';
  return error.code === 'QUEUE_CLOSED' ? 'SESSION_CLOSED' : 'SESSION_STORAGE_FAILED';
}

function ignoreFailure(): void {
  // Everybody who waits was told, and the owner too.
}
