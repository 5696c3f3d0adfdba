/**
 * Turns transferred sockets into connections and keeps the list of those that are open. One per connection worker; the
 * worker's runtime calls it for every socket that the main thread hands over.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { CloseReason, Connection, ConnectionHandler, ListenerInfo } from '../../core/ports/connection.ts';
import { borrowHandle, findStreamInternals, type StreamInternals, takeHandle } from '../../std/stream-handle.ts';
import type { WebSocketConnection, WebSocketHandler } from '../http/port.ts';
import { ReceiveLimiter, type ReceiveLimits } from '../limits/receive-limit.ts';
import { TlsConnection } from '../tls/tls-connection.ts';
import { WebSocketStreamConnection, type WebSocketStreamOptions } from '../web-socket/web-socket-stream.ts';
import { type BufferedConnection, type ConnectionFacts, type ConnectionHost, noFacts } from './buffered-connection.ts';
import { HandleConnection } from './handle-connection.ts';
import { OutputMemory } from './output-memory.ts';
import { ReadArea } from './read-area.ts';
import { StreamConnection } from './stream-connection.ts';
import { Turn } from './turn.ts';

/** Bytes asked of the kernel per read, and the longest tail of a frame that is put in front of them. */
const readBytes = 131_072;
const readHeadroomBytes = 65_536;

/** What the connector reports; each call is one or two array stores. */
export interface TransportObserver {
  received(listener: ListenerInfo, bytes: number): void;
  sent(listener: ListenerInfo, bytes: number): void;
  opened(listener: ListenerInfo): void;
  closed(listener: ListenerInfo, reason: CloseReason): void;
}

export interface TcpConnectorOptions {
  readonly observer: TransportObserver;
  /** Bytes of output that one connection may have queued before its protocol holds back. */
  readonly connectionOutputBytesMax: number;
  /** 'handle' drives the TCP handle directly where possible (default); 'stream' always uses the public interface. */
  readonly driver?: 'handle' | 'stream';
  /** By the listener's index; a listener that is not there has no limit. */
  readonly receiveLimits?: ReadonlyMap<number, ReceiveLimits>;
}

type Accept = (connection: Connection) => ConnectionHandler;

export class TcpConnector {
  readonly turn = new Turn(new OutputMemory());
  private readonly connections = new Map<number, BufferedConnection>();
  private readonly internals: StreamInternals | null;
  private readonly host: ConnectionHost;
  /** Of the listeners with limits, by their index. */
  private readonly limitedHosts: (ConnectionHost | undefined)[] = [];
  private nextId = 1;

  constructor(options: TcpConnectorOptions) {
    this.internals = options.driver === 'stream' ? null : findStreamInternals();
    const { observer } = options;
    this.host = {
      turn: this.turn,
      readArea: new ReadArea(readHeadroomBytes, readBytes),
      outputBytesMax: options.connectionOutputBytesMax,
      outputLowWaterBytes: options.connectionOutputBytesMax >>> 1,
      countReceived: (connection, bytes) => observer.received(connection.listener, bytes),
      countSent: (listener, bytes) => observer.sent(listener, bytes),
      ended: (connection, reason) => {
        this.connections.delete(connection.id);
        observer.closed(connection.listener, reason);
      },
    };
    for (const [index, limits] of options.receiveLimits ?? [])
      this.limitedHosts[index] = limitedHost(this.host, limits);
    this.opened = (listener) => observer.opened(listener);
  }

  private readonly opened: (listener: ListenerInfo) => void;

  /** 'handle' or 'stream': how new TCP connections are driven on this Node. */
  get driver(): 'handle' | 'stream' {
    return this.internals === null ? 'stream' : 'handle';
  }

  get connectionCount(): number {
    return this.connections.size;
  }

  /** Takes a socket of which no byte was read yet, asks `accept` for the handler and starts to read. */
  adopt(socket: Socket, listener: ListenerInfo, accept: Accept, facts: ConnectionFacts = noFacts): void {
    this.opened(listener);
    this.begin(this.connect(socket, listener, facts), accept);
  }

  /** The same for a socket that was read for a while (`facts.early`) and is counted as open already. */
  resume(socket: Socket, listener: ListenerInfo, accept: Accept, facts: ConnectionFacts): void {
    this.begin(this.connect(socket, listener, facts), accept);
  }

  /** Takes a TLS socket while the end of its hand-shake is reported; it is counted as open already. */
  resumeSecured(socket: TLSSocket, listener: ListenerInfo, accept: Accept, facts: ConnectionFacts): void {
    const { internals } = this;
    const id = this.nextId++;
    const host = this.hostOf(listener);
    const peer = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
    const handle = internals === null ? null : borrowHandle(socket);
    const connection =
      internals !== null && handle !== null
        ? new TlsConnection(id, listener, host, socket, handle, internals, peer, facts)
        : new StreamConnection(id, listener, host, socket, peer, facts);
    this.begin(connection, accept);
  }

  /** Takes a WebSocket, which is counted as open already; answers who is told of its messages. */
  resumeWebSocket(
    webSocket: WebSocketConnection,
    listener: ListenerInfo,
    accept: Accept,
    refused: WebSocketStreamOptions['refused'],
  ): WebSocketHandler {
    const options = { id: this.nextId++, listener, host: this.hostOf(listener), refused };
    const connection = new WebSocketStreamConnection(options, webSocket);
    this.begin(connection, accept);
    return connection;
  }

  private begin(connection: BufferedConnection, accept: Accept): void {
    this.connections.set(connection.id, connection);
    connection.start(accept(connection));
  }

  private hostOf(listener: ListenerInfo): ConnectionHost {
    return this.limitedHosts[listener.index] ?? this.host;
  }

  private connect(socket: Socket, listener: ListenerInfo, facts: ConnectionFacts): BufferedConnection {
    const id = this.nextId++;
    const { internals } = this;
    const host = this.hostOf(listener);
    const peer = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
    const handle = internals === null ? null : takeHandle(socket);
    if (internals !== null && handle !== null) {
      // A socket that was read goes on reading by itself, for an object that has lost its handle.
      if (facts.early !== undefined) handle.readStop();
      return new HandleConnection(id, listener, host, handle, internals, facts);
    }
    return new StreamConnection(id, listener, host, socket, peer, facts);
  }

  /** Cuts every connection, for example when the drain limit has passed. */
  destroyAll(reason: CloseReason): void {
    for (const connection of [...this.connections.values()]) connection.destroy(reason);
  }
}

/** The same host, which looks at what each read costs. */
function limitedHost(host: ConnectionHost, limits: ReceiveLimits): ConnectionHost {
  const limiter = new ReceiveLimiter(limits);
  return {
    ...host,
    countReceived: (connection, bytes) => {
      host.countReceived(connection, bytes);
      const pauseMs = limiter.received(connection, bytes);
      if (pauseMs > 0) connection.throttle(pauseMs);
    },
  };
}
