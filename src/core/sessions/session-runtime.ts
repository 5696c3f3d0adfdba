/**
 * What the online sessions of an owner share: the turns in which they read, limits, and what the message logs are needed for. Thread: the
 * owner of the sessions.
 */
import { hashBytes } from '../../std/hash.ts';
import type { WheelTimer } from '../../std/timing-wheel.ts';
import { type QueueContext, timerOf } from '../queues/queue-context.ts';
import type { SubscriptionIndex } from '../routing/subscription-index.ts';
import { codeOf } from '../transactions/internal-stream.ts';
import type { SessionInterest } from './interest.ts';
import type { LiveSubscription, LogFeed } from './log-feed.ts';
import type { MessageLog } from './message-log.ts';
import {
  type DropCounts,
  type OnlineHost,
  type OnlineSession,
  SessionDelivery,
  type SessionGrouping,
} from './online-session.ts';
import type { SessionEntry } from './session-entry.ts';
import { SessionError } from './session-error.ts';
import { applyLimits, forgetSkips, type SessionLimits } from './session-limits.ts';
import type { LogReaders } from './session-options.ts';
import type { SessionStore } from './session-store.ts';
import type { SessionTable } from './session-table.ts';

export interface SessionRuntimeParts {
  readonly slot: number;
  /** Logs that are written to; there can be more that are read. */
  readonly writtenCount: number;
  readonly context: QueueContext;
  readonly limits: SessionLimits;
  readonly interest: SessionInterest;
  readonly table: SessionTable;
  readonly store: SessionStore;
  readonly feeds: readonly LogFeed[];
  readonly logs: readonly MessageLog[];
  readonly live: SubscriptionIndex<LiveSubscription>;
  readonly packetIdMax: number;
  readonly readers: LogReaders | null;
}

/** Messages that one session reads before it is the turn of the next one, and all of them before other work. */
const sessionBudget = 32;
const turnBudget = 512;
const laterMs = 100;
/** Reads of the store at a time, each up to 256 KiB. */
const loadsMax = 32;
/** Sessions whose limits are looked at in one pass. */
const upkeepSessionsMax = 20_000;
/** And how long one pass may hold the thread for them. */
const upkeepMsMax = 20;
/** The same topic has the same log after a restart, on every thread. */
const partitionSeed = 0x51ed270b;

export class SessionRuntime implements OnlineHost {
  readonly slot: number;
  readonly table: SessionTable;
  readonly store: SessionStore;
  readonly feeds: readonly LogFeed[];
  readonly logs: readonly MessageLog[];
  readonly live: SubscriptionIndex<LiveSubscription>;
  readonly drops: DropCounts = { expired: 0, aged: 0, limited: 0, tooLarge: 0, gone: 0, damaged: 0 };
  readonly delivery = new SessionDelivery();
  readonly ageMsMax: number;
  readonly packetIdMax: number;
  grouping: SessionGrouping | null = null;
  /** Sessions that have ended because their time was over. */
  expired = 0;
  /** Sessions that wait for a read of the store. */
  loads = 0;
  /** Sessions with a client. */
  onlineCount = 0;
  /** Of sessions that arrive: where their messages begin in each log. */
  readonly arrivals = new Set<readonly number[]>();
  readonly #parts: SessionRuntimeParts;
  #ready: OnlineSession[] = [];
  #isScheduled = false;
  #later: OnlineSession[] = [];
  readonly #laterTimer: WheelTimer;
  #isClosed = false;
  #upkeepRow = 0;

  constructor(parts: SessionRuntimeParts) {
    this.#parts = parts;
    this.slot = parts.slot;
    this.table = parts.table;
    this.store = parts.store;
    this.feeds = parts.feeds;
    this.logs = parts.logs;
    this.live = parts.live;
    this.ageMsMax = parts.limits.ageMsMax;
    this.packetIdMax = parts.packetIdMax;
    this.#laterTimer = timerOf(() => this.#retry());
  }

  now(): number {
    return this.#parts.context.clock.now();
  }

  wants(topic: string): boolean {
    return this.#parts.interest.wants(topic);
  }

  logOf(topicBytes: Buffer): MessageLog {
    const { writtenCount } = this.#parts;
    if (writtenCount === 1) return this.logs[0];
    return this.logs[(hashBytes(topicBytes, 0, topicBytes.length, partitionSeed) >>> 0) % writtenCount];
  }

  /** Where the message logs end. Rejects with StorageError. */
  async ends(): Promise<number[]> {
    const places = await Promise.all(this.feeds.map(({ partition }) => partition.places()));
    return places.map(({ logEndOffset }) => logEndOffset);
  }

