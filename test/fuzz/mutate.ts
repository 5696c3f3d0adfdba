/** The ways in which packets are broken. Pure; called by the cases of the fuzz harness. */
import type { Random } from './random.ts';

export type Mutation = (random: Random, packet: Buffer, other: Buffer) => Buffer;

/** Numbers of the variable byte integer (1.5.5) at its borders, beyond them, and never ending. */
const extremeLengths: readonly (readonly number[])[] = [
  [0x00],
  [0x7f],
  [0x80, 0x00],
  [0x80, 0x01],
  [0xff, 0x7f],
  [0x80, 0x80, 0x00],
  [0xff, 0xff, 0x7f],
  [0x80, 0x80, 0x80, 0x00],
  [0xff, 0xff, 0xff, 0x7f],
  [0xff, 0xff, 0xff, 0xff],
  [0x80, 0x80, 0x80, 0x80, 0x01],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
];

/** Bytes of the remaining length of a packet, without looking whether it is a valid one. */
function lengthBytes(packet: Buffer): number {
  let count = 1;
  while (count < 4 && count < packet.length - 1 && packet[count] >= 0x80) count++;
  return count;
}

function encodeLength(length: number): Buffer {
  const bytes: number[] = [];
  let rest = length;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** Gives most mutants a length that agrees, or nothing behind the fixed header would ever be looked at. */
function repaired(random: Random, packet: Buffer): Buffer {
  if (packet.length < 2 || random.oneIn(6)) return packet;
  const body = packet.subarray(1 + lengthBytes(packet));
  return Buffer.concat([packet.subarray(0, 1), encodeLength(body.length), body]);
}

export const mutations: ReadonlyMap<string, Mutation> = new Map<string, Mutation>([
  [
    'bit flips',
    (random, packet) => {
      const flipped = Buffer.from(packet);
      for (let count = random.between(1, 4); count > 0; count--)
        flipped[random.below(flipped.length)] ^= 1 << random.below(8);
      return flipped;
    },
  ],
  ['truncation', (random, packet) => repaired(random, packet.subarray(0, random.between(1, packet.length)))],
  [
    'length lies',
    (random, packet) => {
      const body = packet.subarray(1 + lengthBytes(packet));
      const lie = random.pick([
        0,
        1,
        body.length - 1,
        body.length + 1,
        body.length * 2,
        random.below(300),
        268_435_455,
      ]);
      return Buffer.concat([packet.subarray(0, 1), encodeLength(Math.max(0, lie)), body]);
    },
  ],
  [
    // A length inside the packet: of a text, of binary data, of the properties.
    'inner length lies',
    (random, packet) => {
      const changed = Buffer.from(packet);
      const at = random.below(changed.length);
      const value = random.pick([0, 1, 0x7f, 0x80, 0xff, changed.length, changed.length - at]);
      changed[at] = value;
      if (at + 1 < changed.length && random.oneIn(2)) changed[at + 1] = random.pick([0, 1, 0xff]);
      return repaired(random, changed);
    },
  ],
  [
    'splices',
    (random, packet, other) => {
      const head = packet.subarray(0, random.between(1, packet.length));
      return repaired(random, Buffer.concat([head, other.subarray(random.below(other.length))]));
    },
  ],
  [
    'duplicated bytes',
    (random, packet) => {
      const start = random.below(packet.length);
      const end = random.between(start + 1, packet.length);
      const again = Array.from({ length: random.pick([1, 1, 2, 30]) }, () => packet.subarray(start, end));
      return repaired(random, Buffer.concat([packet.subarray(0, end), ...again, packet.subarray(end)]));
    },
  ],
  [
    'dropped bytes',
    (random, packet) => {
      const at = random.below(packet.length);
      return repaired(random, Buffer.concat([packet.subarray(0, at), packet.subarray(at + random.between(1, 4))]));
    },
  ],
  [
    'extreme varints',
    (random, packet) => {
      const length = Buffer.from(random.pick(extremeLengths));
      if (random.oneIn(2))
        return Buffer.concat([packet.subarray(0, 1), length, packet.subarray(1 + lengthBytes(packet))]);
      const at = random.between(2, Math.max(2, packet.length));
      return repaired(random, Buffer.concat([packet.subarray(0, at), length, packet.subarray(at)]));
    },
  ],
  ['other header', (random, packet) => Buffer.concat([Buffer.from([random.below(256)]), packet.subarray(1)])],
]);
