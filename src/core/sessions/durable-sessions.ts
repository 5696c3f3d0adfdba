/**
 * Durable sessions: a message that any of them wants is stored once, and each session has its place in the message logs. The owner
 * of a slot has its sessions in memory, gives their messages to those that are connected, and stores what changes. Protocols use it;
 * nothing in it knows one. Thread: one per slot, usually a connection worker; `tick` and `upkeep` are called by whoever holds it.
 */
import { innerFilterError } from '../tenants/tenant-names.ts';
import type { SessionInterest } from './interest.ts';
import type { LogFeed } from './log-feed.ts';
import type { MessageStored } from './message-batch.ts';
import type { MessageLog } from './message-log.ts';
import type { MessageRun, NewMessage } from './message-record.ts';
import { isMoved } from './moved-topic.ts';
import { OnlineSession, type SessionLink } from './online-session.ts';
import { SessionArrival } from './session-arrival.ts';
import { SessionDeparture } from './session-departure.ts';
import {
  connected,
  dirtyPart,
  type SessionEntry,
  type SessionSubscription,
  type SessionWill,
} from './session-entry.ts';
import { SessionError } from './session-error.ts';
import { type OpenedSessions, openSessions } from './session-opening.ts';
import { type DurableSessionsOptions, sessionDefaults } from './session-options.ts';
import { recordsOf } from './session-records.ts';
import { SessionReplay } from './session-replay.ts';
import type { SessionRuntime } from './session-runtime.ts';
import type { SessionStore } from './session-store.ts';
import type { SessionTable, SubscriptionCounts } from './session-table.ts';

export interface AttachOptions {
  /** The session that there is is forgotten first. */
  readonly isClean: boolean;
  /** Lifetime without a connection in milliseconds, or `neverExpires`. */
  readonly expiryMs: number;
  /** Messages that may be under way to the client, 1 to 65,535. */
  readonly window: number;
  readonly will: SessionWill | null;
  readonly tenant?: string;
  /** Kept for the protocol. */
  readonly content?: Buffer | null;
}

export interface Attached {
  readonly session: OnlineSession;
  /** There was one, and the client goes on with it. */
  readonly isPresent: boolean;
}

export interface NewSubscription {
  readonly filter: string;
  readonly grade: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly detail: number;
  readonly identifier: number;
}

/** A session on its way to another owner; can be sent to another thread. */
export interface SessionTransfer {
  readonly id: string;
  readonly epoch: number;
  readonly records: readonly (readonly [Uint8Array, Uint8Array])[];
}

const idBytesMax = 65_535;

export class DurableSessions {
  readonly interest: SessionInterest;
  readonly #options: DurableSessionsOptions;
  readonly #table: SessionTable;
  readonly #store: SessionStore;
  readonly #logs: readonly MessageLog[];
  readonly #feeds: readonly LogFeed[];
  readonly #runtime: SessionRuntime;
  /** One call about a session at a time. */
  readonly #lanes = new Map<string, Promise<unknown>>();
  #serialEnd: number;
  #failure: SessionError | null = null;

  private constructor(options: DurableSessionsOptions, parts: OpenedSessions) {
    this.#options = options;
    this.interest = parts.interest;
    this.#table = parts.table;
    this.#store = parts.store;
    this.#logs = parts.logs;
    this.#feeds = parts.feeds;
    this.#runtime = parts.runtime;
    this.#serialEnd = parts.serialEnd;
  }

  /**
   * Fences the owner of the slot before, reads all its sessions, and follows the message logs. Receipts that a crash has hidden are
   * found. Rejects with StorageError or SessionError.
   */
  static async open(options: DurableSessionsOptions): Promise<DurableSessions> {
    let opened: DurableSessions | null = null;
    const parts = await openSessions(options, (error) => opened?.fail(error));
    opened = new DurableSessions(options, parts);
    return opened;
  }

  get size(): number {
    return this.#table.size;
  }

  /** What its sessions are subscribed to, connected or not. */
  get subscriptionCounts(): SubscriptionCounts {
    return this.#table.counts;
  }

  /** Counters and gauges, for metrics and tests. */
  get runtime(): SessionRuntime {
    return this.#runtime;
  }

  get partitionCount(): number {
    return this.#feeds.length;
  }

  has(id: string): boolean {
    return this.#table.get(id) !== undefined;
  }

  // ---- publishing

  /** Whether a message of this topic is to be published here. Keep the answer as long as `interest.epoch` is the same. */
  wants(topic: string): boolean {
    return this.interest.wants(topic);
  }

