/**
 * Publishes what is due: reads the stream that the delayed messages are written to when their time has come, and forgets what was published.
 * Thread: connection worker 0, or its successor, which goes on where the stream begins.
 *
 * At least once: the start of the stream is moved some time behind, so what was published last before a crash is published again.
 */
import type { Router } from '../../../core/broker/router.ts';
import type { AccessControl } from '../../../core/ports/access.ts';
import type { StreamPartition } from '../../../core/ports/stream-store.ts';
import { PartitionReader } from '../../../core/queues/partition-reader.ts';
import type { StoredMessage } from '../../../core/queues/stored-message.ts';
import { innerSession } from '../../../core/tenants/tenant-names.ts';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import type { OwnPublisher } from '../handlers/own-publisher.ts';
import { isCodeOf } from '../streams/storage-codes.ts';
import type { DelayedMetrics } from './delayed-metrics.ts';
import { type DueMessage, dueMessageOf } from './due-message.ts';

/** Published and not acknowledged yet. */
const inFlightMax = 10_000;
/** Before others have their turn, and rings with no room are waited for. */
const turnBytesMax = 262_144;
/** How far the start of the stream lies behind: it costs the store a checkpoint. */
const trimMs = 1_000;
const retryMs = 1_000;

export interface DueReaderOptions {
  readonly partition: StreamPartition;
  /** First offset that was not published. */
  readonly position: number;
  readonly router: Router;
  readonly ownPublisher: OwnPublisher;
  readonly access: AccessControl;
  readonly timers: TimingWheel;
  readonly metrics: DelayedMetrics;
  readonly log: Logger;
  /** The stream is gone. */
  onGone(): void;
}

export class DueReader {
  private readonly options: DueReaderOptions;
  private readonly reader: PartitionReader;
  /** Offsets that are not published yet, ascending. */
  private readonly inFlight = new Set<number>();
  private readonly trimTimer = new WheelTimer(() => void this.trim());
  private trimmed: number;
  private turnBytes = 0;
  private isPumpDue = false;
  private isTrimming = false;
  private isClosed = false;

  constructor(options: DueReaderOptions) {
    this.options = options;
    this.trimmed = options.position;
    this.reader = new PartitionReader({
      partition: options.partition,
      position: options.position,
      context: {
        clock: { now: () => Date.now(), monotonic: () => performance.now() },
        timers: options.timers,
        random: Math.random,
        defer: (task) => setImmediate(task),
      },
      decompress: null,
      onReady: () => this.pumpSoon(),
    });
    this.pumpSoon();
  }

  close(): void {
    this.isClosed = true;
    this.reader.close();
    this.options.timers.cancel(this.trimTimer);
  }

  /** In a turn of its own, and not before the other workers have room. */
  private pumpSoon(): void {
    if (this.isPumpDue || this.isClosed) return;
    this.isPumpDue = true;
    this.options.router.whenRoom(() => {
      this.isPumpDue = false;
      this.pump();
    });
  }

  private pump(): void {
    if (this.isClosed || this.inFlight.size >= inFlightMax) return;
    const { reader } = this;
    if (isCodeOf(reader.problem, 'STORAGE_PARTITION_UNKNOWN')) {
      this.options.onGone();
      return;
    }
    if (reader.problem !== null)
      this.options.log.warn('Cannot read what is due yet', { reason: reader.problem.message });
    this.turnBytes = 0;
    reader.tell({
      message: (message) => this.take(message),
      gap: () => undefined,
    });
    if (reader.hasAnswer) {
      if (this.inFlight.size < inFlightMax) this.pumpSoon();
    } else reader.fetch();
    this.trimLater();
  }

  /** Whether another one may follow in this turn. */
  private take(record: StoredMessage): boolean {
    const { metrics, log } = this.options;
    const message = dueMessageOf(record, Date.now());
    if (message === null) metrics.count('expired');
    else if (typeof message === 'string') {
      metrics.count('unreadable');
      log.warn('Cannot publish a delayed message', { offset: record.offset, reason: message });
    } else if (this.isAllowed(message)) {
      this.inFlight.add(record.offset);
      this.publish(record.offset, message);
      this.turnBytes += message.payload.length + message.topic.length;
    }
    return this.turnBytes < turnBytesMax && this.inFlight.size < inFlightMax;
  }

  /** By the rules of now, since that is when it is published. */
  private isAllowed({ identity, topic, qos, retain }: DueMessage): boolean {
    const { access, metrics } = this.options;
    if (access.permissionsOf(identity).mayPublish(topic, qos, retain)) return true;
    metrics.count('denied');
    access.audit({ kind: 'publish-denied', identity, subject: topic });
    return false;
  }

  private publish(offset: number, message: DueMessage): void {
    const { identity, topic, payload, qos, retain, properties } = message;
    const { ownPublisher, metrics, log } = this.options;
    const { tenant, clientId } = identity;
    const publisherName = innerSession(tenant, clientId);
    const own = { topic, tenant, payload, qos, retain, properties, publisher: null, publisherName };
    ownPublisher.publish(own, (error) => {
      if (this.isClosed) return;
      if (error === null) {
        metrics.count('published');
        this.settled(offset);
        return;
      }
      log.warn('Delayed message is published again later', { topic, reason: error.message });
      setTimeout(() => {
        if (!this.isClosed) this.publish(offset, message);
      }, retryMs).unref();
    });
  }

  private settled(offset: number): void {
    const wasFull = this.inFlight.size >= inFlightMax;
    this.inFlight.delete(offset);
    if (wasFull) this.pumpSoon();
    this.trimLater();
  }

  /** Everything below was published. */
  private get low(): number {
    const first = this.inFlight.values().next();
    return first.done === true ? this.reader.position : first.value;
  }

  private trimLater(): void {
    if (this.isTrimming || this.isClosed || this.trimTimer.dueTick !== -1 || this.low <= this.trimmed) return;
    this.options.timers.start(this.trimTimer, trimMs);
  }

  private async trim(): Promise<void> {
    if (this.isClosed) return;
    const { low } = this;
    this.isTrimming = true;
    try {
      await this.options.partition.deleteBefore(low);
      this.trimmed = low;
    } catch (error) {
      this.options.log.warn('Cannot forget what was published', { reason: toError(error).message });
    }
    this.isTrimming = false;
    this.trimLater();
  }
}
