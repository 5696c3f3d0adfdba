// The run of a million delayed messages, small, over disks that lose power.
import { expect, it } from 'vitest';
import { DelayedRun } from '../../../journal/delayed-run.ts';
import { CrashingStore } from '../../../support/crashing-store.ts';

it('DelayedMessages write many messages within one tick, in order and once when the power goes twice', async () => {
  let disks: CrashingStore | null = null;
  const run = new DelayedRun({
    messages: 4000,
    seconds: 8,
    seed: 7,
    bodyBytes: 100,
    targets: 3,
    restarts: 2,
    tickMs: 10,
    open: async (now) => {
      disks = new CrashingStore(7, now);
      return disks.store;
    },
    restart: async () => disks!.crash(),
  });
  const result = await run.run();
  expect(result.written).toBe(4000);
  expect(result.latenessMsMax).toBeLessThan(10);
  await disks!.close();
}, 30_000);
