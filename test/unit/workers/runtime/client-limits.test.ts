import { describe, expect, it } from 'vitest';
import type { ClientLimitSettings } from '../../../../src/core/limits/limit-settings.ts';
import type { Identity } from '../../../../src/core/ports/access.ts';
import type { Connection } from '../../../../src/core/ports/connection.ts';
import type { Entry } from '../../../../src/core/ports/limits.ts';
import { ClientAdmissions } from '../../../../src/main/limits/client-admissions.ts';
import { limitMetric } from '../../../../src/observability/limit-metrics.ts';
import { createLogger } from '../../../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../../../src/observability/metrics.ts';
import { workerMetricDefinitions } from '../../../../src/observability/worker-metrics.ts';
import { CounterBlock, createCounters } from '../../../../src/shm/counters.ts';
import type { LimitsToMain } from '../../../../src/workers/limit-messages.ts';
import { WorkerClientLimits } from '../../../../src/workers/runtime/client-limits.ts';
import { everybody, noClientLimits, noTenantLimits } from '../../../support/client-limits.ts';

/** Two workers and the main thread in the test's own; messages arrive when the test says so. */
class Node {
  readonly workers: WorkerClientLimits[];
  readonly metrics: ThreadMetrics;
  readonly posted: [worker: number, message: LimitsToMain][] = [];
  private readonly admissions: ClientAdmissions;

  constructor(settings: Partial<ClientLimitSettings>) {
    this.admissions = new ClientAdmissions({
      settings: { ...noClientLimits, ...settings },
      listeners: [],
      workerCount: 2,
      post: (worker, message) => this.workers[worker]?.handle(message),
    });
    const layout = new MetricsLayout([workerMetricDefinitions([])]);
    this.metrics = new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount)));
    const log = createLogger({ level: 'error', format: 'text' });
    this.workers = [0, 1].map(
      (workerIndex) =>
        new WorkerClientLimits({
          ...{ start: this.admissions.workerStart, workerIndex, workerCount: 2, metrics: this.metrics, log },
          post: (message) => this.posted.push([workerIndex, message]),
        }),
    );
  }

  deliver(): void {
    for (const [worker, message] of this.posted.splice(0)) this.admissions.handle(worker, message);
  }

  /** What a client on `worker` was told so far. */
  enter(worker: number, identity: Partial<Identity> = {}, listener = 'plain'): Entry[] {
    const entries: Entry[] = [];
    const known = { isSuperuser: false, groups: [], mechanism: 'password', certificateName: '' };
    const who = { tenant: 'default', user: 'ann', clientId: 'c', address: '192.0.2.1', ...known, ...identity };
    const connection = { listener: { name: listener, index: 0 }, remoteAddress: who.address } as unknown as Connection;
    this.workers[worker]?.enter(who, connection, (entry) => entries.push(entry));
    return entries;
  }

  admit(worker: number, identity: Partial<Identity> = {}, listener = 'plain') {
    const entries = this.enter(worker, identity, listener);
    this.deliver();
    const [entry] = entries;
    if (entry?.type !== 'admitted') throw new Error(`Refused: ${JSON.stringify(entry)}`);
    return entry.place;
  }

  workerGone(worker: number): void {
    this.admissions.workerGone(worker);
  }
}

describe('WorkerClientLimits', () => {
  it('enter() answers at once, without a message, when nobody is counted', () => {
    const node = new Node({ clients: [{ ...everybody, listeners: ['slow'], publishRatePerS: 5 }] });
    const [entry] = node.enter(0);
    expect(entry).toMatchObject({ type: 'admitted', place: { meter: null, own: null, subscriptions: null } });
    expect(node.admit(0, {}, 'slow').meter?.countMax(0)).toBe(5);
    expect(node.posted).toEqual([]);
  });

  it('enter() answers when the main thread did, and counts who is refused', () => {
    const node = new Node({ userConnectionsMax: 1 });
    const place = node.admit(0);
    const entries = node.enter(1, { clientId: 'other' });
    expect(entries).toEqual([]);
    node.deliver();
    expect(entries).toEqual([{ type: 'refused', limit: 'user-connections' }]);
    expect(node.metrics.get(node.metrics.slot(limitMetric, { limit: 'user-connections' }))).toBe(1);
    place.leave();
    node.deliver();
    node.admit(1, { clientId: 'other' });
  });

  it('gives the clients of a tenant one budget over all workers, which other tenants do not touch', () => {
    const limits = { ...noTenantLimits, publishRatePerS: 1_000, publishBytesPerS: 1_000_000, subscriptionsMax: 3 };
    const node = new Node({ tenants: { default: limits, named: [] } });
    const one = node.admit(0, { clientId: 'a' });
    const two = node.admit(1, { clientId: 'b' });
    const other = node.admit(1, { clientId: 'c', tenant: 'other' });
    one.meter?.spend(5_000, 0, performance.now());
    expect(two.meter?.countMax(performance.now())).toBe(0);
    expect(two.meter?.wait(performance.now()).limit).toBe('tenant-publish-rate');
    expect(other.meter?.countMax(performance.now())).toBe(1_000);
    one.subscriptions?.add(3);
    expect(two.subscriptions?.isFull).toBe(true);
    expect(other.subscriptions?.isFull).toBe(false);
    node.workerGone(0);
    expect(two.subscriptions?.isFull).toBe(false);
  });
});
