/** PINGREQ, DISCONNECT and AUTH, and packets that no client sends at all. See `vector.ts`. */
import type { AuthPacket, DisconnectPacket, PingreqPacket } from '../../../src/protocols/mqtt/packets/types.ts';
import type { MalformedVector, ValidVector } from './vector.ts';

const MALFORMED = 0x81;
const PROTOCOL_ERROR = 0x82;

export const validControls: readonly ValidVector<PingreqPacket | DisconnectPacket | AuthPacket>[] = [
  { name: '3.1 PINGREQ', level: 3, hex: 'c0 00', packet: { type: 12 } },
  { name: '3.1.1 PINGREQ', level: 4, hex: 'c0 00', packet: { type: 12 } },
  { name: '5 PINGREQ', level: 5, hex: 'c0 00', packet: { type: 12 } },
  { name: '3.1 DISCONNECT', level: 3, hex: 'e0 00', packet: { type: 14, reasonCode: 0, userProperties: [] } },
  { name: '3.1.1 DISCONNECT', level: 4, hex: 'e0 00', packet: { type: 14, reasonCode: 0, userProperties: [] } },
  { name: '5 DISCONNECT without fields', level: 5, hex: 'e0 00', packet: { type: 14, reasonCode: 0, userProperties: [] } },
  {
    name: '5 DISCONNECT with a reason code only',
    level: 5,
    clause: '3.14.2.2.1',
    hex: 'e0 01 04',
    packet: { type: 14, reasonCode: 4, userProperties: [] },
  },
  {
    name: '5 DISCONNECT with everything',
    level: 5,
    hex: 'e0 1b 00 19 11 0000000a 1f 0003 "bye" 26 0001 "b" 0001 "1" 26 0001 "a" 0001 "2"',
    packet: {
      type: 14,
      reasonCode: 0,
      sessionExpiryS: 10,
      reasonString: 'bye',
      userProperties: [
        ['b', '1'],
        ['a', '2'],
      ],
    },
  },
  {
    name: '5 AUTH that continues',
    level: 5,
    hex: 'f0 0f 18 0d 15 0005 "SCRAM" 16 0002 0001',
    packet: {
      type: 15,
      reasonCode: 0x18,
      authenticationMethod: 'SCRAM',
      authenticationData: Buffer.from([0, 1]),
      userProperties: [],
    },
  },
  {
    name: '5 AUTH that starts again',
    level: 5,
    hex: 'f0 19 19 17 15 0005 "SCRAM" 1f 0005 "again" 26 0001 "k" 0001 "v"',
    packet: {
      type: 15,
      reasonCode: 0x19,
      authenticationMethod: 'SCRAM',
      reasonString: 'again',
      userProperties: [['k', 'v']],
    },
  },
];

export const malformedControls: readonly MalformedVector[] = [
  { name: 'PINGREQ with flags', level: 4, hex: 'c1 00', reasonCode: MALFORMED, reason: 'fixed header' },
  { name: 'PINGREQ with a payload', level: 4, hex: 'c0 01 00', reasonCode: MALFORMED, reason: 'last field' },
  { name: '3.1.1 DISCONNECT with a reason code', level: 4, hex: 'e0 01 00', reasonCode: MALFORMED, reason: 'last field' },
  {
    name: 'DISCONNECT with flags',
    level: 4,
    clause: 'MQTT-3.14.1-1',
    hex: 'e2 00',
    reasonCode: MALFORMED,
    reason: 'fixed header',
  },
  {
    name: '5 DISCONNECT with a reason code that does not exist',
    level: 5,
    clause: 'MQTT-3.14.2-1',
    hex: 'e0 01 7f',
    reasonCode: PROTOCOL_ERROR,
    reason: 'reason code 127',
  },
  {
    name: '5 DISCONNECT with a reason code of servers',
    level: 5,
    clause: '3.14.2.1',
    hex: 'e0 01 8e',
    reasonCode: PROTOCOL_ERROR,
    reason: 'reason code 142',
  },
  {
    name: '5 DISCONNECT with bytes behind the properties',
    level: 5,
    hex: 'e0 03 00 00 00',
    reasonCode: MALFORMED,
    reason: 'last field',
  },
  { name: '5 AUTH without fields', level: 5, clause: '3.15.2.1', hex: 'f0 00', reasonCode: PROTOCOL_ERROR, reason: 'reason code 0' },
  {
    name: '5 AUTH without a method',
    level: 5,
    clause: '3.15.2.2.2',
    hex: 'f0 02 18 00',
    reasonCode: PROTOCOL_ERROR,
    reason: 'authentication method',
  },
  { name: '3.1.1 AUTH', level: 4, hex: 'f0 06 18 04 15 0001 "S"', reasonCode: PROTOCOL_ERROR, reason: 'type 15' },
  { name: 'packet type 0', level: 4, hex: '00 00', reasonCode: PROTOCOL_ERROR, reason: 'type 0' },
  { name: 'CONNACK from a client', level: 4, hex: '20 02 0000', reasonCode: PROTOCOL_ERROR, reason: 'type 2' },
  { name: 'SUBACK from a client', level: 5, hex: '90 04 0001 00 00', reasonCode: PROTOCOL_ERROR, reason: 'type 9' },
  { name: 'UNSUBACK from a client', level: 4, hex: 'b0 02 0001', reasonCode: PROTOCOL_ERROR, reason: 'type 11' },
  { name: 'PINGRESP from a client', level: 4, hex: 'd0 00', reasonCode: PROTOCOL_ERROR, reason: 'type 13' },
];
