/**
 * The services over the storage, each opened when it is used for the first time, or at the start when it has something to do by itself:
 * messages that wait for their time, transactions that are not ended. Thread: the journal worker, which holds the store; owned by the
 * services host.
 */
import type { ServicesSettings } from '../../../config/services-schema.ts';
import { parseBucketName } from '../../../core/delayed/bucket-levels.ts';
import { DelayedMessages } from '../../../core/delayed/delayed-messages.ts';
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import { deadLetterMovers } from '../../../core/queues/dead-letter.ts';
import type { QueueContext } from '../../../core/queues/queue-context.ts';
import { offsetsStream, QueueService } from '../../../core/queues/queue-service.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { type HalfCheck, HalfMessages } from '../../../core/transactions/half-messages.ts';
import { ProducerRegistry } from '../../../core/transactions/producer-registry.ts';
import { TransactionCoordinator } from '../../../core/transactions/transaction-coordinator.ts';
import type { Logger } from '../../../observability/log.ts';
import { assert } from '../../../std/assert.ts';
import { toError } from '../../../std/errors.ts';
import { Lazy } from './lazy.ts';
import { ServiceTicker, SleepingPauses, SleepingWheel } from './service-clock.ts';
import type { ServiceMetrics } from './service-metrics.ts';
import { cursorsStream, delayedPrefix, halfLogStream, transactionsStream } from './service-streams.ts';

/** Streams of queues that own them, which take messages as any other (see `newDefinition`), and those in which a protocol finds what is due. */
const targetPattern = /^_(queue-\d+-\d+-\d+|due-[a-z]+-\d+)$/;
/** Of the parts that have a clock of their own, while something is under way. */
const tickMs = 100;
/** While something failed and is tried again. */
const shortTickMs = 10;
const idleTickMs = 60_000;
const beginRetryMsMin = 1_000;
const beginRetryMsMax = 30_000;
const expiryEveryMs = 3_600_000;

export interface HostedServicesOptions {
  readonly store: StreamStore;
  readonly settings: ServicesSettings;
  readonly metrics: ServiceMetrics;
  readonly log: Logger;
  /** Asks somebody of the group of a half message. */
  onCheck(check: HalfCheck): void;
}

export class HostedServices {
  readonly queues: Lazy<QueueService>;
  readonly producers: Lazy<ProducerRegistry>;
  readonly transactions: Lazy<TransactionCoordinator>;
  readonly delayed: Lazy<DelayedMessages>;
  readonly halves: Lazy<HalfMessages>;
  readonly #options: HostedServicesOptions;
  readonly #ticker = new ServiceTicker(() => this.#tick());
  readonly #wheel = new SleepingWheel((delayMs) => this.#ticker.wake(delayMs));
  readonly #pauses = new SleepingPauses((delayMs) => this.#ticker.wake(delayMs));
  #retry: NodeJS.Timeout | null = null;
  #expiredMs = performance.now();
  #isClosed = false;

