/**
 * The end of one message log as this thread sees it: each batch is read once, in order, its messages are noted in the index and given
 * to the sessions that are online and have read everything before (`live`). So there is one order of messages for all sessions, that
 * of the log, and no other way to a session than through it. Thread: the owner of the sessions.
 *
 * What this owner writes comes from memory; what others write is read from the store when it says that there is more. After an opening
 * the tail begins at the end of the log, and what is before it is indexed from the lowest position of a session on, in slices, while
 * messages flow.
 */
import { ownedCopy } from '../../std/owned-copy.ts';
import type { WheelTimer } from '../../std/timing-wheel.ts';
import type { StreamPartition } from '../ports/stream-store.ts';
import { type QueueContext, timerOf } from '../queues/queue-context.ts';
import { RouteCache } from '../routing/route-cache.ts';
import type { SubscriptionIndex } from '../routing/subscription-index.ts';
import { codeOf } from '../transactions/internal-stream.ts';
import { BatchCache, type StoredBatch } from './batch-cache.ts';
import { MessageView } from './message-record.ts';
import type { SessionSubscription } from './session-entry.ts';
import { type IndexSpan, type Postings, TopicIndex } from './topic-index.ts';

/** A session that is online, as the feed sees it. */
export interface FeedReader {
  /** The feed has come to a message that may be for it. The view is valid during the call. */
  offerLive(
    partition: number,
    offset: number,
    batch: StoredBatch,
    view: MessageView,
    subscriptions: readonly SessionSubscription[],
  ): void;
}

/** A subscription of a session that is online. */
export interface LiveSubscription {
  readonly session: FeedReader;
  readonly subscription: SessionSubscription;
}

export interface LogFeedOptions {
  readonly number: number;
  readonly partition: StreamPartition;
  readonly context: QueueContext;
  readonly live: SubscriptionIndex<LiveSubscription>;
  readonly cacheBytesMax: number;
  readonly indexBytesMax: number;
  /** Whether this owner has any session: without one nothing is indexed. */
  hasSessions(): boolean;
  /** A place of the log cannot be read any more. */
  onDamaged(partition: string, offset: number): void;
}

interface Target {
  readonly session: FeedReader;
  readonly subscriptions: readonly SessionSubscription[];
}

interface FeedRoute {
  readonly topic: string;
  readonly topicBytes: Buffer;
  span: IndexSpan | null;
  postings: Postings | null;
  targets: readonly Target[];
  /** Of the live subscriptions when the targets were found; -1: never. */
  epoch: number;
}

const routesMax = 65_536;
const readBytesMax = 256 * 1024;
/** Records in a turn, and deliveries. */
const turnRecordsMax = 4096;
const turnDeliveriesMax = 4096;
const retryMs = 100;
const noTargets: readonly Target[] = [];

export class LogFeed {
  readonly number: number;
  readonly partition: StreamPartition;
  readonly cache: BatchCache;
  readonly index: TopicIndex;
  /** The next offset that live sessions are given. */
  tail = 0;
  /** What is below was trimmed. */
  logStart = 0;
  /** Sessions that wait for the index to come to where they are. */
  readonly waiting = new Set<{ resume(): void }>();
  readonly #options: LogFeedOptions;
  readonly #routes = new RouteCache<FeedRoute>(routesMax);
  readonly #view = new MessageView();
  /** Of the message before: those of one publisher come together. */
  #lastRoute: FeedRoute | null = null;
  readonly #retryTimer: WheelTimer;
  #span: IndexSpan;
  #isScheduled = false;
  #isRunning = false;
  #isLoading = false;
  /** What was read for the tail. */
  #loaded: StoredBatch | null = null;
  /** There may be more behind the tail than is in memory. */
  #isBehind = false;
  #backfill: { span: IndexSpan; at: number; readonly to: number } | null = null;
  #isFilling = false;
  #isClosed = false;
  #damageStep = 1;
  /** Of the live subscriptions, and the span in use, when routes let go last. */
  #letGoEpoch = -1;
  #letGoSpan: IndexSpan | null = null;
  readonly #endListening: () => void;

  constructor(options: LogFeedOptions) {
    this.#options = options;
    this.number = options.number;
    this.partition = options.partition;
    this.cache = new BatchCache(options.partition, options.cacheBytesMax);
    this.index = new TopicIndex(options.indexBytesMax);
    this.#span = this.index.open(0);
    this.#retryTimer = timerOf(() => this.#retry());
    this.#endListening = options.partition.onCommitted((end) => this.#committed(end));
  }

  /** The tail begins at `tail`; what is from `from` on before it is indexed in the background. */
  start(logStart: number, from: number, tail: number): void {
    this.logStart = logStart;
    this.tail = tail;
    this.#span = this.index.reset(tail);
    if (from < tail && this.#options.hasSessions()) {
      this.#backfill = { span: this.index.open(from), at: from, to: tail };
      this.#fillSoon();
    }
    this.wake();
  }

