/** What the section `sessions` of the configuration means to the connection workers. Pure; main thread, called by the broker. */
import type { SessionLimits } from '../../core/sessions/session-limits.ts';
import type { SessionSlotsSettings } from '../../workers/sessions/session-slots-start.ts';
import type { BrokerSettings } from '../broker-settings.ts';

export function sessionSlotsSettings(sessions: BrokerSettings['sessions']): SessionSlotsSettings {
  const { partitions, sessionsMax, groups } = sessions;
  const limits = limitsOf(sessions);
  const { groupsMax, inFlightMax, memberInFlightMax, heldUpMax, emptyMs } = groups;
  return {
    ...{ partitions, sessionsMax, limits },
    logBytesMax: boundOf(sessions.logBytesMax),
    groups: {
      limits: limitsOf({
        countMax: groups.countMax ?? sessions.countMax,
        bytesMax: groups.bytesMax ?? sessions.bytesMax,
        ageMsMax: groups.ageMsMax ?? sessions.ageMsMax,
        overflow: groups.overflow ?? sessions.overflow,
      }),
      ...{ groupsMax, openMax: inFlightMax, creditMax: memberInFlightMax, waitingMax: heldUpMax, emptyMs },
    },
  };
}

function limitsOf({ countMax, bytesMax, ageMsMax, overflow }: SessionLimits): SessionLimits {
  return { countMax, bytesMax, ageMsMax: boundOf(ageMsMax), overflow };
}

/** 0 is no bound. */
function boundOf(value: number): number {
  return value === 0 ? Number.POSITIVE_INFINITY : value;
}
