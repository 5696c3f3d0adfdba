/** The client's end of a byte stream in tests of transports: what it has read so far, and how it ended. Thread of the test. */
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import tls, { type ConnectionOptions, type TLSSocket } from 'node:tls';

/** MQTT 3.1.1 CONNECT with a clean session. */
export function connectPacket(clientId: string, level = 4): Buffer {
  const id = Buffer.from(clientId);
  const properties = level === 5 ? [0] : [];
  const body = Buffer.from([
    0,
    4,
    77,
    81,
    84,
    84,
    level,
    2,
    0,
    60,
    ...properties,
    id.length >> 8,
    id.length & 255,
    ...id,
  ]);
  return Buffer.concat([Buffer.from([0x10, body.length]), body]);
}

/** CONNACK of MQTT 3.1.1 that lets the client in. */
export const welcome = '20020000';
export const pingreq = Buffer.from([0xc0, 0]);

export class Peer {
  readonly socket: Socket;
  bytes = Buffer.alloc(0);
  /** null while it is open; 'end' or the code of the error. */
  ended: string | null = null;
  private wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
      this.wake();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.ended ??= error.code ?? error.message;
    });
    socket.on('close', () => {
      this.ended ??= 'end';
      this.wake();
    });
  }

  /** Takes the first `length` bytes, as hexadecimal digits; '' when the stream ended before. */
  async take(length: number): Promise<string> {
    while (this.bytes.length < length && this.ended === null) await this.change();
    if (this.bytes.length < length) return '';
    const taken = this.bytes.toString('hex', 0, length);
    this.bytes = this.bytes.subarray(length);
    return taken;
  }

  /** How it ended. */
  async end(): Promise<string> {
    while (this.ended === null) await this.change();
    return this.ended;
  }

  write(...parts: readonly Uint8Array[]): this {
    this.socket.write(Buffer.concat(parts));
    return this;
  }

  close(): void {
    this.socket.destroy();
  }

  private change(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}

export async function plainPeer(port: number, localAddress?: string): Promise<Peer> {
  const socket = net.connect({
    port,
    host: '127.0.0.1',
    noDelay: true,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  const peer = new Peer(socket);
  if (peer.ended === null) await Promise.race([once(socket, 'connect').catch(() => undefined), peer.end()]);
  return peer;
}

/** Resolves when the hand-shake is over on this side, or has failed. With `over`, on a stream that is there already. */
export async function tlsPeer(options: ConnectionOptions): Promise<Peer & { readonly socket: TLSSocket }> {
  const socket = tls.connect({ host: '127.0.0.1', servername: 'mq.example', ...options });
  const peer = new Peer(socket);
  await Promise.race([once(socket, 'secureConnect').catch(() => undefined), peer.end()]);
  return peer as Peer & { readonly socket: TLSSocket };
}
