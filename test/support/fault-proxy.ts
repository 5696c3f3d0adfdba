/**
 * A network that can be broken: TCP proxies between real processes, one per direction of traffic, each with faults of its
 * own. Thread of the test.
 *
 * Node a reaches node b at `network.link('a', 'b')`, b reaches a at `link('b', 'a')`. Node-to-node connections carry their
 * messages from the side that opened them, so a fault of one link is a one-way fault of the network.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface LinkFaults {
  /** Present connections are reset, new ones are refused: a port that is closed. */
  readonly isCut: boolean;
  /** Nothing passes and nothing is closed: packets get lost. New connections are accepted and stay silent. */
  readonly isHung: boolean;
  /** Every byte arrives so much later, both ways each. */
  readonly delayMs: number;
  /** Bytes per second, both ways each; 0: no limit. */
  readonly bytesPerS: number;
}

const noFaults: LinkFaults = { isCut: false, isHung: false, delayMs: 0, bytesPerS: 0 };

/** A side that cannot be written to may owe so much before the other side is not read any more. */
const bufferedBytesMax = 256 * 1024;
/** While bytes are limited, so many pass in one piece. */
const pieceMs = 20;

/** The way from one node to another. */
export class FaultLink {
  readonly host = '127.0.0.1';
  private readonly server: Server;
  private readonly target: { readonly host: string; readonly port: number };
  private readonly pairs = new Set<SocketPair>();
  private faults = noFaults;

  private constructor(server: Server, target: FaultLink['target']) {
    this.server = server;
    this.target = target;
    server.on('connection', (socket) => this.accept(socket));
  }

  /** Listens on a free port. */
  static async to(target: { readonly host: string; readonly port: number }): Promise<FaultLink> {
    const server = createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FaultLink(server, target);
  }

  get port(): number {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('The link does not listen');
    return address.port;
  }

  /** `host:port`, to be given to the node that connects. */
  get address(): string {
    return `${this.host}:${this.port}`;
  }

  get connectionCount(): number {
    return this.pairs.size;
  }

  /** From now on; what is not named stays as it is. */
  set(faults: Partial<LinkFaults>): void {
    this.faults = { ...this.faults, ...faults };
    if (this.faults.isCut) this.reset();
    for (const pair of this.pairs) pair.apply(this.faults);
  }

  /** No faults. Connections that hung go on where they were. */
  heal(): void {
    this.set(noFaults);
  }

  /** Resets all connections, once; they may be opened again. */
  reset(): void {
    for (const pair of this.pairs) pair.destroy();
  }

  async close(): Promise<void> {
    this.reset();
    this.server.close();
    await once(this.server, 'close');
  }

  private accept(client: Socket): void {
    if (this.faults.isCut) {
      client.on('error', () => undefined);
      client.resetAndDestroy();
      return;
    }
    const pair = new SocketPair(
      client,
      connect({ ...this.target, noDelay: true, allowHalfOpen: true }),
      this.faults,
      () => {
        this.pairs.delete(pair);
      },
    );
    this.pairs.add(pair);
  }
}

/** One connection through the proxy. */
class SocketPair {
  private readonly client: Socket;
  private readonly server: Socket;
  private readonly lanes: readonly Lane[];
  private readonly onClosed: () => void;
  private faults: LinkFaults;
  /** One side broke; the other learns it when packets pass again. */
  private isBroken = false;
  private isDestroyed = false;

  constructor(client: Socket, server: Socket, faults: LinkFaults, onClosed: () => void) {
    this.client = client;
    this.server = server;
    this.faults = faults;
    this.onClosed = onClosed;
    this.lanes = [new Lane(client, server, faults), new Lane(server, client, faults)];
    for (const socket of [client, server]) {
      // 'close' follows every error and says that there was one.
      socket.on('error', () => undefined);
      socket.on('close', (hadError: boolean) => this.onSocketClosed(hadError));
    }
  }

  apply(faults: LinkFaults): void {
    this.faults = faults;
    if (this.isBroken && !faults.isHung) this.destroy();
    for (const lane of this.lanes) lane.apply(faults);
  }

  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    for (const lane of this.lanes) lane.close();
    this.client.resetAndDestroy();
    this.server.resetAndDestroy();
    this.onClosed();
  }

  private onSocketClosed(hadError: boolean): void {
    this.isBroken ||= hadError;
    if (this.client.closed && this.server.closed) this.destroy();
    else if (this.isBroken && !this.faults.isHung) this.destroy();
  }
}

interface Piece {
  /** null: the sender has ended. */
  readonly bytes: Buffer | null;
  readonly dueMs: number;
}

