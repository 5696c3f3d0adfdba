/** The endurance program for some seconds, and that its verdict sees what it is for. The long run is `connections.ts`. */
import { expect, it } from 'vitest';
import { type EnduranceOptions, type EnduranceResult, runEndurance } from './connections-run.ts';
import { compareLatency, type EnduranceSample, judgeGrowth } from './judge.ts';
import { type Pooled, type PooledFigures, type ProbeClass, probeClasses } from './probe-messages.ts';
import { findFaults } from './verdict.ts';

const mebibyte = 1024 * 1024;
const options: EnduranceOptions = {
  ...{ connections: 200, seconds: 1.6, churnShare: 0.1, rampPerS: 2_000, keepAliveS: 10, publishesPerS: 100 },
  ...{ phaseSeconds: 0.4, settleSeconds: 0.1, sampleSeconds: 0.4, workers: 2 },
  onLine: () => undefined,
};

it('200 connections come and go, ping and get their messages: 2 seconds', { timeout: 90_000 }, async () => {
  const result = await runEndurance(options);
  // How many there are in a time is the machine's affair here.
  const faults = findFaults(options, result).filter((fault) => !fault.startsWith('the load did not keep up'));
  expect(faults).toEqual([]);
  expect(result.load.reconnects).toBeGreaterThan(3);
  expect(result.load.verified).toBeGreaterThan(10);
  expect(result.load.pings).toBeGreaterThan(5);
  expect(result.rounds).toHaveLength(2);
  expect(result.samples.length).toBeGreaterThan(2);
  for (const { without, withSlow } of result.rounds) {
    for (const name of probeClasses) {
      expect(without[name].count, name).toBeGreaterThan(0);
      expect(withSlow[name].count, name).toBeGreaterThan(0);
    }
  }
});

/** p99 of all, and of the two halves of what was measured without slow subscribers. */
function pooledOf(ratio: number, [even, odd] = [100, 120], count = 5_000): Pooled {
  const of = (factor: number): Record<ProbeClass, PooledFigures> => {
    const figures = (p99Us: number) => ({ count, p50Us: 1, p99Us: p99Us * factor });
    const both: PooledFigures = { all: figures(110), halves: [figures(even), figures(odd)] };
    return Object.fromEntries(probeClasses.map((name) => [name, both])) as Record<ProbeClass, PooledFigures>;
  };
  return { without: of(1), withSlow: of(ratio) };
}

const aRound = { without: figuresOfRound(), withSlow: figuresOfRound() };

function figuresOfRound(): EnduranceResult['rounds'][number]['without'] {
  const figures = { count: 1_000, p50Us: 1, p99Us: 100 };
  return Object.fromEntries(probeClasses.map((name) => [name, figures])) as Record<ProbeClass, typeof figures>;
}

function resultOf(more: Partial<EnduranceResult>): EnduranceResult {
  const load = {
    open: 200,
    connects: 300,
    reconnects: 100,
    published: 500,
    acknowledged: 500,
    delivered: 600,
    verified: 500,
  };
  return {
    ...{ samples: [], rounds: [aRound], pooled: pooledOf(1) },
    ...{ load: { ...load, pings: 10, slowestConnectMs: 1 }, churnSeconds: 5 },
    ...{
      probesSent: 10,
      probesReceived: 10,
      droppedForSlow: 5,
      droppedOtherwise: 0,
      slowBytes: 9,
      problems: [],
      ...more,
    },
  };
}

function samplesOf(rssOf: (seconds: number) => number, descriptors = (_: number) => 300): EnduranceSample[] {
  return Array.from({ length: 60 }, (_, number) => {
    const seconds = (number + 1) * 10;
    return {
      seconds,
      rssBytes: rssOf(seconds) + (number % 3) * 10 * mebibyte,
      descriptors: descriptors(seconds) + (number % 5),
    };
  });
}

it('findFaults() says nothing of a run in which everything held', () => {
  expect(findFaults(options, resultOf({ samples: samplesOf(() => 400 * mebibyte) }))).toEqual([]);
});

it('findFaults() sees p99 that is 1.3 times as long with slow subscribers, and takes no offence at 1.1', () => {
  expect(findFaults(options, resultOf({ pooled: pooledOf(1.3) })).join()).toMatch(/1\.30 times as long/);
  expect(findFaults(options, resultOf({ pooled: pooledOf(1.1) }))).toEqual([]);
});

it('findFaults() refuses a verdict when p99 jumps by itself', () => {
  expect(findFaults(options, resultOf({ pooled: pooledOf(1, [10, 100]) })).join()).toMatch(/machine this busy/);
});

it('findFaults() sees a load that was not there', () => {
  const idle = resultOf({ probesReceived: 0, droppedForSlow: 0, slowBytes: 0 });
  const { load } = idle;
  const faults = findFaults(options, {
    ...idle,
    load: { ...load, open: 0, reconnects: 0, published: 0, delivered: 0, acknowledged: 0, verified: 0 },
  });
  expect(faults.join()).toMatch(
    /did not keep up.*0 connections.*nothing was delivered.*no probe.*never made.*read nothing/,
  );
});

it('findFaults() sees messages that were dropped while nobody was slow', () => {
  expect(findFaults(options, resultOf({ droppedOtherwise: 3 })).join()).toMatch(/3 messages were dropped/);
});

it('compareLatency() says nothing about few messages', () => {
  expect(compareLatency(pooledOf(2, [100, 100], 500))).toBeNull();
  expect(compareLatency(pooledOf(2))?.map(({ ratio }) => ratio)).toEqual([2, 2, 2, 2]);
});

it('judgeGrowth() sees memory that grows by 100 MiB in ten minutes, and descriptors that grow by 40', () => {
  const samples = samplesOf(
    (seconds) => (500 + seconds / 6) * mebibyte,
    (seconds) => 300 + seconds / 12,
  );
  const grown = (judgeGrowth(samples) ?? []).filter(({ growth, limit }) => growth > limit);
  expect(grown.map(({ what }) => what)).toEqual(['resident bytes', 'descriptors']);
});

it('judgeGrowth() takes no offence at noise and at what happens in the first fifth', () => {
  const growths = judgeGrowth(samplesOf((seconds) => Math.min(500, seconds * 5) * mebibyte));
  expect((growths ?? []).filter(({ growth, limit }) => growth > limit)).toEqual([]);
});
