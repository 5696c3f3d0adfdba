/**
 * Groups of readers that keep cursors in streams. Lives on the main thread; asked through the services.
 *
 * `GET /api/v1/groups` lists them, `GET …/describe?name=` shows where one is and how far behind, `POST …/reset` moves its cursors and
 * `POST …/delete` forgets it, or some of its cursors.
 */
import type { Cursors, OffsetCursor } from '../../core/ports/cursors.ts';
import type { PartitionPlaces, StreamPartition, StreamStore } from '../../core/ports/stream-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import type { StreamCatalog } from '../../core/streams/stream-catalog.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { json } from './response.ts';
import { orServiceFailure } from './services-failure.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/groups';
const listMax = 1000;
const partitionsAtOnce = 16;

export function groupsRoutes(cursors: Cursors, store: StreamStore, catalog: StreamCatalog): readonly HttpRoute[] {
  const resources = new GroupResources(cursors, store, catalog);
  const route = (method: 'GET' | 'POST', path: string, handle: (request: HttpRequest) => Promise<HttpResponse>) => {
    return { method, path, handler: (request: HttpRequest) => orServiceFailure(() => handle(request)) };
  };
  return [
    route('GET', PATH, (request) => resources.list(request)),
    route('GET', `${PATH}/describe`, (request) => resources.describe(request)),
    route('POST', `${PATH}/reset`, (request) => resources.reset(request)),
    route('POST', `${PATH}/delete`, (request) => resources.delete(request)),
  ];
}

interface Place {
  readonly stream: string;
  readonly partition: StreamPartition;
  readonly places: PartitionPlaces;
}

/** Where the cursors are to go. */
type Target = 'earliest' | 'latest' | { readonly offset: number } | { readonly time: number } | { readonly by: number };

class GroupResources {
  readonly #cursors: Cursors;
  readonly #store: StreamStore;
  readonly #catalog: StreamCatalog;

  constructor(cursors: Cursors, store: StreamStore, catalog: StreamCatalog) {
    this.#cursors = cursors;
    this.#store = store;
    this.#catalog = catalog;
  }

  async list(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofQuery(request, ['after', 'limit']);
    const limit = fields.integer('limit', 100, 1, listMax);
    const after = fields.value('after') === undefined ? '' : fields.text('after');
    const names = (await this.#cursors.groups()).filter((name) => name > after);
    const page = names.slice(0, limit);
    const described = await Promise.allSettled(page.map((name) => this.#cursors.describe(name)));
    const groups = described.flatMap((each) => {
      // One that was deleted meanwhile is not there any more.
      if (each.status === 'rejected') return [];
      const { group, state, generation, cursors } = each.value;
      return [{ name: group, state, generation, cursors: cursors.size }];
    });
    return json(200, { groups, next: names.length > page.length ? (page.at(-1) ?? null) : null });
  }

  async describe(request: HttpRequest): Promise<HttpResponse> {
    const name = Fields.ofQuery(request, ['name']).text('name');
    const { state, generation, cursors } = await this.#cursors.describe(name);
    const entries = [...cursors].sort(([one], [other]) => (one < other ? -1 : 1));
    const shown: object[] = [];
    for (let from = 0; from < entries.length; from += partitionsAtOnce) {
      const some = entries.slice(from, from + partitionsAtOnce);
      shown.push(...(await Promise.all(some.map(([stream, cursor]) => this.#show(stream, cursor)))));
    }
    return json(200, { name, state, generation, cursors: shown });
  }

  /** Without `execute` it only says what would be done. */
  async reset(request: HttpRequest): Promise<HttpResponse> {
    const names = ['name', 'stream', 'partition', 'to', 'offset', 'time', 'by', 'execute'];
    const fields = Fields.ofBody(request, names);
    const [name, execute] = [fields.text('name'), fields.flag('execute')];
    const target = readTarget(fields);
    const places = await this.#placesOf(fields);
    const fetched = await this.#cursors.fetch(
      name,
      places.map(({ stream }) => stream),
    );
    const moves: { readonly stream: string; readonly from: number | null; readonly to: number }[] = [];
    for (const [index, place] of places.entries()) {
      const from = fetched[index].cursor?.offset ?? null;
      moves.push({ stream: place.stream, from, to: await targetOf(place, from, target) });
    }
    if (execute) {
      const commits = moves.map(({ stream, to }) => ({ stream, offset: to }));
      await this.#cursors.commit(name, null, commits);
    }
    return json(200, { name, isExecuted: execute, cursors: moves });
  }

  /** With `stream` its cursors only. */
  async delete(request: HttpRequest): Promise<HttpResponse> {
    const fields = Fields.ofBody(request, ['name', 'stream']);
    const name = fields.text('name');
    if (fields.value('stream') === undefined) {
      await this.#cursors.deleteGroup(name);
      return json(200, { name, isDeleted: true });
    }
    const stream = fields.text('stream');
    const { cursors } = await this.#cursors.describe(name);
    // Also of a stream that is gone.
    const wanted = [...cursors.keys()].filter((each) => each === stream || partitionPattern(stream).test(each));
    return json(200, { name, deleted: await this.#cursors.deleteCursors(name, wanted) });
  }

  async #placesOf(fields: Fields): Promise<readonly Place[]> {
    const { name, partitions } = await this.#catalog.find(fields.text('stream'));
    const given = fields.integer('partition', null, 0);
    if (given !== null && partitions[given] === undefined) {
      throw fields.wrong('partition', `must be one of the ${partitions.length} of "${name}"`);
    }
    const wanted = given === null ? partitions : [partitions[given]];
    return Promise.all(
      wanted.map(async (stream) => {
        const partition = await this.#store.open(stream);
        return { stream, partition, places: await partition.places() };
      }),
    );
  }

  /** A stream that is gone or out of service does not hide the others. */
  async #show(stream: string, { offset, metadata, time }: OffsetCursor): Promise<object> {
    const own = { stream, offset, metadata, time };
    try {
      const { logStartOffset, highWatermark } = await (await this.#store.open(stream)).places();
      const lag = Math.max(0, highWatermark - Math.max(offset, logStartOffset));
      return { ...own, logStartOffset, highWatermark, lag };
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return { ...own, error: { code: error.code, message: error.message } };
    }
  }
}

function partitionPattern(stream: string): RegExp {
  return new RegExp(`^${RegExp.escape(stream)}-\\d{1,4}$`);
}

function readTarget(fields: Fields): Target {
  const to = fields.value('to');
  const [offset, time] = [fields.integer('offset', null, 0), fields.time('time', null)];
  const by = fields.integer('by', null, -Number.MAX_SAFE_INTEGER);
  const given = [to ?? null, offset, time, by].filter((each) => each !== null);
  if (given.length !== 1) throw fields.wrong('to', 'or "offset", "time" or "by" must be there, and only one of them');
  if (offset !== null) return { offset };
  if (time !== null) return { time };
  if (by !== null) return { by };
  if (to === 'earliest' || to === 'latest') return to;
  throw fields.wrong('to', 'must be "earliest" or "latest"');
}

/** Always within the log. */
async function targetOf({ partition, places }: Place, from: number | null, target: Target): Promise<number> {
  const { logStartOffset, highWatermark } = places;
  if (target === 'earliest') return logStartOffset;
  if (target === 'latest') return highWatermark;
  if ('time' in target) return (await partition.offsetForTime(target.time))?.offset ?? highWatermark;
  const wanted = 'offset' in target ? target.offset : (from ?? logStartOffset) + target.by;
  return Math.min(highWatermark, Math.max(logStartOffset, wanted));
}
