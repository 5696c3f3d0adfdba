/**
 * `$delayed/<when>/<topic>`: takes publications for later, and has them published when they are due. One per connection worker; worker 0
 * publishes. What is rarely used is loaded with the first delayed publication of the node.
 */
import type { Router } from '../../../core/broker/router.ts';
import { copyOf, type Run } from '../../../core/broker/run.ts';
import type { AccessControl, Permissions } from '../../../core/ports/access.ts';
import type { ControlPlane } from '../../../core/ports/control-plane.ts';
import type { BrokerServices } from '../../../core/ports/services.ts';
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import { topicError } from '../../../core/routing/topic.ts';
import type { ClientValues, TopicRewrite } from '../../../core/routing/topic-rewrite.ts';
import { innerName, innerTopicError } from '../../../core/tenants/tenant-names.ts';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import type { TimingWheel } from '../../../std/timing-wheel.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { OwnPublisher } from '../handlers/own-publisher.ts';
import { isCodeOf } from '../streams/storage-codes.ts';
import type { DelayedIntake, DelayedRun } from './delayed-intake.ts';
import type { DelayedMetrics } from './delayed-metrics.ts';
import { parseDelayedTopic } from './delayed-topic.ts';
import { duePartition } from './due-message.ts';
import type { DueReader } from './due-reader.ts';
import type { DelayedSettings } from './settings.ts';
import { SharedUsage } from './shared-usage.ts';

const openedChannel = 'mqtt.delayed.opened';
/** What is on its way to the store; publishers of more are held back. Below the calls that the services take of a thread. */
const unansweredMax = 2_048;
const unansweredBytesMax = 16_777_216;
const retryMs = 5_000;

export interface DelayedPublishingOptions {
  readonly workerIndex: number;
  readonly settings: DelayedSettings;
  readonly router: Router;
  readonly ownPublisher: OwnPublisher;
  readonly store: StreamStore;
  readonly services: BrokerServices;
  readonly control: ControlPlane;
  readonly access: AccessControl;
  readonly timers: TimingWheel;
  readonly metrics: DelayedMetrics;
  readonly log: Logger;
}

/** Of whom and to what. */
export interface DelayedRequest {
  /** With the prefix. */
  readonly path: string;
  /** Its bytes are needed during the call only. */
  readonly run: Run;
  readonly permissions: Permissions;
  readonly values: ClientValues;
  /** Null when nothing is renamed. */
  readonly rewrite: TopicRewrite | null;
}

export class DelayedPublishing {
  private readonly options: DelayedPublishingOptions;
  private readonly usage: SharedUsage;
  private intake: Promise<DelayedIntake> | null = null;
  private reader: DueReader | null = null;
  private isOpening = false;
  private unanswered = 0;
  private unansweredBytes = 0;
  private waiting: (() => void)[] = [];
  private isClosed = false;

  constructor(options: DelayedPublishingOptions) {
    this.options = options;
    const { control, workerIndex, store, timers, log } = options;
    this.usage = new SharedUsage({ control, workerIndex, store, timers, log });
    // Everybody hears it, and worker 0 reads.
    control.onBroadcast(openedChannel, () => {
      if (workerIndex === 0) void this.read();
    });
    if (workerIndex !== 0) return;
    // What waits from before is published without anybody asking for it.
    void this.read();
  }

  /** Messages of the node that wait for their time; see `DelayedUsage` for how exact it is. */
  get waitingCount(): number {
    return this.usage.total(Date.now());
  }

  /** False: hold publishers of delayed messages back until `whenRoom` calls. */
  get hasRoom(): boolean {
    return this.unanswered < unansweredMax && this.unansweredBytes < unansweredBytesMax;
  }

  whenRoom(callback: () => void): void {
    if (this.hasRoom) setImmediate(callback);
    else this.waiting.push(callback);
  }

  /**
   * Answers why the publications are refused; or 0, and then `done` is told, not inside of the call, when they are durable (0) or why they
   * are not.
   */
  accept(request: DelayedRequest, done: (reasonCode: number) => void): number {
    const { metrics } = this.options;
    const { run } = request;
    const nowMs = Date.now();
    const delayed = this.delayedOf(request, nowMs);
    if (typeof delayed === 'number') {
      metrics.count('refused', run.count);
      return delayed;
    }
    const bytes = run.end - run.start;
    this.unanswered += run.count;
    this.unansweredBytes += bytes;
    void this.store(delayed).then((reasonCode) => {
      this.unanswered -= run.count;
      this.unansweredBytes -= bytes;
      metrics.count(reasonCode === 0 ? 'accepted' : 'failed', delayed.run.count);
      if (reasonCode === 0) this.usage.add(delayed.identity.tenant, delayed.dueMs, nowMs, delayed.run.count, bytes);
      done(reasonCode);
      this.wakeWaiting();
    });
    return 0;
  }

