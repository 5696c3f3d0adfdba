/**
 * Streams: named sets of partitions. Lives on the main thread.
 *
 * `GET /api/v1/streams` lists them and `POST` there makes one; `GET …/describe?name=` tells all about one; `POST …/change`, `/purge`
 * and `/delete` take its name. Streams that belong to the broker are shown with `internal=true` and never changed.
 */
import type { PartitionPlaces, StreamStore } from '../../core/ports/stream-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { checkIsPublic, type StreamCatalog, type StreamSummary } from '../../core/streams/stream-catalog.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { json } from './response.ts';
import { orStreamFailure, toFailure } from './streams-failure.ts';
import { Fields, readSettings } from './streams-fields.ts';

const PATH = '/api/v1/streams';
/** Partitions that are asked at the same time: other calls of this thread come between. */
const partitionsAtOnce = 16;

export function streamsRoutes(store: StreamStore, catalog: StreamCatalog): readonly HttpRoute[] {
  const resources = new StreamResources(store, catalog);
  const route = (method: 'GET' | 'POST', path: string, handle: (request: HttpRequest) => Promise<HttpResponse>) => {
    return { method, path, handler: (request: HttpRequest) => orStreamFailure(() => handle(request)) };
  };
  return [
    route('GET', PATH, (request) => resources.list(request)),
    route('POST', PATH, (request) => resources.create(request)),
    route('GET', `${PATH}/describe`, (request) => resources.describe(request)),
    route('POST', `${PATH}/change`, (request) => resources.change(request)),
    route('POST', `${PATH}/purge`, (request) => resources.purge(request)),
    route('POST', `${PATH}/delete`, (request) => resources.delete(request)),
  ];
}

interface PartitionState {
  readonly partition: number;
  readonly places: PartitionPlaces | null;
  readonly error: StorageError | null;
}

class StreamResources {
  readonly #store: StreamStore;
  readonly #catalog: StreamCatalog;

  constructor(store: StreamStore, catalog: StreamCatalog) {
    this.#store = store;
    this.#catalog = catalog;
  }

  async list(request: HttpRequest): Promise<HttpResponse> {
    const withInternal = Fields.ofQuery(request, ['internal']).flag('internal');
    return json(200, { streams: (await this.#catalog.list({ withInternal })).map(summarise) });
  }

  async create(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'partitions', 'settings']);
    const count = fields.integer('partitions', 1, 1);
    return json(201, summarise(await this.#catalog.create(fields.text('name'), count, readSettings(fields))));
  }

  async describe(request: HttpRequest): Promise<HttpResponse> {
    const stream = await this.#catalog.find(Fields.ofQuery(request, ['name']).text('name'));
    const settings = await this.#store.settings(stream.partitions[0]);
    const partitions: PartitionState[] = [];
    for (let from = 0; from < stream.partitions.length; from += partitionsAtOnce) {
      const some = stream.partitions.slice(from, from + partitionsAtOnce);
      partitions.push(...(await Promise.all(some.map((name, index) => this.#stateOf(name, from + index)))));
    }
    return json(200, {
      ...summarise(stream),
      adapter: this.#store.adapter,
      settings,
      sizeBytes: partitions.reduce((sum, { places }) => sum + (places?.sizeBytes ?? 0), 0),
      partitionStates: partitions.map(({ partition, places, error }) => ({
        partition,
        ...places,
        ...(error === null ? {} : { error: { code: error.code, message: error.message } }),
      })),
    });
  }

  async change(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'partitions', 'settings']);
    const count = fields.integer('partitions', undefined, 1);
    return json(200, summarise(await this.#catalog.change(fields.text('name'), readSettings(fields), count)));
  }

  async delete(request: HttpRequest): Promise<HttpResponse> {
    const name = Fields.ofBody(request, ['name']).text('name');
    await this.#catalog.delete(name);
    return json(200, { name });
  }

  /** Of one partition, or with `all` of every one: offsets of different partitions have nothing to do with each other. */
  async purge(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'partition', 'before', 'all']);
    const name = fields.text('name');
    checkIsPublic(name);
    const before = fields.integer('before', null, 0);
    if ((before === null) === !fields.flag('all')) {
      throw fields.wrong('before', 'or "all": true must be there, and not both');
    }
    const stream = await this.#catalog.find(name);
    const partition = fields.integer('partition', null, 0);
    if (before !== null && partition === null && stream.partitions.length > 1) {
      throw fields.wrong('partition', 'must be there with "before", since the stream has several');
    }
    const numbers = partition === null ? stream.partitions.map((_, number) => number) : [partition];
    const done: { readonly partition: number; readonly logStartOffset: number }[] = [];
    try {
      for (const number of numbers) {
        const opened = await this.#catalog.open(stream, number);
        const offset = before ?? (await opened.places()).highWatermark;
        done.push({ partition: number, logStartOffset: await opened.deleteBefore(offset) });
      }
    } catch (error) {
      const failure = toFailure(error, { partitions: done });
      if (failure === null) throw error;
      return failure;
    }
    return json(200, { name, partitions: done });
  }

  /** One partition that is out of service does not hide the others. */
  async #stateOf(name: string, partition: number): Promise<PartitionState> {
    try {
      return { partition, places: await (await this.#store.open(name)).places(), error: null };
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return { partition, places: null, error };
    }
  }
}

function summarise({ name, isInternal, partitions }: StreamSummary): object {
  return { name, partitions: partitions.length, isInternal };
}
