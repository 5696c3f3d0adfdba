/**
 * The properties of MQTT 5 (section 2.2.2): one table and one walker for every packet that carries them.
 *
 * The walker checks and finds; it makes no strings. Pure; runs on connection workers, called by `publish.ts`,
 * `acknowledgements.ts` and `packets/parse.ts`. Nothing here allocates but the result object of the caller.
 */
import { isWellFormedUtf8 } from '../../../std/utf8.ts';
import { readUint16, readUint32 } from './bytes.ts';
import { PacketType, readVariableByteInteger, remainingLengthSize } from './frame.ts';
import { ReasonCode } from './reason-code.ts';

export const PropertyId = {
  PAYLOAD_FORMAT_INDICATOR: 0x01,
  MESSAGE_EXPIRY_INTERVAL: 0x02,
  CONTENT_TYPE: 0x03,
  RESPONSE_TOPIC: 0x08,
  CORRELATION_DATA: 0x09,
  SUBSCRIPTION_IDENTIFIER: 0x0b,
  SESSION_EXPIRY_INTERVAL: 0x11,
  ASSIGNED_CLIENT_IDENTIFIER: 0x12,
  SERVER_KEEP_ALIVE: 0x13,
  AUTHENTICATION_METHOD: 0x15,
  AUTHENTICATION_DATA: 0x16,
  REQUEST_PROBLEM_INFORMATION: 0x17,
  WILL_DELAY_INTERVAL: 0x18,
  REQUEST_RESPONSE_INFORMATION: 0x19,
  RESPONSE_INFORMATION: 0x1a,
  SERVER_REFERENCE: 0x1c,
  REASON_STRING: 0x1f,
  RECEIVE_MAXIMUM: 0x21,
  TOPIC_ALIAS_MAXIMUM: 0x22,
  TOPIC_ALIAS: 0x23,
  MAXIMUM_QOS: 0x24,
  RETAIN_AVAILABLE: 0x25,
  USER_PROPERTY: 0x26,
  MAXIMUM_PACKET_SIZE: 0x27,
  WILDCARD_SUBSCRIPTION_AVAILABLE: 0x28,
  SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0x29,
  SHARED_SUBSCRIPTION_AVAILABLE: 0x2a,
} as const;

/** Stands for a packet type where the will properties of CONNECT are meant; packet type 0 is reserved. */
export const WILL_PROPERTIES = 0;

/** User properties that one packet may carry: a bound on what a small packet can make the broker do. */
export const USER_PROPERTIES_MAX = 128;

const ID_MAX = PropertyId.SHARED_SUBSCRIPTION_AVAILABLE;

// Types of values (section 1.5). Every one-byte property is a flag: only 0 and 1 are allowed.
const FLAG = 1;
const UINT16 = 2;
const UINT32 = 3;
const VARIABLE_BYTE_INTEGER = 4;
const TEXT = 5;
const BINARY = 6;
const TEXT_PAIR = 7;

const types = new Uint8Array(ID_MAX + 1);
/** For each property a bit per packet type that may carry it (table 2-4); 0 for identifiers that do not exist. */
const carriers = new Uint16Array(ID_MAX + 1);

function define(id: number, type: number, ...packetTypes: readonly number[]): void {
  types[id] = type;
  for (const packetType of packetTypes) carriers[id] |= 1 << packetType;
}

const { CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP } = PacketType;
const { SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH } = PacketType;
const ANSWERS = [CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH];

