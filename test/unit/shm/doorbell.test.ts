import { Worker } from 'node:worker_threads';
import { describe, expect, it, vi } from 'vitest';
import { createDoorbells, Doorbell } from '../../../src/shm/doorbell.ts';
import { createRing } from '../../../src/shm/fan-out-ring.ts';
import { sleepMs } from '../../support/shm/torture.ts';
import type { WakeWorkerData } from '../../support/shm/wake.worker.ts';

async function eventually(condition: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadlineMs) throw new Error('Cannot wait longer: the condition does not come true');
    await sleepMs(2);
  }
}

/** Runs writer and reader until both are done, or one record count stays the same for `stallMs`; how many were read. */
async function runPair(records: number, stallMs: number, blind: 'writer' | 'reader' | 'nobody'): Promise<number> {
  const shared = {
    ring: createRing(256, 2),
    doorbells: createDoorbells(2),
    progress: new SharedArrayBuffer(4),
    records,
  };
  const progress = new Int32Array(shared.progress);
  let readyCount = 0;
  let doneCount = 0;
  let failure: unknown;
  const workers = (['reader', 'writer'] as const).map((role) => {
    const workerData: WakeWorkerData = { ...shared, role, blind: role === blind };
    const worker = new Worker(new URL('../../support/shm/wake.worker.ts', import.meta.url), { workerData });
    worker.on('message', (message: string) => {
      if (message === 'ready') readyCount++;
      else doneCount++;
    });
    worker.on('error', (error) => {
      failure = error;
    });
    return worker;
  });
  await eventually(() => readyCount === 2 || failure !== undefined);
  for (const worker of workers) worker.postMessage('go');
  let seen = 0;
  let seenAtMs = Date.now();
  while (doneCount < 2 && failure === undefined && Date.now() - seenAtMs < stallMs) {
    await sleepMs(10);
    const now = Atomics.load(progress, 0);
    // The time before the first record is start-up and no stall.
    if (now !== seen || now === 0) seenAtMs = Date.now();
    seen = now;
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  if (failure !== undefined) throw failure;
  return Atomics.load(progress, 0);
}

describe('Doorbell', () => {
  it('ring() calls the listener of a thread that sleeps, once per sleep', async () => {
    const buffer = createDoorbells(2);
    const sleeper = new Doorbell(buffer, 0);
    const ringer = new Doorbell(buffer, 1);
    let rings = 0;
    sleeper.listen(() => rings++);
    for (let round = 1; round <= 3; round++) {
      expect(sleeper.sleep()).toBe(true);
      ringer.ring(0);
      ringer.ring(0);
      await eventually(() => rings === round);
    }
    await sleepMs(20);
    expect(rings).toBe(3);
    sleeper.close();
  });

  it('ring() does nothing to a thread that is awake', async () => {
    const buffer = createDoorbells(2);
    const sleeper = new Doorbell(buffer, 0);
    const ringer = new Doorbell(buffer, 1);
    let rings = 0;
    sleeper.listen(() => rings++);
    ringer.ring(0);
    sleeper.sleep();
    sleeper.awake();
    ringer.ring(0);
    await sleepMs(20);
    expect(rings).toBe(0);
    sleeper.close();
  });

  it('ring() reaches a thread that sleeps again within its listener', async () => {
    const buffer = createDoorbells(2);
    const sleeper = new Doorbell(buffer, 0);
    const ringer = new Doorbell(buffer, 1);
    let rings = 0;
    sleeper.listen(() => {
      rings++;
      sleeper.sleep();
      if (rings < 100) ringer.ring(0);
    });
    sleeper.sleep();
    ringer.ring(0);
    await eventually(() => rings === 100);
    sleeper.close();
  });

  it('sleep() returns false when nobody listens', () => {
    const bell = new Doorbell(createDoorbells(1), 0);
    expect(bell.sleep()).toBe(false);
    bell.listen(() => {});
    expect(bell.sleep()).toBe(true);
    bell.close();
    expect(bell.sleep()).toBe(false);
  });

  it('close() ends the calls, also of a ring that is under way', async () => {
    const buffer = createDoorbells(2);
    const sleeper = new Doorbell(buffer, 0);
    let rings = 0;
    sleeper.listen(() => rings++);
    sleeper.sleep();
    new Doorbell(buffer, 1).ring(0);
    sleeper.close();
    await sleepMs(20);
    expect(rings).toBe(0);
  });

  it('rouseAll() wakes a thread whose ringer died between clearing its flag and notifying', async () => {
    const buffer = createDoorbells(2);
    const sleeper = new Doorbell(buffer, 0);
    let rings = 0;
    sleeper.listen(() => rings++);
    sleeper.sleep();
    const notify = vi.spyOn(Atomics, 'notify').mockImplementation(() => {
      throw new Error('the ringer dies here');
    });
    expect(() => new Doorbell(buffer, 1).ring(0)).toThrow('the ringer dies here');
    notify.mockRestore();
    new Doorbell(buffer, 1).ring(0);
    await sleepMs(20);
    expect(rings).toBe(0);
    Doorbell.rouseAll(buffer);
    await eventually(() => rings === 1);
    sleeper.close();
  });

  it('Doorbell() over the line of a thread that died asleep starts awake', async () => {
    const buffer = createDoorbells(2);
    new Doorbell(buffer, 0).sleep();
    const successor = new Doorbell(buffer, 0);
    let rings = 0;
    successor.listen(() => rings++);
    new Doorbell(buffer, 1).ring(0);
    await sleepMs(20);
    expect(rings).toBe(0);
    successor.close();
  });

  it('ring() and sleep() lose no wake-up between a writer and a reader that wait for each other', async () => {
    expect(await runPair(100_000, 8000, 'nobody')).toBe(100_000);
  });

  it.each(['writer', 'reader'] as const)(
    'runPair() hangs when the %s does not look again after sleep()',
    async (blind) => {
      const records = await runPair(1_000_000, 500, blind);
      expect(records).toBeGreaterThan(0);
      expect(records).toBeLessThan(1_000_000);
    },
  );
});
