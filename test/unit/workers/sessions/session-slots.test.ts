/** The slots of one worker: when they are opened, what waits meanwhile, and what becomes of it when the storage fails. */
import { describe, expect, it, onTestFinished } from 'vitest';
import type { SessionUser } from '../../../../src/core/ports/session-slots.ts';
import { createInterestTable } from '../../../../src/core/routing/interest-table.ts';
import type { NewMessage } from '../../../../src/core/sessions/message-record.ts';
import type { SessionLink } from '../../../../src/core/sessions/online-session.ts';
import { createLogger } from '../../../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../../../src/observability/metrics.ts';
import { workerMetricDefinitions } from '../../../../src/observability/worker-metrics.ts';
import { CounterBlock, createCounters } from '../../../../src/shm/counters.ts';
import { TimingWheel } from '../../../../src/std/timing-wheel.ts';
import { openMemoryStore } from '../../../../src/storage/memory/memory-store.ts';
import { WorkerControlPlane } from '../../../../src/workers/runtime/control-plane.ts';
import type { SessionsToMain } from '../../../../src/workers/session-messages.ts';
import { WorkerSessionSlots } from '../../../../src/workers/sessions/session-slots.ts';
import { FaultyStore } from '../../../support/faulty-store.ts';

const layout = new MetricsLayout([workerMetricDefinitions([])]);
const message = (topic: string): NewMessage => ({
  topicBytes: Buffer.from(topic),
  body: Buffer.from('body'),
  header: Buffer.alloc(0),
  grade: 1,
  expiresAtMs: 0,
  publisher: '',
});
const link: SessionLink = {
  hasRoom: () => true,
  deliver: () => true,
  release: () => undefined,
  end: () => undefined,
};
const attachOptions = { isClean: false, expiryMs: -1, window: 10, will: null };

class Worker {
  readonly posted: SessionsToMain[] = [];
  readonly timers = new TimingWheel(100);
  readonly slots: WorkerSessionSlots;
  readonly opened: number[] = [];
  isBroken = false;

