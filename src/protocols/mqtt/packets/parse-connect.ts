/**
 * CONNECT (section 3.1) of all three levels.
 *
 *     protocol name, level (1), connect flags (1), keep alive (2), level 5: properties
 *     client identifier | will: level 5: will properties, topic, payload | user name | password
 *
 * Connection workers, once per connection; called by `parse.ts`.
 */
import type { IConnectPacket } from 'mqtt-packet';
import { PacketType, type ProtocolLevel } from '../codec/frame.ts';
import { hasWildcard, PropertyId, WILL_PROPERTIES } from '../codec/properties.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { ReturnCode } from '../errors.ts';
import type { FrameReader } from './frame-reader.ts';
import { decode } from './mqtt-packet.ts';
import { type ParseResult, rejected, undecodable } from './parse-result.ts';
import type { ConnectPacket, UserProperties, Will } from './types.ts';

const RESERVED_FLAG = 0x01;
const CLEAN_FLAG = 0x02;
const WILL_FLAG = 0x04;
const WILL_OPTION_FLAGS = 0x38;
const PASSWORD_FLAG = 0x40;
const USERNAME_FLAG = 0x80;

export function parseConnect(reader: FrameReader): ParseResult {
  const nameStart = reader.text('the protocol name');
  const name = reader.frame.toString('latin1', nameStart, reader.position);
  const levelByte = reader.byte('the protocol level');
  if (!reader.ok) return rejected(reader.fault);
  // [MQTT-3.1.2-1] another protocol: no answer that it would understand.
  if (name !== 'MQTT' && name !== 'MQIsdp') {
    return rejected({ reasonCode: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, reason: 'The protocol name is unknown' });
  }
  const level = levelOf(name, levelByte);
  if (level === null) return unsupported(levelByte);
  const fields = walk(reader, level);
  if (reader.fault !== null) return rejected(reader.fault, level);
  if (fields.clientIdRefused) {
    // [MQTT-3.1.3-8] of 3.1.1
    const reason = 'An empty client identifier needs a clean session';
    const fault = { reasonCode: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, reason };
    return rejected(fault, level, ReturnCode.IDENTIFIER_REJECTED);
  }
  const packet = decode(reader.frame, level);
  if (packet instanceof Error || packet.cmd !== 'connect') return undecodable(packet, level);
  return { packet: build(packet, level, fields) };
}

function levelOf(name: string, levelByte: number): ProtocolLevel | null {
  if (name === 'MQIsdp') return levelByte === 3 ? 3 : null;
  return levelByte === 4 || levelByte === 5 ? levelByte : null;
}

/**
 * [MQTT-3.1.2-2]: the answer is one that the client can read. A level above 5 gets the reason code of MQTT 5; all
 * others, bridges that set the highest bit included, the return code of 3.x.
 */
function unsupported(levelByte: number): ParseResult {
  const fault = {
    reasonCode: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    reason: `Protocol level ${levelByte} is not supported`,
  };
  return rejected(fault, levelByte > 5 && levelByte < 0x80 ? 5 : 4, ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION);
}

interface ConnectFields {
  clientIdRefused: boolean;
  userProperties: UserProperties;
  willUserProperties: UserProperties;
}

/** Checks every field behind the level; faults are noted in `reader`. */
function walk(reader: FrameReader, level: ProtocolLevel): ConnectFields {
  const flagsPosition = reader.position;
  const flags = readFlags(reader, level);
  reader.uint16('the keep alive');
  const properties = level === 5 ? connectProperties(reader) : [];
  const clientIdStart = reader.text('the client identifier');
  const clientIdEmpty = reader.position === clientIdStart;
  const willUserProperties = (flags & WILL_FLAG) !== 0 ? walkWill(reader, level) : [];
  walkCredentials(reader, level, flags, flagsPosition);
  reader.finish();
  return {
    clientIdRefused: clientIdEmpty && (level === 3 || (level === 4 && (flags & CLEAN_FLAG) === 0)),
    userProperties: properties,
    willUserProperties,
  };
}

