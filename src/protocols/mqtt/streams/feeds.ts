/**
 * The subscriptions to streams of one session: opening, where they begin, storing where they are, coming back. Thread: the worker of the
 * session; made by `StreamSubscriptions`.
 *
 * The position of a session that ends with its connection is in memory alone. That of a session that outlives it is stored every
 * `positionMs` and when the client goes: what was sent since may come again after a crash. A session that comes back on this worker goes on
 * where it was; elsewhere, and after a restart, where the stored position is.
 */
import type { Identity } from '../../../core/ports/access.ts';
import type { BrokerServices } from '../../../core/ports/services.ts';
import type { PacedStore, PartitionPlaces, StreamPartition } from '../../../core/ports/stream-store.ts';
import type { QueueContext } from '../../../core/queues/queue-context.ts';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { Session } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { feedGroup, forgetPositions, readPositions, storePositions } from './feed-positions.ts';
import type { SessionFeeds } from './session-feeds.ts';
import type { StreamsSettings } from './settings.ts';
import { isCodeOf, reasonCodeOf } from './storage-codes.ts';
import { type FeedOutlet, type FeedPartition, type FeedSource, StreamFeed } from './stream-feed.ts';
import type { StreamMetrics } from './stream-metrics.ts';
import type { StreamNames } from './stream-names.ts';
import { isStreamPath, parseStreamPath, type StreamFrom } from './stream-path.ts';

/** How often a subscription looks whether its stream has more partitions, or is there again. */
const refreshMs = 30_000;
/** What a client cannot take is held so long in memory. */
const holdMs = 1_000;
const retryMs = 5_000;

export interface StreamSubscriptionsOptions {
  readonly settings: StreamsSettings;
  readonly store: PacedStore;
  readonly services: BrokerServices;
  readonly delivery: Delivery;
  readonly timers: TimingWheel;
  readonly metrics: StreamMetrics;
  readonly log: Logger;
}

/** What all sessions of a worker share. */
export interface FeedsHost {
  readonly options: StreamSubscriptionsOptions;
  readonly names: StreamNames;
  readonly context: QueueContext;
  /** Positions that are being stored, by group; each ends without an error. */
  readonly storing: Map<string, Promise<void>>;
  countFeeds(change: number): void;
}

interface Flight {
  readonly partition: FeedPartition;
  readonly offset: number;
}

interface Entry {
  readonly path: string;
  readonly options: SubscriptionOptions;
  /** Null while it is opened. */
  feed: StreamFeed | null;
  /** Records wait for SUBACK, which some clients want to see first. */
  isHeld: boolean;
}

/** Of one session. */
export class Feeds implements SessionFeeds {
  private readonly host: FeedsHost;
  private readonly session: Session;
  private readonly entries = new Map<string, Entry>();
  /** Paths whose place is being looked for. */
  private readonly opening = new Set<string>();
  private readonly flights = new Map<number, Flight>();
  private readonly storeTimer = new WheelTimer(() => this.storeSoon());
  private readonly refreshTimer = new WheelTimer(() => this.refresh());
  private readonly holdTimer = new WheelTimer(() => this.letGoBlocked());
  private isAttached = true;
  private isEnded = false;

  constructor(host: FeedsHost, session: Session) {
    this.host = host;
    this.session = session;
  }

  attach(): void {
    this.isAttached = true;
    this.begin();
    this.startTimers();
  }

  async open(path: string, options: SubscriptionOptions, from: StreamFrom | undefined): Promise<number> {
    const { settings, log } = this.host.options;
    const isKnown = this.entries.has(path) || this.opening.has(path);
    // Before anything is waited for: one packet can ask for very many.
    if (!isKnown && this.entries.size + this.opening.size >= settings.subscriptionsMax)
      return ReasonCode.QUOTA_EXCEEDED;
    this.opening.add(path);
    try {
      return await this.openNew(path, options, from);
    } catch (thrown) {
      const { clientId } = this.session;
      log.warn('Cannot subscribe to a stream', { clientId, path, reason: toError(thrown).message });
      return reasonCodeOf(thrown);
    } finally {
      this.opening.delete(path);
    }
  }

