/**
 * A socket of the endurance program: cheap enough for many thousands in a process. It reads into a buffer that all share, cuts what
 * came into packets and keeps nothing but the beginning of one that is not whole. Thread: the process that made it.
 */
import net, { type Socket } from 'node:net';
import { connect, type Level, PacketType, subscribe } from './packets.ts';

const shared = Buffer.allocUnsafe(256 * 1024);

export interface Place {
  readonly port: number;
  /** Address of this end; each has some 28,000 ports. */
  readonly localAddress: string;
}

export interface Identity {
  readonly level: Level;
  readonly clientId: string;
  readonly keepAliveS: number;
  readonly filters: readonly { readonly topic: string; readonly qos: number }[];
}

export interface WireHandler {
  /** CONNACK and SUBACK came, and both said yes. */
  onReady(): void;
  /** Any other packet; the bytes are there during the call alone. */
  onPacket(type: number, bytes: Buffer, start: number, end: number): void;
  /** It ended without `leave`, was refused, or sent what no server may. */
  onProblem(what: string): void;
}

/** What a subscriber does with what comes. */
export type Reading = 'all' | 'nothing' | 'a byte a second';
export type Leaving = 'disconnect' | 'end' | 'reset';

export class WireSocket {
  isReady = false;
  readonly openedMs = performance.now();
  bytesRead = 0;
  private readonly socket: Socket;
  private readonly handler: WireHandler;
  private readonly identity: Identity;
  private rest: Buffer | null = null;
  private isLeaving = false;
  private trickle: NodeJS.Timeout | null = null;

  constructor(place: Place, identity: Identity, handler: WireHandler, reading: Reading = 'all') {
    this.handler = handler;
    this.identity = identity;
    const buffer = reading === 'all' ? shared : Buffer.alloc(1);
    this.socket = net.connect({
      ...{ port: place.port, host: '127.0.0.1', localAddress: place.localAddress, noDelay: true },
      onread: { buffer, callback: (length) => this.read(reading, length) },
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) => this.ended(error.code ?? error.message));
    this.socket.on('close', () => this.ended('it was closed'));
    this.socket.on('end', () => this.socket.end());
    if (reading !== 'all') this.socket.pause();
    if (reading === 'a byte a second') this.trickle = setInterval(() => this.socket.resume(), 1_000);
    const { level, clientId, keepAliveS, filters } = identity;
    this.socket.write(Buffer.concat([connect(level, clientId, keepAliveS), subscribe(level, filters)]));
  }

  /** What was written and has not left the process. */
  get unsentBytes(): number {
    return this.socket.writableLength;
  }

  write(bytes: Uint8Array): void {
    if (!this.isLeaving) this.socket.write(bytes);
  }

  /** The end that is wanted; nothing is reported any more. `last` goes before it. */
  leave(how: Leaving, last: Uint8Array | null = null): void {
    this.isLeaving = true;
    if (this.trickle !== null) clearInterval(this.trickle);
    if (how === 'reset') this.socket.resetAndDestroy();
    else if (last === null) this.socket.end();
    else this.socket.end(last);
  }

  private ended(why: string): void {
    if (this.trickle !== null) clearInterval(this.trickle);
    if (this.isLeaving) return;
    this.isLeaving = true;
    this.handler.onProblem(`${this.isReady ? 'a connection' : 'a connection that was being made'} ended: ${why}`);
  }

  private read(reading: Reading, length: number): boolean {
    this.bytesRead += length;
    if (reading !== 'all') return false;
    if (!this.isLeaving) this.cut(length);
    return true;
  }

  private cut(length: number): void {
    const bytes = this.rest === null ? shared : Buffer.concat([this.rest, shared.subarray(0, length)]);
    const total = this.rest === null ? length : bytes.length;
    let start = 0;
    for (let end = packetEnd(bytes, start, total); end > 0 && end <= total; end = packetEnd(bytes, start, total)) {
      this.take(bytes, start, end);
      start = end;
      if (this.isLeaving) return;
    }
    this.rest = start === total ? null : Buffer.from(bytes.subarray(start, total));
  }

  private take(bytes: Buffer, start: number, end: number): void {
    const type = (bytes[start] ?? 0) >> 4;
    if (type === PacketType.connack) {
      const code = bytes[start + 3] ?? 0;
      if (code !== 0) this.refused(`CONNECT was answered with ${code}`);
    } else if (type === PacketType.suback) {
      const codes = bytes.subarray(end - this.identity.filters.length, end);
      if (codes.some((code) => code > 2)) this.refused(`SUBSCRIBE was answered with ${codes.join(', ')}`);
      this.isReady = true;
      this.handler.onReady();
    } else if (type === PacketType.disconnect) {
      this.refused(`the broker sent DISCONNECT with reason ${end - start > 2 ? bytes[start + 2] : 0}`);
    } else this.handler.onPacket(type, bytes, start, end);
  }

  private refused(why: string): void {
    this.ended(why);
    this.socket.destroy();
  }
}

/** Offset after the packet that begins at `start`, 0 when its length is not there yet. */
function packetEnd(bytes: Buffer, start: number, total: number): number {
  let length = 0;
  for (let at = start + 1; at < Math.min(total, start + 5); at++) {
    const byte = bytes[at] ?? 0;
    length += (byte & 0x7f) * 128 ** (at - start - 1);
    if (byte < 0x80) return at + 1 + length;
  }
  return 0;
}

/** Offset of the packet identifier of a PUBLISH of QoS 1. */
export function packetIdAt(bytes: Buffer, start: number): number {
  let at = start + 1;
  while ((bytes[at] ?? 0) >= 0x80) at++;
  return at + 3 + bytes.readUInt16BE(at + 1);
}
