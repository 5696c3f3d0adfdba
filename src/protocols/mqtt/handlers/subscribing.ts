/** SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11). Thread: the connection's worker. */

import { defaultTenant } from '../../../core/ports/access.ts';
import { filterError } from '../../../core/routing/topic.ts';
import { literalValue } from '../../../core/routing/topic-rewrite.ts';
import { innerFilterError } from '../../../core/tenants/tenant-names.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { RetainedDelivery } from '../delivery/delivery.ts';
import { reasonName } from '../errors.ts';
import { subscriptionLimit } from '../limits/subscription-limits.ts';
import { generateSuback, generateUnsuback } from '../packets/generate.ts';
import type { Subscription as Requested, SubscribePacket, UnsubscribePacket } from '../packets/types.ts';
import { RetainedReplay, type RetainedRequest } from '../state/retained-replay.ts';
import type { Session } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { innerPath, knownPath, parsePath, plainPath } from '../state/subscription-path.ts';
import { subscribeToStream } from '../streams/stream-subscribing.ts';
import type { ClientHost, ClientState } from './client-state.ts';

/** Subscribes to every filter and answers when every publication reaches all of them [MQTT-3.8.4-1]. */
export function onSubscribe(client: ClientState, session: Session, packet: SubscribePacket): void {
  const retained: RetainedRequest[] = [];
  // One for the loop itself, so that the answer leaves after the last filter was looked at.
  let unfinished = 1;
  const reasonCodes: number[] = [];
  const granted: number[] = [];
  const answer = (failure: number): void => {
    if (client.connection.closed) return;
    for (const index of failure === 0 ? [] : granted) reasonCodes[index] = failure;
    client.send(generateSuback({ packetId: packet.packetId, reasonCodes }, client.level));
    session.feeds?.begin();
    if (failure === 0) sendRetained(client, retained);
  };
  const finished = (): void => {
    unfinished--;
    if (unfinished > 0 || client.connection.closed) return;
    if (session.isKept && granted.length > 0) client.whenStored(session, answer);
    else answer(0);
  };
  const identifier = packet.subscriptionIdentifier ?? 0;
  for (const [index, asked] of packet.subscriptions.entries()) {
    const plain = client.rewrite === null ? asked : renamed(client, asked);
    const refusal = plain === null ? ReasonCode.TOPIC_FILTER_INVALID : refusalOf(client, session, plain);
    reasonCodes.push(refusal === 0 ? asked.qos : refusal);
    if (plain === null || refusal !== 0) continue;
    const requested = inTenant(client, plain);
    unfinished++;
    const subscribed = (isGranted: boolean): void => {
      if (isGranted) {
        granted.push(index);
        subscribe(client, session, requested, identifier, retained, finished);
      } else {
        reasonCodes[index] = ReasonCode.QUOTA_EXCEEDED;
        finished();
      }
    };
    const { kind } = knownPath(requested.filter);
    if (kind === 'stream') {
      subscribeToStream(client, session, requested, identifier, packet.userProperties, (reasonCode) => {
        reasonCodes[index] = reasonCode;
        if (reasonCode < 0x80) granted.push(index);
        finished();
      });
    } else if (kind === 'exclusive') claim(client, session, requested.filter, subscribed);
    else subscribed(true);
  }
  finished();
}

/** The subscription under the name that the rewrite rules give it; null when they make no name of it. */
function renamed(client: ClientState, asked: Requested): Requested | null {
  const filter = renamedPath(client, asked.filter);
  return filter === null ? null : { ...asked, filter };
}

/** From here on the subscription has its inner name. */
function inTenant({ names }: ClientState, requested: Requested): Requested {
  return names === null ? requested : { ...requested, filter: innerPath(names, requested.filter) };
}

/** Prefixes such as `$share/<group>/` stay; the filter behind them is renamed. */
function renamedPath(client: ClientState, path: string): string | null {
  const parts = parsePath(path);
  const { rewrite } = client;
  // Refused as it is; and rules rename topics, not streams.
  if (parts === null || rewrite === null || parts.kind === 'stream') return path;
  const filter = rewrite.filter(parts.filter, client.values);
  // A prefix is the client's to write, and no rule's.
  if (filter === null || parsePath(filter)?.kind !== 'plain') return null;
  return parts.prefix + filter;
}

