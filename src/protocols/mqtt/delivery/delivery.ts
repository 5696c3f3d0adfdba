/**
 * Sends messages to clients: windows, packet identifiers, waiting, expiry. One per worker; sessions are passed in.
 *
 * A slow client never delays others: its output is bounded in bytes; QoS 0 beyond the bound is dropped and counted,
 * QoS 1 and 2 wait in the session, bounded by count and bytes.
 */
import { Run } from '../../../core/broker/run.ts';
import { tenantPrefixLength } from '../../../core/tenants/tenant-names.ts';
import { writeAcknowledgement } from '../codec/acknowledgements.ts';
import { frameLength, PacketType } from '../codec/frame.ts';
import { decodePublish, type PublishView } from '../codec/publish.ts';
import { encodeSubscriptionIdentifiers, rewrite, rewrittenSize } from '../codec/publish-rewrite.ts';
import type { MqttMetrics } from '../metrics.ts';
import { MessageQueue } from '../state/message-queue.ts';
import { Flight } from '../state/outgoing-window.ts';
import type { Link, Session } from '../state/session.ts';
import type { StoredMessage } from '../state/stored-message.ts';
import { knownPath } from '../state/subscription-path.ts';
import type { SlowSubscriptions } from '../system/slow-subscriptions.ts';
import { RunEncoder, type Variant } from './run-encoder.ts';
import { fillRunWithFrame, nextOwnSequence } from './run-of-frame.ts';

export interface DeliveryLimits {
  readonly outputBytesMax: number;
  readonly queuedMessagesMax: number;
  readonly queuedBytesMax: number;
}

export class Delivery {
  readonly encoder = new RunEncoder();
  readonly metrics: MqttMetrics;
  /** Measures how long messages take; null: nobody wants to know. */
  slow: SlowSubscriptions | null = null;
  private readonly limits: DeliveryLimits;

  constructor(metrics: MqttMetrics, limits: DeliveryLimits) {
    this.metrics = metrics;
    this.limits = limits;
  }

  isFull(link: Link): boolean {
    return link.connection.outputBytes > this.limits.outputBytesMax;
  }

  /** Beyond what deliveries leave there: with answers that the client does not read. */
  isOverfull(link: Link): boolean {
    return link.connection.outputBytes > this.limits.outputBytesMax * 2;
  }

  // ---- QoS 0

  /** Sends the run to a connected client, or drops it whole when the client reads too slowly. */
  deliverQos0(run: Run, link: Link, retain: number, identifiers: Uint8Array | null): void {
    if (this.isFull(link)) {
      this.metrics.countDropped('output-full', run.count);
      return;
    }
    if (this.slow !== null && link.connection.outputBytes > 0) this.slow.queued(link, run.topicBytes);
    if (identifiers === null && link.aliases === null) {
      const variant = this.encoder.variant(run, link.layout, 0, retain);
      if (variant.frameBytesMax <= link.packetBytesMax) {
        link.connection.write(variant.buffer, variant.start, variant.end);
        this.metrics.countMessagesSent(0, run.count);
        return;
      }
    }
    const { encoder } = this;
    for (let position = run.start; position < run.end; ) {
      const next = position + frameLength(run.buffer, position, run.end);
      decodePublish(run.buffer, position, next, run.layout, encoder.view);
      this.sendView(link, run.buffer, 0, 0, retain, encoder.view.expiryS, identifiers, 0);
      position = next;
    }
  }

  // ---- QoS 1 and 2

  /**
   * Sends as much of the run as the window allows; the rest waits. Order is kept. `share` is the path of a shared
   * subscription, whose messages are kept until they are acknowledged since another member may have to take them.
   */
  deliverAcknowledged(
    run: Run,
    session: Session,
    qos: 1 | 2,
    retain: number,
    identifiers: Uint8Array | null,
    share: string | null,
  ): void {
    const { link } = session;
    let sendCount = 0;
    if (link !== null && session.queueLength === 0 && !this.isFull(link)) {
      sendCount = Math.min(session.room, run.count);
    }
    let position = run.start;
    if (link !== null && sendCount > 0) {
      const plain =
        identifiers === null && link.aliases === null && share === null && !session.keepsMessages && this.slow === null;
      const variant = plain ? this.encoder.variant(run, link.layout, qos, retain) : null;
      if (variant !== null && variant.frameBytes > 0 && variant.frameBytes <= link.packetBytesMax) {
        this.sendUniform(variant, session, link, qos, sendCount);
        if (sendCount === run.count) return;
        for (let index = 0; index < sendCount; index++) position += frameLength(run.buffer, position, run.end);
      } else {
        position = this.sendEach(run, session, link, qos, retain, identifiers, share, sendCount);
      }
    }
    this.storeFrom(run, position, session, qos, retain, identifiers, share);
  }

