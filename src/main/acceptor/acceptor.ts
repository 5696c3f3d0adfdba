/**
 * Listening sockets: accepts, refuses what is beyond the limits, chooses a worker and moves the untouched socket to it.
 * Lives on the main thread, called by the broker.
 *
 * The main thread reads no byte of a connection: `pauseOnConnect` keeps the socket untouched, since only such a socket
 * can be moved to another thread.
 */
import net, { type BlockList } from 'node:net';
import { formatAddress } from '../../config/address.ts';
import type { ListenerInfo, TransportName } from '../../core/ports/connection.ts';
import type { UnixSocketFile } from '../../net/unix/unix-socket.ts';
import type { Logger } from '../../observability/log.ts';
import type { RefusalReason } from '../../observability/main-metrics.ts';
import type { SharedBucket } from '../../shm/shared-bucket.ts';
import { BrokerError } from '../../std/errors.ts';
import type { Ledger } from '../../workers/runtime/connection-ledger.ts';
import type { ShardingStrategy } from '../sharding/strategies.ts';
import { AcceptRate } from './accept-rate.ts';
import { descriptorsForConnections } from './descriptors.ts';

/** A listener as the acceptor needs it. A limit of 0 means none of its own. */
export interface AcceptorListener extends ListenerInfo {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Of a Unix socket, in place of host and port. */
  readonly unix?: UnixSocketFile | null;
  /** Of this listener, per second; 0 or absent: none of its own. */
  readonly acceptBucket?: SharedBucket | null;
  /** Where its connections may come from; null or absent: anywhere. */
  readonly trusted?: BlockList | null;
  /** Its protocol can tell a client that there is no room. */
  readonly refusesPolitely?: boolean;
  readonly backlog: number;
  readonly connectionsMax: number;
}

export interface AcceptorOptions {
  readonly listeners: readonly AcceptorListener[];
  /** Over all listeners. */
  readonly connectionsMax: number;
  /** Over all listeners, per second; see `AcceptRate`. */
  readonly acceptRatePerS: number;
  readonly acceptBurst: number;
  readonly strategy: ShardingStrategy;
  readonly ledger: Ledger;
  liveWorkers(): readonly number[];
  /** Whether the worker's event loop is too late for another connection; absent: never. */
  isLate?(worker: number): boolean;
  /** Whether the process has so much memory that it should take no more; absent: never. */
  isMemoryShort?(): boolean;
  /** Whether one more connection of `address` may come now; absent: always. Not asked where a proxy is in front. */
  mayAccept?: ((address: string) => boolean) | undefined;
  /** Moves the socket; false when the worker died meanwhile. A surplus connection is only told that there is no room. */
  handOver(worker: number, listener: number, socket: net.Socket, isSurplus: boolean): boolean;
  accepted(listener: ListenerInfo): void;
  refused(listener: ListenerInfo, reason: RefusalReason): void;
  readonly log: Logger;
}

/** Where a listener can be reached. */
export interface ListenerAddress {
  readonly name: string;
  readonly protocol: string;
  /** Absent: 'tcp'. */
  readonly transport?: TransportName;
  /** '' and 0 for a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** The file of a Unix socket. */
  readonly path?: string;
}

/** `host:port`, or `unix:/path`. */
export function formatListenerAddress(address: ListenerAddress): string {
  return address.path === undefined ? formatAddress(address) : `unix:${address.path}`;
}

/** Refusals that a client may be told in its protocol, per second; beyond it connections are reset, which costs nothing. */
const POLITE_REFUSALS_PER_S = 20;

const politeReasons: ReadonlySet<RefusalReason> = new Set<RefusalReason>([
  ...([
    'connections-max',
    'listener-connections-max',
    'accept-rate',
    'listener-accept-rate',
    'overload',
    'memory',
  ] as const),
]);

export class Acceptor {
  private readonly options: AcceptorOptions;
  private readonly rate: AcceptRate;
  private readonly politeRate = new AcceptRate(POLITE_REFUSALS_PER_S, 0, performance.now());
  private readonly servers: net.Server[] = [];
  private descriptorsMax = Number.POSITIVE_INFINITY;

  constructor(options: AcceptorOptions) {
    this.options = options;
    this.rate = new AcceptRate(options.acceptRatePerS, options.acceptBurst, performance.now());
  }

  /**
   * Binds all listeners and returns their addresses in the order of the configuration. Rejects with
   * `LISTENER_ADDRESS_IN_USE`, `LISTENER_ADDRESS_FORBIDDEN` or `LISTENER_FAILED`; call `close` then too.
   */
  async listen(): Promise<ListenerAddress[]> {
    this.descriptorsMax = descriptorsForConnections();
    const { connectionsMax, log } = this.options;
    if (this.descriptorsMax < connectionsMax) {
      log.info('file descriptors limit the connections', { connectionsMax, descriptors: this.descriptorsMax });
    }
    return Promise.all(this.options.listeners.map((listener) => this.open(listener)));
  }

  /** Stops accepting; connections that were moved to workers are not touched. */
  async close(): Promise<void> {
    await Promise.all(this.servers.map(closeServer));
    this.servers.length = 0;
  }

  private async open(listener: AcceptorListener): Promise<ListenerAddress> {
    const server = net.createServer({ pauseOnConnect: true, noDelay: true });
    server.on('connection', (socket) => this.accept(listener, socket));
    this.servers.push(server);
    const { name, protocol, transport } = listener;
    const named = { name, protocol, ...(transport === undefined ? {} : { transport }) };
    await listenOn(server, listener);
    // From here on an error is about one accept, not about the listener.
    server.on('error', (error) => this.acceptFailed(listener, error));
    const address = server.address() as net.AddressInfo;
    return { ...named, host: address.address, port: address.port };
  }

