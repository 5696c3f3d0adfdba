/** Packets of the server: the fields they are made from, and their bytes. See `vector.ts`. */
import type {
  AuthFields,
  ConnackFields,
  DisconnectFields,
  PublishFields,
  SubscriptionAnswer,
} from '../../../src/protocols/mqtt/packets/types.ts';
import type { GeneratedVector } from './vector.ts';

export const connacks: readonly GeneratedVector<ConnackFields>[] = [
  { name: '3.1 accepted; the session byte is reserved', level: 3, hex: '20 02 0000', fields: { sessionPresent: true, reasonCode: 0 } },
  { name: '3.1.1 accepted', level: 4, hex: '20 02 0000', fields: { sessionPresent: false, reasonCode: 0 } },
  { name: '3.1.1 with a session', level: 4, hex: '20 02 0100', fields: { sessionPresent: true, reasonCode: 0 } },
  { name: '3.1.1 wrong level', level: 4, hex: '20 02 0001', fields: { sessionPresent: false, reasonCode: 0x84 } },
  { name: '3.1.1 bad client identifier', level: 4, hex: '20 02 0002', fields: { sessionPresent: false, reasonCode: 0x85 } },
  { name: '3.1.1 busy', level: 4, hex: '20 02 0003', fields: { sessionPresent: false, reasonCode: 0x89 } },
  { name: '3.1.1 bad password', level: 4, hex: '20 02 0004', fields: { sessionPresent: false, reasonCode: 0x86 } },
  {
    name: '3.1.1 not authorized; no session goes with a refusal',
    level: 4,
    clause: 'MQTT-3.2.2-4 of 3.1.1',
    hex: '20 02 0005',
    fields: { sessionPresent: true, reasonCode: 0x87 },
  },
  {
    name: '3.1.1 malformed: no return code fits, so nothing is sent',
    level: 4,
    clause: 'MQTT-3.2.2-6 of 3.1.1',
    hex: '',
    fields: { sessionPresent: false, reasonCode: 0x81 },
  },
  { name: '5 accepted', level: 5, hex: '20 03 00 00 00', fields: { sessionPresent: false, reasonCode: 0 } },
  {
    name: '5 refused; no session goes with a refusal',
    level: 5,
    clause: 'MQTT-3.2.2-6',
    hex: '20 08 00 87 05 1f 0002 "no"',
    fields: { sessionPresent: true, reasonCode: 0x87, reasonString: 'no' },
  },
  {
    name: '5 with every property',
    level: 5,
    hex: '20 6d 01 00 6a 11 00000e10 21 0014 24 01 25 00 27 00010000 12 0006 "auto-1" 22 000a 1f 0002 "hi" 26 0001 "b" 0001 "1" 26 0001 "a" 0001 "2" 26 0001 "b" 0001 "3" 26 0009 "__proto__" 0000 28 01 29 01 2a 00 13 003c 1a 0004 "info" 1c 0005 "other" 15 0005 "SCRAM" 16 0002 00ff',
    fields: {
      sessionPresent: true,
      reasonCode: 0,
      sessionExpiryS: 3600,
      receiveMaximum: 20,
      maximumQos: 1,
      retainAvailable: false,
      maximumPacketSize: 65_536,
      assignedClientId: 'auto-1',
      topicAliasMaximum: 10,
      reasonString: 'hi',
      userProperties: [
        ['b', '1'],
        ['a', '2'],
        ['b', '3'],
        ['__proto__', ''],
      ],
      wildcardSubscriptionAvailable: true,
      subscriptionIdentifiersAvailable: true,
      sharedSubscriptionAvailable: false,
      serverKeepAliveS: 60,
      responseInformation: 'info',
      serverReference: 'other',
      authenticationMethod: 'SCRAM',
      authenticationData: Buffer.from([0, 255]),
    },
  },
];

export const subacks: readonly GeneratedVector<SubscriptionAnswer>[] = [
  { name: '3.1 SUBACK', level: 3, hex: '90 05 0001 00 01 02', fields: { packetId: 1, reasonCodes: [0, 1, 2] } },
  {
    name: '3.1.1 SUBACK with failures',
    level: 4,
    clause: 'MQTT-3.9.3-2 of 3.1.1',
    hex: '90 05 ffff 02 80 80',
    fields: { packetId: 65535, reasonCodes: [2, 0x80, 0x8f] },
  },
  { name: '5 SUBACK', level: 5, hex: '90 06 0001 00 00 8f a2', fields: { packetId: 1, reasonCodes: [0, 0x8f, 0xa2] } },
  {
    name: '5 SUBACK with everything',
    level: 5,
    hex: '90 11 0001 0d 1f 0003 "why" 26 0001 "k" 0001 "v" 97',
    fields: { packetId: 1, reasonCodes: [0x97], reasonString: 'why', userProperties: [['k', 'v']] },
  },
];

export const unsubacks: readonly GeneratedVector<SubscriptionAnswer>[] = [
  { name: '3.1 UNSUBACK', level: 3, hex: 'b0 02 0001', fields: { packetId: 1, reasonCodes: [0] } },
  { name: '3.1.1 UNSUBACK', level: 4, hex: 'b0 02 0001', fields: { packetId: 1, reasonCodes: [0, 0x11] } },
  { name: '5 UNSUBACK', level: 5, hex: 'b0 05 0001 00 00 11', fields: { packetId: 1, reasonCodes: [0, 0x11] } },
];

export const disconnects: readonly GeneratedVector<DisconnectFields>[] = [
  { name: '3.1.1 has no DISCONNECT of the server', level: 4, hex: '', fields: { reasonCode: 0x8e } },
  { name: '5 DISCONNECT', level: 5, hex: 'e0 02 8e 00', fields: { reasonCode: 0x8e } },
  {
    name: '5 DISCONNECT with everything',
    level: 5,
    hex: 'e0 1e 9c 1c 1f 0005 "moved" 26 0001 "k" 0001 "v" 1c 000a "other:1883"',
    fields: { reasonCode: 0x9c, reasonString: 'moved', userProperties: [['k', 'v']], serverReference: 'other:1883' },
  },
];

export const auths: readonly GeneratedVector<AuthFields>[] = [
  {
    name: '5 AUTH',
    level: 5,
    hex: 'f0 0e 18 0c 15 0005 "SCRAM" 16 0001 07',
    fields: { reasonCode: 0x18, authenticationMethod: 'SCRAM', authenticationData: Buffer.from([7]) },
  },
];

export const publishes: readonly GeneratedVector<PublishFields>[] = [
  {
    name: '3.1.1 PUBLISH of a will; properties are left out',
    level: 4,
    hex: '33 09 0001 "a" 0007 "gone"',
    fields: {
      topic: 'a',
      payload: Buffer.from('gone'),
      qos: 1,
      retain: true,
      packetId: 7,
      properties: { expiryS: 5, userProperties: [] },
    },
  },
  {
    name: '5 PUBLISH with every property of a will',
    level: 5,
    hex: '30 29 0001 "a" 21 01 01 02 00000005 03 0001 "c" 08 0001 "r" 09 0001 07 26 0001 "b" 0001 "1" 26 0001 "a" 0001 "2" "gone"',
    fields: {
      topic: 'a',
      payload: Buffer.from('gone'),
      qos: 0,
      retain: false,
      packetId: 0,
      properties: {
        payloadFormat: 1,
        expiryS: 5,
        contentType: 'c',
        responseTopic: 'r',
        correlationData: Buffer.from([7]),
        userProperties: [
          ['b', '1'],
          ['a', '2'],
        ],
      },
    },
  },
];

export const PINGRESP_HEX = 'd0 00';
