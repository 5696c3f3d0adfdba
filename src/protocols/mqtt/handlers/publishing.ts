/**
 * PUBLISH from a client (section 3.3) and the acknowledgements that answer it. The hot path: frames are parsed where they
 * lie, consecutive ones with the same topic, flags and properties are routed as one run. Thread: the connection's worker.
 *
 * Cost per message of a run: one pass over fixed header, topic and properties; per run: a route check, what `Router`
 * and `Delivery` say, one write of all acknowledgements. Nothing is allocated. What stored sessions want is in `durable/kept-publishing.ts`.
 */
import type { Route } from '../../../core/broker/route.ts';
import { Run } from '../../../core/broker/run.ts';
import type { SessionSlots } from '../../../core/ports/session-slots.ts';
import { TOPIC_BYTES_MAX } from '../../../core/routing/topic.ts';
import type { TopicRewrite } from '../../../core/routing/topic-rewrite.ts';
import { writeAcknowledgement } from '../codec/acknowledgements.ts';
import { frameLength, headerLength, PacketType } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import { PublishRewrite, rewrite, rewrittenSize } from '../codec/publish-rewrite.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { takeDelayedRun } from '../delayed/delayed-run.ts';
import { delayedPrefix } from '../delayed/delayed-topic.ts';
import { fillRunWithView } from '../delivery/run-of-frame.ts';
import {
  answerInOrder,
  hasTooManyPending,
  Keeping,
  keepingOf,
  repeatKept,
  storeRun,
} from '../durable/kept-publishing.ts';
import type { PendingAnswer } from '../durable/pending-answers.ts';
import type { Session } from '../state/session.ts';
import { copyRun } from '../streams/late-answers.ts';
import type { ClientState, Renaming } from './client-state.ts';
import { retainedRefusal, retainRun } from './retaining.ts';

/** Longest run, bytes: it fits a chunk of output. Small rings and long topics make it shorter, see `runCountLimit`. */
const runBytesMax = 60_000;
/** What a byte of a topic costs the rules that may rename it, as bytes of publications. */
const renamingWork = 32;
/** Most publications in a run. */
const runCountMax = 4_096;

/** One per worker. */
export class Publishing {
  private readonly view = new PublishView();
  private readonly run = new Run();
  private readonly ids = new Uint16Array(runCountMax);
  /** Stamp of the run in which a QoS 2 identifier was seen: no identifier comes twice in one. */
  private readonly seen = new Uint32Array(65_536);
  private stamp = 0;
  private readonly aliased = new PublishRewrite();
  private scratch = Buffer.allocUnsafeSlow(131_072);
  /** Set with the route: the frames go on with another topic than they have; the rules make no valid topic of theirs. */
  private isWrittenAnew = false;
  private isRefused = false;
  /** Set by `extend`: offset after the last frame of the run, its length and count. */
  private runEnd = 0;
  private runCount = 0;
  private runFrameBytes = 0;