  /** The fast path: one copy of all frames, then the identifiers are filled in. */
  private sendUniform(variant: Variant, session: Session, link: Link, qos: 1 | 2, count: number): void {
    const { frameBytes, idOffset, start } = variant;
    const { connection } = link;
    const { window } = session;
    const state = qos === 1 ? Flight.AWAITS_PUBACK : Flight.AWAITS_PUBREC;
    const length = frameBytes * count;
    if (connection.closed) return;
    const offset = connection.reserve(length);
    const output = connection.outputBuffer;
    variant.buffer.copy(output, offset, start, start + length);
    for (let at = offset + idOffset, index = 0; index < count; index++, at += frameBytes) {
      const id = window.take(state, null);
      output[at] = id >>> 8;
      output[at + 1] = id;
    }
    this.metrics.countMessagesSent(qos, count);
  }

  private sendEach(
    run: Run,
    session: Session,
    link: Link,
    qos: 1 | 2,
    retain: number,
    identifiers: Uint8Array | null,
    share: string | null,
    count: number,
  ): number {
    let position = run.start;
    for (let index = 0; index < count; index++) {
      const next = position + frameLength(run.buffer, position, run.end);
      this.sendStored(session, link, this.storedOf(run, position, next, qos, retain, identifiers, share));
      position = next;
    }
    return position;
  }

  private storeFrom(
    run: Run,
    from: number,
    session: Session,
    qos: 1 | 2,
    retain: number,
    identifiers: Uint8Array | null,
    share: string | null,
  ): void {
    for (let position = from; position < run.end; ) {
      const next = position + frameLength(run.buffer, position, run.end);
      // Before it is kept: what a subscriber does not read would be copied for nothing, message after message.
      if (this.hasRoom(session, next - position)) {
        this.enqueue(session, this.storedOf(run, position, next, qos, retain, identifiers, share));
      } else this.metrics.countDropped('queue-full', 1);
      position = next;
    }
  }

  private hasRoom({ queue }: Session, bytes: number): boolean {
    const { queuedMessagesMax, queuedBytesMax } = this.limits;
    return (queue?.length ?? 0) < queuedMessagesMax && (queue?.bytes ?? 0) + bytes <= queuedBytesMax;
  }

  private storedOf(
    run: Run,
    position: number,
    next: number,
    qos: 1 | 2,
    retain: number,
    identifiers: Uint8Array | null,
    share: string | null,
  ): StoredMessage {
    let expiresAtMs = 0;
    if (run.detailD !== 0) {
      decodePublish(run.buffer, position, next, run.layout, this.encoder.view);
      const { expiryS } = this.encoder.view;
      if (expiryS >= 0) expiresAtMs = Date.now() + expiryS * 1000;
    }
    const bytes = this.encoder.keep(run);
    const start = position - run.start;
    const layout = run.layout === 5 ? 5 : 4;
    return {
      layout,
      bytes,
      start,
      end: start + next - position,
      qos,
      retain,
      identifiers,
      expiresAtMs,
      share,
      epoch: run.epoch,
    };
  }

  /** The message as a publication of its own, for another member of its group; null when its time is over. */
  runOf(message: StoredMessage): Run | null {
    const remainingS = remainingLife(message.expiresAtMs);
    if (remainingS === 0) {
      this.metrics.countDropped('expired', 1);
      return null;
    }
    const { view, options } = this.encoder;
    decodePublish(message.bytes, message.start, message.end, message.layout, view);
    options.level = message.layout;
    options.qos = view.qos;
    options.retain = view.retain;
    options.dup = 0;
    options.packetId = view.packetId;
    options.topic = null;
    options.expiryS = cappedLife(remainingS, view.expiryS);
    options.subscriptionIdentifiers = null;
    options.topicAlias = 0;
    options.emptyTopic = false;
    const frame = Buffer.allocUnsafeSlow(rewrittenSize(view, options));
    rewrite(frame, 0, message.bytes, view, options);
    const run = new Run();
    fillRunWithFrame(run, frame, message.layout);
    const topicBytes = message.bytes.subarray(view.topicStart, view.topicStart + view.topicLength);
    const tenant = message.share === null ? '' : tenantPrefixOf(message.share);
    run.topicBytes = tenant === '' ? topicBytes : Buffer.concat([Buffer.from(tenant), topicBytes]);
    run.topic = run.topicBytes.toString();
    run.sequence = nextOwnSequence();
    return run;
  }

  /** Lets a message wait in the session; when the session's limits are reached it is dropped and counted. */
  enqueue(session: Session, message: StoredMessage): void {
    if (!this.hasRoom(session, message.end - message.start)) {
      this.metrics.countDropped('queue-full', 1);
      return;
    }
    session.queue ??= new MessageQueue();
    this.slow?.waits(message);
    session.queue.push(message);
  }