  private async openNew(path: string, options: SubscriptionOptions, from: StreamFrom | undefined): Promise<number> {
    const parsed = parseStreamPath(path);
    if (parsed === null) return ReasonCode.TOPIC_FILTER_INVALID;
    const partitions = await this.host.names.partitionsOf(parsed.name, true);
    if (partitions.length === 0) return ReasonCode.TOPIC_FILTER_INVALID;
    const begin = parsed.from ?? from ?? { kind: this.host.options.settings.defaultPosition };
    const known = await this.knownPositions(path, partitions);
    // One that the session has already goes on where it is: clients subscribe again whenever they connect.
    const position =
      known === null
        ? (partition: StreamPartition) => firstPosition(partition, begin)
        : (partition: StreamPartition) => positionIn(known, partition);
    if (!(await this.start(path, options, partitions, position, known === null, true)))
      return ReasonCode.UNSPECIFIED_ERROR;
    return options.qos === 0 ? ReasonCode.SUCCESS : ReasonCode.GRANTED_QOS_1;
  }

  /** Null: the session does not have this subscription. */
  private async knownPositions(
    path: string,
    partitions: readonly string[],
  ): Promise<ReadonlyMap<string, number> | null> {
    const feed = this.entries.get(path)?.feed ?? null;
    if (feed !== null) return new Map(feed.partitions.map(({ name, position }) => [name, position]));
    if (!this.session.subscriptions.has(path)) return null;
    if (!this.isDurable) return new Map();
    const group = this.groupOf(path);
    // The client has only just gone, and is here again.
    await this.host.storing.get(group);
    return readPositions(this.host.options.services.cursors, group, partitions);
  }

  /** Goes on where the session was; tried again until it is there. */
  async resume(path: string, options: SubscriptionOptions): Promise<void> {
    if (this.entries.has(path) || this.isEnded) return;
    const parsed = parseStreamPath(path);
    if (parsed === null) return;
    try {
      const partitions = await this.host.names.partitionsOf(parsed.name, false);
      const known = (await this.knownPositions(path, partitions)) ?? new Map();
      if (this.entries.has(path) || partitions.length === 0) return;
      await this.start(path, options, partitions, (partition) => positionIn(known, partition), false, false);
    } catch (thrown) {
      const { clientId } = this.session;
      this.host.options.log.warn('Cannot go on with a stream yet', { clientId, path, reason: toError(thrown).message });
    }
    this.startTimers();
  }

  // ---- SessionFeeds

  begin(): void {
    if (!this.isAttached) return;
    for (const entry of this.entries.values()) {
      entry.isHeld = false;
      entry.feed?.attach(this.outlet);
    }
  }

  acknowledged(packetId: number): void {
    const flight = this.flights.get(packetId);
    if (flight !== undefined) {
      this.flights.delete(packetId);
      flight.partition.inFlight.delete(flight.offset);
    }
    this.pump();
  }

  pump(): void {
    for (const { feed } of this.entries.values()) feed?.pumpSoon();
  }

  unsubscribed(path: string): boolean {
    const entry = this.entries.get(path);
    if (entry === undefined) return false;
    this.entries.delete(path);
    this.closeFeed(entry);
    this.forget(path);
    return true;
  }

  detach(): void {
    this.isAttached = false;
    const { timers } = this.host.options;
    timers.cancel(this.storeTimer);
    timers.cancel(this.refreshTimer);
    timers.cancel(this.holdTimer);
    for (const { feed } of this.entries.values()) feed?.attach(null);
    this.store();
  }

  close(): void {
    if (this.isEnded) return;
    this.detach();
    this.isEnded = true;
    for (const entry of this.entries.values()) this.closeFeed(entry);
    this.entries.clear();
    this.flights.clear();
  }

  // ---- parts

  /** Begins to read; false when the subscription ended meanwhile. */
  private async start(
    path: string,
    options: SubscriptionOptions,
    partitions: readonly string[],
    position: (partition: StreamPartition) => Promise<number>,
    isNew: boolean,
    isHeld: boolean,
  ): Promise<boolean> {
    const former = this.entries.get(path);
    if (former !== undefined) this.closeFeed(former);
    const entry: Entry = { path, options, feed: null, isHeld };
    this.entries.set(path, entry);
    let sources: readonly FeedSource[];
    try {
      sources = await Promise.all(partitions.map((name) => this.openSource(name, position)));
      // Before SUBACK: what comes from here on is the client's, over a crash too.
      if (isNew && this.isDurable) await this.storeFirst(path, sources);
    } catch (error) {
      if (this.entries.get(path) === entry) this.entries.delete(path);
      throw error;
    }
    // Unsubscribed, or gone, meanwhile.
    if (this.entries.get(path) !== entry) return false;
    entry.feed = this.makeFeed(entry);
    this.host.countFeeds(1);
    entry.feed.add(sources);
    if (this.isAttached && !entry.isHeld) entry.feed.attach(this.outlet);
    this.startTimers();
    return true;
  }

