/**
 * The storage on the journal worker: one store, used through links by the other threads. Takes what all request rings hold, gives it
 * to the store in one turn (so that one round of group commit gathers it), and answers each client once per turn. Owned by the
 * entry of the worker; tests make one on a thread of their own.
 */
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import type { Doorbell } from '../../../shm/doorbell.ts';
import type { ColdGate } from '../client/cold-gate.ts';
import type { StorageLink } from '../link.ts';
import type { ClientToHost } from '../messages.ts';
import { HostCalls } from './host-calls.ts';
import { HostLink, type LinkOwner } from './host-link.ts';
import { HostedStore } from './hosted-store.ts';
import { type HostedPartition, PartitionTable } from './partition-table.ts';
import type { StorageMetrics } from './storage-metrics.ts';

export interface StorageHostOptions {
  readonly store: StreamStore;
  /** The store can work on bytes in shared memory that stay as they are until its answer. */
  readonly takesSharedMemory: boolean;
  /** The line of the host; nobody listens to it yet. */
  readonly doorbell: Doorbell;
  readonly metrics: StorageMetrics;
  /** A client removed a stream. */
  readonly onRemoved?: (name: string) => void;
  /** Of this thread, for what services read of files. */
  readonly coldGate?: ColdGate | null;
}

export class StorageHost implements LinkOwner {
  readonly metrics: StorageMetrics;
  readonly takesSharedMemory: boolean;
  /** The store, for services on this thread. */
  readonly local: StreamStore;
  readonly #store: StreamStore;
  readonly #doorbell: Doorbell;
  readonly #partitions: PartitionTable;
  readonly #calls: HostCalls;
  readonly #links = new Set<HostLink>();
  readonly #touched = new Set<HostLink>();
  readonly #unsubscribe: () => void;
  #isFlushDue = false;
  #isTurnDue = false;
  #isStopping = false;
  /** Of this turn; 0 when nobody has asked for it. */
  #nowMs = 0;

  constructor({ store, takesSharedMemory, doorbell, metrics, onRemoved, coldGate = null }: StorageHostOptions) {
    this.metrics = metrics;
    this.takesSharedMemory = takesSharedMemory;
    this.#store = store;
    this.#doorbell = doorbell;
    this.#partitions = new PartitionTable(store);
    this.local = new HostedStore(store, (name) => this.#removeHosted(name), coldGate);
    this.#calls = new HostCalls(store, this.#partitions, metrics, (slot, name) => {
      if (slot !== null) this.#tellRemoved(slot);
      onRemoved?.(name);
    });
    this.#unsubscribe = store.onHealth((health) => {
      for (const link of this.#links) link.send({ type: 'health', health });
    });
    doorbell.listen(() => this.#turn());
    doorbell.sleep();
  }

  /** A thread wants to use the storage. */
  connect(ends: StorageLink): void {
    const link = new HostLink(ends, this);
    this.#links.add(link);
    // It closes when its thread ends, too.
    ends.port.on('close', () => this.#disconnect(link));
    ends.port.on('message', ({ id, call }: ClientToHost) => {
      this.metrics.add('calls', 1);
      void this.#calls.answer(link, id, call);
    });
    link.send({ type: 'health', health: this.#store.health() });
    // It may have begun without us.
    this.#turn();
  }

  /**
   * Takes what the clients have sent, closes the store, which answers it, and tells the clients. What is sent from now on is refused.
   * Rejects with what the store's close rejects with; the clients are told all the same.
   */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.local.close();
    for (const link of this.#links) while (link.hasNext) link.take();
    try {
      await this.#store.close();
    } finally {
      this.#unsubscribe();
      for (const link of this.#links) {
        link.flush();
        link.close();
      }
      this.#links.clear();
      this.#doorbell.close();
    }
  }

  /** Brings the gauges up to date; call it every second or so. */
  tick(): void {
    let requestFill = 0;
    let completionFill = 0;
    for (const link of this.#links) {
      requestFill += link.requestFillBytes;
      completionFill += link.completionFillBytes;
    }
    this.metrics.set('requestFill', requestFill);
    this.metrics.set('completionFill', completionFill);
    this.metrics.set('clients', this.#links.size);
    this.metrics.set('partitions', this.#partitions.size);
    const { state } = this.#store.health();
    this.metrics.set('ready', state === 'ready' || state === 'degraded' ? 1 : 0);
    this.metrics.sampleHeap();
  }

  // --- for the links ---

  partitionOf(slot: number): HostedPartition | undefined {
    return this.#partitions.get(slot);
  }

  now(): number {
    if (this.#nowMs === 0) {
      this.#nowMs = performance.now();
      this.#scheduleFlush();
    }
    return this.#nowMs;
  }

  wantsFlush(link: HostLink): void {
    this.#touched.add(link);
    this.#scheduleFlush();
  }

  ring(line: number): void {
    this.#doorbell.ring(line);
  }

  /** Takes from all rings; sleeps when there is nothing left. */
  #turn(): void {
    if (this.#isStopping) return;
    for (const link of this.#links) link.take();
    this.#doorbell.sleep();
    for (const link of this.#links) {
      if (!link.hasWork) continue;
      this.#doorbell.awake();
      this.#scheduleTurn();
      return;
    }
  }

  /** Behind what the disk and the clients' ports have to say meanwhile. */
  #scheduleTurn(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(() => {
      this.#isTurnDue = false;
      this.#turn();
    });
  }

  /** At the end of this turn: answers that come one by one leave together. */
  #scheduleFlush(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      this.#nowMs = 0;
      for (const link of this.#touched) link.flush();
      this.#touched.clear();
    });
  }

  #disconnect(link: HostLink): void {
    if (!this.#links.delete(link)) return;
    link.close();
    for (const hosted of this.#partitions.all) hosted.unwatch(link);
  }

  async #removeHosted(name: string): Promise<void> {
    const removed = await this.#partitions.remove(name);
    if (removed !== null) this.#tellRemoved(removed.slot);
  }

  #tellRemoved(slot: number): void {
    for (const link of this.#links) link.send({ type: 'removed', slot });
  }
}
