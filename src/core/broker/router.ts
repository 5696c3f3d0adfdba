/**
 * The router of one connection worker: where a publication goes on this worker and on the others, and what arrives from
 * them. Protocols call it; nothing in it knows a protocol.
 *
 * Cost of a run on the hot path: one hash and comparison of the topic (none when the publisher repeats its topic), one
 * copy into the ring when other workers are interested, one virtual call per target. Nothing is allocated.
 * Thread: one connection worker. Who waits for whom: a publisher waits for room in its worker's ring, that is, for the
 * slowest other worker to consume; consuming never waits for anything.
 */
import type { Logger } from '../../observability/log.ts';
import type { ThreadMetrics } from '../../observability/metrics.ts';
import { Doorbell } from '../../shm/doorbell.ts';
import { RingConsumer, RingProducer } from '../../shm/fan-out-ring.ts';
import { assert } from '../../std/assert.ts';
import { ownedCopy } from '../../std/owned-copy.ts';
import { isWellFormedUtf8 } from '../../std/utf8.ts';
import type { ControlPlane } from '../ports/control-plane.ts';
import { RetainedStore } from '../retained/retained-store.ts';
import { InterestTable } from '../routing/interest-table.ts';
import { RouteCache } from '../routing/route-cache.ts';
import { SubscriptionIndex } from '../routing/subscription-index.ts';
import { topicError } from '../routing/topic.ts';
import {
  fillRun,
  type RetainedLimits,
  RetainedReplica,
  type RetainedValue,
  retainedValueOf,
} from './retained-replica.ts';
import { Route, type Subscriber, type Subscription, type Target } from './route.ts';
import type { RouterShared } from './router-shared.ts';
import { copyOf, Run } from './run.ts';
import { SharedGroups } from './shared-groups.ts';

/**
 * Distinct topics whose routes are kept, and the longest topic that is; others are computed each time. 65,536 x (400 B +
 * twice the topic) = 26 MiB with short topics and 90 MiB at the most.
 */
const cachedRoutesMax = 65_536;
const cachedTopicBytesMax = 512;
/** Between a change of subscriptions and the look for routes that it made stale: below 1 ms per second at the most. */
const sweepDelayMs = 1_000;
/** Bytes consumed of one ring before the sockets of this worker get a turn. */
const drainBudgetBytes = 1_048_576;
/** Bytes published after which the consumers are woken within the turn. */
const unannouncedBytesMax = 262_144;
/** Publications without a publisher to hold back (wills, for example) that wait for room, bytes. */
const deferredBytesMax = 16_777_216;

/** Kinds of ring records. */
const publishRecord = 1;
const retainRecord = 2;
const forgetRecord = 3;
const memberRecord = 4;

/** Head of a record: layout, topic length, count, four details, one word that depends on the kind. */
const headWords = 8;
const headBytes = headWords * 4;

export interface RouterOptions {
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly shared: RouterShared;
  readonly retained: RetainedLimits;
  readonly control: ControlPlane;
  readonly metrics: ThreadMetrics;
  readonly log: Logger;
}

interface Deferred {
  readonly route: Route;
  readonly run: Run;
}

export class Router {
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly groups: SharedGroups;
  private readonly index = new SubscriptionIndex<Subscription>();
  private readonly interest: InterestTable;
  private readonly routes = new RouteCache<Route>(cachedRoutesMax);
  private readonly retained: RetainedReplica;
  private readonly producer: RingProducer;
  private readonly producerWords: Int32Array;
  private readonly consumers: (RingConsumer | null)[];
  private readonly consumerWords: Int32Array[];
  private readonly doorbell: Doorbell;
  private readonly log: Logger;
  /** Moves when a wildcard filter comes or goes, which can touch any topic. */
  private generation = 0;
  /** Moves when the cache lets all routes go: invalidations do not reach those that publishers hold on to. */
  private cacheAge = 0;
  private readonly incoming = new Run();
  private waiting: (() => void)[] = [];
  private deferred: Deferred[] = [];
  private deferredBytes = 0;
  private runSequence = 0;
  private sweep: NodeJS.Timeout | null = null;
  private continuing = false;
  /** Workers that were published to and not rung yet. */
  private sleepersLow = 0;
  private sleepersHigh = 0;
  private unannouncedBytes = 0;
  private wakeScheduled = false;
  private readonly wakeNow = (): void => {
    this.wakeScheduled = false;
    this.wake();
  };
  private stopped = false;
  private readonly ringFullSlot: number;
  private readonly ringFillSlot: number;
  private readonly retainedSlot: number;
  private readonly retainedBytesSlot: number;
  private readonly retainedFullSlot: number;
  private readonly metrics: ThreadMetrics;

