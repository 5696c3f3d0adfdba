/**
 * The fixed header of every MQTT packet: its type and flags in one byte, then the remaining length.
 *
 *     byte 1       type (4 bits) | flags (4 bits)
 *     byte 2..5    remaining length, a variable byte integer: 7 bits a byte, least significant first
 *
 * Pure; runs on connection workers, called for every packet that arrives or leaves. Nothing here allocates.
 */

export const PacketType = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const;

/** 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT 5.0: the protocol level byte of CONNECT. */
export type ProtocolLevel = 3 | 4 | 5;

/** The largest number that four bytes of a variable byte integer can hold. */
export const REMAINING_LENGTH_MAX = 268_435_455;

/**
 * The largest packet, in bytes, that a broker may accept. It leaves room below `REMAINING_LENGTH_MAX` for what
 * re-encoding can add: a resolved topic (64 KiB), a topic alias, an expiry and some sixty thousand subscription
 * identifiers of five bytes.
 */
export const PACKET_SIZE_MAX = 268_000_000;

/**
 * Total length in bytes of the frame that begins at `position`; it may reach beyond `end`. -1 when more bytes are
 * needed to know it; -2 when the length is malformed: longer than four bytes, or not the shortest form
 * [MQTT-1.5.5-1]. 3.1.1 shows the shortest forms alone (table 2.4), and a frame that is passed on verbatim must
 * satisfy every receiver, so all levels are held to it.
 */
export function frameLength(buffer: Uint8Array, position: number, end: number): number {
  if (position + 1 >= end) return -1;
  const first = buffer[position + 1];
  if (first < 0x80) return first + 2;
  return longFrameLength(buffer, position + 2, end, first & 0x7f);
}

function longFrameLength(buffer: Uint8Array, position: number, end: number, lowest: number): number {
  let value = lowest;
  for (let index = 0; index < 3; index++) {
    if (position + index >= end) return -1;
    const byte = buffer[position + index];
    if (byte === 0) return -2;
    value |= (byte & 0x7f) << (7 * (index + 1));
    if (byte < 0x80) return value + index + 3;
  }
  return -2;
}

/** Length in bytes (2 to 5) of the fixed header at `position`, for which `frameLength` gave a length. */
export function headerLength(buffer: Uint8Array, position: number): number {
  if (buffer[position + 1] < 0x80) return 2;
  if (buffer[position + 2] < 0x80) return 3;
  return buffer[position + 3] < 0x80 ? 4 : 5;
}

/** Writes `value` (0 to `REMAINING_LENGTH_MAX`) as a variable byte integer; returns the position after it. */
export function writeRemainingLength(buffer: Uint8Array, position: number, value: number): number {
  let rest = value;
  let next = position;
  while (rest > 0x7f) {
    buffer[next++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  buffer[next++] = rest;
  return next;
}

/** How many bytes (1 to 4) `value` takes as a variable byte integer. */
export function remainingLengthSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  return value < 0x200000 ? 3 : 4;
}

/**
 * The variable byte integer at `position`, or -1 when it is cut by `end`, longer than four bytes or not in its
 * shortest form [MQTT-1.5.5-1]. Since the form is the shortest, `remainingLengthSize` of the result is its size.
 */
export function readVariableByteInteger(buffer: Uint8Array, position: number, end: number): number {
  if (position >= end) return -1;
  const first = buffer[position];
  if (first < 0x80) return first;
  let value = first & 0x7f;
  for (let index = 1; index < 4; index++) {
    if (position + index >= end) return -1;
    const byte = buffer[position + index];
    if (byte === 0) return -1;
    value |= (byte & 0x7f) << (7 * index);
    if (byte < 0x80) return value;
  }
  return -1;
}