  /**
   * Handles the PUBLISH at `position`, which ends at `frameEnd`, and those behind it that can go with it. Answers the
   * offset of the next frame; `position` itself when another worker has to catch up first or the connection ended.
   */
  onPublish(client: ClientState, buffer: Buffer, position: number, frameEnd: number, end: number): number {
    const { view } = this;
    const code = decodePublish(buffer, position, frameEnd, client.level, view);
    if (code !== 0) {
      client.fail(code);
      return position;
    }
    if (view.hasSubscriptionIdentifier) {
      client.fail(ReasonCode.PROTOCOL_ERROR, 'A client sends no subscription identifier'); // [MQTT-3.3.4-6]
      return position;
    }
    const { router, slots, bindings } = client.host;
    const { rewrite } = client;
    const route = rewrite === null ? this.routeOf(client, buffer) : this.renamedRouteOf(client, buffer, rewrite);
    if (route === null) return position;
    if (view.qos === 2 && isRepeated(client, view.packetId)) return this.repeated(client, route, frameEnd);
    this.extend(client, buffer, position, frameEnd, end, route.topicBytes.length);
    const { run } = this;
    if (this.isWrittenAnew) {
      this.writeAnew(client.layout, buffer, position, route);
      client.workBytes += run.end - run.start;
    } else {
      fillRunWithView(run, buffer, client.layout, view);
      run.end = this.runEnd;
      run.count = this.runCount;
      run.detailB = this.runFrameBytes;
    }
    run.publisher = client.session;
    if (this.isRefused || isBeyondLimits(client, route)) return this.notAllowed(client, ReasonCode.TOPIC_NAME_INVALID);
    if (route.name.charCodeAt(0) === 0x24) return this.hidden(client, route, position);
    if (client.permissions?.mayPublish(route.name, view.qos, view.retain === 1) !== true)
      return this.denied(client, route);
    const keeping = slots === null || view.qos === 0 ? Keeping.NONE : keepingOf(slots, route, client.session, view.qos);
    if (slots !== null && keeping === Keeping.WAIT) return this.waitForSlots(client, slots, position);
    if (keeping === Keeping.REFUSE) return this.refused(client);
    const bound = bindings === null ? null : bindings.of(route);
    if (bindings !== null && bound !== null && view.qos > 0 && !bindings.hasRoom(bound))
      return this.waitFor(client, position, (resume) => bindings.whenRoom(bound, resume));
    if (view.retain === 1) {
      const refusal = retainedRefusal(client, route, run, view);
      if (refusal !== 0) return this.refused(client, refusal);
      if (!retainRun(client, route, run, view)) return this.suspend(client, position);
    }
    if (!router.publish(route, run)) return this.suspend(client, position);
    client.countReceived(PacketType.PUBLISH, this.runCount);
    client.host.metrics.countMessagesReceived(view.qos, this.runCount);
    const stored =
      slots !== null && keeping === Keeping.STORE ? this.store(client, slots, route, bound !== null) : null;
    const isLate =
      bindings !== null && bound !== null && copyRun(client, bindings, bound, run, this.ids, view.qos, stored);
    if (stored === null && !isLate && view.qos > 0) this.acknowledge(client, 0);
    return this.runEnd;
  }

  private routeOf(client: ClientState, buffer: Buffer): Route | null {
    const { view } = this;
    this.isWrittenAnew = view.topicAlias > 0;
    const { router, settings } = client.host;
    if (view.topicAlias > settings.topicAliasMaximum) {
      client.fail(ReasonCode.TOPIC_ALIAS_INVALID); // [MQTT-3.3.2-8]
      return null;
    }
    if (view.topicLength === 0) {
      const aliased = client.aliasRoutes?.get(view.topicAlias);
      if (aliased === undefined) {
        client.fail(ReasonCode.PROTOCOL_ERROR, 'Topic alias is not known');
        return null;
      }
      return router.currentOf(aliased);
    }
    let { route } = client;
    if (route === null || !router.isRouteOf(route, buffer, view.topicStart, view.topicLength)) {
      route = routeFor(client, buffer, view.topicStart, view.topicLength);
      if (route === null) {
        client.fail(ReasonCode.TOPIC_NAME_INVALID); // [MQTT-3.3.2-2]
        return null;
      }
      client.route = route;
    }
    if (view.topicAlias > 0) {
      client.aliasRoutes ??= new Map();
      client.aliasRoutes.set(view.topicAlias, route);
    }
    return route;
  }

  /** As `routeOf`, where rules may give the topic another name; publishers that repeat their topic are asked once. */
  private renamedRouteOf(client: ClientState, buffer: Buffer, rules: TopicRewrite): Route | null {
    const { view } = this;
    const own = this.routeOf(client, buffer);
    this.isRefused = false;
    // An alias stands for what its topic became.
    if (own === null || view.topicLength === 0) return own;
    let { renaming } = client;
    if (renaming === null || renaming.from !== own.topicBytes) {
      renaming = this.rename(client, own, rules);
      client.renaming = renaming;
    }
    if (renaming.outcome === 'same') return own;
    this.isRefused = renaming.outcome === 'refused';
    this.isWrittenAnew = true;
    // The alias would stand for the name that the topic was not to keep.
    const route = client.host.router.currentOf(renaming.route);
    if (this.isRefused) client.aliasRoutes?.delete(view.topicAlias);
    else if (view.topicAlias > 0) client.aliasRoutes?.set(view.topicAlias, route);
    return route;
  }

  private rename(client: ClientState, own: Route, rules: TopicRewrite): Renaming {
    const from = own.topicBytes;
    client.workBytes += from.length * renamingWork;
    const name = rules.topic(own.name, client.values);
    if (name === own.name) return { from, route: own, outcome: 'same' };
    const bytes = Buffer.from(name ?? '');
    const route = routeFor(client, bytes, 0, bytes.length);
    return route === null ? { from, route: own, outcome: 'refused' } : { from, route, outcome: 'renamed' };
  }

