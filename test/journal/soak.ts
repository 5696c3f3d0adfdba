/**
 * The storage of a broker at full load for some time: memory and descriptors must stay as they are.
 *
 *   node test/journal/soak.ts [--minutes 30] [--every 10] [--dir DIR] [--json]
 *
 * A line each `--every` seconds, in MiB where nothing else is said; `--json`: one JSON object for each, and one at the end. Up to 2 GiB are
 * written below `--dir` (default: the system's folder for temporary files), which should be on a real disk, and are removed at the end.
 * Status 0: everything that was read was what had been sent, and neither resident memory (by more than 5 % and 32 MiB) nor descriptors
 * (by more than 20) grew after the first fifth of the time; 1: something did, or nothing was read; 2: wrong usage.
 */
import { tmpdir } from 'node:os';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { judgeGrowth, type SoakSample } from './soak-judge.ts';
import { runSoak } from './soak-run.ts';

const mebibyte = 1024 * 1024;

function readOptions() {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '30' },
      every: { type: 'string', default: '10' },
      dir: { type: 'string', default: tmpdir() },
      json: { type: 'boolean', default: false },
    },
  });
  return {
    minutes: toNumber('--minutes', values.minutes, 24 * 60),
    every: toNumber('--every', values.every, 3600),
    folder: values.dir,
    isJson: values.json,
  };
}

function toNumber(flag: string, text: string, max: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (value > 0 && value <= max) return value;
  throw new Error(`Cannot use ${flag} "${text}": expected a number above 0, up to ${max}`);
}

function lineOf(sample: SoakSample): string {
  const mib = (bytes: number): string => (bytes / mebibyte).toFixed(1);
  return [
    `${sample.seconds.toFixed(0)} s:`,
    `${sample.recordsPerS} records/s, read ${sample.readPerS}/s, cold ${sample.coldPerS}/s` +
      ` (disk ${mib(sample.diskReadPerS)}/s of ${mib(sample.paceBytesPerS)}), p99 ${sample.p99Us} us,`,
    `rss ${mib(sample.rssBytes)}, heap ${mib(sample.heapBytes)}, of the journal ${mib(sample.journalHeapBytes)},`,
    `external ${mib(sample.externalBytes)}, buffers ${mib(sample.arrayBufferBytes)},`,
    `${sample.descriptors} descriptors, ${sample.segments} segments, ${mib(sample.diskBytes)} on disk`,
  ].join(' ');
}

async function main(): Promise<boolean> {
  const { minutes, every, folder, isJson } = readOptions();
  const { counts, samples } = await runSoak({
    folder,
    seconds: minutes * 60,
    sampleSeconds: every,
    streams: 4,
    retentionBytes: 256 * mebibyte,
    segmentBytes: 32 * mebibyte,
    churnEveryMs: 2_000,
    onSample: (sample) => process.stdout.write(`${isJson ? JSON.stringify(sample) : lineOf(sample)}\n`),
  });
  const { latency, problems, ...figures } = counts;
  const growths = judgeGrowth(samples);
  const grown = (growths ?? []).filter(({ growth, limit }) => growth > limit);
  const wrong = [
    ...problems,
    ...grown.map(({ what, growth, limit }) => `${what} grew by ${Math.round(growth)}, allowed ${Math.round(limit)}`),
  ];
  if (counts.acknowledged === 0) wrong.push('nothing was acknowledged');
  if (counts.verified === 0 || counts.coldVerified === 0) wrong.push('nothing was read, or nothing cold');
  if (isJson) process.stdout.write(`${JSON.stringify({ ...figures, growths, wrong })}\n`);
  else {
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    for (const { what, growth, limit } of growths ?? []) {
      process.stdout.write(`${what}: grew by ${Math.round(growth)}, allowed ${Math.round(limit)}\n`);
    }
    if (growths === null) process.stdout.write('too short to judge growth\n');
    process.stdout.write(wrong.length === 0 ? 'everything held\n' : `${wrong.length} PROBLEMS\n`);
    for (const text of wrong.slice(0, 20)) process.stdout.write(`- ${text}\n`);
  }
  return wrong.length === 0;
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = error instanceof Error && error.message.startsWith('Cannot use --') ? 2 : 1;
}
