/**
 * The router of one connection worker: where a publication goes on this worker and on the others, and what arrives from
 * them. Protocols call it; nothing in it knows a protocol.
 *
 * Cost of a run on the hot path: one hash and comparison of the topic (none when the publisher repeats its topic), one
 * copy into the ring when other workers are interested, one virtual call per target. Nothing is allocated.
 * Thread: one connection worker.
 */
import type { Logger } from '../../observability/log.ts';
import type { ThreadMetrics } from '../../observability/metrics.ts';
import { assert } from '../../std/assert.ts';
import { ownedCopy } from '../../std/owned-copy.ts';
import { isWellFormedUtf8 } from '../../std/utf8.ts';
import { defaultTenant } from '../ports/access.ts';
import type { ControlPlane } from '../ports/control-plane.ts';
import type { RetainedDone } from '../retained/retained-log.ts';
import type { RetainedLimits, RetainedValue } from '../retained/retained-value.ts';
import { InterestTable } from '../routing/interest-table.ts';
import { RouteCache } from '../routing/route-cache.ts';
import { SubscriptionIndex } from '../routing/subscription-index.ts';
import { StorageError } from '../streams/storage-error.ts';
import { innerTopicError } from '../tenants/tenant-names.ts';
import { HiddenInterest } from './hidden-interest.ts';
import { RetainedValues } from './retained-values.ts';
import { Route, type Subscriber, type Subscription, type Target } from './route.ts';
import type { RouterShared } from './router-shared.ts';
import { copyOf, Run } from './run.ts';
import { SharedGroups } from './shared-groups.ts';
import { maskOf, maskOfOthers, type RecordKind, recordKinds, WorkerRings } from './worker-rings.ts';

/**
 * Distinct topics whose routes are kept, and the longest topic that is; others are computed each time. 65,536 x (400 B +
 * twice the topic) = 26 MiB with short topics and 90 MiB at the most.
 */
const cachedRoutesMax = 65_536;
const cachedTopicBytesMax = 512;
/** Between a change of subscriptions and the look for routes that it made stale: below 1 ms per second at the most. */
const sweepDelayMs = 1_000;
/** Publications without a publisher to hold back (wills, for example) and their retained values that wait for room, bytes. */
const deferredBytesMax = 16_777_216;

export interface RouterOptions {
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly shared: RouterShared;
  readonly retained: RetainedLimits;
  readonly control: ControlPlane;
  readonly metrics: ThreadMetrics;
  readonly log: Logger;
}

/** A publication that waits for room in the ring, and how to try again. */
interface Deferred {
  readonly run: Run;
  attempt(run: Run): boolean;
}

export class Router {
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly groups: SharedGroups;
  private readonly index = new SubscriptionIndex<Subscription>();
  private readonly interest: InterestTable;
  private readonly hidden: HiddenInterest;
  private readonly routes = new RouteCache<Route>(cachedRoutesMax);
  readonly retained: RetainedValues;
  private readonly rings: WorkerRings;
  private readonly log: Logger;
  /** Moves when a wildcard filter comes or goes, which can touch any topic. */
  private generation = 0;
  /** Moves when the cache lets all routes go: invalidations do not reach those that publishers hold on to. */
  private cacheAge = 0;
  private deferred: Deferred[] = [];
  private deferredBytes = 0;
  private runSequence = 0;
  private sweep: NodeJS.Timeout | null = null;
  private stopped = false;
  private readonly ringFullSlot: number;
  private readonly metrics: ThreadMetrics;

  constructor(options: RouterOptions) {
    const { workerIndex, workerCount, shared } = options;
    this.workerIndex = workerIndex;
    this.workerCount = workerCount;
    this.metrics = options.metrics;
    this.ringFullSlot = options.metrics.slot('ringmq_ring_full_total');
    this.log = options.log;
    this.interest = new InterestTable(shared.interest, workerIndex);
    this.retained = this.createRetained(options);
    this.rings = new WorkerRings({
      ...{ workerIndex, workerCount, shared, metrics: options.metrics },
      incoming: new Run(),
      receive: (kind, run, topicLength, word) => this.receive(kind, run, topicLength, word),
    });
    this.groups = new SharedGroups(workerIndex, options.control, {
      hasRoom: (bytes) => this.rings.hasRoom(bytes),
      whenRoom: (callback) => this.rings.whenRoom(callback),
      sendToMember: (worker, member, run) => this.sendToMember(worker, member, run),
      catchUp: () => this.rings.catchUp(),
      dropped: (run) =>
        this.log.warn('Cannot keep a publication for a member elsewhere: too many wait already', { topic: run.topic }),
      changed: (filter) => {
        this.invalidate(filter);
        this.hidden.groupChanged(filter);
      },
    });
    this.hidden = new HiddenInterest(this.interest, () => this.groups.filters());
    options.control.onWorkerReady((worker) => this.retained.handTo(worker));
  }

