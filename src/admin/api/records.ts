/**
 * Records of streams, for operators and their tools; clients have protocols for that. Lives on the main thread, so a request reads and
 * answers a bounded piece and says where to go on.
 *
 * `POST /api/v1/records` appends some, `GET` there reads a page, `GET …/offset` finds where a time begins.
 */
import { BatchBuilder, type BatchBuilderOptions, type NewRecord } from '../../core/batch/batch-builder.ts';
import type { Delayed } from '../../core/ports/delayed.ts';
import type { AppendAnswer, StreamPartition } from '../../core/ports/stream-store.ts';
import { checkIsPublic, type StreamCatalog, type StreamSummary } from '../../core/streams/stream-catalog.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { hashBytes } from '../../std/hash.ts';
import { delayedId } from './delayed.ts';
import { readRecord, recordJson, recordNames } from './record-json.ts';
import { type RecordFilter, type ScanBounds, scanRecords } from './records-scan.ts';
import { json } from './response.ts';
import { orServiceFailure } from './services-failure.ts';
import { toFailure } from './streams-failure.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/records';
const mebibyte = 1024 * 1024;
const recordsMax = 1000;
/** Of a request: between two chunks other work of the thread has its turn. */
const bounds: Omit<ScanBounds, 'recordsMax'> = {
  foundBytesMax: mebibyte,
  scannedBytesMax: 8 * mebibyte,
  chunkBytes: mebibyte / 4,
};
const patternBytesMax = 4096;

const readNames = ['stream', 'partition', 'from', 'time', 'limit', 'isolation'];
const filterNames = ['key', 'keyBase64', 'header', 'headerBase64', 'headerValue', 'headerValueBase64'];
const filterNamesOfValues = ['contains', 'containsBase64', 'since', 'until'];

export function recordsRoutes(catalog: StreamCatalog, delayed: Delayed): readonly HttpRoute[] {
  const resources = new RecordResources(catalog, delayed);
  return [
    { method: 'GET', path: PATH, handler: (request) => orServiceFailure(() => resources.read(request)) },
    { method: 'POST', path: PATH, handler: (request) => orServiceFailure(() => resources.produce(request)) },
    { method: 'GET', path: `${PATH}/offset`, handler: (request) => orServiceFailure(() => resources.find(request)) },
  ];
}

interface Appended {
  readonly partition: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly isDuplicate: boolean;
}

class RecordResources {
  readonly #catalog: StreamCatalog;
  readonly #delayed: Delayed;
  /** Records without a key take turns. */
  #turn = 0;

  constructor(catalog: StreamCatalog, delayed: Delayed) {
    this.#catalog = catalog;
    this.#delayed = delayed;
  }

  async read(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofQuery(request, [...readNames, ...filterNames, ...filterNamesOfValues]);
    const number = fields.integer('partition', 0, 0);
    const limit = fields.integer('limit', 100, 1, recordsMax);
    const isolation = readIsolation(fields);
    const filter = readFilter(fields);
    const from = readStart(fields);
    const partition = await this.#catalog.openPartition(fields.text('stream'), number);
    const start = await startOffset(partition, from, filter.since, isolation);
    const found = await scanRecords(partition, start, isolation, filter, { ...bounds, recordsMax: limit });
    const { next, isEnd, scannedBytes } = found;
    return json(200, {
      partition: number,
      records: found.records.map((each) => ({ offset: each.offset, ...recordJson(each) })),
      next,
      isEnd,
      scannedBytes,
    });
  }

  async produce(request: HttpRequest): Promise<HttpResponse> {
    const names = ['stream', 'partition', 'records', 'producerId', 'producerEpoch', 'baseSequence', 'delayMs', 'dueAt'];
    const fields = Fields.ofBody(request, names);
    const name = fields.text('stream');
    checkIsPublic(name);
    const producer = readProducer(fields);
    const nowMs = Date.now();
    const dueMs = readDue(fields, nowMs);
    // Streams forget by age: what is written later is as old as then, unless it says otherwise.
    const timeMs = Math.max(nowMs, dueMs ?? 0);
    const records = fields.objects('records', recordNames, 1, recordsMax).map((each) => readRecord(each, timeMs));
    const given = fields.integer('partition', null, 0);
    const stream = await this.#catalog.find(name);
    if (given === null && producer.producerId !== undefined && stream.partitions.length > 1) {
      throw fields.wrong('partition', 'must be there with "producerId", since sequences are of a partition');
    }
    if (dueMs !== null) return this.#delay(stream, given, records, dueMs);
    const batches = new Map<number, BatchBuilder>();
    for (const record of records) {
      const partition = given ?? this.#partitionFor(stream, record.key ?? null);
      const builder = batches.get(partition) ?? new BatchBuilder(producer);
      builder.add(record);
      batches.set(partition, builder);
    }
    return this.#append(stream, batches);
  }

