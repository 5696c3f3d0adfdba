/**
 * The connected client of a kept session as the message logs see it: writes their messages to it. One for each connection; on the
 * session's worker.
 */

import { matches } from '../../../core/routing/topic.ts';
import type { MessageView } from '../../../core/sessions/message-record.ts';
import type { SessionDelivery, SessionLink } from '../../../core/sessions/online-session.ts';
import type { SessionSubscription } from '../../../core/sessions/session-entry.ts';
import type { SessionError } from '../../../core/sessions/session-error.ts';
import { writeAcknowledgement } from '../codec/acknowledgements.ts';
import { PacketType } from '../codec/frame.ts';
import { PublishView } from '../codec/publish.ts';
import { encodeSubscriptionIdentifiers } from '../codec/publish-rewrite.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { Link, Session } from '../state/session.ts';
import { knownPath } from '../state/subscription-path.ts';
import { isKeptRetained, viewKept } from './kept-message.ts';
import { returnsRetained } from './kept-subscriptions.ts';

const view = new PublishView();

export class KeptLink implements SessionLink {
  readonly #link: Link;
  readonly #delivery: Delivery;
  #session: Session | null = null;
  // Messages of one topic come with the same list of subscriptions again and again.
  #known: readonly SessionSubscription[] | null = null;
  #identifiers: Uint8Array | null = null;
  #asPublished = false;

  constructor(link: Link, delivery: Delivery) {
    this.#link = link;
    this.#delivery = delivery;
  }

  /** Before `OnlineSession.begin`. */
  bind(session: Session): void {
    this.#session = session;
  }

  hasRoom(): boolean {
    const session = this.#session;
    const link = this.#link;
    if (session === null || link.connection.closed || this.#delivery.isFull(link)) return false;
    // What came before, and waits for room, is not overtaken.
    if (link.hasPendingRetained || session.queueLength > 0 || session.unsent !== null) return false;
    const { used } = session.window;
    return used === 0 || used + (session.online?.flightCount ?? 0) < session.inflightMax;
  }

  deliver({ message, packetId, grade, isDuplicate, subscriptions }: SessionDelivery): boolean {
    // It stays in flight, and is sent again to the next connection.
    if (this.#link.connection.closed) return true;
    if (subscriptions !== this.#known) this.#know(subscriptions);
    viewKept(message, view);
    if (subscriptions.length === 0 && !this.#mayRead(message.bytes, grade)) return false;
    const retain = this.#asPublished && isKeptRetained(message) ? 1 : 0;
    const identifiers = this.#identifiersFor(message);
    const { expiresAtMs } = message;
    const dup = isDuplicate ? 1 : 0;
    return this.#delivery.sendKept(
      this.#link,
      message.bytes,
      view,
      grade,
      packetId,
      retain,
      expiresAtMs,
      identifiers,
      dup,
    );
  }

  /**
   * A message in flight whose subscription is gone: by the rules of now, and for the user who came back to the session, since it may have
   * been sent to somebody else. What a subscription matches needs no question: it ends when not all that it can match may be read.
   */
  #mayRead(bytes: Buffer, grade: number): boolean {
    const permissions = this.#session?.permissions ?? null;
    const topic = bytes.toString('utf8', view.topicStart, view.topicStart + view.topicLength);
    if (permissions?.maySubscribe(topic, grade) === true) return true;
    this.#delivery.metrics.countDropped('not-allowed', 1);
    return false;
  }

  /** [MQTT-4.3.3-4], and again after each connecting [MQTT-4.4.0-1]. */
  release(packetId: number): void {
    const { connection, level } = this.#link;
    if (connection.closed) return;
    const offset = connection.reserve(4);
    writeAcknowledgement(connection.outputBuffer, offset, PacketType.PUBREL, packetId, 0, level);
    this.#delivery.metrics.countSent(PacketType.PUBREL, 1);
  }

  end({ code }: SessionError): void {
    if (code === 'SESSION_TAKEN_OVER') this.#link.end(ReasonCode.SESSION_TAKEN_OVER, 'taken-over');
    else if (code === 'SESSION_CLOSED') this.#link.end(ReasonCode.SERVER_SHUTTING_DOWN, 'shutdown');
    else this.#link.end(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, 'internal-error');
  }

  #know(subscriptions: readonly SessionSubscription[]): void {
    this.#known = subscriptions;
    this.#asPublished = subscriptions.some(({ detail }) => returnsRetained(detail));
    const identifiers = subscriptions.map(({ identifier }) => identifier).filter((identifier) => identifier !== 0);
    this.#identifiers = identifiers.length === 0 ? null : encodeSubscriptionIdentifiers(identifiers);
  }

  /** [MQTT-3.3.4-5] those of matching subscriptions with QoS 0 go along. */
  #identifiersFor({ bytes, topicStart, topicLength }: MessageView): Uint8Array | null {
    const own = this.#identifiers;
    const more = this.#session?.lowIdentifiers ?? 0;
    if (more === 0 || this.#session === null || this.#link.layout !== 5) return own;
    const topic = bytes.toString('utf8', topicStart, topicStart + topicLength);
    const found: number[] = [];
    for (const { path, filter, options } of this.#session.subscriptions.values()) {
      const isLow = options.qos === 0 && options.identifier !== 0 && knownPath(path).kind !== 'shared';
      if (isLow && matches(filter, topic)) found.push(options.identifier);
    }
    if (found.length === 0) return own;
    return Buffer.concat([own ?? noIdentifiers, encodeSubscriptionIdentifiers(found)]);
  }
}

const noIdentifiers = new Uint8Array(0);
