/**
 * One connection worker, assembled: router, connections, protocols, timers, metrics and the ports to the other workers.
 * Lives on the worker's thread; `connection.worker.ts` feeds it with the messages of the main thread.
 *
 * Nothing here catches what a protocol throws. A protocol may not throw for anything that a client sent, so an error is
 * a broken invariant: the state of the router, of a session or of a ring may be half changed, and going on could lose
 * or mix up messages of clients that did nothing wrong. The thread dies with the stack in the log, and is replaced.
 */
import { Router } from '../../core/broker/router.ts';
import type { CloseReason, Connection, ConnectionHandler, ListenerInfo } from '../../core/ports/connection.ts';
import type { CreateProtocolWorker, Protocol, ProtocolWebSocket, ProtocolWorker } from '../../core/ports/protocol.ts';
import type { ReceiveLimits } from '../../net/limits/receive-limit.ts';
import { TcpConnector, type TransportObserver } from '../../net/tcp/tcp-connector.ts';
import { EventLoopMeter } from '../../observability/event-loop-metrics.ts';
import type { Logger } from '../../observability/log.ts';
import { ThreadMetrics } from '../../observability/metrics.ts';
import { ConnectionCounters, type TransportFailure } from '../../observability/worker-metrics.ts';
import { CounterBlock } from '../../shm/counters.ts';
import { Heartbeat } from '../../shm/heartbeat.ts';
import { LatenessWriter } from '../../shm/lateness.ts';
import { SharedBucket } from '../../shm/shared-bucket.ts';
import { assert } from '../../std/assert.ts';
import { TimingWheel } from '../../std/timing-wheel.ts';
import type { DirectoryToWorker, MainToWorker, PeerMessage, StartMessage, WorkerToMain } from '../messages.ts';
import { LazyServices } from '../services/client/lazy-services.ts';
import { type SharedGroupsRequest, WorkerSessionSlots } from '../sessions/session-slots.ts';
import { StorageClient } from '../storage/client/storage-client.ts';
import { WorkerAccess } from './access.ts';
import { WorkerClientLimits } from './client-limits.ts';
import { Ledger, LedgerWriter } from './connection-ledger.ts';
import { WorkerControlPlane } from './control-plane.ts';
import { LATENESS_TICK_MS, receiveBucketOf } from './intake-start.ts';
import { ListenerIntake } from './listener-intake.ts';
import { WorkerSessionDirectory } from './session-directory.ts';
import { workerMetricsLayout } from './worker-metrics-layout.ts';
import { WorkerNode } from './worker-node.ts';
import type { WorkerStart } from './worker-start.ts';

/** Resolution of all coarse timers and of the heartbeat. */
const TICK_MS = LATENESS_TICK_MS;
/** How often a draining worker looks whether its last connection has gone. */
const DRAIN_LOOK_MS = 5;

export interface WorkerRuntimeOptions {
  readonly start: WorkerStart;
  /** Those in use, in the order of the registry. */
  readonly protocols: readonly Protocol[];
  /** By name of protocol; all of those in use. */
  readonly createWorkers: ReadonlyMap<string, CreateProtocolWorker>;
  readonly log: Logger;
  post(message: WorkerToMain): void;
}

export class WorkerRuntime {
  private readonly post: (message: WorkerToMain) => void;
  private readonly router: Router;
  private readonly connector: TcpConnector;
  private readonly intake: ListenerIntake;
  private readonly lateness: LatenessWriter;
  private readonly directory: WorkerSessionDirectory;
  private readonly control: WorkerControlPlane;
  private readonly storage: StorageClient;
  private readonly services: LazyServices;
  private readonly sessions: WorkerSessionSlots | null;
  private readonly access: WorkerAccess;
  private readonly clientLimits: WorkerClientLimits;
  private readonly node: WorkerNode;
  private readonly timers = new TimingWheel(TICK_MS);
  private readonly heartbeat: Heartbeat;
  private readonly protocolWorkers = new Map<string, ProtocolWorker>();
  private readonly eventLoopMeter: EventLoopMeter;
  private readonly ticker: NodeJS.Timeout;
  private readonly startedMs = performance.now();
  private draining = false;