  /** @throws SessionError SESSION_CLOSED */
  checkOpen(): void {
    if (this.#isClosed) throw new SessionError('SESSION_CLOSED', 'The session service was closed');
  }

  /** Where a session is in each log. */
  positionsOf(entry: SessionEntry): readonly number[] {
    const { online } = entry;
    return this.feeds.map(({ number }) => online?.position(number) ?? this.table.position(entry, number));
  }

  /** A session has come from another owner. */
  adopted(entry: SessionEntry): void {
    for (const { filter, grade } of entry.subscriptions) if (grade > 0) this.#parts.interest.add(filter);
  }

  // ---- turns

  pumpSoon(session: OnlineSession): void {
    if (session.isReady || session.isClosed || this.#isClosed) return;
    session.isReady = true;
    this.#ready.push(session);
    if (this.loads < loadsMax) this.#schedule();
  }

  pumpLater(session: OnlineSession): void {
    if (this.#isClosed) return;
    this.#later.push(session);
    if (this.#laterTimer.dueTick === -1) this.#parts.context.timers.start(this.#laterTimer, laterMs);
  }

  loadBegins(): void {
    this.loads += 1;
  }

  loadEnds(): void {
    this.loads -= 1;
    if (this.#ready.length > 0 && !this.#isClosed) this.#schedule();
  }

  applyLimits(entry: SessionEntry): boolean {
    const outcome = applyLimits(entry, this.table, this.feeds, this.#parts.limits);
    if (outcome.type === 'wait') {
      if (entry.online !== null) outcome.feed.waiting.add(entry.online);
      return false;
    }
    this.drops.limited += outcome.dropped;
    return true;
  }

  detached(session: OnlineSession): void {
    this.onlineCount -= 1;
    session.isReady = false;
  }

  close(): void {
    this.#isClosed = true;
    this.#parts.context.timers.cancel(this.#laterTimer);
    this.#ready = [];
    this.#later = [];
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#parts.context.defer(() => {
      this.#isScheduled = false;
      this.#turn();
    });
  }

  /** Sessions take turns, so that one with much to read does not hold up the others, nor the thread. */
  #turn(): void {
    const ready = this.#ready;
    this.#ready = [];
    let used = 0;
    let at = 0;
    for (; at < ready.length && used < turnBudget && this.loads < loadsMax; at += 1) {
      const session = ready[at];
      session.isReady = false;
      used += session.pump(sessionBudget);
    }
    if (at < ready.length) this.#ready = [...ready.slice(at), ...this.#ready];
    // A read that ends calls its session, and with it this.
    if (this.#ready.length > 0 && this.loads < loadsMax) this.#schedule();
  }

  #retry(): void {
    const later = this.#later;
    this.#later = [];
    for (const session of later) this.pumpSoon(session);
  }

  // ---- upkeep

  /** See `DurableSessions.upkeep`. */
  upkeep(): readonly number[] {
    const { table } = this;
    const { clock } = this.#parts.context;
    const begin = clock.monotonic();
    const rows = table.rowCount;
    for (let count = Math.min(rows, upkeepSessionsMax); count > 0; count -= 1) {
      this.#upkeepRow = this.#upkeepRow + 1 >= rows ? 0 : this.#upkeepRow + 1;
      // Wide filters over many topics cost more than others: the rest comes with the next pass.
      if (clock.monotonic() - begin > upkeepMsMax) break;
      const entry = table.at(this.#upkeepRow);
      if (entry === null || entry.isMoving) continue;
      if (entry.online === null) this.applyLimits(entry);
      else if (entry.online.isBehind) {
        entry.online.limitsDue();
        entry.online.resume();
      }
      if (entry.skips !== null) forgetSkips(entry, this.positionsOf(entry));
    }
    for (const feed of this.feeds) feed.letGo();
    // For the next pass: floors count when they are stored.
    this.store.saveFloors();
    return this.feeds.map(({ number }) => Math.min(this.#floor(number), this.store.storedFloors[number] ?? 0));
  }

  /** Below it no session of this owner needs the log. */
  #floor(partition: number): number {
    let floor = Math.min(this.feeds[partition].tail, this.#parts.readers?.floor(partition) ?? Number.POSITIVE_INFINITY);
    for (const starts of this.arrivals) floor = Math.min(floor, starts[partition] ?? 0);
    for (const entry of this.table.entries()) {
      const { online, flights } = entry;
      floor = Math.min(floor, online?.position(partition) ?? this.table.position(entry, partition));
      if (flights === null) continue;
      flights.forEach((flight) => {
        // What was received is only a packet id any more.
        const needsBody = flight.state !== 'receiving' && flight.state !== 'received';
        if (needsBody && flight.partition === partition) floor = Math.min(floor, flight.offset);
      });
    }
    return floor;
  }

  /** See `DurableSessions.trim`. Errors of the store are left for the next time. */
  async trim(floors: readonly number[], logBytesMax: number): Promise<void> {
    for (const feed of this.feeds) {
      try {
        await this.#trimLog(feed, floors[feed.number] ?? 0, logBytesMax);
      } catch (error) {
        if (codeOf(error) === null) throw error;
      }
    }
  }

  async #trimLog(feed: LogFeed, floor: number, logBytesMax: number): Promise<void> {
    const { partition } = feed;
    const { logStartOffset, logEndOffset, sizeBytes } = await partition.places();
    let end = floor;
    if (sizeBytes > logBytesMax) {
      const excess = (sizeBytes - logBytesMax) / sizeBytes;
      end = Math.max(end, logStartOffset + Math.ceil((logEndOffset - logStartOffset) * excess));
    }
    const ageMsMax = Math.max(this.ageMsMax, this.#parts.readers?.ageMsMax ?? 0);
    if (ageMsMax !== Number.POSITIVE_INFINITY) {
      const young = await partition.offsetForTime(this.now() - ageMsMax);
      end = Math.max(end, young?.offset ?? logEndOffset);
    }
    if (end <= logStartOffset) return;
    feed.trimmed(await partition.deleteBefore(Math.min(end, feed.tail)));
  }
}
