/** `ringmq ctl record …`: records of streams. Main thread of the command's process; run by `commands/ctl.ts`. */
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';
import { jsonBytes, toTable } from './printer.ts';
import { exportVerb } from './record-export.ts';
import { importVerb } from './record-import.ts';
import { type JsonRecord, showField, showHeaders } from './record-json.ts';
import { partitionOption, readPartition, type StreamDescription } from './stream.ts';
import { AdminClient, httpOptions, type Query } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

/** The most that the API answers at once. */
const pageRecords = 1000;

const keyOptions: readonly OptionSpec[] = [
  { long: 'key', value: 'KEY', help: 'as text' },
  { long: 'key-base64', value: 'BASE64', help: 'a key that is no text' },
];
const headerOption: OptionSpec = { long: 'header', value: 'NAME=VALUE', help: 'a header' };

interface Appended {
  readonly appended: readonly {
    readonly partition: number;
    readonly baseOffset: number;
    readonly isDuplicate: boolean;
  }[];
}

const produce: Verb = {
  summary: 'append a record',
  values: ['STREAM', '[VALUE]'],
  options: [
    partitionOption,
    ...keyOptions,
    { ...headerOption, help: 'a header; can be given several times' },
    { long: 'timestamp', value: 'TIME', help: 'milliseconds since 1970, or a date like 2026-01-31T12:00:00Z (now)' },
    { long: 'value-base64', value: 'BASE64', help: 'a value that is no text' },
    { long: 'file', value: 'FILE', help: 'the value is the content of FILE' },
    { long: 'tombstone', help: 'no value: a compacted stream forgets the key' },
    { long: 'producer', value: 'ID,EPOCH,SEQUENCE', help: 'of an idempotent producer: sent again, it is stored once' },
  ],
  notes: 'A VALUE of - is read from standard input. Without --partition the key decides.',
  run: async ({ values: [name, text], options, print, io }) => {
    const timestamp = options.text('timestamp');
    const record = {
      ...(timestamp === undefined ? {} : { timestamp }),
      ...bytesField('key', options),
      headers: options.texts('header').map((header) => {
        const [key, value] = splitHeader(header);
        return { key, value };
      }),
      ...(await readValue(text, options, io)),
    };
    const partition = readPartition(options);
    const body = {
      ...{ stream: name, records: [record], ...readProducer(options.text('producer')) },
      ...(partition === undefined ? {} : { partition }),
    };
    const answer = await new AdminClient(options).post<Appended>('/records', body);
    print.result(answer, () => {
      const rows = answer.appended.map((each) => [each.partition, each.baseOffset, each.isDuplicate ? 'yes' : 'no']);
      return toTable(['PARTITION', 'OFFSET', 'DUPLICATE'], rows);
    });
    return EXIT_OK;
  },
};

function bytesField(name: string, options: ParsedArguments): Record<string, string> {
  const [text, base64] = [options.text(name), options.text(`${name}-base64`)];
  if (text !== undefined && base64 !== undefined)
    throw new UsageError(`Cannot use --${name} and --${name}-base64 together`);
  if (base64 !== undefined) return { [`${name}Base64`]: base64 };
  return text === undefined ? {} : { [name]: text };
}

function splitHeader(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at < 0) throw new UsageError(`Cannot use --header "${text}": expected NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

async function readValue(
  text: string | undefined,
  options: ParsedArguments,
  io: CliIo,
): Promise<Record<string, string>> {
  const base64 = options.text('value-base64');
  const path = options.text('file');
  const isTombstone = options.has('tombstone');
  const given = [text !== undefined, base64 !== undefined, path !== undefined, isTombstone].filter(Boolean).length;
  if (given !== 1) {
    throw new UsageError('Cannot produce: expected one of VALUE, --value-base64, --file and --tombstone');
  }
  if (isTombstone) return {};
  if (base64 !== undefined) return { valueBase64: base64 };
  if (text !== undefined && text !== '-') return { value: text };
  if (path === undefined) return jsonBytes('value', await buffer(io.stdin));
  try {
    return jsonBytes('value', readFileSync(path));
  } catch (error) {
    throw new UsageError(`Cannot read "${path}": ${(error as Error).message}`);
  }
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

function showTime(timestamp: number): string {
  const date = new Date(timestamp);
  return timestamp < 0 || Number.isNaN(date.getTime()) ? '-' : date.toISOString();
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
