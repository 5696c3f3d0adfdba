/**
 * Properties of a PUBLISH between the bytes of a frame, the form in which the broker has them, and that of MQTT.js. Pure; the
 * bridge's worker.
 */
import type { IClientPublishOptions, IPublishPacket } from 'mqtt';
import { topicError } from '../../../core/routing/topic.ts';
import { readUint16, readUint32 } from '../codec/bytes.ts';
import { nextProperty, PropertyId } from '../codec/properties.ts';
import type { MessageProperties, UserProperties } from '../packets/types.ts';

/** Of bytes that were checked when their frame came in. Topic aliases and subscription identifiers are left out. */
export function readProperties(bytes: Buffer): MessageProperties {
  const userProperties: [string, string][] = [];
  const result: MessageProperties = { userProperties };
  for (let at = 0; at < bytes.length; ) {
    const next = nextProperty(bytes, at, bytes.length);
    const value = at + 1;
    switch (bytes[at]) {
      case PropertyId.PAYLOAD_FORMAT_INDICATOR:
        result.payloadFormat = bytes[value] === 1 ? 1 : 0;
        break;
      case PropertyId.MESSAGE_EXPIRY_INTERVAL:
        result.expiryS = readUint32(bytes, value);
        break;
      case PropertyId.CONTENT_TYPE:
        result.contentType = bytes.toString('utf8', value + 2, next);
        break;
      case PropertyId.RESPONSE_TOPIC:
        result.responseTopic = bytes.toString('utf8', value + 2, next);
        break;
      case PropertyId.CORRELATION_DATA:
        result.correlationData = Buffer.from(bytes.subarray(value + 2, next));
        break;
      case PropertyId.USER_PROPERTY: {
        const nameEnd = value + 2 + readUint16(bytes, value);
        userProperties.push([bytes.toString('utf8', value + 2, nameEnd), bytes.toString('utf8', nameEnd + 2, next)]);
      }
    }
    at = next;
  }
  return result;
}

type RemoteProperties = NonNullable<IClientPublishOptions['properties']>;

/** For `publish` of MQTT.js. */
export function toRemote(properties: MessageProperties, expiryS: number | undefined): RemoteProperties {
  const { payloadFormat, contentType, responseTopic, correlationData, userProperties } = properties;
  const result: RemoteProperties = {};
  if (payloadFormat !== undefined) result.payloadFormatIndicator = payloadFormat === 1;
  if (expiryS !== undefined) result.messageExpiryInterval = expiryS;
  if (contentType !== undefined) result.contentType = contentType;
  if (responseTopic !== undefined) result.responseTopic = responseTopic;
  if (correlationData !== undefined) result.correlationData = correlationData;
  if (userProperties.length > 0) {
    // One object per pair keeps the order and equal names, see `packets/generate.ts`; the types of the module do not say so.
    const pairs = userProperties.map(([name, value]) => ({ __proto__: null, [name]: value }));
    result.userProperties = pairs as unknown as NonNullable<RemoteProperties['userProperties']>;
  }
  return result;
}

/**
 * What MQTT.js received; null when it is nothing that may be published here. MQTT.js lets pass what the specification forbids: text with
 * U+0000 or bytes that are no UTF-8, which then take more room, and properties that come twice, which it makes lists of. Pairs of
 * different names come in the order in which the names came first.
 */
export function fromRemote(packet: Pick<IPublishPacket, 'properties'>): MessageProperties | null {
  const given = packet.properties;
  if (given === undefined) return { userProperties: [] };
  const { payloadFormatIndicator, messageExpiryInterval, contentType, responseTopic, correlationData } = given;
  const userProperties = pairsOf(given.userProperties ?? {});
  const isSound =
    isAbsentOr(payloadFormatIndicator, (value) => typeof value === 'boolean') &&
    isAbsentOr(messageExpiryInterval, isUint32) &&
    isAbsentOr(contentType, isText) &&
    isAbsentOr(responseTopic, (value) => isText(value) && topicError(value) === undefined) &&
    isAbsentOr(correlationData, (value) => Buffer.isBuffer(value) && value.length <= textBytesMax) &&
    userProperties.every(([name, value]) => isText(name) && isText(value));
  if (!isSound) return null;
  return {
    payloadFormat: payloadFormatIndicator === undefined ? undefined : payloadFormatIndicator ? 1 : 0,
    expiryS: messageExpiryInterval,
    contentType,
    responseTopic,
    correlationData,
    userProperties,
  };
}

/** Two bytes of length say how long a text is (1.5.4). */
const textBytesMax = 65_535;

function isAbsentOr(value: unknown, isSound: (value: unknown) => boolean): boolean {
  return value === undefined || isSound(value);
}

function isUint32(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

/** [MQTT-1.5.4-1], [MQTT-1.5.4-2] */
function isText(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0') && Buffer.byteLength(value) <= textBytesMax;
}

function pairsOf(given: object): UserProperties {
  return Object.entries(given).flatMap(([name, value]: [string, unknown]) =>
    (Array.isArray(value) ? value : [value]).map((each): [string, string] => [name, each as string]),
  );
}
