/**
 * The HTTP and WebSocket port: what an adapter offers. Two adapters stand behind it, `uws/` (uWebSockets.js) and `node/`
 * (`ws` on `node:http`); `choose.ts` picks one at start, and one contract suite runs over both.
 *
 * Threads: `listen` and `acceptWebSockets` are called on the main thread, `serveWebSockets` on a worker. Plain HTTP is
 * answered on the main thread. WebSocket connections are accepted on the main thread and live on workers, which get
 * them in turn; main and worker are joined by a `WebSocketTransport`.
 */
import type { MessagePort } from 'node:worker_threads';
import type { ConnectionFacts } from '../tcp/buffered-connection.ts';

export type HttpAdapterName = 'uws' | 'node';

export interface HttpAdapter {
  readonly name: HttpAdapterName;
  /**
   * Whether a worker that serves WebSockets may be ended with `worker.terminate()`. With uWebSockets.js it may not: its
   * sockets would be open handles of a thread that is gone, for which Node aborts the process. Such a worker ends by
   * itself (`stop`, a thrown error, `process.exit`).
   */
  readonly workersTerminable: boolean;
  /** Serves plain HTTP on the main thread. Rejects with `BrokerError` `HTTP_LISTEN_FAILED`. */
  listen(options: HttpListenerOptions): Promise<HttpListener>;
  /** Opens a listening socket for WebSockets on the main thread. Rejects with `BrokerError` `HTTP_LISTEN_FAILED`. */
  acceptWebSockets(options: ListenAddress): Promise<WebSocketAcceptor>;
  /** The worker's side of `acceptWebSockets`; returns when the worker takes connections. */
  serveWebSockets(transport: WebSocketTransport, options: WebSocketWorkerOptions): Promise<WebSocketWorker>;
}

export interface ListenAddress {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
}

// HTTP

export interface HttpRequest {
  /** As sent, upper case. `HEAD` arrives here as it is; its response's body is not sent. */
  readonly method: string;
  /** Without the query string, not decoded. */
  readonly path: string;
  /** What follows the first `?`, not decoded, or ''. */
  readonly query: string;
  /** By lower-case name; several headers of one name are joined with ', '. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  readonly remoteAddress: string;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** Answers one request. What it throws or rejects with is reported and becomes 500. */
type HttpHandler = (request: HttpRequest) => HttpResponse | Promise<HttpResponse>;

/** `path` is compared exactly. A `GET` route answers `HEAD` too. */
export interface HttpRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly handler: HttpHandler;
}

/** Routes whose modules need not be there when the listener is. Called at every request until it has resolved: make them once. */
export type LaterHttpRoutes = () => Promise<readonly HttpRoute[]>;

export interface HttpListenerOptions extends ListenAddress {
  /** Two routes with the same method and path are refused with `HTTP_ROUTE_TWICE`; of later ones, each request that asks for them. */
  readonly routes: readonly HttpRoute[] | LaterHttpRoutes;
  readonly limits: HttpLimits;
  /** A handler failed; the client got 500. */
  readonly onHandlerError: (error: unknown, request: HttpRequest) => void;
}

/**
 * Header sections beyond the adapter's own bound (16 KiB with `node`, 4 KiB with `uws`) are answered with 431.
 *
 * uWebSockets.js has fixed time limits for a connection that waits for a request or for the end of its headers: 10 s,
 * at most 14 s with its coarse clock. With it, `requestTimeoutMs` governs bodies, and `keepAliveTimeoutMs` nothing.
 */
export interface HttpLimits {
  /** Larger requests are answered with 413 and the connection is closed. */
  readonly bodyBytesMax: number;
  /** Connections above this count are closed at once. */
  readonly connectionsMax: number;
  /** From the first moment of a connection, or of a request, until the whole request is there. */
  readonly requestTimeoutMs: number;
  /** How long a connection may be idle between requests. */
  readonly keepAliveTimeoutMs: number;
}

export interface HttpListener {
  readonly host: string;
  /** The port really bound. */
  readonly port: number;
  /** Stops accepting, closes idle connections, lets requests in progress finish for `graceMs`, then cuts the rest. */
  stop(graceMs: number): Promise<void>;
}

// WebSocket, main thread

