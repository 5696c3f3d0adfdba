/**
 * A durable session whose client is connected: gives it its messages, in the order of the logs, within its window, and keeps what is
 * under way in both directions. Thread: the owner of the sessions; the protocol calls the methods and implements `SessionLink`.
 *
 * Of each message log the session is either *live*: the feed gives it what comes, and its position is that of the feed; or *behind*: it
 * reads the log from its position on, whenever there is room, until it reaches the feed. A live session that has no room falls
 * behind; nothing is queued for it in memory.
 */

import type { SubscriptionIndex } from '../routing/subscription-index.ts';
import { matches } from '../routing/topic.ts';
import type { StoredBatch } from './batch-cache.ts';
import { flightTransitions, receiptTransitions } from './delivery-state.ts';
import type { Flight } from './flight-table.ts';
import { filterOfGroup } from './groups/group-key.ts';
import type { LiveSubscription, LogFeed } from './log-feed.ts';
import { afterSkips, isDamage, planFrom } from './log-reading.ts';
import type { MessageLog } from './message-log.ts';
import { MessageView, type NewMessage } from './message-record.ts';
import { isMoved, movedPrefixIn, movedPrefixLength } from './moved-topic.ts';
import type { ReadPlan } from './read-plan.ts';
import {
  dirtyPart,
  type Membership,
  type Receipt,
  type SessionEntry,
  type SessionSubscription,
} from './session-entry.ts';
import type { SessionError } from './session-error.ts';
import { isOfGroupAlone } from './session-records.ts';
import type { SessionStore } from './session-store.ts';
import type { SessionTable } from './session-table.ts';

/** What the client is given. One object for all messages: nothing of it is kept after `deliver` returns. */
export class SessionDelivery {
  message = new MessageView();
  packetId = 0;
  /** 0 only of a group: without an answer, and without a packet id. */
  grade: 0 | 1 | 2 = 1;
  /** It may have been sent before. */
  isDuplicate = false;
  partition = 0;
  offset = 0;
  /** Those that match, at least one; none when it is sent again and the client has unsubscribed meanwhile. */
  subscriptions: readonly SessionSubscription[] = [];
  /** Name of the group that gave it (`groups/group-key.ts`), empty: none. */
  group = '';
}

/** The side of the protocol. Called on the same thread, never after `end`. */
export interface SessionLink {
  /** Whether a message of about so many bytes can be taken now. After a no, call `resume` when there is room. */
  hasRoom(bytes: number): boolean;
  /** False: the client can never take this one (too large); it is settled and counted. */
  deliver(delivery: SessionDelivery): boolean;
  /** Tells the client to forget a packet id of grade 2; again after each connecting, until it completes. */
  release(packetId: number): void;
  /** The session belongs to somebody else now, or cannot be kept any more. */
  end(error: SessionError): void;
}

export interface DropCounts {
  expired: number;
  aged: number;
  limited: number;
  tooLarge: number;
  /** In flight when a bound of the log dropped it. */
  gone: number;
  damaged: number;
}

/** Groups, as sessions see them; implemented by `groups/group-desk.ts`. */
export interface SessionGrouping {
  /** The client gets messages from now on. */
  begun(session: OnlineSession): void;
  /** There may be room for more. */
  room(entry: SessionEntry): void;
  /** The client is done with a message of a group. */
  settled(entry: SessionEntry, flight: Flight): void;
  /** The client has a message of grade 2: `stored` is called when the group has stored that, in this life or never. */
  received(entry: SessionEntry, flight: Flight): void;
  /** The client goes: called before the session lets go. */
  closing(session: OnlineSession): void;
  /** The session has come from another owner. */
  adopted(entry: SessionEntry): void;
  /** The session has ended, or has another owner now. */
  dropped(entry: SessionEntry): void;
}

/** A message of a group on its way to a session. */
export interface GroupedMessage {
  readonly membership: Membership;
  readonly partition: number;
  readonly offset: number;
  readonly grade: 0 | 1 | 2;
  readonly isDuplicate: boolean;
}

