/**
 * What one session wants of one topic: its matching subscriptions merged into one delivery [MQTT-3.3.4-2], with the
 * highest QoS and all subscription identifiers. Made when a route is built, called for each run. Session's worker.
 */

import type { LocalMember } from '../../../core/broker/group-strategies.ts';
import type { Subscriber, Subscription, Target } from '../../../core/broker/route.ts';
import type { Run } from '../../../core/broker/run.ts';
import { encodeSubscriptionIdentifiers } from '../codec/publish-rewrite.ts';
import type { Session } from '../state/session.ts';
import type { MqttSubscription } from '../state/subscription.ts';
import type { Delivery } from './delivery.ts';

export class SessionTarget implements Target {
  private readonly session: Session;
  private readonly delivery: Delivery;
  private readonly qos: number;
  private readonly retainAsPublished: boolean;
  private readonly identifiers: Uint8Array | null;
  private readonly subscriptions: readonly MqttSubscription[];
  /** Path of the shared subscription that it serves, or null. */
  private readonly share: string | null;
  /** For what the session itself publishes, when one of the subscriptions is "no local"; null when all of them are. */
  private readonly own: SessionTarget | null;

  constructor(
    session: Session,
    delivery: Delivery,
    subscriptions: readonly MqttSubscription[],
    share: string | null = null,
  ) {
    this.session = session;
    this.delivery = delivery;
    this.share = share;
    this.subscriptions = subscriptions;
    let qos = 0;
    let retainAsPublished = false;
    const identifiers: number[] = [];
    for (const { options } of subscriptions) {
      if (options.qos > qos) qos = options.qos;
      if (options.retainAsPublished) retainAsPublished = true;
      if (options.identifier !== 0) identifiers.push(options.identifier);
    }
    this.qos = qos;
    this.retainAsPublished = retainAsPublished;
    this.identifiers = identifiers.length === 0 ? null : encodeSubscriptionIdentifiers(identifiers);
    const others = subscriptions.filter(({ options }) => !options.noLocal);
    if (others.length === subscriptions.length) this.own = this;
    else this.own = others.length === 0 ? null : new SessionTarget(session, delivery, others);
  }

  deliver(run: Run): void {
    const { session } = this;
    if (this.own !== this && run.publisher === session) {
      this.own?.deliver(run);
      return;
    }
    // Routed before this worker had the session: the former owner has it (see SessionDirectory).
    if (session.epochFloor !== -1 && ((run.epoch - session.epochFloor) | 0) < 0) return;
    const published = (run.detailA >> 1) & 3;
    const qos = Math.min(published, this.qos);
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]; 3.1.1: [MQTT-3.3.1-9]
    const retain = this.retainAsPublished ? run.detailA & 1 : 0;
    const { link } = session;
    if (link?.hasPendingRetained === true) link.sendRetainedBefore(run.topic, this.subscriptions, qos);
    if (qos === 0) {
      if (link === null) this.delivery.metrics.countDropped('offline', run.count);
      else this.delivery.deliverQos0(run, link, retain, this.identifiers);
    } else if (!session.isKept || this.share !== null) {
      // What a kept session gets of these comes from the message logs.
      this.delivery.deliverAcknowledged(run, session, qos === 1 ? 1 : 2, retain, this.identifiers, this.share);
    }
  }
}

/** The subscriber of all subscriptions of one session. */
export class SessionSubscriber implements Subscriber {
  private readonly session: Session;
  private readonly delivery: Delivery;

  constructor(session: Session, delivery: Delivery) {
    this.session = session;
    this.delivery = delivery;
  }

  createTarget(subscriptions: readonly Subscription[]): Target {
    return new SessionTarget(this.session, this.delivery, subscriptions as readonly MqttSubscription[]);
  }
}

/** A session as a member of a shared group. */
export class SessionMember extends SessionTarget implements LocalMember {
  private readonly member: Session;

  constructor(session: Session, delivery: Delivery, subscription: MqttSubscription) {
    super(session, delivery, [subscription], subscription.path);
    this.member = session;
  }

  get isOnline(): boolean {
    return this.member.link !== null;
  }

  /** Messages of all subscriptions of the session that it has not acknowledged. */
  get load(): number {
    return this.member.window.used + this.member.queueLength;
  }

  /**
   * One member alone is given a publication, so that of the two owners of a session that moves whoever is given it has
   * to keep it: the routing epoch, which says whose a publication is that both get, is set so that neither leaves it out.
   */
  override deliver(run: Run): void {
    const { epochFloor } = this.member;
    run.epoch = epochFloor === -1 ? 0 : epochFloor;
    super.deliver(run);
  }
}
