/**
 * Queues: what is in them, who consumes them, and their messages, for operators and their tools. Lives on the main thread; the queues are
 * asked through the services.
 *
 * `GET /api/v1/queues` lists them and `POST` there makes one; `GET …/describe?name=` tells all about one; the other paths take its name
 * in the body of a `POST`.
 */
import type { QueueDescription, Queues } from '../../core/ports/queues.ts';
import { defaultGroup } from '../../core/queues/queue-definition.ts';
import type { StreamCatalog } from '../../core/streams/stream-catalog.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { readQueueSettings, readSettlements, readStreams, receiptText } from './queues-fields.ts';
import { readRecord, recordJson, recordNames } from './record-json.ts';
import { json } from './response.ts';
import { orServiceFailure } from './services-failure.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/queues';
const listMax = 1000;
/** Queues that are asked at the same time. */
const queuesAtOnce = 16;
const messagesMax = 1000;
/** Below what a request may take. */
const waitMsMax = 8_000;
const visibilityMsMax = 366 * 86_400_000;
const priorityMax = 255;

export function queuesRoutes(queues: Queues, catalog: StreamCatalog): readonly HttpRoute[] {
  const resources = new QueueResources(queues, catalog);
  const route = (method: 'GET' | 'POST', path: string, handle: (request: HttpRequest) => Promise<HttpResponse>) => {
    return { method, path, handler: (request: HttpRequest) => orServiceFailure(() => handle(request)) };
  };
  return [
    route('GET', PATH, (request) => resources.list(request)),
    route('POST', PATH, (request) => resources.create(request)),
    route('GET', `${PATH}/describe`, (request) => resources.describe(request)),
    route('POST', `${PATH}/delete`, (request) => resources.delete(request)),
    route('POST', `${PATH}/groups`, (request) => resources.createGroup(request)),
    route('POST', `${PATH}/groups/change`, (request) => resources.changeGroup(request)),
    route('POST', `${PATH}/groups/delete`, (request) => resources.deleteGroup(request)),
    route('POST', `${PATH}/messages`, (request) => resources.produce(request)),
    route('POST', `${PATH}/receive`, (request) => resources.receive(request)),
    route('POST', `${PATH}/settle`, (request) => resources.settle(request)),
    route('POST', `${PATH}/purge`, (request) => resources.purge(request)),
    route('POST', `${PATH}/seek`, (request) => resources.seek(request)),
  ];
}

class QueueResources {
  readonly #queues: Queues;
  readonly #catalog: StreamCatalog;

  constructor(queues: Queues, catalog: StreamCatalog) {
    this.#queues = queues;
    this.#catalog = catalog;
  }

