/** What a worker needs to take connections over, beside the listeners' names. Plain data; made on the main thread. */
import type { TransportName } from '../../core/ports/connection.ts';
import type { TlsMaterial } from '../../net/tls/tls-material.ts';

export interface IntakeListener {
  readonly transport: TransportName;
  /** Of each hand-shake: TLS, WebSocket. */
  readonly handshakeTimeoutMs: number;
  /** Null: no PROXY header is expected. */
  readonly proxyHeaderTimeoutMs: number | null;
  /** Null unless the transport is `ws` or `wss`. */
  readonly webSocket: IntakeWebSocket | null;
  /** 0: no limit. */
  readonly connectionReceiveBytesPerS: number;
  readonly receiveBytesPerS: number;
  readonly connectionsMax: number;
  readonly acceptRatePerS: number;
  readonly acceptBurst: number;
}

export interface IntakeWebSocket {
  /** '': that of the protocol. */
  readonly path: string;
  readonly originsAllowed: readonly string[];
  readonly messageBytesMax: number;
  readonly idleTimeoutMs: number;
  readonly adapter: 'node' | 'uws';
}

export interface IntakeStart {
  /** In the order of the configuration. */
  readonly listeners: readonly IntakeListener[];
  /** Of the TLS listeners, by their index. */
  readonly tls: ReadonlyMap<number, TlsMaterial>;
  /** Two for each listener: received bytes, accepted connections. See `shm/shared-bucket.ts`. */
  readonly buckets: SharedArrayBuffer;
  readonly lateness: SharedArrayBuffer;
  /** Of the node. */
  readonly connectionsMax: number;
}

/** How often a worker says how late it is, ms. */
export const LATENESS_TICK_MS = 100;

export const receiveBucketOf = (listener: number): number => listener * 2;
export const acceptBucketOf = (listener: number): number => listener * 2 + 1;