  private constructor(store: FaultyStore, workerIndex: number) {
    const control = new WorkerControlPlane(1, () => undefined);
    this.slots = new WorkerSessionSlots({
      ...{ workerIndex, workerCount: 1, control, store, timers: this.timers },
      start: {
        settings: {
          partitions: 1,
          limits: { countMax: 100, bytesMax: 1e6, ageMsMax: Number.POSITIVE_INFINITY, overflow: 'drop-oldest' },
          logBytesMax: 1e9,
          sessionsMax: 100,
          groups: {
            limits: { countMax: 100, bytesMax: 1e6, ageMsMax: Number.POSITIVE_INFINITY, overflow: 'drop-oldest' },
            ...{ groupsMax: 10, openMax: 100, waitingMax: 10, creditMax: 10, emptyMs: 0 },
          },
        },
        interest: createInterestTable(4, { bucketBits: 10, seed: 5 }),
      },
      metrics: new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount))),
      log: createLogger({ level: 'error', format: 'text', write: () => undefined }),
      post: (posted) => this.posted.push(posted),
    });
    const user: Partial<SessionUser> = {
      classOf: () => 'plain',
      opened: async (sessions) => void this.opened.push(sessions.size),
      willIsDue: (_id, _will, done) => done(),
      expired: () => undefined,
    };
    this.slots.use(user as SessionUser);
  }

  static async start(inner?: Awaited<ReturnType<typeof openMemoryStore>>, workerIndex = 0): Promise<Worker> {
    const plan = {
      fateOf: () => 'store' as const,
      failureOf: () => (worker.isBroken ? ('STORAGE_PARTITION_FAILED' as const) : null),
    };
    const store = new FaultyStore(inner ?? (await openMemoryStore({ bytesMax: 1e7 })), plan);
    const worker: Worker = new Worker(store, workerIndex);
    const ticker = setInterval(() => worker.timers.advance(worker.timers.tick + 5), 10);
    onTestFinished(() => clearInterval(ticker));
    return worker;
  }

  async told(...slots: number[]): Promise<void> {
    this.slots.handle({ type: 'sessions-open', slots });
    while (this.posted.at(-1)?.type !== 'sessions-opened') await new Promise(setImmediate);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('WorkerSessionSlots', () => {
  it('is not settled before it was told what is stored, and opens nothing when nothing is', async () => {
    const { slots, opened } = await Worker.start().then(async (worker) => {
      expect(worker.slots.isSettled).toBe(false);
      await worker.told();
      return worker;
    });
    expect(slots.isSettled).toBe(true);
    expect(slots.own).toBeNull();
    expect(slots.interest.wants('anything')).toBe(false);
    expect(opened).toEqual([]);
  });

  it('keep() opens the slot first, and waits until it is known what is stored', async () => {
    const worker = await Worker.start();
    const told: (Error | null)[] = [];
    worker.slots.interest.add('t');
    worker.slots.keep(message('t'), (error) => told.push(error));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(worker.slots.own).toBeNull();
    await worker.told();
    await worker.until(() => told.length > 0);
    expect(told).toEqual([null]);
    expect(worker.slots.hasRoom).toBe(true);
    expect(worker.posted.map(({ type }) => type)).toContain('sessions-begun');
  });

  it('keep() stores nothing of what turns out to be wanted by nobody', async () => {
    const worker = await Worker.start();
    const told: (Error | null)[] = [];
    worker.slots.keep(message('t'), (error) => told.push(error));
    await worker.told();
    await worker.until(() => told.length > 0);
    expect([told, worker.slots.own]).toEqual([[null], null]);
  });

  it('opens the slots of former workers, and bringHome() moves their sessions', async () => {
    const inner = await openMemoryStore({ bytesMax: 1e7 });
    const former = await Worker.start(inner, 3);
    await former.told();
    const service = await former.slots.open();
    const { session } = await service.attach('c', attachOptions, link);
    await service.subscribe(session, [{ filter: 'a/#', grade: 1, noLocal: false, detail: 0, identifier: 0 }]);
    await former.slots.close();
    const worker = await Worker.start(inner);
    await worker.told(3);
    expect(worker.opened).toEqual([1]);
    const { slots } = worker;
    expect([slots.has('c'), slots.own, slots.interest.wants('a/b'), slots.interest.wants('b')]).toEqual([
      true,
      null,
      true,
      false,
    ]);
    await slots.bringHome('c');
    expect(slots.own?.has('c')).toBe(true);
    expect(slots.ownerOf('c')).toBe(slots.own);
    expect(slots.interest.wants('a/b')).toBe(true);
    expect(slots.sessionCount).toBe(1);
    expect(slots.subscriptionCounts).toEqual({ subscriptions: 1, shared: 0, subscribers: 1 });
    expect(slots.own?.subscriptionsOf('c')).toMatchObject([{ filter: 'a/#', grade: 1 }]);
  });

  it('open() is refused while it cannot be done, and comes by itself when it can', async () => {
    const worker = await Worker.start();
    await worker.told();
    worker.isBroken = true;
    await expect(worker.slots.open()).rejects.toMatchObject({ code: 'STORAGE_PARTITION_FAILED' });
    expect(worker.slots.failure?.code).toBe('SESSION_STORAGE_FAILED');
    await expect(worker.slots.open()).rejects.toBe(worker.slots.failure);
    const told: (Error | null)[] = [];
    worker.slots.keep(message('t'), (error) => told.push(error));
    await worker.until(() => told.length > 0);
    expect(told[0]).toBe(worker.slots.failure);
    let isReady = false;
    worker.slots.whenReady(() => {
      isReady = true;
    });
    worker.isBroken = false;
    await worker.until(() => worker.slots.own !== null);
    expect(worker.slots.failure).toBeNull();
    expect(isReady).toBe(true);
  });

  it('goes on wanting what its sessions want while they cannot be stored, and opens them again', async () => {
    const worker = await Worker.start();
    await worker.told();
    const { slots } = worker;
    const service = await slots.open();
    const { session } = await service.attach('c', attachOptions, link);
    await service.subscribe(session, [{ filter: 'a/#', grade: 1, noLocal: false, detail: 0, identifier: 0 }]);
    service.fail(Object.assign(new Error('disk'), { code: 'SESSION_STORAGE_FAILED', name: 'SessionError' }) as never);
    expect(slots.own).toBeNull();
    expect(slots.failure).not.toBeNull();
    expect(slots.interest.wants('a/b')).toBe(true);
    await worker.until(() => slots.own !== null);
    expect(slots.has('c')).toBe(true);
    expect(slots.interest.wants('a/b')).toBe(true);
    await slots.own?.remove('c');
    expect(slots.interest.wants('a/b')).toBe(false);
  });

  it('answers what the logs are needed for, and nothing while something is not open', async () => {
    const worker = await Worker.start();
    worker.slots.handle({ type: 'sessions-upkeep', round: 1 });
    expect(worker.posted).toEqual([]);
    await worker.told();
    worker.slots.handle({ type: 'sessions-upkeep', round: 2 });
    expect(worker.posted.at(-1)).toEqual({ type: 'sessions-floors', round: 2, floors: null });
    await worker.slots.open();
    worker.slots.handle({ type: 'sessions-upkeep', round: 3 });
    expect(worker.posted.at(-1)).toMatchObject({ type: 'sessions-floors', round: 3, floors: [expect.any(Number)] });
  });
});