  /** Begins to consume what other workers publish. */
  start(): void {
    this.rings.start();
  }

  /** Ends listening; this worker's interest and cursors are taken back by the supervisor. */
  stop(): void {
    this.rings.stop();
    this.groups.stop();
    this.retained.stop();
    this.stopped = true;
    if (this.sweep !== null) clearTimeout(this.sweep);
  }

  // ---- subscriptions

  /** From the return of this call on, every publication that is routed on any worker of the node reaches it. */
  subscribe(subscription: Subscription): void {
    const { filter } = subscription;
    const countBefore = this.index.subscriptionCount;
    const isFirst = this.index.add(filter, subscription);
    this.invalidate(filter);
    if (isFirst) this.interest.add(filter);
    if (this.index.subscriptionCount > countBefore) this.hidden.added(filter);
  }

  unsubscribe(subscription: Subscription): void {
    const { filter } = subscription;
    const countBefore = this.index.subscriptionCount;
    if (this.index.remove(filter, subscription)) this.interest.remove(filter);
    if (this.index.subscriptionCount < countBefore) this.hidden.removed(filter);
    this.invalidate(filter);
  }

  /** The options of a subscription changed: targets made of it are made anew. */
  refresh(subscription: Subscription): void {
    this.invalidate(subscription.filter);
  }

  get subscriptionCount(): number {
    return this.index.subscriptionCount;
  }

  /** Distinct filters of this worker, those of shared groups not counted. */
  get filterCount(): number {
    return this.index.filterCount;
  }

  /** Whether anybody on the node subscribes to topics that begin with `$`. Nearly free; ask it before such a publication is made. */
  get hasHiddenSubscribers(): boolean {
    return this.hidden.isThere;
  }