  /** Sends what waits, as far as window and output allow. */
  pump(session: Session): void {
    const { link, queue, online } = session;
    if (link === null) return;
    while (queue !== null && queue.length > 0 && session.room > 0 && !this.isFull(link) && !link.connection.closed) {
      this.sendStored(session, link, queue.shift() as StoredMessage);
    }
    if (queue?.length === 0) session.queue = null;
    // What waits in the logs comes behind it.
    if (session.queue === null) online?.resume();
  }

  /** Sends one message with a new identifier; an expired one or one that is too large for the client is dropped. */
  private sendStored(session: Session, link: Link, message: StoredMessage): void {
    const state = message.qos === 1 ? Flight.AWAITS_PUBACK : Flight.AWAITS_PUBREC;
    const remainingS = remainingLife(message.expiresAtMs);
    if (remainingS === 0) {
      this.metrics.countDropped('expired', 1);
      return;
    }
    const id = session.window.take(state, session.keepsMessages || message.share !== null ? message : null);
    if (!this.sendMessage(link, message, id, 0, remainingS)) session.window.free(id);
    else this.slow?.sent(session, id, message.bytes, this.encoder.view, this.slow.arrivalOf(message));
  }

  private sendMessage(link: Link, message: StoredMessage, id: number, dup: number, remainingS: number): boolean {
    decodePublish(message.bytes, message.start, message.end, message.layout, this.encoder.view);
    return this.sendView(link, message.bytes, message.qos, id, message.retain, remainingS, message.identifiers, dup);
  }

  /** Sends the message that `encoder.view` describes in `source`; false when it is too large for the client [MQTT-3.1.2-24]. */
  private sendView(
    link: Link,
    source: Buffer,
    qos: number,
    packetId: number,
    retain: number,
    expiryS: number,
    identifiers: Uint8Array | null,
    dup: number,
    view = this.encoder.view,
  ): boolean {
    const { options } = this.encoder;
    const { connection } = link;
    if (connection.closed) return false;
    options.level = link.layout;
    options.qos = qos;
    options.retain = retain;
    options.dup = dup;
    options.packetId = packetId;
    options.topic = null;
    options.expiryS = cappedLife(expiryS, view.expiryS);
    options.subscriptionIdentifiers = link.layout === 5 ? identifiers : null;
    options.topicAlias = 0;
    options.emptyTopic = false;
    const { aliases } = link;
    const size = rewrittenSize(view, options);
    if (size > link.packetBytesMax) {
      this.metrics.countDropped('too-large', 1);
      return false;
    }
    // An alias takes three bytes, and its property length or the remaining length can take one more each.
    if (aliases !== null && size + 5 <= link.packetBytesMax) {
      options.topicAlias = aliases.lookup(source.toString('utf8', view.topicStart, view.topicStart + view.topicLength));
      options.emptyTopic = options.topicAlias > 0 && aliases.isKnown;
    }
    const offset = connection.reserve(rewrittenSize(view, options));
    rewrite(connection.outputBuffer, offset, source, view, options);
    this.metrics.countMessagesSent(qos, 1);
    return true;
  }

  /** Sends a message of the logs, which `view` describes in `source`; false when it is too large for the client. */
  sendKept(
    link: Link,
    source: Buffer,
    view: PublishView,
    qos: number,
    packetId: number,
    retain: number,
    expiresAtMs: number,
    identifiers: Uint8Array | null,
    dup: number,
  ): boolean {
    const isSent = this.sendView(
      link,
      source,
      qos,
      packetId,
      retain,
      // One that has been sent already is sent again, whatever its age.
      expiresAtMs === 0 ? -1 : Math.max(1, remainingLife(expiresAtMs)),
      identifiers,
      dup,
      view,
    );
    // When it came is not known here: its time begins as it is read.
    if (isSent && dup === 0 && qos > 0 && link.session)
      this.slow?.sent(link.session, packetId, source, view, performance.now());
    return isSent;
  }

  /**
   * Sends a message whose sender knows that there is room, and has it again when it is lost. Answers its packet identifier, 0 with QoS 0, -1 when
   * it is too large for the client or its time is over.
   */
  deliverOwn(session: Session, link: Link, frame: Buffer, qos: 0 | 1, identifier: number, expiresAtMs: number): number {
    const identifiers = identifier === 0 ? null : encodeSubscriptionIdentifiers([identifier]);
    const remainingS = remainingLife(expiresAtMs);
    if (remainingS === 0) return -1;
    if (qos === 0) {
      decodePublish(frame, 0, frame.length, 5, this.encoder.view);
      return this.sendView(link, frame, 0, 0, 0, remainingS, identifiers, 0) ? 0 : -1;
    }
    const own = {
      layout: 5,
      bytes: frame,
      start: 0,
      end: frame.length,
      qos,
      retain: 0,
      share: null,
      epoch: 0,
    } as const;
    const message = { ...own, identifiers, expiresAtMs };
    const id = session.window.take(Flight.AWAITS_PUBACK, session.keepsMessages ? message : null);
    if (this.sendMessage(link, message, id, 0, remainingS)) return id;
    session.window.free(id);
    return -1;
  }

