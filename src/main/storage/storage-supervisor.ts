/**
 * Starts the journal worker, watches it, replaces it when it dies or stalls, and joins the other threads to it. Main thread; owned
 * by the broker.
 *
 * A replacement is safe: what was acknowledged is durable, and the successor finds it as after a crash of the process. Each thread
 * that uses the storage gets a new link then; what its old one still carried is answered STORAGE_UNCERTAIN by its own client.
 */
import { MessageChannel } from 'node:worker_threads';
import type { StoreHealth } from '../../core/ports/stream-store.ts';
import type { MetricsSource } from '../../observability/exposition.ts';
import type { Logger } from '../../observability/log.ts';
import { createByteRing } from '../../shm/byte-ring.ts';
import { CounterBlock, createCounters } from '../../shm/counters.ts';
import { createDoorbells } from '../../shm/doorbell.ts';
import { createHeartbeats, HeartbeatMonitor } from '../../shm/heartbeat.ts';
import { LazyServices } from '../../workers/services/client/lazy-services.ts';
import type { ServicesClientOptions } from '../../workers/services/client/services-client.ts';
import { StorageClient, type StorageClientOptions } from '../../workers/storage/client/storage-client.ts';
import { createColdPace } from '../../workers/storage/cold-pace.ts';
import { storageMetricsLayout } from '../../workers/storage/host/storage-metrics.ts';
import { completionRingBytes, hostLine, type StorageLink } from '../../workers/storage/link.ts';
import type { StorageStart, StorageToMain } from '../../workers/storage/messages.ts';
import { BackOff } from '../supervision/back-off.ts';
import { describeThrown } from '../supervision/describe-thrown.ts';
import { JournalThread } from './journal-thread.ts';

/** Opening reads what a crash left; a thread that needs longer is not replaced by one that needs as long. */
const START_LIMIT_MS = 15 * 60_000;
/** The thread beats once per second, and its disk may keep it waiting. */
const STALL_LIMIT_MS_MIN = 5_000;
const WATCH_MS = 1_000;
const TERMINATE_LIMIT_MS = 1_000;
/** The broker waits for the storage this long before it serves without it. */
const READY_WAIT_MS = 5_000;

export interface StorageSupervisorOptions {
  readonly start: Omit<StorageStart, 'heartbeats' | 'counters' | 'doorbells' | 'coldPace'>;
  /** Connection workers. */
  readonly workerCount: number;
  readonly requestRingBytes: number;
  readonly unansweredBytesMax: number;
  readonly waitMsMax: number;
  readonly stallLimitMs: number;
  readonly restartBackoffMs: number;
  readonly restartBackoffMaxMs: number;
  readonly log: Logger;
  /** Workers that serve now. */
  liveWorkers(): readonly number[];
  /** Sends a worker its end of a link, ports in the transfer list. */
  handLink(worker: number, link: StorageLink): void;
}

export class StorageSupervisor {
  readonly metrics: MetricsSource;
  /** For the main thread itself, as the next one. */
  readonly client: StorageClient;
  readonly services: LazyServices;
  private readonly options: StorageSupervisorOptions;
  private readonly heartbeats = createHeartbeats(1);
  private readonly monitor = new HeartbeatMonitor(this.heartbeats);
  private readonly counters: SharedArrayBuffer;
  private readonly doorbells: SharedArrayBuffer;
  private readonly coldPace: SharedArrayBuffer;
  private readonly backOff: BackOff;
  private thread: JournalThread | null = null;
  private startedMs = 0;
  private isReady = false;
  private restart: NodeJS.Timeout | null = null;
  private watchdog: NodeJS.Timeout | null = null;
  private isStopping = false;
  /** Called when it is known how the first opening went. */
  private settled: () => void = () => undefined;
  private state: StoreHealth = { state: 'retrying', reason: 'the journal worker starts', since: Date.now() };

  constructor(options: StorageSupervisorOptions) {
    this.options = options;
    const layout = storageMetricsLayout();
    this.counters = createCounters(layout.slotCount);
    this.metrics = { worker: 'journal', layout, counters: new CounterBlock(this.counters) };
    this.backOff = new BackOff(options.restartBackoffMs, options.restartBackoffMaxMs);
    this.doorbells = createDoorbells(2 + options.workerCount);
    this.coldPace = createColdPace(2 + options.workerCount);
    this.client = new StorageClient(this.clientOptions(mainLine));
    this.services = new LazyServices({ store: this.client, ...this.servicesOptions });
  }

  /** The same for its client of the services. */
  get servicesOptions(): Omit<ServicesClientOptions, 'store'> {
    const { callsMax, callTimeoutMs } = this.options.start.services;
    return { callsMax, callTimeoutMs };
  }

  /** What a worker makes its own client of. */
  clientOptionsOf(worker: number): StorageClientOptions {
    return this.clientOptions(lineOf(worker));
  }