  /** Whether a publication to this valid topic would reach anybody now. For rare use: nothing is kept of the answer. */
  isWanted(topic: string): boolean {
    if (this.groups.match(topic) !== null) return true;
    const found: Subscription[] = [];
    this.index.match(topic, found);
    if (found.length > 0) return true;
    this.interest.workersFor(topic);
    return (this.interest.maskLow | this.interest.maskHigh) !== 0;
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

  /** The route of a topic of the default tenant, or null when the bytes are not a valid topic. */
  routeOf(buffer: Buffer, start: number, length: number): Route | null {
    // No valid one has U+0000; what has it there is a topic of a tenant, which nobody may name in this way.
    if (length > 1 && buffer[start + 1] === 0) return null;
    return this.innerRouteOf(buffer, start, length);
  }

  /** The same for a topic with its tenant, as `TenantNames` makes it. */
  innerRouteOf(buffer: Buffer, start: number, length: number): Route | null {
    const known = this.routes.lookup(buffer, start, length);
    if (known !== undefined) return known;
    if (length === 0 || !isWellFormedUtf8(buffer, start, start + length)) return null;
    const topic = buffer.toString('utf8', start, start + length);
    if (innerTopicError(topic) !== undefined) return null;
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
    return this.innerRouteOf(route.topicBytes, 0, route.topicBytes.length) ?? route;
  }

  /**
   * Whether `buffer[start, start + length)` is the topic of `route` as clients know it, and the cache still holds it. For routes of the tenant
   * of whoever wrote those bytes.
   */
  isRouteOf(route: Route, buffer: Buffer, start: number, length: number): boolean {
    const { nameBytes } = route;
    if (nameBytes.length !== length || route.cacheAge !== this.cacheAge) return false;
    for (let index = 0; index < length; index++) {
      if (nameBytes[index] !== buffer[start + index]) return false;
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
      const { maskLow, maskHigh, topicBytes } = route;
      if (!this.rings.send(recordKinds.publish, maskLow, maskHigh, topicBytes, run, 0)) return this.noRoom();
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
    const route = this.routeOfOwn(topic);
    this.nowOrLater(run, topic, (owned) => this.publish(route, owned));
  }

  private routeOfOwn(topic: string): Route {
    const topicBytes = Buffer.from(topic);
    const route = this.innerRouteOf(topicBytes, 0, topicBytes.length);
    assert(route !== null, 'an own publication has a valid topic');
    return route;
  }

  /** What waits is kept in order, and bounded: beyond that it is lost, which the log says; false then. */
  private nowOrLater(run: Run, topic: string, attempt: (run: Run) => boolean): boolean {
    if (this.deferred.length === 0 && attempt(run)) return true;
    const length = run.end - run.start;
    if (this.deferredBytes + length > deferredBytesMax) {
      this.log.warn('Cannot keep a publication that waits for other workers: too many wait already', { topic });
      return false;
    }
    this.deferredBytes += length;
    this.deferred.push({ run: copyOf(run), attempt });
    if (this.deferred.length === 1) this.whenRoom(() => this.tryDeferred());
    return true;
  }

  private tryDeferred(): void {
    while (this.deferred.length > 0) {
      const { run, attempt } = this.deferred[0] as Deferred;
      if (!attempt(run)) {
        this.whenRoom(() => this.tryDeferred());
        return;
      }
      this.deferred.shift();
      this.deferredBytes -= run.end;
    }
  }

  /** Calls back once when the ring may have room again. */
  whenRoom(callback: () => void): void {
    this.retained.whenRoom(callback);
  }

  /** Longest run in bytes that other workers can be sent, for a topic of `topicLength` bytes. */
  runBytesMax(topicLength: number): number {
    return this.rings.runBytesMax(topicLength);
  }

  /** Sees everything that other workers had published when it was called. */
  catchUp(): void {
    this.rings.catchUp();
  }

  private sendToMember(worker: number, member: number, run: Run): boolean {
    const { low, high } = maskOf(worker);
    return this.rings.send(recordKinds.member, low, high, run.topicBytes, run, member);
  }

  // ---- retained values

  private createRetained({ retained, shared, metrics, log }: RouterOptions): RetainedValues {
    const { low, high } = maskOfOthers(this.workerIndex, this.workerCount);
    return new RetainedValues({
      ...{ limits: retained, stamp: shared.retainStamp, metrics, log },
      link: {
        sendAll: (isRemoval, topic, run, word) => {
          if (this.workerCount === 1) return true;
          const kind = isRemoval ? recordKinds.forget : recordKinds.retain;
          return this.rings.send(kind, low, high, topic, run, word) || this.noRoom();
        },
        sendOne: (worker, isRemoval, topic, run, word) => {
          const mask = maskOf(worker);
          const kind = isRemoval ? recordKinds.forget : recordKinds.retain;
          return this.rings.send(kind, mask.low, mask.high, topic, run, word);
        },
        bytesMax: (topicLength) => this.rings.runBytesMax(topicLength),
        catchUp: () => this.rings.catchUp(),
        whenRoom: (callback) => this.rings.whenRoom(callback),
      },
    });
  }

  /** See `RetainedValues.retain`; for the route's topic. */
  retain(
    { topic, topicBytes }: Route,
    run: Run,
    isRemoval: boolean,
    expiresAtS: number,
    tenant = defaultTenant,
    done: RetainedDone | null = null,
  ): boolean {
    return this.retained.retain({ topic, topicBytes, isRemoval, expiresAtS, tenant }, run, done);
  }

  /** As `retain`, for a publication whose publisher cannot be held back; it waits here for room when there is none. */
  retainOwned(
    topic: string,
    run: Run,
    isRemoval: boolean,
    expiresAtS: number,
    tenant = defaultTenant,
    done: RetainedDone | null = null,
  ): void {
    const route = this.routeOfOwn(topic);
    const attempt = (owned: Run): boolean => this.retain(route, owned, isRemoval, expiresAtS, tenant, done);
    if (this.nowOrLater(run, topic, attempt) || done === null) return;
    const message = `Cannot keep the value of "${topic}": too many publications wait for other workers`;
    setImmediate(done, new StorageError('STORAGE_UNAVAILABLE', message));
  }

  /** Visits the retained values whose topics match, after everything that other workers have published is seen. */
  matchRetained(filter: string, visit: (topic: string, value: RetainedValue) => void): void {
    this.retained.match(filter, visit);
  }

  // ---- what other workers publish

  private receive(kind: RecordKind, run: Run, topicLength: number, word: number): void {
    const route = this.innerRouteOf(run.buffer, run.start - topicLength, topicLength);
    assert(route !== null, 'a topic in a ring was checked by its publisher');
    run.sequence = ++this.runSequence;
    run.topic = route.topic;
    run.topicBytes = route.topicBytes;
    if (kind === recordKinds.publish) this.deliverIncoming(route, run);
    else if (kind === recordKinds.member) this.groups.deliverToMember(word, run);
    else this.retained.receive(route.topic, run, kind === recordKinds.forget, word);
  }

  private deliverIncoming(route: Route, run: Run): void {
    if (route.stale || route.generation !== this.generation) this.rebuild(route);
    const { targets } = route;
    for (let index = 0; index < targets.length; index++) (targets[index] as Target).deliver(run);
  }
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
