/**
 * Many connections that ping, subscribe, are published to, and go and come back, while one subscriber never reads and one reads a byte a
 * second in every second phase.
 *
 *   node test/endurance/connections.ts [--connections 18000] [--minutes 10] [--churn 10] [--publishes 500] [--keep-alive 60] [--ramp 1500]
 *                                      [--phase 20] [--workers 2] [--json]
 *
 * `--churn`: per cent of the connections a second. `--phase`: seconds of each phase; a quarter of it is not measured. A line for each sample
 * and each round; `--json`: one JSON object for each, and one at the end. Needs Linux, and about as many file descriptors as connections:
 * as root it raises the limit for its processes, otherwise it says what to do.
 *
 * Status 0: no connection was lost, refused or left without its answers; memory (by more than 5 % and 32 MiB) and descriptors (by more than
 * 1 % and 20) did not grow after the first fifth of the time; p99 of no class of messages, all phases but the first ones taken together,
 * was more than 1.2 times as long with the slow subscribers; afterwards everything was let go. 1: something of this did not hold, the load was not there,
 * or the machine was too busy to tell; 2: wrong usage.
 */
import process from 'node:process';
import { parseArgs } from 'node:util';
import { type EnduranceLine, type EnduranceOptions, runEndurance } from './connections-run.ts';
import { compareLatency, judgeGrowth } from './judge.ts';
import { type ProbeClass, type ProbeFigures, probeClasses } from './probe-messages.ts';
import { findFaults } from './verdict.ts';

const mebibyte = 1024 * 1024;

function readOptions() {
  const { values } = parseArgs({
    options: {
      connections: { type: 'string', default: '18000' },
      minutes: { type: 'string', default: '10' },
      churn: { type: 'string', default: '10' },
      publishes: { type: 'string', default: '500' },
      'keep-alive': { type: 'string', default: '60' },
      ramp: { type: 'string', default: '1500' },
      phase: { type: 'string', default: '20' },
      workers: { type: 'string', default: '2' },
      json: { type: 'boolean', default: false },
    },
  });
  const minutes = toNumber('--minutes', values.minutes, 24 * 60);
  // Five rounds at the least.
  const phaseSeconds = Math.min(toNumber('--phase', values.phase, 600), (minutes * 60) / 10);
  const options: EnduranceOptions = {
    connections: Math.round(toNumber('--connections', values.connections, 1_000_000)),
    seconds: minutes * 60,
    churnShare: toNumber('--churn', values.churn, 100) / 100,
    rampPerS: toNumber('--ramp', values.ramp, 100_000),
    keepAliveS: toNumber('--keep-alive', values['keep-alive'], 65_535),
    publishesPerS: toNumber('--publishes', values.publishes, 100_000),
    phaseSeconds,
    settleSeconds: phaseSeconds / 4,
    sampleSeconds: Math.max(1, Math.min(5, minutes)),
    workers: Math.round(toNumber('--workers', values.workers, 64)),
    onLine: (line) => process.stdout.write(`${values.json ? JSON.stringify(line) : textOf(line)}\n`),
  };
  return { options, isJson: values.json };
}

function toNumber(flag: string, text: string, max: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (value > 0 && value <= max) return value;
  throw new Error(`Cannot use ${flag} "${text}": expected a number above 0, up to ${max}`);
}

function textOf(line: EnduranceLine): string {
  if (line.kind === 'round') {
    const p99 = (figures: Readonly<Record<ProbeClass, ProbeFigures>>): string =>
      probeClasses.map((name) => `${figures[name].p99Us}`).join(' / ');
    return `round: p99 ${p99(line.round.without)} us without, ${p99(line.round.withSlow)} us with slow subscribers`;
  }
  const { sample, load } = line;
  return [
    `${sample.seconds.toFixed(0)} s: ${load.open} open, ${load.reconnects} reconnects (slowest ${load.slowestConnectMs} ms),`,
    `${load.pings} pings, ${load.published} published, ${load.verified} checked, ${load.delivered} delivered,`,
    `rss ${(sample.rssBytes / mebibyte).toFixed(1)} MiB, ${sample.descriptors} descriptors`,
  ].join(' ');
}

async function main(): Promise<boolean> {
  const { options, isJson } = readOptions();
  const result = await runEndurance(options);
  const faults = findFaults(options, result);
  const [growths, comparisons] = [judgeGrowth(result.samples), compareLatency(result.pooled)];
  if (isJson) {
    const { samples: _, rounds: __, ...figures } = result;
    process.stdout.write(`${JSON.stringify({ kind: 'end', ...figures, growths, comparisons, faults })}\n`);
    return faults.length === 0;
  }
  const { load, churnSeconds, droppedForSlow, slowBytes, probesReceived } = result;
  const lines = [
    `${load.reconnects} reconnects, ${Math.round(load.reconnects / churnSeconds)} a second; ${probesReceived} probes`,
    `slow subscribers: ${droppedForSlow} messages dropped for them, ${slowBytes} bytes read by the one that reads`,
    ...(growths ?? []).map(({ what, quarters, growth, limit }) => {
      return `${what}: ${quarters.map(Math.round).join(', ')} in the quarters; grew by ${Math.round(growth)}, allowed ${Math.round(limit)}`;
    }),
    ...(growths === null ? ['too short to judge growth'] : []),
    ...(comparisons ?? []).map(({ name, withoutUs, withSlowUs, ratio, noise }) => {
      return `${name}: p99 ${withoutUs} us without, ${withSlowUs} us with slow subscribers; ratio ${ratio.toFixed(2)}, by itself it differs by ${noise.toFixed(2)}`;
    }),
    ...(comparisons === null ? ['too short to compare p99'] : []),
    faults.length === 0 ? 'everything held' : `${faults.length} PROBLEMS`,
    ...faults.slice(0, 30).map((fault) => `- ${fault}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  return faults.length === 0;
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = error instanceof Error && error.message.startsWith('Cannot use --') ? 2 : 1;
}
