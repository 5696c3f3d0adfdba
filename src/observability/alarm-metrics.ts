/** The names of alarms, and what is counted of them. Definitions and names on every thread; the main thread's block holds the values. */
import type { MetricDefinition } from './metrics.ts';

/** What an alarm can be about; label values of the metrics below. */
export const alarmNames = [
  'event-loop-late', // a connection worker does not get to its work in time
  'memory-high',
  'cpu-high',
  'disk-low', // room on the file system of the data folder
  'storage-unavailable',
  'storage-slow',
  'connections-high', // near limits.connectionsMax
  'retained-high', // near a limit of retained messages
  'sessions-high', // near sessions.sessionsMax
  'messages-dropped', // queues of sessions or outputs of connections are full
  'ring-full', // publishers wait for the slowest worker
  'placement-no-leader',
  'certificate-expiring',
  'worker-replaced', // a connection worker died and was replaced
] as const;

export type AlarmName = (typeof alarmNames)[number];

export const alarmActiveMetric = 'ringmq_alarm_active';
export const alarmsActivatedMetric = 'ringmq_alarms_activated_total';

export function alarmMetricDefinitions(): MetricDefinition[] {
  return alarmNames.flatMap((alarm): MetricDefinition[] => [
    { name: alarmActiveMetric, help: 'Alarms of this name that are active.', kind: 'gauge', labels: { alarm } },
    { name: alarmsActivatedMetric, help: 'Times that an alarm became active.', kind: 'counter', labels: { alarm } },
  ]);
}
