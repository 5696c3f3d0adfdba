/**
 * `ringmq ctl journal verify` and `dump`: the journal's files without a broker. Nothing is changed. They open data folders, so they
 * belong to the broker's program and not to the clients (`src/cli`). Main thread of the command's process; called by `main.ts`.
 *
 * Status: 0 all is well, 1 something is damaged, or the command failed, 2 wrong usage.
 */
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { loadConfiguration } from '../../config/load.ts';
import type { ObjectStore } from '../../core/ports/object-store.ts';
import { type Dumped, dumpPartition } from '../../journal/offline/dump.ts';
import { findPartitions, OfflinePartition } from '../../journal/offline/offline-partition.ts';
import { type JournalProblem, type PartitionSummary, verifyPartition } from '../../journal/offline/verify.ts';
import { type TierSummary, verifyTier } from '../../journal/offline/verify-tier.ts';
import type { JournalSettings } from '../../workers/storage/journal-settings.ts';
import { openTierObjects } from '../../workers/storage/tier-settings.ts';
import { findDataFolderOwner } from '../data-folder.ts';
import { dumpedJson, dumpedText } from './dump-format.ts';

const EXIT_DAMAGED = 1;
const EXIT_USAGE = 2;

const help = `Usage: ringmq ctl journal verify --data DIR [OPTIONS]
       ringmq ctl journal dump --data DIR [OPTIONS]

verify  reads all files of the journal, and names each thing that is wrong by partition, file, position and offset
dump    prints records: offset, time, key, headers, value, producer

DIR is a data folder, or a folder of the journal where it has several. Nothing is changed. The broker must not run.

  --data DIR        any number of times
  --partition NAME  this one alone, any number of times (all)
  --from OFFSET     dump: from this offset on (0)
  --limit COUNT     dump: so many records of each partition (all)
  --tier            verify: what is in the cold tier as well; all of it is fetched
  --config FILE     configuration that says where the cold tier is; variables of the environment count, too
  --force-read      though a broker uses the folder: what it is writing may look like damage
  --json            one JSON object a line
  --help            this text

Status: 0 all is well, 1 something is damaged or could not be read, 2 wrong usage.
`;

interface Options {
  readonly verb: 'verify' | 'dump';
  readonly data: readonly string[];
  readonly partitions: readonly string[];
  readonly from: number;
  readonly limit: number;
  readonly isForced: boolean;
  readonly isJson: boolean;
  /** The cold tier is read as well. */
  readonly isTiered: boolean;
  readonly config: string | undefined;
}

/** Runs `argv`, what follows `ctl journal`, and sets the exit status. */
export async function runJournalToolCommand(argv: readonly string[]): Promise<void> {
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
  // Whoever reads the output may have seen enough.
  process.stdout.on('error', () => process.exit(EXIT_DAMAGED));
  try {
    const isWell = await run(options);
    if (!isWell) process.exitCode = EXIT_DAMAGED;
  } catch (error) {
    process.stderr.write(`ringmq: ${(error as Error).message}\n`);
    process.exitCode = EXIT_DAMAGED;
  }
}

/** Answers whether nothing is damaged. */
async function run(options: Options): Promise<boolean> {
  const { verb, data, partitions, isForced } = options;
  if (!isForced) for (const folder of data) assertUnused(folder);
  const found = data.flatMap(findPartitions).map(openPartition);
  const known = new Set(found.flatMap(({ name, folder }) => [name, folder]));
  const unknown = partitions.find((name) => !known.has(name));
  if (unknown !== undefined) throw new Error(`Cannot find partition "${unknown}": there is none in ${data.join(', ')}`);
  const wanted = found.filter(
    ({ name, folder }) => partitions.length === 0 || partitions.includes(name) || partitions.includes(folder),
  );
  if (verb === 'dump') return dump(wanted, options);
  const objects = options.isTiered ? await openTier(options.config) : null;
  try {
    return await verify(wanted, objects, options);
  } finally {
    objects?.close();
  }
}

/** @throws what is wrong with the configuration, and when it has no cold tier */
async function openTier(file: string | undefined): Promise<ObjectStore> {
  // Only this needs to know all that a configuration can say.
  const { protocols: parts } = await import('../../protocols/registry.ts');
  const { storageParts: adapters } = await import('../../workers/storage/adapters.ts');
  const { node } = await loadConfiguration({ file, environment: process.env, flags: [], parts, adapters });
  const { journal } = node.storage as typeof node.storage & { readonly journal: JournalSettings };
  if (!journal.tier.enabled) {
    throw new Error(
      'Cannot read the cold tier: the configuration has none (storage.journal.tier.enabled); see --config',
    );
  }
  return openTierObjects(journal.tier);
}

function openPartition(path: string): OfflinePartition {
  try {
    return new OfflinePartition(path);
  } catch (error) {
    throw new Error(`Cannot read "${path}": ${(error as Error).message}`);
  }
}

