/**
 * The reason codes of MQTT 5 (section 2.4) as one table: name, number, the packets that may carry it, and what a
 * client of MQTT 3.x is told instead.
 *
 * The reason code is the error value: parsers and handlers pass the number around, and this table says what it means.
 * Pure; runs on connection workers, called by handlers, `packets/` and tests.
 */
import { PacketType } from './codec/frame.ts';
import { ReasonCode } from './codec/reason-code.ts';

/** Return codes of the CONNACK of MQTT 3.1 and 3.1.1 (table 3.1). */
export const ReturnCode = {
  ACCEPTED: 0,
  UNACCEPTABLE_PROTOCOL_VERSION: 1,
  IDENTIFIER_REJECTED: 2,
  SERVER_UNAVAILABLE: 3,
  BAD_USER_NAME_OR_PASSWORD: 4,
  NOT_AUTHORIZED: 5,
} as const;

/** No return code fits: the connection ends without a CONNACK [MQTT-3.2.2-6 of 3.1.1]. */
export const NO_RETURN_CODE = -1;

export interface ReasonCodeRow {
  readonly code: number;
  /** The name in the specification, for logs and reason strings. */
  readonly name: string;
  /** Packet types that may carry it. */
  readonly packets: readonly number[];
  /** The return code of a 3.x CONNACK, or `NO_RETURN_CODE`. */
  readonly returnCode: number;
  /** Whether a client may send it in DISCONNECT (3.14.2.1). */
  readonly clientDisconnect: boolean;
}

const { CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH } = PacketType;
const R = ReasonCode;

function row(
  code: number,
  name: string,
  packets: readonly number[],
  returnCode: number = NO_RETURN_CODE,
): ReasonCodeRow {
  return { code, name, packets, returnCode, clientDisconnect: clientDisconnects.has(code) };
}

const clientDisconnects = new Set<number>([
  R.SUCCESS,
  R.DISCONNECT_WITH_WILL,
  R.UNSPECIFIED_ERROR,
  R.MALFORMED_PACKET,
  R.PROTOCOL_ERROR,
  R.IMPLEMENTATION_SPECIFIC_ERROR,
  R.TOPIC_NAME_INVALID,
  R.RECEIVE_MAXIMUM_EXCEEDED,
  R.TOPIC_ALIAS_INVALID,
  R.PACKET_TOO_LARGE,
  R.MESSAGE_RATE_TOO_HIGH,
  R.QUOTA_EXCEEDED,
  R.ADMINISTRATIVE_ACTION,
  R.PAYLOAD_FORMAT_INVALID,
]);

const SUCCESS_CARRIERS = [CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH];
const ERROR_CARRIERS = [CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT];
const UNAVAILABLE = ReturnCode.SERVER_UNAVAILABLE;

