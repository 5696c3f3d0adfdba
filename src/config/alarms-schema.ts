/** Settings of alarms: section `alarms`. Main thread; part of the node's schema. */
import type { TBoolean, TInteger, TObject } from 'typebox';
import { boolean, integer, section } from '../core/settings/schema-builders.ts';

interface Bounds {
  readonly activateAt: number;
  readonly deactivateAt: number;
  readonly minimum: number;
  readonly maximum: number;
  readonly durationS: number;
  /** What is compared, in one sentence. */
  readonly description: string;
}

type Threshold<U extends string> = {
  readonly enabled: TBoolean;
  readonly durationS: TInteger;
} & { readonly [K in `activateAt${U}` | `deactivateAt${U}`]: TInteger };

const enabled = () => boolean({ default: true, description: 'Whether it is looked at.' });

const duration = (fallback: number) =>
  integer({
    default: fallback,
    minimum: 0,
    maximum: 86_400,
    description: 'How long it has to be so before the alarm is raised, and no more so before it ends, seconds.',
  });

/** Two bounds with a gap between them, so that a value that moves around one of them does not raise an alarm again and again. */
function threshold<U extends string>(unit: U, words: string, bounds: Bounds): TObject<Threshold<U>> {
  const { activateAt, deactivateAt, minimum, maximum, durationS, description } = bounds;
  const bound = (fallback: number, what: string) => {
    return integer({ default: fallback, minimum, maximum, description: `${what}, ${words}.` });
  };
  const properties = {
    enabled: enabled(),
    [`activateAt${unit}`]: bound(activateAt, 'From here on it is an alarm'),
    [`deactivateAt${unit}`]: bound(deactivateAt, 'Back here it is none any more'),
    durationS: duration(durationS),
  };
  return section(properties as unknown as Threshold<U>, { description });
}

function condition(durationS: number, description: string) {
  return section({ enabled: enabled(), durationS: duration(durationS) }, { description });
}

const percent = { minimum: 0, maximum: 100 };

export const alarmsSchema = section(
  {
    intervalMs: integer({
      default: 5_000,
      minimum: 50,
      maximum: 600_000,
      description: 'How often everything is looked at, ms.',
    }),
    historyMax: integer({
      default: 1_000,
      minimum: 0,
      maximum: 100_000,
      description: 'Alarms that are over and still known; also after a restart.',
    }),
    eventLoop: threshold('Ms', 'ms', {
      ...{ activateAt: 1_000, deactivateAt: 500, minimum: 1, maximum: 600_000, durationS: 5 },
      description: 'event-loop-late: how late the connection worker is that is latest.',
    }),
    memory: threshold('Percent', 'percent', {
      ...{ activateAt: 90, deactivateAt: 80, ...percent, durationS: 30 },
      description: 'memory-high: memory of the process, of what the machine or the container allows it.',
    }),
    cpu: threshold('Percent', 'percent', {
      ...{ activateAt: 90, deactivateAt: 70, ...percent, durationS: 60 },
      description: 'cpu-high: CPU time of the process, of the cores that it may use.',
    }),
    disk: threshold('Percent', 'percent', {
      ...{ activateAt: 5, deactivateAt: 10, ...percent, durationS: 10 },
      description: 'disk-low: room that is left on the file system of the data folder.',
    }),
    storageUnavailable: condition(5, 'storage-unavailable: the storage does not serve.'),
    storageLatency: threshold('Ms', 'ms', {
      ...{ activateAt: 500, deactivateAt: 200, minimum: 1, maximum: 600_000, durationS: 10 },
      description: 'storage-slow: mean time until an append is durable.',
    }),
    connections: threshold('Percent', 'percent', {
      ...{ activateAt: 80, deactivateAt: 70, ...percent, durationS: 10 },
      description: 'connections-high: connections, of limits.connectionsMax.',
    }),
    retained: threshold('Percent', 'percent', {
      ...{ activateAt: 80, deactivateAt: 70, ...percent, durationS: 10 },
      description: 'retained-high: retained messages, of limits.retainedCountMax or limits.retainedBytesMax.',
    }),
    sessions: threshold('Percent', 'percent', {
      ...{ activateAt: 80, deactivateAt: 70, ...percent, durationS: 10 },
      description: 'sessions-high: durable sessions of the worker with most of them, of sessions.sessionsMax.',
    }),
    dropped: threshold('PerS', 'messages a second', {
      ...{ activateAt: 100, deactivateAt: 10, minimum: 0, maximum: 1_000_000_000, durationS: 10 },
      description: 'messages-dropped: messages that were lost since a queue or the output of a connection was full.',
    }),
    ring: threshold('Percent', 'percent', {
      ...{ activateAt: 90, deactivateAt: 50, ...percent, durationS: 30 },
      description: 'ring-full: the fullest ring between workers, of limits.ringBytes.',
    }),
    placement: condition(5, 'placement-no-leader: this node knows no leader of the placement centre, or has left it.'),
    certificate: threshold('Days', 'days', {
      ...{ activateAt: 14, deactivateAt: 15, minimum: 0, maximum: 3_650, durationS: 0 },
      description: 'certificate-expiring: time until a certificate of a listener ends.',
    }),
    workerReplaced: condition(0, 'worker-replaced: a connection worker was replaced in the last five minutes.'),
  },
  { description: 'What raises an alarm. An alarm is logged, counted, told to subscribers and listed until it ends.' },
);