  private async openSource(
    name: string,
    position: (partition: StreamPartition) => Promise<number>,
  ): Promise<FeedSource> {
    const partition = await this.host.options.store.open(name);
    return { partition, position: await position(partition) };
  }

  private makeFeed({ path, options }: Entry): StreamFeed {
    const parsed = parseStreamPath(path);
    return new StreamFeed({
      stream: parsed?.name ?? '',
      filter: parsed?.filter ?? null,
      qos: options.qos === 0 ? 0 : 1,
      identifier: options.identifier,
      context: this.host.context,
      metrics: this.host.options.metrics,
      onSent: (packetId, partition, offset) => this.flights.set(packetId, { partition, offset }),
      onBlocked: () => this.blockedSoon(),
      onProblem: ({ name }, { message: reason }) => {
        const { clientId } = this.session;
        this.host.options.log.warn('Cannot read a stream for a client', { clientId, partition: name, reason });
      },
      onGone: () => this.lost(path),
    });
  }

  /** The stream was removed. It is looked for again: whoever makes it anew begins with an empty one. */
  private lost(path: string): void {
    const entry = this.entries.get(path);
    if (entry === undefined) return;
    this.host.options.log.info('A stream that a client has subscribed to was removed', {
      clientId: this.session.clientId,
      path,
    });
    this.closeFeed(entry);
    this.entries.delete(path);
    this.forget(path);
    if (this.isAttached) this.host.options.timers.start(this.refreshTimer, retryMs);
  }

  private closeFeed(entry: Entry): void {
    const { feed } = entry;
    if (feed === null) return;
    entry.feed = null;
    feed.close();
    this.host.countFeeds(-1);
    const own = new Set(feed.partitions);
    for (const [packetId, { partition }] of this.flights) if (own.has(partition)) this.flights.delete(packetId);
  }

  private readonly outlet: FeedOutlet = {
    hasRoom: (qos) => {
      const { link, room, inflightMax } = this.session;
      if (link === null || link.connection.closed || this.host.options.delivery.isFull(link)) return false;
      if (qos === 0) return true;
      // Half of the window is for other messages.
      if (this.session.queueLength > 0 || link.hasPendingRetained || room <= 0) return false;
      return this.flights.size < Math.max(1, inflightMax >> 1);
    },
    send: (frame, qos, identifier, expiresAtMs) => {
      const { link } = this.session;
      if (link === null) return -1;
      if (qos === 1) this.blockedSoon();
      return this.host.options.delivery.deliverOwn(this.session, link, frame, qos, identifier, expiresAtMs);
    },
  };

  // ---- positions

  private get isDurable(): boolean {
    return this.session.isKept;
  }

  private groupOf(path: string): string {
    const identity: Pick<Identity, 'tenant'> | undefined = this.session.permissions?.identity;
    return feedGroup(identity?.tenant ?? '', this.session.clientId, path);
  }

  private storeFirst(path: string, sources: readonly FeedSource[]): Promise<void> {
    const positions = new Map(sources.map(({ partition, position }) => [partition.name, position]));
    return storePositions(this.host.options.services.cursors, this.groupOf(path), positions);
  }

  private store(): void {
    if (!this.isDurable || this.isEnded) return;
    for (const { path, feed } of this.entries.values()) {
      const moved = new Map<string, number>();
      for (const partition of feed?.partitions ?? []) {
        const { position, storedPosition, name } = partition;
        if (position === storedPosition) continue;
        partition.storedPosition = position;
        moved.set(name, position);
      }
      if (moved.size === 0) continue;
      const group = this.groupOf(path);
      const stored = storePositions(this.host.options.services.cursors, group, moved).catch((error: unknown) => {
        // With the next change it is tried again; until then more is sent twice after a crash.
        for (const partition of feed?.partitions ?? []) partition.storedPosition = -1;
        const { clientId } = this.session;
        this.host.options.log.warn('Cannot store the position in a stream', {
          clientId,
          path,
          reason: toError(error).message,
        });
      });
      this.host.storing.set(group, stored);
      void stored.then(() => {
        if (this.host.storing.get(group) === stored) this.host.storing.delete(group);
      });
    }
  }

