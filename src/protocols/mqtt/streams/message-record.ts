/**
 * A publication as a record of a stream, and a record as a publication. The value is the payload; all else is in headers that other
 * protocols can read: what MQTT says of the message under names that begin with `mqtt-`, its user properties under their own names.
 * Pure; connection workers.
 */
import type { NewRecordHeader } from '../../../core/batch/batch-builder.ts';
import type { RecordHeader } from '../../../core/batch/record-cursor.ts';
import { expiresAtHeader } from '../../../core/queues/stored-message.ts';
import { topicError } from '../../../core/routing/topic.ts';
import { isWellFormedUtf8 } from '../../../std/utf8.ts';
import { readUint16 } from '../codec/bytes.ts';
import { nextProperty, PropertyId, USER_PROPERTIES_MAX } from '../codec/properties.ts';
import type { PublishView } from '../codec/publish.ts';
import type { MessageProperties } from '../packets/types.ts';

export const recordHeaders = {
  topic: 'mqtt-topic',
  qos: 'mqtt-qos',
  retain: 'mqtt-retain',
  payloadFormat: 'mqtt-payload-format',
  contentType: 'mqtt-content-type',
  responseTopic: 'mqtt-response-topic',
  correlationData: 'mqtt-correlation-data',
  clientId: 'mqtt-client-id',
  user: 'mqtt-user',
} as const;

/** In front of the name of a user property that would be taken for one of ours. */
const escapedPrefix = 'mqtt-property:';
const reservedPrefixes = ['mqtt-', 'ringmq-'] as const;
/** Two bytes of length say how long a text of the protocol is. */
const textBytesMax = 65_535;

const names = {
  topic: Buffer.from(recordHeaders.topic),
  qos: Buffer.from(recordHeaders.qos),
  retain: Buffer.from(recordHeaders.retain),
  payloadFormat: Buffer.from(recordHeaders.payloadFormat),
  contentType: Buffer.from(recordHeaders.contentType),
  responseTopic: Buffer.from(recordHeaders.responseTopic),
  correlationData: Buffer.from(recordHeaders.correlationData),
  clientId: Buffer.from(recordHeaders.clientId),
  user: Buffer.from(recordHeaders.user),
  expiresAt: Buffer.from(expiresAtHeader),
};
const escaped = Buffer.from(escapedPrefix);
const yes = Buffer.from('1');
const qosTexts = [Buffer.from('0'), Buffer.from('1'), Buffer.from('2')] as const;

export interface Publisher {
  readonly clientId: string;
  /** '' for an anonymous client. */
  readonly user: string;
}

/**
 * The headers of a publication that `view` describes in `buffer`; views of `buffer`, to be copied before it changes. `publisher`
 * null: not to be named. `nowMs` is when the message came: its life begins then.
 */
export function headersOfPublication(
  buffer: Buffer,
  view: PublishView,
  topicBytes: Buffer,
  publisher: Publisher | null,
  nowMs: number,
): NewRecordHeader[] {
  const headers: NewRecordHeader[] = [
    { key: names.topic, value: topicBytes },
    { key: names.qos, value: qosTexts[view.qos] as Buffer },
  ];
  if (view.retain === 1) headers.push({ key: names.retain, value: yes });
  if (view.payloadFormat === 1) headers.push({ key: names.payloadFormat, value: yes });
  if (view.expiryS >= 0)
    headers.push({ key: names.expiresAt, value: Buffer.from(String(nowMs + view.expiryS * 1000)) });
  if (publisher !== null) {
    headers.push({ key: names.clientId, value: Buffer.from(publisher.clientId) });
    if (publisher.user !== '') headers.push({ key: names.user, value: Buffer.from(publisher.user) });
  }
  const end = view.propertiesStart + view.propertiesLength;
  for (let at = view.propertiesStart; at < end; at = nextProperty(buffer, at, end)) {
    const id = buffer[at];
    if (id === PropertyId.USER_PROPERTY) headers.push(userProperty(buffer, at + 1));
    else if (id === PropertyId.CONTENT_TYPE) headers.push({ key: names.contentType, value: field(buffer, at + 1) });
    else if (id === PropertyId.RESPONSE_TOPIC) headers.push({ key: names.responseTopic, value: field(buffer, at + 1) });
    else if (id === PropertyId.CORRELATION_DATA)
      headers.push({ key: names.correlationData, value: field(buffer, at + 1) });
  }
  return headers;
}

