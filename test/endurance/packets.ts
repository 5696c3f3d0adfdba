/** Packets of the endurance program, for MQTT 3.1.1 and 5 alike. Pure; called by its processes. */

export type Level = 4 | 5;

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function packet(firstByte: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  for (let rest = body.length; length.length === 0 || rest > 0; rest >>>= 7) {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
  }
  return Buffer.concat([Buffer.from([firstByte, ...length]), body]);
}

const none = Buffer.alloc(0);
const noProperties = Buffer.from([0]);

export function connect(level: Level, clientId: string, keepAliveS: number): Buffer {
  const head = Buffer.from([level, 2, keepAliveS >> 8, keepAliveS & 0xff]);
  return packet(0x10, text('MQTT'), head, level === 5 ? noProperties : none, text(clientId));
}

/** With packet identifier 1. */
export function subscribe(level: Level, filters: readonly { readonly topic: string; readonly qos: number }[]): Buffer {
  const parts = filters.flatMap(({ topic, qos }) => [text(topic), Buffer.from([qos])]);
  return packet(0x82, Buffer.from([0, 1]), level === 5 ? noProperties : none, ...parts);
}

/** Of MQTT 3.1.1; `packetId` only for QoS 1. */
export function publish(topic: string, payload: Uint8Array, packetId = 0): Buffer {
  const id = packetId === 0 ? none : Buffer.from([packetId >> 8, packetId & 0xff]);
  return packet(packetId === 0 ? 0x30 : 0x32, text(topic), id, payload);
}

export function puback(packetId: number): Buffer {
  return Buffer.from([0x40, 2, packetId >> 8, packetId & 0xff]);
}

export const pingreq = Buffer.from([0xc0, 0]);
/** Of both versions. */
export const disconnect = Buffer.from([0xe0, 0]);

export const PacketType = { connack: 2, publish: 3, puback: 4, suback: 9, pingresp: 13, disconnect: 14 } as const;
