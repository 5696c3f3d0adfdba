/**
 * Where a group is in the message logs, and how it reads them. As a session with a client it is live or behind in each log (see
 * `online-session.ts`); with one filter, and with one read under way at a time. Thread: the owner of the group.
 */
import type { SubscriptionIndex } from '../../routing/subscription-index.ts';
import { matches } from '../../routing/topic.ts';
import type { StoredBatch } from '../batch-cache.ts';
import type { FeedReader, LiveSubscription, LogFeed } from '../log-feed.ts';
import { afterSkips, isDamage, planFrom } from '../log-reading.ts';
import { MessageView } from '../message-record.ts';
import type { DropCounts } from '../online-session.ts';
import type { ReadPlan } from '../read-plan.ts';
import type { SessionEntry } from '../session-entry.ts';
import { applyLimits, type Backlog, backlogOf, forgetSkips, type SessionLimits } from '../session-limits.ts';
import type { SessionTable } from '../session-table.ts';

export interface GroupReaderHost {
  readonly table: SessionTable;
  readonly feeds: readonly LogFeed[];
  readonly live: SubscriptionIndex<LiveSubscription>;
  readonly limits: SessionLimits;
  readonly drops: DropCounts;
}

export interface GroupReaderUser {
  /** Takes a message of the filter; false: there is no room, and it comes again. The view is valid during the call. */
  take(partition: number, offset: number, view: MessageView): boolean;
  /** There may be more to read, or what was fetched is there. */
  wake(): void;
  /** Tries again after a pause. */
  wakeLater(): void;
  /** The limits have let messages go. */
  dropped(count: number): void;
}

const readBytes = { dense: 256 * 1024, sparse: 16 * 1024 } as const;

export class GroupReader implements FeedReader {
  readonly entry: SessionEntry;
  isLoading = false;
  readonly #host: GroupReaderHost;
  readonly #user: GroupReaderUser;
  readonly #filter: string;
  readonly #isLive: boolean[];
  readonly #plans: (ReadPlan | null)[];
  readonly #view = new MessageView();
  readonly #subscription: LiveSubscription;
  #isLimited = false;
  #isListening = false;
  /** What was read last, in case the cache has let it go. */
  #held: StoredBatch | null = null;
  #heldOf = 0;
  /** Cannot be read; passed over when it is asked for again. */
  #damaged = { partition: -1, offset: -1 };

  constructor(host: GroupReaderHost, user: GroupReaderUser, entry: SessionEntry, filter: string) {
    this.#host = host;
    this.#user = user;
    this.entry = entry;
    this.#filter = filter;
    this.#isLive = host.feeds.map(() => false);
    this.#plans = host.feeds.map(() => null);
    const subscription = { filter, grade: 2, noLocal: false, detail: 0, identifier: 0, since: [] } as const;
    this.#subscription = { session: this, subscription };
  }

