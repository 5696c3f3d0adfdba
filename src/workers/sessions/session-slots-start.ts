/** What connection workers are started with for durable sessions: settings as plain data, and the shared table of filters. Any thread. */
import type { SessionLimits } from '../../core/sessions/session-limits.ts';

export interface SessionSlotsSettings {
  /** Message logs. */
  readonly partitions: number;
  readonly limits: SessionLimits;
  /** Of one message log. */
  readonly logBytesMax: number;
  /** Of one worker. */
  readonly sessionsMax: number;
}

export interface SessionSlotsStart {
  readonly settings: SessionSlotsSettings;
  /** Filters of durable sessions alone, see `core/routing/interest-table.ts`. */
  readonly interest: SharedArrayBuffer;
}
