/**
 * Answers the connection workers whether a client may come in by the limits that count clients over the whole node, and
 * gives them the memory that they share for it. Main thread, owned by the broker. Idle unless such a limit is configured.
 */
import { Admissions, tenantsMax } from '../../core/limits/admissions.ts';
import { addressKey } from '../../core/limits/keyed-rates.ts';
import { type ClientLimitSettings, countsClients } from '../../core/limits/limit-settings.ts';
import { clearWorker, createTenantCounts } from '../../core/limits/tenant-counts.ts';
import { createSharedBuckets } from '../../shm/shared-bucket.ts';
import type { LimitsToMain, LimitsToWorker, WorkerLimitStart } from '../../workers/limit-messages.ts';
import type { BrokerListenerSettings } from '../broker-settings.ts';

export interface ClientAdmissionsOptions {
  readonly settings: ClientLimitSettings;
  readonly listeners: readonly BrokerListenerSettings[];
  readonly workerCount: number;
  post(worker: number, message: LimitsToWorker): void;
}

export class ClientAdmissions {
  readonly workerStart: WorkerLimitStart;
  readonly #options: ClientAdmissionsOptions;
  readonly #admissions: Admissions;

  constructor(options: ClientAdmissionsOptions) {
    const { settings, workerCount, listeners } = options;
    this.#options = options;
    this.#admissions = new Admissions(settings);
    const shared = countsClients(settings)
      ? { counts: createTenantCounts(workerCount), buckets: createSharedBuckets(2 * tenantsMax) }
      : null;
    const {
      publishExceeded,
      tenants,
      clients,
      addressAcceptRatePerS,
      addressAcceptBurst,
      addressConnectionsMax,
      userConnectionsMax,
    } = settings;
    this.workerStart = {
      settings: {
        ...{ publishExceeded, tenants, clients, addressAcceptRatePerS, addressAcceptBurst },
        ...{ addressConnectionsMax, userConnectionsMax },
      },
      ratedListeners: listeners.map(isRated),
      shared,
    };
  }

  /** Whether one more connection of `address` may be accepted now. */
  mayAccept(address: string): boolean {
    if (this.#options.settings.addressAcceptRatePerS === 0 || address === '') return true;
    return this.#admissions.addresses.take(addressKey(address), performance.now());
  }

  handle(worker: number, message: LimitsToMain): void {
    const { id } = message;
    if (message.type === 'client-left') {
      this.#admissions.leave(worker, id);
      return;
    }
    const admittance = this.#admissions.enter(worker, id, message.entrant, performance.now());
    this.#options.post(worker, { type: 'client-admittance', id, admittance });
  }

  workerGone(worker: number): void {
    this.#admissions.workerGone(worker);
    const { shared } = this.workerStart;
    if (shared !== null) clearWorker(shared.counts, worker, this.#options.workerCount);
  }
}

/** Whether the acceptor sees the address of its clients: not through a proxy, and not where another library accepts. */
function isRated({ transport, webSocket, proxyProtocol, path }: BrokerListenerSettings): boolean {
  return path === null && !proxyProtocol.enabled && !(transport === 'ws' && webSocket.adapter === 'uws');
}