  constructor(options: RouterOptions) {
    const { workerIndex, workerCount, shared } = options;
    this.workerIndex = workerIndex;
    this.workerCount = workerCount;
    this.metrics = options.metrics;
    this.ringFullSlot = options.metrics.slot('ringmq_ring_full_total');
    this.ringFillSlot = options.metrics.slot('ringmq_ring_fill_bytes');
    this.retainedSlot = options.metrics.slot('ringmq_retained_messages');
    this.retainedBytesSlot = options.metrics.slot('ringmq_retained_bytes');
    this.retainedFullSlot = options.metrics.slot('ringmq_messages_dropped_total', { reason: 'retained-full' });
    this.log = options.log;
    this.interest = new InterestTable(shared.interest, workerIndex);
    this.retained = new RetainedReplica(new RetainedStore<RetainedValue>(options.retained), shared.retainStamp);
    this.doorbell = new Doorbell(shared.doorbells, workerIndex);
    this.producer = new RingProducer(shared.rings[workerIndex] as SharedArrayBuffer);
    this.producerWords = wordsOf(this.producer.bytes);
    this.consumers = shared.rings.map((ring, index) =>
      index === workerIndex ? null : new RingConsumer(ring, workerIndex),
    );
    this.consumerWords = this.consumers.map((consumer) =>
      wordsOf(consumer === null ? this.producer.bytes : consumer.bytes),
    );
    this.groups = new SharedGroups(workerIndex, options.control, {
      hasRoom: (bytes) => this.hasRoom(bytes),
      whenRoom: (callback) => this.whenRoom(callback),
      sendToMember: (worker, member, run) => this.sendToMember(worker, member, run),
      catchUp: () => this.catchUp(),
      dropped: (run) =>
        this.log.warn('Cannot keep a publication for a member elsewhere: too many wait already', { topic: run.topic }),
      changed: (filter) => this.invalidate(filter),
    });
    options.control.onWorkerReady((worker) => this.sendRetainedTo(worker));
  }

  /** Begins to consume what other workers publish. */
  start(): void {
    for (const [index, consumer] of this.consumers.entries()) if (consumer?.attach()) this.doorbell.ring(index);
    if (this.workerCount === 1) return;
    this.doorbell.listen(() => this.onDoorbell());
    this.onDoorbell();
  }

  /** Ends listening; this worker's interest and cursors are taken back by the supervisor. */
  stop(): void {
    this.wake();
    this.stopped = true;
    if (this.sweep !== null) clearTimeout(this.sweep);
    this.doorbell.close();
  }

  // ---- subscriptions

  /** From the return of this call on, every publication that is routed on any worker of the node reaches it. */
  subscribe(subscription: Subscription): void {
    const { filter } = subscription;
    const isFirst = this.index.add(filter, subscription);
    this.invalidate(filter);
    if (isFirst) this.interest.add(filter);
  }

  unsubscribe(subscription: Subscription): void {
    const { filter } = subscription;
    if (this.index.remove(filter, subscription)) this.interest.remove(filter);
    this.invalidate(filter);
  }

  /** The options of a subscription changed: targets made of it are made anew. */
  refresh(subscription: Subscription): void {
    this.invalidate(subscription.filter);
  }

  get subscriptionCount(): number {
    return this.index.subscriptionCount;
  }

