/**
 * The sessions of one worker: opening, taking over, expiry, wills. One per worker; it answers for them to the session
 * directory, through which a client id moves between workers.
 */
import type { ExclusiveClaims } from '../../../core/broker/exclusive-claims.ts';
import type { Router } from '../../../core/broker/router.ts';
import type { AccessControl } from '../../../core/ports/access.ts';
import type {
  SessionArriving,
  SessionDeparting,
  SessionDirectory,
  SessionMoves,
  SessionNames,
  SessionOwner,
} from '../../../core/ports/session-directory.ts';
import type { SessionSlots } from '../../../core/ports/session-slots.ts';
import { sessionOf } from '../../../core/tenants/tenant-names.ts';
import type { Logger } from '../../../observability/log.ts';
import { hashString } from '../../../std/hash.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { SessionMember, SessionSubscriber } from '../delivery/session-target.ts';
import { KeptGroups } from '../durable/kept-groups.ts';
import { KeptSessions, type KeptState, refusalOf } from '../durable/kept-sessions.ts';
import type { OpenAnswers, OpenRequest } from '../durable/open-request.ts';
import type { MqttMetrics } from '../metrics.ts';
import type { MqttSettings } from '../settings.ts';
import { Flight } from '../state/outgoing-window.ts';
import { type Link, neverExpires, Session } from '../state/session.ts';
import { headOf, restOf, restore, type SessionHead, type SessionRest } from '../state/session-transfer.ts';
import type { StoredMessage } from '../state/stored-message.ts';
import { MqttSubscription, type SubscriptionOptions } from '../state/subscription.ts';
import { isStored, knownPath } from '../state/subscription-path.ts';
import { isStreamPath } from '../streams/stream-path.ts';
import { strategyOf } from './group-settings.ts';
import type { OwnPublisher } from './own-publisher.ts';
import { PermissionChanges, recheck } from './permission-changes.ts';
import { SubscriptionCounts } from './subscription-counts.ts';

export const scope = 'mqtt';

export interface RegistryOptions {
  readonly router: Router;
  readonly directory: SessionDirectory;
  readonly timers: TimingWheel;
  readonly delivery: Delivery;
  readonly metrics: MqttMetrics;
  readonly settings: MqttSettings;
  readonly exclusive: ExclusiveClaims;
  readonly access: AccessControl;
  readonly ownPublisher: OwnPublisher;
  /** Null: no session is stored. */
  readonly slots: SessionSlots | null;
  readonly log: Logger;
}

export class SessionRegistry implements SessionOwner, SessionMoves {
  readonly router: Router;
  private readonly sessions = new Map<string, Session>();
  private readonly directory: SessionDirectory;
  private readonly timers: TimingWheel;
  private readonly delivery: Delivery;
  private readonly metrics: MqttMetrics;
  private readonly settings: MqttSettings;
  private readonly log: Logger;
  readonly access: AccessControl;
  /** Filters that one session alone may subscribe to; it holds them as long as it has the subscription. */
  readonly exclusive: ExclusiveClaims;
  /** Sessions that outlive the broker; null: none does. */
  readonly kept: KeptSessions | null;
  private readonly ownPublisher: OwnPublisher;
  /** Kept sessions that are in memory. */
  private keptCount = 0;
  /** What is subscribed to is stored already. */
  private isRestoring = false;
  private readonly subscriptionCounts: SubscriptionCounts;
  /** The worker goes down: what its members of shared groups have not acknowledged is passed on to nobody. */
  isDraining = false;
  /** Told of sessions whose time was over. */
  onExpired: (clientId: string) => void = () => undefined;

  constructor(options: RegistryOptions) {
    this.router = options.router;
    this.directory = options.directory;
    this.timers = options.timers;
    this.delivery = options.delivery;
    this.metrics = options.metrics;
    this.settings = options.settings;
    this.log = options.log;
    this.exclusive = options.exclusive;
    this.access = options.access;
    this.ownPublisher = options.ownPublisher;
    options.directory.register(scope, this);
    new PermissionChanges(this);
    this.subscriptionCounts = new SubscriptionCounts(options.metrics, () => options.slots?.subscriptionCounts);
    this.kept = options.slots === null ? null : this.keptIn(options.slots);
  }