  constructor(options: HostedServicesOptions) {
    assert(cursorsStream === offsetsStream, 'the cursors are looked for where they are');
    this.#options = options;
    const { store, settings } = options;
    const now = (): number => Date.now();
    const pauses = this.#pauses;
    const common = { store, pauses, now };
    const context: QueueContext = {
      clock: { now, monotonic: () => performance.now() },
      timers: this.#wheel,
      random: Math.random,
      defer: (task) => setImmediate(task),
    };
    this.queues = new Lazy(() => QueueService.open({ store, context }));
    this.producers = new Lazy(() => ProducerRegistry.open(common));
    const { delayed, halfMessages, transactions } = settings;
    this.transactions = new Lazy(async () => {
      const producers = await this.producers.get();
      // Groups come into few transactions: their cursors are opened when one does.
      const cursors = {
        finish: async (producerId: number, outcome: 'commit' | 'abort') => {
          await (await this.queues.get()).offsets.finish(producerId, outcome);
        },
      };
      return TransactionCoordinator.open({ ...common, ...transactions, producers, cursors });
    });
    this.delayed = new Lazy(async () => {
      const producers = await this.producers.get();
      const { deadLetterPartition, ...bounds } = delayed;
      return DelayedMessages.open({
        ...common,
        ...bounds,
        producers,
        prefix: delayedPrefix,
        deadLetterTarget: deadLetterPartition === '' ? null : deadLetterPartition,
        onStopped: (error) => this.#stopped(this.delayed, 'delayed messages', error),
      });
    });
    this.halves = new Lazy(async () => {
      const producers = await this.producers.get();
      const { deadLetterPartition, ...bounds } = halfMessages;
      return HalfMessages.open({
        ...common,
        ...bounds,
        producers,
        deadLetterTarget: deadLetterPartition === '' ? null : deadLetterPartition,
        onCheck: (check) => options.onCheck(check),
        onStopped: (error) => this.#stopped(this.halves, 'half messages', error),
      });
    });
  }

