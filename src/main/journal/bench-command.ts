/**
 * `ringmq bench journal`: measures the store of messages on this machine's disk. It opens the journal itself, so it belongs to the
 * broker's program and not to the clients (`src/cli`). Main thread of the command's process; called by `main.ts`.
 *
 * Status: 0 ran, 1 failed or (`--judge`) a limit was not kept, 2 wrong usage.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { coldReadDefaults } from '../../workers/storage/journal-settings.ts';
import { formatJournalBench, judgeJournalBench } from './bench-report.ts';
import { type JournalBenchPlan, journalBenchParts, runJournalBench } from './bench-run.ts';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;
const mib = 1024 * 1024;

const help = `Usage: ringmq bench journal [OPTIONS]

Measures the journal: appends that are durable (fdatasync) before they are acknowledged, in turn with a bare loop of writev and
fdatasync that gets the same batches; sequential reads of what is in the page cache; and what a consumer that reads the cold
beginning of the partition does to the producer. There are two bare loops: "growing" appends to a file and syncs it through
Node's threads; "prepared" writes zeros ahead and waits for the sync itself, as the engine does: the quickest that was found.

  --seconds S      measured time of the appends, and of each loop beside them (5)
  --inflight N     records that are under way; each that is acknowledged is replaced at once (100)
  --size B         bytes of a record's value (256)
  --batch N        most records of a batch (as many as are under way: what becomes free in one turn of the event loop goes out
                   as one batch, as clients do that gather what they are given while they wait); 1: each record alone
  --only LIST      append, read, lag: some of the parts (all)
  --lag-rate MB    megabytes a second that the lagging consumer may take; auto: the pace that the broker would find with its default
                   settings; max: no pace, and reads through the page cache (auto)
  --data DIR       where to write; a folder is made in it and removed afterwards (the system's folder for temporary files)
  --judge          status 1 when a limit is not kept; the limits hold for the defaults on a machine with nothing else to do
  --smoke          a short run that judges nothing
  --json           one JSON object on standard output instead of the report
  --quiet          no progress lines
  --help           this text
`;

interface Options {
  readonly plan: Omit<JournalBenchPlan, 'folder'>;
  readonly data: string;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly isJudged: boolean;
}

/** Runs `argv`, what follows `bench journal`, and sets the exit status. */
export async function runJournalBenchCommand(argv: readonly string[]): Promise<void> {
  let options: Options | null;
  try {
    options = readOptions(argv);
  } catch (error) {
    process.stderr.write(`ringmq: ${(error as Error).message}\n`);
    process.exitCode = EXIT_USAGE;
    return;
  }
  if (options === null) {
    process.stdout.write(help);
    return;
  }
  try {
    await run(options);
  } catch (error) {
    process.stderr.write(`ringmq: ${(error as Error).message}\n`);
    process.exitCode = EXIT_FAILURE;
  }
}

async function run({ plan, data, isJson, isQuiet, isJudged }: Options): Promise<void> {
  mkdirSync(data, { recursive: true });
  const folder = mkdtempSync(join(data, 'ringmq-bench-journal-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  const onSignal = (): void => {
    remove();
    process.exit(EXIT_FAILURE);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    const result = await runJournalBench({ ...plan, folder }, (line) => {
      if (!isQuiet) process.stderr.write(`${line}\n`);
    });
    const checks = isJudged ? judgeJournalBench(result) : [];
    const machine = { cpus: cpus().length, model: cpus()[0]?.model.trim() ?? '', load: loadavg()[0], folder: data };
    if (isJson) process.stdout.write(`${JSON.stringify({ ...result, machine, checks })}\n`);
    else process.stdout.write(formatJournalBench(result, machine, checks));
    if (checks.some(({ isKept }) => !isKept)) process.exitCode = EXIT_FAILURE;
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    remove();
  }
}

/** Null when help was asked for. Throws when the command line cannot be understood. */
function readOptions(argv: readonly string[]): Options | null {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seconds: { type: 'string', default: '5' },
      inflight: { type: 'string', default: '100' },
      size: { type: 'string', default: '256' },
      batch: { type: 'string' },
      only: { type: 'string' },
      'lag-rate': { type: 'string', default: 'auto' },
      data: { type: 'string', default: tmpdir() },
      judge: { type: 'boolean', default: false },
      smoke: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      quiet: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return null;
  const { smoke, judge, json: isJson, quiet: isQuiet, data } = values;
  const inFlight = toNumber('--inflight', values.inflight, 1, 100_000);
  const plan = {
    parts: readParts(values.only),
    seconds: smoke ? 0.4 : toNumber('--seconds', values.seconds, 0.1, 3600, false),
    sliceMs: smoke ? 200 : 500,
    inFlight,
    recordBytes: toNumber('--size', values.size, 0, mib),
    batchRecords: Math.min(
      inFlight,
      values.batch === undefined ? inFlight : toNumber('--batch', values.batch, 1, 10_000),
    ),
    readBytes: (smoke ? 16 : 256) * mib,
    behindBytes: (smoke ? 16 : 1024) * mib,
    coldReads: readLagRate(values['lag-rate']),
  };
  const batchBytes = plan.batchRecords * (plan.recordBytes + 32);
  if (batchBytes > 8 * mib) {
    throw new Error('Cannot use --size with so many records in a batch: a batch would have more than 8 MiB');
  }
  return { plan, data, isJson, isQuiet, isJudged: judge && !smoke };
}

function readLagRate(text: string): JournalBenchPlan['coldReads'] {
  if (text === 'auto') return coldReadDefaults;
  if (text === 'max') return { minBytesPerS: 0, maxBytesPerS: 0 };
  const bytesPerS = toNumber('--lag-rate', text, 1, 1_000_000) * 1e6;
  return { minBytesPerS: bytesPerS, maxBytesPerS: bytesPerS };
}

function readParts(list: string | undefined): JournalBenchPlan['parts'] {
  if (list === undefined) return journalBenchParts;
  return list.split(',').map((name) => {
    const found = journalBenchParts.find((part) => part === name);
    if (found === undefined) throw new Error(`Cannot use --only "${name}": expected ${journalBenchParts.join(', ')}`);
    return found;
  });
}

function toNumber(flag: string, text: string, min: number, max: number, isWhole = true): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isFinite(value) && value >= min && value <= max && (!isWhole || Number.isInteger(value))) return value;
  throw new Error(`Cannot use ${flag} "${text}": expected a ${isWhole ? 'whole ' : ''}number from ${min} to ${max}`);
}
