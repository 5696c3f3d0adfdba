/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP, which share one layout (sections 3.4 to 3.7).
 *
 *     packet identifier (2) | level 5, optional: reason code (1) | level 5, optional: property length, properties
 *
 * Pure; runs on connection workers, called for every QoS 1 and QoS 2 message. Nothing here allocates.
 */
import { readUint16 } from './bytes.ts';
import { headerLength, PacketType, readVariableByteInteger, remainingLengthSize } from './frame.ts';
import { PropertyScan, scanProperties } from './properties.ts';
import { ReasonCode } from './reason-code.ts';

/** What one acknowledgement says. Make one and use it again. */
export class Acknowledgement {
  packetId = 0;
  /** 0 when the packet carries none. */
  reasonCode = 0;
}

/** The longest that `writeAcknowledgement` writes, in bytes. */
export const ACKNOWLEDGEMENT_SIZE_MAX = 5;

const scan = new PropertyScan();

/**
 * Reads the acknowledgement in `buffer[frameStart, frameEnd)`, a whole frame by `frameLength`. Answers 0 and fills
 * `result`, or answers the reason code of the fault.
 */
export function decodeAcknowledgement(
  buffer: Uint8Array,
  frameStart: number,
  frameEnd: number,
  level: number,
  result: Acknowledgement,
): number {
  const type = buffer[frameStart] >> 4;
  if (!flagsValid(type, buffer[frameStart] & 0x0f, level)) return ReasonCode.MALFORMED_PACKET;
  const start = frameStart + headerLength(buffer, frameStart);
  const length = frameEnd - start;
  if (length < 2) return ReasonCode.MALFORMED_PACKET;
  const packetId = readUint16(buffer, start);
  // [MQTT-2.2.1-3] and [MQTT-2.3.1-1] of 3.1.1: no packet identifier in use is 0.
  if (packetId === 0) return ReasonCode.PROTOCOL_ERROR;
  result.packetId = packetId;
  result.reasonCode = 0;
  if (length === 2) return 0;
  if (level < 5) return ReasonCode.MALFORMED_PACKET;
  const reasonCode = buffer[start + 2];
  // [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]
  if (!reasonCodeValid(type, reasonCode)) return ReasonCode.PROTOCOL_ERROR;
  result.reasonCode = reasonCode;
  // Without a property length there are no properties (3.4.2.2.1).
  return length === 3 ? 0 : checkProperties(buffer, start + 3, frameEnd, type);
}

function checkProperties(buffer: Uint8Array, position: number, end: number, type: number): number {
  const length = readVariableByteInteger(buffer, position, end);
  if (length < 0) return ReasonCode.MALFORMED_PACKET;
  const start = position + remainingLengthSize(length);
  // The properties are the last thing in the packet, so they end where it ends.
  if (start + length !== end) return ReasonCode.MALFORMED_PACKET;
  return length === 0 ? 0 : scanProperties(buffer, start, end, type, scan);
}

/** [MQTT-2.1.3-1], [MQTT-3.6.1-1]: PUBREL has 0010, the others 0000. MQTT 3.1 also marks a repeated PUBREL with DUP. */
function flagsValid(type: number, flags: number, level: number): boolean {
  if (type !== PacketType.PUBREL) return flags === 0;
  return flags === 2 || (level === 3 && flags === 0x0a);
}

function reasonCodeValid(type: number, code: number): boolean {
  if (code === ReasonCode.SUCCESS) return true;
  if (type === PacketType.PUBREL || type === PacketType.PUBCOMP) return code === ReasonCode.PACKET_IDENTIFIER_NOT_FOUND;
  switch (code) {
    case ReasonCode.NO_MATCHING_SUBSCRIBERS:
    case ReasonCode.UNSPECIFIED_ERROR:
    case ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR:
    case ReasonCode.NOT_AUTHORIZED:
    case ReasonCode.TOPIC_NAME_INVALID:
    case ReasonCode.PACKET_IDENTIFIER_IN_USE:
    case ReasonCode.QUOTA_EXCEEDED:
    case ReasonCode.PAYLOAD_FORMAT_INVALID:
      return true;
    default:
      return false;
  }
}

/**
 * Writes an acknowledgement of `type` at `offset` and returns the offset after it: 4 bytes on success or below level 5
 * (which know no reason codes), else 5. `target` has `ACKNOWLEDGEMENT_SIZE_MAX` bytes left.
 */
export function writeAcknowledgement(
  target: Uint8Array,
  offset: number,
  type: number,
  packetId: number,
  reasonCode: number,
  level: number,
): number {
  const short = reasonCode === 0 || level < 5;
  target[offset] = (type << 4) | (type === PacketType.PUBREL ? 2 : 0);
  target[offset + 1] = short ? 2 : 3;
  target[offset + 2] = packetId >>> 8;
  target[offset + 3] = packetId;
  if (short) return offset + 4;
  target[offset + 4] = reasonCode;
  return offset + 5;
}
