/**
 * Sessions that outlive their connection, and the broker: connecting, leaving, ending and moving, over the stored sessions of this worker
 * (`core/ports/session-slots.ts`). The registry has the side in memory and calls this. One per worker, on its thread.
 *
 * A session whose client is away is nothing but its record in the slot, unless it has what only memory has: a place in a shared group or an
 * exclusive filter, or messages that came live and are not acknowledged.
 */
import type { AccessControl, Permissions } from '../../../core/ports/access.ts';
import type { SessionArriving, SessionDeparting } from '../../../core/ports/session-directory.ts';
import type { SessionSlots, SessionUser } from '../../../core/ports/session-slots.ts';
import type { DurableSessions, SessionTransfer } from '../../../core/sessions/durable-sessions.ts';
import type { MessageView } from '../../../core/sessions/message-record.ts';
import type { OnlineSession } from '../../../core/sessions/online-session.ts';
import type { SessionDeparture } from '../../../core/sessions/session-departure.ts';
import type { SessionSubscription, SessionWill } from '../../../core/sessions/session-entry.ts';
import { SessionError } from '../../../core/sessions/session-error.ts';
import type { SubscriptionClass } from '../../../core/sessions/session-table.ts';
import { sessionOf } from '../../../core/tenants/tenant-names.ts';
import type { Logger } from '../../../observability/log.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { OwnPublisher } from '../handlers/own-publisher.ts';
import type { MqttMetrics } from '../metrics.ts';
import type { Link, Session } from '../state/session.ts';
import type { SessionHead } from '../state/session-transfer.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { isStored, knownPath } from '../state/subscription-path.ts';
import { decodeIdentity, decodeWill, encodeIdentity, encodeWill, expiryMsOf } from './kept-content.ts';
import type { KeptGroups } from './kept-groups.ts';
import { KeptLink } from './kept-link.ts';
import { classOf, optionsOf, SubscriptionKeeper } from './kept-subscriptions.ts';
import type { OpenRequest } from './open-request.ts';

/** What it needs of the registry: the sessions in memory. */
export interface LiveSessions {
  find(clientId: string): Session | undefined;
  create(clientId: string, inflightMax: number, isKept: boolean): Session;
  /** Subscribes on the router; nothing is stored. */
  addSubscription(session: Session, path: string, options: SubscriptionOptions): void;
  claimExclusive(session: Session, path: string): void;
  /** The session leaves memory, its subscriptions the router. */
  forget(session: Session): void;
  /** What is stored of subscriptions has changed. */
  counted(): void;
  /** Ends the connection of the session's client without giving up its name, as another one has it. */
  cut(session: Session): void;
  /** Its time was over, or its end was waited for. */
  ended(clientId: string, isExpired: boolean): void;
  /** Sessions that were found in the storage. */
  found(ids: readonly string[], epochs: readonly number[]): void;
}

export interface KeptSessionsOptions {
  readonly slots: SessionSlots;
  readonly live: LiveSessions;
  readonly groups: KeptGroups;
  readonly delivery: Delivery;
  readonly access: AccessControl;
  readonly ownPublisher: OwnPublisher;
  readonly metrics: MqttMetrics;
  readonly inflightMax: number;
  readonly log: Logger;
}

export interface Connected {
  readonly session: Session;
  readonly isPresent: boolean;
}

/** What a former owner hands over. */
export interface KeptState {
  readonly kept: SessionTransfer;
  /** Null: nothing of it was in memory. */
  readonly head: SessionHead | null;
}

interface Moving {
  readonly service: DurableSessions;
  readonly transfer: SessionTransfer;
}

interface Leaving {
  readonly service: DurableSessions;
  readonly departure: SessionDeparture;
}

const restoredPerTurn = 10_000;

export class KeptSessions implements SessionUser {
  readonly slots: SessionSlots;
  readonly groups: KeptGroups;
  readonly #options: KeptSessionsOptions;
  /** What happens to one name happens one after the other. */
  readonly #lanes = new Map<string, Promise<unknown>>();
  readonly #moving = new Map<string, Moving>();
  /** On their way to other nodes. */
  readonly #leaving = new Map<string, Leaving>();
  readonly #keepers = new WeakMap<Session, SubscriptionKeeper>();

