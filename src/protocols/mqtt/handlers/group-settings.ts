/** Which strategy the settings give a shared group. Pure; connection workers. */
import type { GroupStrategy } from '../../../core/broker/group-strategies.ts';
import type { MqttSettings } from '../settings.ts';

/** The name under which the settings know the group of `$queue/`, which has none. */
export const queueGroup = '$queue';

/** The strategy of the group `name` (empty: that of `$queue/`). */
export function strategyOf(settings: MqttSettings, name: string): GroupStrategy {
  const known = settings.sharedGroups.find(({ group }) => group === (name === '' ? queueGroup : name));
  return strategies[known?.strategy ?? settings.sharedStrategy];
}

/** The words of the settings, as MQTT users know them, and the strategies of the core. */
const strategies = {
  'round-robin': 'round-robin',
  random: 'random',
  sticky: 'sticky',
  'local-first': 'local-first',
  'hash-client-id': 'hash-publisher',
  'hash-topic': 'hash-topic',
  'least-inflight': 'least-inflight',
  'ordered-by-key': 'hash-key',
} as const satisfies Record<MqttSettings['sharedStrategy'], GroupStrategy>;
