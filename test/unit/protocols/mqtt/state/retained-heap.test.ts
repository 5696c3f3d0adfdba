import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';

it('RetainedReplay of 200,000 values needs no memory for them, for five subscribers at once', async () => {
  // The values take some 110 MiB; a list of them for each subscriber would take as much again many times.
  const worker = new Worker(new URL('../../../../support/retained-heap.worker.ts', import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: 170 },
    execArgv: [],
  });
  const [{ half, rest }] = (await once(worker, 'message')) as [{ half: number[]; rest: number }];
  expect(half).toEqual(Array(5).fill(100_000));
  expect(rest).toBe(100_000);
  await worker.terminate();
}, 60_000);