  /** Finds the frames behind the first that differ from it in payload and packet identifier only. */
  private extend(
    client: ClientState,
    buffer: Buffer,
    position: number,
    frameEnd: number,
    end: number,
    topicBytes: number,
  ): void {
    const { view, ids } = this;
    const ringBytes = client.host.router.runBytesMax(topicBytes);
    const bytesMax = Math.min(runBytesMax, ringBytes >>> 1);
    const countMax = runCountLimit(this.isWrittenAnew, frameEnd - position, topicBytes, bytesMax, ringBytes);
    const first = buffer[position];
    const header = view.topicStart - 2 - position;
    const bodyStart = position + header;
    const prefixLength = view.payloadStart - bodyStart;
    const idAt = view.qos === 0 ? -1 : view.topicStart + view.topicLength - bodyStart;
    const firstLength = frameEnd - position;
    let next = frameEnd;
    let count = 1;
    let uniform = true;
    ids[0] = view.packetId;
    this.stamp = (this.stamp + 1) >>> 0; // As wide as what it is compared with.
    this.seen[view.packetId] = this.stamp;
    // A retained message is kept one by one.
    const limit = view.retain === 1 ? position : Math.min(end, position + bytesMax);
    while (next < limit && count < countMax && buffer[next] === first) {
      let length = firstLength;
      let body = next + header;
      if (!sameBytes(buffer, position + 1, next + 1, header - 1)) {
        length = frameLength(buffer, next, end);
        if (length <= 0) break;
        body = next + headerLength(buffer, next);
      }
      if (next + length > limit || body + prefixLength > next + length) break;
      if (length > client.inputBytesMax) break;
      if (!this.samePrefix(client, buffer, bodyStart, body, prefixLength, idAt, count)) break;
      if (length !== firstLength) uniform = false;
      count++;
      next += length;
    }
    this.runEnd = next;
    this.runCount = count;
    this.runFrameBytes = uniform ? firstLength : 0;
  }

  private samePrefix(
    client: ClientState,
    buffer: Buffer,
    one: number,
    other: number,
    length: number,
    idAt: number,
    index: number,
  ): boolean {
    if (idAt < 0) return sameBytes(buffer, one, other, length);
    if (!sameBytes(buffer, one, other, idAt)) return false;
    const after = idAt + 2;
    if (!sameBytes(buffer, one + after, other + after, length - after)) return false;
    const id = (buffer[other + idAt] << 8) | buffer[other + idAt + 1];
    if (id === 0) return false; // Malformed: reported when it is first in turn.
    if (this.view.qos === 2) {
      if (isRepeated(client, id) || this.seen[id] === this.stamp) return false;
      this.seen[id] = this.stamp;
    }
    this.ids[index] = id;
    return true;
  }

  /** Frames with a topic alias or another name than the route's: they are written with the topic of the route. */
  private writeAnew(layout: 4 | 5, buffer: Buffer, position: number, route: Route): void {
    const { view, aliased, run, runEnd, runCount } = this;
    aliased.level = layout;
    aliased.qos = view.qos;
    aliased.retain = view.retain;
    aliased.dup = 0;
    aliased.topic = route.nameBytes;
    let written = 0;
    let firstBytes = 0;
    let uniform = true;
    for (let at = position; at < runEnd; ) {
      const next = at + frameLength(buffer, at, runEnd);
      decodePublish(buffer, at, next, layout, view);
      aliased.packetId = view.packetId;
      aliased.expiryS = view.expiryS;
      const size = rewrittenSize(view, aliased);
      this.makeScratch(written + size, written);
      rewrite(this.scratch, written, buffer, view, aliased);
      if (firstBytes === 0) firstBytes = size;
      if (size !== firstBytes) uniform = false;
      written += size;
      at = next;
    }
    decodePublish(this.scratch, 0, firstBytes, layout, view);
    fillRunWithView(run, this.scratch, layout, view);
    run.end = written;
    run.count = runCount;
    run.detailB = uniform ? firstBytes : 0;
  }

  private makeScratch(needed: number, used: number): void {
    if (needed <= this.scratch.length) return;
    const grown = Buffer.allocUnsafeSlow(needed * 2);
    this.scratch.copy(grown, 0, 0, used);
    this.scratch = grown;
  }

  /** Back-pressure: nothing more is read from this publisher until the other workers have caught up. */
  private suspend(client: ClientState, position: number): number {
    const { connection } = client;
    connection.pauseReading();
    client.host.router.whenRoom(() => connection.resumeReading());
    return position;
  }