  close(): void {
    this.isClosed = true;
    this.reader?.close();
    this.usage.close();
  }

  private delayedOf({ path, run, permissions, values, rewrite }: DelayedRequest, nowMs: number): DelayedRun | number {
    const { settings, access, log } = this.options;
    if (!settings.enabled) return ReasonCode.TOPIC_NAME_INVALID;
    const parsed = parseDelayedTopic(path, nowMs, settings.delaySMax * 1000);
    if (typeof parsed === 'string') {
      log.info('Delayed publication refused', { clientId: permissions.identity.clientId, topic: path, reason: parsed });
      return ReasonCode.TOPIC_NAME_INVALID;
    }
    const topic = rewrite === null ? parsed.topic : rewrite.topic(parsed.topic, values);
    if (topic === null || topicError(topic) !== undefined || topic.startsWith('$'))
      return ReasonCode.TOPIC_NAME_INVALID;
    const { identity } = permissions;
    if (innerTopicError(innerName(identity.tenant, topic)) !== undefined) return ReasonCode.TOPIC_NAME_INVALID;
    if (!permissions.mayPublish(topic, (run.detailA >> 1) & 3, (run.detailA & 1) === 1)) {
      access.audit({ kind: 'publish-denied', identity, subject: topic });
      return ReasonCode.NOT_AUTHORIZED;
    }
    if (!this.isWithinQuota(identity.tenant, run, nowMs)) return ReasonCode.QUOTA_EXCEEDED;
    return { run: copyOf(run), topicBytes: Buffer.from(topic), identity, nowMs, dueMs: parsed.dueMs };
  }

  private isWithinQuota(tenant: string, run: Run, nowMs: number): boolean {
    const { messagesMax, bytesMax } = this.options.settings;
    if (messagesMax === 0 && bytesMax === 0) return true;
    const { count, bytes } = this.usage.of(tenant, nowMs);
    if (messagesMax > 0 && count + this.unanswered + run.count > messagesMax) return false;
    return bytesMax === 0 || bytes + this.unansweredBytes + run.end - run.start <= bytesMax;
  }

  private async store(delayed: DelayedRun): Promise<number> {
    this.intake ??= this.load();
    return (await this.intake).accept(delayed);
  }

  private async load(): Promise<DelayedIntake> {
    const { DelayedIntake: Intake } = await import('./delayed-intake.ts');
    const { store, services, log } = this.options;
    return new Intake({ store, services, log, onOpened: () => this.opened() });
  }

  /** Worker 0 reads from now on what becomes due. */
  private opened(): void {
    if (this.options.workerIndex === 0) void this.read();
    else this.options.control.broadcast(openedChannel, null, () => undefined);
  }

  /** Begins to read when there is something to read; nothing when nobody has ever published a delayed message. */
  private async read(): Promise<void> {
    if (this.reader !== null || this.isOpening || this.isClosed) return;
    this.isOpening = true;
    try {
      const partition = await this.options.store.open(duePartition);
      void this.usage.begin(true);
      const [{ DueReader: Reader }, { logStartOffset }] = await Promise.all([
        import('./due-reader.ts'),
        partition.places(),
      ]);
      if (this.isClosed) return;
      const { router, ownPublisher, access, timers, metrics, log } = this.options;
      this.reader = new Reader({
        ...{ partition, position: logStartOffset, router, ownPublisher, access, timers, metrics, log },
        onGone: () => this.gone(),
      });
    } catch (thrown) {
      if (isCodeOf(thrown, 'STORAGE_PARTITION_UNKNOWN')) void this.usage.begin(false);
      else this.readLater(toError(thrown));
    } finally {
      this.isOpening = false;
    }
  }

  private gone(): void {
    this.reader?.close();
    this.reader = null;
    this.readLater(new Error('the stream of what is due was removed'));
  }

  private readLater({ message }: Error): void {
    if (this.isClosed) return;
    this.options.log.warn('Cannot read what is due yet', { reason: message });
    setTimeout(() => void this.read(), retryMs).unref();
  }

  private wakeWaiting(): void {
    if (this.waiting.length === 0 || !this.hasRoom) return;
    const { waiting } = this;
    this.waiting = [];
    for (const callback of waiting) callback();
  }
}