  private keptIn(slots: SessionSlots): KeptSessions {
    const { delivery, access, ownPublisher, metrics, log } = this;
    return new KeptSessions({
      ...{ slots, delivery, access, ownPublisher, metrics, log, inflightMax: this.settings.inflightMax },
      groups: new KeptGroups({ slots, router: this.router, delivery, settings: this.settings }),
      live: {
        find: (clientId) => this.sessions.get(clientId),
        create: (clientId, inflightMax, isKept) => this.create(clientId, inflightMax, isKept),
        addSubscription: (session, path, subscription) => this.addSubscription(session, path, subscription),
        claimExclusive: (session, path) =>
          this.exclusive.claim(knownPath(path).filter, session.clientId, (isGranted) => {
            // Somebody else has it since, on another node.
            if (!isGranted) this.unsubscribe(session, path);
          }),
        forget: (session) => this.forget(session),
        counted: () => this.updateCounts(),
        cut: (session) => this.cut(session),
        ended: (clientId, isExpired) => this.ended(clientId, isExpired),
        found: (ids, epochs) => {
          this.directory.announce(scope, ids, epochs);
          // They count when their slot serves.
          slots.whenReady(() => this.updateCounts());
        },
      },
    });
  }

  get count(): number {
    return this.sessions.size - this.keptCount + (this.kept?.slots.sessionCount ?? 0);
  }

  has(clientId: string): boolean {
    return this.sessions.has(clientId) || this.kept?.slots.has(clientId) === true;
  }

  // ---- opening and closing

  /** Gives the session of `clientId` to `link`, at once or after another worker let go and what is to be stored is. */
  open(request: OpenRequest, answers: OpenAnswers): void {
    if (this.kept === null) this.claim(request, answers);
    else this.kept.whenSettled(request.link, () => this.claim(request, answers));
  }

  private claim(request: OpenRequest, answers: OpenAnswers): void {
    const { clientId, clean } = request;
    const local = this.sessions.get(clientId);
    if (local !== undefined && local.link !== null) this.endLink(local);
    const isLasting = this.kept?.concerns(request) === true;
    this.directory.claim(scope, clientId, clean, isLasting, {
      install: (head) => this.install(request, head as SessionHead | KeptState),
      granted: ({ state }) => {
        if (state !== undefined) this.complete(clientId, state as SessionRest);
        if (this.kept?.concerns(request) === true) void this.openKept(this.kept, request, answers);
        else this.openLive(request, answers);
      },
      refused: () => answers.refused(ReasonCode.SERVER_UNAVAILABLE),
    });
  }

  private openLive(request: OpenRequest, answers: OpenAnswers): void {
    const { clientId } = request;
    const present = this.prepare(clientId, request.clean);
    const session = this.sessions.get(clientId) ?? this.create(clientId, request.inflightMax);
    const former = session.permissions;
    this.bind(session, request);
    // It may be from a time with other rules, or another user's.
    if (present) recheck(this, session, former?.identity.user !== request.permissions?.identity.user);
    answers.opened(session, present);
  }

  private async openKept(kept: KeptSessions, request: OpenRequest, answers: OpenAnswers): Promise<void> {
    const { clientId } = request;
    try {
      const connected = await kept.connect(request);
      if (connected === null) {
        this.openLive(request, answers);
        return;
      }
      const { session, isPresent } = connected;
      this.bind(session, { ...request, will: null });
      if (isPresent) recheck(this, session);
      answers.opened(session, isPresent);
    } catch (error) {
      if (!(error instanceof Error) || !('code' in error)) throw error;
      if (!request.link.connection.closed)
        this.log.warn('Cannot connect a durable session', { ...sessionOf(clientId), error: error.message });
      this.giveBack(clientId);
      answers.refused(refusalOf(error));
    }
  }

  /** [MQTT-3.1.4-3] the server closes the connection of the client that had the identifier. */
  private endLink(session: Session): void {
    this.metrics.block.increment(this.metrics.takenOver);
    session.link?.end(ReasonCode.SESSION_TAKEN_OVER, 'taken-over');
  }

