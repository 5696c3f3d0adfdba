/** PUBLISH of every level. See `vector.ts`. */
import type { MalformedVector, ValidVector } from './vector.ts';

const MALFORMED = 0x81;
const PROTOCOL_ERROR = 0x82;

export interface PublishMeaning {
  readonly topic: string;
  readonly payload: string;
  readonly qos: 0 | 1 | 2;
  readonly retain?: 1;
  readonly dup?: 1;
  readonly packetId?: number;
  readonly topicAlias?: number;
  readonly expiryS?: number;
  readonly payloadFormat?: 1;
  readonly hasSubscriptionIdentifier?: true;
  /** Bytes of its properties, and of those among them that every receiver gets. */
  readonly propertiesLength?: number;
  readonly keptPropertiesLength?: number;
}

export const validPublishes: readonly ValidVector<PublishMeaning>[] = [
  { name: '3.1 QoS 0', level: 3, hex: '30 0a 0003 "a/b" "hello"', packet: { topic: 'a/b', payload: 'hello', qos: 0 } },
  {
    name: '3.1 QoS 1 sent again',
    level: 3,
    hex: '3a 06 0001 "a" 000a "x"',
    packet: { topic: 'a', payload: 'x', qos: 1, dup: 1, packetId: 10 },
  },
  { name: '3.1.1 QoS 0', level: 4, hex: '30 0a 0003 "a/b" "hello"', packet: { topic: 'a/b', payload: 'hello', qos: 0 } },
  { name: '3.1.1 QoS 0 without a payload', level: 4, hex: '30 03 0001 "a"', packet: { topic: 'a', payload: '', qos: 0 } },
  {
    name: '3.1.1 retained, without a payload',
    level: 4,
    hex: '31 03 0001 "a"',
    packet: { topic: 'a', payload: '', qos: 0, retain: 1 },
  },
  {
    name: '3.1.1 QoS 1',
    level: 4,
    hex: '32 06 0001 "a" 0001 "x"',
    packet: { topic: 'a', payload: 'x', qos: 1, packetId: 1 },
  },
  {
    name: '3.1.1 QoS 2, retained, sent again',
    level: 4,
    hex: '3d 06 0001 "a" ffff "x"',
    packet: { topic: 'a', payload: 'x', qos: 2, retain: 1, dup: 1, packetId: 65535 },
  },
  {
    name: '3.1.1 with a two-byte remaining length',
    level: 4,
    hex: '30 8501 0001 "a" "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"',
    packet: { topic: 'a', payload: '0123456789'.repeat(13), qos: 0 },
  },
  { name: '5 QoS 0', level: 5, hex: '30 0b 0003 "a/b" 00 "hello"', packet: { topic: 'a/b', payload: 'hello', qos: 0 } },
  {
    name: '5 QoS 2',
    level: 5,
    hex: '34 0d 0003 "a/b" 0007 00 "hello"',
    packet: { topic: 'a/b', payload: 'hello', qos: 2, packetId: 7 },
  },
  {
    name: '5 with a topic and an alias for it',
    level: 5,
    hex: '30 08 0001 "a" 03 23 0003 "x"',
    packet: { topic: 'a', payload: 'x', qos: 0, topicAlias: 3, propertiesLength: 3 },
  },
  {
    name: '5 with an alias instead of a topic',
    level: 5,
    hex: '32 09 0000 0001 03 23 0003 "x"',
    packet: { topic: '', payload: 'x', qos: 1, packetId: 1, topicAlias: 3, propertiesLength: 3 },
  },
  {
    name: '5 with an expiry of 0 seconds',
    level: 5,
    hex: '30 0c 0001 "a" 07 02 00000000 01 00 "x"',
    packet: { topic: 'a', payload: 'x', qos: 0, expiryS: 0, propertiesLength: 7, keptPropertiesLength: 2 },
  },
  {
    name: '5 with every property',
    level: 5,
    hex: '33 30 0001 "a" 0001 29 01 01 02 ffffffff 23 ffff 08 0001 "r" 09 0002 00ff 26 0001 "k" 0001 "v" 0b 01 0b ff7f 03 0001 "c" 26 0001 "k" 0000 "x"',
    packet: {
      topic: 'a',
      payload: 'x',
      qos: 1,
      retain: 1,
      packetId: 1,
      topicAlias: 65535,
      expiryS: 4_294_967_295,
      payloadFormat: 1,
      hasSubscriptionIdentifier: true,
      propertiesLength: 41,
      keptPropertiesLength: 28,
    },
  },
];

