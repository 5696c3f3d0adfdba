/**
 * One connection worker, assembled: router, connections, protocols, timers, metrics and the ports to the other workers.
 * Lives on the worker's thread; `connection.worker.ts` feeds it with the messages of the main thread.
 *
 * Nothing here catches what a protocol throws. A protocol may not throw for anything that a client sent, so an error is
 * a broken invariant: the state of the router, of a session or of a ring may be half changed, and going on could lose
 * or mix up messages of clients that did nothing wrong. The thread dies with the stack in the log, and is replaced.
 */
import type { Socket } from 'node:net';
import { Router } from '../../core/broker/router.ts';
import type { ListenerInfo } from '../../core/ports/connection.ts';
import type { Protocol, ProtocolWorker } from '../../core/ports/protocol.ts';
import { TcpConnector } from '../../net/tcp/tcp-connector.ts';
import { startEventLoopMetrics } from '../../observability/event-loop-metrics.ts';
import type { Logger } from '../../observability/log.ts';
import { ThreadMetrics } from '../../observability/metrics.ts';
import { ConnectionCounters } from '../../observability/worker-metrics.ts';
import { CounterBlock } from '../../shm/counters.ts';
import { Heartbeat } from '../../shm/heartbeat.ts';
import { assert } from '../../std/assert.ts';
import { TimingWheel } from '../../std/timing-wheel.ts';
import type { DirectoryToWorker, MainToWorker, PeerMessage, StartMessage, WorkerToMain } from '../messages.ts';
import { StorageClient } from '../storage/client/storage-client.ts';
import { LedgerWriter } from './connection-ledger.ts';
import { WorkerControlPlane } from './control-plane.ts';
import { WorkerSessionDirectory } from './session-directory.ts';
import { workerMetricsLayout } from './worker-metrics-layout.ts';
import type { WorkerStart } from './worker-start.ts';

/** Resolution of all coarse timers and of the heartbeat. */
const TICK_MS = 100;
/** How often a draining worker looks whether its last connection has gone. */
const DRAIN_LOOK_MS = 5;

export interface WorkerRuntimeOptions {
  readonly start: WorkerStart;
  /** Those in use, in the order of the registry. */
  readonly protocols: readonly Protocol[];
  readonly log: Logger;
  post(message: WorkerToMain): void;
}

export class WorkerRuntime {
  private readonly start: WorkerStart;
  private readonly post: (message: WorkerToMain) => void;
  private readonly router: Router;
  private readonly connector: TcpConnector;
  private readonly directory: WorkerSessionDirectory;
  private readonly control: WorkerControlPlane;
  private readonly storage: StorageClient;
  private readonly timers = new TimingWheel(TICK_MS);
  private readonly heartbeat: Heartbeat;
  private readonly protocolWorkers = new Map<string, ProtocolWorker>();
  private readonly stopEventLoopMetrics: () => void;
  private readonly ticker: NodeJS.Timeout;
  private readonly startedMs = performance.now();
  private draining = false;

  constructor({ start, protocols, log, post }: WorkerRuntimeOptions) {
    const { workerIndex, workerCount, limits, shared, listeners } = start;
    this.start = start;
    this.post = post;
    const metrics = new ThreadMetrics(workerMetricsLayout(listeners, protocols), new CounterBlock(shared.counters));
    metrics.resetGauges();
    metrics.set(metrics.slot('ringmq_ring_capacity_bytes'), shared.router.rings[workerIndex].byteLength);
    const control = new WorkerControlPlane(workerCount, post);
    this.control = control;
    const { retained } = limits;
    this.router = new Router({ workerIndex, workerCount, shared: shared.router, control, retained, metrics, log });
    this.directory = new WorkerSessionDirectory(workerCount, this.router, post);
    this.storage = new StorageClient(start.storage);
    this.connector = createConnector(start, metrics);
    this.heartbeat = new Heartbeat(shared.heartbeats, workerIndex);
    for (const protocol of protocols) {
      const context = {
        workerIndex,
        settings: start.protocolSettings.get(protocol.name),
        router: this.router,
        directory: this.directory,
        control,
        metrics,
        timers: this.timers,
        log: log.child({ protocol: protocol.name }),
        handshakeTimeoutMs: limits.handshakeTimeoutMs,
        connectionOutputBytesMax: limits.connectionOutputBytesMax,
      };
      this.protocolWorkers.set(protocol.name, protocol.createWorker(context));
    }
    this.router.start();
    this.stopEventLoopMetrics = startEventLoopMetrics(metrics);
    this.ticker = setInterval(() => this.tick(), TICK_MS);
    this.heartbeat.beat();
    log.debug('worker serves', { driver: this.connector.driver });
  }