  constructor(options: KeptSessionsOptions) {
    this.#options = options;
    this.slots = options.slots;
    this.groups = options.groups;
    this.slots.use(this);
  }

  // ---- connecting

  /** Calls back when it is known which sessions there are; not when the connection has ended meanwhile. */
  whenSettled(link: Link, callback: () => void): void {
    if (this.slots.isSettled) {
      callback();
      return;
    }
    this.slots.whenReady(() => {
      if (!link.connection.closed) this.whenSettled(link, callback);
    });
  }

  /** Whether a CONNECT is about a stored session: one that it asks for, or that there is. */
  concerns({ clientId, expiryS }: OpenRequest): boolean {
    return expiryS > 0 || this.slots.has(clientId) || this.#lanes.has(clientId);
  }

  /**
   * Gives the client its session, or a new one; null when the former one has ended and the new one is not to be kept. Rejects with
   * SessionError or StorageError.
   */
  connect(request: OpenRequest): Promise<Connected | null> {
    return this.#inLane(request.clientId, () => this.#connect(request));
  }

  async #connect(request: OpenRequest): Promise<Connected | null> {
    const { slots } = this;
    const { live, delivery, log } = this.#options;
    const { clientId, clean, expiryS, inflightMax, will, permissions, link } = request;
    // A client that connects again and again does not wait for the connections that it has given up.
    if (link.connection.closed) throw goneError(clientId);
    // A move to this node that was cut, and the node is alone now: there is no other copy.
    this.settleArrival(clientId, null);
    const former = live.find(clientId);
    if (former !== undefined) {
      if (former.link !== null) live.cut(former);
      if (!former.isKept) live.forget(former);
    }
    if (clean || slots.ownerOf(clientId)?.hasExpired(clientId) === true) await this.#end(clientId);
    if (expiryS === 0 && !slots.has(clientId)) return null;
    await slots.bringHome(clientId);
    const service = await slots.open();
    const keptLink = new KeptLink(link, delivery);
    const { session: online, isPresent } = await service.attach(
      clientId,
      {
        isClean: false,
        expiryMs: expiryMsOf(expiryS),
        window: Math.min(inflightMax, keptWindowMax),
        will: encodeWill(will),
        content: encodeIdentity(permissions?.identity),
      },
      keptLink,
    );
    const session = live.find(clientId) ?? live.create(clientId, inflightMax, true);
    if (!session.isKept)
      throw new SessionError('SESSION_MOVING', `Cannot connect session "${clientId}": it has changed`);
    session.permissions = permissions;
    session.online = online;
    keptLink.bind(session);
    this.#keepers.set(session, new SubscriptionKeeper(session, service, this.groups));
    if (isPresent) this.#restore(session, service.subscriptionsOf(clientId));
    await this.#joinAgain(session, service);
    log.debug('durable session is connected', { clientId, isPresent });
    return { session, isPresent };
  }

  /** Subscriptions that memory does not have. */
  #restore(session: Session, stored: readonly SessionSubscription[]): void {
    const { live } = this.#options;
    for (const subscription of stored) {
      const options = optionsOf(subscription);
      const path = subscription.filter;
      if (options === null || session.subscriptions.has(path)) continue;
      live.addSubscription(session, path, options);
      if (knownPath(path).kind === 'exclusive') live.claimExclusive(session, path);
    }
  }

  /** A session that came from another node has its shared subscriptions, and is to be a member of the groups of this one. */
  async #joinAgain(session: Session, service: DurableSessions): Promise<void> {
    const { clientId, subscriptions } = session;
    const shared = [...subscriptions.keys()].filter((path) => knownPath(path).kind === 'shared');
    if (shared.length <= service.membershipCountOf(clientId)) return;
    for (const path of shared) this.changed(session, path);
    try {
      await this.#keepers.get(session)?.stored();
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      // It has its other subscriptions, and this is tried again when the client comes again.
      this.#options.log.warn('Session is in no shared group of this node', { clientId, error: error.message });
    }
  }

  // ---- leaving

  /**
   * The client of the session is away. `expiryS`: what it wants now. Nothing is told when it cannot be stored: the service fails then, and
   * goes on from what is stored.
   */
  left(session: Session, expiryS: number, withWill: boolean): void {
    const { online, clientId } = session;
    session.online = null;
    const service = this.slots.own;
    if (online === null || service === null) return;
    service.detach(online, expiryMsOf(expiryS), withWill).then(
      () => {
        if (!this.slots.has(clientId)) this.#options.live.ended(clientId, false);
      },
      (error: unknown) => this.#failed(error, clientId),
    );
  }

  /** Ends a stored session: its will is published [MQTT-3.1.2-8]. Nothing happens when there is none. */
  end(clientId: string): Promise<void> {
    return this.#inLane(clientId, () => this.#end(clientId));
  }

  async #end(clientId: string): Promise<void> {
    const service = this.slots.ownerOf(clientId);
    const session = this.#options.live.find(clientId);
    if (session?.isKept === true) {
      // Somebody may have connected while this waited for its turn.
      if (session.link !== null) this.#options.live.cut(session);
      this.#options.live.forget(session);
    }
    if (service === null) return;
    const will = service.willOf(clientId);
    if (will !== null) await new Promise<void>((resolve) => this.willIsDue(clientId, will, resolve));
    await service.remove(clientId);
  }

  // ---- subscriptions

  /** A subscription of the session came or went; stored with the next `whenStored`, or soon. */
  changed(session: Session, path: string): void {
    this.#keepers.get(session)?.changed(path);
  }

  /** Told when all changes up to now are stored: 0, or the reason why not. */
  whenStored(session: Session, done: (reasonCode: number) => void): void {
    const keeper = this.#keepers.get(session);
    if (keeper === undefined) {
      done(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR);
      return;
    }
    keeper.stored().then(
      () => {
        this.#options.live.counted();
        done(0);
      },
      (error: unknown) => {
        this.#failed(error, session.clientId);
        done(reasonOf(error));
      },
    );
  }

  // ---- moving to another worker

  /** The session begins to move; undefined when there is none. */
  handOver(clientId: string, headOfLive: (session: Session) => SessionHead): Promise<KeptState | undefined> {
    return this.#inLane(clientId, async () => {
      const { live } = this.#options;
      const session = live.find(clientId);
      if (session?.isKept === true && session.link !== null) live.cut(session);
      if (this.slots.ownerOf(clientId)?.hasExpired(clientId) === true) await this.#end(clientId);
      const service = this.slots.ownerOf(clientId);
      const transfer = service === null ? null : await service.handOver(clientId);
      if (service === null || transfer === null) return undefined;
      this.#moving.set(clientId, { service, transfer });
      const left = live.find(clientId);
      return { kept: transfer, head: left?.isKept === true ? headOfLive(left) : null };
    });
  }

  /** Takes a session over for the client at `link`; resolves when it is stored here. */
  adopt(clientId: string, { kept, head }: KeptState, link: Link): Promise<void> {
    return this.#inLane(clientId, async () => {
      if (link.connection.closed) throw goneError(clientId);
      const { live, inflightMax } = this.#options;
      const service = await this.slots.open();
      await service.adopt(kept);
      const former = live.find(clientId);
      if (former !== undefined) live.forget(former);
      if (head === null) return;
      const session = live.create(clientId, inflightMax, true);
      session.expiryS = head.expiryS;
      session.permissions = this.permissionsOf(clientId);
      this.#restore(session, service.subscriptionsOf(clientId));
    });
  }

  // ---- moving to another node

  /** The session begins to move; null when there is none that is stored. */
  depart(clientId: string): Promise<SessionDeparting | null> {
    return this.#inLane(clientId, async () => {
      const { live } = this.#options;
      const session = live.find(clientId);
      if (session?.isKept === true && session.link !== null) live.cut(session);
      if (this.slots.ownerOf(clientId)?.hasExpired(clientId) === true) await this.#end(clientId);
      const service = this.slots.ownerOf(clientId);
      const departure = service === null ? null : await service.depart(clientId);
      if (service === null || departure === null) return null;
      this.#leaving.set(clientId, { service, departure });
      return departure;
    });
  }

  /** The other node has it. What only memory has goes to other members of its groups, or nowhere. */
  departed(clientId: string): void {
    const leaving = this.#leaving.get(clientId);
    this.#leaving.delete(clientId);
    leaving?.service.departed(leaving.departure).catch((error: unknown) => this.#failed(error, clientId));
  }

  /** A session comes; it is nobody's until `settleArrival`. Rejects with SessionError or StorageError. */
  async arrive(clientId: string): Promise<SessionArriving> {
    const service = await this.slots.open();
    const arrival = await service.arrive(clientId);
    return {
      take: (part) => arrival.take(part),
      finish: (epoch) =>
        this.#inLane(clientId, async () => {
          await arrival.finish(epoch);
          // Of a copy that was here before.
          const former = this.#options.live.find(clientId);
          if (former !== undefined) this.#options.live.forget(former);
        }),
      abort: () => arrival.abort(),
    };
  }

  /** See `SessionOwner.settleArrival`. */
  settleArrival(clientId: string, epoch: number | null): void {
    // There may be a copy in the slot of a former worker, too.
    for (;;) {
      const service = this.slots.ownerOf(clientId);
      if (service === null || !service.isArriving(clientId)) return;
      service.settleArrival(clientId, epoch);
    }
  }

  /** Whether the session is being handed over. */
  isMoving(clientId: string): boolean {
    return this.#moving.has(clientId);
  }

  /** The new owner has it. */
  moved(clientId: string): void {
    const moving = this.#moving.get(clientId);
    this.#moving.delete(clientId);
    // If this is cut, the copy with the higher epoch is the session.
    moving?.service.forget(moving.transfer).catch((error: unknown) => this.#failed(error, clientId));
  }

  /** It stays after all. */
  stays(clientId: string): void {
    const moving = this.#moving.get(clientId);
    this.#moving.delete(clientId);
    moving?.service.keep(moving.transfer);
    const leaving = this.#leaving.get(clientId);
    this.#leaving.delete(clientId);
    leaving?.service.stay(leaving.departure);
  }

  /** Another worker has the newer copy: this one goes without a word. */
  async dropCopy(clientId: string): Promise<void> {
    await this.#inLane(clientId, async () => {
      const { live, log } = this.#options;
      const session = live.find(clientId);
      if (session !== undefined && session.link !== null) live.cut(session);
      if (session !== undefined) live.forget(session);
      await this.slots.ownerOf(clientId)?.remove(clientId);
      log.info('an older copy of a durable session was removed', sessionOf(clientId));
    }).catch((error: unknown) => this.#failed(error, clientId));
  }

  // ---- what the slots tell (SessionUser)

  /** Names are made known to the other workers; what is to be in memory without a client comes there. */
  async opened(service: DurableSessions): Promise<void> {
    const { live, inflightMax } = this.#options;
    this.groups.reopened();
    await this.#dropOlderCopies(service);
    const ids = service.ids();
    live.found(
      ids,
      ids.map((id) => service.epochOf(id)),
    );
    for (const [index, clientId] of ids.entries()) {
      // There may be a million, and the thread has a heartbeat.
      if (index % restoredPerTurn === restoredPerTurn - 1) await new Promise((resolve) => setImmediate(resolve));
      if (service.isArriving(clientId)) continue;
      const stored = service.subscriptionsOf(clientId);
      if (!stored.some(({ filter }) => isHeldInMemory(filter)) || live.find(clientId) !== undefined) continue;
      const session = live.create(clientId, inflightMax, true);
      session.expiryS = 1;
      session.permissions = permissionsFrom(this.#options.access, service.contentOf(clientId));
      this.#restore(session, stored);
    }
  }

  /** Left in two slots of this worker by a move that was cut. Those on other workers are found by the directory. */
  async #dropOlderCopies(service: DurableSessions): Promise<void> {
    for (const clientId of service.ids()) {
      const other = this.slots.ownerOf(clientId);
      if (other === null || other === service) continue;
      const older = other.epochOf(clientId) < service.epochOf(clientId) ? other : service;
      await older.remove(clientId);
      this.#options.log.info('an older copy of a durable session was removed', sessionOf(clientId));
    }
  }

  willIsDue(clientId: string, stored: SessionWill, done: () => void): void {
    const { access, metrics, ownPublisher, live } = this.#options;
    const will = decodeWill(stored);
    const permissions = live.find(clientId)?.permissions ?? this.permissionsOf(clientId);
    if (will === null || permissions?.mayPublish(will.topic, will.qos, will.retain) !== true) {
      metrics.countDropped('not-allowed', 1);
      const identity = permissions?.identity ?? { tenant: '', user: '', clientId, address: '' };
      access.audit({ kind: 'publish-denied', identity, subject: will?.topic ?? '' });
      queueMicrotask(done);
      return;
    }
    const publisher = live.find(clientId) ?? null;
    const { tenant } = permissions.identity;
    ownPublisher.publish({ ...will, tenant, publisher, publisherName: clientId }, (error) => {
      // Otherwise it is kept, and comes again after the next start.
      if (error === null) done();
      else this.#failed(error, clientId);
    });
  }

  expired(clientId: string): void {
    const { live } = this.#options;
    const session = live.find(clientId);
    if (session?.isKept === true) live.forget(session);
    live.ended(clientId, true);
  }

  /** What a client of a former connection may do by the rules of now; null when nothing is known of it. */
  permissionsOf(clientId: string): Permissions | null {
    return permissionsFrom(this.#options.access, this.slots.ownerOf(clientId)?.contentOf(clientId) ?? null);
  }

  classOf(subscription: SessionSubscription): SubscriptionClass {
    return classOf(subscription);
  }

  keyHashOf(message: MessageView): number {
    return this.groups.keyHashOf(message);
  }

  groupIsKept(group: string, isKept: boolean): void {
    this.groups.groupIsKept(group, isKept);
  }

  /** Names with which something is about to happen. */
  get busyNames(): Iterable<string> {
    return this.#lanes.keys();
  }

  /** Whether something is about to happen to the name. */
  isBusy(clientId: string): boolean {
    return this.#lanes.has(clientId) || this.#moving.has(clientId) || this.#leaving.has(clientId);
  }

  begin(online: OnlineSession): void {
    if (!online.isClosed) online.begin();
  }

  #failed(error: unknown, clientId: string): void {
    // Defects end the worker as everywhere; what the storage refuses is its trouble, and told once by the slots.
    if (!(error instanceof Error) || !('code' in error)) throw error;
    this.#options.log.debug('a durable session cannot be stored', { clientId, error: error.message });
  }

  #inLane<T>(clientId: string, task: () => Promise<T>): Promise<T> {
    const mine = (this.#lanes.get(clientId) ?? Promise.resolve()).then(task, task);
    this.#lanes.set(clientId, mine);
    const leave = (): void => {
      if (this.#lanes.get(clientId) === mine) this.#lanes.delete(clientId);
    };
    mine.then(leave, leave);
    return mine;
  }
}

/** Messages from the logs have fewer packet identifiers than there are. */
const keptWindowMax = 61_439;

/** The reason code for what a stored session was refused. */
export function reasonOf(error: unknown): number {
  const code = error instanceof SessionError ? error.code : '';
  if (code === 'SESSION_LIMIT') return ReasonCode.QUOTA_EXCEEDED;
  return ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR;
}

/** The same for CONNACK. */
export function refusalOf(error: unknown): number {
  const code = error instanceof SessionError ? error.code : '';
  if (code === 'SESSION_LIMIT') return ReasonCode.QUOTA_EXCEEDED;
  return code === 'SESSION_MOVING' ? ReasonCode.SERVER_BUSY : ReasonCode.SERVER_UNAVAILABLE;
}

function goneError(clientId: string): SessionError {
  return new SessionError('SESSION_TAKEN_OVER', `Cannot connect session "${clientId}": the client is gone`);
}

function isHeldInMemory(path: string): boolean {
  return path.charCodeAt(0) === 0x24 && !isStored(knownPath(path).kind);
}

function permissionsFrom(access: AccessControl, content: Buffer | null): Permissions | null {
  const identity = decodeIdentity(content);
  return identity === null ? null : access.permissionsOf(identity);
}