  private invalidate(filter: string): void {
    if (this.sweep === null && !this.stopped) {
      this.sweep = setTimeout(() => this.sweepRoutes(), sweepDelayMs);
      this.sweep.unref();
    }
    if (filter.includes('+') || filter.includes('#')) {
      this.generation++;
      return;
    }
    const bytes = Buffer.from(filter);
    const route = this.routes.lookup(bytes, 0, bytes.length);
    if (route !== undefined) route.stale = true;
  }

  /** Stale routes are made anew when somebody publishes; until then they would keep sessions that have ended. */
  private sweepRoutes(): void {
    this.sweep = null;
    const { generation } = this;
    this.routes.forEach((route) => {
      if (route.stale || route.generation !== generation) route.letGo();
    });
  }

  /**
   * The routing epoch: publications that are routed at an epoch of at least E reach every subscription that was made
   * before E was read here.
   */
  nextEpoch(): number {
    return this.interest.bumpEpoch();
  }

  // ---- routes

  /** The route of a topic, or null when the bytes are not a valid topic. */
  routeOf(buffer: Buffer, start: number, length: number): Route | null {
    const known = this.routes.lookup(buffer, start, length);
    if (known !== undefined) return known;
    if (length === 0 || !isWellFormedUtf8(buffer, start, start + length)) return null;
    const topic = buffer.toString('utf8', start, start + length);
    if (topicError(topic) !== undefined) return null;
    const topicBytes = ownedCopy(buffer, start, start + length);
    const route = new Route(topic, topicBytes);
    if (length > cachedTopicBytesMax) return route;
    if (this.routes.insert(topicBytes, route)) {
      this.cacheAge++;
      this.generation++;
    }
    route.cacheAge = this.cacheAge;
    return route;
  }

  /** The route to hold on to instead of `route`, which the cache may have let go: that one costs more per publication. */
  currentOf(route: Route): Route {
    if (route.cacheAge === this.cacheAge) return route;
    return this.routeOf(route.topicBytes, 0, route.topicBytes.length) ?? route;
  }

  /** Whether `buffer[start, start + length)` is the topic of `route`, and the cache still holds it. */
  isRouteOf(route: Route, buffer: Buffer, start: number, length: number): boolean {
    const { topicBytes } = route;
    if (topicBytes.length !== length || route.cacheAge !== this.cacheAge) return false;
    for (let index = 0; index < length; index++) {
      if (topicBytes[index] !== buffer[start + index]) return false;
    }
    return true;
  }

  private rebuild(route: Route): void {
    const found: Subscription[] = [];
    this.index.match(route.topic, found);
    route.targets = targetsOf(found);
    route.groups = this.groups.match(route.topic);
    route.generation = this.generation;
    // Nobody tells a route that the cache has let go of new subscriptions: it is made anew for each publication.
    route.stale = route.cacheAge !== this.cacheAge;
  }

  // ---- publishing

  /**
   * Routes a run that lies in `run.buffer`. False when the ring has no room: nothing was delivered, hold the publisher
   * back and try again after `whenRoom`. Sets `run.epoch`.
   */
  publish(route: Route, run: Run): boolean {
    // Before the mask is computed, so that a mask of epoch E includes every interest that was there before E was read.
    const epoch = this.interest.epoch();
    if (route.maskEpoch !== epoch) {
      this.interest.workersFor(route.topic);
      route.maskLow = this.interest.maskLow;
      route.maskHigh = this.interest.maskHigh;
      route.maskEpoch = epoch;
    }
    if (route.stale || route.generation !== this.generation) this.rebuild(route);
    run.epoch = epoch;
    run.topic = route.topic;
    run.topicBytes = route.topicBytes;
    run.sequence = ++this.runSequence;
    const { groups } = route;
    if (groups !== null && !roomForAll(groups, run)) return this.noRoom();
    if ((route.maskLow | route.maskHigh) !== 0) {
      if (!this.send(publishRecord, route.maskLow, route.maskHigh, route.topicBytes, run, 0)) return this.noRoom();
    }
    const { targets } = route;
    for (let index = 0; index < targets.length; index++) (targets[index] as Target).deliver(run);
    if (groups !== null) for (const group of groups) group.share(run);
    return true;
  }

  private noRoom(): false {
    this.metrics.increment(this.ringFullSlot);
    return false;
  }