  handle(message: Exclude<MainToWorker, StartMessage>): void {
    switch (message.type) {
      case 'connection':
        this.connection(message.listener, message.socket);
        break;
      case 'drain':
        this.drain(message.limitMs);
        break;
      case 'stop':
        this.stop();
        break;
      case 'worker-gone':
      case 'worker-ready':
        this.peerChanged(message);
        break;
      case 'storage-link':
        this.storage.adopt(message.link);
        break;
      case 'broadcast-delivery':
        this.control.deliver(message);
        break;
      case 'broadcast-done':
        this.control.done(message.id);
        break;
      default:
        this.directory.handle(message satisfies DirectoryToWorker);
    }
  }

  private connection(listenerIndex: number, socket: Socket): void {
    const listener = this.start.listeners[listenerIndex];
    const protocol = this.protocolWorkers.get(listener.protocol);
    assert(protocol !== undefined, 'a listener speaks a protocol that runs');
    this.connector.adopt(socket, listener, (connection) => {
      const handler = protocol.accept(connection);
      // It was on its way when the goodbyes were said.
      if (this.draining) connection.close('shutdown');
      return handler;
    });
  }

  private peerChanged(message: PeerMessage): void {
    if (message.type === 'worker-gone') this.control.workerGone(message.worker);
    else this.control.workerReady(message.worker);
  }

  private tick(): void {
    this.heartbeat.beat();
    // By the clock and not by counting, since a late timer does not catch up.
    this.timers.advance(Math.floor((performance.now() - this.startedMs) / TICK_MS));
  }

  private drain(limitMs: number): void {
    this.draining = true;
    const limit = performance.now() + limitMs;
    for (const protocol of this.protocolWorkers.values()) protocol.drain();
    const look = (): void => {
      const left = this.connector.connectionCount;
      // What the clients were promised an answer for is answered before the thread ends.
      const isBusy = left > 0 || this.storage.unanswered > 0;
      if (isBusy && performance.now() < limit) {
        setTimeout(look, DRAIN_LOOK_MS);
        return;
      }
      this.connector.destroyAll('shutdown');
      this.post({ type: 'drained', cutConnections: left });
    };
    look();
  }

  /** Lets go of everything that keeps the thread alive except output that the kernel has not taken yet. */
  private stop(): void {
    this.draining = true;
    this.connector.destroyAll('shutdown');
    clearInterval(this.ticker);
    this.stopEventLoopMetrics();
    this.router.stop();
    void this.storage.close();
  }
}

function createConnector(start: WorkerStart, metrics: ThreadMetrics): TcpConnector {
  const counters = new ConnectionCounters(metrics, start.listeners);
  const ledger = new LedgerWriter(start.shared.ledger, start.workerIndex, start.listeners.length);
  return new TcpConnector({
    connectionOutputBytesMax: start.limits.connectionOutputBytesMax,
    observer: {
      received: (listener, bytes) => counters.received(listener, bytes),
      sent: (listener, bytes) => counters.sent(listener, bytes),
      opened: (listener: ListenerInfo) => counters.opened(listener),
      closed: (listener, reason) => {
        counters.closed(listener, reason);
        ledger.ended(listener.index);
      },
    },
  });
}
