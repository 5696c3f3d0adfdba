/**
 * Fuzzes a broker and prints what was done and the verdict.
 *
 *   npm run test:fuzz -- [--minutes 1 | --seconds 60] [--transport tcp|ws|uws|all] [--seed 7] [--kind TEXT] [--canary]
 *   npm run test:fuzz -- --seed 7 --transport ws --replay '123:4:bit flips' [--replay ...]
 *
 * The time is that of each transport: TCP, WebSocket by `ws` and by uWebSockets.js; `all` is the default. `--replay` plays cases again that
 * a failure names. Exit status 1 when the broker, or with `--canary` the harness, did not behave; 2: wrong usage.
 */
import { parseArgs } from 'node:util';
import { spoil } from './canary.ts';
import type { FuzzTransport } from './case.ts';
import { stateCombinations } from './cases-packets.ts';
import { casesOf, type FuzzReport, fuzz, mebibytes, type Replay } from './harness.ts';

const transports: readonly FuzzTransport[] = ['tcp', 'ws', 'uws'];

class UsageError extends Error {}

function readOptions() {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      seconds: { type: 'string' },
      transport: { type: 'string', default: 'all' },
      seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
      kind: { type: 'string' },
      replay: { type: 'string', multiple: true },
      canary: { type: 'boolean', default: false },
    },
  });
  const seconds = values.minutes === undefined ? Number(values.seconds ?? 60) : Number(values.minutes) * 60;
  if (!(seconds > 0 && seconds <= 86_400)) throw new UsageError('--seconds and --minutes take a number above 0');
  const seed = Number(values.seed);
  if (!Number.isInteger(seed)) throw new UsageError(`--seed takes a whole number, not "${values.seed}"`);
  const wanted = transports.filter((name) => values.transport === 'all' || values.transport === name);
  if (wanted.length === 0) throw new UsageError(`--transport takes tcp, ws, uws or all, not "${values.transport}"`);
  const replays = values.replay?.map(toReplay);
  if (replays !== undefined && wanted.length > 1) throw new UsageError('--replay needs one --transport');
  for (const { kind } of replays ?? []) {
    if (!wanted.some((name) => casesOf(name).some((each) => each.kind === kind))) {
      throw new UsageError(`--replay: there is no kind "${kind}" over ${values.transport}`);
    }
  }
  return { seconds, seed, wanted, replays, kind: values.kind, isCanary: values.canary };
}

function toReplay(text: string): Replay {
  const [, number, round, kind = ''] = /^(\d+):(\d+):(.+)$/.exec(text) ?? [];
  if (number === undefined) throw new UsageError(`--replay takes number:round:kind, not "${text}"`);
  return { number: Number(number), round: Number(round), kind };
}

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

async function main(): Promise<boolean> {
  const { seconds, seed, wanted, replays, kind, isCanary } = readOptions();
  let isRight = true;
  for (const transport of wanted) {
    console.log(
      `${transport}, seed ${seed}, ${seconds} s${isCanary ? ', with a broker that spoils what it sends' : ''}`,
    );
    const report = await fuzz({
      ...{ seed, seconds, transport },
      ...(kind === undefined ? {} : { kind }),
      ...(replays === undefined ? {} : { replays }),
      ...(isCanary ? { intercept: spoil } : {}),
      print: (line) => console.log(line),
    });
    print(report);
    const hasBehaved = report.failures.length === 0;
    isRight &&= hasBehaved !== isCanary;
    const verdict = hasBehaved !== isCanary ? 'PASS' : 'FAIL';
    const note = isCanary ? ' (canary: some are right)' : '';
    console.log(`${verdict}: ${report.failures.length} failures over ${transport} with seed ${seed}${note}`);
  }
  return isRight;
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  if (!(error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS')))
    throw error;
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}