  async list(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofQuery(request, ['after', 'limit']);
    const limit = fields.integer('limit', 100, 1, listMax);
    const after = fields.value('after') === undefined ? '' : fields.text('after');
    const names = (await this.#queues.names()).filter((name) => name > after);
    const page = names.slice(0, limit);
    const found: object[] = [];
    for (let from = 0; from < page.length; from += queuesAtOnce) {
      const some = page.slice(from, from + queuesAtOnce).map((name) => this.#queues.describe(name));
      // One that was deleted meanwhile is not there any more.
      for (const each of await Promise.allSettled(some))
        if (each.status === 'fulfilled') found.push(summary(each.value));
    }
    return json(200, { queues: found, next: names.length > page.length ? (page.at(-1) ?? null) : null });
  }

  async create(request: HttpRequest): Promise<HttpResponse> {
    const names = ['name', 'streams', 'partitions', 'levels', 'deletesSettled', 'start', 'settings'];
    const fields = Fields.ofBody(request, names);
    const name = fields.text('name');
    const streams = await readStreams(fields, this.#catalog);
    const partitions = fields.integer('partitions', null, 1);
    const levels = fields.integer('levels', null, 1);
    await this.#queues.create(name, {
      ...(streams === null ? {} : { streams }),
      ...(partitions === null ? {} : { partitions }),
      ...(levels === null ? {} : { levels }),
      ...(fields.value('deletesSettled') === undefined ? {} : { deletesSettled: fields.flag('deletesSettled') }),
      start: readStart(fields),
      settings: await readQueueSettings(fields, this.#catalog),
    });
    return json(201, summary(await this.#queues.describe(name)));
  }

  async describe(request: HttpRequest): Promise<HttpResponse> {
    return json(200, await this.#queues.describe(Fields.ofQuery(request, ['name']).text('name')));
  }

  async delete(request: HttpRequest): Promise<HttpResponse> {
    const name = Fields.ofBody(request, ['name']).text('name');
    await this.#queues.delete(name);
    return json(200, { name });
  }

  async createGroup(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'group', 'start', 'settings']);
    const [name, group] = [fields.text('name'), fields.text('group')];
    const settings = await readQueueSettings(fields, this.#catalog);
    await this.#queues.createGroup(name, group, settings, readStart(fields));
    return json(201, { name, group });
  }

  async changeGroup(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'group', 'settings']);
    const [name, group] = [fields.text('name'), readGroup(fields)];
    const known = (await this.#queues.describe(name)).groups.find((each) => each.group === group)?.settings;
    await this.#queues.changeGroup(name, group, await readQueueSettings(fields, this.#catalog, known));
    return json(200, { name, group });
  }

  async deleteGroup(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'group']);
    const [name, group] = [fields.text('name'), fields.text('group')];
    await this.#queues.deleteGroup(name, group);
    return json(200, { name, group });
  }

  async produce(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'messages']);
    const nowMs = Date.now();
    const messages = fields.objects('messages', [...recordNames, 'priority'], 1, messagesMax).map((each) => {
      return { ...readRecord(each, nowMs), priority: each.integer('priority', 0, 0, priorityMax) };
    });
    return json(200, { appended: await this.#queues.produce(fields.text('name'), messages) });
  }

  async receive(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'group', 'count', 'waitMs', 'visibilityMs']);
    const visibilityMs = fields.integer('visibilityMs', null, 1, visibilityMsMax);
    const deliveries = await this.#queues.receive(fields.text('name'), {
      name: 'administration',
      group: readGroup(fields),
      countMax: fields.integer('count', 1, 1, messagesMax),
      waitMs: fields.integer('waitMs', 0, 0, waitMsMax),
      ...(visibilityMs === null ? {} : { visibilityMs }),
    });
    const messages = deliveries.map((each) => {
      const { partition, offset, deliveryCount, message } = each;
      return { receipt: receiptText(each), partition, offset, deliveryCount, ...recordJson(message) };
    });
    return json(200, { messages });
  }

  async settle(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'group', 'receipts', 'action', 'delayMs', 'visibilityMs']);
    const settlements = readSettlements(fields);
    const results = await this.#queues.settle(fields.text('name'), readGroup(fields), settlements);
    const settled = settlements.map(({ receipt }, index) => {
      return { receipt: receiptText(receipt), isSettled: results[index] };
    });
    return json(200, { settled });
  }

  async purge(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'group']);
    const [name, group] = [fields.text('name'), readGroup(fields)];
    return json(200, { name, group, purged: await this.#queues.purge(name, group) });
  }

  /** To an offset of a partition; or with `to` or `time` in all of them. */
  async seek(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'group', 'partition', 'offset', 'time', 'to']);
    const [name, group] = [fields.text('name'), readGroup(fields)];
    const [time, offset] = [fields.time('time', null), fields.integer('offset', null, 0)];
    const to = fields.value('to');
    if ([time ?? undefined, offset ?? undefined, to].filter((each) => each !== undefined).length !== 1) {
      throw fields.wrong('to', 'or "time", or "offset" must be there, and only one of them');
    }
    if (to !== undefined && to !== 'earliest' && to !== 'latest') {
      throw fields.wrong('to', 'must be "earliest" or "latest"');
    }
    const { partitions } = await this.#queues.describe(name);
    if (time !== null) await this.#queues.seekToTime(name, group, time);
    else {
      const given = fields.integer('partition', null, 0, partitions.length - 1);
      if (offset !== null && given === null && partitions.length > 1) {
        throw fields.wrong('partition', 'must be there with "offset", since the queue has several');
      }
      const target = offset ?? (to === 'latest' ? Number.MAX_SAFE_INTEGER : 0);
      const numbers = given === null ? partitions.map((_, number) => number) : [given];
      for (const number of numbers) await this.#queues.seek(name, group, number, target);
    }
    const found = (await this.#queues.describe(name)).groups.find((each) => each.group === group);
    // What is read ahead since then does not count.
    const places = (found?.partitions ?? []).map(({ stream, floor }, partition) => ({
      partition,
      stream,
      next: floor,
    }));
    return json(200, { name, group, partitions: places });
  }
}

function readGroup(fields: Fields): string {
  return fields.value('group') === undefined ? defaultGroup : fields.text('group');
}

function readStart(fields: Fields): 'earliest' | 'latest' {
  const start = fields.value('start') ?? 'earliest';
  if (start === 'earliest' || start === 'latest') return start;
  throw fields.wrong('start', 'must be "earliest" or "latest"');
}

/** Sums over the groups: a message that two groups have counts for both. */
function summary({ name, levels, partitions, groups, problem }: QueueDescription): object {
  const sums = { ready: 0, inFlight: 0, delayed: 0, consumers: 0, deadLettered: 0 };
  for (const group of groups) {
    sums.ready += group.ready + group.held;
    sums.inFlight += group.inFlight;
    sums.delayed += group.delayed;
    sums.consumers += group.consumers.length;
    sums.deadLettered += group.counters.deadLettered;
  }
  const problems = groups.flatMap((group) => group.problems);
  return {
    ...{ name, levels, partitions: partitions.length, groups: groups.map(({ group }) => group), ...sums },
    problems: problem === null ? problems : [problem],
  };
}