  /** Whether a former session goes on; with clean start it ends here [MQTT-3.1.2-4]. */
  private prepare(clientId: string, clean: boolean): boolean {
    const session = this.sessions.get(clientId);
    if (session === undefined) return false;
    const { link } = session;
    if (link !== null) {
      // Two claims of one client were granted one after the other. The connection ends without giving the name back to
      // the directory, which has just granted it to this worker for the newcomer.
      session.link = null;
      this.metrics.block.increment(this.metrics.takenOver);
      link.end(ReasonCode.SESSION_TAKEN_OVER, 'taken-over');
      if (session.will?.delayS === 0) this.publishWill(session);
    }
    if (!clean && (link === null || session.expiryS > 0)) return true;
    this.remove(session);
    return false;
  }

  private create(clientId: string, inflightMax: number, isKept = false): Session {
    const session = new Session(clientId, inflightMax, isKept);
    this.sessions.set(clientId, session);
    if (isKept) this.keptCount++;
    this.updateCounts();
    return session;
  }

  private bind(session: Session, request: OpenRequest): void {
    session.link = request.link;
    session.expiryS = request.expiryS;
    session.limitWindow(request.inflightMax);
    session.will = request.will;
    session.permissions = request.permissions;
    this.stopTimers(session);
    this.tellMembers(session);
  }

  /** The connection of `link` ended; `withWill` unless the client said goodbye without asking for its will. */
  closed(session: Session, link: Link, withWill: boolean): void {
    if (session.link !== link) return;
    session.link = null;
    this.tellMembers(session);
    if (session.expiryS > 0) this.passOnShared(session, false);
    if (session.isKept) {
      this.leftKept(session, withWill);
      return;
    }
    if (!withWill) session.will = null;
    const { will, expiryS } = session;
    if (expiryS === 0) {
      this.remove(session);
      this.giveBack(session.clientId);
      return;
    }
    if (will !== null) {
      if (will.delayS === 0) this.publishWill(session);
      else this.startWillTimer(session, Math.min(will.delayS, expiryS));
    }
    if (expiryS !== neverExpires) this.startExpiryTimer(session);
  }

  /** What only memory has stays there; the rest is in the storage. */
  private leftKept(session: Session, withWill: boolean): void {
    const { expiryS } = session;
    const shared = expiryS === 0 && isMember(session) ? takeShared(session, () => true) : [];
    if (expiryS === 0 || !isHeldInMemory(session)) this.forget(session);
    for (const message of shared) this.redeliver(message, 0, true);
    this.kept?.left(session, expiryS, withWill);
  }

  /** Somebody else has the name: the connection ends without giving it back to the directory. */
  private cut(session: Session): void {
    const { link } = session;
    if (link === null) return;
    session.link = null;
    this.metrics.block.increment(this.metrics.takenOver);
    this.tellMembers(session);
    if (session.isKept) this.leftKept(session, true);
    else this.publishWill(session);
    link.end(ReasonCode.SESSION_TAKEN_OVER, 'taken-over');
  }

  /** A stored session is no more. */
  private ended(clientId: string, isExpired: boolean): void {
    if (isExpired) this.onExpired(clientId);
    this.updateCounts();
    this.giveBack(clientId);
  }

  /**
   * Other workers may have the name, unless there is a session of it or a client of this worker is about to have one: that was
   * granted already, and nobody would ask this worker to let it go.
   */
  private giveBack(clientId: string): void {
    if (this.kept?.isBusy(clientId) !== true && !this.has(clientId)) this.directory.release(scope, clientId);
  }

  private startWillTimer(session: Session, delayS: number): void {
    session.willTimer ??= new WheelTimer(() => this.publishWill(session));
    this.timers.start(session.willTimer, delayS * 1000);
  }

  private startExpiryTimer(session: Session): void {
    session.expiryTimer ??= new WheelTimer(() => {
      this.remove(session);
      this.onExpired(session.clientId);
      this.giveBack(session.clientId);
    });
    this.timers.start(session.expiryTimer, session.expiryS * 1000);
  }

  private stopTimers(session: Session): void {
    if (session.willTimer !== null) this.timers.cancel(session.willTimer);
    if (session.expiryTimer !== null) this.timers.cancel(session.expiryTimer);
  }

  /** The session ends: its subscriptions go, its will is due [MQTT-3.1.2-8]. */
  private remove(session: Session): void {
    if (this.sessions.get(session.clientId) !== session) return;
    const shared = isMember(session) ? takeShared(session, () => true) : [];
    this.forget(session);
    for (const message of shared) this.redeliver(message, 0, true);
    this.publishWill(session);
  }

  // ---- what a member of a shared group could not finish

