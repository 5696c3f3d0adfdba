/** `ringmq ctl record …`: records of streams. Main thread of the command's process; run by `commands/ctl.ts`. */
import type { ParsedArguments } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import {
  bytesField,
  headerOption,
  headersField,
  keyOptions,
  readValue,
  showTime,
  splitHeader,
  valueOptions,
} from './fields.ts';
import { toTable } from './printer.ts';
import { exportVerb } from './record-export.ts';
import { importVerb } from './record-import.ts';
import { type JsonRecord, showField, showHeaders } from './record-json.ts';
import { partitionOption, readPartition, type StreamDescription } from './stream.ts';
import { AdminClient, httpOptions, type Query } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

/** The most that the API answers at once. */
const pageRecords = 1000;

interface Produced {
  readonly appended?: readonly {
    readonly partition: number;
    readonly baseOffset: number;
    readonly isDuplicate: boolean;
  }[];
  /** With a delay. */
  readonly delayed?: readonly { readonly id: string; readonly dueMs: number; readonly partition: number }[];
}

const produce: Verb = {
  summary: 'append a record',
  values: ['STREAM', '[VALUE]'],
  options: [
    partitionOption,
    ...keyOptions,
    { ...headerOption, help: 'a header; can be given several times' },
    { long: 'timestamp', value: 'TIME', help: 'milliseconds since 1970, or a date like 2026-01-31T12:00:00Z (now)' },
    ...valueOptions,
    { long: 'tombstone', help: 'no value: a compacted stream forgets the key' },
    { long: 'producer', value: 'ID,EPOCH,SEQUENCE', help: 'of an idempotent producer: sent again, it is stored once' },
    { long: 'delay', value: 'MS', help: 'write it so much later' },
    { long: 'at', value: 'TIME', help: 'write it at that time' },
  ],
  notes:
    'A VALUE of - is read from standard input. Without --partition the key decides. A TIME is milliseconds since 1970, or a date like\n' +
    '2026-01-31T12:00:00Z. With --delay or --at the ID that is printed can be given to "ringmq ctl delayed cancel".',
  run: async ({ values: [name, text], options, print, io }) => {
    const timestamp = options.text('timestamp');
    const record = {
      ...(timestamp === undefined ? {} : { timestamp }),
      ...bytesField('key', options),
      headers: headersField(options),
      ...(await readValue(text, options, io)),
    };
    const partition = readPartition(options);
    const body = {
      ...{ stream: name, records: [record], ...readProducer(options.text('producer')) },
      ...(partition === undefined ? {} : { partition }),
    };
    const answer = await new AdminClient(options).post<Produced>('/records', { ...body, ...dueOf(options) });
    print.result(answer, () => producedTable(answer));
    return EXIT_OK;
  },
};

function dueOf(options: ParsedArguments): Record<string, unknown> {
  if (options.has('delay') && options.has('at')) throw new UsageError('Cannot use --delay and --at together');
  if (options.has('at')) return { dueAt: options.text('at') };
  return options.has('delay') ? { delayMs: options.integer('delay', 0) } : {};
}

function producedTable({ appended = [], delayed }: Produced): string {
  if (delayed !== undefined) {
    const rows = delayed.map(({ id, dueMs, partition }) => [partition, showTime(dueMs), id]);
    return toTable(['PARTITION', 'DUE', 'ID'], rows);
  }
  const rows = appended.map((each) => [each.partition, each.baseOffset, each.isDuplicate ? 'yes' : 'no']);
  return toTable(['PARTITION', 'OFFSET', 'DUPLICATE'], rows);
}

function readProducer(text: string | undefined): Record<string, number> {
  if (text === undefined) return {};
  const numbers = text.split(',').map((part) => (/^\d{1,16}$/.test(part) ? Number(part) : Number.NaN));
  if (numbers.length !== 3 || numbers.some(Number.isNaN)) {
    throw new UsageError(`Cannot use --producer "${text}": expected ID,EPOCH,SEQUENCE`);
  }
  return { producerId: numbers[0], producerEpoch: numbers[1], baseSequence: numbers[2] };
}

interface Page {
  readonly records: readonly (JsonRecord & { readonly offset: number })[];
  readonly next: number;
  readonly isEnd: boolean;
}

