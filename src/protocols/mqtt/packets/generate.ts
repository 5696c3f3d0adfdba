/**
 * Makes bytes of the rare packets that the broker sends: CONNACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT, AUTH, and a
 * PUBLISH that did not come from one (a will, a message of the broker itself).
 *
 * Built on `mqtt-packet`. Connection workers; called by the handlers of a connection. What comes back is the caller's.
 */
import type { IConnackPacket, IPublishPacket, UserProperties as PropertyGroup } from 'mqtt-packet';
import { assert } from '../../../std/assert.ts';
import type { ProtocolLevel } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { connackReturnCode, NO_RETURN_CODE } from '../errors.ts';
import { encode } from './mqtt-packet.ts';
import type {
  AuthFields,
  ConnackFields,
  Diagnostics,
  DisconnectFields,
  MessageProperties,
  PublishFields,
  SubscriptionAnswer,
  UserProperties,
} from './types.ts';

/**
 * What to leave out at level 5: to fit in the client's maximum packet size (3.2.2.3.9, 3.2.2.3.10), or because the
 * client wants no problem information [MQTT-3.1.2-29].
 */
export interface GenerateOptions {
  omitReasonString?: boolean;
  omitUserProperties?: boolean;
}

/** Reason strings are for people; a longer one is cut to this many UTF-16 code units. */
const REASON_STRING_LENGTH_MAX = 1_000;
/** What two bytes of length can say (1.5.4). */
const TEXT_BYTES_MAX = 65_535;

const NOTHING = Buffer.alloc(0);

/**
 * Below level 5 the return code that stands for `reasonCode` is sent; where none fits the answer is an empty Buffer,
 * since the connection is to end without CONNACK [MQTT-3.2.2-6 of 3.1.1].
 */
export function generateConnack(fields: ConnackFields, level: ProtocolLevel, options: GenerateOptions = {}): Buffer {
  const accepted = fields.reasonCode === ReasonCode.SUCCESS;
  // [MQTT-3.2.2-6], in 3.1.1 [MQTT-3.2.2-4]: no session goes with a refusal. 3.1 reserves the byte.
  const sessionPresent = fields.sessionPresent && accepted && level > 3;
  if (level < 5) {
    const returnCode = connackReturnCode(fields.reasonCode);
    if (returnCode === NO_RETURN_CODE) return NOTHING;
    return encode({ cmd: 'connack', returnCode, sessionPresent }, level);
  }
  const properties = defined<NonNullable<IConnackPacket['properties']>>({
    sessionExpiryInterval: fields.sessionExpiryS,
    receiveMaximum: fields.receiveMaximum,
    maximumQoS: fields.maximumQos,
    retainAvailable: fields.retainAvailable,
    maximumPacketSize: fields.maximumPacketSize,
    assignedClientIdentifier: text(fields.assignedClientId),
    topicAliasMaximum: fields.topicAliasMaximum,
    ...diagnostics(fields, options),
    wildcardSubscriptionAvailable: fields.wildcardSubscriptionAvailable,
    subscriptionIdentifiersAvailable: fields.subscriptionIdentifiersAvailable,
    sharedSubscriptionAvailable: fields.sharedSubscriptionAvailable,
    serverKeepAlive: fields.serverKeepAliveS,
    responseInformation: text(fields.responseInformation),
    serverReference: text(fields.serverReference),
    authenticationMethod: text(fields.authenticationMethod),
    authenticationData: fields.authenticationData,
  });
  return encode({ cmd: 'connack', reasonCode: fields.reasonCode, sessionPresent, properties }, level);
}

/** Below level 5 each failure becomes 0x80 [MQTT-3.9.3-2 of 3.1.1]. */
export function generateSuback(
  fields: SubscriptionAnswer,
  level: ProtocolLevel,
  options: GenerateOptions = {},
): Buffer {
  const granted = fields.reasonCodes.map((code) => (level < 5 && code > 0x80 ? 0x80 : code));
  return encode(
    { cmd: 'suback', messageId: fields.packetId, granted, properties: diagnostics(fields, options) },
    level,
  );
}