  /** False: hold the publishers back until `onRoom`. */
  get hasRoom(): boolean {
    return this.#logs.every((log) => log.hasRoom);
  }

  /** Stores a message; `done` is told, not inside of the call, when it may be acknowledged. Nothing of the message is kept. */
  publish(message: NewMessage, done: MessageStored): void {
    this.#logOf(message.topicBytes).append(message, null, done);
  }

  /** The same for messages that came together. */
  publishRun(run: MessageRun, done: MessageStored): void {
    this.#logOf(run.topicBytes).appendRun(run, done);
  }

  // ---- sessions

  /**
   * Connects a client to its session, or to a new one. A client that was connected is told `SESSION_TAKEN_OVER`. Resolves when this is
   * durable; then the protocol answers the client and calls `begin`. Rejects with SessionError.
   */
  attach(id: string, options: AttachOptions, link: SessionLink): Promise<Attached> {
    const { window } = options;
    const isWindow = Number.isInteger(window) && window >= 1 && window <= 65_535;
    const problem = isWindow ? idError(id) : `a window of ${window} is not a whole number from 1 to 65535`;
    if (problem !== null) return Promise.reject(limitError(`Cannot connect a session: ${problem}`));
    return this.#inLane(id, () => this.#attach(id, options, link));
  }

  async #attach(id: string, options: AttachOptions, link: SessionLink): Promise<Attached> {
    const { isClean, expiryMs, window, will, tenant = '', content = null } = options;
    let entry = this.#table.get(id);
    if (entry?.isMoving === true)
      throw new SessionError('SESSION_MOVING', `Cannot connect session "${id}": it is moving`);
    entry?.online?.end(new SessionError('SESSION_TAKEN_OVER', 'Another connection has taken the session over'));
    if (entry !== undefined && isClean) {
      this.#drop(entry, null);
      entry = undefined;
    }
    const isPresent = entry !== undefined;
    entry ??= await this.#create(id);
    // By two, and by one where a session only comes from another owner: of two copies the one that a client used since is the session.
    entry.epoch += 2;
    entry.expiryMs = expiryMs;
    entry.awaySince = -1;
    entry.isWillUnderWay = false;
    entry.will = will;
    entry.tenant = tenant;
    entry.content = content;
    this.#table.setDue(entry);
    await this.#saved(entry, dirtyPart.head | dirtyPart.progress | this.#forgetMoved(entry));
    if (entry.isRemoved) throw new SessionError('SESSION_TAKEN_OVER', `Cannot connect session "${id}": it was removed`);
    const session = new OnlineSession(this.#runtime, entry, link, window);
    entry.online = session;
    this.#runtime.onlineCount += 1;
    return { session, isPresent };
  }

  #checkRoom(id: string): void {
    const { sessionsMax = sessionDefaults.sessionsMax } = this.#options;
    if (this.#table.size < sessionsMax || this.has(id)) return;
    throw limitError(`Cannot make session "${id}": there are ${sessionsMax} sessions already`);
  }