  get isIndexing(): boolean {
    return this.#backfill !== null;
  }

  /** Whether the index will cover the offset without anything being asked for. */
  willCover(offset: number): boolean {
    return this.#backfill !== null && offset >= this.#backfill.span.from && offset < this.#backfill.to;
  }

  /** A batch of this owner was stored. */
  onStored(bytes: Buffer, starts: Int32Array): void {
    const { baseOffset } = this.cache.write(bytes, starts);
    if (baseOffset !== this.tail) this.#isBehind = true;
    this.#run();
  }

  /** What this owner wrote itself has come already. */
  #committed(end = Number.POSITIVE_INFINITY): void {
    if (end > this.tail) this.wake();
  }

  /** There is more in the log, or may be. */
  wake(): void {
    this.#isBehind = true;
    if (this.#isScheduled || this.#isClosed) return;
    this.#isScheduled = true;
    this.#options.context.defer(() => {
      this.#isScheduled = false;
      this.#run();
    });
  }

  /** What is below `offset` was deleted. */
  trimmed(offset: number): void {
    this.logStart = Math.max(this.logStart, offset);
    this.index.forgetBefore(offset, this.#span);
    this.cache.forgetBefore(offset);
  }

  /** What routes of topics that nobody publishes to hold of sessions that have gone, and of former spans, goes. Called in each upkeep. */
  letGo(): void {
    const { live } = this.#options;
    if (this.#letGoEpoch === live.epoch && this.#letGoSpan === this.#span) return;
    this.#letGoEpoch = live.epoch;
    this.#letGoSpan = this.#span;
    this.#lastRoute = null;
    this.#routes.forEach((route) => {
      if (route.epoch !== live.epoch) route.targets = noTargets;
      if (route.span === this.#span) return;
      route.span = null;
      route.postings = null;
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#options.context.timers.cancel(this.#retryTimer);
    this.#endListening();
  }

  // ---- the tail

  #run(): void {
    if (this.#isRunning || this.#isClosed) return;
    this.#isRunning = true;
    let records = 0;
    let deliveries = 0;
    for (;;) {
      const batch = this.#batchAtTail();
      if (batch === null) break;
      if (records >= turnRecordsMax || deliveries >= turnDeliveriesMax) {
        this.wake();
        break;
      }
      records += batch.nextOffset - this.tail;
      deliveries += this.#give(batch);
    }
    this.#isRunning = false;
    if (this.#isBehind && !this.#isLoading && !this.#isScheduled) void this.#load();
  }

  #batchAtTail(): StoredBatch | null {
    const { tail } = this;
    const loaded = this.#loaded;
    if (loaded !== null && loaded.baseOffset <= tail && tail < loaded.nextOffset) return loaded;
    this.#loaded = null;
    return this.cache.find(tail);
  }

  /** Answers how many deliveries there were. */
  #give(batch: StoredBatch): number {
    const view = this.#view;
    const isIndexed = this.#options.hasSessions();
    let deliveries = 0;
    for (let offset = this.tail; offset < batch.nextOffset; offset += 1) {
      const start = batch.startOf(offset);
      if (start < 0 || !view.readPlace(batch.bytes, start, batch.limit)) continue;
      const route = this.#routeOf(view);
      if (isIndexed) this.#note(route, this.#span, offset, view.end - start);
      const targets = this.#targetsOf(route);
      if (targets.length === 0) continue;
      if (!view.readRest(batch.baseTimestamp)) continue;
      deliveries += targets.length;
      for (const { session, subscriptions } of targets)
        session.offerLive(this.number, offset, batch, view, subscriptions);
    }
    this.tail = batch.nextOffset;
    if (!isIndexed) this.#span = this.index.reset(this.tail);
    else {
      this.#span.to = this.tail;
      if (this.index.isFull(this.#span)) {
        this.#span = this.index.open(this.tail);
        this.index.trim(this.#span);
      }
    }
    return deliveries;
  }

  #note(route: FeedRoute, span: IndexSpan, offset: number, size: number): void {
    const known = route.span === span ? route.postings : null;
    route.postings = this.index.add(span, route.topic, known, offset, size);
    route.span = span;
  }

  #routeOf({ bytes, topicStart, topicLength }: MessageView): FeedRoute {
    const last = this.#lastRoute;
    if (last !== null && isSame(last.topicBytes, bytes, topicStart, topicLength)) return last;
    const route = this.#routes.lookup(bytes, topicStart, topicLength) ?? this.#newRoute(bytes, topicStart, topicLength);
    this.#lastRoute = route;
    return route;
  }

  #newRoute(bytes: Buffer, topicStart: number, topicLength: number): FeedRoute {
    const topic = bytes.toString('utf8', topicStart, topicStart + topicLength);
    const topicBytes = ownedCopy(bytes, topicStart, topicStart + topicLength);
    const route: FeedRoute = { topic, topicBytes, span: null, postings: null, targets: noTargets, epoch: -1 };
    this.#routes.insert(topicBytes, route);
    return route;
  }

  #targetsOf(route: FeedRoute): readonly Target[] {
    const { live } = this.#options;
    if (route.epoch === live.epoch) return route.targets;
    route.epoch = live.epoch;
    const found: LiveSubscription[] = [];
    live.match(route.topic, found);
    if (found.length === 0) route.targets = noTargets;
    else {
      const bySession = new Map<FeedReader, SessionSubscription[]>();
      for (const { session, subscription } of found) {
        const others = bySession.get(session);
        if (others === undefined) bySession.set(session, [subscription]);
        else others.push(subscription);
      }
      route.targets = Array.from(bySession, ([session, subscriptions]) => ({ session, subscriptions }));
    }
    return route.targets;
  }

  async #load(): Promise<void> {
    this.#isLoading = true;
    this.#isBehind = false;
    try {
      const batch = await this.cache.load(this.tail, readBytesMax);
      this.#damageStep = 1;
      this.#isLoading = false;
      this.#loaded = batch;
      if (batch !== null) this.#isBehind = true;
    } catch (error) {
      this.#isLoading = false;
      await this.#afterFailure(error);
    }
    this.#run();
  }

  async #afterFailure(error: unknown): Promise<void> {
    const code = codeOf(error);
    if (this.#isClosed || code === 'STORAGE_CLOSED') return;
    if (code === 'STORAGE_CORRUPTED') {
      this.#options.onDamaged(this.partition.name, this.tail);
      // The store does not say where the damage ends: in ever larger steps nothing large is passed over for a small one.
      this.tail += Math.ceil(this.#damageStep);
      this.#damageStep *= 1.1;
      this.#isBehind = true;
      return;
    }
    if (code === null) throw error;
    this.#options.context.timers.start(this.#retryTimer, retryMs);
  }

  #retry(): void {
    this.wake();
    if (this.#backfill !== null) this.#fillSoon();
  }

  // ---- what is before the tail

  #fillSoon(): void {
    if (this.#isFilling || this.#isClosed) return;
    this.#isFilling = true;
    this.#options.context.defer(() => void this.#fill());
  }

  async #fill(): Promise<void> {
    const fill = this.#backfill;
    if (fill === null || this.#isClosed) return;
    try {
      fill.at = Math.max(fill.at, this.logStart);
      const batch =
        fill.at >= fill.to ? null : (this.cache.find(fill.at) ?? (await this.cache.load(fill.at, readBytesMax)));
      if (batch === null) this.#backfill = null;
      else for (let next: StoredBatch | null = batch; next !== null && fill.at < fill.to; ) next = this.#fillFrom(next);
    } catch (error) {
      await this.#afterFillFailure(error);
    }
    this.#isFilling = false;
    for (const session of this.waiting) session.resume();
    this.waiting.clear();
    if (this.#backfill !== null && this.#retryTimer.dueTick === -1) this.#fillSoon();
  }

  /** Notes the messages of a batch; answers the next one if it is in memory. */
  #fillFrom(batch: StoredBatch): StoredBatch | null {
    const fill = this.#backfill;
    if (fill === null) return null;
    const view = this.#view;
    for (; fill.at < batch.nextOffset && fill.at < fill.to; fill.at += 1) {
      const start = batch.startOf(fill.at);
      if (start < 0 || !view.readPlace(batch.bytes, start, batch.limit)) continue;
      this.#note(this.#routeOf(view), fill.span, fill.at, view.end - start);
    }
    fill.span.to = fill.at;
    if (this.index.isFull(fill.span) && fill.at < fill.to) {
      fill.span = this.index.open(fill.at);
      this.index.trim(fill.span);
    }
    return this.cache.find(fill.at);
  }

  async #afterFillFailure(error: unknown): Promise<void> {
    const fill = this.#backfill;
    const code = codeOf(error);
    if (fill === null || this.#isClosed || code === 'STORAGE_CLOSED') return;
    if (code === 'STORAGE_CORRUPTED') {
      this.#options.onDamaged(this.partition.name, fill.at);
      fill.at += Math.ceil(this.#damageStep);
      this.#damageStep *= 1.1;
      return;
    }
    if (code === null) throw error;
    if (code === 'STORAGE_OFFSET_OUT_OF_RANGE') {
      // Somebody has trimmed the log meanwhile.
      const { logStartOffset } = await this.partition.places();
      this.trimmed(logStartOffset);
      fill.at = Math.max(fill.at, logStartOffset);
      return;
    }
    this.#options.context.timers.start(this.#retryTimer, retryMs);
  }
}

function isSame(one: Buffer, other: Buffer, start: number, length: number): boolean {
  if (one.length !== length) return false;
  for (let index = 0; index < length; index += 1) if (one[index] !== other[start + index]) return false;
  return true;
}
