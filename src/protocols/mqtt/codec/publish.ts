/**
 * PUBLISH (section 3.3): read where it lies in the received bytes, and written into a caller's buffer.
 *
 *     topic (2 + n) | QoS 1 and 2: packet identifier (2) | level 5: property length, properties | payload (the rest)
 *
 * Pure; runs on connection workers, called once or more per message. Nothing here allocates.
 */
import { type Bytes, copyBytes, readUint16, writeUint16 } from './bytes.ts';
import {
  headerLength,
  PacketType,
  readVariableByteInteger,
  remainingLengthSize,
  writeRemainingLength,
} from './frame.ts';
import { PropertyId, PropertyScan, scanProperties } from './properties.ts';
import { ReasonCode } from './reason-code.ts';

/** Where the parts of one PUBLISH lie and what its numbers are. Make one and use it again; offsets are absolute. */
export class PublishView {
  /** Offset of the fixed header and offset after the last byte of the payload. */
  start = 0;
  end = 0;
  /** The four flag bits of the fixed header, and each of them. `retain` and `dup` are 0 or 1. */
  flags = 0;
  qos = 0;
  retain = 0;
  dup = 0;
  topicStart = 0;
  topicLength = 0;
  /** 0 with QoS 0. */
  packetId = 0;
  /** The properties without their length; 0 bytes below level 5. */
  propertiesStart = 0;
  propertiesLength = 0;
  payloadStart = 0;
  payloadLength = 0;
  /** 0 when there is none. */
  topicAlias = 0;
  /** Message Expiry Interval in seconds, -1 when there is none. */
  expiryS = -1;
  /** Payload Format Indicator: 1 says that the payload is UTF-8 text. 0 also when it is absent. */
  payloadFormat = 0;
  /** A client that sends one commits a protocol error [MQTT-3.3.4-6]; servers send them. */
  hasSubscriptionIdentifier = false;
  /** Bytes of the properties that are for the receiver: all but alias, expiry and subscription identifiers. */
  keptPropertiesLength = 0;
}

const scan = new PropertyScan();

/**
 * Reads the PUBLISH in `buffer[frameStart, frameEnd)`, a whole frame by `frameLength`, into `view`. Answers 0, or a
 * reason code; `view` is then undefined. The topic's characters are not looked at: that is done once per distinct
 * topic by whoever caches routes. Whether an alias is within its maximum is for the session to say.
 */
export function decodePublish(
  buffer: Uint8Array,
  frameStart: number,
  frameEnd: number,
  level: number,
  view: PublishView,
): number {
  const flags = buffer[frameStart] & 0x0f;
  const qos = (flags >> 1) & 3;
  // [MQTT-3.3.1-4] both QoS bits set; [MQTT-3.3.1-2] DUP with QoS 0.
  if (qos === 3 || (qos === 0 && flags >= 8)) return ReasonCode.MALFORMED_PACKET;
  const topicLengthStart = frameStart + headerLength(buffer, frameStart);
  const topicStart = topicLengthStart + 2;
  if (topicStart > frameEnd) return ReasonCode.MALFORMED_PACKET;
  const topicLength = readUint16(buffer, topicLengthStart);
  let position = topicStart + topicLength;
  let packetId = 0;
  if (qos > 0) {
    if (position + 2 > frameEnd) return ReasonCode.MALFORMED_PACKET;
    packetId = readUint16(buffer, position);
    // [MQTT-2.2.1-3], in 3.1.1 [MQTT-2.3.1-1]
    if (packetId === 0) return ReasonCode.PROTOCOL_ERROR;
    position += 2;
  } else if (position > frameEnd) {
    return ReasonCode.MALFORMED_PACKET;
  }
  view.start = frameStart;
  view.end = frameEnd;
  view.flags = flags;
  view.qos = qos;
  view.retain = flags & 1;
  view.dup = flags >> 3;
  view.topicStart = topicStart;
  view.topicLength = topicLength;
  view.packetId = packetId;
  if (level < 5) {
    // [MQTT-4.7.3-1] a topic has at least one character.
    if (topicLength === 0) return ReasonCode.MALFORMED_PACKET;
    withoutProperties(view, position);
  } else if (position < frameEnd && buffer[position] === 0) {
    position++;
    if (topicLength === 0) return ReasonCode.PROTOCOL_ERROR;
    withoutProperties(view, position);
  } else {
    const code = withProperties(buffer, position, frameEnd, view);
    if (code !== 0) return code;
    position = view.propertiesStart + view.propertiesLength;
  }
  view.payloadStart = position;
  view.payloadLength = frameEnd - position;
  return 0;
}