  private accept(listener: AcceptorListener, socket: net.Socket): void {
    const reason = this.reasonToRefuse(listener, socket);
    if (reason !== null) this.refuseOrTell(listener, socket, reason);
    else {
      const failure = this.moveToWorker(listener, socket);
      if (failure === null) this.options.accepted(listener);
      else this.refuseOrTell(listener, socket, failure);
    }
  }

  private reasonToRefuse(listener: AcceptorListener, socket: net.Socket): RefusalReason | null {
    const { ledger, connectionsMax } = this.options;
    if (listener.trusted != null && !isTrusted(listener.trusted, socket)) return 'proxy-untrusted';
    const count = ledger.total;
    if (count >= this.descriptorsMax) return 'descriptors';
    if (count >= connectionsMax) return 'connections-max';
    if (listener.connectionsMax > 0 && ledger.ofListener(listener.index) >= listener.connectionsMax) {
      return 'listener-connections-max';
    }
    if (this.options.isMemoryShort?.() === true) return 'memory';
    // Before the rates that others share with it.
    const { mayAccept } = this.options;
    if (mayAccept !== undefined && listener.trusted == null && !mayAccept(socket.remoteAddress ?? '')) {
      return 'address-accept-rate';
    }
    if (!this.rate.take(performance.now())) return 'accept-rate';
    return listener.acceptBucket?.take(1) === false ? 'listener-accept-rate' : null;
  }

  /** Null, or why no worker could take it. */
  private moveToWorker(listener: AcceptorListener, socket: net.Socket): RefusalReason | null {
    const { isLate, liveWorkers } = this.options;
    const live = liveWorkers();
    if (live.length === 0) return 'no-worker';
    const workers = isLate === undefined ? live : live.filter((worker) => !isLate(worker));
    if (workers.length === 0) return 'overload';
    return this.handTo(workers, listener, socket, false) ? null : 'no-worker';
  }

  private handTo(
    workers: readonly number[],
    listener: AcceptorListener,
    socket: net.Socket,
    isSurplus: boolean,
  ): boolean {
    const { ledger, strategy, handOver } = this.options;
    const worker = strategy({
      workers,
      connectionsOf: (index) => ledger.ofWorker(index),
      remoteAddress: () => socket.remoteAddress ?? '',
    });
    if (!handOver(worker, listener.index, socket, isSurplus)) return false;
    ledger.handOver(worker, listener.index);
    return true;
  }

  /** Some clients are told why, so that they can tell their people; in a storm of them nobody is. */
  private refuseOrTell(listener: AcceptorListener, socket: net.Socket, reason: RefusalReason): void {
    const workers = this.options.liveWorkers();
    const mayTell = listener.refusesPolitely === true && politeReasons.has(reason) && workers.length > 0;
    if (mayTell && this.politeRate.take(performance.now()) && this.handTo(workers, listener, socket, true)) {
      this.countRefusal(listener, reason);
      return;
    }
    this.refuse(listener, socket, reason);
  }

  private refuse(listener: AcceptorListener, socket: net.Socket, reason: RefusalReason): void {
    // The peer may have reset the connection already; there is nobody to tell.
    socket.on('error', () => undefined);
    // A reset leaves nothing behind in the kernel, where an orderly end would wait for the peer.
    socket.resetAndDestroy();
    this.countRefusal(listener, reason);
  }

  private acceptFailed(listener: AcceptorListener, error: Error): void {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EMFILE' || code === 'ENFILE') this.countRefusal(listener, 'descriptors');
    else this.options.log.error('cannot accept', { listener: listener.name, error: error.message });
  }

  private countRefusal(listener: ListenerInfo, reason: RefusalReason): void {
    this.options.refused(listener, reason);
    // The logger bounds how often a line repeats; the counter knows the number.
    this.options.log.warn('connection refused', { listener: listener.name, reason });
  }
}

function listenOn(server: net.Server, listener: AcceptorListener): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => reject(listenError(listener, error));
    server.once('error', failed);
    server.listen({ host: listener.host, port: listener.port, backlog: listener.backlog }, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

function isTrusted(trusted: BlockList, socket: net.Socket): boolean {
  const { remoteAddress, remoteFamily } = socket;
  if (remoteAddress === undefined) return false;
  // A listener on :: sees IPv4 peers as mapped addresses.
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(remoteAddress)?.[1];
  if (mapped !== undefined) return trusted.check(mapped, 'ipv4');
  return trusted.check(remoteAddress, remoteFamily === 'IPv6' ? 'ipv6' : 'ipv4');
}

function listenError(listener: AcceptorListener, error: NodeJS.ErrnoException): BrokerError {
  const where = `Cannot listen on "${formatAddress(listener)}" for listener "${listener.name}"`;
  switch (error.code) {
    case 'EADDRINUSE':
      return new BrokerError('LISTENER_ADDRESS_IN_USE', `${where}: the address is in use`, {
        cause: error,
        canRetry: true,
      });
    case 'EACCES':
      return new BrokerError('LISTENER_ADDRESS_FORBIDDEN', `${where}: permission denied`, { cause: error });
    default:
      return new BrokerError('LISTENER_FAILED', `${where}: ${error.message}`, { cause: error });
  }
}

function closeServer(server: net.Server): Promise<void> {
  return new Promise((resolve) => {
    // Closing a server that never listened reports an error, which is what we want anyway.
    server.close(() => resolve());
  });
}
