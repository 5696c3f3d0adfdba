/**
 * What a session in memory has of shared groups that are kept: its places in them, and the packet identifiers of their messages. When it
 * goes, what it has not acknowledged goes to other members. Null for nearly every session; on the session's worker.
 */
import type { GivenMessage } from '../../../core/sessions/groups/group-taker.ts';
import type { TransientLink, TransientMember } from '../../../core/sessions/groups/transient-member.ts';
import type { MessageView } from '../../../core/sessions/message-record.ts';
import { PublishView } from '../codec/publish.ts';
import { encodeSubscriptionIdentifiers } from '../codec/publish-rewrite.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { Flight } from '../state/outgoing-window.ts';
import type { Session, SharePlaces } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { isKeptRetained, viewKept } from './kept-message.ts';

interface ShareFlight {
  readonly member: TransientMember;
  readonly partition: number;
  readonly offset: number;
}

const view = new PublishView();

export class SessionShares implements SharePlaces {
  readonly #session: Session;
  readonly #delivery: Delivery;
  readonly #members = new Map<string, TransientMember>();
  readonly #flights = new Map<number, ShareFlight>();
  /** Of subscriptions that have ended: the client still has messages of theirs. */
  readonly #retired = new Set<TransientMember>();

  constructor(session: Session, delivery: Delivery) {
    this.#session = session;
    this.#delivery = delivery;
  }

  get isEmpty(): boolean {
    return this.#members.size === 0 && this.#retired.size === 0;
  }

  /** Takes the place that `join` makes with the link that it is given; leaves a former one. */
  join(path: string, options: SubscriptionOptions, join: (link: TransientLink) => TransientMember): void {
    this.leave(path);
    const { identifier, retainAsPublished } = options;
    const identifiers = identifier === 0 ? null : encodeSubscriptionIdentifiers([identifier]);
    const member: TransientMember = join({
      hasRoom: (_bytes, grade) => this.#hasRoom(grade),
      deliver: (message, kept) => this.#deliver(member, message, kept, identifiers, retainAsPublished),
    });
    this.#members.set(path, member);
  }

  leave(path: string): void {
    const member = this.#members.get(path);
    if (member === undefined) return;
    this.#members.delete(path);
    if (this.#session.link === null || member.heldCount === 0) this.#end(member);
    else {
      // What it was sent is delivered to the end; of QoS 2 nobody else may get it.
      member.retire();
      this.#retired.add(member);
    }
  }

  /** The session ends: what it has not acknowledged goes to others. */
  close(): void {
    for (const member of [...this.#members.values(), ...this.#retired]) this.#end(member);
    this.#members.clear();
  }

  #end(member: TransientMember): void {
    this.#retired.delete(member);
    member.leave();
    for (const [packetId, flight] of this.#flights) if (flight.member === member) this.#flights.delete(packetId);
  }

  #endRetired(member: TransientMember): void {
    if (this.#retired.has(member) && member.heldCount === 0) this.#end(member);
  }

  acknowledged(packetId: number): void {
    const flight = this.#flights.get(packetId);
    this.#flights.delete(packetId);
    if (flight !== undefined) {
      flight.member.settle(flight.partition, flight.offset);
      this.#endRetired(flight.member);
    }
    this.pump();
  }

  received(packetId: number, stored: () => void): boolean {
    const flight = this.#flights.get(packetId);
    if (flight === undefined) return false;
    return flight.member.receive(flight.partition, flight.offset, () => {
      if (this.#flights.get(packetId) === flight) this.#flights.delete(packetId);
      stored();
      this.#endRetired(flight.member);
    });
  }

  pump(): void {
    for (const member of this.#members.values()) member.resume();
  }

  #hasRoom(grade: number): boolean {
    const { link, queueLength, unsent, room } = this.#session;
    if (link === null || link.connection.closed || this.#delivery.isFull(link) || link.hasPendingRetained) return false;
    return grade === 0 || (queueLength === 0 && unsent === null && room > 0);
  }

  #deliver(
    member: TransientMember,
    { partition, offset, grade, isDuplicate }: GivenMessage,
    message: MessageView,
    identifiers: Uint8Array | null,
    asPublished: boolean,
  ): boolean {
    const { link, window, permissions } = this.#session;
    if (link === null) return false;
    viewKept(message, view);
    const { bytes, expiresAtMs } = message;
    const topic = bytes.toString('utf8', view.topicStart, view.topicStart + view.topicLength);
    if (permissions?.maySubscribe(topic, grade) !== true) {
      this.#delivery.metrics.countDropped('not-allowed', 1);
      return false;
    }
    const retain = asPublished && isKeptRetained(message) ? 1 : 0;
    const id = grade === 0 ? 0 : window.take(grade === 1 ? Flight.AWAITS_PUBACK : Flight.AWAITS_PUBREC, null);
    if (grade > 0) this.#flights.set(id, { member, partition, offset });
    const dup = isDuplicate ? 1 : 0;
    if (this.#delivery.sendKept(link, bytes, view, grade, id, retain, expiresAtMs, identifiers, dup)) return true;
    if (grade > 0) window.free(id);
    this.#flights.delete(id);
    return false;
  }
}