function readFlags(reader: FrameReader, level: ProtocolLevel): number {
  let flags = reader.byte('the connect flags');
  if (!reader.ok) return 0;
  if (level === 3) {
    // 3.1 does not use bit 0 and disregards the will's options without a will, where later levels forbid them.
    const tolerated = RESERVED_FLAG | ((flags & WILL_FLAG) === 0 ? WILL_OPTION_FLAGS : 0);
    if ((flags & tolerated) !== 0) {
      flags &= ~tolerated;
      reader.patch(reader.position - 1, flags);
    }
  }
  // [MQTT-3.1.2-3]
  if ((flags & RESERVED_FLAG) !== 0) malformed(reader, 'The reserved connect flag is set');
  // [MQTT-3.1.2-11], [MQTT-3.1.2-13]; in 3.1.1 [MQTT-3.1.2-13], [MQTT-3.1.2-15]
  if ((flags & WILL_FLAG) === 0 && (flags & WILL_OPTION_FLAGS) !== 0) malformed(reader, 'Will options without a will');
  // [MQTT-3.1.2-12], in 3.1.1 [MQTT-3.1.2-14]
  if ((flags & 0x18) === 0x18) malformed(reader, 'The QoS of the will is 3');
  // [MQTT-3.1.2-22] of 3.1.1; level 5 allows it.
  if (level < 5 && (flags & PASSWORD_FLAG) !== 0 && (flags & USERNAME_FLAG) === 0) {
    malformed(reader, 'A password without a user name');
  }
  return flags;
}

function malformed(reader: FrameReader, reason: string): void {
  reader.fail(ReasonCode.MALFORMED_PACKET, reason);
}

function connectProperties(reader: FrameReader): UserProperties {
  const properties = reader.properties(PacketType.CONNECT);
  // 3.1.2.11.10
  if (reader.scan.has(PropertyId.AUTHENTICATION_DATA) && !reader.scan.has(PropertyId.AUTHENTICATION_METHOD)) {
    reader.fail(ReasonCode.PROTOCOL_ERROR, 'Authentication data without an authentication method');
  }
  return properties;
}

function walkWill(reader: FrameReader, level: ProtocolLevel): UserProperties {
  const properties = level === 5 ? reader.properties(WILL_PROPERTIES) : [];
  const topicStart = reader.text('the will topic');
  if (reader.ok && (topicStart === reader.position || hasWildcard(reader.frame, topicStart, reader.position))) {
    // [MQTT-4.7.3-1], [MQTT-3.3.2-2]: it will be the topic name of a PUBLISH.
    reader.fail(ReasonCode.TOPIC_NAME_INVALID, 'The will topic is empty or has wildcards');
  }
  reader.binary('the will payload');
  return properties;
}

function walkCredentials(reader: FrameReader, level: ProtocolLevel, flags: number, flagsPosition: number): void {
  if ((flags & USERNAME_FLAG) !== 0) {
    // 3.1: the remaining length decides, so that flags of fields that are not there are disregarded.
    if (level === 3 && reader.ok && reader.remaining === 0) {
      reader.patch(flagsPosition, flags & ~(USERNAME_FLAG | PASSWORD_FLAG));
      return;
    }
    reader.text('the user name');
  }
  if ((flags & PASSWORD_FLAG) !== 0) {
    if (level === 3 && reader.ok && reader.remaining === 0) {
      reader.patch(flagsPosition, flags & ~PASSWORD_FLAG);
      return;
    }
    reader.binary('the password');
  }
}

function build(source: IConnectPacket, level: ProtocolLevel, fields: ConnectFields): ConnectPacket {
  const properties = source.properties;
  return {
    type: PacketType.CONNECT,
    level,
    clean: source.clean === true,
    clientId: source.clientId,
    keepAliveS: source.keepalive ?? 0,
    username: source.username,
    password: copyOf(source.password),
    will: source.will === undefined ? undefined : buildWill(source.will, fields.willUserProperties),
    sessionExpiryS: properties?.sessionExpiryInterval,
    receiveMaximum: properties?.receiveMaximum,
    maximumPacketSize: properties?.maximumPacketSize,
    topicAliasMaximum: properties?.topicAliasMaximum,
    requestResponseInformation: properties?.requestResponseInformation,
    requestProblemInformation: properties?.requestProblemInformation,
    userProperties: fields.userProperties,
    authenticationMethod: properties?.authenticationMethod,
    authenticationData: copyOf(properties?.authenticationData),
  };
}

function buildWill(source: NonNullable<IConnectPacket['will']>, userProperties: UserProperties): Will {
  const properties = source.properties;
  return {
    topic: source.topic,
    payload: Buffer.from(source.payload),
    qos: source.qos ?? 0,
    retain: source.retain === true,
    delayS: properties?.willDelayInterval ?? 0,
    properties: {
      payloadFormat:
        properties?.payloadFormatIndicator === undefined ? undefined : properties.payloadFormatIndicator ? 1 : 0,
      expiryS: properties?.messageExpiryInterval,
      contentType: properties?.contentType,
      responseTopic: properties?.responseTopic,
      correlationData: copyOf(properties?.correlationData),
      userProperties,
    },
  };
}

/** `mqtt-packet` answers with views of the received bytes, whose memory is used again for the next ones. */
function copyOf(bytes: Buffer | undefined): Buffer | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes);
}
