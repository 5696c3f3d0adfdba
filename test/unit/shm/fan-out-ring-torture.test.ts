/** The ring between real threads: every record arrives once, in order and intact, whoever is slow, dies or comes back. */
import { describe, expect, it } from 'vitest';
import { sleepMs, Torture, type TortureOptions } from '../../support/shm/torture.ts';
import type { TortureFault } from '../../support/shm/torture.worker.ts';

/** Seconds per run; `TORTURE_SECONDS=600 vitest run test/unit/shm` is a night's work. */
const seconds = Number(process.env['TORTURE_SECONDS'] ?? '1.5');
const timeoutMs = seconds * 1000 + 30_000;
const base: TortureOptions = { threadCount: 3, capacityBytes: 16 * 1024, mode: 'poll', durationMs: seconds * 1000 };

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

describe('fan-out ring under torture', () => {
  it('RingConsumer.next() finds every record intact between spinning threads', { timeout: timeoutMs }, async () => {
    // Starts a few rounds before the position wraps at 2^32.
    const torture = await Torture.start({ ...base, positionStart: 2 ** 32 - 10_000 });
    const reports = await torture.finish();
    // Two out of three threads, half of the records each; refusals show that full rings were part of it.
    expect(sum(reports.map((report) => report.published))).toBeGreaterThan(1000);
    expect(sum(reports.map((report) => report.checked))).toBeGreaterThan(1000);
    expect(sum(reports.map((report) => report.refused))).toBeGreaterThan(0);
  });

  it('Doorbell.ring() loses no wake-up between threads that sleep', { timeout: timeoutMs }, async () => {
    const torture = await Torture.start({ ...base, mode: 'events', threadCount: 4, capacityBytes: 8 * 1024 });
    const reports = await torture.finish();
    expect(sum(reports.map((report) => report.checked))).toBeGreaterThan(1000);
    expect(sum(reports.map((report) => report.sleeps))).toBeGreaterThan(10);
    expect(sum(reports.map((report) => report.refused))).toBeGreaterThan(0);
  });

  it.each(['poll', 'events'] as const)(
    'RingProducer() goes on after a thread that died anywhere (%s)',
    { timeout: timeoutMs },
    async (mode) => {
      const torture = await Torture.start({ ...base, mode });
      try {
        for (let round = 0; round < 4; round++) {
          await sleepMs((seconds * 1000) / 8);
          await torture.replace(round % 3);
        }
      } catch (error) {
        await torture.stop();
        throw error;
      }
      const reports = await torture.finish();
      expect(sum(reports.map((report) => report.checked))).toBeGreaterThan(1000);
    },
  );

  it('RingProducer() goes on after one that died in the middle of a record', { timeout: timeoutMs }, async () => {
    const torture = await Torture.start({ ...base, mode: 'events', durationMs: 1000 }, 1, 777);
    try {
      await torture.held(1);
      await torture.replace(1);
    } catch (error) {
      await torture.stop();
      throw error;
    }
    const reports = await torture.finish();
    expect(sum(reports.map((report) => report.checked))).toBeGreaterThan(777);
  });

  const faults: [TortureFault, RegExp][] = [
    ['release-early', /corrupt|is next|wrong length|not for|before the restart|is missing|ring record/],
    ['publish-early', /corrupt/],
    ['read-unpublished', /ring record|published cursor/],
    ['lose-record', /is next|is missing|corrupt/],
    ['wrong-mask', /not for|is next/],
  ];
  it.each(faults)(
    'Torture.finish() fails when a thread does this: %s',
    { timeout: timeoutMs },
    async (fault, message) => {
      const torture = await Torture.start({ ...base, capacityBytes: 4096, fault, durationMs: 5000 });
      await expect(torture.finish()).rejects.toThrow(message);
    },
  );
});
