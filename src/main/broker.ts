/**
 * One RingMQ node, assembled: shared memory, supervisor, acceptor, hubs and the HTTP port. Main thread. The program
 * (`main.ts`) and the library (`index.ts`) both start it; neither signals nor `process.exit` are its business.
 */

import { join } from 'node:path';
import type { Health } from '../admin/api/health.ts';
import { createRouterShared, type RouterShared, removeWorker } from '../core/broker/router-shared.ts';
import type { PlacementNode } from '../core/ports/placement.ts';
import type { Protocol } from '../core/ports/protocol.ts';
import type { BrokerServices } from '../core/ports/services.ts';
import type { StreamStore } from '../core/ports/stream-store.ts';
import type { TlsReload } from '../net/tls/tls-keeper.ts';
import { EventLoopMeter } from '../observability/event-loop-metrics.ts';
import type { MetricsSource } from '../observability/exposition.ts';
import type { RootLogger } from '../observability/log.ts';
import { mainMetricDefinitions } from '../observability/main-metrics.ts';
import { MetricsLayout, ThreadMetrics } from '../observability/metrics.ts';
import { NodeCounters } from '../observability/node-counters.ts';
import { CounterBlock, createCounters } from '../shm/counters.ts';
import { createHeartbeats, HeartbeatMonitor } from '../shm/heartbeat.ts';
import type { WorkerToMain } from '../workers/messages.ts';
import { createLedger, Ledger } from '../workers/runtime/connection-ledger.ts';
import { protocolsInUse, workerMetricsLayout } from '../workers/runtime/worker-metrics-layout.ts';
import type { WorkerStart } from '../workers/runtime/worker-start.ts';
import { portsOf } from '../workers/storage/link.ts';
import { TaskPool } from '../workers/task-pool.ts';
import { formatListenerAddress, type ListenerAddress } from './acceptor/acceptor.ts';
import { Listeners } from './acceptor/listeners.ts';
import { AccessService } from './access/access-service.ts';
import type { AdminListener } from './admin-listener.ts';
import type { AlarmService } from './alarms/alarm-service.ts';
import type { BrokerSettings } from './broker-settings.ts';
import { BroadcastHub } from './directory/broadcast-hub.ts';
import { NodePlane } from './directory/node-plane.ts';
import { SessionDirectoryHub } from './directory/session-directory-hub.ts';
import { ClientAdmissions } from './limits/client-admissions.ts';
import { MainCounters } from './main-counters.ts';
import { NodeHub } from './node/node-hub.ts';
import { NodeRegistration } from './placement/node-registration.ts';
import { PlacementHost } from './placement/placement-host.ts';
import type { RaftThread } from './placement/raft-thread.ts';
import { RetainedLoading } from './retained-loading.ts';
import { SessionService } from './sessions/session-service.ts';
import { sessionSlotsSettings } from './sessions/session-settings.ts';
import { createStrategy } from './sharding/strategies.ts';
import type { JournalThread } from './storage/journal-thread.ts';
import { StorageSupervisor } from './storage/storage-supervisor.ts';
import { Supervisor } from './supervision/supervisor.ts';
import type { WorkerThread } from './supervision/worker-thread.ts';

export interface BrokerNodeOptions {
  readonly settings: BrokerSettings;
  /** All registered protocols. */
  readonly protocols: readonly Protocol[];
  readonly version: string;
  readonly log: RootLogger;
  /** Data folder; what is kept in it is made when missing, and in use by nobody else. */
  readonly folder: string;
  /** Workers that were started ahead and were told nothing yet; they are taken over. */
  readonly warmWorkers?: readonly WorkerThread[];
  /** The same of the Raft worker. */
  readonly warmRaft?: RaftThread;
  /** The same of the journal worker. */
  readonly warmJournal?: JournalThread;
  /** The node can hold no metadata any more and has left service. Called at most once, while it serves. */
  failed?(reason: string): void;
}

/** How long a request that is being answered may take at the end, ms. */
const HTTP_GRACE_MS = 200;
/** The API is loaded this long after the node began to serve: those who waited for the node come first. */
const HTTP_LOAD_MS = 200;
/** Between two looks at the nodes of the cluster. */
const NODES_MS = 5_000;
/** How often the lateness of this thread is measured. It idles mostly, and waking it costs more than the measure. */
const EVENT_LOOP_MS = 250;
/** The placement centre always has this long to hand over and to close its files. */
const PLACEMENT_STOP_MS_MIN = 1_000;

/** The storage always has this long to answer what is under way and to close in order. */
const STORAGE_STOP_MS_MIN = 10_000;