async function verify(
  partitions: readonly OfflinePartition[],
  objects: ObjectStore | null,
  { isJson }: Options,
): Promise<boolean> {
  let damages = 0;
  let notes = 0;
  const summaries: PartitionSummary[] = [];
  const tiers: TierSummary[] = [];
  const report = (problem: JournalProblem): void => {
    if (problem.severity === 'damage') damages += 1;
    else notes += 1;
    print(isJson ? JSON.stringify({ type: 'problem', ...problem }) : problemText(problem));
  };
  for (const partition of partitions) {
    const summary = verifyPartition(partition, report);
    summaries.push(summary);
    if (isJson) print(JSON.stringify({ type: 'partition', ...summary }));
    const tier = await verifyTier(partition, objects, report);
    if (tier === null) continue;
    tiers.push(tier);
    if (isJson) print(JSON.stringify({ type: 'tier', isRead: objects !== null, ...tier }));
  }
  const total = (of: (summary: PartitionSummary) => number): number =>
    summaries.reduce((sum, each) => sum + of(each), 0);
  const counts = {
    partitions: summaries.length,
    segments: total(({ segments }) => segments),
    batches: total(({ batches }) => batches),
    records: total(({ records }) => records),
    bytes: total(({ bytes }) => bytes),
    tiers: tiers.length,
    damages,
    notes,
  };
  if (tiers.length > 0 && !isJson) print(tiersText(tiers, objects !== null));
  if (isJson) print(JSON.stringify({ type: 'summary', ...counts }));
  else {
    const { segments, batches, records, bytes } = counts;
    const read = `${summaries.length} partitions, ${segments} segments, ${batches} batches, ${records} records, ${bytes} bytes`;
    print(
      `${read}: ${damages === 0 ? 'nothing is damaged' : `${damages} damaged`}${notes === 0 ? '' : `, ${notes} notes`}`,
    );
  }
  return damages === 0;
}

function tiersText(tiers: readonly TierSummary[], isRead: boolean): string {
  const sum = (of: (tier: TierSummary) => number): number => tiers.reduce((total, each) => total + of(each), 0);
  const there = `cold tier: ${tiers.length} partitions, ${sum(({ segments }) => segments)} segments, ${sum(({ bytes }) => bytes)} bytes`;
  if (!isRead) return `${there}, not read (--tier reads them)`;
  return `${there}, ${sum(({ batches }) => batches)} batches and ${sum(({ records }) => records)} records read`;
}

function dump(partitions: readonly OfflinePartition[], { from, limit, isJson }: Options): boolean {
  let isWell = true;
  for (const partition of partitions) {
    let left = limit;
    dumpPartition(partition, from, (item: Dumped) => {
      if (left <= 0) return false;
      if (item.type === 'damage') isWell = false;
      else left -= 1;
      print(isJson ? JSON.stringify(dumpedJson(item)) : dumpedText(item));
      return left > 0;
    });
  }
  return isWell;
}

function problemText({ severity, partition, file, position, firstOffset, nextOffset, what }: JournalProblem): string {
  const last = nextOffset === null ? null : nextOffset - 1;
  const lost = firstOffset === null || last === null || last < firstOffset ? '' : `, ${offsets(firstOffset, last)}`;
  return `${severity} ${partition} ${file} at byte ${position}${lost}: ${what}`;
}

function offsets(first: number, last: number): string {
  return first === last ? `offset ${first}` : `offsets ${first} to ${last}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The lock lies in the data folder, which a folder of the journal is in, unless it was put elsewhere. */
function assertUnused(folder: string): void {
  for (const candidate of [folder, dirname(resolve(folder))]) {
    const owner = findDataFolderOwner(candidate);
    if (owner === null) continue;
    throw new Error(
      `Cannot read "${folder}": the broker with process id ${owner} uses it (--force-read reads it all the same)`,
    );
  }
}

/** Null when help was asked for. Throws when the command line cannot be understood. */
function readOptions(argv: readonly string[]): Options | null {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      data: { type: 'string', multiple: true, default: [] },
      partition: { type: 'string', multiple: true, default: [] },
      from: { type: 'string' },
      limit: { type: 'string' },
      tier: { type: 'boolean', default: false },
      config: { type: 'string' },
      'force-read': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return null;
  const [verb, ...rest] = positionals;
  if (verb !== 'verify' && verb !== 'dump') throw new Error('Cannot run "ctl journal": expected verify or dump');
  if (rest.length > 0) throw new Error(`Cannot use "${rest[0]}": unexpected argument`);
  if (values.data.length === 0) throw new Error(`Cannot run "ctl journal ${verb}": expected --data DIR`);
  const { data, partition: partitions, from, limit, json: isJson, 'force-read': isForced } = values;
  const { tier: isTiered, config } = values;
  if (verb === 'dump' && isTiered) throw new Error('Cannot use --tier with dump: it prints what is on the disk');
  if (config !== undefined && !isTiered) throw new Error('Cannot use --config without --tier: nothing else needs it');
  if (verb === 'verify' && (from !== undefined || limit !== undefined)) {
    throw new Error('Cannot use --from and --limit with verify: it reads everything');
  }
  return {
    verb,
    data,
    partitions,
    from: from === undefined ? 0 : toCount('--from', from, 0),
    limit: limit === undefined ? Number.POSITIVE_INFINITY : toCount('--limit', limit, 1),
    isForced,
    isJson,
    isTiered,
    config,
  };
}

function toCount(flag: string, text: string, min: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= min) return value;
  throw new Error(`Cannot use ${flag} "${text}": expected a whole number from ${min}`);
}
