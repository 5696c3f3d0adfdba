/**
 * SUBSCRIBE and UNSUBSCRIBE (sections 3.8 and 3.10).
 *
 *     packet identifier (2) | level 5: properties | one or more: filter (2 + n), SUBSCRIBE: options (1)
 *
 * Connection workers; called by `parse.ts`.
 */
import type { ISubscription } from 'mqtt-packet';
import { PacketType, type ProtocolLevel } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { FrameReader } from './frame-reader.ts';
import { decode } from './mqtt-packet.ts';
import { type ParseResult, rejected, undecodable } from './parse-result.ts';
import type { Subscription } from './types.ts';

const SHARED_PREFIX = Buffer.from('$share/');

export function parseSubscribe(reader: FrameReader, level: ProtocolLevel): ParseResult {
  reader.packetId();
  const userProperties = level === 5 ? reader.properties(PacketType.SUBSCRIBE) : [];
  // [MQTT-3.8.3-2], in 3.1.1 [MQTT-3.8.3-3]: at least one filter.
  if (reader.remaining === 0) reader.fail(ReasonCode.PROTOCOL_ERROR, 'SUBSCRIBE without a topic filter');
  while (reader.ok && reader.remaining > 0) walkSubscription(reader, level);
  if (reader.fault !== null) return rejected(reader.fault);
  const packet = decode(reader.frame, level);
  if (packet instanceof Error || packet.cmd !== 'subscribe') return undecodable(packet);
  return {
    packet: {
      type: PacketType.SUBSCRIBE,
      packetId: packet.messageId ?? 0,
      subscriptionIdentifier: packet.properties?.subscriptionIdentifier,
      userProperties,
      subscriptions: packet.subscriptions.map(subscriptionOf),
    },
  };
}

function walkSubscription(reader: FrameReader, level: ProtocolLevel): void {
  const filterStart = reader.text('a topic filter');
  const filterEnd = reader.position;
  const options = reader.byte('the subscription options');
  if (!reader.ok) return;
  const reserved = options & (level === 5 ? 0xc0 : 0xfc);
  if (reserved !== 0) {
    // [MQTT-3.8.3-5], in 3.1.1 [MQTT-3.8.3-4]; 3.1 does not use these bits.
    if (level === 3) reader.patch(reader.position - 1, options & 3);
    else reader.fail(ReasonCode.MALFORMED_PACKET, 'Reserved subscription options are set');
  }
  if ((options & 3) === 3) reader.fail(ReasonCode.PROTOCOL_ERROR, 'The maximum QoS of a subscription is 3');
  if (level < 5) return;
  if ((options & 0x30) === 0x30) reader.fail(ReasonCode.PROTOCOL_ERROR, 'The retain handling of a subscription is 3');
  // [MQTT-3.8.3-4]
  if ((options & 4) !== 0 && isShared(reader.frame, filterStart, filterEnd)) {
    reader.fail(ReasonCode.PROTOCOL_ERROR, 'No Local is set on a shared subscription');
  }
}

function isShared(frame: Buffer, start: number, end: number): boolean {
  const prefixEnd = start + SHARED_PREFIX.length;
  return prefixEnd <= end && SHARED_PREFIX.compare(frame, start, prefixEnd) === 0;
}

function subscriptionOf(source: ISubscription): Subscription {
  return {
    filter: source.topic,
    qos: source.qos,
    noLocal: source.nl === true,
    retainAsPublished: source.rap === true,
    retainHandling: source.rh === 1 || source.rh === 2 ? source.rh : 0,
  };
}

export function parseUnsubscribe(reader: FrameReader, level: ProtocolLevel): ParseResult {
  reader.packetId();
  const userProperties = level === 5 ? reader.properties(PacketType.UNSUBSCRIBE) : [];
  // [MQTT-3.10.3-2]: at least one filter.
  if (reader.remaining === 0) reader.fail(ReasonCode.PROTOCOL_ERROR, 'UNSUBSCRIBE without a topic filter');
  while (reader.ok && reader.remaining > 0) reader.text('a topic filter');
  if (reader.fault !== null) return rejected(reader.fault);
  const packet = decode(reader.frame, level);
  if (packet instanceof Error || packet.cmd !== 'unsubscribe') return undecodable(packet);
  return {
    packet: {
      type: PacketType.UNSUBSCRIBE,
      packetId: packet.messageId ?? 0,
      userProperties,
      filters: packet.unsubscriptions,
    },
  };
}