  /** After the client came back: what was in flight goes again, in order, with DUP [MQTT-4.4.0-1]. */
  resend(session: Session, link: Link): void {
    const unsent: number[] = [];
    session.window.forEach((id, state) => {
      if (state === Flight.AWAITS_PUBCOMP) {
        const offset = link.connection.reserve(4);
        writeAcknowledgement(link.connection.outputBuffer, offset, PacketType.PUBREL, id, 0, link.level);
        this.metrics.countSent(PacketType.PUBREL, 1);
      } else {
        unsent.push(id);
      }
    });
    session.unsent = unsent;
    this.resendSome(session, link);
  }

  /** The Receive Maximum of this connection can be smaller than that of the former one [MQTT-3.3.4-9]. */
  resendSome(session: Session, link: Link): void {
    const { unsent, window } = session;
    if (unsent === null) return;
    while (unsent.length > 0 && window.used - unsent.length < window.limit) {
      const id = unsent.shift() as number;
      const message = window.messageOf(id);
      if (message !== null && this.sendMessage(link, message, id, 1, remainingLife(message.expiresAtMs))) continue;
      // Too large for the client now, or not known any more. One that was acknowledged unasked is free already.
      if (window.stateOf(id) !== Flight.FREE) window.free(id);
    }
    if (unsent.length === 0) session.unsent = null;
  }

  // ---- retained

  /**
   * Sends a retained message to a new subscription. False when the output or the window is full: try again after the drain, or an
   * acknowledgement.
   */
  deliverRetained(session: Session, link: Link, message: RetainedDelivery): boolean {
    if (this.isFull(link)) return false;
    if (message.qos === 0) this.sendRetained(link, message);
    else if (session.queueLength > 0 || session.unsent !== null || session.room <= 0) return false;
    else this.sendStored(session, link, storedRetained(message));
    return true;
  }

  /** The same when a live message of the topic follows: it is sent, or waits in the session, before that one. */
  deliverRetainedAhead(session: Session, link: Link, message: RetainedDelivery): void {
    if (this.deliverRetained(session, link, message)) return;
    if (message.qos > 0) this.enqueue(session, storedRetained(message));
    else if (this.isOverfull(link)) this.metrics.countDropped('output-full', 1);
    else this.sendRetained(link, message);
  }

  /** With QoS 0. */
  private sendRetained(link: Link, { frame, layout, retain, identifier, expiresAtS }: RetainedDelivery): void {
    decodePublish(frame, 0, frame.length, layout, this.encoder.view);
    const remainingS = remainingLife(expiresAtS * 1000);
    if (remainingS === 0) this.metrics.countDropped('expired', 1);
    else this.sendView(link, frame, 0, 0, retain, remainingS, identifiersOf(identifier), 0);
  }
}

function storedRetained(message: RetainedDelivery): StoredMessage {
  const { frame, layout, retain, identifier, expiresAtS } = message;
  const qos = message.qos === 2 ? 2 : 1;
  const identifiers = identifiersOf(identifier);
  const place = { layout, bytes: frame, start: 0, end: frame.length };
  return { ...place, qos, retain, identifiers, expiresAtMs: expiresAtS * 1000, share: null, epoch: 0 };
}

function identifiersOf(identifier: number): Uint8Array | null {
  return identifier === 0 ? null : encodeSubscriptionIdentifiers([identifier]);
}

export interface RetainedDelivery {
  readonly frame: Buffer;
  readonly layout: 4 | 5;
  readonly qos: 0 | 1 | 2;
  readonly retain: number;
  /** Subscription identifier, 0 for none. */
  readonly identifier: number;
  readonly expiresAtS: number;
}

/** What stands in front of the inner names of topics of the tenant whose shared subscription it is. */
function tenantPrefixOf(share: string): string {
  const { filter } = knownPath(share);
  return filter.slice(0, tenantPrefixLength(filter));
}

/** Seconds that a message has still to live [MQTT-3.3.2-6]: -1 for ever, 0 none. */
function remainingLife(expiresAtMs: number): number {
  if (expiresAtMs === 0) return -1;
  return Math.max(0, Math.ceil((expiresAtMs - Date.now()) / 1000));
}

/** Never more than its publisher gave it [MQTT-3.3.2-6]: retained messages expire at whole seconds, and clocks are set back. */
function cappedLife(remainingS: number, givenS: number): number {
  return givenS >= 0 && givenS < remainingS ? givenS : remainingS;
}
