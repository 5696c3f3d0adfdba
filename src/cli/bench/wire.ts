/**
 * The MQTT bytes that the load harness sends and reads: just enough for 3.1.1 and 5, nothing allocated per message.
 * Pure; thread of the harness; used by its connections, publishers and subscribers.
 *
 * A payload of at least `HEADER_BYTES` begins with (little-endian)
 *   float64 send time, in ms since the Unix epoch · uint32 sequence number of the publisher, from 1 ·
 *   uint32 mark in the upper 12 bits, number of the publisher in the lower 20
 */

export const CONNECT = 1;
export const CONNACK = 2;
export const PUBLISH = 3;
export const PUBACK = 4;
export const PUBREC = 5;
export const PUBREL = 6;
export const PUBCOMP = 7;
export const SUBACK = 9;
export const DISCONNECT = 14;

export const HEADER_BYTES = 16;
export const SEQUENCE_OFFSET = 8;
export const SOURCE_OFFSET = 12;
export const SOURCE_MARK = 0xb51;
export const MAX_PUBLISHERS = 1 << 20;

export interface ConnectFields {
  readonly version: 4 | 5;
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** Seconds; 0 turns it off. */
  readonly keepAliveS: number;
  /** Without, it is a clean session. */
  readonly keepsSession?: boolean;
}

/** For how long a session is to be kept, seconds: longer than any run, and an end for those that nobody comes back to. */
const sessionExpiryS = 3600;

/** CONNECT without a will. */
export function encodeConnect(fields: ConnectFields): Buffer {
  const { version, clientId, username, password, keepAliveS, keepsSession = false } = fields;
  const flags = (keepsSession ? 0 : 2) | (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40);
  const parts = [text('MQTT'), Buffer.from([version, flags, keepAliveS >> 8, keepAliveS & 0xff])];
  if (version === 5) parts.push(keepsSession ? expiryProperty(sessionExpiryS) : Buffer.from([0]));
  parts.push(text(clientId));
  if (username !== undefined) parts.push(text(username));
  if (password !== undefined) parts.push(text(password));
  return frame(CONNECT << 4, parts);
}

/** Properties of CONNECT with a Session Expiry Interval alone (3.1.2.11.2). */
function expiryProperty(seconds: number): Buffer {
  const bytes = Buffer.from([5, 0x11, 0, 0, 0, 0]);
  bytes.writeUInt32BE(seconds, 2);
  return bytes;
}

export function encodeSubscribe(version: 4 | 5, packetId: number, filter: string, qos: number): Buffer {
  const id = Buffer.from([packetId >> 8, packetId & 0xff]);
  const properties = version === 5 ? [Buffer.from([0])] : [];
  return frame(0x82, [id, ...properties, text(filter), Buffer.from([qos])]);
}

export const pingRequest = Buffer.from([0xc0, 0]);
/** Also valid in MQTT 5: no reason code means normal disconnection (3.14.2.1). */
export const disconnectRequest = Buffer.from([0xe0, 0]);

/** A PUBLISH whose packet id, time and sequence number are patched in before each use. */
export interface PublishTemplate {
  readonly bytes: Buffer;
  /** -1 for QoS 0. */
  readonly packetIdOffset: number;
  readonly payloadOffset: number;
}

export function encodePublish(version: 4 | 5, topic: string, qos: number, payloadBytes: number): PublishTemplate {
  const packetId = qos > 0 ? [Buffer.alloc(2)] : [];
  const properties = version === 5 ? [Buffer.from([0])] : [];
  const payload = Buffer.alloc(payloadBytes, 'x');
  const bytes = frame((PUBLISH << 4) | (qos << 1), [text(topic), ...packetId, ...properties, payload]);
  const payloadOffset = bytes.length - payloadBytes;
  return { bytes, payloadOffset, packetIdOffset: qos > 0 ? payloadOffset - 2 - properties.length : -1 };
}

/**
 * Length of the whole frame at `start`, or 0 while its length is not known yet.
 * Throws on a remaining length of more than four bytes (MQTT 3.1.1, 2.2.3).
 */
export function frameLength(buffer: Uint8Array, start: number, end: number): number {
  let remaining = 0;
  for (let i = 1; i <= 4; i++) {
    if (start + i >= end) return 0;
    const byte = buffer[start + i];
    remaining |= (byte & 0x7f) << (7 * (i - 1));
    if (byte < 0x80) return 1 + i + remaining;
  }
  throw new Error('Cannot read a packet: its length has more than four bytes');
}