  /**
   * The client is away: what waits for it, or was sent with QoS 1 and not acknowledged, goes to members that are there.
   * What was sent with QoS 2 waits for the client, and ends with its session [MQTT-4.8.2-4], [MQTT-4.8.2-5].
   */
  private passOnShared(session: Session, isRepeated: boolean): void {
    if (this.isDraining || session.link !== null || !isMember(session)) return;
    if (isRepeated && this.sessions.get(session.clientId) !== session) return;
    takeShared(session, (message) => {
      const memberId = session.subscriptions.get(message.share as string)?.memberId ?? 0;
      return this.redeliver(message, memberId, false);
    });
  }

  /** False when nobody is there for it. */
  private redeliver(message: StoredMessage, exceptId: number, mayWait: boolean): boolean {
    if (this.isDraining) return false;
    const { group, filter } = knownPath(message.share as string);
    if (!this.router.groups.hasTaker(group, filter, exceptId, mayWait)) return false;
    const run = this.delivery.runOf(message);
    if (run === null) return true;
    return this.router.groups.redeliver(group, filter, run, exceptId, mayWait);
  }

  private forget(session: Session): void {
    this.stopTimers(session);
    if (this.sessions.get(session.clientId) === session) {
      this.sessions.delete(session.clientId);
      if (session.isKept) this.keptCount--;
    }
    session.feeds?.close();
    if (session.shares !== null) this.kept?.groups.ended(session);
    session.feeds = null;
    let left = session.subscriptions.size;
    for (const subscription of session.subscriptions.values()) this.detach(session, subscription, --left === 0);
    session.subscriptions.clear();
    // Routes that nobody publishes to now may hold the session for long; not what it kept.
    session.window.clear();
    session.receivedIds.clear();
    session.queue = null;
    this.updateCounts();
  }

  private publishWill(session: Session): void {
    const { will } = session;
    if (will === null) return;
    session.will = null;
    const { topic, qos, retain } = will;
    if (!this.mayPublishWill(session, topic, qos, retain)) return;
    this.ownPublisher.publish({ ...will, publisher: session });
  }

  /** By the rules of now, since that is when it is published. */
  private mayPublishWill({ permissions, clientId }: Session, topic: string, qos: number, retain: boolean): boolean {
    if (permissions?.mayPublish(topic, qos, retain) === true) return true;
    this.metrics.countDropped('not-allowed', 1);
    const identity = permissions?.identity ?? { tenant: '', user: '', clientId, address: '' };
    this.access.audit({ kind: 'publish-denied', identity, subject: topic });
    return false;
  }

  // ---- subscriptions

  /**
   * Subscribes or changes a subscription; `done` runs when every publication reaches it. Answers whether it is new.
   */
  subscribe(
    session: Session,
    path: string,
    group: string | null,
    filter: string,
    options: SubscriptionOptions,
    done: () => void,
  ): boolean {
    if (session.isKept && !this.isRestoring) this.kept?.changed(session, path);
    const known = session.subscriptions.get(path);
    if (known !== undefined) {
      countLow(session, known.options, -1);
      countLow(session, options, 1);
      known.options = options;
      if (group === null) {
        this.router.refresh(known);
        done();
      } else {
        this.router.groups.replace(known.memberId, new SessionMember(session, this.delivery, known), done);
        if (!session.isKept) this.kept?.groups.joined(session, path);
      }
      return false;
    }
    const subscription = new MqttSubscription(path, filter, this.subscriberOf(session), options);
    session.subscriptions.set(path, subscription);
    countLow(session, options, 1);
    session.subscriptionCount?.add(1);
    this.subscriptionCounts.added(session, group !== null);
    if (group === null) {
      // What a stream has comes from the storage.
      if (!isStreamPath(path)) this.router.subscribe(subscription);
      done();
    } else {
      subscription.memberId = this.router.groups.join(
        group,
        filter,
        new SessionMember(session, this.delivery, subscription),
        done,
        { strategy: strategyOf(this.settings, group), seed: hashString(session.clientId) },
      );
      if (!session.isKept) this.kept?.groups.joined(session, path);
    }
    return true;
  }

  /** The same for a subscription that is stored already. */
  private addSubscription(session: Session, path: string, options: SubscriptionOptions): void {
    const { kind, group, filter } = knownPath(path);
    this.isRestoring = true;
    this.subscribe(session, path, kind === 'shared' ? group : null, filter, options, () => undefined);
    this.isRestoring = false;
  }

