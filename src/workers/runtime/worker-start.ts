/**
 * What a connection worker is started with: settings as plain data, and the shared memory that joins it to the others.
 * Made on the main thread, sent in the first message.
 */
import type { RouterShared } from '../../core/broker/router-shared.ts';
import type { ListenerInfo } from '../../core/ports/connection.ts';
import type { RetainedLimits } from '../../core/retained/retained-value.ts';
import type { LogFormat, LogLevel } from '../../observability/log.ts';
import type { WorkerAccessSettings } from '../access-messages.ts';
import type { WorkerLimitStart } from '../limit-messages.ts';
import type { ServicesClientOptions } from '../services/client/services-client.ts';
import type { SessionSlotsStart } from '../sessions/session-slots-start.ts';
import type { StorageClientOptions } from '../storage/client/storage-client.ts';
import type { IntakeStart } from './intake-start.ts';
import type { NodeStart } from './worker-node.ts';

export interface WorkerStart {
  readonly workerIndex: number;
  readonly workerCount: number;
  /** In the order of the configuration; `ListenerInfo.index` is the position. */
  readonly listeners: readonly ListenerInfo[];
  /** Validated configuration sections by protocol name, of the protocols that a listener speaks. */
  readonly protocolSettings: ReadonlyMap<string, unknown>;
  readonly limits: WorkerLimits;
  readonly intake: IntakeStart;
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  readonly shared: SharedMemory;
  readonly storage: StorageClientOptions;
  readonly services: Omit<ServicesClientOptions, 'store'>;
  readonly access: WorkerAccessSettings;
  /** Null: no session is kept on disk. */
  readonly sessions: SessionSlotsStart | null;
  readonly clientLimits: WorkerLimitStart;
  readonly node: NodeStart;
}

export interface WorkerLimits {
  /** Between accept and the end of the protocol's handshake, ms. */
  readonly handshakeTimeoutMs: number;
  /** Bytes of output that one connection may have queued. */
  readonly connectionOutputBytesMax: number;
  readonly retained: RetainedLimits;
  /** Retained values are kept in the storage. */
  readonly isRetainedStored: boolean;
}

export interface SharedMemory {
  readonly router: RouterShared;
  readonly heartbeats: SharedArrayBuffer;
  /** This worker's own block of counters; its predecessor's, when there was one. */
  readonly counters: SharedArrayBuffer;
  /** See `connection-ledger.ts`. */
  readonly ledger: SharedArrayBuffer;
}