/** Start of the body of the frame at `start`, which is known to be complete. */
export function bodyStart(buffer: Uint8Array, start: number): number {
  let at = start + 1;
  while (buffer[at] >= 0x80) at++;
  return at + 1;
}

/** Offset behind the MQTT 5 properties at `at`. */
export function skipProperties(buffer: Uint8Array, at: number): number {
  let length = 0;
  let shift = 0;
  let byte = 0x80;
  while (byte >= 0x80 && shift < 28) {
    byte = buffer[at++];
    length |= (byte & 0x7f) << shift;
    shift += 7;
  }
  return at + length;
}

/** What a CONNACK of MQTT 5 says about limits. */
export interface ConnackLimits {
  receiveMaximum: number;
  maximumQos: number;
  maximumPacketSize: number;
}

/** Widths of the fixed-size CONNACK properties (MQTT 5, 2.2.2.2); those not listed are strings or pairs. */
const fixedWidths = new Map([
  [0x11, 4],
  [0x21, 2],
  [0x24, 1],
  [0x25, 1],
  [0x27, 4],
  [0x22, 2],
  [0x28, 1],
  [0x29, 1],
  [0x2a, 1],
  [0x13, 2],
]);
const USER_PROPERTY = 0x26;

/** Reads the limits of an MQTT 5 CONNACK body in `[start, end)`. */
export function readConnackLimits(buffer: Buffer, start: number, end: number): ConnackLimits {
  const limits: ConnackLimits = { receiveMaximum: 65535, maximumQos: 2, maximumPacketSize: Number.MAX_SAFE_INTEGER };
  if (end - start < 3) return limits;
  const stop = skipProperties(buffer, start + 2);
  let at = start + 3;
  while (buffer[at - 1] >= 0x80) at++;
  while (at < Math.min(stop, end)) {
    const id = buffer[at++];
    if (id === 0x21) limits.receiveMaximum = buffer.readUInt16BE(at);
    else if (id === 0x24) limits.maximumQos = buffer[at];
    else if (id === 0x27) limits.maximumPacketSize = buffer.readUInt32BE(at);
    at = skipValue(buffer, at, id);
  }
  return limits;
}

function skipValue(buffer: Buffer, at: number, id: number): number {
  const width = fixedWidths.get(id);
  if (width !== undefined) return at + width;
  const afterFirst = at + 2 + buffer.readUInt16BE(at);
  return id === USER_PROPERTY ? afterFirst + 2 + buffer.readUInt16BE(afterFirst) : afterFirst;
}

const refusals3 = ['accepted', 'unacceptable protocol version', 'identifier rejected', 'server unavailable'];
refusals3.push('bad user name or password', 'not authorised');

const reasons5 = new Map([
  [0x80, 'unspecified error'],
  [0x81, 'malformed packet'],
  [0x82, 'protocol error'],
  [0x83, 'implementation specific error'],
  [0x84, 'unsupported protocol version'],
  [0x85, 'client identifier not valid'],
  [0x86, 'bad user name or password'],
  [0x87, 'not authorised'],
  [0x88, 'server unavailable'],
  [0x89, 'server busy'],
  [0x8a, 'banned'],
  [0x8b, 'server shutting down'],
  [0x8d, 'keep alive timeout'],
  [0x8e, 'session taken over'],
  [0x8f, 'topic filter invalid'],
  [0x90, 'topic name invalid'],
  [0x93, 'receive maximum exceeded'],
  [0x94, 'topic alias invalid'],
  [0x95, 'packet too large'],
  [0x96, 'message rate too high'],
  [0x97, 'quota exceeded'],
  [0x98, 'administrative action'],
  [0x99, 'payload format invalid'],
  [0x9b, 'QoS not supported'],
  [0x9f, 'connection rate exceeded'],
]);

/** Words for a refusing code of CONNACK, SUBACK, an acknowledgement or DISCONNECT. */
export function reasonText(code: number): string {
  const words = code < 0x80 ? refusals3[code] : reasons5.get(code);
  return words === undefined ? `code ${code}` : `${words} (code ${code})`;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function frame(first: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = [first];
  let rest = body.length;
  do {
    const digit = rest & 0x7f;
    rest >>>= 7;
    head.push(rest > 0 ? digit | 0x80 : digit);
  } while (rest > 0);
  return Buffer.concat([Buffer.from(head), body]);
}
