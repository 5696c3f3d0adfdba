/**
 * The port of the limits of clients: what a protocol asks when a client wants in, and what that client may use from then on.
 *
 * Thread: one connection worker. Without such limits in the configuration every answer comes at once, without a message.
 */
import type { LimitKind } from '../../observability/limit-metrics.ts';
import type { ClientClassLimits } from '../limits/limit-settings.ts';
import type { PublishMeter } from '../limits/publish-meter.ts';
import type { TenantCount } from '../limits/tenant-counts.ts';
import type { Identity } from './access.ts';
import type { Connection } from './connection.ts';

/** What an admitted client holds until it leaves. */
export interface ClientPlace {
  /** Null: it may publish as fast as it can. */
  readonly meter: PublishMeter | null;
  /** Of its class; null: it has none. */
  readonly own: ClientClassLimits | null;
  /** Of its tenant; null: they are not counted. Whoever subscribes counts what the session has, for its whole life. */
  readonly subscriptions: TenantCount | null;
  /** To be called once, when its connection has ended. */
  leave(): void;
}

export type Entry =
  | { readonly type: 'admitted'; readonly place: ClientPlace }
  | { readonly type: 'refused'; readonly limit: LimitKind };

export interface ClientLimits {
  /** What a publication beyond its rate leads to. */
  readonly publishExceeded: 'slow' | 'disconnect';
  /** Asks for a place for a client whose identity is proven. `decided` is called once, maybe before this returns. */
  enter(identity: Identity, connection: Connection, decided: (entry: Entry) => void): void;
  /** Counts that a limit was met. */
  exceeded(limit: LimitKind): void;
}
