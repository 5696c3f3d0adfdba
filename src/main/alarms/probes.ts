/**
 * What raises alarms: one function for each kind, which measures a value now. Main thread, called by the service every few seconds.
 *
 * A probe that cannot measure answers nothing, and its alarm stays as it is.
 */
import { statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import type { NodeSettings } from '../../config/schema.ts';
import type { AlarmName } from '../../observability/alarm-metrics.ts';
import type { MetricsSource } from '../../observability/exposition.ts';
import type { NodeCounters } from '../../observability/node-counters.ts';
import type { AlarmRule, Sample } from './alarm-state.ts';

export interface ListenerCertificate {
  readonly listener: string;
  /** Common name or whatever tells it from others of the listener. */
  readonly subject: string;
  /** Unix time, ms. */
  readonly validToMs: number;
}

/** What probes look at. All of it is cheap. */
export interface ProbeSources {
  readonly settings: NodeSettings['alarms'];
  readonly limits: Pick<NodeSettings['limits'], 'connectionsMax' | 'retainedCountMax' | 'retainedBytesMax'>;
  /** Durable sessions that one worker may have. */
  readonly sessionsMax: number;
  /** The data folder. */
  readonly folder: string;
  /** Of all connection workers. */
  readonly workers: NodeCounters;
  /** Of the journal worker. */
  readonly storage: MetricsSource;
  connectionCount(): number;
  /** Of the worker that is latest. */
  latenessMs(): number;
  /** Connection workers that were replaced since the start. */
  replacedCount(): number;
  /** Null: it serves. */
  storageProblem(): string | null;
  placementProblem(): string | null;
  certificates(): readonly ListenerCertificate[];
}

export interface Probe {
  readonly name: AlarmName;
  /** `nowMs`: Unix time. What it does not name any more is gone, see `AlarmState.retain`. */
  measure(nowMs: number): readonly Sample[] | Promise<readonly Sample[]>;
}

const millisecondsPerDay = 86_400_000;
/** A replacement is told of for this long. */
const replacedMs = 5 * 60_000;
/** Mean of too few appends says nothing. */
const appendsMin = 1;

/** Those that are switched on. */
export function createProbes(sources: ProbeSources): readonly Probe[] {
  const { settings } = sources;
  const all: readonly (readonly [{ readonly enabled: boolean }, (sources: ProbeSources) => Probe])[] = [
    [settings.eventLoop, eventLoop],
    [settings.memory, memory],
    [settings.cpu, cpu],
    [settings.disk, disk],
    [settings.storageUnavailable, storageUnavailable],
    [settings.storageLatency, storageLatency],
    [settings.connections, connections],
    [settings.retained, retained],
    [settings.sessions, sessions],
    [settings.dropped, dropped],
    [settings.ring, ring],
    [settings.placement, placement],
    [settings.certificate, certificate],
    [settings.workerReplaced, workerReplaced],
  ];
  return all.filter(([{ enabled }]) => enabled).map(([, create]) => create(sources));
}

function percentRule(
  name: AlarmName,
  setting: { readonly activateAtPercent: number; readonly deactivateAtPercent: number; readonly durationS: number },
  isHighBad = true,
): AlarmRule {
  const { activateAtPercent: activateAt, deactivateAtPercent: deactivateAt, durationS } = setting;
  return { name, isHighBad, activateAt, deactivateAt, durationMs: durationS * 1000, unit: 'percent' };
}

/** What is so or not so. */
function conditionRule(name: AlarmName, { durationS }: { readonly durationS: number }): AlarmRule {
  return { name, isHighBad: true, activateAt: 1, deactivateAt: 0, durationMs: durationS * 1000, unit: '' };
}

function probe(rule: AlarmRule, measure: (nowMs: number) => readonly [value: number, message: string] | null): Probe {
  return {
    name: rule.name,
    measure: (nowMs) => {
      const measured = measure(nowMs);
      return measured === null ? [] : [{ rule, subject: '', value: measured[0], message: measured[1] }];
    },
  };
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}

function eventLoop({ settings, latenessMs }: ProbeSources): Probe {
  const { activateAtMs: activateAt, deactivateAtMs: deactivateAt, durationS } = settings.eventLoop;
  const bounds = { activateAt, deactivateAt, durationMs: durationS * 1000, unit: 'ms' };
  return probe({ name: 'event-loop-late', isHighBad: true, ...bounds }, () => {
    const lateMs = latenessMs();
    return [lateMs, `A connection worker is ${lateMs} ms late`];
  });
}

function memory({ settings }: ProbeSources): Probe {
  return probe(percentRule('memory-high', settings.memory), () => {
    // 0, or more than there is, where no container sets a limit.
    const constrained = process.constrainedMemory();
    const limit = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
    const percent = rounded((process.memoryUsage.rss() / limit) * 100);
    return [percent, `The process has ${percent} percent of the memory that it may have`];
  });
}

function cpu({ settings }: ProbeSources): Probe {
  let last: { readonly usedUs: number; readonly atMs: number } | null = null;
  return probe(percentRule('cpu-high', settings.cpu), () => {
    const { user, system } = process.cpuUsage();
    const before = last;
    last = { usedUs: user + system, atMs: performance.now() };
    if (before === null || last.atMs <= before.atMs) return null;
    const cores = (last.usedUs - before.usedUs) / 1000 / (last.atMs - before.atMs);
    const percent = rounded((cores / availableParallelism()) * 100);
    return [percent, `The process takes ${percent} percent of the CPU time of its cores`];
  });
}

function disk({ settings, folder }: ProbeSources): Probe {
  const rule = percentRule('disk-low', settings.disk, false);
  return {
    name: rule.name,
    measure: async () => {
      const { blocks, bavail } = await statfs(folder);
      if (blocks === 0) return []; // Many file systems in user space do not say.
      const percent = rounded((bavail / blocks) * 100);
      const message = `${percent} percent of the file system of the data folder are free`;
      return [{ rule, subject: '', value: percent, message }];
    },
  };
}

function storageUnavailable({ settings, storageProblem }: ProbeSources): Probe {
  return probe(conditionRule('storage-unavailable', settings.storageUnavailable), () => {
    const problem = storageProblem();
    return [problem === null ? 0 : 1, `The storage does not serve: ${problem}`];
  });
}

function storageLatency({ settings, storage }: ProbeSources): Probe {
  const { activateAtMs: activateAt, deactivateAtMs: deactivateAt, durationS } = settings.storageLatency;
  const bounds = { activateAt, deactivateAt, durationMs: durationS * 1000, unit: 'ms' };
  const series = [...storage.layout.definitions.entries()].filter(
    ([, { name }]) => name === 'ringmq_storage_append_seconds',
  );
  const total = (isSum: boolean): number =>
    series.reduce((sum, [slot, { part }]) => ((part === 'sum') === isSum ? sum + storage.counters.get(slot) : sum), 0);
  let last = { count: 0, seconds: 0 };
  return probe({ name: 'storage-slow', isHighBad: true, ...bounds }, () => {
    const before = last;
    last = { count: total(false), seconds: total(true) };
    const appends = last.count - before.count;
    // Without appends nobody waits for any.
    const meanMs = appends < appendsMin ? 0 : rounded(((last.seconds - before.seconds) / appends) * 1000);
    return [meanMs, `An append takes ${meanMs} ms until it is durable`];
  });
}

function connections({ settings, limits, connectionCount }: ProbeSources): Probe {
  return probe(percentRule('connections-high', settings.connections), () => {
    const count = connectionCount();
    return [
      rounded((count / limits.connectionsMax) * 100),
      `There are ${count} of ${limits.connectionsMax} connections`,
    ];
  });
}

function retained({ settings, limits, workers }: ProbeSources): Probe {
  const { retainedCountMax, retainedBytesMax } = limits;
  const count = workers.counter('ringmq_retained_messages');
  const bytes = workers.counter('ringmq_retained_bytes');
  return probe(percentRule('retained-high', settings.retained), () => {
    const shares = [count.largest() / retainedCountMax, bytes.largest() / retainedBytesMax];
    // A limit of 0 keeps none: nothing is near it.
    const percent = rounded(Math.max(0, ...shares.filter(Number.isFinite)) * 100);
    return [percent, `Retained messages take ${percent} percent of what they may take`];
  });
}

function sessions({ settings, sessionsMax, workers }: ProbeSources): Probe {
  const ofWorker = workers.counter('ringmq_durable_sessions');
  return probe(percentRule('sessions-high', settings.sessions), () => {
    const count = ofWorker.largest();
    return [rounded((count / sessionsMax) * 100), `A worker has ${count} of ${sessionsMax} durable sessions`];
  });
}

function dropped({ settings, workers }: ProbeSources): Probe {
  const { activateAtPerS: activateAt, deactivateAtPerS: deactivateAt, durationS } = settings.dropped;
  const bounds = { activateAt, deactivateAt, durationMs: durationS * 1000, unit: 'per second' };
  const counters = [
    ...['queue-full', 'output-full'].map((reason) => workers.counter('ringmq_messages_dropped_total', { reason })),
    ...['limited', 'gone'].map((reason) => workers.counter('ringmq_durable_messages_dropped_total', { reason })),
  ];
  let last: { readonly count: number; readonly atMs: number } | null = null;
  return probe({ name: 'messages-dropped', isHighBad: true, ...bounds }, () => {
    const before = last;
    last = { count: counters.reduce((sum, counter) => sum + counter.sum(), 0), atMs: performance.now() };
    if (before === null || last.atMs <= before.atMs) return null;
    const perS = rounded(((last.count - before.count) * 1000) / (last.atMs - before.atMs));
    return [perS, `${perS} messages a second are lost since queues or outputs are full`];
  });
}

function ring({ settings, workers }: ProbeSources): Probe {
  const fill = workers.counter('ringmq_ring_fill_bytes');
  const capacity = workers.counter('ringmq_ring_capacity_bytes');
  return probe(percentRule('ring-full', settings.ring), () => {
    const capacityBytes = capacity.largest();
    const percent = capacityBytes === 0 ? 0 : rounded((fill.largest() / capacityBytes) * 100);
    return [percent, `The ring of a worker is filled by ${percent} percent`];
  });
}

function placement({ settings, placementProblem }: ProbeSources): Probe {
  return probe(conditionRule('placement-no-leader', settings.placement), () => {
    const problem = placementProblem();
    return [problem === null ? 0 : 1, `Metadata cannot be changed: ${problem}`];
  });
}

function certificate({ settings, certificates }: ProbeSources): Probe {
  const { activateAtDays: activateAt, deactivateAtDays: deactivateAt, durationS } = settings.certificate;
  const bounds = { activateAt, deactivateAt, durationMs: durationS * 1000, unit: 'days' };
  const rule: AlarmRule = { name: 'certificate-expiring', isHighBad: false, ...bounds };
  return {
    name: rule.name,
    measure: (nowMs) =>
      certificates().map(({ listener, subject, validToMs }) => {
        const days = rounded((validToMs - nowMs) / millisecondsPerDay);
        const ends = new Date(validToMs).toISOString();
        const message = `The certificate "${subject}" of listener "${listener}" ends at ${ends}`;
        return { rule, subject: `${listener}: ${subject}`, value: days, message };
      }),
  };
}

function workerReplaced({ settings, replacedCount }: ProbeSources): Probe {
  let known = replacedCount();
  let lastMs = Number.NEGATIVE_INFINITY;
  return probe(conditionRule('worker-replaced', settings.workerReplaced), (nowMs) => {
    const count = replacedCount();
    if (count > known) lastMs = nowMs;
    known = count;
    return [nowMs - lastMs < replacedMs ? 1 : 0, `A connection worker died and was replaced; ${count} since the start`];
  });
}