  /** Publishes one publication whose publisher cannot be held back; it waits here for room when there is none. */
  publishOwned(topic: string, run: Run): void {
    const topicBytes = Buffer.from(topic);
    const route = this.routeOf(topicBytes, 0, topicBytes.length);
    assert(route !== null, 'an own publication has a valid topic');
    if (this.deferred.length === 0 && this.publish(route, run)) return;
    const length = run.end - run.start;
    if (this.deferredBytes + length > deferredBytesMax) {
      this.log.warn('Cannot keep a publication that waits for other workers: too many wait already', { topic });
      return;
    }
    this.deferredBytes += length;
    this.deferred.push({ route, run: copyOf(run) });
    if (this.deferred.length === 1) this.whenRoom(() => this.publishDeferred());
  }

  private publishDeferred(): void {
    while (this.deferred.length > 0) {
      const { route, run } = this.deferred[0] as Deferred;
      if (!this.publish(route, run)) {
        this.whenRoom(() => this.publishDeferred());
        return;
      }
      this.deferred.shift();
      this.deferredBytes -= run.end;
    }
  }

  /** Calls back once when the ring may have room again. */
  whenRoom(callback: () => void): void {
    this.waiting.push(callback);
    if (this.waiting.length === 1 && this.roomCame()) setImmediate(() => this.resumeWaiting());
  }

  /** Asks the consumers for room; true when there is some already. Otherwise this thread's bell will ring. */
  private roomCame(): boolean {
    if (this.producer.requestSpace()) return true;
    this.producer.wakeLaggards(this.doorbell);
    return false;
  }

  /** Longest run in bytes that other workers can be sent, for a topic of `topicLength` bytes. */
  runBytesMax(topicLength: number): number {
    return this.producer.recordBytesMax - headBytes - topicLength;
  }

  /** Room for `bytes` in any number of records; for the longest record there is, when that is less. */
  private hasRoom(bytes: number): boolean {
    return this.producer.claim(Math.min(headBytes + bytes, this.producer.recordBytesMax)) >= 0;
  }

  private send(kind: number, maskLow: number, maskHigh: number, topic: Buffer, run: Run, word: number): boolean {
    const frames = run.end - run.start;
    const offset = this.producer.claim(headBytes + topic.length + frames);
    if (offset < 0) return false;
    const { producerWords: words } = this;
    const at = offset >>> 2;
    words[at] = run.layout;
    words[at + 1] = topic.length;
    words[at + 2] = run.count;
    words[at + 3] = run.detailA;
    words[at + 4] = run.detailB;
    words[at + 5] = run.detailC;
    words[at + 6] = run.detailD;
    words[at + 7] = word;
    const { bytes } = this.producer;
    topic.copy(bytes, offset + headBytes);
    run.buffer.copy(bytes, offset + headBytes + topic.length, run.start, run.end);
    this.producer.publish(maskLow, maskHigh, kind, run.epoch);
    this.wakeLater(maskLow, maskHigh, headBytes + topic.length + frames);
    return true;
  }

  private sendToMember(worker: number, member: number, run: Run): boolean {
    const low = worker < 32 ? 1 << worker : 0;
    const high = worker < 32 ? 0 : 1 << (worker - 32);
    return this.send(memberRecord, low, high, run.topicBytes, run, member);
  }

  /** Bells ring once per turn, or when much was published: a wake-up costs more than a record. */
  private wakeLater(maskLow: number, maskHigh: number, bytes: number): void {
    this.sleepersLow |= maskLow;
    this.sleepersHigh |= maskHigh;
    this.unannouncedBytes += bytes;
    if (this.unannouncedBytes >= unannouncedBytesMax) {
      this.wake();
    } else if (!this.wakeScheduled) {
      this.wakeScheduled = true;
      setImmediate(this.wakeNow);
    }
  }

  private wake(): void {
    for (let mask = this.sleepersLow; mask !== 0; mask &= mask - 1) this.doorbell.ring(31 - Math.clz32(mask & -mask));
    for (let mask = this.sleepersHigh; mask !== 0; mask &= mask - 1) this.doorbell.ring(63 - Math.clz32(mask & -mask));
    this.sleepersLow = 0;
    this.sleepersHigh = 0;
    this.unannouncedBytes = 0;
    this.producer.wakeLaggards(this.doorbell);
  }

