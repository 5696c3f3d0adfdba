/** A listening socket whose connections a `TcpConnector` adopts, with a peer for each; for the TCP contract suite. */
import { once } from 'node:events';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import type { CloseReason, Connection, ConnectionHandler, ListenerInfo } from '../../src/core/ports/connection.ts';
import { TcpConnector } from '../../src/net/tcp/tcp-connector.ts';

export type Driver = 'handle' | 'stream';

export const listener: ListenerInfo = { name: 'test', index: 0, protocol: 'test' };

/** A handler that keeps what it was told; by default it consumes everything. */
export class Recorder implements ConnectionHandler {
  readonly connection: Connection;
  readonly closes: CloseReason[] = [];
  readonly chunks: Buffer[] = [];
  drains = 0;
  consume: (buffer: Buffer, start: number, end: number) => number = (buffer, start, end) => {
    this.chunks.push(Buffer.from(buffer.subarray(start, end)));
    return end;
  };
  drained: () => void = () => undefined;
  closed: (reason: CloseReason) => void = () => undefined;

  constructor(connection: Connection) {
    this.connection = connection;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }

  onData(buffer: Buffer, start: number, end: number): number {
    return this.consume(buffer, start, end);
  }

  onDrain(): void {
    this.drains++;
    this.drained();
  }

  onClose(reason: CloseReason): void {
    this.closes.push(reason);
    this.closed(reason);
  }
}

export interface Pair {
  readonly peer: Socket;
  readonly handler: Recorder;
  readonly connection: Connection;
}

export const outputBytesMax = 65_536;

export class TcpFixture {
  readonly counts = { opened: 0, received: 0, sent: 0, closed: new Map<CloseReason, number>() };
  readonly connector: TcpConnector;
  private readonly server: Server;
  private readonly peers = new Set<Socket>();
  /** Accepted connections by the peer's port. */
  private readonly arrivals = new Map<number, { handler: Recorder; connection: Connection }>();
  /** Called in `accept`, before the connection starts. */
  accepted: (handler: Recorder) => void = () => undefined;

  private constructor(driver: Driver) {
    const { counts } = this;
    this.connector = new TcpConnector({
      driver,
      connectionOutputBytesMax: outputBytesMax,
      observer: {
        received: (_listener, bytes) => {
          counts.received += bytes;
        },
        sent: (_listener, bytes) => {
          counts.sent += bytes;
        },
        opened: () => void counts.opened++,
        closed: (_listener, reason) => void counts.closed.set(reason, (counts.closed.get(reason) ?? 0) + 1),
      },
    });
    this.server = net.createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      socket.on('error', () => undefined);
      const { remotePort } = socket;
      this.connector.adopt(socket, listener, (connection) => {
        const handler = new Recorder(connection);
        this.accepted(handler);
        this.arrivals.set(remotePort ?? 0, { handler, connection });
        return handler;
      });
    });
  }

  static async start(driver: Driver): Promise<TcpFixture> {
    const fixture = new TcpFixture(driver);
    fixture.server.listen(0, '127.0.0.1');
    await once(fixture.server, 'listening');
    return fixture;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** A connection and its peer, which does not read until it gets a listener. */
  async connect(): Promise<Pair> {
    const peer = net.connect({ port: this.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    peer.on('error', () => undefined);
    this.peers.add(peer);
    peer.once('close', () => this.peers.delete(peer));
    await once(peer, 'connect');
    const port = peer.localPort ?? 0;
    for (;;) {
      const arrival = this.arrivals.get(port);
      this.arrivals.delete(port);
      if (arrival !== undefined) return { peer, ...arrival };
      await turn();
    }
  }

  async stop(): Promise<void> {
    for (const peer of this.peers) peer.destroy();
    this.connector.destroyAll('shutdown');
    // Its callback would wait for socket objects whose handles the connector has taken.
    this.server.close();
    await turn();
  }
}

export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits until `condition` holds; the test's own time limit ends it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Everything that the peer reads until the stream ends. */
export async function readToEnd(peer: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  peer.on('data', (chunk: Buffer) => chunks.push(chunk));
  if (!peer.readableEnded) await once(peer, 'end');
  return Buffer.concat(chunks);
}

/** Bytes that differ at every place, so that a lost, doubled or moved one shows. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  for (let index = 0; index < length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state;
  }
  return bytes;
}