  /** The same until the publication can be stored, or until it is known whether it has to be. */
  private waitForSlots({ connection }: ClientState, slots: SessionSlots, position: number): number {
    connection.pauseReading();
    slots.whenReady(() => connection.resumeReading());
    return position;
  }

  /** It has to be stored, and cannot be: nobody gets it, and before MQTT 5 the connection ends without an answer. */
  private refused(client: ClientState, reasonCode: number = ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR): number {
    client.countReceived(PacketType.PUBLISH, this.runCount);
    if (client.level < 5) {
      client.fail(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, 'A publication cannot be stored');
      return this.runEnd;
    }
    const type = this.view.qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
    this.writeAcknowledgements(client, type, reasonCode);
    return this.runEnd;
  }

  /** Answers what waits for it; null when nothing does. */
  private store(client: ClientState, slots: SessionSlots, route: Route, isCopied: boolean): PendingAnswer | null {
    const { session } = client;
    const { qos } = this.view;
    if (session === null) return null;
    if (qos === 2 && session.online === null)
      for (let index = 0; index < this.runCount; index++) session.receivedIds.add(this.ids[index]);
    const answer = storeRun(client, slots, this.run, route, this.ids, qos, isCopied);
    if (!hasTooManyPending(client) && !this.hasTooManyReceived(client, session)) return answer;
    client.host.limits.exceeded('unfinished-messages');
    client.fail(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED);
    return answer;
  }

  /** [MQTT-3.3.4-9] beyond Receive Maximum the connection ends; before MQTT 5 there is none. */
  private hasTooManyReceived({ level, host }: ClientState, { receivedIds }: Session): boolean {
    return level === 5 && receivedIds.size > host.settings.receiveMaximum;
  }

  /** A QoS 2 message that came before is acknowledged again and not passed on [MQTT-4.3.3-10]. */
  private repeated(client: ClientState, route: Route, frameEnd: number): number {
    client.countReceived(PacketType.PUBLISH);
    const { session } = client;
    if (session?.online?.hasReceipt(this.view.packetId) === true) {
      repeatKept(client, session, route, this.view.packetId);
      return frameEnd;
    }
    this.ids[0] = this.view.packetId;
    this.runCount = 1;
    this.writeAcknowledgements(client, PacketType.PUBREC, 0);
    return frameEnd;
  }

  /** Topics that begin with `$` are the server's (4.7.2), but for those that say when. */
  private hidden(client: ClientState, route: Route, position: number): number {
    const { delayed, access } = client.host;
    const { qos } = this.view;
    if (!route.topic.startsWith(delayedPrefix)) return this.notAllowed(client, ReasonCode.NOT_AUTHORIZED);
    if (delayed === null) return this.notAllowed(client, ReasonCode.TOPIC_NAME_INVALID);
    if (!delayed.hasRoom) return this.waitFor(client, position, (resume) => delayed.whenRoom(resume));
    const reasonCode = takeDelayedRun(client, delayed, route.topic, this.run, this.ids, qos);
    if (reasonCode !== 0) {
      const next = this.notAllowed(client, reasonCode);
      const isCut = reasonCode === ReasonCode.NOT_AUTHORIZED && access.deniedPublish === 'disconnect';
      if (isCut && (qos === 0 || client.level < 5)) client.fail(reasonCode, 'The publication is not allowed');
      return next;
    }
    client.countReceived(PacketType.PUBLISH, this.runCount);
    client.host.metrics.countMessagesReceived(qos, this.runCount);
    return this.runEnd;
  }

  /** Nothing more is read from this publisher until `whenRoom` calls back. */
  private waitFor({ connection }: ClientState, position: number, whenRoom: (resume: () => void) => void): number {
    connection.pauseReading();
    whenRoom(() => connection.resumeReading());
    return position;
  }

  /** By the rules. QoS 0 has no answer, and before MQTT 5 none can say why. */
  private denied(client: ClientState, route: Route): number {
    const { permissions, host } = client;
    if (permissions !== null) {
      host.access.audit({ kind: 'publish-denied', identity: permissions.identity, subject: route.name });
    }
    const next = this.notAllowed(client, ReasonCode.NOT_AUTHORIZED);
    if (host.access.deniedPublish === 'disconnect' && (this.view.qos === 0 || client.level < 5)) {
      client.fail(ReasonCode.NOT_AUTHORIZED, 'The publication is not allowed');
    }
    return next;
  }

