/** Routers on real threads over small rings: everything arrives everywhere, once, whole and in order. */
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { createRouterShared } from '../../../../src/core/broker/router-shared.ts';
import type { StormReport, StormStart } from '../../../support/router-storm.worker.ts';

it('publish() loses, doubles, reorders and damages nothing between three threads', { timeout: 30_000 }, async () => {
  const workerCount = 3;
  const publications = 10_000;
  const shared = createRouterShared({ workerCount, ringBytes: 16_384, interestBitmapBytes: 1024 });
  const ready = new SharedArrayBuffer(4);
  const threads = Array.from({ length: workerCount }, (_, workerIndex) => {
    const start: StormStart = { shared, workerIndex, workerCount, publications, ready };
    return new Worker(new URL('../../../support/router-storm.worker.ts', import.meta.url), { workerData: start });
  });
  try {
    const reports = await Promise.all(
      threads.map(
        (thread) =>
          new Promise<StormReport>((resolve, reject) => thread.once('message', resolve).once('error', reject)),
      ),
    );
    for (const { received, faults } of reports) {
      expect(faults).toEqual([]);
      expect(received).toBe(publications * workerCount);
    }
    // A storm that met no full ring has shown nothing of back-pressure.
    expect(reports.reduce((sum, { held }) => sum + held, 0)).toBeGreaterThan(0);
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
});