  private subscriberOf(session: Session): SessionSubscriber {
    const first = session.subscriptions.values().next();
    return first.done ? new SessionSubscriber(session, this.delivery) : (first.value.subscriber as SessionSubscriber);
  }

  /** Answers whether there was such a subscription. */
  unsubscribe(session: Session, path: string): boolean {
    const subscription = session.subscriptions.get(path);
    if (subscription === undefined) return false;
    session.subscriptions.delete(path);
    countLow(session, subscription.options, -1);
    this.detach(session, subscription, session.subscriptions.size === 0);
    session.feeds?.unsubscribed(path);
    if (session.isKept) this.kept?.changed(session, path);
    return true;
  }

  private detach(session: Session, subscription: MqttSubscription, isLast: boolean): void {
    if (knownPath(subscription.path).kind === 'exclusive') {
      this.exclusive.release(subscription.filter, session.clientId);
    }
    if (subscription.memberId !== 0) {
      this.router.groups.leave(subscription.memberId);
      if (!session.isKept) this.kept?.groups.left(session, subscription.path);
    } else if (!isStreamPath(subscription.path)) this.router.unsubscribe(subscription);
    session.subscriptionCount?.add(-1);
    this.subscriptionCounts.removed(session, subscription.memberId !== 0, isLast);
  }

  private tellMembers(session: Session): void {
    if (session.link === null) session.feeds?.detach();
    // What others sent before they knew is passed on too.
    for (const { memberId } of session.subscriptions.values())
      if (memberId !== 0) this.router.groups.statusChanged(memberId, () => this.passOnShared(session, true));
  }

  /** Writes down how many sessions and subscriptions there are. */
  updateCounts(): void {
    this.metrics.block.set(this.metrics.sessions, this.count);
    this.subscriptionCounts.update();
  }

  // ---- moving between workers (SessionOwner)

  yieldSession(name: string): SessionHead | undefined | Promise<KeptState | SessionHead | undefined> {
    const { kept } = this;
    if (kept !== null && (kept.slots.has(name) || kept.isBusy(name)))
      // What was about to happen can have left a session in memory alone.
      return kept.handOver(name, headOf).then((state) => state ?? this.yieldLive(name));
    return this.yieldLive(name);
  }

  private yieldLive(name: string): SessionHead | undefined {
    const session = this.sessions.get(name);
    if (session === undefined) return undefined;
    if (session.link !== null) this.endLink(session);
    return this.sessions.has(name) ? headOf(session) : undefined;
  }

  private install({ clientId, link }: OpenRequest, state: SessionHead | KeptState): number | Promise<number> {
    if ('kept' in state) return this.installKept(clientId, state, link);
    const head = state;
    const session = this.create(clientId, this.settings.inflightMax);
    session.expiryS = head.expiryS;
    for (const { path, filter, options } of head.subscriptions) {
      const { kind, group } = knownPath(path);
      this.subscribe(session, path, kind === 'shared' ? group : null, filter, options, () => undefined);
      // The former owner on this node holds it for the same client, so that nobody else can be in between.
      if (kind === 'exclusive') this.exclusive.claim(filter, clientId, () => undefined);
    }
    session.epochFloor = this.router.nextEpoch();
    return session.epochFloor;
  }

  private async installKept(clientId: string, state: KeptState, link: Link): Promise<number> {
    await this.kept?.adopt(clientId, state, link);
    const epoch = this.router.nextEpoch();
    const session = this.sessions.get(clientId);
    if (session !== undefined) session.epochFloor = epoch;
    return epoch;
  }

  releaseSession(name: string, epoch: number): SessionRest | undefined {
    this.kept?.moved(name);
    const session = this.sessions.get(name);
    if (session === undefined) return undefined;
    this.router.catchUp();
    const rest = restOf(session, epoch);
    session.will = null; // The client is back, elsewhere: a delayed will is not sent [MQTT-3.1.3-9].
    this.forget(session);
    return rest;
  }

  private complete(clientId: string, rest: SessionRest): void {
    const session = this.sessions.get(clientId);
    if (session === undefined) {
      // Its time was over before the former owner had let go of it: the client gets a new one.
      const hasEnded = this.kept !== null && !this.kept.slots.has(clientId);
      if (!hasEnded) this.log.error('Cannot take over a session: it was not installed', sessionOf(clientId));
      return;
    }
    restore(session, rest);
  }

