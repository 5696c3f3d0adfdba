/** What of the supervisor needs no threads; the rest is in the integration tests. */
import { describe, expect, it } from 'vitest';
import { Supervisor } from '../../../../src/main/supervision/supervisor.ts';
import type { WorkerThread } from '../../../../src/main/supervision/worker-thread.ts';
import { createLogger } from '../../../../src/observability/log.ts';

function threadOf(name: string, log: string[]): WorkerThread {
  const thread = {
    onExit: () => undefined,
    post: ({ type }: { readonly type: string }) => log.push(`${name} ${type}`),
    terminate: async () => log.push(`${name} ends`),
  };
  return thread as unknown as WorkerThread;
}

describe('Supervisor', () => {
  it('start() takes over as many warm threads as there are seats, and ends the others', async () => {
    const log: string[] = [];
    const supervisor = new Supervisor({
      workerCount: 1,
      stallLimitMs: 1_000,
      restartBackoffMs: 1_000,
      restartBackoffMaxMs: 1_000,
      heartbeats: { reset: () => undefined, stalled: () => false },
      log: createLogger({ level: 'error', format: 'text' }),
      startOf: () => ({}) as ReturnType<ConstructorParameters<typeof Supervisor>[0]['startOf']>,
      message: () => undefined,
      ready: () => undefined,
      gone: () => undefined,
    });
    void supervisor.start([threadOf('first', log), threadOf('second', log), threadOf('third', log)]);
    expect(log).toEqual(['first start', 'second ends', 'third ends']);
    await supervisor.stop(0);
    expect(log.slice(3)).toEqual(['first ends']);
  });
});
