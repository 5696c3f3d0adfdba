/** What connection workers are started with for durable sessions: settings as plain data, and the shared table of filters. Any thread. */
import type { SessionLimits } from '../../core/sessions/session-limits.ts';

/** Groups whose members share messages; see `DurableGroupsOptions`. */
export interface GroupSettings {
  readonly limits: SessionLimits;
  /** Of one worker. */
  readonly groupsMax: number;
  readonly openMax: number;
  readonly waitingMax: number;
  readonly creditMax: number;
  readonly emptyMs: number;
}

export interface SessionSlotsSettings {
  /** Message logs. */
  readonly partitions: number;
  readonly limits: SessionLimits;
  /** Of one message log. */
  readonly logBytesMax: number;
  /** Of one worker. */
  readonly sessionsMax: number;
  readonly groups: GroupSettings;
}

export interface SessionSlotsStart {
  readonly settings: SessionSlotsSettings;
  /** Filters of durable sessions alone, see `core/routing/interest-table.ts`. */
  readonly interest: SharedArrayBuffer;
}
