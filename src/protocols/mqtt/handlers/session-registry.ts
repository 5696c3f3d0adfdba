/**
 * The sessions of one worker: opening, taking over, expiry, wills. One per worker; it answers for them to the session
 * directory, through which a client id moves between workers.
 */
import type { Router } from '../../../core/broker/router.ts';
import { Run } from '../../../core/broker/run.ts';
import type { SessionDirectory, SessionOwner } from '../../../core/ports/session-directory.ts';
import type { Logger } from '../../../observability/log.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { fillRunWithFrame } from '../delivery/run-of-frame.ts';
import { SessionMember, SessionSubscriber } from '../delivery/session-target.ts';
import type { MqttMetrics } from '../metrics.ts';
import { generatePublish } from '../packets/generate.ts';
import type { Will } from '../packets/types.ts';
import type { MqttSettings } from '../settings.ts';
import { type Link, neverExpires, Session } from '../state/session.ts';
import { headOf, restOf, restore, type SessionHead, type SessionRest } from '../state/session-transfer.ts';
import { MqttSubscription, type SubscriptionOptions } from '../state/subscription.ts';

export const scope = 'mqtt';

export interface RegistryOptions {
  readonly router: Router;
  readonly directory: SessionDirectory;
  readonly timers: TimingWheel;
  readonly delivery: Delivery;
  readonly metrics: MqttMetrics;
  readonly settings: MqttSettings;
  readonly log: Logger;
}

export interface OpenRequest {
  readonly clientId: string;
  readonly clean: boolean;
  readonly expiryS: number;
  readonly inflightMax: number;
  readonly will: Will | null;
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
  private readonly willRun = new Run();
  private subscriptionCount = 0;

  constructor(options: RegistryOptions) {
    this.router = options.router;
    this.directory = options.directory;
    this.timers = options.timers;
    this.delivery = options.delivery;
    this.metrics = options.metrics;
    this.settings = options.settings;
    this.log = options.log;
    options.directory.register(scope, this);
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
    this.stopTimers(session);
    this.tellMembers(session);
  }

  /** The connection of `link` ended; `withWill` unless the client said goodbye without asking for its will. */
  closed(session: Session, link: Link, withWill: boolean): void {
    if (session.link !== link) return;
    session.link = null;
    this.tellMembers(session);
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
    this.forget(session);
    this.publishWill(session);
  }

  private forget(session: Session): void {
    this.stopTimers(session);
    this.sessions.delete(session.clientId);
    for (const subscription of session.subscriptions.values()) this.detach(subscription);
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
    const { topic, payload, qos, retain, properties } = will;
    const frame = generatePublish({ topic, payload, qos, retain, packetId: qos === 0 ? 0 : 1, properties }, 5);
    const run = this.willRun;
    fillRunWithFrame(run, frame, 5);
    run.publisher = session;
    if (retain) {
      const expiresAtS = properties.expiryS === undefined ? 0 : Math.ceil(Date.now() / 1000) + properties.expiryS;
      this.router.retainOwned(topic, run, payload.length === 0, expiresAtS);
      fillRunWithFrame(run, frame, 5);
      run.publisher = session;
    }
    this.router.publishOwned(topic, run);
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
    this.detach(subscription);
    return true;
  }

  private detach(subscription: MqttSubscription): void {
    if (subscription.memberId !== 0) this.router.groups.leave(subscription.memberId);
    else this.router.unsubscribe(subscription);
    this.subscriptionCount--;
    this.metrics.block.set(this.metrics.subscriptions, this.subscriptionCount);
  }

  private tellMembers(session: Session): void {
    for (const { memberId } of session.subscriptions.values())
      if (memberId !== 0) this.router.groups.statusChanged(memberId);
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
      this.subscribe(session, path, groupOf(path), filter, options, () => undefined);
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

  /** Visits every connected client. */
  forEachLink(visit: (link: Link) => void): void {
    for (const { link } of [...this.sessions.values()]) if (link !== null) visit(link);
  }
}

/** The group's name in `$share/<group>/<filter>`, or null. */
export function groupOf(path: string): string | null {
  if (!path.startsWith('$share/')) return null;
  return path.slice(7, path.indexOf('/', 7));
}