  // ---- retained values

  /**
   * Keeps the one publication in `run` as the value of its topic on all workers until `expiresAtS` (Unix time, 0: for
   * ever), or forgets the topic's value. False when the ring has no room; nothing changed then. A value that a limit
   * refuses is counted and not kept. Overwrites `run.detailD`.
   */
  retain(route: Route, run: Run, forget: boolean, expiresAtS: number): boolean {
    run.detailD = expiresAtS;
    const stamp = this.retained.nextStamp();
    if (this.workerCount > 1) {
      const everyone = this.everyOther();
      const kind = forget ? forgetRecord : retainRecord;
      if (!this.send(kind, everyone.low, everyone.high, route.topicBytes, run, stamp)) return this.noRoom();
    }
    this.applyRetained(route.topic, run, forget, stamp);
    return true;
  }

  private applyRetained(topic: string, run: Run, forget: boolean, stamp: number): void {
    if (forget) this.retained.forget(topic, stamp);
    else if (!this.retained.keep(topic, retainedValueOf(run, stamp))) this.metrics.increment(this.retainedFullSlot);
    this.metrics.set(this.retainedSlot, this.retained.count);
    this.metrics.set(this.retainedBytesSlot, this.retained.bytes);
  }

  /** As `retain`, for a publication whose publisher cannot be held back: it waits here for room when there is none. */
  retainOwned(topic: string, run: Run, forget: boolean, expiresAtS: number): void {
    const topicBytes = Buffer.from(topic);
    const route = this.routeOf(topicBytes, 0, topicBytes.length);
    assert(route !== null, 'an own publication has a valid topic');
    if (this.retain(route, run, forget, expiresAtS)) return;
    const copy = copyOf(run);
    const retry = (): void => {
      if (!this.retain(route, copy, forget, expiresAtS)) this.whenRoom(retry);
    };
    this.whenRoom(retry);
  }

  private everyOther(): { low: number; high: number } {
    const low = this.workerCount >= 32 ? -1 : (1 << this.workerCount) - 1;
    const high = this.workerCount <= 32 ? 0 : this.workerCount === 64 ? -1 : (1 << (this.workerCount - 32)) - 1;
    const own = this.workerIndex;
    return own < 32 ? { low: low & ~(1 << own), high } : { low, high: high & ~(1 << (own - 32)) };
  }

  /** Visits the retained values whose topics match, after everything that other workers have published is seen. */
  matchRetained(filter: string, visit: (topic: string, value: RetainedValue) => void): void {
    this.catchUp();
    this.retained.match(filter, Date.now(), visit);
  }

  /** The values as they are now, for a worker that has just started and has none. */
  private sendRetainedTo(worker: number): void {
    const low = worker < 32 ? 1 << worker : 0;
    const high = worker < 32 ? 0 : 1 << (worker - 32);
    const entries = this.retained.all();
    const run = new Run();
    const sendFrom = (first: number): void => {
      for (let at = first; at < entries.length; at++) {
        const [topic, value] = entries[at] as [string, RetainedValue];
        fillRun(run, value);
        if (!this.send(retainRecord, low, high, Buffer.from(topic), run, value.stamp)) {
          this.whenRoom(() => sendFrom(at));
          return;
        }
      }
    };
    sendFrom(0);
  }

  // ---- what other workers publish

  private onDoorbell(): void {
    if (this.stopped) return;
    this.doorbell.awake();
    this.resumeWaiting();
    if (!this.drainSome()) {
      this.continueLater();
      return;
    }
    this.doorbell.sleep();
    // A record that was published before the announcement rang no bell, and neither did room; so look once more.
    if (this.hasBacklog() || (this.waiting.length > 0 && this.roomCame())) {
      this.doorbell.awake();
      this.continueLater();
    }
  }