  constructor({ start, protocols, createWorkers, log, post }: WorkerRuntimeOptions) {
    const { workerIndex, workerCount, limits, shared, listeners } = start;
    this.post = post;
    const layout = workerMetricsLayout(listeners, protocols, start.protocolSettings);
    const metrics = new ThreadMetrics(layout, new CounterBlock(shared.counters));
    metrics.resetGauges();
    metrics.set(metrics.slot('ringmq_ring_capacity_bytes'), shared.router.rings[workerIndex].byteLength);
    const control = new WorkerControlPlane(workerCount, post);
    this.control = control;
    const { retained } = limits;
    this.router = new Router({ workerIndex, workerCount, shared: shared.router, control, retained, metrics, log });
    this.directory = new WorkerSessionDirectory(workerCount, this.router, post);
    this.storage = new StorageClient(start.storage);
    this.services = new LazyServices({ store: this.storage, ...start.services });
    const { storage: store, timers } = this;
    this.sessions =
      start.sessions === null
        ? null
        : new WorkerSessionSlots({
            workerIndex,
            workerCount,
            control,
            start: start.sessions,
            store,
            timers,
            metrics,
            log,
            post,
          });
    this.access = new WorkerAccess({ settings: start.access, metrics, log, post });
    const { clientLimits } = start;
    this.clientLimits = new WorkerClientLimits({ start: clientLimits, workerIndex, workerCount, metrics, log, post });
    this.node = new WorkerNode(start.node, layout, post);
    const { sessions } = this;
    if (sessions !== null)
      this.node.onQuestion('shared-groups', (request) => sessions.sharedGroups(request as SharedGroupsRequest));
    const counts = new TransportCounts(start, metrics);
    this.connector = createConnector(start, counts);
    this.lateness = new LatenessWriter(start.intake.lateness, workerIndex, TICK_MS);
    this.intake = new ListenerIntake({
      start: start.intake,
      listeners,
      connector: this.connector,
      ledger: new Ledger(shared.ledger, workerCount, listeners.length),
      webSockets: webSocketsOf(protocols),
      accept: (listener, connection) => this.accept(listener, connection),
      opened: (listener, isHere) => counts.opened(listener, isHere),
      closed: (listener, reason) => counts.closed(listener, reason),
      failed: (listener, failure) => counts.failed(listener, failure),
      log,
    });
    this.heartbeat = new Heartbeat(shared.heartbeats, workerIndex);
    for (const protocol of protocols) {
      const context = {
        workerIndex,
        settings: start.protocolSettings.get(protocol.name),
        router: this.router,
        directory: this.directory,
        control,
        storage: this.storage,
        services: this.services,
        sessions: this.sessions,
        access: this.access,
        limits: this.clientLimits,
        node: this.node,
        metrics,
        timers: this.timers,
        log: log.child({ protocol: protocol.name }),
        handshakeTimeoutMs: limits.handshakeTimeoutMs,
        connectionOutputBytesMax: limits.connectionOutputBytesMax,
      };
      const create = createWorkers.get(protocol.name);
      assert(create !== undefined, 'every protocol in use was loaded');
      this.protocolWorkers.set(protocol.name, create(context));
    }
    this.router.start();
    void this.keepRetained(start);
    this.eventLoopMeter = new EventLoopMeter(metrics, TICK_MS);
    this.ticker = setInterval(() => this.tick(), TICK_MS);
    this.heartbeat.beat();
    log.debug('worker serves', { driver: this.connector.driver });
  }

  /** The main thread waits for it at the start of the node; the storage has not been joined yet, and the calls wait for that. */
  private async keepRetained({ workerIndex, limits, storage }: WorkerStart): Promise<void> {
    const { storage: store, router } = this;
    const { waitMsMax } = storage;
    if (limits.isRetainedStored) await router.retained.keepIn({ store, isKeeper: workerIndex === 0, waitMsMax });
    this.post({ type: 'retained-loaded' });
  }

  handle(message: Exclude<MainToWorker, StartMessage>): void {
    switch (message.type) {
      case 'connection':
        this.intake.take(message.listener, message.socket, message.isSurplus === true);
        break;
      case 'tls-material':
        this.intake.updateTls(message.listener, message.material);
        break;
      case 'unix-listen':
        void this.intake.listenOnUnix(message).then((problem) => {
          this.post({ type: 'unix-listening', listener: message.listener, problem });
        });
        break;
      case 'web-sockets':
        void this.intake.joinWebSockets(message.listener, message.transport);
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
        this.services.adopt(message.link.services);
        break;
      case 'broadcast-delivery':
        this.control.deliver(message);
        break;
      case 'login-step':
      case 'access-change':
        this.access.handle(message);
        break;
      case 'client-admittance':
        this.clientLimits.handle(message);
        break;
      case 'node-facts':
      case 'alarm-change':
      case 'question':
        this.node.handle(message);
        break;
      case 'sessions-open':
      case 'sessions-upkeep':
      case 'sessions-trim':
        this.sessions?.handle(message);
        break;
      case 'broadcast-done':
        this.control.done(message.id);
        break;
      default:
        this.directory.handle(message satisfies DirectoryToWorker);
    }
  }