/** What online sessions need of their service. */
export interface OnlineHost {
  readonly table: SessionTable;
  readonly store: SessionStore;
  readonly feeds: readonly LogFeed[];
  readonly live: SubscriptionIndex<LiveSubscription>;
  readonly drops: DropCounts;
  readonly ageMsMax: number;
  readonly packetIdMax: number;
  readonly delivery: SessionDelivery;
  /** Null: there are no groups. */
  readonly grouping: SessionGrouping | null;
  now(): number;
  logOf(topicBytes: Buffer): MessageLog;
  wants(topic: string): boolean;
  slot: number;
  /** Calls `pump` soon. */
  pumpSoon(session: OnlineSession): void;
  /** A read of the store begins, or ends: their number is bounded. */
  loadBegins(): void;
  loadEnds(): void;
  /** Tries again after a pause. */
  pumpLater(session: OnlineSession): void;
  /** Applies the limits to what waits; false: not yet, the session is called when it can be done. */
  applyLimits(entry: SessionEntry): boolean;
  detached(session: OnlineSession): void;
}

/** In place of that of a client that has gone. */
const noLink: SessionLink = {
  hasRoom: () => false,
  deliver: () => true,
  release: () => undefined,
  end: () => undefined,
};
const matchCacheMax = 1024;
const readBytes = { dense: 256 * 1024, sparse: 16 * 1024 } as const;

export class OnlineSession {
  readonly entry: SessionEntry;
  readonly #host: OnlineHost;
  #link: SessionLink;
  readonly #window: number;
  readonly #isLive: boolean[];
  /** Logs of which the session is behind. */
  #behindCount: number;
  readonly #plans: (ReadPlan | null)[];
  /** To be sent again before anything else; oldest first. */
  #resends: Flight[];
  #live: LiveSubscription[] = [];
  /** It has messages that came with it from another node, or had. */
  #hasMoved = false;
  readonly #matched = new Map<string, readonly SessionSubscription[]>();
  readonly #asSubscriptions = new WeakMap<Membership, readonly SessionSubscription[]>();
  #isLimited = false;
  #isLoading = false;
  #isBlocked = false;
  /** What was read for this session, by message log; let go when the client has no room. */
  #held: StoredBatch | null = null;
  #heldOf = 0;
  isClosed = false;
  /** Owned by the host's queue. */
  isReady = false;

  constructor(host: OnlineHost, entry: SessionEntry, link: SessionLink, window: number) {
    this.entry = entry;
    this.#host = host;
    this.#link = link;
    this.#window = window;
    this.#isLive = host.feeds.map(() => false);
    this.#behindCount = host.feeds.length;
    this.#plans = host.feeds.map(() => null);
    const flights = entry.flights?.values() ?? [];
    this.#resends = flights.filter(({ state }) => state === 'sent' || state === 'sentOnce');
    this.subscriptionsChanged();
  }

  get id(): string {
    return this.entry.id;
  }

  get window(): number {
    return this.#window;
  }

  /** Whether everything that is in the logs was given to the client. */
  get isCaughtUp(): boolean {
    return this.#behindCount === 0 && this.#resends.length === 0;
  }

  /** Where the session goes on in a message log. */
  position(partition: number): number {
    const position = this.#host.table.position(this.entry, partition);
    return this.#isLive[partition] ? Math.max(position, this.#host.feeds[partition].tail) : position;
  }

  /** Sends what may have been lost again, releases first, and goes on with what waits. The link gets calls from now on. */
  begin(): void {
    for (const { packetId, state } of this.entry.flights?.values() ?? []) {
      if (state === 'received') this.#link.release(packetId);
    }
    this.#host.pumpSoon(this);
    this.#host.grouping?.begun(this);
  }

  /** The client has room again. */
  resume(): void {
    this.#isBlocked = false;
    if (!this.isClosed && !this.isCaughtUp) this.#host.pumpSoon(this);
    if (!this.isClosed && this.entry.memberships !== null) this.#host.grouping?.room(this.entry);
  }

  // ---- what the client answers

  /** The client has a message of grade 1. False: it has none of this packet id. */
  acknowledge(packetId: number): boolean {
    return this.#settle(packetId, 'acknowledge');
  }

  /** The client refuses a message: it is not sent again. */
  reject(packetId: number): boolean {
    return this.#settle(packetId, 'reject');
  }

  /** The client has forgotten the packet id of a message of grade 2. */
  complete(packetId: number): boolean {
    return this.#settle(packetId, 'complete');
  }

  /** The client has a message of grade 2; the link is told to release it when that is durable. False: there is none. */
  receive(packetId: number): boolean {
    const flight = this.entry.flights?.get(packetId);
    if (flight === undefined) return false;
    const next = flightTransitions[flight.state].receive;
    if (next === null) return false;
    if (next === 'received') this.#link.release(packetId);
    else if (flight.state !== 'receiving') this.#receiving(flight);
    return true;
  }

