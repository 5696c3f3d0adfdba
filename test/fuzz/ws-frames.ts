/**
 * WebSocket as bytes (RFC 6455): frames of a client in every legal cut, broken ones, and a reader for what a server sends. Pure; called by
 * the raw client and the cases of the fuzz harness.
 */
import type { Random } from './random.ts';

export const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface FrameOptions {
  readonly opcode?: number;
  readonly isFinal?: boolean;
  /** The three reserved bits, 0 to 7. */
  readonly reserved?: number;
  readonly isMasked?: boolean;
  /** Bytes of the extended length: 0, 2 or 8; the shortest that does as a default. */
  readonly lengthBytes?: 0 | 2 | 8;
  /** What the length says; that of the payload as a default. */
  readonly length?: bigint;
}

/** A single message must stay well below the limit of the broker, 1 MiB. */
const messageBytesMax = 200_000;

export function frame(random: Random, payload: Uint8Array, options: FrameOptions = {}): Buffer {
  const { opcode = Opcode.binary, isFinal = true, reserved = 0, isMasked = true } = options;
  const length = options.length ?? BigInt(payload.length);
  const shortest = length < 126n ? 0 : length < 65_536n ? 2 : 8;
  const lengthBytes = options.lengthBytes ?? shortest;
  const header = Buffer.alloc(2 + lengthBytes);
  header[0] = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode;
  header[1] = (isMasked ? 0x80 : 0) | (lengthBytes === 0 ? Number(length & 0x7fn) : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) header.writeUInt16BE(Number(length & 0xffffn), 2);
  if (lengthBytes === 8) header.writeBigUInt64BE(length & 0xffff_ffff_ffff_ffffn, 2);
  if (!isMasked) return Buffer.concat([header, payload]);
  const mask = random.bytes(4);
  const masked = Buffer.from(payload);
  for (let at = 0; at < masked.length; at++) masked[at] = (masked[at] ?? 0) ^ (mask[at & 3] ?? 0);
  return Buffer.concat([header, mask, masked]);
}

/** The bytes as binary messages in a cut of its own choice: whole, in several messages, in fragments with pings between. */
export function framed(random: Random, bytes: Uint8Array): Buffer {
  const frames: Buffer[] = [];
  for (let position = 0; position < bytes.length || frames.length === 0; ) {
    const rest = bytes.length - position;
    const size = Math.min(rest, random.oneIn(6) ? random.between(0, Math.min(rest, 2_000)) : messageBytesMax);
    const message = bytes.subarray(position, position + size);
    position += size;
    if (random.oneIn(6)) frames.push(...fragments(random, message));
    else frames.push(frame(random, message));
  }
  return Buffer.concat(frames);
}

/** One message in up to 20 frames, empty ones among them. */
export function fragments(random: Random, message: Uint8Array): Buffer[] {
  const frames: Buffer[] = [];
  let position = 0;
  for (let left = random.between(1, 20); left > 0; left--) {
    const size = left === 1 ? message.length - position : random.between(0, Math.min(500, message.length - position));
    const opcode = frames.length === 0 ? Opcode.binary : Opcode.continuation;
    frames.push(frame(random, message.subarray(position, position + size), { opcode, isFinal: left === 1 }));
    position += size;
  }
  if (!random.oneIn(3)) return frames;
  return frames.flatMap((each) => [each, frame(random, random.bytes(random.below(126)), { opcode: Opcode.ping })]);
}

/** An upgrade request that is in order. */
export function upgradeRequest(random: Random, headers: readonly string[] = []): Buffer {
  const lines = [
    'GET /mqtt HTTP/1.1',
    'Host: 127.0.0.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${random.bytes(16).toString('base64')}`,
    'Sec-WebSocket-Protocol: mqtt',
    ...headers,
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

export interface ServerFrame {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** Reads what the server sends after its answer to the upgrade, and says what is wrong with it. */
export class ServerFrames {
  /** The first thing that no server may send. */
  problem: string | null = null;
  private rest: Buffer = Buffer.alloc(0);
  private isFragmented = false;

  take(chunk: Buffer): ServerFrame[] {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    const frames: ServerFrame[] = [];
    for (let next = this.next(); next !== null; next = this.next()) frames.push(next);
    return frames;
  }

  private next(): ServerFrame | null {
    const { rest } = this;
    if (this.problem !== null || rest.length < 2) return null;
    const short = (rest[1] ?? 0) & 0x7f;
    const start = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (rest.length < start) return null;
    const length = short === 126 ? rest.readUInt16BE(2) : short === 127 ? Number(rest.readBigUInt64BE(2)) : short;
    this.judge(rest[0] ?? 0, rest[1] ?? 0, length);
    if (this.problem !== null || rest.length < start + length) return null;
    this.rest = rest.subarray(start + length);
    const opcode = (rest[0] ?? 0) & 0x0f;
    if (opcode < Opcode.close) this.isFragmented = (rest[0] ?? 0) < 0x80;
    return { opcode, payload: rest.subarray(start, start + length) };
  }

  private judge(first: number, second: number, length: number): void {
    const opcode = first & 0x0f;
    const isFinal = first >= 0x80;
    const isControl = opcode >= Opcode.close;
    if ((first & 0x70) !== 0) this.problem = `reserved bits are set in ${first.toString(16)}`;
    else if (second >= 0x80) this.problem = 'the server has masked a frame';
    else if (opcode === Opcode.text)
      this.problem = 'the server has sent text'; // [MQTT-6.0.0-1]
    else if ((opcode > 2 && opcode < 8) || opcode > 10) this.problem = `opcode ${opcode} came`;
    else if (isControl && (!isFinal || length > 125)) this.problem = `a control frame of ${length} bytes came`;
    else if (!isControl && (opcode === Opcode.continuation) !== this.isFragmented) {
      this.problem = `opcode ${opcode} came ${this.isFragmented ? 'within' : 'outside of'} a message`;
    }
  }
}
