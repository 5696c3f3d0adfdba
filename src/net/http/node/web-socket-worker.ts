/**
 * WebSockets with `ws` on one worker: takes sockets of which no HTTP was read, reads the upgrade with a `node:http` server
 * that never listens, and answers plain HTTP itself. Made on a worker: by the adapter, or by whoever brings the sockets.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { receiveMessageOnPort } from 'node:worker_threads';
import { type ServerOptions, WebSocketServer } from 'ws';
import type { ConnectionFacts } from '../../tcp/buffered-connection.ts';
import { leave } from '../leave.ts';
import type { WebSocketEndpoint, WebSocketTransport, WebSocketWorker, WebSocketWorkerOptions } from '../port.ts';
import { asClosingMessage, failure, RouteTable } from '../routing.ts';
import { decideUpgrade } from '../upgrade.ts';
import { createServer } from './create-server.ts';
import { refuseMalformed } from './listener.ts';
import { answer } from './request.ts';
import type { SocketMessage } from './web-socket-acceptor.ts';
import { NodeWebSocketConnection } from './web-socket-connection.ts';

/** Upper bound of the time between two looks at hand-shakes that are overdue and peers that are silent. */
const SWEEP_INTERVAL_MS_MAX = 1_000;
/** How long a peer may take to answer a close frame, or to end its side after it has sent one, ms. Left alone, `ws` waits for 30 s. */
const CLOSE_TIMEOUT_MS = 2_000;

export async function serveWebSockets(
  transport: WebSocketTransport,
  options: WebSocketWorkerOptions,
): Promise<WebSocketWorker> {
  const server = new NodeWebSocketServer(options);
  transport.port.on('message', ({ socket }: SocketMessage) => server.take(socket));
  transport.port.postMessage('join');
  return {
    get connectionCount() {
      return server.connectionCount;
    },
    stop: async (code, graceMs) => {
      await leave(transport);
      // What main handed over before it noted the leave is in the port by now.
      for (;;) {
        const late = receiveMessageOnPort(transport.port) as { message: SocketMessage } | undefined;
        if (late === undefined) break;
        late.message.socket.destroy();
      }
      transport.port.close();
      await server.stop(code, graceMs);
    },
  };
}

interface Handshake {
  /** When it is cut unless it has been upgraded by then, ms of `performance.now()`. */
  readonly deadlineMs: number;
  readonly facts: ConnectionFacts | undefined;
  isOverdue: boolean;
  isAnswered: boolean;
}

/**
 * An upgrade has no body (RFC 6455, 4.1: it is a GET). For one that announces a body Node hands out another stream than the socket, which
 * would then be counted and timed as a hand-shake that never ended.
 */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0;
}

export class NodeWebSocketServer {
  readonly #options: WebSocketWorkerOptions;
  readonly #endpoints: ReadonlyMap<string, WebSocketEndpoint>;
  readonly #http: Server;
  readonly #webSockets: WebSocketServer;
  /** Every open socket before its upgrade. */
  readonly #handshakes = new Map<Socket, Handshake>();
  readonly #connections = new Set<NodeWebSocketConnection>();
  readonly #sweep: NodeJS.Timeout;
  readonly #notFound = failure(404);
  readonly #badRequest = failure(400);
  #chosenProtocol = '';