  async #create(id: string): Promise<SessionEntry> {
    this.#checkRoom(id);
    const ends = await this.#ends();
    this.#check();
    const entry = this.#table.add(id);
    for (const [partition, end] of ends.entries()) this.#table.setPosition(entry, partition, end);
    // Receipts of a session of the same name that has ended are below.
    entry.nextSerial = this.#serialEnd;
    return entry;
  }

  /**
   * The client is away. `expiryMs`: a new lifetime, null for the one that it had. Without `keepWill` the will is not published. Resolves
   * when it is durable; with a lifetime of 0 the session ends, its will first.
   */
  async detach(session: OnlineSession, expiryMs: number | null, keepWill: boolean): Promise<void> {
    const { entry } = session;
    // Taken over, or removed: it is somebody else's now.
    if (session.isClosed || entry.online !== session) return;
    session.close();
    entry.awaySince = this.#options.context.clock.now();
    if (expiryMs !== null) entry.expiryMs = expiryMs;
    if (!keepWill) entry.will = null;
    this.#table.setDue(entry);
    const saved = this.#saved(entry, dirtyPart.head | dirtyPart.progress | this.#forgetMoved(entry));
    if (entry.expiresAt <= entry.awaySince || entry.willDueAt <= entry.awaySince)
      this.#handleDue(entry, entry.awaySince);
    await saved;
  }

  /** Forgets a session; its client is told. Resolves when it is durable. */
  remove(id: string): Promise<void> {
    return this.#inLane(id, async () => {
      const entry = this.#table.get(id);
      if (entry === undefined) return;
      entry.online?.end(new SessionError('SESSION_TAKEN_OVER', 'The session was removed'));
      await this.#dropped(entry);
    });
  }

  /**
   * Subscribes, or replaces subscriptions with the same filters. From the resolution on every message that is acknowledged to its
   * publisher is kept for the session; messages from before the call are not. Answers which filters are new.
   */
  async subscribe(session: OnlineSession, added: readonly NewSubscription[]): Promise<readonly boolean[]> {
    const { entry } = session;
    const { subscriptionsMax = sessionDefaults.subscriptionsMax } = this.#options;
    const known = new Map(entry.subscriptions.map((each) => [each.filter, each]));
    const isNew = added.map(({ filter }) => !known.has(filter));
    for (const { filter } of added) {
      const problem = innerFilterError(filter);
      if (problem !== undefined)
        throw limitError(`Cannot subscribe to ${JSON.stringify(filter.slice(0, 200))}: ${problem}`);
    }
    if (known.size + isNew.filter(Boolean).length > subscriptionsMax) {
      throw limitError(`Cannot subscribe: session "${entry.id}" may have ${subscriptionsMax} subscriptions`);
    }
    // Before the ends are asked for: what is published behind them is stored.
    const held = added.filter(({ filter, grade }) => grade > 0 && (known.get(filter)?.grade ?? 0) === 0);
    const filters = new Set(held.map(({ filter }) => filter));
    for (const filter of filters) this.interest.add(filter);
    try {
      const ends = filters.size === 0 ? [] : await this.#ends();
      this.#check();
      if (session.isClosed || entry.isRemoved)
        throw new SessionError('SESSION_TAKEN_OVER', 'Cannot subscribe: the client is gone');
      this.#setSubscriptions(entry, added, filters, ends);
    } catch (error) {
      for (const filter of filters) this.interest.remove(filter);
      throw error;
    }
    session.subscriptionsChanged();
    await this.#saved(entry, dirtyPart.progress);
    return isNew;
  }

  #setSubscriptions(
    entry: SessionEntry,
    added: readonly NewSubscription[],
    held: ReadonlySet<string>,
    ends: readonly number[],
  ): void {
    const all = new Map(entry.subscriptions.map((each) => [each.filter, each]));
    const since = this.#feeds.map((feed, partition) => Math.max(ends[partition] ?? 0, feed.tail));
    entry.dirtyFilters ??= new Set();
    for (const subscription of added) {
      const former = all.get(subscription.filter);
      // From 1 to 0: nobody waits for it any more.
      if (former !== undefined && former.grade > 0 && subscription.grade === 0) this.interest.remove(former.filter);
      const isHeld = held.has(subscription.filter) || former === undefined;
      all.set(subscription.filter, { ...subscription, since: isHeld ? since : former.since });
      entry.dirtyFilters.add(subscription.filter);
    }
    this.#table.setSubscriptions(entry, [...all.values()]);
  }

  /** Ends subscriptions; answers which there were. What is in flight goes on. */
  async unsubscribe(session: OnlineSession, filters: readonly string[]): Promise<readonly boolean[]> {
    const { entry } = session;
    const all = new Map(entry.subscriptions.map((each) => [each.filter, each]));
    const were = filters.map((filter) => {
      const known = all.get(filter);
      if (known === undefined) return false;
      all.delete(filter);
      if (known.grade > 0) this.interest.remove(filter);
      entry.dirtyFilters ??= new Set();
      entry.dirtyFilters.add(filter);
      return true;
    });
    this.#table.setSubscriptions(entry, [...all.values()]);
    session.subscriptionsChanged();
    await this.#saved(entry, dirtyPart.progress);
    return were;
  }

  /** Names of all sessions. */
  ids(): string[] {
    return Array.from(this.#table.entries(), ({ id }) => id);
  }

  /** Grows with each owner and each connection; 0 when there is no such session. Of two copies the higher one is the session. */
  epochOf(id: string): number {
    return this.#table.get(id)?.epoch ?? 0;
  }

  /** What the protocol keeps with a session. */
  contentOf(id: string): Buffer | null {
    return this.#table.get(id)?.content ?? null;
  }

  /** The will that is to be published when the session ends; null: none, or it is being published. */
  willOf(id: string): SessionWill | null {
    const entry = this.#table.get(id);
    return entry === undefined || entry.isWillUnderWay ? null : entry.will;
  }

  /** Whether the time of the session is over, and only its end is not done yet: nobody is to go on with it. */
  hasExpired(id: string): boolean {
    const entry = this.#table.get(id);
    return entry !== undefined && entry.expiresAt <= this.#options.context.clock.now();
  }

  /** The sessions of a service that has failed are another one's now, which has made their filters known again. */
  releaseInterest(): void {
    for (const { subscriptions } of this.#table.entries()) {
      for (const { filter, grade } of subscriptions) if (grade > 0) this.interest.remove(filter);
    }
  }

  /** What a client that comes back is to be asked for, and what administration shows. */
  subscriptionsOf(id: string): readonly SessionSubscription[] {
    const subscriptions = this.#table.get(id)?.subscriptions ?? [];
    return subscriptions.some(({ filter }) => isMoved(filter))
      ? subscriptions.filter(({ filter }) => !isMoved(filter))
      : subscriptions;
  }

  /** Groups in which the session is a member. */
  membershipCountOf(id: string): number {
    return this.#table.get(id)?.memberships?.size ?? 0;
  }

  // ---- from one owner to another

  /**
   * Begins to hand a session over: its client is told, and it does not change here any more. The logs stay where they are, so only the
   * session itself moves. `forget` ends it, `keep` takes it back.
   */
  handOver(id: string): Promise<SessionTransfer | null> {
    return this.#inLane(id, async () => {
      const entry = this.#table.get(id);
      if (entry === undefined) return null;
      entry.online?.end(new SessionError('SESSION_TAKEN_OVER', 'The session goes to another owner'));
      entry.isMoving = true;
      // Everything under way has its outcome then: receipts and flights are as they are stored.
      await this.#settled(entry);
      const records = recordsOf(entry, this.#runtime.positionsOf(entry));
      return { id, epoch: entry.epoch, records };
    });
  }

  async #settled(entry: SessionEntry): Promise<void> {
    for (;;) {
      await this.#saved(entry, dirtyPart.progress);
      const storing = [...(entry.receipts?.values() ?? [])].find(({ state }) => state === 'storing');
      if (storing === undefined) return;
      await new Promise<void>((resolve) => storing.waiters.push(() => resolve()));
    }
  }

  /** Takes a session over. Resolves when it is durable here; only then the former owner is to forget it. */
  adopt({ id, epoch, records }: SessionTransfer): Promise<void> {
    return this.#inLane(id, async () => {
      const present = this.#table.get(id);
      if (present !== undefined && present.epoch >= epoch) return;
      if (present !== undefined) this.#drop(present, null);
      const replay = new SessionReplay(this.#table);
      for (const [key, value] of records)
        replay.record({ key: Buffer.from(key), value: Buffer.from(value), offset: -1 });
      const entry = this.#table.get(id);
      if (entry === undefined)
        throw new SessionError('SESSION_STATE_CORRUPTED', `Cannot take session "${id}" over: no head`);
      replay.finishOne(entry);
      this.#runtime.adopted(entry);
      entry.epoch += 1;
      entry.dirtyFilters = new Set(entry.subscriptions.map(({ filter }) => filter));
      if (entry.memberships !== null) entry.dirtyGroups = new Set(entry.memberships.keys());
      this.#runtime.grouping?.adopted(entry);
      for (const packetId of entry.flights?.keys() ?? []) entry.touchFlight(packetId);
      if (entry.awaySince === -1) entry.awaySince = this.#options.context.clock.now();
      this.#table.setDue(entry);
      const moved = entry.movedEnds === null ? 0 : dirtyPart.arrival;
      await this.#saved(entry, dirtyPart.head | dirtyPart.progress | moved);
    });
  }

  /** The session has another owner now. */
  forget({ id, epoch }: SessionTransfer): Promise<void> {
    return this.#inLane(id, async () => {
      const entry = this.#table.get(id);
      if (entry?.isMoving === true && entry.epoch === epoch) this.#drop(entry, null);
    });
  }

  /** The session stays after all. */
  keep({ id, epoch }: SessionTransfer): void {
    const entry = this.#table.get(id);
    if (entry !== undefined && entry.epoch === epoch) entry.isMoving = false;
  }

  // ---- from one node to another

  /**
   * Begins to give a session to another node: its client is told, and it stands still here. `departed` ends it, `stay` takes it back; both
   * are told of a departure that was begun again, too. Null: there is no such session. Rejects with SessionError or StorageError.
   */
  depart(id: string): Promise<SessionDeparture | null> {
    return this.#inLane(id, async () => {
      const entry = this.#table.get(id);
      if (entry === undefined) return null;
      if (entry.arrivalEpoch !== 0)
        throw new SessionError('SESSION_MOVING', `Cannot give session "${id}" away: it has only just arrived`);
      entry.online?.end(new SessionError('SESSION_TAKEN_OVER', 'The session goes to another node'));
      entry.isMoving = true;
      await this.#settled(entry);
      return new SessionDeparture(entry, this.#runtime, this.#options.context, await this.#ends());
    });
  }

  /** Another node has it. What it was sent of groups with grade 2 is settled there. Resolves when it is durable. */
  departed({ id, epoch }: SessionDeparture): Promise<void> {
    return this.#inLane(id, async () => {
      const entry = this.#table.get(id);
      if (entry === undefined || !entry.isMoving || entry.epoch !== epoch) return;
      entry.isMoving = false;
      await this.#dropped(entry);
    });
  }

  /** It stays after all. */
  stay({ id, epoch }: SessionDeparture): void {
    const entry = this.#table.get(id);
    if (entry === undefined || entry.epoch !== epoch || entry.arrivalEpoch !== 0) return;
    entry.isMoving = false;
    this.#table.setDue(entry);
  }

  /** Begins to take a session from another node. Rejects with SessionError or StorageError. */
  async arrive(id: string): Promise<SessionArrival> {
    const problem = idError(id);
    if (problem !== null) throw limitError(`Cannot take a session over: ${problem}`);
    this.#checkRoom(id);
    const starts = await this.#ends();
    this.#check();
    const host = {
      runtime: this.#runtime,
      table: this.#table,
      store: (make: () => SessionEntry, epoch: number) => this.#inLane(id, () => this.#arrived(id, make, epoch)),
    };
    return new SessionArrival(id, host, starts);
  }

  async #arrived(id: string, make: () => SessionEntry, arrivalEpoch: number): Promise<void> {
    const former = this.#table.get(id);
    const formerEpoch = former?.epoch ?? 0;
    if (former !== undefined) this.#drop(former, null);
    this.#checkRoom(id);
    const entry = make();
    // Above all copies of it that there may be.
    entry.epoch = Math.max(entry.epoch, formerEpoch) + 1;
    // Receipts of a session of the same name that was here before are below.
    entry.nextSerial = Math.max(entry.nextSerial, this.#serialEnd);
    entry.arrivalEpoch = arrivalEpoch;
    entry.isMoving = true;
    this.#runtime.adopted(entry);
    entry.dirtyFilters = new Set(entry.subscriptions.map(({ filter }) => filter));
    for (const packetId of entry.flights?.keys() ?? []) entry.touchFlight(packetId);
    if (entry.awaySince === connected) entry.awaySince = this.#options.context.clock.now();
    this.#table.setDue(entry);
    await this.#saved(entry, dirtyPart.head | dirtyPart.progress | dirtyPart.arrival);
  }

  /**
   * It is known which move to this node was the last one: a session that came with it is at home here from now on, one that came with
   * another one never was. Nothing happens to others. `epoch` null: whichever there is is at home.
   */
  settleArrival(id: string, epoch: number | null): void {
    const entry = this.#table.get(id);
    if (entry === undefined || entry.arrivalEpoch === 0) return;
    if (epoch !== null && entry.arrivalEpoch !== epoch) {
      this.#drop(entry, null);
      return;
    }
    entry.arrivalEpoch = 0;
    entry.isMoving = false;
    this.#table.setDue(entry);
    this.#store.save(entry, dirtyPart.arrival);
  }

  /** What came with the session from another node was all delivered: nothing more is known of it. Answers what is to be stored. */
  #forgetMoved(entry: SessionEntry): number {
    const { movedEnds, flights } = entry;
    if (movedEnds === null || flights !== null || entry.arrivalEpoch !== 0) return 0;
    const positions = this.#runtime.positionsOf(entry);
    if (movedEnds.some((end, partition) => (positions[partition] ?? 0) < end)) return 0;
    entry.movedEnds = null;
    entry.dirtyFilters ??= new Set();
    for (const { filter } of entry.subscriptions) {
      if (!isMoved(filter)) continue;
      this.interest.remove(filter);
      entry.dirtyFilters.add(filter);
    }
    this.#table.setSubscriptions(
      entry,
      entry.subscriptions.filter(({ filter }) => !isMoved(filter)),
    );
    return dirtyPart.arrival;
  }

  /** Whether the session came from another node, and it is not known yet whether it is at home here. */
  isArriving(id: string): boolean {
    return (this.#table.get(id)?.arrivalEpoch ?? 0) !== 0;
  }

  // ---- time

  /** Ends sessions and publishes wills that are due; called every second or so. Answers how many there were. */
  tick(): number {
    const now = this.#options.context.clock.now();
    const due = this.#table.dueAt(now, duePerTick);
    for (const entry of due) this.#handleDue(entry, now);
    return due.length;
  }

  #handleDue(entry: SessionEntry, now: number): void {
    const { will } = entry;
    if (entry.isMoving) return;
    if (will !== null && !entry.isWillUnderWay && entry.willDueAt <= now) {
      entry.isWillUnderWay = true;
      this.#table.setDue(entry);
      this.#options.onWill(entry.id, will, () => this.#willDone(entry, will));
    }
    if (entry.expiresAt > now) return;
    if (entry.will !== null) {
      // The end waits for the will, and comes with it.
      this.#table.setNever(entry);
      return;
    }
    this.#drop(entry, null);
    this.#runtime.expired += 1;
    this.#options.onExpired?.(entry.id);
  }

  #willDone(entry: SessionEntry, will: SessionWill): void {
    if (entry.isRemoved || entry.will !== will) return;
    entry.will = null;
    entry.isWillUnderWay = false;
    this.#table.setDue(entry);
    this.#store.save(entry, dirtyPart.head);
    if (entry.expiresAt <= this.#options.context.clock.now()) this.#handleDue(entry, entry.expiresAt);
  }

  /** Applies limits to sessions in turn; called every few seconds. What is below the answered offsets no session here needs. */
  upkeep(): readonly number[] {
    return this.#runtime.upkeep();
  }

  /** Forgets what lies below these offsets, which no owner needs, and what bounds of the logs say. */
  trim(floors: readonly number[]): Promise<void> {
    return this.#runtime.trim(floors, this.#options.logBytesMax ?? sessionDefaults.logBytesMax);
  }

  /** Stores what there is to store, if the storage takes it, and ends. Clients are told. */
  async close(): Promise<void> {
    const closed = new SessionError('SESSION_CLOSED', 'The session service was closed');
    for (const entry of this.#table.entries()) entry.online?.end(closed);
    await this.#store.close();
    this.fail(closed);
  }

  /** Nothing is stored any more; all clients are told. Also ends an owner that is known to be replaced. */
  fail(error: SessionError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    for (const log of this.#logs) log.fail(error);
    for (const feed of this.#feeds) feed.close();
    this.#runtime.close();
    for (const entry of this.#table.entries()) entry.online?.end(error);
    if (error.code !== 'SESSION_CLOSED') this.#options.onFailed?.(error);
  }

  #drop(entry: SessionEntry, done: ((error: Error | null) => void) | null): void {
    for (const { filter, grade } of entry.subscriptions) if (grade > 0) this.interest.remove(filter);
    entry.online?.end(new SessionError('SESSION_TAKEN_OVER', 'The session has ended'));
    this.#runtime.grouping?.dropped(entry);
    this.#serialEnd = Math.max(this.#serialEnd, entry.nextSerial);
    this.#table.remove(entry);
    this.#store.remove(entry, done);
  }

  #dropped(entry: SessionEntry): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#drop(entry, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  #saved(entry: SessionEntry, parts: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#store.save(entry, parts, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  /** Where the message logs end. */
  #ends(): Promise<number[]> {
    return this.#runtime.ends();
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  #logOf(topicBytes: Buffer): MessageLog {
    return this.#runtime.logOf(topicBytes);
  }

  #inLane<T>(id: string, task: () => Promise<T>): Promise<T> {
    const guarded = (): Promise<T> => {
      this.#check();
      return task();
    };
    const mine = (this.#lanes.get(id) ?? Promise.resolve()).then(guarded, guarded);
    this.#lanes.set(id, mine);
    const leave = (): void => {
      if (this.#lanes.get(id) === mine) this.#lanes.delete(id);
    };
    mine.then(leave, leave);
    return mine;
  }
}

const duePerTick = 1000;

function idError(id: string): string | null {
  const length = Buffer.byteLength(id);
  return length >= 1 && length <= idBytesMax ? null : `a name has 1 to ${idBytesMax} bytes, not ${length}`;
}

function limitError(text: string): SessionError {
  return new SessionError('SESSION_LIMIT', text);
}