type State = 'starting' | 'serving' | 'draining' | 'stopped';

export class BrokerNode {
  /** Where the listeners can be reached, in the order of the configuration. Empty before the node serves. */
  addresses: readonly ListenerAddress[] = [];
  /** Where HTTP can be reached; null when it is switched off. */
  httpAddress: { readonly host: string; readonly port: number } | null = null;
  /** Where other nodes reach this one; null without a cluster address. */
  clusterAddress: { readonly host: string; readonly port: number } | null = null;
  private state: State = 'starting';
  private readonly settings: BrokerSettings;
  private readonly listeners: Listeners;
  private readonly log: RootLogger;
  private readonly options: BrokerNodeOptions;
  private readonly memory: RouterShared;
  private readonly ledger: Ledger;
  private readonly supervisor: Supervisor;
  private readonly broadcasts: BroadcastHub;
  private readonly sessions: SessionDirectoryHub;
  private readonly durableSessions: SessionService | null;
  private readonly nodeHub: NodeHub;
  private readonly nodePlane: NodePlane;
  private readonly mainMetrics: ThreadMetrics;
  private readonly workerCounters: NodeCounters;
  private readonly retainedLoading: RetainedLoading;
  private alarms: AlarmService | null = null;
  private nodesTimer: NodeJS.Timeout | null = null;
  private readonly counters: MainCounters;
  private readonly metricsSources: readonly MetricsSource[];
  private readonly placement: PlacementHost;
  private readonly storageSupervisor: StorageSupervisor;
  private readonly access: AccessService;
  private readonly admissions: ClientAdmissions;
  private registration: NodeRegistration | null = null;
  private readonly tasks = new TaskPool();
  private readonly eventLoopTimer: NodeJS.Timeout;
  private http: AdminListener | null = null;
  private httpLoading: NodeJS.Timeout | null = null;
  private stopped: Promise<number> | null = null;