  constructor(options: WebSocketWorkerOptions) {
    this.#options = options;
    this.#endpoints = new Map(options.endpoints.map((endpoint) => [endpoint.path, endpoint]));
    const routes = new RouteTable(options.routes, options.onHandlerError, this.#endpoints.keys());
    // The time limit is kept here (`#handshakes`): Node checks its own only in servers that listen.
    this.#http = createServer({ noDelay: true, headersTimeout: 0, requestTimeout: 0, keepAliveTimeout: 0 });
    this.#http.on('request', (message, response) => {
      this.#answered(message.socket);
      answer(message, response, routes, 0, () => true);
    });
    this.#http.on('clientError', refuseMalformed);
    this.#http.on('upgrade', (message, socket, head) => this.#upgrade(message, socket, head));
    // Its types do not know `closeTimeout` yet.
    const serverOptions: ServerOptions & { readonly closeTimeout: number } = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: options.messageBytesMax,
      closeTimeout: CLOSE_TIMEOUT_MS,
      // Called inside `handleUpgrade`, and only when the client offered something.
      handleProtocols: () => (this.#chosenProtocol === '' ? false : this.#chosenProtocol),
    };
    this.#webSockets = new WebSocketServer(serverOptions);
    const { handshakeTimeoutMs, idleTimeoutMs } = options;
    const shortest = Math.min(handshakeTimeoutMs, idleTimeoutMs === 0 ? Number.POSITIVE_INFINITY : idleTimeoutMs);
    const interval = Math.max(10, Math.min(SWEEP_INTERVAL_MS_MAX, shortest / 4));
    this.#sweep = setInterval(() => this.#cutOverdue(), interval);
  }

  get connectionCount(): number {
    return this.#handshakes.size + this.#connections.size;
  }

  /** Cuts what is no WebSocket yet. */
  cutHandshakes(): void {
    for (const socket of this.#handshakes.keys()) socket.destroy();
  }

  /** Closes every connection with `code` and cuts those that have not answered after `graceMs`. */
  async stop(code: number, graceMs: number): Promise<void> {
    clearInterval(this.#sweep);
    this.cutHandshakes();
    const open = [...this.#connections].map((connection) => connection.ended);
    for (const connection of this.#connections) connection.close(code, '');
    const timer = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy();
    }, graceMs);
    await Promise.all(open);
    clearTimeout(timer);
  }

  /** Takes a socket, TLS or not, of which nothing behind the facts was read. */
  take(socket: Socket, facts?: ConnectionFacts): void {
    if (this.connectionCount >= this.#options.connectionsMax) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    const deadlineMs = performance.now() + this.#options.handshakeTimeoutMs;
    const handshake: Handshake = { deadlineMs, facts, isOverdue: false, isAnswered: false };
    this.#handshakes.set(socket, handshake);
    socket.once('close', () => {
      if (!this.#handshakes.delete(socket)) return;
      this.#options.abandoned?.(handshake.isAnswered ? 'answered' : handshake.isOverdue ? 'timeout' : 'gone');
    });
    this.#http.emit('connection', socket);
  }

  #answered(socket: Duplex): void {
    const handshake = this.#handshakes.get(socket as Socket);
    if (handshake !== undefined) handshake.isAnswered = true;
  }

  #upgrade(message: IncomingMessage, socket: Duplex, head: Buffer): void {
    // The HTTP server took its listener away; a reset during the hand-shake must not be an uncaught exception.
    socket.on('error', () => socket.destroy());
    const { headers } = message;
    const path = (message.url ?? '/').split('?', 1)[0];
    const endpoint = this.#endpoints.get(path);
    if (hasBody(message)) {
      this.#answered(message.socket);
      socket.end(asClosingMessage(this.#badRequest), () => message.socket.destroy());
      return;
    }
    if (endpoint === undefined || headers.upgrade?.toLowerCase() !== 'websocket') {
      this.#answered(socket);
      socket.end(asClosingMessage(this.#notFound), () => socket.destroy());
      return;
    }
    const decision = decideUpgrade(
      endpoint,
      {
        version: headers['sec-websocket-version'] ?? '',
        origin: headers.origin ?? '',
        host: headers.host ?? '',
        protocols: headers['sec-websocket-protocol'] ?? '',
      },
      this.#options.originAllowed,
    );
    if (!decision.accepted) {
      this.#answered(socket);
      socket.end(asClosingMessage(decision.response), () => socket.destroy());
      return;
    }
    this.#chosenProtocol = decision.protocol;
    this.#webSockets.handleUpgrade(message, socket, head, (webSocket) => {
      const handshake = this.#handshakes.get(socket as Socket);
      this.#handshakes.delete(socket as Socket);
      const connection = new NodeWebSocketConnection(webSocket, socket as Socket, path, handshake?.facts);
      this.#connections.add(connection);
      void connection.ended.then(() => this.#connections.delete(connection));
      connection.serve(endpoint.accept(connection));
    });
  }

  #cutOverdue(): void {
    const now = performance.now();
    for (const [socket, handshake] of this.#handshakes) {
      if (now < handshake.deadlineMs) continue;
      handshake.isOverdue = true;
      socket.destroy();
    }
    if (this.#options.idleTimeoutMs === 0) return;
    for (const connection of this.#connections) connection.checkIdle(now, this.#options.idleTimeoutMs);
  }
}