  /** Each one is accepted by itself: when it fails, `delayed` tells which are. */
  async #delay(
    stream: StreamSummary,
    given: number | null,
    records: readonly NewRecord[],
    dueMs: number,
  ): Promise<HttpResponse> {
    const accepted = await Promise.allSettled(
      records.map(async (record) => {
        const partition = given ?? this.#partitionFor(stream, record.key ?? null);
        const { name } = await this.#catalog.open(stream, partition);
        const handle = await this.#delayed.acceptAt(dueMs, { target: name, record });
        return { id: delayedId(handle), dueMs: handle.dueMs, partition };
      }),
    );
    const delayed = accepted.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    const failed = accepted.find((each) => each.status === 'rejected');
    if (failed === undefined) return json(200, { delayed });
    const failure = toFailure(failed.reason, { delayed });
    if (failure === null) throw failed.reason;
    return failure;
  }

  /** Of every partition, or of one: the first record with that time or a later one. */
  async find(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofQuery(request, ['stream', 'partition', 'time']);
    const time = fields.time('time', null);
    if (time === null) throw fields.wrong('time', 'must be there');
    const name = fields.text('stream');
    const given = fields.integer('partition', null, 0);
    const stream = await this.#catalog.find(name);
    const numbers = given === null ? stream.partitions.map((_, number) => number) : [given];
    const found: object[] = [];
    for (const partition of numbers) {
      const place = await (await this.#catalog.open(stream, partition)).offsetForTime(time);
      found.push({ partition, offset: place?.offset ?? null, timestamp: place?.timestamp ?? null });
    }
    return json(200, { partitions: found });
  }

  async #append(stream: StreamSummary, batches: ReadonlyMap<number, BatchBuilder>): Promise<HttpResponse> {
    const opened = await Promise.all(
      [...batches].map(async ([number, builder]) => {
        return { number, partition: await this.#catalog.open(stream, number), bytes: builder.build() };
      }),
    );
    const answers = await Promise.all(opened.map(({ partition, bytes }) => append(partition, bytes)));
    const appended: Appended[] = [];
    answers.forEach(({ error, baseOffset, lastOffset, isDuplicate }, index) => {
      if (error === null) appended.push({ partition: opened[index].number, baseOffset, lastOffset, isDuplicate });
    });
    const error = answers.find((answer) => answer.error !== null)?.error ?? null;
    // What the other partitions have stays: the caller is told.
    return (error === null ? null : toFailure(error, { appended })) ?? json(200, { appended });
  }

  #partitionFor({ partitions }: StreamSummary, key: Uint8Array | null): number {
    if (partitions.length === 1) return 0;
    // Without a seed: the place of a key must be the same after a restart.
    if (key !== null) return (hashBytes(key, 0, key.length) >>> 0) % partitions.length;
    this.#turn += 1;
    return this.#turn % partitions.length;
  }
}

function append(partition: StreamPartition, bytes: Buffer): Promise<AppendAnswer> {
  return new Promise((resolve) => partition.append(bytes, resolve));
}

/** When the records are to be written; null: now. */
function readDue(fields: Fields, nowMs: number): number | null {
  const [delayMs, dueMs] = [fields.integer('delayMs', null, 0), fields.time('dueAt', null)];
  if (delayMs === null && dueMs === null) return null;
  if (delayMs !== null && dueMs !== null) throw fields.wrong('delayMs', 'and "dueAt" exclude each other');
  if (fields.value('producerId') !== undefined) {
    throw fields.wrong('delayMs', 'and "producerId" exclude each other: the order is not known before');
  }
  return dueMs ?? nowMs + (delayMs ?? 0);
}

function readProducer(fields: Fields): BatchBuilderOptions {
  const names = ['producerId', 'producerEpoch', 'baseSequence'] as const;
  const count = names.filter((name) => fields.value(name) !== undefined).length;
  if (count === 0) return {};
  if (count < names.length) throw fields.wrong('producerId', '"producerEpoch" and "baseSequence" go together');
  return {
    producerId: fields.integer('producerId', -1, 0),
    producerEpoch: fields.integer('producerEpoch', -1, 0, 0x7fff),
    baseSequence: fields.integer('baseSequence', -1, 0, 0x7fff_ffff),
  };
}

function readIsolation(fields: Fields): 'committed' | 'stable' {
  const value = fields.value('isolation') ?? 'stable';
  if (value === 'committed' || value === 'stable') return value;
  throw fields.wrong('isolation', 'must be "stable" or "committed"');
}

function readFilter(fields: Fields): RecordFilter {
  const pattern = (name: string): Buffer | null => {
    const bytes = fields.bytes(name);
    if (bytes !== null && bytes.length > patternBytesMax)
      throw fields.wrong(name, `has more than ${patternBytesMax} bytes`);
    return bytes;
  };
  const [headerKey, headerValue] = [pattern('header'), pattern('headerValue')];
  if ((headerKey === null) !== (headerValue === null)) throw fields.wrong('header', 'and "headerValue" go together');
  return {
    key: pattern('key'),
    header: headerKey === null || headerValue === null ? null : { key: headerKey, value: headerValue },
    contains: pattern('contains'),
    since: fields.time('since', Number.NEGATIVE_INFINITY),
    until: fields.time('until', Number.POSITIVE_INFINITY),
  };
}

type Start = { readonly offset: number } | { readonly time: number } | 'earliest' | 'latest';

function readStart(fields: Fields): Start {
  const time = fields.time('time', null);
  const from = fields.value('from');
  if (time !== null) {
    if (from !== undefined) throw fields.wrong('time', 'and "from" exclude each other');
    return { time };
  }
  if (from === undefined || from === 'earliest') return 'earliest';
  return from === 'latest' ? from : { offset: fields.integer('from', 0, 0) };
}

async function startOffset(
  partition: StreamPartition,
  start: Start,
  since: number,
  isolation: 'committed' | 'stable',
): Promise<number> {
  if (typeof start === 'object' && 'offset' in start) return start.offset;
  const { logStartOffset, highWatermark, lastStableOffset } = await partition.places();
  const end = isolation === 'stable' ? lastStableOffset : highWatermark;
  if (start === 'latest') return end;
  // Everything in front of the first record that is late enough is too early, whatever the order of the times is.
  const time = start === 'earliest' ? since : start.time;
  if (!Number.isFinite(time)) return logStartOffset;
  return Math.min((await partition.offsetForTime(time))?.offset ?? end, end);
}
