/**
 * Listening sockets: accepts, refuses what is beyond the limits, chooses a worker and moves the untouched socket to it.
 * Lives on the main thread, called by the broker.
 *
 * The main thread reads no byte of a connection: `pauseOnConnect` keeps the socket untouched, since only such a socket
 * can be moved to another thread.
 */
import net from 'node:net';
import { formatAddress } from '../../config/address.ts';
import type { ListenerInfo } from '../../core/ports/connection.ts';
import type { Logger } from '../../observability/log.ts';
import type { RefusalReason } from '../../observability/main-metrics.ts';
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
  /** Moves the socket; false when the worker died meanwhile. */
  handOver(worker: number, listener: number, socket: net.Socket): boolean;
  accepted(listener: ListenerInfo): void;
  refused(listener: ListenerInfo, reason: RefusalReason): void;
  readonly log: Logger;
}

/** Where a listener can be reached. */
export interface ListenerAddress {
  readonly name: string;
  readonly protocol: string;
  readonly host: string;
  readonly port: number;
}

export class Acceptor {
  private readonly options: AcceptorOptions;
  private readonly rate: AcceptRate;
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
    await listenOn(server, listener);
    // From here on an error is about one accept, not about the listener.
    server.on('error', (error) => this.acceptFailed(listener, error));
    const address = server.address() as net.AddressInfo;
    const { name, protocol } = listener;
    return { name, protocol, host: address.address, port: address.port };
  }

  private accept(listener: AcceptorListener, socket: net.Socket): void {
    const reason = this.reasonToRefuse(listener);
    if (reason !== null) this.refuse(listener, socket, reason);
    else if (!this.moveToWorker(listener, socket)) this.refuse(listener, socket, 'no-worker');
  }

  private reasonToRefuse(listener: AcceptorListener): RefusalReason | null {
    const { ledger, connectionsMax } = this.options;
    const count = ledger.total;
    if (count >= connectionsMax) return 'connections-max';
    if (count >= this.descriptorsMax) return 'descriptors';
    if (listener.connectionsMax > 0 && ledger.ofListener(listener.index) >= listener.connectionsMax) {
      return 'listener-connections-max';
    }
    return this.rate.take(performance.now()) ? null : 'accept-rate';
  }

  private moveToWorker(listener: AcceptorListener, socket: net.Socket): boolean {
    const { ledger, strategy, liveWorkers, handOver, accepted } = this.options;
    const workers = liveWorkers();
    if (workers.length === 0) return false;
    const worker = strategy({
      workers,
      connectionsOf: (index) => ledger.ofWorker(index),
      remoteAddress: () => socket.remoteAddress ?? '',
    });
    if (!handOver(worker, listener.index, socket)) return false;
    ledger.handOver(worker, listener.index);
    accepted(listener);
    return true;
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