  private notAllowed(client: ClientState, reasonCode: number): number {
    client.countReceived(PacketType.PUBLISH, this.runCount);
    client.host.metrics.countDropped('not-allowed', this.runCount);
    const type = this.view.qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
    // A PUBREC with an error ends the exchange, so its identifier is not remembered (4.3.3).
    if (this.view.qos === 1 || (this.view.qos === 2 && client.level === 5)) {
      this.writeAcknowledgements(client, type, reasonCode);
    } else if (this.view.qos === 2) {
      this.acknowledge(client, 0);
    }
    return this.runEnd;
  }

  private acknowledge(client: ClientState, reasonCode: number): void {
    if (this.view.qos === 1) {
      this.writeAcknowledgements(client, PacketType.PUBACK, reasonCode);
      return;
    }
    const { session, host } = client;
    if (session === null) return;
    for (let index = 0; index < this.runCount; index++) session.receivedIds.add(this.ids[index]);
    if (this.hasTooManyReceived(client, session)) {
      host.limits.exceeded('unfinished-messages');
      client.fail(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED);
      return;
    }
    this.writeAcknowledgements(client, PacketType.PUBREC, 0);
  }

  /** One for each identifier of the run, in order [MQTT-4.6.0-2]. */
  private writeAcknowledgements(client: ClientState, type: number, reasonCode: number): void {
    const { connection, level } = client;
    if (connection.closed) return; // A delivery of this very run can have ended it.
    if (client.pendingAnswers !== null && !client.pendingAnswers.isEmpty) {
      answerInOrder(client, type, this.ids, this.runCount, level < 5 ? 0 : reasonCode);
      return;
    }
    const size = reasonCode === 0 || level < 5 ? 4 : 5;
    const count = this.runCount;
    let at = connection.reserve(count * size);
    const output = connection.outputBuffer;
    for (let index = 0; index < count; index++)
      at = writeAcknowledgement(output, at, type, this.ids[index], reasonCode, level);
    client.host.metrics.countSent(type, count);
  }
}

/**
 * How many publications may go as one run. A frame with an alias is short, but becomes as long as its topic; and the
 * members of a shared group on other workers get each publication in a record of its own, with topic and head.
 */
function runCountLimit(
  isWrittenAnew: boolean,
  frameBytes: number,
  topicBytes: number,
  bytesMax: number,
  ringBytes: number,
): number {
  const shared = Math.floor((ringBytes - bytesMax) / (topicBytes + 128));
  if (!isWrittenAnew) return Math.min(runCountMax, shared);
  return Math.min(runCountMax, shared, Math.max(1, Math.floor(bytesMax / (frameBytes + topicBytes))));
}

/**
 * The route of a topic as the client names it, or null when it is no valid one. Topics that begin with `$` are the server's in every tenant:
 * their routes have no tenant, and are not published on.
 */
function routeFor({ host, names }: ClientState, buffer: Buffer, start: number, length: number): Route | null {
  const { router } = host;
  if (names === null || (length > 0 && buffer[start] === 0x24)) return router.routeOf(buffer, start, length);
  const { prefixBytes } = names;
  const innerLength = prefixBytes.length + length;
  if (length === 0 || innerLength > TOPIC_BYTES_MAX) return null;
  prefixBytes.copy(innerTopic, 0);
  buffer.copy(innerTopic, prefixBytes.length, start, start + length);
  return router.innerRouteOf(innerTopic, 0, innerLength);
}

/** A topic with its tenant, for the time of a look-up. */
const innerTopic = Buffer.allocUnsafeSlow(TOPIC_BYTES_MAX);

/** The topic is longer or deeper than the settings allow; nobody is looked at while they allow all that there is. */
function isBeyondLimits({ host }: ClientState, route: Route): boolean {
  if (!host.topicLimits.isNarrow) return false;
  const limit = host.topicLimits.beyondOnRoute(route);
  if (limit !== null) host.limits.exceeded(limit);
  return limit !== null;
}

/** A QoS 2 message that came before and was not released. */
function isRepeated({ session }: ClientState, packetId: number): boolean {
  if (session === null) return false;
  return session.receivedIds.has(packetId) || session.online?.hasReceipt(packetId) === true;
}

function sameBytes(buffer: Buffer, one: number, other: number, length: number): boolean {
  for (let index = 0; index < length; index++) if (buffer[one + index] !== buffer[other + index]) return false;
  return true;
}
