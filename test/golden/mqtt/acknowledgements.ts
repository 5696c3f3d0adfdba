/** PUBACK, PUBREC, PUBREL and PUBCOMP of every level. See `vector.ts`. */
import type { MalformedVector, ValidVector } from './vector.ts';

const MALFORMED = 0x81;
const PROTOCOL_ERROR = 0x82;

export interface AcknowledgementMeaning {
  readonly type: 4 | 5 | 6 | 7;
  readonly packetId: number;
  readonly reasonCode: number;
  /** The broker writes the same bytes for it; else they are one of several forms. */
  readonly canonical: boolean;
}

export const validAcknowledgements: readonly ValidVector<AcknowledgementMeaning>[] = [
  { name: '3.1 PUBACK', level: 3, hex: '40 02 0001', packet: { type: 4, packetId: 1, reasonCode: 0, canonical: true } },
  { name: '3.1 PUBREL', level: 3, hex: '62 02 0001', packet: { type: 6, packetId: 1, reasonCode: 0, canonical: true } },
  {
    name: '3.1 PUBREL sent again, with DUP',
    level: 3,
    hex: '6a 02 0001',
    packet: { type: 6, packetId: 1, reasonCode: 0, canonical: false },
  },
  { name: '3.1.1 PUBACK', level: 4, hex: '40 02 ffff', packet: { type: 4, packetId: 65535, reasonCode: 0, canonical: true } },
  { name: '3.1.1 PUBREC', level: 4, hex: '50 02 0100', packet: { type: 5, packetId: 256, reasonCode: 0, canonical: true } },
  { name: '3.1.1 PUBREL', level: 4, hex: '62 02 0100', packet: { type: 6, packetId: 256, reasonCode: 0, canonical: true } },
  { name: '3.1.1 PUBCOMP', level: 4, hex: '70 02 0100', packet: { type: 7, packetId: 256, reasonCode: 0, canonical: true } },
  { name: '5 PUBACK', level: 5, hex: '40 02 0001', packet: { type: 4, packetId: 1, reasonCode: 0, canonical: true } },
  {
    name: '5 PUBACK with a reason code and no property length',
    level: 5,
    clause: '3.4.2.2.1',
    hex: '40 03 0001 10',
    packet: { type: 4, packetId: 1, reasonCode: 0x10, canonical: true },
  },
  {
    name: '5 PUBACK with success spelled out',
    level: 5,
    hex: '40 04 0001 00 00',
    packet: { type: 4, packetId: 1, reasonCode: 0, canonical: false },
  },
  {
    name: '5 PUBREC with everything',
    level: 5,
    hex: '50 19 0001 97 15 1f 0004 "full" 26 0001 "k" 0001 "v" 26 0001 "k" 0001 "v"',
    packet: { type: 5, packetId: 1, reasonCode: 0x97, canonical: false },
  },
  {
    name: '5 PUBREL of an unknown packet identifier',
    level: 5,
    hex: '62 03 0001 92',
    packet: { type: 6, packetId: 1, reasonCode: 0x92, canonical: true },
  },
  {
    name: '5 PUBCOMP of an unknown packet identifier',
    level: 5,
    hex: '70 03 0001 92',
    packet: { type: 7, packetId: 1, reasonCode: 0x92, canonical: true },
  },
];

export const malformedAcknowledgements: readonly MalformedVector[] = [
  { name: 'PUBACK without fields', level: 4, hex: '40 00', reasonCode: MALFORMED },
  { name: 'PUBACK with half a packet identifier', level: 5, hex: '40 01 00', reasonCode: MALFORMED },
  { name: 'PUBACK with packet identifier 0', level: 4, hex: '40 02 0000', reasonCode: PROTOCOL_ERROR },
  { name: 'PUBACK with flags', level: 4, clause: 'MQTT-2.2.2-2 of 3.1.1', hex: '42 02 0001', reasonCode: MALFORMED },
  { name: 'PUBREL with flags 0000', level: 4, clause: 'MQTT-3.6.1-1', hex: '60 02 0001', reasonCode: MALFORMED },
  { name: '3.1.1 PUBREL with DUP', level: 4, clause: 'MQTT-3.6.1-1', hex: '6a 02 0001', reasonCode: MALFORMED },
  { name: '3.1.1 PUBACK with a reason code', level: 4, hex: '40 03 0001 00', reasonCode: MALFORMED },
  {
    name: '5 PUBACK with a reason code that does not exist',
    level: 5,
    clause: 'MQTT-3.4.2-1',
    hex: '40 03 0001 01',
    reasonCode: PROTOCOL_ERROR,
  },
  {
    name: '5 PUBREL with a reason code of PUBACK',
    level: 5,
    clause: 'MQTT-3.6.2-1',
    hex: '62 03 0001 87',
    reasonCode: PROTOCOL_ERROR,
  },
  { name: '5 PUBACK with a property length beyond the packet', level: 5, hex: '40 04 0001 00 01', reasonCode: MALFORMED },
  { name: '5 PUBACK with bytes behind the properties', level: 5, hex: '40 05 0001 00 00 00', reasonCode: MALFORMED },
  {
    name: '5 PUBACK with two reason strings',
    level: 5,
    clause: '3.4.2.2.2',
    hex: '40 0c 0001 00 08 1f 0001 "a" 1f 0001 "b"',
    reasonCode: PROTOCOL_ERROR,
  },
  {
    name: '5 PUBACK with a topic alias',
    level: 5,
    clause: '2.2.2.2',
    hex: '40 07 0001 00 03 23 0001',
    reasonCode: MALFORMED,
  },
];
