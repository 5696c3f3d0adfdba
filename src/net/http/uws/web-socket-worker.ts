/** WebSockets with uWebSockets.js on one worker: the child app of the main thread's acceptor. Made by the adapter. */
import { App, DISABLED, type TemplatedApp, type WebSocketBehavior } from 'uWebSockets.js';
import { leave, leaveBlocking } from '../leave.ts';
import type { WebSocketEndpoint, WebSocketTransport, WebSocketWorker, WebSocketWorkerOptions } from '../port.ts';
import { RouteTable } from '../routing.ts';
import { decideUpgrade } from '../upgrade.ts';
import { OpenConnections } from './open-connections.ts';
import { answer, send } from './request.ts';
import { RequestsInProgress } from './requests-in-progress.ts';
import { type UserData, UwsWebSocketConnection } from './web-socket-connection.ts';

/**
 * The library cuts a connection without a close frame when a message exceeds its limit. Its limit is set this much
 * higher, so that the usual excess is seen here and answered with 1009.
 */
const MESSAGE_BYTES_SLACK = 64 * 1024;
/** Bounds of the library's idle time-out. */
const IDLE_SECONDS_MIN = 8;
const IDLE_SECONDS_MAX = 960;
/** The library does not tell when a closed WebSocket's stream is gone; this long is left for the close frames. */
const CLOSE_FRAME_MS = 100;

export async function serveWebSockets(
  transport: WebSocketTransport,
  options: WebSocketWorkerOptions,
): Promise<WebSocketWorker> {
  return new UwsWebSocketWorker(transport, options);
}

class UwsWebSocketWorker implements WebSocketWorker {
  readonly #transport: WebSocketTransport;
  readonly #options: WebSocketWorkerOptions;
  readonly #app: TemplatedApp = App();
  /** Connections before their upgrade. */
  readonly #handshakes: OpenConnections;
  readonly #inProgress: RequestsInProgress;
  readonly #connections = new Set<UwsWebSocketConnection>();
  /** An uncaught error ends the thread: main must forget the app before it goes, and its sockets must be closed. */
  readonly #onThreadExit = (): void => {
    leaveBlocking(this.#transport);
    this.#app.close();
  };

  constructor(transport: WebSocketTransport, options: WebSocketWorkerOptions) {
    this.#transport = transport;
    this.#options = options;
    const admit = (): boolean =>
      this.connectionCount < options.connectionsMax && (options.admit === undefined || options.admit());
    this.#handshakes = new OpenConnections(this.#app, admit, () => options.abandoned?.('gone'));
    this.#inProgress = new RequestsInProgress(options.handshakeTimeoutMs);
    for (const endpoint of options.endpoints) this.#app.ws(endpoint.path, this.#behaviour(endpoint));
    const paths = options.endpoints.map((endpoint) => endpoint.path);
    const routes = new RouteTable(options.routes, options.onHandlerError, paths);
    const answering = { routes, bodyBytesMax: 0, inProgress: this.#inProgress, closing: () => true };
    this.#app.any('/*', (response, request) => answer(response, request, answering));
    process.once('exit', this.#onThreadExit);
    // Keeps the thread alive, which the app of the library does not.
    transport.port.on('message', () => undefined);
    transport.port.postMessage({ join: this.#app.getDescriptor() });
  }

  get connectionCount(): number {
    return this.#handshakes.count + this.#connections.size;
  }

  async stop(code: number, graceMs: number): Promise<void> {
    await leave(this.#transport);
    // Sockets that were given to this app before it left are adopted in a later turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    const hadConnections = this.#connections.size > 0;
    for (const connection of [...this.#connections]) connection.close(code, '');
    if (hadConnections) await new Promise((resolve) => setTimeout(resolve, Math.min(graceMs, CLOSE_FRAME_MS)));
    process.removeListener('exit', this.#onThreadExit);
    this.#inProgress.stop();
    this.#app.close();
    this.#transport.port.close();
  }

  #behaviour(endpoint: WebSocketEndpoint): WebSocketBehavior<UserData> {
    const { messageBytesMax, idleTimeoutMs, originAllowed } = this.#options;
    const idleSeconds = Math.max(IDLE_SECONDS_MIN, Math.min(IDLE_SECONDS_MAX, Math.ceil(idleTimeoutMs / 1000)));
    return {
      compression: DISABLED,
      maxPayloadLength: messageBytesMax + MESSAGE_BYTES_SLACK,
      // No limit: the library would drop messages at it. Whoever sends looks at `bufferedAmount`.
      maxBackpressure: 0,
      idleTimeout: idleTimeoutMs === 0 ? 0 : idleSeconds,
      sendPingsAutomatically: idleTimeoutMs !== 0,
      upgrade: (response, request, context) => {
        const headers = {
          version: request.getHeader('sec-websocket-version'),
          origin: request.getHeader('origin'),
          host: request.getHeader('host'),
          protocols: request.getHeader('sec-websocket-protocol'),
        };
        const decision = decideUpgrade(endpoint, headers, originAllowed);
        if (!decision.accepted) {
          send(response, decision.response, false, true);
          return;
        }
        const userData: UserData = {
          endpoint,
          protocol: decision.protocol,
          remoteAddress: Buffer.from(response.getRemoteAddressAsText()).toString('latin1'),
          remotePort: response.getRemotePort(),
          connection: undefined,
        };
        this.#handshakes.upgraded();
        // No extension is confirmed, so there is no compression.
        response.upgrade(userData, request.getHeader('sec-websocket-key'), decision.protocol, '', context);
      },
      open: (webSocket) => {
        const userData = webSocket.getUserData();
        const connection = new UwsWebSocketConnection(webSocket, userData, messageBytesMax);
        userData.connection = connection;
        this.#connections.add(connection);
        connection.serve(endpoint.accept(connection));
      },
      message: (webSocket, message, isBinary) => webSocket.getUserData().connection?.received(message, isBinary),
      drain: (webSocket) => webSocket.getUserData().connection?.drained(),
      close: (webSocket, code) => {
        const { connection } = webSocket.getUserData();
        if (connection === undefined) return;
        this.#connections.delete(connection);
        connection.ended(code);
      },
    };
  }
}
