/**
 * The sessions of one worker: opening, taking over, expiry, wills. One per worker; it answers for them to the session
 * directory, through which a client id moves between workers.
 */
import type { ExclusiveClaims } from '../../../core/broker/exclusive-claims.ts';
import type { Router } from '../../../core/broker/router.ts';
import type { AccessControl, Permissions } from '../../../core/ports/access.ts';
import type { SessionDirectory, SessionOwner } from '../../../core/ports/session-directory.ts';
import type { Logger } from '../../../observability/log.ts';
import { hashString } from '../../../std/hash.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { SessionMember, SessionSubscriber } from '../delivery/session-target.ts';
import type { MqttMetrics } from '../metrics.ts';
import type { Will } from '../packets/types.ts';
import type { MqttSettings } from '../settings.ts';
import { Flight } from '../state/outgoing-window.ts';
import { type Link, neverExpires, Session } from '../state/session.ts';
import { headOf, restOf, restore, type SessionHead, type SessionRest } from '../state/session-transfer.ts';
import type { StoredMessage } from '../state/stored-message.ts';
import { MqttSubscription, type SubscriptionOptions } from '../state/subscription.ts';
import { knownPath } from '../state/subscription-path.ts';
import { strategyOf } from './group-settings.ts';
import type { OwnPublisher } from './own-publisher.ts';
import { PermissionChanges, recheck } from './permission-changes.ts';

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
  readonly log: Logger;
}

export interface OpenRequest {
  readonly clientId: string;
  readonly clean: boolean;
  readonly expiryS: number;
  readonly inflightMax: number;
  readonly will: Will | null;
  readonly permissions: Permissions | null;
  readonly link: Link;
}

export class SessionRegistry implements SessionOwner {
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
  private readonly ownPublisher: OwnPublisher;
  private subscriptionCount = 0;
  /** The worker goes down: what its members of shared groups have not acknowledged is passed on to nobody. */
  isDraining = false;

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
  }

  get count(): number {
    return this.sessions.size;
  }

  has(clientId: string): boolean {
    return this.sessions.has(clientId);
  }

  // ---- opening and closing

  /** Gives the session of `clientId` to `link`; `opened` is called once, at once or after another worker let go. */
  open(request: OpenRequest, opened: (session: Session, present: boolean) => void): void {
    const { clientId, clean } = request;
    const local = this.sessions.get(clientId);
    if (local !== undefined && local.link !== null) this.endLink(local);
    this.directory.claim(scope, clientId, clean, {
      install: (head) => this.install(clientId, head as SessionHead),
      granted: ({ state }) => {
        if (state !== undefined) this.complete(clientId, state as SessionRest);
        const present = this.prepare(clientId, clean);
        const session = this.sessions.get(clientId) ?? this.create(clientId, request.inflightMax);
        this.bind(session, request);
        // It may be from a time with other rules, or another user's.
        if (present) recheck(this, session);
        opened(session, present);
      },
    });
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

  private create(clientId: string, inflightMax: number): Session {
    const session = new Session(clientId, inflightMax);
    this.sessions.set(clientId, session);
    this.countSessions();
    return session;
  }

  private bind(session: Session, request: OpenRequest): void {
    session.link = request.link;
    session.expiryS = request.expiryS;
    session.window.limit = request.inflightMax;
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
    if (!withWill) session.will = null;
    const { will, expiryS } = session;
    if (expiryS === 0) {
      this.remove(session);
      this.directory.release(scope, session.clientId);
      return;
    }
    if (will !== null) {
      if (will.delayS === 0) this.publishWill(session);
      else this.startWillTimer(session, Math.min(will.delayS, expiryS));
    }
    if (expiryS !== neverExpires) this.startExpiryTimer(session);
  }

  private startWillTimer(session: Session, delayS: number): void {
    session.willTimer ??= new WheelTimer(() => this.publishWill(session));
    this.timers.start(session.willTimer, delayS * 1000);
  }

  private startExpiryTimer(session: Session): void {
    session.expiryTimer ??= new WheelTimer(() => {
      this.remove(session);
      this.directory.release(scope, session.clientId);
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
    this.sessions.delete(session.clientId);
    for (const subscription of session.subscriptions.values()) this.detach(session, subscription);
    session.subscriptions.clear();
    // Routes that nobody publishes to now may hold the session for long; not what it kept.
    session.window.clear();
    session.receivedIds.clear();
    session.queue = null;
    this.countSessions();
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
    const known = session.subscriptions.get(path);
    if (known !== undefined) {
      known.options = options;
      if (group === null) {
        this.router.refresh(known);
        done();
      } else {
        this.router.groups.replace(known.memberId, new SessionMember(session, this.delivery, known), done);
      }
      return false;
    }
    const subscription = new MqttSubscription(path, filter, this.subscriberOf(session), options);
    session.subscriptions.set(path, subscription);
    this.subscriptionCount++;
    this.metrics.block.set(this.metrics.subscriptions, this.subscriptionCount);
    if (group === null) {
      this.router.subscribe(subscription);
      done();
    } else {
      subscription.memberId = this.router.groups.join(
        group,
        filter,
        new SessionMember(session, this.delivery, subscription),
        done,
        { strategy: strategyOf(this.settings, group), seed: hashString(session.clientId) },
      );
    }
    return true;
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
    this.detach(session, subscription);
    return true;
  }

  private detach(session: Session, subscription: MqttSubscription): void {
    if (knownPath(subscription.path).kind === 'exclusive') {
      this.exclusive.release(subscription.filter, session.clientId);
    }
    if (subscription.memberId !== 0) this.router.groups.leave(subscription.memberId);
    else this.router.unsubscribe(subscription);
    this.subscriptionCount--;
    this.metrics.block.set(this.metrics.subscriptions, this.subscriptionCount);
  }

  private tellMembers(session: Session): void {
    // What others sent before they knew is passed on too.
    for (const { memberId } of session.subscriptions.values())
      if (memberId !== 0) this.router.groups.statusChanged(memberId, () => this.passOnShared(session, true));
  }

  private countSessions(): void {
    this.metrics.block.set(this.metrics.sessions, this.sessions.size);
  }

  // ---- moving between workers (SessionOwner)

  yieldSession(name: string): SessionHead | undefined {
    const session = this.sessions.get(name);
    if (session === undefined) return undefined;
    if (session.link !== null) this.endLink(session);
    return this.sessions.has(name) ? headOf(session) : undefined;
  }

  private install(clientId: string, head: SessionHead): number {
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

  releaseSession(name: string, epoch: number): SessionRest | undefined {
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
      this.log.error('Cannot take over a session: it was not installed', { clientId });
      return;
    }
    restore(session, rest);
  }

  discardSession(name: string): void {
    const session = this.sessions.get(name);
    if (session === undefined) return;
    if (session.link !== null) this.endLink(session);
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
