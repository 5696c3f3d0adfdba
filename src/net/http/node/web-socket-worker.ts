/**
 * WebSockets with `ws` on one worker: takes the sockets that the main thread accepted, reads the upgrade with a
 * `node:http` server that never listens, and answers plain HTTP itself. Made by the adapter on a worker thread.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { receiveMessageOnPort } from 'node:worker_threads';
import { WebSocketServer } from 'ws';
import { leave } from '../leave.ts';
import type { WebSocketEndpoint, WebSocketTransport, WebSocketWorker, WebSocketWorkerOptions } from '../port.ts';
import { asClosingMessage, failure, RouteTable } from '../routing.ts';
import { decideUpgrade } from '../upgrade.ts';
import { refuseMalformed } from './listener.ts';
import { answer } from './request.ts';
import type { SocketMessage } from './web-socket-acceptor.ts';
import { NodeWebSocketConnection } from './web-socket-connection.ts';

/** Upper bound of the time between two looks at hand-shakes that are overdue and peers that are silent. */
const SWEEP_INTERVAL_MS_MAX = 1_000;

export async function serveWebSockets(
  transport: WebSocketTransport,
  options: WebSocketWorkerOptions,
): Promise<WebSocketWorker> {
  const worker = new NodeWebSocketWorker(transport, options);
  worker.start();
  return worker;
}

class NodeWebSocketWorker implements WebSocketWorker {
  readonly #transport: WebSocketTransport;
  readonly #options: WebSocketWorkerOptions;
  readonly #endpoints: ReadonlyMap<string, WebSocketEndpoint>;
  readonly #http: Server;
  readonly #webSockets: WebSocketServer;
  /** Every open socket, with the time at which it is cut unless it has been upgraded by then. */
  readonly #handshakes = new Map<Socket, number>();
  readonly #connections = new Set<NodeWebSocketConnection>();
  #sweep: NodeJS.Timeout | undefined;
  readonly #notFound = failure(404);
  #chosenProtocol = '';

  constructor(transport: WebSocketTransport, options: WebSocketWorkerOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#endpoints = new Map(options.endpoints.map((endpoint) => [endpoint.path, endpoint]));
    const routes = new RouteTable(options.routes, options.onHandlerError, this.#endpoints.keys());
    // The time limit is kept here (`#handshakes`): Node checks its own only in servers that listen.
    this.#http = createServer({ noDelay: true, headersTimeout: 0, requestTimeout: 0, keepAliveTimeout: 0 });
    this.#http.on('request', (message, response) => answer(message, response, routes, 0, () => true));
    this.#http.on('clientError', refuseMalformed);
    this.#http.on('upgrade', (message, socket, head) => this.#upgrade(message, socket, head));
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: options.messageBytesMax,
      // Called inside `handleUpgrade`, and only when the client offered something.
      handleProtocols: () => (this.#chosenProtocol === '' ? false : this.#chosenProtocol),
    });
  }

  get connectionCount(): number {
    return this.#handshakes.size + this.#connections.size;
  }

  start(): void {
    const { handshakeTimeoutMs, idleTimeoutMs } = this.#options;
    const shortest = Math.min(handshakeTimeoutMs, idleTimeoutMs === 0 ? Number.POSITIVE_INFINITY : idleTimeoutMs);
    const interval = Math.max(10, Math.min(SWEEP_INTERVAL_MS_MAX, shortest / 4));
    this.#sweep = setInterval(() => this.#cutOverdue(), interval);
    this.#transport.port.on('message', ({ socket }: SocketMessage) => this.#take(socket));
    this.#transport.port.postMessage('join');
  }

  async stop(code: number, graceMs: number): Promise<void> {
    await leave(this.#transport);
    // What main handed over before it noted the leave is in the port by now.
    for (;;) {
      const late = receiveMessageOnPort(this.#transport.port) as { message: SocketMessage } | undefined;
      if (late === undefined) break;
      late.message.socket.destroy();
    }
    this.#transport.port.close();
    clearInterval(this.#sweep);
    for (const socket of this.#handshakes.keys()) socket.destroy();
    const open = [...this.#connections].map((connection) => connection.ended);
    for (const connection of this.#connections) connection.close(code, '');
    const timer = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy();
    }, graceMs);
    await Promise.all(open);
    clearTimeout(timer);
  }

  #take(socket: Socket): void {
    if (this.connectionCount >= this.#options.connectionsMax) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    this.#handshakes.set(socket, performance.now() + this.#options.handshakeTimeoutMs);
    socket.once('close', () => this.#handshakes.delete(socket));
    this.#http.emit('connection', socket);
  }

  #upgrade(message: IncomingMessage, socket: Duplex, head: Buffer): void {
    // The HTTP server took its listener away; a reset during the hand-shake must not be an uncaught exception.
    socket.on('error', () => socket.destroy());
    const { headers } = message;
    const path = (message.url ?? '/').split('?', 1)[0];
    const endpoint = this.#endpoints.get(path);
    if (endpoint === undefined || headers.upgrade?.toLowerCase() !== 'websocket') {
      socket.end(asClosingMessage(this.#notFound), () => socket.destroy());
      return;
    }
    const decision = decideUpgrade(
      endpoint,
      {
        version: headers['sec-websocket-version'] ?? '',
        origin: headers.origin ?? '',
        protocols: headers['sec-websocket-protocol'] ?? '',
      },
      this.#options.originAllowed,
    );
    if (!decision.accepted) {
      socket.end(asClosingMessage(decision.response), () => socket.destroy());
      return;
    }
    this.#chosenProtocol = decision.protocol;
    this.#webSockets.handleUpgrade(message, socket, head, (webSocket) => {
      this.#handshakes.delete(socket as Socket);
      const connection = new NodeWebSocketConnection(webSocket, socket as Socket, path);
      this.#connections.add(connection);
      void connection.ended.then(() => this.#connections.delete(connection));
      connection.serve(endpoint.accept(connection));
    });
  }

  #cutOverdue(): void {
    const now = performance.now();
    for (const [socket, deadline] of this.#handshakes) if (now >= deadline) socket.destroy();
    if (this.#options.idleTimeoutMs === 0) return;
    for (const connection of this.#connections) connection.checkIdle(now, this.#options.idleTimeoutMs);
  }
}
