/**
 * Publishes messages that did not come as a PUBLISH of a connected client: wills, and what the broker says or passes on itself. One per
 * worker. Rules are for the caller to ask; nobody can be held back, so what waits for room is bounded by the router.
 * Thread: connection workers.
 */
import type { Router } from '../../../core/broker/router.ts';
import { Run } from '../../../core/broker/run.ts';
import { defaultTenant } from '../../../core/ports/access.ts';
import type { SessionSlots } from '../../../core/ports/session-slots.ts';
import type { OnlineSession } from '../../../core/sessions/online-session.ts';
import { innerName } from '../../../core/tenants/tenant-names.ts';
import { joined } from '../../../std/joined.ts';
import { fillRunWithFrame } from '../delivery/run-of-frame.ts';
import { keptMessages } from '../durable/kept-message.ts';
import { reasonName } from '../errors.ts';
import { generatePublish } from '../packets/generate.ts';
import type { MessageProperties } from '../packets/types.ts';
import type { Session } from '../state/session.ts';
import type { Bindings, BoundTopic } from '../streams/bindings.ts';

export interface OwnMessage {
  /** A valid topic name, without the tenant. */
  readonly topic: string;
  /** Whose topic it is; absent: that of the publisher, or the default one. */
  readonly tenant?: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly properties: MessageProperties;
  /** Whose message it is, for "no local"; null for the broker's own. */
  readonly publisher: Session | null;
  /** Name of the session, where it is not in memory: for "no local" of what is stored. */
  readonly publisherName?: string;
  /**
   * Of the session of this name, which has no receipt of this packet identifier yet: it is stored with the message when everything else is
   * done with it, so that whoever finds the receipt knows that nothing is missing.
   */
  readonly receipt?: MessageReceipt;
}

export interface MessageReceipt {
  readonly session: OnlineSession;
  readonly packetId: number;
}

export class OwnPublisher {
  private readonly router: Router;
  private readonly run = new Run();
  private readonly slots: SessionSlots | null;
  /** Set when the worker starts; null when nothing is copied. */
  bindings: Bindings | null = null;

  constructor(router: Router, slots: SessionSlots | null) {
    this.router = router;
    this.slots = slots;
  }

  /** `done` is told, not inside of the call, when a publisher of this message could be sent its acknowledgement, or why it could not. */
  publish(message: OwnMessage, finished?: (error: Error | null) => void): void {
    const { topic: name, payload, qos, retain, properties, publisher, receipt } = message;
    const tenant = message.tenant ?? publisher?.permissions?.identity.tenant ?? defaultTenant;
    const topic = innerName(tenant, name);
    const bound = this.bindings?.boundTo(topic) ?? null;
    const frame = generatePublish({ topic: name, payload, qos, retain, packetId: qos === 0 ? 0 : 1, properties }, 5);
    const finish = receipt === undefined ? finished : this.proving(topic, frame, message, receipt, finished);
    const told = bound === null || finish === undefined ? finish : joined(2, finish);
    // A retained one has arrived when its value is stored, too.
    const isWaitedFor = retain && qos > 0 && told !== undefined;
    const done = isWaitedFor ? joined(2, told) : told;
    if (retain) {
      const expiresAtS = properties.expiryS === undefined ? 0 : Math.ceil(Date.now() / 1000) + properties.expiryS;
      const stored = isWaitedFor && done !== undefined ? done : null;
      this.router.retainOwned(topic, this.fill(frame, message), payload.length === 0, expiresAtS, tenant, stored);
    }
    this.router.publishOwned(topic, this.fill(frame, message));
    if (bound !== null) this.copy(bound, frame, message, told);
    const { slots } = this;
    // Before it is known what stored sessions want, each of them may want it.
    if (receipt === undefined && qos > 0 && slots !== null && (!slots.isSettled || slots.interest.wants(topic)))
      this.keep(slots, topic, frame, message, done);
    else if (done !== undefined) queueMicrotask(() => done(null));
  }

  /** What is to be told when all but stored sessions have the message: they and the receipt come last. */
  private proving(
    topic: string,
    frame: Buffer,
    message: OwnMessage,
    { session, packetId }: MessageReceipt,
    finished: (error: Error | null) => void = () => undefined,
  ): (error: Error | null) => void {
    return (error) => {
      if (error !== null || session.isClosed) {
        finished(error ?? new Error('Cannot store a message: its session was closed'));
        return;
      }
      const run = this.fill(frame, message);
      run.topicBytes = Buffer.from(topic);
      keptMessages(run, message.publisherName ?? '', Date.now(), (kept) =>
        session.publish(packetId, topic, kept, finished),
      );
    };
  }

  /** Into streams. */
  private copy(bound: BoundTopic, frame: Buffer, message: OwnMessage, told?: (error: Error | null) => void): void {
    const { topic, publisher } = message;
    const run = this.fill(frame, message);
    run.topic = topic;
    run.topicBytes = Buffer.from(topic);
    const named =
      publisher === null ? null : { clientId: publisher.clientId, user: publisher.permissions?.identity.user ?? '' };
    const isWaiting = this.bindings?.copy(bound, run, named, (reasonCode) => {
      told?.(reasonCode === 0 ? null : new Error(`Cannot copy it into a stream: ${reasonName(reasonCode)}`));
    });
    if (isWaiting !== true && told !== undefined) queueMicrotask(() => told(null));
  }

  /** For stored sessions. A message that cannot be stored was delivered to the others all the same. */
  private keep(
    slots: SessionSlots,
    topic: string,
    frame: Buffer,
    message: OwnMessage,
    done?: (error: Error | null) => void,
  ): void {
    const { publisher, publisherName = publisher?.clientId ?? '' } = message;
    const run = this.fill(frame, message);
    run.topicBytes = Buffer.from(topic);
    keptMessages(run, publisherName, Date.now(), (kept) => slots.keep(kept, (error) => done?.(error)));
  }

  private fill(frame: Buffer, { publisher }: OwnMessage): Run {
    fillRunWithFrame(this.run, frame, 5);
    this.run.publisher = publisher;
    return this.run;
  }
}