  constructor(options: BrokerNodeOptions) {
    const { settings, log } = options;
    const { workerCount, limits } = settings;
    this.options = options;
    this.settings = settings;
    this.log = log;
    const labels = settings.listeners.map(({ name, protocol }) => ({ name, protocol }));
    const startedAtMs = Date.now();

    this.memory = createRouterShared({ ...limits, workerCount });
    this.retainedLoading = new RetainedLoading(workerCount);
    const heartbeats = createHeartbeats(workerCount);
    const ledgerBuffer = createLedger(workerCount, labels.length);
    this.ledger = new Ledger(ledgerBuffer, workerCount, labels.length);

    const workerLayout = workerMetricsLayout(
      labels,
      protocolsInUse(options.protocols, labels),
      settings.protocolSettings,
    );
    const workerCounters = Array.from({ length: workerCount }, () => createCounters(workerLayout.slotCount));
    const mainLayout = new MetricsLayout([mainMetricDefinitions(labels)]);
    const mainBlock = new CounterBlock(createCounters(mainLayout.slotCount));
    const mainMetrics = new ThreadMetrics(mainLayout, mainBlock);
    this.mainMetrics = mainMetrics;
    this.workerCounters = new NodeCounters(
      workerLayout,
      workerCounters.map((buffer) => new CounterBlock(buffer)),
    );
    this.counters = new MainCounters(mainMetrics, labels);
    const meter = new EventLoopMeter(mainMetrics, EVENT_LOOP_MS);
    this.eventLoopTimer = setInterval(() => meter.sample(), EVENT_LOOP_MS).unref();
    this.placement = new PlacementHost({
      start: {
        folder: join(options.folder, 'placement'),
        cluster: settings.cluster,
        log: settings.log,
        version: options.version,
      },
      stallLimitMs: settings.supervision.stallLimitMs,
      log,
      failed: (reason) => options.failed?.(reason),
    });
    this.storageSupervisor = new StorageSupervisor({
      ...settings.storage,
      ...settings.supervision,
      start: {
        adapter: settings.storage.adapter,
        settings: settings.storage.settings,
        services: settings.services,
        folder: options.folder,
        log: settings.log,
      },
      workerCount,
      log,
      liveWorkers: () => this.supervisor.liveWorkers(),
      handLink: (worker, link) => this.supervisor.post(worker, { type: 'storage-link', link }, portsOf(link)),
    });
    this.access = new AccessService({
      settings: settings.access,
      placement: () => this.placement.client,
      tasks: this.tasks,
      log,
      liveWorkers: () => this.supervisor.liveWorkers(),
      post: (worker, message) => this.supervisor.post(worker, message),
    });
    this.metricsSources = [
      { worker: 'main', layout: mainLayout, counters: mainBlock },
      this.placement.metrics,
      this.storageSupervisor.metrics,
      ...workerCounters.map((buffer, index) => ({
        worker: String(index),
        layout: workerLayout,
        counters: new CounterBlock(buffer),
      })),
    ];

    this.admissions = new ClientAdmissions({
      settings: limits,
      listeners: settings.listeners,
      workerCount,
      post: (worker, message) => this.supervisor.post(worker, message),
    });
    this.durableSessions = this.createSessionService();
    this.listeners = new Listeners({
      settings,
      protocols: options.protocols,
      strategy: createStrategy(settings.sharding),
      ledger: this.ledger,
      liveWorkers: () => this.supervisor.liveWorkers(),
      handOver: (worker, listener, socket, isSurplus) => this.supervisor.handOver(worker, listener, socket, isSurplus),
      handWebSockets: (worker, listener, transport) =>
        this.supervisor.post(worker, { type: 'web-sockets', listener, transport }, [transport.port]),
      askUnix: (worker, listener, file, backlog) =>
        this.supervisor.post(worker, { type: 'unix-listen', listener, file, backlog }),
      handTls: (worker, listener, material) =>
        this.supervisor.post(worker, { type: 'tls-material', listener, material }),
      mayAccept: (address) => this.admissions.mayAccept(address),
      accepted: (listener) => this.counters.accepted(listener),
      refused: (listener, reason) => this.counters.refused(listener, reason),
      log,
    });
    this.supervisor = new Supervisor({
      ...settings.supervision,
      workerCount,
      heartbeats: new HeartbeatMonitor(heartbeats),
      log,
      startOf: (workerIndex): WorkerStart => ({
        workerIndex,
        workerCount,
        listeners: this.listeners.infos,
        intake: this.listeners.intakeStart(),
        protocolSettings: settings.protocolSettings,
        limits: {
          handshakeTimeoutMs: limits.handshakeTimeoutMs,
          connectionOutputBytesMax: limits.connectionOutputBytesMax,
          retained: {
            countMax: limits.retainedCountMax,
            bytesMax: limits.retainedBytesMax,
            valueBytesMax: limits.retainedValueBytesMax,
            tenantCountMax: limits.retainedTenantCountMax,
            tenantBytesMax: limits.retainedTenantBytesMax,
            expiryDefaultS: limits.retainedExpiryDefaultS,
            expiryMaxS: limits.retainedExpiryMaxS,
          },
          isRetainedStored: settings.storage.retained,
        },
        log: settings.log,
        shared: { router: this.memory, heartbeats, counters: workerCounters[workerIndex], ledger: ledgerBuffer },
        storage: this.storageSupervisor.clientOptionsOf(workerIndex),
        access: this.access.workerSettings,
        sessions: this.durableSessions?.workerStart ?? null,
        clientLimits: this.admissions.workerStart,
        services: this.storageSupervisor.servicesOptions,
        node: { version: options.version, startedAtMs, counters: workerCounters },
      }),
      message: (worker, message) => this.receive(worker, message),
      ready: (worker) => {
        this.counters.serving(this.supervisor.liveWorkers().length);
        this.storageSupervisor.workerReady(worker);
        this.nodePlane.workerReady(worker);
        this.durableSessions?.workerReady(worker);
        this.listeners.workerReady(worker);
        this.access.workerReady(worker);
        this.nodeHub.workerReady(worker);
      },
      gone: (worker, cause) => {
        this.counters.replaced(cause);
        this.cleanUpBehind(worker);
      },
    });
    this.broadcasts = new BroadcastHub(this.supervisor);
    this.sessions = new SessionDirectoryHub(this.supervisor);
    this.nodeHub = new NodeHub(this.supervisor);
    this.nodePlane = new NodePlane({
      workers: this.supervisor,
      hub: this.sessions,
      placement: () => this.placement.client,
      calls: this.placement.calls,
      node: () => this.placement.name,
      nodeEpoch: () => this.registration?.nodeEpoch ?? 0,
      ownerLostAfterMs: settings.sessions.ownerLostAfterMs,
      log,
    });
    this.placement.onStatus = (status) => this.nodePlane.statusChanged(status);
  }

