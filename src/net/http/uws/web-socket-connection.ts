/** One WebSocket of uWebSockets.js, as the port shows it. Lives on the worker that got the connection. */
import type { WebSocket } from 'uWebSockets.js';
import type { WebSocketConnection, WebSocketEndpoint, WebSocketHandler } from '../port.ts';

/** RFC 6455, section 7.4.1. */
const MESSAGE_TOO_BIG = 1009;

/** What the library keeps with each of its WebSockets. */
export interface UserData {
  readonly endpoint: WebSocketEndpoint;
  readonly protocol: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  connection: UwsWebSocketConnection | undefined;
}

export class UwsWebSocketConnection implements WebSocketConnection {
  readonly path: string;
  readonly protocol: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly facts = undefined;
  readonly #webSocket: WebSocket<UserData>;
  readonly #messageBytesMax: number;
  #handler: WebSocketHandler | undefined;
  #closed = false;
  /** The close code of an end that came before `serve`: `accept` itself closed the connection. */
  #endedWith: number | undefined;

  constructor(webSocket: WebSocket<UserData>, userData: UserData, messageBytesMax: number) {
    this.#webSocket = webSocket;
    this.#messageBytesMax = messageBytesMax;
    this.path = userData.endpoint.path;
    this.protocol = userData.protocol;
    this.remoteAddress = userData.remoteAddress;
    this.remotePort = userData.remotePort;
  }

  get bufferedAmount(): number {
    // The library's object must not be touched after the end.
    return this.#closed ? 0 : this.#webSocket.getBufferedAmount();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Starts presenting messages; called once. */
  serve(handler: WebSocketHandler): void {
    this.#handler = handler;
    if (this.#endedWith !== undefined) handler.onClose(this.#endedWith);
  }

  send(data: string | Uint8Array): void {
    if (!this.#closed) this.#webSocket.send(data, typeof data !== 'string');
  }

  /** The library cannot stop reading a WebSocket. */
  pause(): void {
    // Whoever has no room for more closes.
  }

  resume(): void {
    // Nothing was stopped.
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#webSocket.end(code, reason);
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#webSocket.close();
  }

  /** A message arrived. `message` is valid during the call only. */
  received(message: ArrayBuffer, isBinary: boolean): void {
    if (this.#closed) return;
    if (message.byteLength > this.#messageBytesMax) this.close(MESSAGE_TOO_BIG, '');
    else this.#handler?.onMessage(Buffer.from(message), isBinary);
  }

  /** The kernel took some of what was waiting. */
  drained(): void {
    if (!this.#closed && this.#webSocket.getBufferedAmount() === 0) this.#handler?.onDrain();
  }

  /** The library has let go of the connection; called once. */
  ended(code: number): void {
    this.#closed = true;
    if (this.#handler === undefined) this.#endedWith = code;
    else this.#handler.onClose(code);
  }
}
