/** One WebSocket of `ws`, as the port shows it. Lives on the worker that got the connection; made by its worker side. */
import type { Socket } from 'node:net';
import type { RawData, WebSocket } from 'ws';
import type { ConnectionFacts } from '../../tcp/buffered-connection.ts';
import type { WebSocketConnection, WebSocketHandler } from '../port.ts';

/** RFC 6455, section 7.4.1. */
const ABNORMAL_CLOSURE = 1006;
const MESSAGE_TOO_BIG = 1009;

const binary = { binary: true };
const text = { binary: false };

export class NodeWebSocketConnection implements WebSocketConnection {
  readonly path: string;
  readonly protocol: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly facts: ConnectionFacts | undefined;
  /** Resolves after the stream is gone and the handler's `onClose` has returned. */
  readonly ended: Promise<void>;
  readonly #webSocket: WebSocket;
  #closed = false;
  /** What this side sent first, 0 while it has not. */
  #sentCode = 0;
  #lastHeardMs = performance.now();
  #pinged = false;
  #drainWanted = false;
  /** Messages that the socket has not taken yet. */
  #unsent = 0;
  #handler: WebSocketHandler | undefined;
  // Not `bufferedAmount`: what the library answers to pings lies behind the last message, and nobody is told when that has left.
  readonly #taken = (): void => {
    this.#unsent--;
    if (!this.#drainWanted || this.#closed || this.#unsent > 0) return;
    this.#drainWanted = false;
    this.#handler?.onDrain();
  };
  #resolveEnded: () => void = () => undefined;

  constructor(webSocket: WebSocket, socket: Socket, path: string, facts: ConnectionFacts | undefined) {
    this.#webSocket = webSocket;
    this.path = path;
    this.facts = facts;
    this.protocol = webSocket.protocol;
    this.remoteAddress = facts?.remote?.address ?? socket.remoteAddress ?? '';
    this.remotePort = facts?.remote?.port ?? socket.remotePort ?? 0;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  get bufferedAmount(): number {
    return this.#webSocket.bufferedAmount;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Starts presenting messages; called once. */
  serve(handler: WebSocketHandler): void {
    const webSocket = this.#webSocket;
    this.#handler = handler;
    webSocket.on('message', (data: RawData, isBinary: boolean) => {
      this.#heard();
      // `ws` gives Buffers: its `binaryType` is left at 'nodebuffer'.
      if (!this.#closed) handler.onMessage(data as Buffer, isBinary);
    });
    webSocket.on('ping', () => this.#heard());
    webSocket.on('pong', () => this.#heard());
    // A frame that breaks the protocol: `ws` has sent the fitting close code, 'close' follows.
    webSocket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') this.#sentCode = MESSAGE_TOO_BIG;
    });
    webSocket.on('close', (code) => {
      this.#closed = true;
      handler.onClose(this.#sentCode === 0 ? code : this.#sentCode);
      this.#resolveEnded();
    });
  }

  send(data: string | Uint8Array): void {
    if (this.#closed) return;
    // Small messages are copied by the kernel at once; what it does not take stays referenced, so it has to be a copy.
    const bytes = typeof data === 'string' ? data : Buffer.from(data);
    this.#unsent++;
    this.#webSocket.send(bytes, typeof data === 'string' ? text : binary, this.#taken);
    if (this.#webSocket.bufferedAmount > 0) this.#drainWanted = true;
  }

  pause(): void {
    if (!this.#closed) this.#webSocket.pause();
  }

  resume(): void {
    if (!this.#closed) this.#webSocket.resume();
  }

  close(code: number, reason: string): void {
    // A paused stream would never read the answer to the close frame.
    this.resume();
    if (this.#closed) return;
    this.#closed = true;
    this.#sentCode = code;
    this.#webSocket.close(code, reason);
  }

  destroy(): void {
    if (!this.#closed) this.#sentCode = ABNORMAL_CLOSURE;
    this.#closed = true;
    this.#webSocket.terminate();
  }

  /** Pings a peer that was silent for half the limit and cuts it at the limit. */
  checkIdle(nowMs: number, limitMs: number): void {
    // Nothing is heard from a peer that is not read.
    if (this.#webSocket.isPaused) this.#heard();
    const silentMs = nowMs - this.#lastHeardMs;
    if (silentMs >= limitMs) this.destroy();
    else if (silentMs >= limitMs / 2 && !this.#pinged && !this.#closed) {
      this.#pinged = true;
      this.#webSocket.ping();
    }
  }

  #heard(): void {
    this.#lastHeardMs = performance.now();
    this.#pinged = false;
  }
}
