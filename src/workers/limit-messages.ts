/** Messages about the limits of clients between the main thread and a connection worker. Plain data. */
import type { Admittance, Entrant } from '../core/limits/admissions.ts';
import type { ClientLimitSettings } from '../core/limits/limit-settings.ts';

/** Connection worker to main thread; sent only when clients are counted. */
export type LimitsToMain =
  /** `id` is the worker's own, unique within its life. Answered by `client-admittance`. */
  | { readonly type: 'client-enters'; readonly id: number; readonly entrant: Entrant }
  | { readonly type: 'client-left'; readonly id: number };

/** Main thread to connection worker. */
export interface LimitsToWorker {
  readonly type: 'client-admittance';
  readonly id: number;
  readonly admittance: Admittance;
}

/** What a worker is started with. */
export interface WorkerLimitStart {
  readonly settings: ClientLimitSettings;
  /** By the index of the listener: the acceptor knows the addresses of its clients. */
  readonly ratedListeners: readonly boolean[];
  /** Null: nobody is counted. */
  readonly shared: { readonly counts: SharedArrayBuffer; readonly buckets: SharedArrayBuffer } | null;
}

/** Two for each tenant: messages, bytes. See `shm/shared-bucket.ts`. */
export const messageBucketOf = (tenantSlot: number): number => tenantSlot * 2;
export const byteBucketOf = (tenantSlot: number): number => tenantSlot * 2 + 1;