  private accept(listener: ListenerInfo, connection: Connection): ConnectionHandler {
    const protocol = this.protocolWorkers.get(listener.protocol);
    assert(protocol !== undefined, 'a listener speaks a protocol that runs');
    const handler = protocol.accept(connection);
    // It was on its way when the goodbyes were said.
    if (this.draining) connection.close('shutdown');
    return handler;
  }

  /** Loads what the listeners need; no connection may come before it has resolved. */
  open(): Promise<void> {
    return this.intake.open();
  }

  private peerChanged(message: PeerMessage): void {
    if (message.type === 'worker-gone') this.control.workerGone(message.worker);
    else this.control.workerReady(message.worker);
  }

  private tick(): void {
    this.heartbeat.beat();
    this.lateness.tick();
    this.eventLoopMeter.sample();
    // By the clock and not by counting, since a late timer does not catch up.
    this.timers.advance(Math.floor((performance.now() - this.startedMs) / TICK_MS));
  }

  private drain(limitMs: number): void {
    this.draining = true;
    const limit = performance.now() + limitMs;
    this.intake.cut();
    for (const protocol of this.protocolWorkers.values()) protocol.drain();
    const look = (): void => {
      const left = this.connector.connectionCount;
      // What the clients were promised an answer for is answered before the thread ends.
      const isBusy =
        left > 0 ||
        this.sessions?.isBusy === true ||
        this.storage.unanswered > 0 ||
        this.services.unanswered > 0 ||
        this.router.retained.unsaved > 0;
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
    void this.intake.stop();
    this.connector.destroyAll('shutdown');
    clearInterval(this.ticker);
    this.router.stop();
    void Promise.all([this.sessions?.close(), this.services.close()]).then(() => this.storage.close());
  }
}

/** What the transports count, and where connections are counted off. */
class TransportCounts implements TransportObserver {
  private readonly counters: ConnectionCounters;
  private readonly ledger: LedgerWriter;

  constructor(start: WorkerStart, metrics: ThreadMetrics) {
    this.counters = new ConnectionCounters(metrics, start.listeners);
    this.ledger = new LedgerWriter(start.shared.ledger, start.workerIndex, start.listeners.length);
  }

  received(listener: ListenerInfo, bytes: number): void {
    this.counters.received(listener, bytes);
  }

  sent(listener: ListenerInfo, bytes: number): void {
    this.counters.sent(listener, bytes);
  }

  opened(listener: ListenerInfo, isHere = false): void {
    this.counters.opened(listener);
    if (isHere) this.ledger.began(listener.index);
  }

  closed(listener: ListenerInfo, reason: CloseReason): void {
    this.counters.closed(listener, reason);
    this.ledger.ended(listener.index);
  }

  failed(listener: ListenerInfo, failure: TransportFailure): void {
    this.counters.failed(listener, failure);
  }
}

function createConnector({ limits, intake }: WorkerStart, observer: TransportObserver): TcpConnector {
  const receiveLimits = new Map<number, ReceiveLimits>();
  for (const [index, { connectionReceiveBytesPerS, receiveBytesPerS }] of intake.listeners.entries()) {
    if (connectionReceiveBytesPerS === 0 && receiveBytesPerS === 0) continue;
    const bucket =
      receiveBytesPerS > 0 ? new SharedBucket(intake.buckets, receiveBucketOf(index), receiveBytesPerS, 0) : null;
    receiveLimits.set(index, { connectionBytesPerS: connectionReceiveBytesPerS, listener: bucket });
  }
  return new TcpConnector({ connectionOutputBytesMax: limits.connectionOutputBytesMax, observer, receiveLimits });
}

function webSocketsOf(protocols: readonly Protocol[]): ReadonlyMap<string, ProtocolWebSocket> {
  const all = new Map<string, ProtocolWebSocket>();
  for (const { name, webSocket } of protocols) if (webSocket !== undefined) all.set(name, webSocket);
  return all;
}