  private continueLater(): void {
    if (this.continuing) return;
    this.continuing = true;
    setImmediate(() => {
      this.continuing = false;
      this.onDoorbell();
    });
  }

  private hasBacklog(): boolean {
    for (const consumer of this.consumers) if (consumer !== null && consumer.backlogBytes() > 0) return true;
    return false;
  }

  private resumeWaiting(): void {
    if (this.waiting.length === 0) return;
    const waiting = this.waiting;
    this.waiting = [];
    for (const callback of waiting) callback();
  }

  /** Consumes up to the budget of each ring; true when every ring was emptied. */
  private drainSome(): boolean {
    let emptied = true;
    for (let index = 0; index < this.consumers.length; index++) {
      const consumer = this.consumers[index];
      if (consumer !== null && consumer !== undefined && !this.drain(index, consumer, drainBudgetBytes))
        emptied = false;
    }
    this.metrics.set(this.ringFillSlot, this.producer.fillBytes());
    return emptied;
  }

  private drain(index: number, consumer: RingConsumer, budgetBytes: number): boolean {
    let budget = budgetBytes;
    const words = this.consumerWords[index] as Int32Array;
    while (consumer.next()) {
      this.consume(consumer, words);
      budget -= consumer.length;
      if (budget <= 0) break;
    }
    if (consumer.release()) this.doorbell.ring(index);
    return budget > 0;
  }

  /** Sees everything that other workers had published when it was called. */
  catchUp(): void {
    for (let index = 0; index < this.consumers.length; index++) {
      const consumer = this.consumers[index];
      if (consumer !== null && consumer !== undefined) this.drain(index, consumer, Number.MAX_SAFE_INTEGER);
    }
  }

  private consume(consumer: RingConsumer, words: Int32Array): void {
    const { bytes, offset, length, kind } = consumer;
    const at = offset >>> 2;
    const topicStart = offset + headBytes;
    const topicLength = words[at + 1] as number;
    const run = this.incoming;
    run.layout = words[at] as number;
    run.buffer = bytes;
    run.start = topicStart + topicLength;
    run.end = offset + length;
    run.count = words[at + 2] as number;
    run.detailA = words[at + 3] as number;
    run.detailB = words[at + 4] as number;
    run.detailC = words[at + 5] as number;
    run.detailD = words[at + 6] as number;
    run.publisher = null;
    run.epoch = consumer.word;
    run.sequence = ++this.runSequence;
    assert(run.start <= run.end, 'a ring record holds its topic');
    const route = this.routeOf(bytes, topicStart, topicLength);
    assert(route !== null, 'a topic in a ring was checked by its publisher');
    run.topic = route.topic;
    run.topicBytes = route.topicBytes;
    const word = words[at + 7] as number;
    if (kind === publishRecord) this.deliverIncoming(route, run);
    else if (kind === retainRecord || kind === forgetRecord)
      this.applyRetained(route.topic, run, kind === forgetRecord, word);
    else if (kind === memberRecord) this.groups.deliverToMember(word, run);
    else assert(false, `ring records of kind ${kind} exist`);
  }

  private deliverIncoming(route: Route, run: Run): void {
    if (route.stale || route.generation !== this.generation) this.rebuild(route);
    const { targets } = route;
    for (let index = 0; index < targets.length; index++) (targets[index] as Target).deliver(run);
  }
}

function wordsOf(bytes: Buffer): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

function roomForAll(groups: NonNullable<Route['groups']>, run: Run): boolean {
  for (const group of groups) if (!group.hasRoomFor(run)) return false;
  return true;
}

function targetsOf(found: readonly Subscription[]): Target[] {
  if (found.length === 0) return [];
  if (found.length === 1) {
    const only = found[0] as Subscription;
    return [only.subscriber.createTarget(found)];
  }
  const bySubscriber = new Map<Subscriber, Subscription[]>();
  for (const subscription of found) {
    const others = bySubscriber.get(subscription.subscriber);
    if (others === undefined) bySubscriber.set(subscription.subscriber, [subscription]);
    else others.push(subscription);
  }
  return Array.from(bySubscriber, ([subscriber, subscriptions]) => subscriber.createTarget(subscriptions));
}