/** Bytes behind two bytes of length. */
function field(buffer: Buffer, at: number): Buffer {
  return buffer.subarray(at + 2, at + 2 + readUint16(buffer, at));
}

function userProperty(buffer: Buffer, at: number): NewRecordHeader {
  const name = field(buffer, at);
  const value = field(buffer, at + 2 + name.length);
  const isReserved = reservedPrefixes.some((prefix) => name.toString('latin1', 0, prefix.length) === prefix);
  return { key: isReserved ? Buffer.concat([escaped, name]) : name, value };
}

/** What a record says about itself as a publication. */
export interface RecordedMessage {
  /** Null when the record names none, or none that a client may publish to. */
  readonly topic: string | null;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly clientId: string | null;
  readonly user: string | null;
  /** Without the expiry: that is the record's. User properties that no client can be sent are left out. */
  readonly properties: MessageProperties;
}

/**
 * A record may come from anybody: what is not well-formed is left out, or sent as base64 under its name with `-base64` behind it. At most
 * `userPropertiesMax` user properties.
 */
export function messageOfHeaders(
  headers: readonly RecordHeader[],
  userPropertiesMax = USER_PROPERTIES_MAX,
): RecordedMessage {
  let topic: string | null = null;
  let qos: 0 | 1 | 2 = 0;
  let retain = false;
  let clientId: string | null = null;
  let user: string | null = null;
  const properties: MessageProperties = { userProperties: [] };
  const userProperties: [string, string][] = [];
  for (const { key, value } of headers) {
    const name = key.length > textBytesMax ? null : textOf(key);
    if (name === null) continue;
    if (!reservedPrefixes.some((prefix) => name.startsWith(prefix))) {
      if (userProperties.length < userPropertiesMax) userProperties.push(...pairOf(name, value));
      continue;
    }
    if (name.startsWith(escapedPrefix)) {
      const own = name.slice(escapedPrefix.length);
      if (userProperties.length < userPropertiesMax) userProperties.push(...pairOf(own, value));
      continue;
    }
    if (value === null) continue;
    switch (name) {
      case recordHeaders.topic:
        topic ??= publishedTopic(value);
        break;
      case recordHeaders.qos:
        qos = value.length === 1 && value[0] === 0x32 ? 2 : value.length === 1 && value[0] === 0x31 ? 1 : 0;
        break;
      case recordHeaders.retain:
        retain = value.equals(yes);
        break;
      case recordHeaders.payloadFormat:
        if (value.equals(yes)) properties.payloadFormat = 1;
        break;
      case recordHeaders.contentType:
        properties.contentType ??= textOf(value) ?? undefined;
        break;
      case recordHeaders.responseTopic:
        properties.responseTopic ??= topicOf(value) ?? undefined;
        break;
      case recordHeaders.correlationData:
        if (value.length <= textBytesMax) properties.correlationData ??= value;
        break;
      case recordHeaders.clientId:
        clientId ??= textOf(value);
        break;
      case recordHeaders.user:
        user ??= textOf(value);
        break;
    }
  }
  properties.userProperties = userProperties;
  return { topic, qos, retain, clientId, user, properties };
}

/** A header as a user property: none when it is too long to be one. */
export function pairOf(name: string, value: Buffer | null): [string, string][] {
  if (value === null) return [[name, '']];
  const asText = textOf(value);
  if (asText !== null) return [[name, asText]];
  if (value.length > (textBytesMax >> 2) * 3 - 3 || Buffer.byteLength(name) > textBytesMax - 7) return [];
  return [[`${name}-base64`, value.toString('base64')]];
}

/** Null when the bytes are no text that the protocol can carry (1.5.4). */
function textOf(value: Buffer): string | null {
  if (value.length > textBytesMax || !isWellFormedUtf8(value, 0, value.length, true)) return null;
  return value.toString();
}

/** The server's own topics are nobody's to name. */
function publishedTopic(value: Buffer): string | null {
  const topic = topicOf(value);
  return topic?.startsWith('$') === true ? null : topic;
}

function topicOf(value: Buffer): string | null {
  const topic = textOf(value);
  return topic === null || topicError(topic) !== undefined ? null : topic;
}
