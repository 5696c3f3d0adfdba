import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { judgeGrowth, type SoakSample } from './soak-judge.ts';
import { runSoak } from './soak-run.ts';

const mebibyte = 1024 * 1024;

it('the storage of a broker serves load, consumers find what was sent: 3 seconds', { timeout: 120_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-soak-test-'));
  try {
    const { counts, samples } = await runSoak({
      folder,
      seconds: 3,
      sampleSeconds: 1,
      streams: 2,
      retentionBytes: 16 * mebibyte,
      segmentBytes: 2 * mebibyte,
      churnEveryMs: 500,
      onSample: () => undefined,
    });
    expect(counts.problems).toEqual([]);
    expect(samples).toHaveLength(3);
    expect(counts.acknowledged).toBeGreaterThan(1_000);
    expect(counts.verified).toBeGreaterThan(1_000);
    expect(counts.coldVerified).toBeGreaterThan(0);
    expect(counts.churned).toBeGreaterThan(0);
    expect(samples.at(-1)?.journalHeapBytes).toBeGreaterThan(mebibyte);
    expect(readdirSync(folder)).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function samplesOf(rssOf: (seconds: number) => number, descriptorsOf: (seconds: number) => number): SoakSample[] {
  return Array.from({ length: 60 }, (_, number) => {
    const seconds = (number + 1) * 10;
    const noise = (number % 3) * mebibyte * 10;
    return {
      ...{ seconds, recordsPerS: 1, readPerS: 1, coldPerS: 1, diskReadPerS: 1, paceBytesPerS: 1, p99Us: 1 },
      ...{ rssBytes: rssOf(seconds) + noise, heapBytes: 1, journalHeapBytes: 1, externalBytes: 1, arrayBufferBytes: 1 },
      ...{ descriptors: descriptorsOf(seconds) + (number % 5), segments: 1, diskBytes: 1 },
    };
  });
}

function grown(samples: readonly SoakSample[]): string[] {
  return (judgeGrowth(samples) ?? []).filter(({ growth, limit }) => growth > limit).map(({ what }) => what);
}

it('judgeGrowth() takes no offence at noise and at what happens in the first fifth', () => {
  expect(
    grown(
      samplesOf(
        (seconds) => Math.min(500, seconds * 5) * mebibyte,
        () => 80,
      ),
    ),
  ).toEqual([]);
});

it('judgeGrowth() sees memory that grows by 100 MiB in ten minutes, and descriptors that grow by 40', () => {
  const growing = samplesOf(
    (seconds) => (500 + seconds / 6) * mebibyte,
    (seconds) => 80 + seconds / 15,
  );
  expect(grown(growing)).toEqual(['resident bytes', 'descriptors']);
});

it('judgeGrowth() says nothing about a run that was too short', () => {
  expect(
    judgeGrowth(
      samplesOf(
        () => 1,
        () => 1,
      ).slice(0, 8),
    ),
  ).toBeNull();
});