  #receiving(flight: Flight): void {
    const { entry } = this;
    flight.state = 'receiving';
    const { grouping, store } = this.#host;
    if (flight.group === undefined || grouping === null) storeReceipt(store, entry, flight);
    else grouping.received(entry, flight);
  }

  releaseNow(packetId: number): void {
    if (!this.isClosed) this.#link.release(packetId);
  }

  #settle(packetId: number, event: 'acknowledge' | 'reject' | 'complete'): boolean {
    if (flightTransitions.sent[event] !== null && this.entry.dropSent(packetId)) {
      this.#host.store.saveLater(this.entry);
      this.#hasRoomAgain();
      return true;
    }
    const flight = this.entry.flights?.get(packetId);
    if (flight === undefined || flightTransitions[flight.state][event] === null) return false;
    const isStored = !isOfGroupAlone(flight);
    flight.state = 'settled';
    this.entry.dropFlight(packetId);
    if (isStored) this.#host.store.saveLater(this.entry);
    if (flight.group !== undefined && flight.isConfirmed !== true) this.#host.grouping?.settled(this.entry, flight);
    this.#hasRoomAgain();
    return true;
  }

  #hasRoomAgain(): void {
    if (!this.isCaughtUp) this.#host.pumpSoon(this);
    if (this.entry.memberships !== null) this.#host.grouping?.room(this.entry);
  }

  // ---- what the client publishes with grade 2

  /**
   * The client sends a message of grade 2. `new`: it is stored if some durable session wants it, and the caller routes it to everybody
   * else. `duplicate`: it was sent before; nothing is to be done with it. Either way `done` is told, once, when the receipt is
   * durable and may be confirmed, or why it cannot be. Never inside of the call.
   */
  publish(
    packetId: number,
    topic: string,
    message: NewMessage,
    done: (error: Error | null) => void,
  ): 'new' | 'duplicate' {
    const { entry } = this;
    const host = this.#host;
    const known = entry.receipts?.get(packetId);
    if (known !== undefined) {
      if (known.state === 'storing') known.waiters.push(done);
      // Ordered behind what is under way, so that the confirmation never comes inside of the call.
      else host.store.save(entry, 0, done);
      return 'duplicate';
    }
    const isInLog = host.wants(topic);
    const serial = entry.nextSerial;
    entry.nextSerial += 1;
    const receipt: Receipt = { packetId, serial, isInLog, state: 'storing', waiters: [done] };
    entry.receipts ??= new Map();
    entry.receipts.set(packetId, receipt);
    const told = (error: Error | null): void => this.#receiptStored(receipt, error);
    if (isInLog) {
      const mark = { slot: host.slot, packetId, serial };
      host.logOf(message.topicBytes).append(message, mark, (error) => told(error));
    } else host.store.save(entry, dirtyPart.progress, told);
    return 'new';
  }

  #receiptStored(receipt: Receipt, error: Error | null): void {
    const { entry } = this;
    const { waiters } = receipt;
    receipt.waiters = [];
    const next = receiptTransitions[receipt.state][error === null ? 'stored' : 'failed'];
    if (next === 'none') entry.dropReceipt(receipt.packetId);
    else if (next !== null) receipt.state = next;
    // That it is known is written down with the next progress; until then the message itself proves it.
    if (receipt.isInLog) this.#host.store.saveLater(entry);
    for (const done of waiters) done(error);
  }

  /**
   * The client has the confirmation of a packet id. `done` is told, never inside of the call, when it is durable that the packet id is
   * free. False: the message is not confirmed yet, which is an error of the client.
   */
  release(packetId: number, done: (error: Error | null) => void): boolean {
    const { entry } = this;
    const { store } = this.#host;
    const receipt = entry.receipts?.get(packetId);
    if (receipt === undefined) {
      store.save(entry, 0, done);
      return true;
    }
    if (receiptTransitions[receipt.state].release === null) return false;
    receipt.state = 'releasing';
    store.save(entry, dirtyPart.progress, (error) => {
      if (error === null && entry.receipts?.get(packetId) === receipt) entry.dropReceipt(packetId);
      done(error);
    });
    return true;
  }

  /** Whether `publish` may be called: also behind the end of the connection, while the session is here and stays. */
  get canPublish(): boolean {
    return !this.entry.isRemoved && !this.entry.isMoving;
  }

  /** Whether the packet id is that of a message of grade 2 that was received and not released. */
  hasReceipt(packetId: number): boolean {
    return this.entry.receipts?.has(packetId) === true;
  }

  /** Messages under way to the client. */
  get flightCount(): number {
    return this.entry.flights?.size ?? 0;
  }

  get receiptCount(): number {
    return this.entry.receipts?.size ?? 0;
  }

  // ---- subscriptions

  /** Called by the service when the subscriptions of the entry are others. */
  subscriptionsChanged(): void {
    const { live } = this.#host;
    for (const each of this.#live) live.remove(each.subscription.filter, each);
    const wanted = this.entry.subscriptions.filter(({ grade }) => grade > 0);
    this.#live = wanted.map((subscription) => ({ session: this, subscription }));
    for (const each of this.#live) live.add(each.subscription.filter, each);
    this.#hasMoved = wanted.some(({ filter }) => isMoved(filter));
    this.#plans.fill(null);
    this.#matched.clear();
  }

  // ---- messages

  /** The feed has come to a message. */
  offerLive(
    partition: number,
    offset: number,
    batch: StoredBatch,
    view: MessageView,
    subscriptions: readonly SessionSubscription[],
  ): void {
    const { table } = this.#host;
    if (!this.#isLive[partition] || this.isClosed) return;
    // A session that began behind the feed.
    if (offset < table.position(this.entry, partition)) return;
    if (this.#offer(partition, offset, batch, view, subscriptions)) return;
    table.setPosition(this.entry, partition, offset);
    this.#isLive[partition] = false;
    this.#behindCount += 1;
    this.#plans[partition] = null;
  }

  /** Goes on reading; answers about how many messages were looked at. */
  pump(budget: number): number {
    if (this.isClosed || this.#isLoading) return 0;
    const used = this.#pump(budget);
    if (this.#isBlocked) this.#held = null;
    return used;
  }

  #pump(budget: number): number {
    const { feeds } = this.#host;
    this.#isBlocked = false;
    if (!this.#isLimited) {
      if (!this.#host.applyLimits(this.entry)) return 0;
      this.#isLimited = true;
    }
    const isRepeating = this.#resends.length > 0;
    let used = this.#resend(budget);
    if (isRepeating && this.#resends.length === 0) this.#host.grouping?.room(this.entry);
    if (this.#resends.length > 0) {
      if (!this.#isBlocked && !this.#isLoading) this.#host.pumpSoon(this);
      return used;
    }
    for (let partition = 0; partition < feeds.length; partition += 1) {
      if (!this.#isLive[partition]) used += this.#readSome(partition, budget);
      if (this.#isBlocked || this.#isLoading || this.isClosed) return used;
    }
    // What waits for the index is called by it.
    if (feeds.some((feed, at) => !this.#isLive[at] && !feed.waiting.has(this))) this.#host.pumpSoon(this);
    return used;
  }

  #resend(budget: number): number {
    let used = 0;
    const { delivery } = this.#host;
    while (this.#resends.length > 0 && used < budget && !this.#isLoading) {
      const flight = this.#resends[0];
      if (flight.state !== 'sent' && flight.state !== 'sentOnce') {
        // Settled unasked.
        this.#resends.shift();
        continue;
      }
      const { partition, offset, packetId } = flight;
      // The window of this client can be smaller than that of the one before: the others are sent when it has settled some.
      const isFull = this.flightCount - this.#resends.length >= this.#window;
      if (isFull || !this.#link.hasRoom(1)) {
        this.#isBlocked = true;
        break;
      }
      const found = this.#fetch(partition, offset, false);
      if (found === null) break;
      this.#resends.shift();
      used += 1;
      const view = delivery.message;
      const start = found === 'gone' ? -1 : found.startOf(offset);
      if (found === 'gone' || start < 0 || !view.read(found.bytes, start, found.limit, found.baseTimestamp)) {
        this.#gone(flight);
        continue;
      }
      const grade = flight.state === 'sent' ? 1 : 2;
      if (!this.#send(flight, this.#subscriptionsOf(flight, view), grade, true)) this.#settle(packetId, 'reject');
    }
    return used;
  }

  /** A message in flight is not there any more. Of grade 2 the client may know the packet id: it has to release that. */
  #gone(flight: Flight): void {
    this.#host.drops.gone += 1;
    if (flight.state === 'sentOnce') this.#receiving(flight);
    else this.#settle(flight.packetId, 'reject');
  }

  /** Reads a message log from the position on. */
  #readSome(partition: number, budget: number): number {
    const host = this.#host;
    const feed = host.feeds[partition];
    const { entry } = this;
    let used = 0;
    let position = afterSkips(this.entry, partition, Math.max(host.table.position(entry, partition), feed.logStart));
    while (used < budget) {
      if (position >= feed.tail) {
        this.#isLive[partition] = true;
        this.#behindCount -= 1;
        this.#plans[partition] = null;
        break;
      }
      const plan = this.#planFor(partition, position);
      if (plan === null) break;
      const next = plan.next(position);
      if (next >= plan.end) {
        this.#plans[partition] = null;
        position = afterSkips(this.entry, partition, Math.max(position, plan.end));
        used += 1;
        continue;
      }
      const skipped = afterSkips(this.entry, partition, next);
      if (skipped > next) {
        position = skipped;
        continue;
      }
      position = next;
      const batch = this.#fetch(partition, next, plan.isDense);
      if (batch === null) break;
      used += plan.isScan ? 0.125 : 1;
      if (batch !== 'gone' && !this.#offerRead(partition, next, batch)) {
        this.#isBlocked = true;
        break;
      }
      position = next + 1;
    }
    host.table.setPosition(entry, partition, position);
    return used;
  }

  #planFor(partition: number, position: number): ReadPlan | null {
    const known = this.#plans[partition];
    if (known !== null && known.end > position) return known;
    const plan = planFrom(
      this.#host.feeds[partition],
      position,
      () => this.#live.map(({ subscription: { filter, since } }) => ({ filter, since: since[partition] ?? 0 })),
      this,
    );
    if (plan !== null) this.#plans[partition] = plan;
    return plan;
  }

  /** The batch of an offset; null when it is being read: `pump` is called then. `gone` when it cannot be read any more. */
  #fetch(partition: number, offset: number, isDense: boolean): StoredBatch | 'gone' | null {
    const feed = this.#host.feeds[partition];
    if (offset < feed.logStart) return 'gone';
    const held = this.#held;
    if (held !== null && this.#heldOf === partition && held.baseOffset <= offset && offset < held.nextOffset)
      return held;
    this.#held = null;
    const batch = feed.cache.find(offset);
    if (batch !== null) return batch;
    this.#isLoading = true;
    this.#host.loadBegins();
    void this.#load(feed, offset, isDense ? readBytes.dense : readBytes.sparse);
    return null;
  }

  async #load(feed: LogFeed, offset: number, bytesMax: number): Promise<void> {
    try {
      const batch = await feed.cache.load(offset, bytesMax);
      this.#held = this.isClosed ? null : batch;
      this.#heldOf = feed.number;
      this.#isLoading = false;
      this.#host.pumpSoon(this);
      this.#host.loadEnds();
    } catch (error) {
      this.#host.loadEnds();
      if (await isDamage(feed, error)) this.#passDamage(feed.number, offset);
      this.#isLoading = false;
      this.#host.pumpLater(this);
    }
  }

  #passDamage(partition: number, offset: number): void {
    const { table, drops } = this.#host;
    drops.damaged += 1;
    const flight = this.#resends[0];
    if (flight !== undefined && flight.partition === partition && flight.offset === offset) {
      this.#resends.shift();
      this.#gone(flight);
    } else table.setPosition(this.entry, partition, offset + 1);
  }

  #offerRead(partition: number, offset: number, batch: StoredBatch): boolean {
    const start = batch.startOf(offset);
    const view = this.#host.delivery.message;
    if (start < 0 || !view.read(batch.bytes, start, batch.limit, batch.baseTimestamp)) return true;
    return this.#offer(partition, offset, batch, view, null);
  }

  /** False: there is no room now. True: it was sent, or is not for this session. */
  #offer(
    partition: number,
    offset: number,
    batch: StoredBatch,
    view: MessageView,
    candidates: readonly SessionSubscription[] | null,
  ): boolean {
    const { entry } = this;
    const { drops, store } = this.#host;
    const matching =
      candidates === null || this.#hasMoved
        ? this.#matching(view, partition, offset)
        : this.#holding(candidates, view, partition, offset);
    if (matching.length === 0) return true;
    const { ageMsMax } = this.#host;
    // Most messages live for ever, and a clock costs more than all other checks.
    const now = view.expiresAtMs !== 0 || ageMsMax !== Number.POSITIVE_INFINITY ? this.#host.now() : 0;
    if (view.expiresAtMs !== 0 && view.expiresAtMs <= now) {
      drops.expired += 1;
      return true;
    }
    if (now - view.timestamp > ageMsMax) {
      drops.aged += 1;
      return true;
    }
    if ((entry.flights?.size ?? 0) >= this.#window || !this.#link.hasRoom(view.size)) {
      this.#isBlocked = true;
      return false;
    }
    let grade: 1 | 2 = 1;
    for (const subscription of matching) if (subscription.grade === 2 && view.grade === 2) grade = 2;
    const packetId = entry.takePacketId(this.#host.packetIdMax);
    if (grade === 1) {
      entry.addSent(packetId, partition, offset);
      const isDoubtful = offset < (entry.doubtEnds?.[partition] ?? 0);
      if (!this.#sendAs(packetId, partition, offset, '', matching, 1, isDoubtful, view)) this.#dropTooLarge(packetId);
      store.saveLater(entry);
      return true;
    }
    const flight: Flight = { packetId, partition, offset, order: entry.nextOrder, state: 'storing' };
    entry.nextOrder += 1;
    entry.addFlight(flight);
    this.#storeThenSend(flight, batch);
    return true;
  }

  #storeThenSend(flight: Flight, batch: StoredBatch): void {
    const { entry } = this;
    const kept = batch.keep();
    this.#host.store.save(entry, dirtyPart.progress, (error) => {
      if (error !== null || flight.state !== 'storing') return;
      flight.state = 'sentOnce';
      entry.online?.sendStored(flight, kept);
    });
  }

  /** The record of the packet id is durable: the message may go. */
  sendStored(flight: Flight, batch: StoredBatch): void {
    if (this.isClosed) return;
    const { message: view } = this.#host.delivery;
    view.read(batch.bytes, batch.startOf(flight.offset), batch.limit, batch.baseTimestamp);
    if (!this.#send(flight, this.#subscriptionsOf(flight, view), 2, false)) this.#dropTooLarge(flight.packetId);
  }

  /** Gives the client a message of a group; `full`: there is no room now, `never`: it cannot take this one, which is settled. */
  giveGrouped(message: GroupedMessage, batch: StoredBatch, view: MessageView): 'given' | 'full' | 'never' {
    const { entry } = this;
    const { membership, partition, offset, grade, isDuplicate } = message;
    const subscriptions = this.#subscriptionsAs(membership);
    if (this.isClosed || !this.#link.hasRoom(view.size)) return 'full';
    const order = entry.nextOrder;
    const { group } = membership;
    if (grade === 0) {
      return this.#sendAs(0, partition, offset, group, subscriptions, 0, false, view) ? 'given' : 'never';
    }
    if (this.#resends.length > 0 || (entry.flights?.size ?? 0) >= this.#window) return 'full';
    const packetId = entry.takePacketId(this.#host.packetIdMax);
    const flight: Flight = { packetId, partition, offset, order, group, state: grade === 1 ? 'sent' : 'storing' };
    entry.nextOrder += 1;
    entry.addFlight(flight);
    if (grade === 1) {
      if (this.#send(flight, subscriptions, 1, isDuplicate, view)) return 'given';
      this.#dropTooLarge(packetId);
      return 'never';
    }
    this.#storeThenSend(flight, batch);
    return 'given';
  }

  #subscriptionsOf(flight: Flight, view: MessageView): readonly SessionSubscription[] {
    if (flight.group === undefined) return this.#matching(view, flight.partition, flight.offset);
    const membership = this.entry.memberships?.get(flight.group);
    return membership === undefined ? [] : this.#subscriptionsAs(membership);
  }

  /** The same list for the same membership: who delivers may know it again. */
  #subscriptionsAs(membership: Membership): readonly SessionSubscription[] {
    const known = this.#asSubscriptions.get(membership);
    if (known !== undefined) return known;
    const made = [subscriptionOf(membership)];
    this.#asSubscriptions.set(membership, made);
    return made;
  }

  #dropTooLarge(packetId: number): void {
    this.#host.drops.tooLarge += 1;
    this.#settle(packetId, 'reject');
  }

  #send(
    { packetId, partition, offset, group = '' }: Flight,
    subscriptions: readonly SessionSubscription[],
    grade: 0 | 1 | 2,
    isDuplicate: boolean,
    view = this.#host.delivery.message,
  ): boolean {
    return this.#sendAs(packetId, partition, offset, group, subscriptions, grade, isDuplicate, view);
  }

  #sendAs(
    packetId: number,
    partition: number,
    offset: number,
    group: string,
    subscriptions: readonly SessionSubscription[],
    grade: 0 | 1 | 2,
    isDuplicate: boolean,
    view: MessageView,
  ): boolean {
    const { delivery } = this.#host;
    if (this.#hasMoved) {
      const prefix = movedPrefixIn(view.bytes, view.topicStart, view.topicLength);
      view.topicStart += prefix;
      view.topicLength -= prefix;
    }
    delivery.message = view;
    delivery.packetId = packetId;
    delivery.grade = grade;
    delivery.isDuplicate = isDuplicate;
    delivery.partition = partition;
    delivery.offset = offset;
    delivery.subscriptions = subscriptions;
    delivery.group = group;
    return this.#link.deliver(delivery);
  }

  #matching(view: MessageView, partition: number, offset: number): readonly SessionSubscription[] {
    const topic = view.bytes.toString('utf8', view.topicStart, view.topicStart + view.topicLength);
    let found = this.#matched.get(topic);
    if (found === undefined) {
      // What came from another node was for these subscriptions there.
      const name = this.#hasMoved && isMoved(topic) ? topic.slice(movedPrefixLength) : topic;
      found = this.#live.filter((each) => matches(each.subscription.filter, name)).map((each) => each.subscription);
      if (this.#matched.size >= matchCacheMax) this.#matched.clear();
      this.#matched.set(topic, found);
    }
    return this.#hasMoved && movedPrefixIn(view.bytes, view.topicStart, view.topicLength) > 0
      ? found
      : this.#holding(found, view, partition, offset);
  }

  /** Those that hold at this offset, and want what this publisher sends. */
  #holding(
    candidates: readonly SessionSubscription[],
    view: MessageView,
    partition: number,
    offset: number,
  ): readonly SessionSubscription[] {
    let areAll = true;
    for (const { since, noLocal } of candidates) if (noLocal || offset < (since[partition] ?? 0)) areAll = false;
    if (areAll) return candidates;
    const isOwn = view.publisherLength > 0 && view.publisher === this.entry.id;
    return candidates.filter(({ since, noLocal }) => offset >= (since[partition] ?? 0) && !(noLocal && isOwn));
  }

  // ---- the end

  /** The client is away: what it has not settled stays. Called by the service. */
  close(): void {
    if (this.isClosed) return;
    const { table, feeds, live } = this.#host;
    this.#host.grouping?.closing(this);
    for (const feed of feeds) {
      table.setPosition(this.entry, feed.number, this.position(feed.number));
      feed.waiting.delete(this);
    }
    this.#isLive.fill(false);
    this.#behindCount = feeds.length;
    this.isClosed = true;
    this.#held = null;
    for (const each of this.#live) live.remove(each.subscription.filter, each);
    this.#live = [];
    this.#plans.fill(null);
    // Routes of a feed may hold the session until somebody publishes to their topic, or for some seconds; not the client's connection.
    this.#link = noLink;
    if (this.entry.online === this) this.entry.online = null;
    this.#host.detached(this);
  }

  /** The same, and the client is told. */
  end(error: SessionError): void {
    if (this.isClosed) return;
    const link = this.#link;
    this.close();
    link.end(error);
  }

  /** Limits are to be looked at again before the next message is read. */
  limitsDue(): void {
    this.#isLimited = false;
  }

  get isBehind(): boolean {
    return this.#behindCount > 0;
  }
}

/** That the client has a message of grade 2: when it is durable, the client is told to release it. */
export function storeReceipt(store: SessionStore, entry: SessionEntry, flight: Flight): void {
  entry.touchFlight(flight.packetId);
  store.save(entry, dirtyPart.progress, (error) => {
    if (error !== null || flight.state !== 'receiving') return;
    flight.state = 'received';
    // Whoever has the client now; a link that has not begun yet releases by itself.
    entry.online?.releaseNow(flight.packetId);
  });
}

/** A membership as the protocol sees it. */
function subscriptionOf({ group, grade, detail, identifier }: Membership): SessionSubscription {
  return { filter: filterOfGroup(group), grade, noLocal: false, detail, identifier, since: [] };
}
