/**
 * Turns transferred sockets into connections and keeps the list of those that are open. One per connection worker; the
 * worker's runtime calls it for every socket that the main thread hands over.
 */
import type { Socket } from 'node:net';
import type { CloseReason, Connection, ConnectionHandler, ListenerInfo } from '../../core/ports/connection.ts';
import type { BufferedConnection, ConnectionHost } from './buffered-connection.ts';
import { HandleConnection } from './handle-connection.ts';
import { OutputMemory } from './output-memory.ts';
import { ReadArea } from './read-area.ts';
import { StreamConnection } from './stream-connection.ts';
import { findStreamInternals, type StreamInternals, takeHandle } from './stream-internals.ts';
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
}

export class TcpConnector {
  readonly turn = new Turn(new OutputMemory());
  private readonly connections = new Map<number, BufferedConnection>();
  private readonly internals: StreamInternals | null;
  private readonly host: ConnectionHost;
  private nextId = 1;

  constructor(options: TcpConnectorOptions) {
    this.internals = options.driver === 'stream' ? null : findStreamInternals();
    const { observer } = options;
    this.host = {
      turn: this.turn,
      readArea: new ReadArea(readHeadroomBytes, readBytes),
      outputBytesMax: options.connectionOutputBytesMax,
      outputLowWaterBytes: options.connectionOutputBytesMax >>> 1,
      countReceived: (listener, bytes) => observer.received(listener, bytes),
      countSent: (listener, bytes) => observer.sent(listener, bytes),
      ended: (connection, reason) => {
        this.connections.delete(connection.id);
        observer.closed(connection.listener, reason);
      },
    };
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
  adopt(socket: Socket, listener: ListenerInfo, accept: (connection: Connection) => ConnectionHandler): void {
    const connection = this.connect(socket, listener);
    this.connections.set(connection.id, connection);
    this.opened(listener);
    connection.start(accept(connection));
  }

  private connect(socket: Socket, listener: ListenerInfo): BufferedConnection {
    const id = this.nextId++;
    const { internals } = this;
    const peer = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
    const handle = internals === null ? null : takeHandle(socket);
    if (internals !== null && handle !== null) return new HandleConnection(id, listener, this.host, handle, internals);
    return new StreamConnection(id, listener, this.host, socket, peer);
  }

  /** Cuts every connection, for example when the drain limit has passed. */
  destroyAll(reason: CloseReason): void {
    for (const connection of [...this.connections.values()]) connection.destroy(reason);
  }
}