  private forget(path: string): void {
    if (!this.isDurable) return;
    forgetPositions(this.host.options.services.cursors, this.groupOf(path)).catch((error: unknown) => {
      this.host.options.log.warn('Cannot forget the position in a stream', { path, reason: toError(error).message });
    });
  }

  // ---- timers

  private startTimers(): void {
    if (!this.isAttached || this.isEnded) return;
    const { timers, settings } = this.host.options;
    if (this.storeTimer.dueTick === -1 && this.isDurable) timers.start(this.storeTimer, settings.positionMs);
    if (this.refreshTimer.dueTick === -1) timers.start(this.refreshTimer, this.isWhole ? refreshMs : retryMs);
  }

  /** All subscriptions are read. */
  private get isWhole(): boolean {
    for (const { path } of this.session.subscriptions.values())
      if (isStreamPath(path) && !this.entries.has(path)) return false;
    return true;
  }

  private storeSoon(): void {
    this.store();
    this.startTimers();
  }

  private blockedSoon(): void {
    if (this.holdTimer.dueTick === -1) this.host.options.timers.start(this.holdTimer, holdMs);
  }

  private letGoBlocked(): void {
    for (const { feed } of this.entries.values()) if (feed?.isBlocked === true) feed.letGo();
    this.pump();
  }

  /** Partitions that came to the streams since; streams that were not there. */
  private refresh(): void {
    for (const { path, options } of this.session.subscriptions.values()) {
      if (!isStreamPath(path)) continue;
      if (this.entries.has(path)) void this.addPartitions(path);
      else void this.resume(path, options);
    }
    this.startTimers();
  }

  /** Whether a partition was removed, or made anew: nobody tells a reader who waits for something new. */
  private async isReplaced({ partitions }: StreamFeed): Promise<boolean> {
    for (const { name, partition } of partitions) {
      try {
        if ((await this.host.options.store.open(name)) !== partition) return true;
      } catch (error) {
        if (isCodeOf(error, 'STORAGE_PARTITION_UNKNOWN')) return true;
        throw error;
      }
    }
    return false;
  }

  private async addPartitions(path: string): Promise<void> {
    const entry = this.entries.get(path);
    const parsed = parseStreamPath(path);
    const feed = entry?.feed ?? null;
    if (feed === null || parsed === null) return;
    try {
      if (await this.isReplaced(feed)) {
        if (entry?.feed === feed) this.lost(path);
        return;
      }
      const known = feed.partitions.length;
      const names = (await this.host.names.partitionsOf(parsed.name, false)).slice(known);
      const sources = await Promise.all(names.map((name) => this.openSource(name, startOf)));
      if (entry?.feed === feed && feed.partitions.length === known) feed.add(sources);
    } catch (thrown) {
      const reason = toError(thrown).message;
      this.host.options.log.warn('Cannot see whether a stream has more partitions', { path, reason });
    }
  }
}

/** A partition without a position is a new one, or its position was forgotten: nothing is to be left out. */
async function positionIn(known: ReadonlyMap<string, number>, partition: StreamPartition): Promise<number> {
  return known.get(partition.name) ?? (await partition.places()).logStartOffset;
}

async function startOf(partition: StreamPartition): Promise<number> {
  return (await partition.places()).logStartOffset;
}

async function firstPosition(partition: StreamPartition, from: StreamFrom): Promise<number> {
  const places = await partition.places();
  switch (from.kind) {
    case 'earliest':
      return places.logStartOffset;
    case 'latest':
      return places.highWatermark;
    case 'offset':
      return within(places, from.offset);
    case 'time': {
      const found = await partition.offsetForTime(from.timeMs);
      return found === null ? places.highWatermark : within(places, found.offset);
    }
  }
}

function within({ logStartOffset, highWatermark }: PartitionPlaces, offset: number): number {
  return Math.max(logStartOffset, Math.min(highWatermark, offset));
}
