/**
 * Dead letters of queues: `GET /api/v1/queues/dead-letters` shows those that were not moved back yet, `POST …/dead-letters/move` puts them
 * into their queue again. Lives on the main thread.
 *
 * Moving is a transaction: the messages and the cursor that says how far the dead letters of a group were moved are stored together, so a
 * crash neither loses one nor brings it twice. The dead-letter stream itself keeps them, as long as it keeps anything.
 */
import { BatchBuilder } from '../../core/batch/batch-builder.ts';
import { batchAttributes } from '../../core/batch/batch-format.ts';
import type { QueueMessage } from '../../core/ports/queues.ts';
import type { BrokerServices } from '../../core/ports/services.ts';
import type { AppendAnswer, StreamPartition, StreamStore } from '../../core/ports/stream-store.ts';
import { deadLetterHeaders, deadLetterMovers } from '../../core/queues/dead-letter.ts';
import { defaultGroup } from '../../core/queues/queue-definition.ts';
import { QueueError } from '../../core/queues/queue-error.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { recordJson } from './record-json.ts';
import { type FoundRecord, type ScanAnswer, scanRecords } from './records-scan.ts';
import { json } from './response.ts';
import { orServiceFailure } from './services-failure.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/queues/dead-letters';
const mebibyte = 1024 * 1024;
const lettersMax = 1000;
const bounds = { foundBytesMax: mebibyte, scannedBytesMax: 8 * mebibyte, chunkBytes: mebibyte / 4 };
/** Of one move. */
const timeoutMs = 30_000;
/** Headers that a message has because it died; without them it is what it was. */
const ownHeaders = new Set<string>(Object.values(deadLetterHeaders));

export function deadLettersRoutes(services: BrokerServices, store: StreamStore): readonly HttpRoute[] {
  const resources = new DeadLetterResources(services, store);
  return [
    { method: 'GET', path: PATH, handler: (request) => orServiceFailure(() => resources.list(request)) },
    { method: 'POST', path: `${PATH}/move`, handler: (request) => orServiceFailure(() => resources.move(request)) },
  ];
}

interface Letters {
  readonly queue: string;
  readonly group: string;
  readonly partition: StreamPartition;
  /** Where the ones begin that were not moved. */
  readonly start: number;
  /** Name of the cursor, and of the producer who moves them. */
  readonly mover: string;
}

class DeadLetterResources {
  readonly #services: BrokerServices;
  readonly #store: StreamStore;

  constructor(services: BrokerServices, store: StreamStore) {
    this.#services = services;
    this.#store = store;
  }

  /** `from` goes on behind a page; `all` shows those that were moved, too. */
  async list(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofQuery(request, ['name', 'group', 'limit', 'from', 'all']);
    const letters = await this.#find(fields);
    const first = fields.flag('all') ? (await letters.partition.places()).logStartOffset : letters.start;
    const limit = fields.integer('limit', 100, 1, lettersMax);
    const { records, next, isEnd } = await this.#scan(letters, fields.integer('from', first, 0), limit);
    const shown = records.map((record) => ({ offset: record.offset, ...recordJson(record) }));
    return json(200, { stream: letters.partition.name, letters: shown, next, isEnd });
  }

  async move(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'group', 'limit']);
    const limit = fields.integer('limit', lettersMax, 1, lettersMax);
    const letters = await this.#find(fields);
    const found = await this.#scan(letters, letters.start, limit);
    if (found.next > letters.start) await this.#moveAll(letters, found);
    return json(200, {
      stream: letters.partition.name,
      moved: found.records.length,
      next: found.next,
      isEnd: found.isEnd,
    });
  }

  async #find(fields: Fields): Promise<Letters> {
    const queue = fields.text('name');
    const group = fields.value('group') === undefined ? defaultGroup : fields.text('group');
    const { groups, problem } = await this.#services.queues.describe(queue);
    const stream = groups.find((each) => each.group === group)?.settings.deadLetterStream;
    if (stream === undefined) {
      if (problem !== null) throw new QueueError('QUEUE_STORAGE_FAILED', `Cannot use queue "${queue}": ${problem}`);
      throw new QueueError('QUEUE_GROUP_UNKNOWN', `Cannot find group "${group}" of "${queue}": there is none`);
    }
    if (stream === null) throw fields.wrong('name', `must be a queue with dead letters; group "${group}" drops them`);
    const partition = await this.#store.open(stream);
    const mover = `${deadLetterMovers}${queue}/${group}`;
    const [{ cursor }] = await this.#services.cursors.fetch(mover, [stream]);
    const { logStartOffset } = await partition.places();
    return { queue, group, partition, start: Math.max(logStartOffset, cursor?.offset ?? 0), mover };
  }

  /** Of this queue and group alone: several may have the same stream for their dead letters. */
  #scan({ queue, group, partition }: Letters, offset: number, recordsMax: number): Promise<ScanAnswer> {
    const header = { key: Buffer.from(deadLetterHeaders.queue), value: Buffer.from(queue) };
    const filter = { key: null, header, contains: null, since: -Infinity, until: Infinity };
    const isWanted = ({ headers }: FoundRecord): boolean => {
      return headers.some(
        ({ key, value }) => key.toString() === deadLetterHeaders.group && value?.toString() === group,
      );
    };
    return scanRecords(partition, offset, 'stable', filter, { ...bounds, recordsMax }, isWanted);
  }

  async #moveAll({ queue, partition, mover }: Letters, { records, next }: ScanAnswer): Promise<void> {
    const { queues, transactions } = this.#services;
    const producer = await transactions.initialize(mover, timeoutMs);
    try {
      const batches = new Map<string, BatchBuilder>();
      for (const record of records) {
        const message = messageOf(record);
        const target = await queues.route(queue, message);
        const builder =
          batches.get(target) ??
          new BatchBuilder({ ...producer, baseSequence: 0, attributes: batchAttributes.transactional });
        builder.add({ ...message, timestampMs: message.timestampMs ?? Date.now() });
        batches.set(target, builder);
      }
      await transactions.addPartitions(mover, producer, [...batches.keys()]);
      const appends = [...batches].map(async ([target, builder]) => {
        const opened = await this.#store.open(target);
        const { error } = await new Promise<AppendAnswer>((resolve) => opened.append(builder.build(), resolve));
        if (error !== null) throw error;
      });
      await Promise.all(appends);
      await transactions.addOffsets(mover, producer, mover, null, [{ stream: partition.name, offset: next }]);
      await transactions.end(mover, producer, 'commit');
    } catch (error) {
      // Without an end it is aborted when its time is over; whoever asks is told why it failed.
      await transactions.end(mover, producer, 'abort').catch(() => undefined);
      throw error;
    }
  }
}

/** The message as it was before it died. */
function messageOf({ key, value, headers, timestamp }: FoundRecord): QueueMessage {
  const died = headers.findLast((header) => header.key.toString() === deadLetterHeaders.timestamp)?.value;
  const timestampMs = died === undefined || died === null ? timestamp : Number(died.toString());
  return {
    key,
    value,
    headers: headers.filter((header) => !ownHeaders.has(header.key.toString())),
    timestampMs: Number.isSafeInteger(timestampMs) ? timestampMs : timestamp,
  };
}