/**
 * Makes the session the one that subscribes to an exclusive filter, until it ends or unsubscribes. `decided` is told
 * false when another session of the node has the filter.
 */
function claim(client: ClientState, session: Session, path: string, decided: (isGranted: boolean) => void): void {
  const { registry } = client.host;
  const { filter } = knownPath(path);
  client.claimed ??= new Set();
  const { claimed } = client;
  claimed.add(path);
  registry.exclusive.claim(filter, session.clientId, (isGranted) => {
    // Unsubscribed, or gone, while other workers were asked.
    const isWanted = claimed.delete(path) && client.session === session;
    if (isGranted && !isWanted && !session.subscriptions.has(path))
      registry.exclusive.release(filter, session.clientId);
    decided(isGranted && isWanted);
  });
}

/** Subscriptions that the settings give every client. Called when CONNACK is on its way. */
export function subscribeAutomatically(client: ClientState, session: Session): void {
  const tenant = client.permissions?.identity.tenant ?? defaultTenant;
  const { autoSubscribe } = client.host.tenants.of(tenant);
  if (autoSubscribe.length === 0) return;
  const retained: RetainedRequest[] = [];
  let unfinished = 1;
  const finished = (): void => {
    unfinished--;
    if (unfinished > 0 || client.connection.closed) return;
    session.feeds?.begin();
    sendRetained(client, retained);
  };
  for (const rule of autoSubscribe) {
    const filter = filled(rule.filter, client);
    if (filter === null) continue;
    const plain = { ...rule, filter } as Requested;
    const refusal = refusalOf(client, session, plain);
    if (refusal !== 0) {
      client.host.log.warn('Cannot subscribe a client automatically', {
        clientId: client.permissions?.identity.clientId,
        filter,
        reason: reasonName(refusal),
      });
      continue;
    }
    const requested = inTenant(client, plain);
    unfinished++;
    const subscribed = (isGranted: boolean): void => {
      if (isGranted) subscribe(client, session, requested, 0, retained, finished);
      else finished();
    };
    const { kind } = knownPath(filter);
    if (kind === 'stream') subscribeToStream(client, session, requested, 0, [], finished);
    else if (kind === 'exclusive') claim(client, session, requested.filter, subscribed);
    else subscribed(true);
  }
  finished();
}

/** The filter of a rule with the client's own values, or null when one of them is no part of a level. */
function filled(filter: string, client: ClientState): string | null {
  let isWhole = true;
  const text = filter.replaceAll(/\$\{([^}]*)\}/g, (_, name: string) => {
    const value = literalValue(client.values(name));
    if (value === null) isWhole = false;
    return value ?? '';
  });
  return isWhole ? text : null;
}

function maySubscribe({ permissions, host }: ClientState, filter: string, qos: number): boolean {
  if (permissions === null) return false;
  if (permissions.maySubscribe(filter, qos)) return true;
  host.access.audit({ kind: 'subscribe-denied', identity: permissions.identity, subject: filter });
  return false;
}

/** 0, or the reason why this filter is refused. */
function refusalOf(client: ClientState, session: Session, { filter: path, noLocal, qos }: Requested): number {
  const { names } = client;
  const { settings } = client.host;
  const parts = parsePath(path);
  if (parts === null || filterError(parts.filter) !== undefined) return ReasonCode.TOPIC_FILTER_INVALID;
  const { kind, filter } = parts;
  // Streams belong to the default tenant.
  if (names !== null && kind === 'stream') return ReasonCode.TOPIC_FILTER_INVALID;
  if (names !== null && innerFilterError(names.inner(filter)) !== undefined) return ReasonCode.TOPIC_FILTER_INVALID;
  if (kind === 'exclusive' && !settings.exclusiveSubscriptions) return ReasonCode.TOPIC_FILTER_INVALID;
  // Nobody may, so that it is no question of rights: the failure without a reason, the same in all versions.
  if (settings.subscribeDenied.includes(filter)) return ReasonCode.UNSPECIFIED_ERROR;
  if (!maySubscribe(client, filter, qos)) return ReasonCode.NOT_AUTHORIZED; // Below MQTT 5 it is 0x80.
  const beyond = session.subscriptions.has(innerPath(names, path)) ? null : subscriptionLimit(client, session, filter);
  if (beyond !== null) {
    client.host.limits.exceeded(beyond);
    return beyond.startsWith('topic') ? ReasonCode.TOPIC_FILTER_INVALID : ReasonCode.QUOTA_EXCEEDED;
  }
  // The parser refuses the whole packet for "no local" on `$share/` [MQTT-3.8.3-4]; `$queue/` is no part of MQTT.
  return noLocal && kind === 'shared' ? ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR : 0;
}