export interface WebSocketAcceptor {
  readonly host: string;
  readonly port: number;
  /**
   * A transport for one more worker. Pass it in `workerData` or `postMessage` with `transport.port` in the transfer
   * list. Connections are spread in turn over the workers that have called `serveWebSockets`; without any they are
   * refused. A worker that stops or dies leaves the turn by itself.
   */
  addWorker(): WebSocketTransport;
  /** Number of workers that take connections now. */
  readonly workerCount: number;
  /** Stops accepting. Connections stay with their workers: stop those after it. */
  stop(): Promise<void>;
}

/** Structured-cloneable, opaque to whoever carries it. */
export interface WebSocketTransport {
  readonly port: MessagePort;
  /** One 32-bit word: 1 once the main thread hands no more connections to this worker. */
  readonly left: SharedArrayBuffer;
}

// WebSocket, worker thread

export interface WebSocketWorkerOptions {
  readonly endpoints: readonly WebSocketEndpoint[];
  /**
   * Decides on the `Origin` header; browsers always send one. It is not asked for clients that send none. Refused
   * origins are answered with 403. `host` is the `Host` header, '' when absent.
   */
  readonly originAllowed: (origin: string, host: string) => boolean;
  /** Plain HTTP that arrives at this listener is answered here and the connection is closed. */
  readonly routes: readonly HttpRoute[];
  readonly onHandlerError: (error: unknown, request: HttpRequest) => void;
  /** Connections of this worker above this count are closed at once. */
  readonly connectionsMax: number;
  /** From accept until the upgrade request is whole; fixed with uWebSockets.js, see `HttpLimits`. */
  readonly handshakeTimeoutMs: number;
  /** A larger message is never delivered: the connection is closed with 1009, or cut when it is far larger. */
  readonly messageBytesMax: number;
  /**
   * A peer that sends nothing, not even the pong to our ping, for this long is cut; 0 switches it off. uWebSockets.js
   * counts in steps of 4 s from 8 s to 960 s.
   */
  readonly idleTimeoutMs: number;
  /** A connection came, before anything of it was read; false closes it at once. Only `uws` asks. */
  readonly admit?: () => boolean;
  /** A connection that `admit` let in, or that was taken, has ended before it was a WebSocket. */
  readonly abandoned?: (why: HandshakeEnd) => void;
}

/** Why a connection ended before it was a WebSocket; 'answered' is also plain HTTP that got its answer. */
export type HandshakeEnd = 'answered' | 'timeout' | 'gone';

export interface WebSocketEndpoint {
  /** Compared exactly. */
  readonly path: string;
  /**
   * Sub-protocols in order of preference. When the list is not empty the client must offer one of them, else it is
   * answered with 400. When it is empty none is negotiated.
   */
  readonly protocols: readonly string[];
  /** Called once per connection, before its first message. */
  readonly accept: (connection: WebSocketConnection) => WebSocketHandler;
}

export interface WebSocketConnection {
  readonly path: string;
  /** The sub-protocol that was agreed on, or ''. */
  readonly protocol: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Bytes that the kernel has not taken yet. Nothing is ever dropped for it: whoever sends bounds it. */
  readonly bufferedAmount: number;
  /** What was found out before the upgrade: the certificate, the proxy's word. Undefined with uWebSockets.js. */
  readonly facts: ConnectionFacts | undefined;
  /** True once the connection is closed from either side; `send` and `close` then do nothing. */
  readonly closed: boolean;
  /** Sends one message: a string as text, bytes as binary. `data` may be reused when it returns. */
  send(data: string | Uint8Array): void;
  /**
   * Stops reading; a few messages that were read already still come. uWebSockets.js has no such thing: there it does
   * nothing, and whoever has no room for more has to close.
   */
  pause(): void;
  resume(): void;
  /** Sends a close frame and closes. `onClose` follows once. */
  close(code: number, reason: string): void;
  /** Cuts the connection without a close frame. `onClose` follows once, with code 1006. */
  destroy(): void;
}

export interface WebSocketHandler {
  /** One whole message. `data` is valid during the call only. */
  onMessage(data: Buffer, isBinary: boolean): void;
  /** The kernel has taken all messages, after `bufferedAmount` was not 0 behind one of them. */
  onDrain(): void;
  /** Called exactly once. `code` is the one that was sent first, by either side, or 1006 when the stream just ended. */
  onClose(code: number): void;
}

export interface WebSocketWorker {
  /** Connections open now, those before their upgrade included. */
  readonly connectionCount: number;
  /**
   * Leaves the acceptor's turn, closes every connection with `code`, and cuts those that have not answered after
   * `graceMs`. Nothing keeps the thread alive afterwards.
   */
  stop(code: number, graceMs: number): Promise<void>;
}
