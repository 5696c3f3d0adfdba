/**
 * Starts the Raft worker, watches it and ends it. Main thread; owned by the broker.
 *
 * The worker is not replaced when it dies or stalls: what it wrote last may not be on disk, and a second try in the same
 * process could make it worse. The node then holds no metadata and leaves service.
 */
import { MessageChannel } from 'node:worker_threads';
import type { GroupStatus } from '../../core/ports/placement.ts';
import type { MetricsSource } from '../../observability/exposition.ts';
import type { Logger } from '../../observability/log.ts';
import { openPlacementClient } from '../../raft/client/open-client.ts';
import type { PlacementClient } from '../../raft/client/placement-client.ts';
import type { RaftStart, RaftToMain } from '../../raft/messages.ts';
import { stateFolder } from '../../raft/node/folders.ts';
import { raftMetricsLayout } from '../../raft/node/raft-metrics.ts';
import { CounterBlock, createCounters } from '../../shm/counters.ts';
import { createHeartbeats, HeartbeatMonitor } from '../../shm/heartbeat.ts';
import type { ErrorCode } from '../../std/error-codes.ts';
import { BrokerError } from '../../std/errors.ts';
import { NodeCalls } from './node-calls.ts';
import { RaftThread } from './raft-thread.ts';

/** How long the thread may take to load its modules and to read its log. */
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS_MIN = 1_000;
const WATCH_MS_MAX = 500;

const codes: Readonly<Record<Extract<RaftToMain, { type: 'failed' }>['reason'], ErrorCode>> = {
  corrupted: 'PLACEMENT_CORRUPTED',
  address: 'CLUSTER_ADDRESS_UNUSABLE',
  other: 'PLACEMENT_START_FAILED',
};

export interface PlacementHostOptions {
  readonly start: Omit<RaftStart, 'heartbeats' | 'counters'>;
  readonly stallLimitMs: number;
  readonly log: Logger;
  /** The placement centre of this node is gone for good. Called once, after it had started. */
  failed(reason: string): void;
}

export class PlacementHost {
  readonly metrics: MetricsSource;
  /** Calls between this broker and those on other nodes. */
  readonly calls = new NodeCalls((message) => this.thread?.post(message));
  /** Told of each status that the Raft worker sends, many of them equal. */
  onStatus: (status: GroupStatus) => void = () => undefined;
  private readonly options: PlacementHostOptions;
  private readonly heartbeats = createHeartbeats(1);
  private readonly monitor = new HeartbeatMonitor(this.heartbeats);
  private readonly counters: SharedArrayBuffer;
  private thread: RaftThread | null = null;
  private watchdog: NodeJS.Timeout | null = null;
  private starting: PromiseWithResolvers<void> | null = null;
  private ready: Extract<RaftToMain, { type: 'ready' }> | null = null;
  private status: GroupStatus | null = null;
  private failure: string | null = null;
  private isStopping = false;
  private ownClient: PlacementClient | null = null;

  constructor(options: PlacementHostOptions) {
    this.options = options;
    const layout = raftMetricsLayout();
    this.counters = createCounters(layout.slotCount);
    this.metrics = { worker: 'raft', layout, counters: new CounterBlock(this.counters) };
  }

  /** Resolves when the worker listens. Rejects with a `BrokerError`; the thread has ended or is ended by `stop`. */
  start(warm: RaftThread | undefined): Promise<void> {
    const thread = warm ?? new RaftThread();
    this.thread = thread;
    this.starting = Promise.withResolvers<void>();
    const { promise } = this.starting;
    thread.onMessage = (message) => this.receive(message);
    void thread.exited.then((error) => this.exited(error));
    const { heartbeats, counters } = this;
    thread.post({ type: 'start', start: { ...this.options.start, heartbeats, counters } });
    this.monitor.reset(0, performance.now());
    const intervalMs = Math.max(20, Math.min(WATCH_MS_MAX, this.options.stallLimitMs / 4));
    this.watchdog = setInterval(() => this.watch(), intervalMs);
    return promise;
  }