  keepSession(name: string): void {
    this.kept?.stays(name);
  }

  dropCopy(name: string): void {
    if (this.kept !== null) {
      void this.kept.dropCopy(name);
      return;
    }
    const session = this.sessions.get(name);
    if (session === undefined) return;
    this.cut(session);
    this.forget(session);
  }

  // ---- moving between nodes (SessionMoves)

  get moves(): SessionMoves {
    return this;
  }

  names(): SessionNames {
    const lasting = new Set(this.kept?.slots.ids());
    // Whoever is about to have one asked before there were other nodes.
    for (const name of this.kept?.busyNames ?? []) lasting.add(name);
    const live = [...this.sessions.keys()].filter((name) => !lasting.has(name));
    return { lasting: [...lasting], live };
  }

  async depart(name: string): Promise<SessionDeparting | null> {
    const { kept } = this;
    // What cannot be read at present is not lost.
    if (kept !== null && (!kept.slots.isSettled || kept.slots.failure !== null))
      throw kept.slots.failure ?? new Error('the stored sessions are not known yet');
    const isKept = kept !== null && (kept.slots.has(name) || kept.isBusy(name));
    const departing = isKept ? await kept.depart(name) : null;
    // A session that is in memory alone ends here.
    if (departing === null) this.discardLive(name);
    return departing;
  }

  departed(name: string): void {
    const session = this.sessions.get(name);
    if (session !== undefined) {
      session.will = null;
      this.cut(session);
      this.remove(session);
    }
    this.kept?.departed(name);
  }

  arrive(name: string): Promise<SessionArriving> {
    const { kept } = this;
    if (kept === null) return Promise.reject(new Error('sessions are not stored on this node'));
    return kept.arrive(name);
  }

  settleArrival(name: string, epoch: number | null): void {
    this.kept?.settleArrival(name, epoch);
  }

  discardSession(name: string): void | Promise<void> {
    const session = this.sessions.get(name);
    if (session !== undefined && session.link !== null) this.endLink(session);
    if (this.kept !== null && (this.kept.slots.has(name) || this.kept.isBusy(name)))
      return this.kept.end(name).then(() => this.discardLive(name));
    this.discardLive(name);
    return undefined;
  }

  private discardLive(name: string): void {
    const session = this.sessions.get(name);
    if (session === undefined) return;
    // It may have been opened meanwhile.
    this.cut(session);
    this.remove(session);
  }

  /** All of them, connected or not. */
  sessionList(): readonly Session[] {
    return [...this.sessions.values()];
  }

  /** Visits every connected client. */
  forEachLink(visit: (link: Link) => void): void {
    for (const { link } of [...this.sessions.values()]) if (link !== null) visit(link);
  }
}

/** Whether a kept session has anything that is not stored. */
function isHeldInMemory(session: Session): boolean {
  if (session.window.used > 0 || session.queueLength > 0) return true;
  for (const path of session.subscriptions.keys())
    if (path.charCodeAt(0) === 0x24 && !isStored(knownPath(path).kind)) return true;
  return false;
}

function countLow(session: Session, { qos, identifier }: SubscriptionOptions, by: number): void {
  if (qos === 0 && identifier !== 0) session.lowIdentifiers += by;
}

/** Whether it has a shared subscription. */
function isMember(session: Session): boolean {
  for (const { memberId } of session.subscriptions.values()) if (memberId !== 0) return true;
  return false;
}

/**
 * Takes messages of shared subscriptions out of the session, oldest first: those in flight with QoS 1 and those that
 * wait. `isTaken` says of each whether it goes. Answers those that went.
 */
function takeShared(session: Session, isTaken: (message: StoredMessage) => boolean): StoredMessage[] {
  const taken: StoredMessage[] = [];
  const takes = (message: StoredMessage | null): boolean => {
    if (message === null || message.share === null || !isTaken(message)) return false;
    taken.push(message);
    return true;
  };
  const { window, queue } = session;
  window.forEach((id, state, message) => {
    if (state === Flight.AWAITS_PUBACK && takes(message)) window.free(id);
  });
  queue?.takeWhere(takes);
  return taken;
}
