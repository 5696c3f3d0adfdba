/** Which worker opens what, and up to where message logs are cut. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { InterestTable } from '../../../../src/core/routing/interest-table.ts';
import { SessionService } from '../../../../src/main/sessions/session-service.ts';
import { createLogger } from '../../../../src/observability/log.ts';
import type { SessionsToWorker } from '../../../../src/workers/session-messages.ts';

class Node {
  live = [0, 1];
  names: readonly string[] | Error = [];
  readonly sent: [number, SessionsToWorker][] = [];
  readonly opened: number[] = [];
  hasBegun = false;
  readonly service = new SessionService({
    workerCount: 2,
    settings: {
      partitions: 1,
      limits: { countMax: 1, bytesMax: 1, ageMsMax: 1, overflow: 'drop-oldest' },
      logBytesMax: 1,
      sessionsMax: 1,
      groups: {
        limits: { countMax: 1, bytesMax: 1, ageMsMax: 1, overflow: 'drop-oldest' },
        ...{ groupsMax: 1, openMax: 1, waitingMax: 1, creditMax: 1, emptyMs: 0 },
      },
    },
    interestBitmapBytes: 1_024,
    store: {
      names: () => (this.names instanceof Error ? Promise.reject(this.names) : Promise.resolve(this.names)),
    },
    log: createLogger({ level: 'error', format: 'text', write: () => undefined }),
    liveWorkers: () => this.live,
    post: (worker, message) => this.sent.push([worker, message]),
    opened: (worker) => this.opened.push(worker),
    allOpened: () => {
      this.hasBegun = true;
    },
  });

  take(): [number, SessionsToWorker][] {
    return this.sent.splice(0);
  }
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

async function opened(names: readonly string[]): Promise<Node> {
  const node = new Node();
  node.names = names;
  const opening = node.service.open();
  await vi.advanceTimersByTimeAsync(0);
  for (const worker of node.live) node.service.handle(worker, { type: 'sessions-opened', problem: null });
  await opening;
  return node;
}

describe('SessionService', () => {
  it('open() gives slots to the workers of their numbers, and those of former ones round the others', async () => {
    const node = await opened(['orders', '__sessions.0', '__sessions.3', '__sessions.4', '__messages.0']);
    expect(node.take()).toEqual([
      [0, { type: 'sessions-open', slots: [0, 4] }],
      [1, { type: 'sessions-open', slots: [3] }],
    ]);
    expect(node.opened).toEqual([0, 1]);
    expect(node.hasBegun).toBe(true);
  });

  it('open() goes on without a storage that does not answer, and asks it again', async () => {
    const node = new Node();
    node.names = new Error('away');
    await node.service.open();
    expect(node.take()).toEqual([]);
    node.names = [];
    await vi.advanceTimersByTimeAsync(1_100);
    expect(node.take()).toHaveLength(2);
    node.service.stop();
  });

  it('cuts at the lowest offset of all workers in this round and the one before', async () => {
    const node = await opened([]);
    node.service.handle(0, { type: 'sessions-begun' });
    const round = async (...floors: (readonly number[] | null)[]): Promise<[number, SessionsToWorker][]> => {
      node.take();
      await vi.advanceTimersByTimeAsync(10_000);
      const asked = node.take().map(([, message]) => message);
      const { round: number } = asked[0] as { round: number };
      for (const [worker, each] of floors.entries())
        node.service.handle(worker, { type: 'sessions-floors', round: number, floors: each });
      return node.take();
    };
    expect(await round([50], null)).toEqual([]);
    expect(await round([90], [70])).toEqual([[0, { type: 'sessions-trim', floors: [50] }]]);
    expect(await round([90], [80])).toEqual([[0, { type: 'sessions-trim', floors: [70] }]]);
    // One does not answer: what it needs nobody knows.
    expect(await round([100])).toEqual([]);
    node.service.workerGone(1);
    node.live = [0];
    await vi.advanceTimersByTimeAsync(10_000);
    expect(node.take()).toEqual([]);
    node.service.stop();
  });

  it('workerGone() keeps what the worker wanted in force when it had sessions, and only then', async () => {
    const node = await opened([]);
    node.service.handle(1, { type: 'sessions-begun' });
    const view = new InterestTable(node.service.workerStart.interest, 0);
    node.service.workerGone(1);
    view.workersFor('any');
    expect(view.maskLow).toBe(2);
    const other = new InterestTable(node.service.workerStart.interest, 1);
    node.service.workerGone(0);
    other.workersFor('any');
    expect(other.maskLow).toBe(0);
    node.service.stop();
  });
});
