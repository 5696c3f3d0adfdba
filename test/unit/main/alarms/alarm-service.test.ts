/** Alarms of a node: what is looked at, and who is told. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AlarmChange } from '../../../../src/core/ports/alarms.ts';
import { AlarmFile } from '../../../../src/main/alarms/alarm-file.ts';
import { AlarmService } from '../../../../src/main/alarms/alarm-service.ts';
import { createProbes, type Probe, type ProbeSources } from '../../../../src/main/alarms/probes.ts';
import { alarmMetricDefinitions, alarmNames } from '../../../../src/observability/alarm-metrics.ts';
import { createLogger } from '../../../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../../../src/observability/metrics.ts';
import { NodeCounters } from '../../../../src/observability/node-counters.ts';
import { workerMetricDefinitions } from '../../../../src/observability/worker-metrics.ts';
import { CounterBlock, createCounters } from '../../../../src/shm/counters.ts';
import { storageMetricsLayout } from '../../../../src/workers/storage/host/storage-metrics.ts';

let folder = '';
let logged: string[] = [];
const running: AlarmService[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-alarms-'));
  logged = [];
});
afterEach(async () => {
  for (const service of running.splice(0)) await service.stop();
  rmSync(folder, { recursive: true, force: true });
});

const log = createLogger({ level: 'info', format: 'text', write: (line) => logged.push(line), repeatsPerS: 1_000 });
const mainLayout = new MetricsLayout([alarmMetricDefinitions()]);

function start(probes: readonly Probe[]) {
  const metrics = new ThreadMetrics(mainLayout, new CounterBlock(createCounters(mainLayout.slotCount)));
  const told: AlarmChange[] = [];
  const service = new AlarmService({
    settings: { intervalMs: 5, historyMax: 10 },
    ...{ probes, metrics, log, file: new AlarmFile(folder, log), tell: (change) => told.push(change) },
  });
  running.push(service);
  void service.start();
  const active = (alarm: string) => metrics.get(mainLayout.slot('ringmq_alarm_active', { alarm }));
  return { service, told, active };
}

describe('AlarmService', () => {
  const rule = { name: 'cpu-high', isHighBad: true, activateAt: 1, deactivateAt: 0, durationMs: 0, unit: '' } as const;

  it('tells subscribers, log, metrics and history', async () => {
    let value = 1;
    const measure = () => [{ rule, subject: '', value, message: 'too much' }];
    const { service, told, active } = start([{ name: 'cpu-high', measure }]);
    await vi.waitFor(() => expect(service.active().map(({ message }) => message)).toEqual(['too much']));
    expect(active('cpu-high')).toBe(1);
    value = 0;
    await vi.waitFor(() => expect(service.history().length).toBe(1));
    expect(active('cpu-high')).toBe(0);
    expect(told.map(({ type }) => type)).toEqual(['activated', 'deactivated']);
    expect(logged.join()).toMatch(/WARN +Alarm alarm=cpu-high.*INFO +Alarm is over/s);
    await service.stop();
    const again = start([]);
    await vi.waitFor(() => expect(again.service.history().length).toBe(1));
    expect(again.service.clearHistory()).toBe(1);
  });

  it('goes on when something cannot be measured, and leaves its alarm as it is', async () => {
    let isBroken = false;
    let count = 0;
    const measure = () => {
      count++;
      if (isBroken) throw new Error('no such figure');
      return [{ rule, subject: '', value: 1, message: '' }];
    };
    const { service } = start([{ name: 'cpu-high', measure }]);
    await vi.waitFor(() => expect(service.active().length).toBe(1));
    isBroken = true;
    const before = count;
    await vi.waitFor(() => expect(count).toBeGreaterThan(before + 2));
    expect(service.active().length).toBe(1);
    expect(logged.join()).toContain('no such figure');
  });
});

describe('createProbes()', () => {
  const workerLayout = new MetricsLayout([workerMetricDefinitions([])]);
  const percent = { enabled: true, activateAtPercent: 90, deactivateAtPercent: 80, durationS: 0 };
  const ms = { enabled: true, activateAtMs: 100, deactivateAtMs: 50, durationS: 0 };
  const condition = { enabled: true, durationS: 0 };

  function sources() {
    const block = new CounterBlock(createCounters(workerLayout.slotCount));
    const storage = new CounterBlock(createCounters(storageMetricsLayout().slotCount));
    const state = { connections: 0, lateMs: 0, replaced: 0, storage: null as string | null, validToMs: 0 };
    const given: ProbeSources = {
      settings: {
        ...{ intervalMs: 5, historyMax: 10, eventLoop: ms, memory: percent, cpu: percent, disk: percent },
        ...{
          storageUnavailable: condition,
          storageLatency: ms,
          connections: percent,
          sessions: percent,
          retained: percent,
          ring: percent,
        },
        dropped: { enabled: true, activateAtPerS: 10, deactivateAtPerS: 1, durationS: 0 },
        certificate: { enabled: true, activateAtDays: 14, deactivateAtDays: 15, durationS: 0 },
        ...{ placement: condition, workerReplaced: condition },
      },
      limits: { connectionsMax: 1_000, retainedCountMax: 100, retainedBytesMax: 0 },
      sessionsMax: 1_000,
      folder,
      workers: new NodeCounters(workerLayout, [block]),
      storage: { worker: 'journal', layout: storageMetricsLayout(), counters: storage },
      connectionCount: () => state.connections,
      latenessMs: () => state.lateMs,
      replacedCount: () => state.replaced,
      storageProblem: () => state.storage,
      placementProblem: () => null,
      certificates: () => [{ listener: 'secure', subject: 'CN=a', validToMs: state.validToMs }],
    };
    const metrics = new ThreadMetrics(workerLayout, block);
    return { given, state, metrics, storage: new ThreadMetrics(storageMetricsLayout(), storage) };
  }

  async function measure(probes: readonly Probe[], nowMs = 0): Promise<Map<string, number>> {
    const values = new Map<string, number>();
    for (const probe of probes) for (const { value } of await probe.measure(nowMs)) values.set(probe.name, value);
    return values;
  }

  it('makes one for each alarm that is switched on', () => {
    const { given } = sources();
    expect(new Set(createProbes(given).map(({ name }) => name))).toEqual(new Set(alarmNames));
    const settings = { ...given.settings, disk: { ...percent, enabled: false } };
    expect(createProbes({ ...given, settings }).map(({ name }) => name)).not.toContain('disk-low');
  });

  it('measures what the node is like', async () => {
    const { given, state, metrics, storage } = sources();
    const probes = createProbes(given);
    await measure(probes);
    Object.assign(state, { connections: 850, lateMs: 120, replaced: 1, storage: 'closed', validToMs: 86_400_000 * 2 });
    metrics.set(metrics.slot('ringmq_retained_messages'), 50);
    metrics.set(metrics.slot('ringmq_durable_sessions'), 300);
    metrics.set(metrics.slot('ringmq_ring_fill_bytes'), 75);
    metrics.set(metrics.slot('ringmq_ring_capacity_bytes'), 100);
    metrics.add(metrics.slot('ringmq_messages_dropped_total', { reason: 'queue-full' }), 1e9);
    storage.add(storage.slot('ringmq_storage_append_seconds', undefined, '0.001'), 4);
    storage.add(storage.slot('ringmq_storage_append_seconds', undefined, 'sum'), 2);
    const values = await measure(probes);
    const expected = {
      ...{ 'connections-high': 85, 'event-loop-late': 120, 'worker-replaced': 1, 'storage-unavailable': 1 },
      ...{ 'certificate-expiring': 2, 'retained-high': 50, 'ring-full': 75, 'storage-slow': 500 },
      ...{ 'placement-no-leader': 0, 'sessions-high': 30 },
    };
    for (const [name, value] of Object.entries(expected)) expect([name, values.get(name)]).toEqual([name, value]);
    expect(values.get('messages-dropped')).toBeGreaterThan(1e6);
    for (const name of ['memory-high', 'cpu-high', 'disk-low']) expect(values.get(name)).toBeGreaterThanOrEqual(0);
    // Without further appends nobody waits; a replacement is told of for five minutes.
    expect((await measure(probes, 299_999)).get('storage-slow')).toBe(0);
    expect((await measure(probes, 300_000)).get('worker-replaced')).toBe(0);
  });
});