export const reasonCodes: readonly ReasonCodeRow[] = [
  row(R.SUCCESS, 'Success', SUCCESS_CARRIERS, ReturnCode.ACCEPTED),
  row(R.GRANTED_QOS_1, 'Granted QoS 1', [SUBACK]),
  row(R.GRANTED_QOS_2, 'Granted QoS 2', [SUBACK]),
  row(R.DISCONNECT_WITH_WILL, 'Disconnect with Will Message', [DISCONNECT]),
  row(R.NO_MATCHING_SUBSCRIBERS, 'No matching subscribers', [PUBACK, PUBREC]),
  row(R.NO_SUBSCRIPTION_EXISTED, 'No subscription existed', [UNSUBACK]),
  row(R.CONTINUE_AUTHENTICATION, 'Continue authentication', [AUTH]),
  row(R.REAUTHENTICATE, 'Re-authenticate', [AUTH]),
  row(R.UNSPECIFIED_ERROR, 'Unspecified error', ERROR_CARRIERS, UNAVAILABLE),
  row(R.MALFORMED_PACKET, 'Malformed Packet', [CONNACK, DISCONNECT]),
  row(R.PROTOCOL_ERROR, 'Protocol Error', [CONNACK, DISCONNECT]),
  row(R.IMPLEMENTATION_SPECIFIC_ERROR, 'Implementation specific error', ERROR_CARRIERS, UNAVAILABLE),
  row(
    R.UNSUPPORTED_PROTOCOL_VERSION,
    'Unsupported Protocol Version',
    [CONNACK],
    ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION,
  ),
  row(R.CLIENT_IDENTIFIER_NOT_VALID, 'Client Identifier not valid', [CONNACK], ReturnCode.IDENTIFIER_REJECTED),
  row(R.BAD_USER_NAME_OR_PASSWORD, 'Bad User Name or Password', [CONNACK], ReturnCode.BAD_USER_NAME_OR_PASSWORD),
  row(R.NOT_AUTHORIZED, 'Not authorized', ERROR_CARRIERS, ReturnCode.NOT_AUTHORIZED),
  row(R.SERVER_UNAVAILABLE, 'Server unavailable', [CONNACK], UNAVAILABLE),
  row(R.SERVER_BUSY, 'Server busy', [CONNACK, DISCONNECT], UNAVAILABLE),
  row(R.BANNED, 'Banned', [CONNACK], ReturnCode.NOT_AUTHORIZED),
  row(R.SERVER_SHUTTING_DOWN, 'Server shutting down', [DISCONNECT]),
  row(R.BAD_AUTHENTICATION_METHOD, 'Bad authentication method', [CONNACK, DISCONNECT], ReturnCode.NOT_AUTHORIZED),
  row(R.KEEP_ALIVE_TIMEOUT, 'Keep Alive timeout', [DISCONNECT]),
  row(R.SESSION_TAKEN_OVER, 'Session taken over', [DISCONNECT]),
  row(R.TOPIC_FILTER_INVALID, 'Topic Filter invalid', [SUBACK, UNSUBACK, DISCONNECT]),
  row(R.TOPIC_NAME_INVALID, 'Topic Name invalid', [CONNACK, PUBACK, PUBREC, DISCONNECT]),
  row(R.PACKET_IDENTIFIER_IN_USE, 'Packet Identifier in use', [PUBACK, PUBREC, SUBACK, UNSUBACK]),
  row(R.PACKET_IDENTIFIER_NOT_FOUND, 'Packet Identifier not found', [PUBREL, PUBCOMP]),
  row(R.RECEIVE_MAXIMUM_EXCEEDED, 'Receive Maximum exceeded', [DISCONNECT]),
  row(R.TOPIC_ALIAS_INVALID, 'Topic Alias invalid', [DISCONNECT]),
  row(R.PACKET_TOO_LARGE, 'Packet too large', [CONNACK, DISCONNECT]),
  row(R.MESSAGE_RATE_TOO_HIGH, 'Message rate too high', [DISCONNECT]),
  row(R.QUOTA_EXCEEDED, 'Quota exceeded', [CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT], UNAVAILABLE),
  row(R.ADMINISTRATIVE_ACTION, 'Administrative action', [DISCONNECT]),
  row(R.PAYLOAD_FORMAT_INVALID, 'Payload format invalid', [CONNACK, PUBACK, PUBREC, DISCONNECT]),
  row(R.RETAIN_NOT_SUPPORTED, 'Retain not supported', [CONNACK, DISCONNECT]),
  row(R.QOS_NOT_SUPPORTED, 'QoS not supported', [CONNACK, DISCONNECT]),
  row(R.USE_ANOTHER_SERVER, 'Use another server', [CONNACK, DISCONNECT], UNAVAILABLE),
  row(R.SERVER_MOVED, 'Server moved', [CONNACK, DISCONNECT], UNAVAILABLE),
  row(R.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 'Shared Subscriptions not supported', [SUBACK, DISCONNECT]),
  row(R.CONNECTION_RATE_EXCEEDED, 'Connection rate exceeded', [CONNACK, DISCONNECT], UNAVAILABLE),
  row(R.MAXIMUM_CONNECT_TIME, 'Maximum connect time', [DISCONNECT]),
  row(R.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, 'Subscription Identifiers not supported', [SUBACK, DISCONNECT]),
  row(R.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, 'Wildcard Subscriptions not supported', [SUBACK, DISCONNECT]),
];

const rows: (ReasonCodeRow | undefined)[] = new Array<ReasonCodeRow | undefined>(256).fill(undefined);
for (const entry of reasonCodes) rows[entry.code] = entry;

/** The specification's name of `code`, or its number where the specification has none. */
export function reasonName(code: number): string {
  return rows[code]?.name ?? `0x${code.toString(16).padStart(2, '0')}`;
}

/** Whether a packet of type `packetType` may carry `code`. */
export function mayCarry(packetType: number, code: number): boolean {
  return rows[code]?.packets.includes(packetType) ?? false;
}

/** Whether a client may send DISCONNECT with `code` (3.14.2.1, column "Sent by"). */
export function clientMayDisconnectWith(code: number): boolean {
  return rows[code]?.clientDisconnect ?? false;
}

/** The return code for the CONNACK of a 3.x client, or `NO_RETURN_CODE`: then the connection just ends. */
export function connackReturnCode(reasonCode: number): number {
  return rows[reasonCode]?.returnCode ?? NO_RETURN_CODE;
}