function subscribe(
  client: ClientState,
  session: Session,
  requested: Requested,
  identifier: number,
  retained: RetainedRequest[],
  done: () => void,
): void {
  const { qos, noLocal, retainAsPublished, retainHandling, filter: path } = requested;
  const options: SubscriptionOptions = { qos, noLocal, retainAsPublished, retainHandling, identifier };
  const { kind, group: name, filter } = knownPath(path);
  const group = kind === 'shared' ? name : null;
  const { registry } = client.host;
  const isNew = registry.subscribe(session, path, group, filter, options, done);
  client.host.system.events.subscribed(client, client.names === null ? path : plainPath(path), options, isNew);
  // Retained messages are not sent to shared subscriptions (4.8.2); otherwise as Retain Handling says [MQTT-3.3.1-9..11].
  if (group !== null || retainHandling === 2 || (retainHandling === 1 && !isNew)) return;
  retained.push({ filter, qos, identifier });
}

function sendRetained(client: ClientState, retained: readonly RetainedRequest[]): void {
  if (retained.length === 0) return;
  const { host } = client;
  client.pendingRetained ??= new RetainedReplay(host.router.retained, (request) => presentValues(host, request));
  for (const request of retained) client.pendingRetained.add(request);
  client.sendPendingRetained();
}

/** What the server itself tells a new subscriber at once. */
function presentValues({ system }: ClientHost, { filter, identifier }: RetainedRequest): RetainedDelivery[] {
  const found: RetainedDelivery[] = [];
  system.visitValues(filter, (frame) => found.push({ frame, layout: 5, qos: 0, retain: 1, identifier, expiresAtS: 0 }));
  return found;
}

/** [MQTT-3.10.4-4] answered even when nothing was subscribed. */
export function onUnsubscribe(client: ClientState, session: Session, packet: UnsubscribePacket): void {
  const reasonCodes = packet.filters.map((asked) => {
    const plain = client.rewrite === null ? asked : (renamedPath(client, asked) ?? asked);
    const parts = parsePath(plain);
    const isValid = parts !== null && filterError(parts.filter) === undefined;
    // What is not valid, or another tenant's inner name, is nobody's.
    if (parts === null || !isValid) return ReasonCode.TOPIC_FILTER_INVALID;
    if (client.names !== null && parts.kind === 'stream') return ReasonCode.NO_SUBSCRIPTION_EXISTED;
    const path = innerPath(client.names, plain);
    // One that is still being opened ends as well.
    const wasClaimed = client.claimed?.delete(path) === true || session.feeds?.unsubscribed(path) === true;
    client.pendingRetained?.drop(knownPath(path).filter);
    if (client.host.registry.unsubscribe(session, path) || wasClaimed) {
      client.host.system.events.unsubscribed(client, plain);
      return ReasonCode.SUCCESS;
    }
    return ReasonCode.NO_SUBSCRIPTION_EXISTED;
  });
  const answer = (failure: number): void => {
    if (client.connection.closed) return;
    const codes =
      failure === 0 ? reasonCodes : reasonCodes.map((code) => (code === ReasonCode.SUCCESS ? failure : code));
    client.send(generateUnsuback({ packetId: packet.packetId, reasonCodes: codes }, client.level));
  };
  if (session.isKept) client.whenStored(session, answer);
  else answer(0);
}