/** One way of a connection: bytes in their order, each not before its time. */
class Lane {
  private readonly source: Socket;
  private readonly sink: Socket;
  private faults: LinkFaults;
  private readonly pieces: Piece[] = [];
  private waitingBytes = 0;
  /** Time from which the next byte may pass under the limit. */
  private freeAtMs = 0;
  private timer: NodeJS.Timeout | null = null;
  private isClosed = false;

  constructor(source: Socket, sink: Socket, faults: LinkFaults) {
    this.source = source;
    this.sink = sink;
    this.faults = faults;
    source.on('data', (bytes: Buffer) => this.push(bytes));
    source.on('end', () => this.push(null));
    sink.on('drain', () => this.apply(this.faults));
    this.apply(faults);
  }

  apply(faults: LinkFaults): void {
    if (this.isClosed) return;
    this.faults = faults;
    this.read();
    this.pass();
  }

  close(): void {
    this.isClosed = true;
    this.clearTimer();
    this.pieces.length = 0;
  }

  private push(bytes: Buffer | null): void {
    this.pieces.push({ bytes, dueMs: performance.now() + this.faults.delayMs });
    this.waitingBytes += bytes?.length ?? 0;
    this.read();
    this.pass();
  }

  /** A hung link still takes what the sender's kernel would hold, and then pushes back as lost packets would. */
  private read(): void {
    if (this.waitingBytes >= bufferedBytesMax || this.sink.writableNeedDrain) this.source.pause();
    else this.source.resume();
  }

  private pass(): void {
    this.clearTimer();
    for (let piece = this.pieces.at(0); piece !== undefined; piece = this.pieces.at(0)) {
      if (this.isClosed || this.faults.isHung || this.sink.writableNeedDrain) return;
      const waitMs = Math.max(piece.dueMs, this.freeAtMs) - performance.now();
      if (waitMs > 0) {
        this.timer = setTimeout(() => this.apply(this.faults), Math.ceil(waitMs));
        return;
      }
      this.passPart(piece);
    }
    this.read();
  }

  /** All of the first piece, or as much as the limit allows at once. */
  private passPart(piece: Piece): void {
    if (piece.bytes === null) {
      this.pieces.shift();
      this.sink.end();
      return;
    }
    const { bytesPerS } = this.faults;
    const size = bytesPerS === 0 ? piece.bytes.length : Math.max(1, Math.floor((bytesPerS * pieceMs) / 1000));
    const part = piece.bytes.subarray(0, size);
    const rest = piece.bytes.subarray(size);
    if (rest.length === 0) this.pieces.shift();
    else this.pieces[0] = { bytes: rest, dueMs: piece.dueMs };
    this.waitingBytes -= part.length;
    if (bytesPerS > 0) this.freeAtMs = performance.now() + (part.length * 1000) / bytesPerS;
    this.sink.write(part);
  }

  private clearTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}

/** All links between a set of nodes. */
export class FaultNetwork {
  private readonly links = new Map<string, FaultLink>();

  /** Makes the way from one node to another, which listens at `target`. */
  async add(from: string, to: string, target: { readonly host: string; readonly port: number }): Promise<FaultLink> {
    const link = await FaultLink.to(target);
    this.links.set(nameOf(from, to), link);
    return link;
  }

  link(from: string, to: string): FaultLink {
    const link = this.links.get(nameOf(from, to));
    if (link === undefined) throw new Error(`No link leads from ${from} to ${to}`);
    return link;
  }

  /**
   * Nothing passes between nodes of different groups, in either direction; nodes of one group are not touched. `hang`
   * loses packets as a broken network does, `cut` closes ports as a firewall that rejects does.
   */
  partition(groups: readonly (readonly string[])[], how: 'hang' | 'cut' = 'hang'): void {
    for (const from of groups) {
      for (const to of groups) {
        if (from === to) continue;
        for (const a of from)
          for (const b of to) this.link(a, b).set(how === 'hang' ? { isHung: true } : { isCut: true });
      }
    }
  }

  /** Nothing passes to or from the node. */
  isolate(node: string, how: 'hang' | 'cut' = 'hang'): void {
    for (const [name, link] of this.links) {
      const [from, to] = name.split('\n');
      if (from === node || to === node) link.set(how === 'hang' ? { isHung: true } : { isCut: true });
    }
  }

  healAll(): void {
    for (const link of this.links.values()) link.heal();
  }

  resetAll(): void {
    for (const link of this.links.values()) link.reset();
  }

  async close(): Promise<void> {
    await Promise.all([...this.links.values()].map((link) => link.close()));
    this.links.clear();
  }
}

function nameOf(from: string, to: string): string {
  return `${from}\n${to}`;
}
