/**
 * `npm run test:fuzz -- --seconds 60 --seed 7 [--kind TEXT] [--canary]`: fuzzes a broker and prints what was done and the
 * verdict. Exit status 1 when the broker, or with `--canary` the harness, did not behave.
 */
import { parseArgs } from 'node:util';
import { spoil } from './canary.ts';
import { stateCombinations } from './cases-packets.ts';
import { type FuzzReport, fuzz, mebibytes } from './harness.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
    kind: { type: 'string' },
    canary: { type: 'boolean', default: false },
  },
});

function print(report: FuzzReport): void {
  let total = 0;
  for (const [kind, count] of report.counts) {
    console.log(`${String(count).padStart(8)}  ${kind}`);
    total += count;
  }
  console.log(`${String(total).padStart(8)}  cases in all`);
  console.log(`${report.combinationsTried} of ${stateCombinations.length} combinations of packet, state and level`);
  console.log(`${report.messagesSeen} numbered messages, ${report.packetsWatched} watched packets`);
  for (const { when, residentBytes, usedBytes } of report.memory) {
    console.log(`at the ${when} ${mebibytes(residentBytes)} MiB resident, ${mebibytes(usedBytes)} MiB in use`);
  }
}

const seed = Number(values.seed);
const seconds = Number(values.seconds);
if (!Number.isInteger(seed) || !(seconds > 0)) throw new Error('--seed takes a whole number, --seconds a positive one');
console.log(`seed ${seed}, ${seconds} s${values.canary ? ', with a broker that spoils what it sends' : ''}`);
const report = await fuzz({
  seed,
  seconds,
  ...(values.kind === undefined ? {} : { kind: values.kind }),
  ...(values.canary ? { intercept: spoil } : {}),
  print: (line) => console.log(line),
});
print(report);
const behaved = report.failures.length === 0;
const isRight = behaved !== values.canary;
console.log(
  `${isRight ? 'PASS' : 'FAIL'}: ${report.failures.length} failures with seed ${seed}${values.canary ? ' (canary: some are right)' : ''}`,
);
process.exitCode = isRight ? 0 : 1;