  /** The place in each log, and from where on the group has messages. */
  place(positions: readonly number[], since: readonly number[]): void {
    const { table, feeds } = this.#host;
    for (const { number } of feeds) table.setPosition(this.entry, number, positions[number] ?? 0);
    table.setSubscriptions(this.entry, [{ ...this.#subscription.subscription, since }]);
    this.#isLive.fill(false);
    this.#plans.fill(null);
    this.#isLimited = false;
    if (this.#isListening) return;
    this.#isListening = true;
    this.#host.live.add(this.#filter, this.#subscription);
  }

  /** Its place stays what it is: it may still be stored. */
  close(): void {
    for (const feed of this.#host.feeds) {
      this.#host.table.setPosition(this.entry, feed.number, this.position(feed.number));
      feed.waiting.delete(this);
    }
    if (this.#isListening) this.#host.live.remove(this.#filter, this.#subscription);
    this.#isListening = false;
    this.#isLive.fill(false);
    this.#held = null;
  }

  get isCaughtUp(): boolean {
    return this.#isLive.every((isLive) => isLive);
  }

  get since(): readonly number[] {
    return this.entry.subscriptions[0]?.since ?? [];
  }

  /** Below it the group has seen everything. */
  position(partition: number): number {
    const position = this.#host.table.position(this.entry, partition);
    return this.#isLive[partition] ? Math.max(position, this.#host.feeds[partition].tail) : position;
  }

  get positions(): readonly number[] {
    return this.#host.feeds.map(({ number }) => this.position(number));
  }

  /** The index has come to where the group waits for it. */
  resume(): void {
    this.#user.wake();
  }

  offerLive(partition: number, offset: number, _batch: StoredBatch, view: MessageView): void {
    const { table } = this.#host;
    if (!this.#isLive[partition] || offset < table.position(this.entry, partition)) return;
    if (offset < (this.since[partition] ?? 0)) return;
    if (this.#user.take(partition, offset, view)) return;
    table.setPosition(this.entry, partition, offset);
    this.#isLive[partition] = false;
    this.#plans[partition] = null;
  }

  /** Reads on until there is no room, nothing to read, or the budget is used; answers whether to go on soon. */
  read(budget: number): boolean {
    if (!this.#isLimited && !this.applyLimits()) return false;
    this.#isLimited = true;
    let used = 0;
    for (const { number } of this.#host.feeds) {
      if (this.#isLive[number]) continue;
      const outcome = this.#readLog(number, budget - used);
      if (outcome === 'stopped') return false;
      used += outcome;
      if (used >= budget) return true;
    }
    return false;
  }

  /** Applies the limits to what waits, unless it is live; false: the index is not there yet. */
  applyLimits(): boolean {
    const { table, feeds, limits, drops } = this.#host;
    if (this.isCaughtUp) return true;
    for (const { number } of feeds) table.setPosition(this.entry, number, this.position(number));
    const outcome = applyLimits(this.entry, table, feeds, limits);
    if (this.entry.skips !== null) forgetSkips(this.entry, this.positions);
    if (outcome.type === 'wait') {
      outcome.feed.waiting.add(this);
      return false;
    }
    drops.limited += outcome.dropped;
    if (outcome.dropped > 0) this.#user.dropped(outcome.dropped);
    return true;
  }

  /** What it has not come to yet. */
  get backlog(): Backlog {
    const { table, feeds } = this.#host;
    for (const { number } of feeds) table.setPosition(this.entry, number, this.position(number));
    return backlogOf(this.entry, table, feeds);
  }

  /** The message of an offset, valid until the next call; null: it is being read, `wake` follows. `gone`: it cannot be read any more. */
  message(partition: number, offset: number): MessageView | 'gone' | null {
    const batch = this.#fetch(partition, offset, false);
    if (batch === null || batch === 'gone') return batch;
    const start = batch.startOf(offset);
    const isSound = start >= 0 && this.#view.read(batch.bytes, start, batch.limit, batch.baseTimestamp);
    return isSound ? this.#view : 'gone';
  }

  /** Number of messages; `stopped` when it cannot go on now. */
  #readLog(partition: number, budget: number): number | 'stopped' {
    const { table, feeds } = this.#host;
    const feed = feeds[partition];
    let used = 0;
    let isStopped = false;
    let position = afterSkips(this.entry, partition, Math.max(table.position(this.entry, partition), feed.logStart));
    while (used < budget) {
      if (position >= feed.tail) {
        this.#isLive[partition] = true;
        this.#plans[partition] = null;
        break;
      }
      const plan = this.#planFor(partition, position);
      const next = plan === null ? position : plan.next(position);
      if (plan !== null && next >= plan.end) {
        this.#plans[partition] = null;
        position = afterSkips(this.entry, partition, Math.max(position, plan.end));
        used += 1;
        continue;
      }
      const skipped = afterSkips(this.entry, partition, next);
      position = skipped;
      if (skipped > next) continue;
      const batch = plan === null ? null : this.#fetch(partition, next, plan.isDense);
      if (batch === null || (batch !== 'gone' && !this.#takeFrom(batch, partition, next, plan?.isScan === true))) {
        isStopped = true;
        break;
      }
      used += plan?.isScan === true ? 0.125 : 1;
      position = next + 1;
    }
    table.setPosition(this.entry, partition, position);
    return isStopped ? 'stopped' : used;
  }

  #takeFrom(batch: StoredBatch, partition: number, offset: number, isScan: boolean): boolean {
    const start = batch.startOf(offset);
    const view = this.#view;
    if (start < 0 || !view.read(batch.bytes, start, batch.limit, batch.baseTimestamp)) return true;
    if (isScan) {
      if (offset < (this.since[partition] ?? 0)) return true;
      const topic = view.bytes.toString('utf8', view.topicStart, view.topicStart + view.topicLength);
      if (!matches(this.#filter, topic)) return true;
    }
    return this.#user.take(partition, offset, view);
  }

  #planFor(partition: number, position: number): ReadPlan | null {
    const known = this.#plans[partition];
    if (known !== null && known.end > position) return known;
    const plan = planFrom(
      this.#host.feeds[partition],
      position,
      () => [{ filter: this.#filter, since: this.since[partition] ?? 0 }],
      this,
    );
    if (plan !== null) this.#plans[partition] = plan;
    return plan;
  }

  #fetch(partition: number, offset: number, isDense: boolean): StoredBatch | 'gone' | null {
    const feed = this.#host.feeds[partition];
    const damaged = this.#damaged;
    if (offset < feed.logStart || (damaged.offset === offset && damaged.partition === partition)) return 'gone';
    const held = this.#held;
    if (held !== null && this.#heldOf === partition && held.baseOffset <= offset && offset < held.nextOffset)
      return held;
    const batch = feed.cache.find(offset);
    if (batch !== null || this.isLoading) return batch;
    this.isLoading = true;
    void this.#load(feed, offset, isDense ? readBytes.dense : readBytes.sparse);
    return null;
  }

  async #load(feed: LogFeed, offset: number, bytesMax: number): Promise<void> {
    try {
      const batch = await feed.cache.load(offset, bytesMax);
      this.isLoading = false;
      this.#held = this.#isListening ? batch : null;
      this.#heldOf = feed.number;
      this.#user.wake();
    } catch (error) {
      if (await isDamage(feed, error)) {
        this.#host.drops.damaged += 1;
        this.#damaged = { partition: feed.number, offset };
      }
      this.isLoading = false;
      this.#user.wakeLater();
    }
  }
}