const read: Verb = {
  summary: 'print records',
  values: ['STREAM'],
  options: [
    partitionOption,
    { long: 'from', value: 'OFFSET', help: 'or earliest, or latest (earliest)' },
    { long: 'time', value: 'TIME', help: 'begin with the first record of this time' },
    { long: 'limit', value: 'COUNT', help: 'at most this many (100)' },
    ...keyOptions.map((each) => ({ ...each, help: `only records with this key, ${each.help}` })),
    { ...headerOption, help: 'only records with this header' },
    { long: 'contains', value: 'TEXT', help: 'only records with this somewhere in the value' },
    { long: 'since', value: 'TIME', help: 'only records of this time or later' },
    { long: 'until', value: 'TIME', help: 'only records of this time or earlier' },
    { long: 'undecided', help: 'records of transactions that are not decided, or were aborted, too' },
  ],
  notes:
    'A TIME is milliseconds since 1970, or a date like 2026-01-31T12:00:00Z. Without --partition: of all, one after the other.',
  run: async ({ values: [name], options, print }) => {
    const client = new AdminClient(options);
    const limit = options.integer('limit', 100, 1);
    const query = readQuery(name, options);
    const partitions = await partitionsOf(client, name, readPartition(options), isOffset(options.text('from')));
    const records: (JsonRecord & { readonly partition: number; readonly offset: number })[] = [];
    const places: { readonly partition: number; readonly next: number; readonly isEnd: boolean }[] = [];
    for (const partition of partitions) {
      if (records.length >= limit) break;
      let start: Query = { from: options.text('from'), time: options.text('time') };
      for (;;) {
        const count = Math.min(pageRecords, limit - records.length);
        const page = await client.get<Page>('/records', { ...query, ...start, partition, limit: count });
        records.push(...page.records.map((each) => ({ partition, ...each })));
        if (page.isEnd || records.length >= limit) {
          places.push({ partition, next: page.next, isEnd: page.isEnd });
          break;
        }
        start = { from: page.next };
      }
    }
    print.result({ records, places }, () => recordTable(records));
    return EXIT_OK;
  },
};

function recordTable(
  records: readonly (JsonRecord & { readonly partition: number; readonly offset: number })[],
): string {
  const rows = records.map((each) => [
    each.partition,
    each.offset,
    showTime(each.timestamp),
    showField(each.key, each.keyBase64),
    showField(each.value, each.valueBase64),
    showHeaders(each.headers),
  ]);
  return toTable(['PARTITION', 'OFFSET', 'TIME', 'KEY', 'VALUE', 'HEADERS'], rows);
}

function readQuery(stream: string, options: ParsedArguments): Query {
  const header = options.text('header');
  const [headerName, headerValue] = header === undefined ? [] : splitHeader(header);
  return {
    ...{ stream, ...bytesField('key', options), header: headerName, headerValue },
    ...{ contains: options.text('contains'), since: options.text('since'), until: options.text('until') },
    ...(options.has('undecided') ? { isolation: 'committed' } : {}),
  };
}

function isOffset(text: string | undefined): boolean {
  return text !== undefined && text !== 'earliest' && text !== 'latest';
}

/** An offset means something in one partition only. */
async function partitionsOf(
  client: AdminClient,
  name: string,
  given: number | undefined,
  needsOne: boolean,
): Promise<readonly number[]> {
  if (given !== undefined) return [given];
  const { partitions } = await client.get<StreamDescription>('/streams/describe', { name });
  if (needsOne && partitions > 1) {
    throw new UsageError(
      `Cannot read from an offset: stream "${name}" has ${partitions} partitions, expected --partition`,
    );
  }
  return Array.from({ length: partitions }, (_, partition) => partition);
}

interface FoundOffsets {
  readonly partitions: readonly {
    readonly partition: number;
    readonly offset: number | null;
    readonly timestamp: number | null;
  }[];
}

const find: Verb = {
  summary: 'the offset at which a time begins',
  values: ['STREAM', 'TIME'],
  options: [partitionOption],
  notes: 'TIME is milliseconds since 1970, or a date like 2026-01-31T12:00:00Z.',
  run: async ({ values: [stream, time], options, print }) => {
    const query = { stream, time, partition: readPartition(options) };
    const answer = await new AdminClient(options).get<FoundOffsets>('/records/offset', query);
    const rows = answer.partitions.map(({ partition, offset, timestamp }) => [
      partition,
      offset ?? '-',
      timestamp === null ? '-' : showTime(timestamp),
    ]);
    print.table(answer, ['PARTITION', 'OFFSET', 'TIME'], rows);
    return EXIT_OK;
  },
};

export const record: Group = {
  summary: 'records of streams',
  connection: httpOptions,
  verbs: new Map([
    ['produce', produce],
    ['read', read],
    ['find', find],
    ['export', exportVerb],
    ['import', importVerb],
  ]),
};