export const malformedPublishes: readonly MalformedVector[] = [
  { name: 'QoS 3', level: 4, clause: 'MQTT-3.3.1-4', hex: '36 05 0001 "a" 0001', reasonCode: MALFORMED },
  { name: 'DUP with QoS 0', level: 4, clause: 'MQTT-3.3.1-2', hex: '38 03 0001 "a"', reasonCode: MALFORMED },
  { name: 'nothing behind the fixed header', level: 4, hex: '30 00', reasonCode: MALFORMED },
  { name: 'half a topic length', level: 4, hex: '30 01 00', reasonCode: MALFORMED },
  { name: 'a topic that is cut short', level: 4, hex: '30 05 0004 "abc"', reasonCode: MALFORMED },
  { name: '3.1.1 with an empty topic', level: 4, clause: 'MQTT-4.7.3-1', hex: '30 03 0000 "x"', reasonCode: MALFORMED },
  { name: 'QoS 1 without a packet identifier', level: 4, hex: '32 04 0001 "a" 00', reasonCode: MALFORMED },
  {
    name: 'QoS 1 with packet identifier 0',
    level: 4,
    clause: 'MQTT-2.3.1-1 of 3.1.1',
    hex: '32 05 0001 "a" 0000',
    reasonCode: PROTOCOL_ERROR,
  },
  {
    name: '5 QoS 2 with packet identifier 0',
    level: 5,
    clause: 'MQTT-2.2.1-3',
    hex: '34 06 0001 "a" 0000 00',
    reasonCode: PROTOCOL_ERROR,
  },
  { name: '5 without a property length', level: 5, hex: '30 03 0001 "a"', reasonCode: MALFORMED },
  { name: '5 with a property length beyond the packet', level: 5, hex: '30 07 0001 "a" 04 230001', reasonCode: MALFORMED },
  {
    name: '5 with a property length of five bytes',
    level: 5,
    clause: '1.5.5',
    hex: '30 09 0001 "a" 8080808001 "x"',
    reasonCode: MALFORMED,
  },
  {
    name: '5 with a property length that is not in its shortest form',
    level: 5,
    clause: 'MQTT-1.5.5-1',
    hex: '30 06 0001 "a" 8000 "x"',
    reasonCode: MALFORMED,
  },
  { name: '5 with an empty topic and no alias', level: 5, clause: '3.3.2.1', hex: '30 04 0000 00 "x"', reasonCode: PROTOCOL_ERROR },
  {
    name: '5 with an empty topic, no alias and another property',
    level: 5,
    clause: '3.3.2.1',
    hex: '30 06 0000 02 01 00 "x"',
    reasonCode: PROTOCOL_ERROR,
  },
  { name: '5 with alias 0', level: 5, clause: 'MQTT-3.3.2-8', hex: '30 08 0001 "a" 03 23 0000 "x"', reasonCode: 0x94 },
  { name: '5 with two aliases', level: 5, clause: '3.3.2.3.4', hex: '30 0a 0001 "a" 06 23 0001 23 0001', reasonCode: PROTOCOL_ERROR },
  { name: '5 with two content types', level: 5, clause: '3.3.2.3.9', hex: '30 0c 0001 "a" 08 03 0001 "x" 03 0001 "x"', reasonCode: PROTOCOL_ERROR },
  { name: '5 with payload format 2', level: 5, clause: '3.3.2.3.2', hex: '30 06 0001 "a" 02 01 02', reasonCode: PROTOCOL_ERROR },
  { name: '5 with a session expiry', level: 5, clause: '2.2.2.2', hex: '30 09 0001 "a" 05 11 00000001', reasonCode: MALFORMED },
  { name: '5 with a property that does not exist', level: 5, clause: '2.2.2.2', hex: '30 06 0001 "a" 02 ff 01', reasonCode: MALFORMED },
  { name: '5 with property 0', level: 5, clause: '2.2.2.2', hex: '30 05 0001 "a" 01 00', reasonCode: MALFORMED },
  { name: '5 with a property that is cut short', level: 5, hex: '30 09 0001 "a" 04 02 000000 "x"', reasonCode: MALFORMED },
  { name: '5 with half a user property', level: 5, hex: '30 09 0001 "a" 04 26 0001 "k" "x"', reasonCode: MALFORMED },
  { name: '5 with U+0000 in a user property', level: 5, clause: 'MQTT-1.5.4-2', hex: '30 0b 0001 "a" 07 26 0001 "k" 0001 00', reasonCode: MALFORMED },
  { name: '5 with a content type that is not UTF-8', level: 5, clause: 'MQTT-1.5.4-1', hex: '30 08 0001 "a" 04 03 0001 ff', reasonCode: MALFORMED },
  { name: '5 with a wildcard in the response topic', level: 5, clause: 'MQTT-3.3.2-14', hex: '30 0a 0001 "a" 06 08 0003 "a/#"', reasonCode: PROTOCOL_ERROR },
  { name: '5 with subscription identifier 0', level: 5, clause: '3.3.2.3.8', hex: '30 06 0001 "a" 02 0b 00', reasonCode: PROTOCOL_ERROR },
  {
    name: '5 with a subscription identifier of five bytes',
    level: 5,
    clause: '1.5.5',
    hex: '30 0a 0001 "a" 06 0b ffffffff01',
    reasonCode: MALFORMED,
  },
];

/** Fixed headers that are wrong whatever follows: `frameLength` answers -2. */
export const malformedHeaders: readonly { readonly name: string; readonly hex: string }[] = [
  { name: 'a remaining length of five bytes', hex: '30 ffffffff01' },
  { name: 'a remaining length that never ends', hex: '30 80808080' },
  { name: '0 in two bytes', hex: '30 8000' },
  { name: '127 in two bytes', hex: '30 ff00' },
  { name: '128 in three bytes', hex: '30 808100' },
];