  /**
   * Begins. Resolves when the storage serves, or cannot be opened, or takes long: whoever uses it waits for it then. `warm` was started
   * ahead and was told nothing yet.
   */
  start(warm?: JournalThread): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, READY_WAIT_MS);
    this.settled = () => {
      clearTimeout(timer);
      resolve();
    };
    this.launch(warm);
    this.watchdog = setInterval(() => this.watch(), WATCH_MS);
    return promise;
  }

  /** A worker serves, for the first time or after its predecessor died. */
  workerReady(worker: number): void {
    if (this.thread !== null) this.options.handLink(worker, this.join(this.thread, lineOf(worker)));
  }

  health(): StoreHealth {
    return this.state;
  }

  /** Why the node is not ready as far as the storage is concerned; null when it is. */
  problem(): string | null {
    const { state, reason } = this.state;
    // With some partitions out of service it still serves the others.
    return state === 'ready' || state === 'degraded' ? null : `the storage is ${state}: ${reason}`;
  }

  /** Answers what is under way and closes the store. The workers have ended. */
  async stop(limitMs: number): Promise<void> {
    this.isStopping = true;
    if (this.watchdog !== null) clearInterval(this.watchdog);
    if (this.restart !== null) clearTimeout(this.restart);
    const { thread } = this;
    const closed = this.services.close().then(() => this.client.close());
    if (thread === null) {
      await closed;
      return;
    }
    // What was never open need not be closed in order.
    if (this.isReady) thread.post({ type: 'stop' });
    else void thread.terminate();
    if (!(await endsWithin(thread, limitMs))) {
      this.options.log.error('Journal worker cannot be stopped and is terminated', { limitMs });
      void thread.terminate();
      // A thread that waits for its disk ends when the disk answers, not before.
      await endsWithin(thread, TERMINATE_LIMIT_MS);
    }
    await closed;
  }

  private clientOptions(line: number): StorageClientOptions {
    const { unansweredBytesMax, waitMsMax, start } = this.options;
    const { doorbells, coldPace } = this;
    return { adapter: start.adapter, doorbells, coldPace, line, unansweredBytesMax, waitMsMax };
  }

  private launch(warm?: JournalThread): void {
    let thread: JournalThread;
    try {
      thread = warm ?? new JournalThread();
    } catch (error) {
      // The process is out of descriptors or memory: that passes.
      this.options.log.error('Journal worker cannot be started', describeThrown(error));
      this.scheduleRestart(0);
      return;
    }
    this.thread = thread;
    this.isReady = false;
    this.startedMs = performance.now();
    this.monitor.reset(0, this.startedMs);
    thread.onMessage = (message) => this.receive(message);
    void thread.exited.then((error) => this.exited(thread, error));
    const { heartbeats, counters, doorbells, coldPace } = this;
    thread.post({ type: 'start', start: { ...this.options.start, heartbeats, counters, doorbells, coldPace } });
    const own = this.join(thread, mainLine);
    this.client.adopt(own);
    this.services.adopt(own.services);
    for (const worker of this.options.liveWorkers()) {
      this.options.handLink(worker, this.join(thread, lineOf(worker)));
    }
  }

  /** Makes a link and gives its host's end to the thread; answers the client's end. */
  private join(thread: JournalThread, line: number): StorageLink {
    const calls = new MessageChannel();
    const payloads = new MessageChannel();
    const services = new MessageChannel();
    const rings = {
      requests: createByteRing(this.options.requestRingBytes),
      completions: createByteRing(completionRingBytes),
      line,
    };
    thread.connect({ ...rings, port: calls.port1, payloads: payloads.port1, services: services.port1 });
    return { ...rings, port: calls.port2, payloads: payloads.port2, services: services.port2 };
  }

  private receive(message: StorageToMain): void {
    switch (message.type) {
      case 'ready':
        this.isReady = true;
        this.startedMs = performance.now();
        this.monitor.reset(0, this.startedMs);
        this.options.log.debug('storage serves', { adapter: this.options.start.adapter });
        this.settled();
        break;
      case 'failed':
        this.options.log.error('Storage cannot be opened', { reason: message.message });
        this.setState('retrying', message.message);
        this.settled();
        break;
      case 'health':
        this.state = message.health;
        break;
      case 'stopped':
        break;
    }
  }

  private exited(thread: JournalThread, error: unknown): void {
    if (this.thread !== thread) return;
    this.thread = null;
    this.settled();
    const livedMs = this.isReady ? performance.now() - this.startedMs : 0;
    const wasReady = this.isReady;
    this.isReady = false;
    if (this.isStopping && error === undefined) return;
    if (wasReady || error !== undefined) {
      this.options.log.error('Journal worker died', describeThrown(error));
      this.setState('retrying', 'the journal worker died and is replaced');
    }
    if (!this.isStopping) this.scheduleRestart(livedMs);
  }

  private scheduleRestart(livedMs: number): void {
    const delayMs = this.backOff.after(livedMs);
    this.options.log.info('Journal worker is replaced', { delayMs });
    this.restart = setTimeout(() => {
      this.restart = null;
      this.launch();
    }, delayMs);
  }

  private watch(): void {
    const { thread } = this;
    if (thread === null) return;
    const limitMs = this.isReady ? Math.max(STALL_LIMIT_MS_MIN, this.options.stallLimitMs) : START_LIMIT_MS;
    if (!this.monitor.stalled(0, performance.now(), limitMs)) return;
    this.options.log.error('Journal worker stalled', { limitMs });
    this.monitor.reset(0, performance.now());
    void thread.terminate();
  }

  private setState(state: StoreHealth['state'], reason: string): void {
    this.state = { state, reason, since: Date.now() };
  }
}

/** Whether the thread has ended when the time is over. */
async function endsWithin(thread: JournalThread, limitMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), limitMs);
  void thread.exited.then(() => resolve(true));
  const hasEnded = await promise;
  clearTimeout(timer);
  return hasEnded;
}

const mainLine = hostLine + 1;

/** Line of a connection worker in the doorbells. */
function lineOf(worker: number): number {
  return mainLine + 1 + worker;
}