  /** Resolves when the node serves on all its ports. When it rejects, everything that was started has ended again. */
  async start(): Promise<void> {
    const { warmWorkers, warmRaft, warmJournal } = this.options;
    try {
      // Before the workers, which begin with it.
      await this.listeners.load();
    } catch (error) {
      await this.stop(0);
      throw error;
    }
    const steps = [
      this.supervisor.start(warmWorkers),
      // The rules are read while the workers still start; those that are up already are told.
      this.placement.start(warmRaft).then(() => this.access.start()),
      this.startHttp(),
      this.storageSupervisor.start(warmJournal),
    ];
    try {
      await Promise.all(steps);
      // A storage that does not answer now is not waited for.
      if (this.storageSupervisor.problem() === null) await this.retainedLoading.whenLoaded();
      if (this.durableSessions === null) this.sessions.beginningEnds(false);
      else await this.durableSessions.open();
      await this.nodePlane.open();
      // Last, so that no client comes before there is a worker for it.
      this.nodeHub.setFacts({ name: this.placement.name, nodes: this.placement.nodeNames });
      this.addresses = await this.listeners.listen();
      this.nodeHub.setFacts({ ports: this.addresses.map(({ port }) => port) });
      this.clusterAddress = this.placement.address;
      this.registration = this.register();
      this.state = 'serving';
      this.lookAtNodes();
      this.httpLoading = setTimeout(() => void this.http?.load(), HTTP_LOAD_MS).unref();
      void this.startAlarms();
    } catch (error) {
      // What is still starting must have ended before it can be stopped.
      await Promise.allSettled(steps.slice(1));
      await this.stop(0);
      throw error;
    }
  }

  /**
   * Stops accepting, lets the clients leave for at most `drainLimitMs`, ends all threads. Resolves with the number of
   * connections that had to be cut. Calling it again returns the same promise.
   */
  stop(drainLimitMs: number): Promise<number> {
    this.stopped ??= this.stopOnce(drainLimitMs);
    return this.stopped;
  }

  private async stopOnce(drainLimitMs: number): Promise<number> {
    this.state = 'draining';
    const limitMs = performance.now() + drainLimitMs;
    await this.listeners.close();
    await this.registration?.stop();
    this.nodePlane.stop();
    this.access.stop();
    this.durableSessions?.stop();
    const cutConnections = await this.supervisor.drain(drainLimitMs);
    await this.supervisor.stop(limitMs - performance.now());
    await this.storageSupervisor.stop(Math.max(STORAGE_STOP_MS_MIN, limitMs - performance.now()));
    await this.placement.stop(Math.max(PLACEMENT_STOP_MS_MIN, limitMs - performance.now()));
    if (this.httpLoading !== null) clearTimeout(this.httpLoading);
    await this.http?.stop(HTTP_GRACE_MS);
    if (this.nodesTimer !== null) clearInterval(this.nodesTimer);
    this.nodeHub.stop();
    await this.alarms?.stop();
    await this.tasks.close();
    clearInterval(this.eventLoopTimer);
    this.state = 'stopped';
    this.log.flush();
    return cutConnections;
  }

  /** Reads again what is read from files beside the configuration. */
  async reload(): Promise<void> {
    await this.access.reload();
  }

  /** Reads the files of all TLS listeners again; connections stay. What cannot be used is told and changes nothing. */
  reloadTls(): Promise<readonly TlsReload[]> {
    return this.listeners.reloadTls();
  }

  /** For the program around the broker. */
  get placementClient(): PlacementNode {
    return this.placement.client;
  }

  /** For the program around the broker. */
  get storage(): StreamStore {
    return this.storageSupervisor.client;
  }

  /** For the program around the broker. */
  get services(): BrokerServices {
    return this.storageSupervisor.services;
  }

  private createSessionService(): SessionService | null {
    const { sessions, limits, workerCount } = this.settings;
    if (!sessions.durable) return null;
    return new SessionService({
      workerCount,
      settings: sessionSlotsSettings(sessions),
      interestBitmapBytes: limits.interestBitmapBytes,
      store: this.storageSupervisor.client,
      log: this.log,
      liveWorkers: () => this.supervisor.liveWorkers(),
      post: (worker, message) => this.supervisor.post(worker, message),
      opened: (worker) => this.sessions.resumed(worker),
      allOpened: () => this.sessions.beginningEnds(),
    });
  }

  private register(): NodeRegistration {
    const addresses = this.addresses.map((address) => [address.name, formatListenerAddress(address)] as const);
    const { client, name } = this.placement;
    return new NodeRegistration({ placement: client, node: name, addresses, log: this.log });
  }

  /** Workers are told when nodes come and go; it is not for decisions. */
  private lookAtNodes(): void {
    this.nodesTimer = setInterval(() => this.nodeHub.setFacts({ nodes: this.placement.nodeNames }), NODES_MS);
    this.nodesTimer.unref();
  }