function withoutProperties(view: PublishView, position: number): void {
  view.propertiesStart = position;
  view.propertiesLength = 0;
  view.topicAlias = 0;
  view.expiryS = -1;
  view.payloadFormat = 0;
  view.hasSubscriptionIdentifier = false;
  view.keptPropertiesLength = 0;
}

function withProperties(buffer: Uint8Array, position: number, end: number, view: PublishView): number {
  const length = readVariableByteInteger(buffer, position, end);
  if (length < 0) return ReasonCode.MALFORMED_PACKET;
  const start = position + remainingLengthSize(length);
  if (start + length > end) return ReasonCode.MALFORMED_PACKET;
  const code = scanProperties(buffer, start, start + length, PacketType.PUBLISH, scan);
  if (code !== 0) return code;
  view.propertiesStart = start;
  view.propertiesLength = length;
  view.topicAlias = scan.number(PropertyId.TOPIC_ALIAS, 0);
  view.expiryS = scan.number(PropertyId.MESSAGE_EXPIRY_INTERVAL, -1);
  view.payloadFormat = scan.number(PropertyId.PAYLOAD_FORMAT_INDICATOR, 0);
  view.hasSubscriptionIdentifier = scan.subscriptionIdentifierCount > 0;
  view.keptPropertiesLength =
    length - scan.subscriptionIdentifierBytes - (view.topicAlias > 0 ? 3 : 0) - (view.expiryS >= 0 ? 5 : 0);
  // "It is a Protocol Error if the Topic Name is zero length and there is no Topic Alias" (3.3.2.1).
  return view.topicLength === 0 && view.topicAlias === 0 ? ReasonCode.PROTOCOL_ERROR : 0;
}

/** The Remaining Length of a PUBLISH with parts of these lengths in bytes; `propertiesLength` counts at level 5 only. */
export function publishRemainingLength(
  topicLength: number,
  qos: number,
  level: number,
  propertiesLength: number,
  payloadLength: number,
): number {
  const properties = level === 5 ? remainingLengthSize(propertiesLength) + propertiesLength : 0;
  return 2 + topicLength + (qos > 0 ? 2 : 0) + properties + payloadLength;
}

/** Bytes of the whole frame with parts of these lengths. */
export function publishSize(
  topicLength: number,
  qos: number,
  level: number,
  propertiesLength: number,
  payloadLength: number,
): number {
  const remaining = publishRemainingLength(topicLength, qos, level, propertiesLength, payloadLength);
  return 1 + remainingLengthSize(remaining) + remaining;
}

/** Writes the fixed header and the length of the topic; returns the offset where the topic goes. */
export function writePublishHeader(
  target: Uint8Array,
  offset: number,
  flags: number,
  remainingLength: number,
  topicLength: number,
): number {
  target[offset] = (PacketType.PUBLISH << 4) | flags;
  return writeUint16(target, writeRemainingLength(target, offset + 1, remainingLength), topicLength);
}

/** Flag bits of the fixed header; `dup` and `retain` are 0 or 1. */
export function publishFlags(qos: number, dup: number, retain: number): number {
  return (dup << 3) | (qos << 1) | retain;
}

/**
 * Writes a whole PUBLISH from its parts and returns the offset after it; `publishSize` says how many bytes `target`
 * needs. `properties` are encoded ones without their length, `null` for none; below level 5 they are left out.
 */
export function writePublish(
  target: Uint8Array,
  offset: number,
  flags: number,
  level: number,
  topic: Bytes,
  packetId: number,
  properties: Bytes | null,
  payload: Bytes,
): number {
  const qos = (flags >> 1) & 3;
  const propertiesLength = properties === null ? 0 : properties.length;
  const remaining = publishRemainingLength(topic.length, qos, level, propertiesLength, payload.length);
  let position = writePublishHeader(target, offset, flags, remaining, topic.length);
  position = copyBytes(topic, 0, topic.length, target, position);
  if (qos > 0) position = writeUint16(target, position, packetId);
  if (level === 5) {
    position = writeRemainingLength(target, position, propertiesLength);
    if (properties !== null) position = copyBytes(properties, 0, propertiesLength, target, position);
  }
  return copyBytes(payload, 0, payload.length, target, position);
}