/** Below level 5 the packet has no reason codes (3.11 of 3.1.1). */
export function generateUnsuback(
  fields: SubscriptionAnswer,
  level: ProtocolLevel,
  options: GenerateOptions = {},
): Buffer {
  const granted = [...fields.reasonCodes];
  const properties = diagnostics(fields, options);
  return encode({ cmd: 'unsuback', messageId: fields.packetId, granted, properties }, level);
}

/** Below level 5 a server just closes, and the answer is an empty Buffer. */
export function generateDisconnect(
  fields: DisconnectFields,
  level: ProtocolLevel,
  options: GenerateOptions = {},
): Buffer {
  if (level < 5) return NOTHING;
  const properties = defined<object>({
    ...diagnostics(fields, options),
    serverReference: text(fields.serverReference),
  });
  return encode({ cmd: 'disconnect', reasonCode: fields.reasonCode, properties }, level);
}

/** Level 5 only: others have no AUTH. */
export function generateAuth(fields: AuthFields, options: GenerateOptions = {}): Buffer {
  const properties = defined<object>({
    authenticationMethod: text(fields.authenticationMethod),
    authenticationData: fields.authenticationData,
    ...diagnostics(fields, options),
  });
  return encode({ cmd: 'auth', reasonCode: fields.reasonCode, properties }, 5);
}

export function generatePingresp(): Buffer {
  return encode({ cmd: 'pingresp' }, 4);
}

/** Below level 5 the properties are left out. */
export function generatePublish(fields: PublishFields, level: ProtocolLevel): Buffer {
  const packet: IPublishPacket = {
    cmd: 'publish',
    topic: fields.topic,
    payload: fields.payload,
    qos: fields.qos,
    retain: fields.retain,
    dup: false,
    messageId: fields.packetId,
  };
  assert(Buffer.byteLength(fields.topic) <= TEXT_BYTES_MAX, 'a topic fits in two bytes of length');
  if (level === 5 && fields.properties !== undefined) packet.properties = messageProperties(fields.properties);
  return encode(packet, level);
}

function messageProperties(fields: MessageProperties): NonNullable<IPublishPacket['properties']> {
  return defined<NonNullable<IPublishPacket['properties']>>({
    payloadFormatIndicator: fields.payloadFormat === undefined ? undefined : fields.payloadFormat === 1,
    messageExpiryInterval: fields.expiryS,
    contentType: text(fields.contentType),
    responseTopic: text(fields.responseTopic),
    correlationData: fields.correlationData,
    userProperties: groups(fields.userProperties),
  });
}

function diagnostics(fields: Diagnostics, options: GenerateOptions): object {
  const reasonString = options.omitReasonString === true ? undefined : fields.reasonString;
  return defined<object>({
    reasonString: reasonString?.slice(0, REASON_STRING_LENGTH_MAX),
    userProperties: options.omitUserProperties === true ? undefined : groups(fields.userProperties ?? []),
  });
}

/**
 * One object per pair: given an object of many names, `mqtt-packet` would write them in the order of the object's keys,
 * numbers first, and drop one of two equal names. These objects have one key, no prototype, and are never looked up; a
 * computed key defines a property even when it is `__proto__`.
 */
function groups(pairs: UserProperties): PropertyGroup | undefined {
  if (pairs.length === 0) return undefined;
  const list = pairs.map(([name, value]) => ({ __proto__: null, [text(name) ?? '']: text(value) }));
  // The module takes lists of values wherever it takes a value, which its types do not say.
  return list as unknown as PropertyGroup;
}

/** `value`, which must fit in two bytes of length: the module writes nonsense when it does not. */
function text(value: string | undefined): string | undefined {
  assert(value === undefined || Buffer.byteLength(value) <= TEXT_BYTES_MAX, 'a text fits in two bytes of length');
  return value;
}

/** Without the fields that are undefined, as `mqtt-packet` types its optional ones. */
function defined<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): T {
  const result: Partial<T> = {};
  for (const name of Object.keys(fields) as (keyof T)[]) {
    if (fields[name] !== undefined) result[name] = fields[name];
  }
  return result as T;
}