  /** Opens what goes on by itself, as far as there is something; tried again until it works. Never rejects. */
  async begin(delayMs = beginRetryMsMin): Promise<void> {
    try {
      const names = new Set(await this.#options.store.names());
      for (const name of names) {
        if (parseBucketName(delayedPrefix, name) === null) continue;
        await this.delayed.get();
        break;
      }
      if (names.has(transactionsStream)) await this.transactions.get();
      if (names.has(halfLogStream)) await this.halves.get();
    } catch (thrown) {
      if (this.#isClosed) return;
      this.#options.log.warn('Services cannot go on yet', { reason: toError(thrown).message });
      const nextMs = Math.min(beginRetryMsMax, 2 * delayMs);
      this.#retry = setTimeout(() => void this.begin(nextMs), delayMs).unref();
    }
    this.wake();
  }

  /** Something was begun: time passes for it from now on. */
  wake(delayMs = 0): void {
    this.#ticker.wake(delayMs);
  }

  /** Brings the clocks of parts that slept up to date; before anything that starts a time-out. */
  catchUp(): void {
    this.transactions.value?.tick();
    this.halves.value?.tick();
  }

  /**
   * Whether a message for later can go there. Rejects with STORAGE_PARTITION_UNKNOWN, or with STORAGE_NAME_INVALID for a stream that
   * is the broker's own; those of queues and of what is due are not.
   */
  async checkTarget(name: string): Promise<void> {
    const isOwn = name.startsWith('_') && !targetPattern.test(name);
    if (isOwn) throw new StorageError('STORAGE_NAME_INVALID', `Cannot write to "${name}": it belongs to the broker`);
    await this.#options.store.open(name);
  }

  /** A stream was removed: whoever makes it anew does not go on where readers of the old one were. */
  async streamRemoved(name: string): Promise<void> {
    if (this.queues.value === null) {
      const names = await this.#options.store.names();
      if (!names.includes(offsetsStream)) return;
    }
    const { offsets } = await this.queues.get();
    await offsets.deleteStream(name);
  }

  /** Brings counters and gauges up to date. */
  sample(): void {
    const { metrics } = this.#options;
    this.#sampleQueues(metrics);
    const delayed = this.delayed.value;
    if (delayed !== null) {
      metrics.set('pending', delayed.pending);
      metrics.set('late', delayed.lateMs / 1000);
      metrics.total('delayedAccepted', delayed.counts.accepted);
      metrics.total('delayedCancelled', delayed.counts.cancelled);
      metrics.total('delayedWritten', delayed.writerCounts.written);
      metrics.total('delayedDead', delayed.writerCounts.deadLetters + delayed.writerCounts.dropped);
    }
    const transactions = this.transactions.value;
    if (transactions !== null) {
      metrics.set('transactions', transactions.openCount);
      metrics.total('committed', transactions.counts.committed);
      metrics.total('aborted', transactions.counts.aborted);
    }
    const halves = this.halves.value;
    if (halves === null) return;
    metrics.set('halves', halves.pending);
    metrics.total('halvesCommitted', halves.counts.committed);
    metrics.total('halvesRolledBack', halves.counts.rolledBack + halves.counts.dead);
  }

  /** Stores what is under way and lets everything go. The store stays open. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    (await this.delayed.settled())?.close();
    (await this.halves.settled())?.close();
    (await this.transactions.settled())?.close();
    await (await this.queues.settled())?.close();
    this.#ticker.stop();
  }

  #tick(): number {
    this.#pauses.tick(Date.now());
    const nextMs = this.#wheel.run();
    const delayed = this.delayed.value;
    const transactions = this.transactions.value;
    const halves = this.halves.value;
    delayed?.tick();
    transactions?.tick();
    halves?.tick();
    this.#expire();
    const isPaused = this.#pauses.count > 0;
    return Math.min(
      nextMs,
      isPaused ? shortTickMs : Number.POSITIVE_INFINITY,
      delayed === null ? Number.POSITIVE_INFINITY : Math.max(1, delayed.idleMs === 0 ? shortTickMs : delayed.idleMs),
      transactions === null
        ? Number.POSITIVE_INFINITY
        : isBusy(transactions, transactions.openCount)
          ? tickMs
          : idleTickMs,
      halves === null ? Number.POSITIVE_INFINITY : isBusy(halves, halves.pending) ? tickMs : idleTickMs,
    );
  }

  /** Cursors that nobody has set for long. */
  #expire(): void {
    const { cursorRetentionMs } = this.#options.settings;
    const queues = this.queues.value;
    if (cursorRetentionMs === 0 || queues === null || performance.now() - this.#expiredMs < expiryEveryMs) return;
    this.#expiredMs = performance.now();
    const isKept = (group: string): boolean => group.startsWith(deadLetterMovers);
    queues.offsets.expire(Date.now() - cursorRetentionMs, isKept).catch((error: unknown) => {
      this.#options.log.warn('Old cursors are not forgotten', { reason: toError(error).message });
    });
  }

  #sampleQueues(metrics: ServiceMetrics): void {
    const queues = this.queues.value;
    if (queues === null) return;
    const sums = { consumers: 0, ready: 0, inFlight: 0, delayed: 0, dying: 0, problems: 0 };
    for (const set of queues.sets()) {
      metrics.takeFrom(set);
      sums.consumers += set.consumerCount;
      sums.ready += set.countOf('ready') + set.countOf('loading');
      sums.inFlight += set.countOf('inFlight') + set.countOf('claimed');
      sums.delayed += set.countOf('delayed');
      sums.dying += set.countOf('dying');
      if (set.end !== null) sums.problems += 1;
    }
    for (const [gauge, value] of Object.entries(sums)) metrics.set(gauge as keyof typeof sums, value);
    metrics.set('queues', queues.queueCount);
    metrics.set('groups', queues.offsets.groupCount);
    this.#expireSoon();
  }

  /** The ticker sleeps while nothing has a time-out. */
  #expireSoon(): void {
    if (performance.now() - this.#expiredMs >= expiryEveryMs) this.wake();
  }

  #stopped<T>(lazy: Lazy<T>, what: string, error: StorageError): void {
    if (lazy.value !== null) lazy.forget(lazy.value);
    if (this.#isClosed) return;
    this.#options.log.error('Service stopped and is opened again', {
      service: what,
      code: error.code,
      reason: error.message,
    });
    this.#retry ??= setTimeout(() => {
      this.#retry = null;
      void this.begin();
    }, beginRetryMsMin).unref();
  }
}

function isBusy(service: { readonly isIdle: boolean }, count: number): boolean {
  return count > 0 || !service.isIdle;
}
