/** `ringmq ctl stream …`: streams and how they are kept. Main thread of the command's process; run by `commands/ctl.ts`. */
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import { toFacts, toTable } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

export interface StreamSummary {
  readonly name: string;
  readonly partitions: number;
  readonly isInternal: boolean;
}

/** Places are missing for a partition that is out of service; then `error` says why. */
export interface PartitionState {
  readonly partition: number;
  readonly logStartOffset?: number;
  readonly logEndOffset?: number;
  readonly highWatermark?: number;
  readonly lastStableOffset?: number;
  readonly sizeBytes?: number;
  readonly error?: { readonly code: string; readonly message: string };
}

export interface StreamDescription extends StreamSummary {
  readonly adapter: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly sizeBytes: number;
  readonly partitionStates: readonly PartitionState[];
}

interface Purged {
  readonly name: string;
  readonly partitions: readonly { readonly partition: number; readonly logStartOffset: number }[];
}

export const partitionOption: OptionSpec = { long: 'partition', value: 'N', help: 'only this partition' };

const settingOptions: readonly OptionSpec[] = [
  { long: 'partitions', value: 'N', help: 'how many; more can be added later, never taken away' },
  { long: 'retention-bytes', value: 'BYTES', help: 'of a partition; the oldest records go beyond it; or none' },
  { long: 'retention-ms', value: 'MS', help: 'age at which records go; or none' },
  { long: 'compacted', value: 'yes|no', help: 'keep only the newest record of each key in the long run' },
  { long: 'tiered', value: 'yes|no', help: 'keep what is older in the cold tier of the journal' },
  { long: 'local-bytes', value: 'BYTES', help: 'local copies go beyond it of what is in the cold tier; or none' },
  { long: 'local-ms', value: 'MS', help: 'age at which these copies go; or none' },
  { long: 'batch-bytes', value: 'BYTES', help: 'longest batch of records' },
  { long: 'segment-bytes', value: 'BYTES', help: 'size at which a file of the journal is closed' },
];

/** Flag → field of the API. */
const numericSettings = [
  ['retention-bytes', 'retentionBytes', true],
  ['retention-ms', 'retentionMs', true],
  ['local-bytes', 'localRetentionBytes', true],
  ['local-ms', 'localRetentionMs', true],
  ['batch-bytes', 'batchBytesMax', false],
  ['segment-bytes', 'segmentBytes', false],
] as const;

const yesOrNoSettings = [
  ['compacted', 'isCompacted'],
  ['tiered', 'isTiered'],
] as const;

function readSettings(options: ParsedArguments): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const [flag, field, canBeNone] of numericSettings) {
    if (!options.has(flag)) continue;
    settings[field] = canBeNone && options.text(flag) === 'none' ? null : options.integer(flag, 0, 1);
  }
  for (const [flag, field] of yesOrNoSettings) {
    const given = options.text(flag);
    if (given === undefined) continue;
    if (given !== 'yes' && given !== 'no') throw new UsageError(`Cannot use --${flag} "${given}": expected yes or no`);
    settings[field] = given === 'yes';
  }
  return settings;
}

export function readPartition(options: ParsedArguments): number | undefined {
  return options.has('partition') ? options.integer('partition', 0) : undefined;
}

function streamTable(streams: readonly StreamSummary[]): string {
  const rows = streams.map(({ name, partitions, isInternal }) => [name, partitions, isInternal ? 'broker' : 'user']);
  return toTable(['NAME', 'PARTITIONS', 'OWNER'], rows);
}

/** `create` and `change` take the same. */
function settingVerb(summary: string, path: string): Verb {
  return {
    summary,
    values: ['NAME'],
    options: settingOptions,
    run: async ({ values: [name], options, print }) => {
      const partitions = options.has('partitions') ? { partitions: options.integer('partitions', 1, 1) } : {};
      const settings = readSettings(options);
      const found = await new AdminClient(options).post<StreamSummary>(path, { name, ...partitions, settings });
      print.result(found, () => streamTable([found]));
      return EXIT_OK;
    },
  };
}

const list: Verb = {
  summary: 'the streams',
  values: [],
  options: [{ long: 'internal', help: 'those of the broker itself, too' }],
  run: async ({ options, print }) => {
    const internal = options.has('internal') ? { internal: true } : {};
    const answer = await new AdminClient(options).get<{ readonly streams: readonly StreamSummary[] }>(
      '/streams',
      internal,
    );
    print.result(answer, () => streamTable(answer.streams));
    return EXIT_OK;
  },
};

const describe: Verb = {
  summary: 'how a stream is kept, and where each of its partitions stands',
  values: ['NAME'],
  run: async ({ values: [name], options, print }) => {
    const found = await new AdminClient(options).get<StreamDescription>('/streams/describe', { name });
    print.result(found, () => descriptionText(found));
    return EXIT_OK;
  },
};

function descriptionText({ name, adapter, settings, sizeBytes, partitionStates }: StreamDescription): string {
  const facts = toFacts([
    ['name', name],
    ['storage', adapter],
    ['bytes', sizeBytes],
    ...Object.entries(settings).map(([setting, value]) => [setting, String(value ?? 'none')] as const),
  ]);
  const rows = partitionStates.map(({ partition, error, ...places }) => [
    partition,
    places.logStartOffset ?? '-',
    places.logEndOffset ?? '-',
    places.lastStableOffset ?? '-',
    places.sizeBytes ?? '-',
    error?.message ?? 'ok',
  ]);
  return `${facts}\n${toTable(['PARTITION', 'START', 'END', 'STABLE', 'BYTES', 'STATE'], rows)}`;
}

const remove: Verb = {
  summary: 'delete a stream with all its records',
  values: ['NAME'],
  run: async ({ values: [name], options, print }) => {
    const answer = await new AdminClient(options).post('/streams/delete', { name });
    print.result(answer, () => toFacts([['deleted', name]]));
    return EXIT_OK;
  },
};

const purge: Verb = {
  summary: 'delete records, and keep the stream',
  values: ['NAME'],
  options: [
    {
      long: 'before',
      value: 'OFFSET',
      help: 'what lies in front of this offset; with several partitions of --partition',
    },
    { long: 'all', help: 'everything that is there now' },
    partitionOption,
  ],
  run: async ({ values: [name], options, print }) => {
    if (options.has('before') === options.has('all')) {
      throw new UsageError('Cannot purge: expected either --before OFFSET or --all');
    }
    const what = options.has('all') ? { all: true } : { before: options.integer('before', 0) };
    const partition = readPartition(options);
    const body = { name, ...what, ...(partition === undefined ? {} : { partition }) };
    const answer = await new AdminClient(options).post<Purged>('/streams/purge', body);
    print.result(answer, () =>
      toTable(
        ['PARTITION', 'START'],
        answer.partitions.map((each) => [each.partition, each.logStartOffset]),
      ),
    );
    return EXIT_OK;
  },
};

export const stream: Group = {
  summary: 'streams of a broker',
  connection: httpOptions,
  verbs: new Map([
    ['create', settingVerb('make a stream', '/streams')],
    ['list', list],
    ['describe', describe],
    ['change', settingVerb('change how a stream is kept; what is not given stays', '/streams/change')],
    ['purge', purge],
    ['delete', remove],
  ]),
};
