/**
 * The limits of clients on one connection worker: asks the main thread about each client where clients are counted, and
 * makes what the client may use from then on. Lives on a connection worker; the worker runtime feeds it with answers.
 */
import { classOf, countsClients, tenantLimitsOf } from '../../core/limits/limit-settings.ts';
import { type MeteredRate, PublishMeter } from '../../core/limits/publish-meter.ts';
import { OwnRate, SharedRate } from '../../core/limits/rate.ts';
import { TenantCount } from '../../core/limits/tenant-counts.ts';
import type { Identity } from '../../core/ports/access.ts';
import type { Connection } from '../../core/ports/connection.ts';
import type { ClientLimits, ClientPlace, Entry } from '../../core/ports/limits.ts';
import { type LimitKind, limitKinds, limitMetric } from '../../observability/limit-metrics.ts';
import type { Logger } from '../../observability/log.ts';
import type { ThreadMetrics } from '../../observability/metrics.ts';
import { SharedBucket } from '../../shm/shared-bucket.ts';
import {
  byteBucketOf,
  type LimitsToMain,
  type LimitsToWorker,
  messageBucketOf,
  type WorkerLimitStart,
} from '../limit-messages.ts';

export interface WorkerClientLimitsOptions {
  readonly start: WorkerLimitStart;
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly metrics: ThreadMetrics;
  readonly log: Logger;
  post(message: LimitsToMain): void;
}

/** Of a client that nothing is said about. */
const unlimited: ClientPlace = { meter: null, own: null, subscriptions: null, leave: () => undefined };

export class WorkerClientLimits implements ClientLimits {
  readonly publishExceeded: 'slow' | 'disconnect';
  readonly #options: WorkerClientLimitsOptions;
  readonly #slots: ReadonlyMap<LimitKind, number>;
  readonly #isCounted: boolean;
  /** Clients that the main thread was asked about. */
  readonly #asked = new Map<number, (message: LimitsToWorker) => void>();
  #nextId = 1;

  constructor(options: WorkerClientLimitsOptions) {
    const { start, metrics } = options;
    this.#options = options;
    this.publishExceeded = start.settings.publishExceeded;
    this.#isCounted = start.shared !== null && countsClients(start.settings);
    this.#slots = new Map(limitKinds.map((limit) => [limit, metrics.slot(limitMetric, { limit })]));
  }

  enter(identity: Identity, connection: Connection, decided: (entry: Entry) => void): void {
    if (!this.#isCounted) {
      decided({ type: 'admitted', place: this.#placeOf(identity, connection, null, () => undefined) });
      return;
    }
    const { start, post } = this.#options;
    const { tenant, user, clientId } = identity;
    const id = this.#nextId++;
    const { remoteAddress: address, listener, isProxied } = connection;
    const isAddressRated = start.ratedListeners[listener.index] === true && isProxied !== true;
    this.#asked.set(id, ({ admittance }) => {
      if (admittance.type === 'refused') {
        this.#refused(identity, admittance.limit);
        decided(admittance);
        return;
      }
      const leave = (): void => post({ type: 'client-left', id });
      const place = this.#placeOf(identity, connection, admittance.tenantSlot, leave);
      decided({ type: 'admitted', place });
    });
    post({ type: 'client-enters', id, entrant: { tenant, user, clientId, address, isAddressRated } });
  }

  exceeded(limit: LimitKind): void {
    this.#options.metrics.increment(this.#slots.get(limit) as number);
  }

  handle(message: LimitsToWorker): void {
    const decide = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    decide?.(message);
  }

  #refused({ tenant, user, clientId, address }: Identity, limit: LimitKind): void {
    this.exceeded(limit);
    this.#options.log.info('Client was refused by a limit', { limit, tenant, user, clientId, address });
  }

  #placeOf(identity: Identity, connection: Connection, slot: number | null, leave: () => void): ClientPlace {
    const { start, workerIndex, workerCount } = this.#options;
    const { settings, shared } = start;
    const { tenant, user } = identity;
    const own = classOf(settings, { tenant, user, listener: connection.listener.name });
    const rates: MeteredRate[] = [];
    if (own !== null && own.publishRatePerS > 0) {
      const rate = new OwnRate(own.publishRatePerS, own.publishBurst);
      rates.push({ limit: 'client-publish-rate', unit: 'messages', rate });
    }
    if (own !== null && own.publishBytesPerS > 0) {
      rates.push({ limit: 'client-publish-bytes', unit: 'bytes', rate: new OwnRate(own.publishBytesPerS, 0) });
    }
    if (slot === null || shared === null) {
      if (own === null) return unlimited;
      return { meter: meterOf(rates), own, subscriptions: null, leave };
    }
    const { publishRatePerS, publishBytesPerS, subscriptionsMax } = tenantLimitsOf(settings, tenant);
    const sharedRate = (bucket: number, perSecond: number): SharedRate =>
      new SharedRate(new SharedBucket(shared.buckets, bucket, perSecond, 0), perSecond);
    if (publishRatePerS > 0) {
      const rate = sharedRate(messageBucketOf(slot), publishRatePerS);
      rates.push({ limit: 'tenant-publish-rate', unit: 'messages', rate });
    }
    if (publishBytesPerS > 0) {
      const rate = sharedRate(byteBucketOf(slot), publishBytesPerS);
      rates.push({ limit: 'tenant-publish-bytes', unit: 'bytes', rate });
    }
    const subscriptions =
      subscriptionsMax === 0 ? null : new TenantCount(shared.counts, slot, workerIndex, workerCount, subscriptionsMax);
    return { meter: meterOf(rates), own, subscriptions, leave };
  }
}

function meterOf(rates: readonly MeteredRate[]): PublishMeter | null {
  return rates.length === 0 ? null : new PublishMeter(rates);
}