define(PropertyId.PAYLOAD_FORMAT_INDICATOR, FLAG, PUBLISH, WILL_PROPERTIES);
define(PropertyId.MESSAGE_EXPIRY_INTERVAL, UINT32, PUBLISH, WILL_PROPERTIES);
define(PropertyId.CONTENT_TYPE, TEXT, PUBLISH, WILL_PROPERTIES);
define(PropertyId.RESPONSE_TOPIC, TEXT, PUBLISH, WILL_PROPERTIES);
define(PropertyId.CORRELATION_DATA, BINARY, PUBLISH, WILL_PROPERTIES);
define(PropertyId.SUBSCRIPTION_IDENTIFIER, VARIABLE_BYTE_INTEGER, PUBLISH, SUBSCRIBE);
define(PropertyId.SESSION_EXPIRY_INTERVAL, UINT32, CONNECT, CONNACK, DISCONNECT);
define(PropertyId.ASSIGNED_CLIENT_IDENTIFIER, TEXT, CONNACK);
define(PropertyId.SERVER_KEEP_ALIVE, UINT16, CONNACK);
define(PropertyId.AUTHENTICATION_METHOD, TEXT, CONNECT, CONNACK, AUTH);
define(PropertyId.AUTHENTICATION_DATA, BINARY, CONNECT, CONNACK, AUTH);
define(PropertyId.REQUEST_PROBLEM_INFORMATION, FLAG, CONNECT);
define(PropertyId.WILL_DELAY_INTERVAL, UINT32, WILL_PROPERTIES);
define(PropertyId.REQUEST_RESPONSE_INFORMATION, FLAG, CONNECT);
define(PropertyId.RESPONSE_INFORMATION, TEXT, CONNACK);
define(PropertyId.SERVER_REFERENCE, TEXT, CONNACK, DISCONNECT);
define(PropertyId.REASON_STRING, TEXT, ...ANSWERS);
define(PropertyId.RECEIVE_MAXIMUM, UINT16, CONNECT, CONNACK);
define(PropertyId.TOPIC_ALIAS_MAXIMUM, UINT16, CONNECT, CONNACK);
define(PropertyId.TOPIC_ALIAS, UINT16, PUBLISH);
define(PropertyId.MAXIMUM_QOS, FLAG, CONNACK);
define(PropertyId.RETAIN_AVAILABLE, FLAG, CONNACK);
define(PropertyId.USER_PROPERTY, TEXT_PAIR, CONNECT, PUBLISH, WILL_PROPERTIES, SUBSCRIBE, UNSUBSCRIBE, ...ANSWERS);
define(PropertyId.MAXIMUM_PACKET_SIZE, UINT32, CONNECT, CONNACK);
define(PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE, FLAG, CONNACK);
define(PropertyId.SUBSCRIPTION_IDENTIFIER_AVAILABLE, FLAG, CONNACK);
define(PropertyId.SHARED_SUBSCRIPTION_AVAILABLE, FLAG, CONNACK);

/** What one walk found. Make one and use it again: every scan begins by forgetting the last one. */
export class PropertyScan {
  userPropertyCount = 0;
  subscriptionIdentifierCount = 0;
  /** Bytes of all subscription identifier properties, their identifier bytes included. */
  subscriptionIdentifierBytes = 0;
  private seenLow = 0;
  private seenHigh = 0;
  /** Of numbers the value. The last one wins where a property may repeat. */
  private readonly values = new Float64Array(ID_MAX + 1);

  reset(): void {
    this.userPropertyCount = 0;
    this.subscriptionIdentifierCount = 0;
    this.subscriptionIdentifierBytes = 0;
    this.seenLow = 0;
    this.seenHigh = 0;
  }

  has(id: number): boolean {
    return ((id < 32 ? this.seenLow : this.seenHigh) & (1 << (id & 31))) !== 0;
  }

  /** The value of a property that is a number, or `absent` when the packet does not carry it. */
  number(id: number, absent: number): number {
    return this.has(id) ? this.values[id] : absent;
  }

  /** For `scanProperties` alone. */
  note(id: number): void {
    if (id < 32) this.seenLow |= 1 << id;
    else this.seenHigh |= 1 << (id & 31);
  }

  /** For `scanProperties` alone. */
  noteNumber(id: number, value: number): void {
    this.values[id] = value;
  }
}

/**
 * Walks the properties in `buffer[start, end)`, which a packet of type `packetType` (or `WILL_PROPERTIES`) carries,
 * and fills `result`. Answers 0, or the reason code of the first fault; `result` is then incomplete.
 */
export function scanProperties(
  buffer: Uint8Array,
  start: number,
  end: number,
  packetType: number,
  result: PropertyScan,
): number {
  result.reset();
  const carrier = 1 << packetType;
  let position = start;
  while (position < end) {
    const id = buffer[position];
    // "An Identifier which is not valid for its packet type" is malformed (2.2.2.2). All identifiers fit in one byte.
    if (id > ID_MAX || (carriers[id] & carrier) === 0) return ReasonCode.MALFORMED_PACKET;
    if (result.has(id) && !mayRepeat(id, packetType)) return ReasonCode.PROTOCOL_ERROR;
    result.note(id);
    const next = scanValue(buffer, position + 1, end, id, result);
    // A negative answer is a reason code; positions are never negative.
    if (next < 0) return -next;
    position = next;
  }
  return 0;
}

/** Only user properties may repeat, and in PUBLISH subscription identifiers (2.2.2.2, 3.3.2.3.8, 3.8.2.1.2). */
function mayRepeat(id: number, packetType: number): boolean {
  if (id === PropertyId.USER_PROPERTY) return true;
  return id === PropertyId.SUBSCRIPTION_IDENTIFIER && packetType === PacketType.PUBLISH;
}