  /** Not before the node serves: nobody waits for it. */
  private async startAlarms(): Promise<void> {
    const [{ AlarmService }, { AlarmFile }, { createProbes }] = await Promise.all([
      import('./alarms/alarm-service.ts'),
      import('./alarms/alarm-file.ts'),
      import('./alarms/probes.ts'),
    ]);
    if (this.state !== 'serving') return;
    const { settings, log, counters, listeners, placement, storageSupervisor } = this;
    const { folder } = this.options;
    const probes = createProbes({
      settings: settings.alarms,
      limits: settings.limits,
      sessionsMax: settings.sessions.sessionsMax,
      folder,
      workers: this.workerCounters,
      storage: storageSupervisor.metrics,
      connectionCount: () => this.ledger.total,
      latenessMs: () => listeners.latenessMs(),
      replacedCount: () => counters.replacedCount,
      storageProblem: () => storageSupervisor.problem(),
      placementProblem: () => placement.problem(),
      certificates: () => listeners.certificates(),
    });
    this.alarms = new AlarmService({
      settings: settings.alarms,
      probes,
      file: new AlarmFile(folder, log),
      metrics: this.mainMetrics,
      log,
      tell: (change) => this.nodeHub.tell(change),
    });
    await this.alarms.start();
  }

  private async startHttp(): Promise<void> {
    const { http } = this.settings;
    if (http === null) return;
    const { startAdminListener } = await import('./admin-listener.ts');
    this.http = await startAdminListener({
      ...http,
      version: this.options.version,
      health: this.health(),
      counters: this.metricsSources,
      placement: this.placement.client,
      storage: this.storageSupervisor.client,
      services: this.storageSupervisor.services,
      listeners: {
        listeners: () =>
          this.addresses.map((address) => {
            const { name, protocol, transport = 'tcp' } = address;
            return { name, protocol, transport, address: formatListenerAddress(address) };
          }),
        reloadTls: () => this.reloadTls(),
      },
      alarms: {
        active: () => this.alarms?.active() ?? [],
        history: () => this.alarms?.history() ?? [],
        clearHistory: () => this.alarms?.clearHistory() ?? 0,
      },
      workers: { ask: (subject, request) => this.nodeHub.ask(subject, request) },
      tasks: this.tasks,
      access: this.access,
      log: this.log,
    });
    this.httpAddress = { host: this.http.host, port: this.http.port };
  }

  private health(): Health {
    return {
      alive: () => ({ alive: true }), // Who answers is alive, and dead workers are replaced without help from outside.
      ready: () => {
        if (this.state !== 'serving') return { ready: false, reason: this.state };
        if (this.supervisor.liveWorkers().length === 0) return { ready: false, reason: 'no worker serves' };
        const problem =
          this.placement.problem() ?? this.registration?.problem() ?? this.storageSupervisor.problem() ?? null;
        return problem === null ? { ready: true } : { ready: false, reason: problem };
      },
    };
  }

  private receive(worker: number, message: WorkerToMain): void {
    switch (message.type) {
      case 'ready':
      case 'drained':
        return; // The supervisor's own.
      case 'unix-listening':
        this.listeners.unixAnswered(message.listener, message.problem);
        return;
      case 'sessions-opened':
      case 'sessions-begun':
      case 'sessions-floors':
        this.durableSessions?.handle(worker, message);
        return;
      case 'broadcast':
      case 'broadcast-handled':
        this.broadcasts.handle(worker, message);
        return;
      case 'login':
      case 'login-answer':
      case 'login-cancel':
      case 'client-connected':
        this.access.handle(worker, message);
        return;
      case 'client-enters':
      case 'client-left':
        this.admissions.handle(worker, message);
        return;
      case 'answer':
        this.nodeHub.handle(worker, message);
        return;
      case 'hold-name':
      case 'let-name':
        this.nodePlane.handle(worker, message);
        return;
      case 'retained-loaded':
        this.retainedLoading.workerLoaded(worker);
        return;
      default:
        this.sessions.handle(worker, message);
    }
  }

  /** Takes a dead worker out of everything shared, before the others are told and before its successor starts. */
  private cleanUpBehind(worker: number): void {
    this.durableSessions?.workerGone(worker);
    removeWorker(this.memory, worker);
    this.ledger.reset(worker);
    this.listeners.workerGone(worker);
    this.counters.serving(this.supervisor.liveWorkers().length);
    this.broadcasts.workerGone(worker);
    this.sessions.workerGone(worker);
    this.nodePlane.workerGone(worker);
    this.access.workerGone(worker);
    this.admissions.workerGone(worker);
    this.nodeHub.workerGone(worker);
    this.retainedLoading.workerGone(worker);
  }
}
