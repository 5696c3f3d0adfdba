/**
 * How the load harness reaches a broker: TCP, TLS or WebSocket. What comes is put into one read buffer that all connections share, so
 * that a chunk is to be consumed whole before the call returns. Thread of the harness.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { BenchPlan } from './options.ts';

/** As much as one read can bring: fewer, longer reads are what lets one core keep up with a broker. */
const READ_BYTES = 256 * 1024;
export const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);

export interface TransportEvents {
  onOpen(): void;
  /** The first `byteCount` bytes of `readBuffer` came. */
  onRead(byteCount: number): void;
  onError(reason: string): void;
  /** Always the last one, and once. */
  onClose(): void;
}

export interface Transport {
  /** Bytes that were written and not taken yet. While there are any, written buffers must not be touched. */
  readonly pendingBytes: number;
  write(bytes: Uint8Array, onWritten?: () => void): void;
  /** Ends when all is written, with `last` behind it. */
  end(last: Uint8Array | null): void;
  destroy(): void;
}

/** Begins to connect, from `localAddress` if there is one. */
export function openTransport(plan: BenchPlan, localAddress: string | undefined, events: TransportEvents): Transport {
  return plan.isWebSocket ? new WebSocketTransport(plan, events) : new SocketTransport(plan, localAddress, events);
}

class SocketTransport implements Transport {
  readonly #socket: Socket;

  constructor(plan: BenchPlan, localAddress: string | undefined, events: TransportEvents) {
    const target = { host: plan.host, port: plan.port, ...(localAddress === undefined ? {} : { localAddress }) };
    const socket = plan.tls === null ? openPlain(target, events) : openSecure(plan, target, events);
    this.#socket = socket;
    socket.on('error', (error: NodeJS.ErrnoException) => events.onError(error.code ?? error.message));
    socket.on('close', () => events.onClose());
  }

  get pendingBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array, onWritten?: () => void): void {
    this.#socket.write(bytes, onWritten);
  }

  end(last: Uint8Array | null): void {
    if (last !== null) this.#socket.end(last);
    this.#socket.destroySoon();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

interface Target {
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string;
}

function openPlain(target: Target, events: TransportEvents): Socket {
  const socket = connectTcp({
    ...target,
    noDelay: true,
    onread: {
      buffer: readBuffer,
      callback: (byteCount) => {
        events.onRead(byteCount);
        return true;
      },
    },
  });
  return socket.on('connect', () => events.onOpen());
}

function openSecure(plan: BenchPlan, target: Target, events: TransportEvents): Socket {
  // TLS of Node takes neither `onread` nor `noDelay` here.
  const socket = connectTls({ ...target, ...plan.tls, servername: serverNameOf(target.host) });
  socket.setNoDelay(true);
  socket.on('data', (chunk: Buffer) => readCopied(chunk, events));
  return socket.on('secureConnect', () => events.onOpen());
}

/** An address is no server name (RFC 6066, section 3). */
function serverNameOf(host: string): string {
  return /^[\d.]+$|:/.test(host) ? '' : host;
}

function readCopied(chunk: Buffer, events: TransportEvents): void {
  for (let at = 0; at < chunk.length; at += READ_BYTES) {
    events.onRead(chunk.copy(readBuffer, 0, at, Math.min(chunk.length, at + READ_BYTES)));
  }
}

/** With Node's own client: its cost is on the side of the load. */
class WebSocketTransport implements Transport {
  readonly #socket: WebSocket;
  readonly #watches: (() => void)[] = [];
  #watch: NodeJS.Immediate | null = null;

  constructor(plan: BenchPlan, events: TransportEvents) {
    const host = plan.host.includes(':') ? `[${plan.host}]` : plan.host;
    this.#socket = new WebSocket(`ws://${host}:${plan.port}/mqtt`, 'mqtt');
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onopen = () => events.onOpen();
    this.#socket.onmessage = ({ data }) => readCopied(Buffer.from(data as ArrayBuffer), events);
    this.#socket.onerror = () => events.onError('the WebSocket failed');
    this.#socket.onclose = () => events.onClose();
  }

  get pendingBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** The client copies when it masks, in the call. */
  write(bytes: Uint8Array, onWritten?: () => void): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(bytes as Uint8Array<ArrayBuffer>);
    if (onWritten === undefined) return;
    this.#watches.push(onWritten);
    this.#watch ??= setImmediate(() => this.#look());
  }

  /** There is no event for "all is written". */
  #look(): void {
    this.#watch = null;
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    if (this.#socket.bufferedAmount > 0) this.#watch = setImmediate(() => this.#look());
    else for (const onWritten of this.#watches.splice(0)) onWritten();
  }

  end(last: Uint8Array | null): void {
    if (last !== null) this.write(last);
    this.#socket.close();
  }

  destroy(): void {
    if (this.#watch !== null) clearImmediate(this.#watch);
    // One that has not opened yet says that it failed, and closes.
    this.#socket.close();
  }
}
