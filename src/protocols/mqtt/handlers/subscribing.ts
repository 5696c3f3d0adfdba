/** SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11). Thread: the connection's worker. */
import type { Router } from '../../../core/broker/router.ts';
import { filterError } from '../../../core/routing/topic.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { RetainedDelivery } from '../delivery/delivery.ts';
import { generateSuback, generateUnsuback } from '../packets/generate.ts';
import type { Subscription as Requested, SubscribePacket, UnsubscribePacket } from '../packets/types.ts';
import { RetainedReplay } from '../state/retained-replay.ts';
import type { Session } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import type { ClientState, RetainedRequest } from './client-state.ts';
import { groupOf } from './session-registry.ts';

/** Subscribes to every filter and answers when every publication reaches all of them [MQTT-3.8.4-1]. */
export function onSubscribe(client: ClientState, session: Session, packet: SubscribePacket): void {
  const retained: RetainedRequest[] = [];
  // One for the loop itself, so that the answer leaves after the last filter was looked at.
  let unfinished = 1;
  const reasonCodes: number[] = [];
  const finished = (): void => {
    unfinished--;
    if (unfinished > 0 || client.connection.closed) return;
    client.send(generateSuback({ packetId: packet.packetId, reasonCodes }, client.level));
    sendRetained(client, retained);
  };
  for (const requested of packet.subscriptions) {
    const refusal = refusalOf(client, session, requested);
    reasonCodes.push(refusal === 0 ? requested.qos : refusal);
    if (refusal !== 0) continue;
    unfinished++;
    subscribe(client, session, requested, packet.subscriptionIdentifier ?? 0, retained, finished);
  }
  finished();
}

/** 0, or the reason why this filter is refused. */
function refusalOf(client: ClientState, session: Session, { filter: path, noLocal }: Requested): number {
  const { settings } = client.host;
  const filter = filterOf(path);
  if (filter === null || filterError(filter) !== undefined) return ReasonCode.TOPIC_FILTER_INVALID;
  // Nobody may, so that it is no question of rights: the failure without a reason, the same in all versions.
  if (settings.subscribeDenied.includes(filter)) return ReasonCode.UNSPECIFIED_ERROR;
  if (session.subscriptions.size >= settings.subscriptionsMax && !session.subscriptions.has(path))
    return ReasonCode.QUOTA_EXCEEDED;
  // The parser refuses the whole packet for "no local" on a shared subscription [MQTT-3.8.3-4].
  return noLocal && groupOf(path) !== null ? ReasonCode.PROTOCOL_ERROR : 0;
}

/** The filter behind `$share/<group>/`, or null when the group's name is not valid [MQTT-4.8.2-1], [MQTT-4.8.2-2]. */
function filterOf(path: string): string | null {
  if (!path.startsWith('$share/')) return path;
  const end = path.indexOf('/', 7);
  if (end <= 7 || /[+#]/.test(path.slice(7, end))) return null;
  return path.slice(end + 1);
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
  const group = groupOf(path);
  const filter = filterOf(path) as string;
  const { registry } = client.host;
  const isNew = registry.subscribe(session, path, group, filter, options, done);
  // Retained messages are not sent to shared subscriptions (4.8.2); otherwise as Retain Handling says [MQTT-3.3.1-9..11].
  if (group !== null || retainHandling === 2 || (retainHandling === 1 && !isNew)) return;
  retained.push({ filter, qos, identifier });
}

function sendRetained(client: ClientState, retained: readonly RetainedRequest[]): void {
  if (retained.length === 0) return;
  const { router } = client.host;
  client.pendingRetained ??= new RetainedReplay((request: RetainedRequest) => matchRetained(router, request));
  for (const request of retained) client.pendingRetained.add(request);
  client.sendPendingRetained();
}

function matchRetained(router: Router, { filter, qos, identifier }: RetainedRequest): RetainedDelivery[] {
  const found: RetainedDelivery[] = [];
  router.matchRetained(filter, (_topic, value) => {
    const published = (value.detailA >> 1) & 3;
    found.push({
      frame: value.frame,
      layout: value.layout === 5 ? 5 : 4,
      qos: Math.min(published, qos) as 0 | 1 | 2,
      retain: 1, // [MQTT-3.3.1-8] of 3.1.1
      identifier,
      expiresAtS: value.expiresAtS,
    });
  });
  return found;
}

/** [MQTT-3.10.4-4] answered even when nothing was subscribed. */
export function onUnsubscribe(client: ClientState, session: Session, packet: UnsubscribePacket): void {
  const reasonCodes = packet.filters.map((path) => {
    if (client.host.registry.unsubscribe(session, path)) return ReasonCode.SUCCESS;
    const filter = filterOf(path);
    const isValid = filter !== null && filterError(filter) === undefined;
    return isValid ? ReasonCode.NO_SUBSCRIPTION_EXISTED : ReasonCode.TOPIC_FILTER_INVALID;
  });
  client.send(generateUnsuback({ packetId: packet.packetId, reasonCodes }, client.level));
}