const MALFORMED = -ReasonCode.MALFORMED_PACKET;

/** Checks the value at `position`; answers the position after it, or a reason code with a minus sign. */
function scanValue(buffer: Uint8Array, position: number, end: number, id: number, result: PropertyScan): number {
  switch (types[id]) {
    case FLAG:
      if (position + 1 > end) return MALFORMED;
      return numberFound(id, buffer[position], position + 1, result);
    case UINT16:
      if (position + 2 > end) return MALFORMED;
      return numberFound(id, readUint16(buffer, position), position + 2, result);
    case UINT32:
      if (position + 4 > end) return MALFORMED;
      return numberFound(id, readUint32(buffer, position), position + 4, result);
    case VARIABLE_BYTE_INTEGER: {
      const value = readVariableByteInteger(buffer, position, end);
      if (value < 0) return MALFORMED;
      const size = remainingLengthSize(value);
      result.subscriptionIdentifierCount++;
      result.subscriptionIdentifierBytes += 1 + size;
      return numberFound(id, value, position + size, result);
    }
    case TEXT: {
      const next = skipText(buffer, position, end);
      if (next < 0) return MALFORMED;
      // [MQTT-3.3.2-14] a response topic has no wildcards.
      if (id === PropertyId.RESPONSE_TOPIC && hasWildcard(buffer, position + 2, next)) {
        return -ReasonCode.PROTOCOL_ERROR;
      }
      return next;
    }
    case BINARY: {
      const next = position + 2 > end ? -1 : position + 2 + readUint16(buffer, position);
      return next < 0 || next > end ? MALFORMED : next;
    }
    default: {
      if (++result.userPropertyCount > USER_PROPERTIES_MAX) return -ReasonCode.QUOTA_EXCEEDED;
      const valueStart = skipText(buffer, position, end);
      const next = valueStart < 0 ? -1 : skipText(buffer, valueStart, end);
      return next < 0 ? MALFORMED : next;
    }
  }
}

/** Notes a number, or answers with the reason code (negative) that its value deserves. */
function numberFound(id: number, value: number, next: number, result: PropertyScan): number {
  if (types[id] === FLAG) {
    if (value > 1) return -ReasonCode.PROTOCOL_ERROR;
  } else if (value === 0) {
    // [MQTT-3.3.2-8] an alias is never 0; the others make a zero a protocol error (3.1.2.11.3, 3.1.2.11.4, 3.8.2.1.2).
    if (id === PropertyId.TOPIC_ALIAS) return -ReasonCode.TOPIC_ALIAS_INVALID;
    if (
      id === PropertyId.RECEIVE_MAXIMUM ||
      id === PropertyId.MAXIMUM_PACKET_SIZE ||
      id === PropertyId.SUBSCRIPTION_IDENTIFIER
    ) {
      return -ReasonCode.PROTOCOL_ERROR;
    }
  }
  result.noteNumber(id, value);
  return next;
}

/**
 * The position after the UTF-8 encoded string (1.5.4) at `position`, or -1 when it is cut by `end`, is not well-formed
 * [MQTT-1.5.4-1] or holds U+0000 [MQTT-1.5.4-2].
 */
export function skipText(buffer: Uint8Array, position: number, end: number): number {
  if (position + 2 > end) return -1;
  const next = position + 2 + readUint16(buffer, position);
  return next <= end && isWellFormedUtf8(buffer, position + 2, next, true) ? next : -1;
}

/** Whether `buffer[start, end)` holds `+` or `#`. */
export function hasWildcard(buffer: Uint8Array, start: number, end: number): boolean {
  for (let index = start; index < end; index++) {
    if (buffer[index] === 0x2b || buffer[index] === 0x23) return true;
  }
  return false;
}

/** The position after the property at `position`, in bytes that `scanProperties` has accepted before. */
export function nextProperty(buffer: Uint8Array, position: number, end: number): number {
  const value = position + 1;
  switch (types[buffer[position]]) {
    case FLAG:
      return value + 1;
    case UINT16:
      return value + 2;
    case UINT32:
      return value + 4;
    case VARIABLE_BYTE_INTEGER:
      return value + remainingLengthSize(readVariableByteInteger(buffer, value, end));
    case TEXT_PAIR: {
      const second = value + 2 + readUint16(buffer, value);
      return second + 2 + readUint16(buffer, second);
    }
    default:
      return value + 2 + readUint16(buffer, value);
  }
}