  /** Where other nodes reach this one; null without a cluster address. */
  get address(): { readonly host: string; readonly port: number } | null {
    return this.ready?.address ?? null;
  }

  /** Name of the node in the cluster; '' before it has started. */
  get name(): string {
    return this.ready?.name ?? '';
  }

  /** Names of all nodes of the cluster as far as this one knows, in order. */
  get nodeNames(): readonly string[] {
    const names = (this.status?.members ?? []).map(({ name }) => name).filter((name) => name !== '');
    return names.length === 0 ? [this.name] : names.sort();
  }

  /** For the main thread itself. Call it only after the start. */
  get client(): PlacementClient {
    this.ownClient ??= this.createClient();
    return this.ownClient;
  }

  /** Why the node is not ready as far as the placement centre is concerned; null when it is. */
  problem(): string | null {
    if (this.failure !== null) return `the placement centre has failed: ${this.failure}`;
    if (this.status === null || this.status.leader === null) return 'the placement centre has no leader';
    return null;
  }

  /** Hands leadership over and closes log and store. */
  async stop(limitMs: number): Promise<void> {
    this.isStopping = true;
    if (this.watchdog !== null) clearInterval(this.watchdog);
    const { thread } = this;
    if (thread === null) return;
    this.ownClient?.closeReader();
    thread.post({ type: 'stop', limitMs });
    const timer = setTimeout(() => {
      this.options.log.error('Raft worker cannot be stopped and is terminated');
      void thread.terminate();
    }, Math.max(STOP_LIMIT_MS_MIN, limitMs) + STOP_LIMIT_MS_MIN);
    await thread.exited;
    clearTimeout(timer);
    this.ownClient?.close();
  }

  private createClient(): PlacementClient {
    const { port1, port2 } = new MessageChannel();
    this.thread?.connect(port2);
    return openPlacementClient(port1, stateFolder(this.options.start.folder));
  }

  private receive(message: RaftToMain): void {
    switch (message.type) {
      case 'ready':
        this.ready = message;
        this.monitor.reset(0, performance.now());
        this.starting?.resolve();
        this.starting = null;
        break;
      case 'failed':
        this.rejectStart(
          new BrokerError(codes[message.reason], `Cannot start the placement centre: ${message.message}`),
        );
        break;
      case 'status':
        this.status = message.status;
        this.onStatus(message.status);
        break;
      case 'node-call':
      case 'node-answer':
        this.calls.handle(message);
        break;
      case 'fault':
        this.fail(message.message);
        break;
      case 'stopped':
        break;
    }
  }

  private exited(error: unknown): void {
    this.calls.close();
    if (this.watchdog !== null) clearInterval(this.watchdog);
    const detail = error === undefined ? 'its thread ended' : error instanceof Error ? error.message : String(error);
    const message = `Cannot start the placement centre: ${detail}`;
    if (this.rejectStart(new BrokerError('PLACEMENT_START_FAILED', message, { cause: error }))) return;
    if (error !== undefined || !this.isStopping) this.fail(detail);
  }

  private watch(): void {
    const nowMs = performance.now();
    const limitMs = this.ready === null ? START_LIMIT_MS : this.options.stallLimitMs;
    if (!this.monitor.stalled(0, nowMs, limitMs)) return;
    if (this.watchdog !== null) clearInterval(this.watchdog);
    this.fail(`its thread stood still for ${limitMs} ms`);
    void this.thread?.terminate();
  }

  private rejectStart(error: BrokerError): boolean {
    if (this.starting === null) return false;
    this.starting.reject(error);
    this.starting = null;
    this.failure = error.message;
    return true;
  }

  private fail(reason: string): void {
    if (this.failure !== null) return;
    this.failure = reason;
    this.options.log.error('Placement centre of this node has failed', { reason });
    if (!this.isStopping) this.options.failed(reason);
  }
}
