import { describe, expect, it, vi } from 'vitest';
import type { ControlPlane } from '../../../../../src/core/ports/control-plane.ts';
import type { StreamStore } from '../../../../../src/core/ports/stream-store.ts';
import { createLogger } from '../../../../../src/observability/log.ts';
import { SharedUsage } from '../../../../../src/protocols/mqtt/delayed/shared-usage.ts';
import { TimingWheel } from '../../../../../src/std/timing-wheel.ts';
import { openMemoryStore } from '../../../../../src/storage/memory/memory-store.ts';

/** The workers of one node, in one thread. */
class Node {
  readonly store: StreamStore;
  readonly timers = new TimingWheel(10);
  private nowMs = 0;
  private readonly handlers: Map<string, (from: number, payload: unknown) => void>[] = [];
  private readonly ready: ((worker: number) => void)[] = [];

  constructor(store: StreamStore) {
    this.store = store;
  }

  start(workerIndex: number): SharedUsage {
    const own = new Map<string, (from: number, payload: unknown) => void>();
    const control: ControlPlane = {
      broadcast: (channel, payload, done) => {
        for (const other of this.handlers) if (other !== own) other.get(channel)?.(workerIndex, payload);
        done();
      },
      onBroadcast: (channel, handler) => own.set(channel, handler),
      onWorkerGone: () => undefined,
      onWorkerReady: (handler) => this.ready.push(handler),
    };
    const log = createLogger({ level: 'error', format: 'text', write: () => undefined });
    const others = [...this.ready];
    const usage = new SharedUsage({ control, workerIndex, store: this.store, timers: this.timers, log });
    this.handlers.push(own);
    for (const tell of others) tell(workerIndex);
    return usage;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.timers.advance(this.nowMs);
  }
}

const nowMs = Date.now();
const add = (usage: SharedUsage, count: number): void =>
  usage.add('default', nowMs + 3_600_000, nowMs, count, count * 10);
const countOf = (usage: SharedUsage): number => usage.of('default', nowMs).count;

describe('SharedUsage', () => {
  it('of() knows within a second what other workers have accepted', async () => {
    const node = new Node(await openMemoryStore({ bytesMax: 1_000_000 }));
    const [one, other] = [node.start(0), node.start(1)];
    add(one, 3);
    add(other, 4);
    expect([countOf(one), countOf(other)]).toEqual([3, 4]);
    node.pass(1_100);
    expect([countOf(one), countOf(other)]).toEqual([7, 7]);
    node.pass(5_000);
    expect([countOf(one), countOf(other)]).toEqual([7, 7]);
  });

  it('of() knows everything in a worker that starts later, once', async () => {
    const node = new Node(await openMemoryStore({ bytesMax: 1_000_000 }));
    const [one, other] = [node.start(0), node.start(1)];
    add(one, 3);
    node.pass(1_100);
    add(other, 2);
    const successor = node.start(2);
    node.pass(1_100);
    expect([countOf(one), countOf(other), countOf(successor)]).toEqual([5, 5, 5]);
  });

  it('begin() restores what was stored before a restart, for all workers', async () => {
    const store = await openMemoryStore({ bytesMax: 1_000_000 });
    const before = new Node(store);
    const first = before.start(0);
    await first.begin(false);
    add(first, 5);
    before.pass(11_000);
    await vi.waitFor(async () => expect(await store.names()).toHaveLength(1));
    await vi.waitFor(async () =>
      expect((await (await store.open((await store.names())[0] ?? '')).places()).highWatermark).toBe(1),
    );
    const after = new Node(store);
    const [one, other] = [after.start(0), after.start(1)];
    await one.begin(true);
    expect([countOf(one), countOf(other)]).toEqual([5, 5]);
  });
});
