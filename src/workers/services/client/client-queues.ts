/**
 * Queues as a thread uses them that does not have them. Messages go straight to the storage of the thread: which partition takes one
 * follows from the definition of the queue, which is asked for once and never changes. Owned by the services client of a thread.
 */
import { BatchBuilder } from '../../../core/batch/batch-builder.ts';
import type {
  AttachedConsumer,
  AttachOptions,
  Delivery,
  QueueDescription,
  QueueMessage,
  QueueOptions,
  QueueSettings,
  Queues,
  ReceiveOptions,
  Settlement,
  StoredPlace,
} from '../../../core/ports/queues.ts';
import type { AppendAnswer, StreamPartition, StreamStore } from '../../../core/ports/stream-store.ts';
import { centredLevel, clampedLevel } from '../../../core/queues/priority.ts';
import { QueueError } from '../../../core/queues/queue-error.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { hashBytes } from '../../../std/hash.ts';
import { openDeliveries } from '../delivery-codec.ts';
import type { ServiceCall } from '../messages.ts';
import type { ClientConsumers } from './client-consumers.ts';
import type { CallOptions, ServiceCalls } from './service-calls.ts';

/** Queues whose partitions are remembered; beyond it all are asked for anew. */
const routesMax = 10_000;
const receiveCountMax = 1_000;

export interface ClientQueuesOptions {
  readonly calls: ServiceCalls;
  readonly store: StreamStore;
  readonly consumers: ClientConsumers;
}

/** Partitions of a queue by level of priority. */
interface Route {
  readonly levels: readonly (readonly StreamPartition[])[];
  turn: number;
}

/** What the host answers to `queue-route`. */
type RoutePlaces = readonly { readonly stream: string; readonly level: number }[];

export class ClientQueues implements Queues {
  readonly #options: ClientQueuesOptions;
  readonly #routes = new Map<string, Promise<Route>>();

  constructor(options: ClientQueuesOptions) {
    this.#options = options;
  }

  async create(queue: string, options: QueueOptions = {}): Promise<void> {
    await this.#call({ call: 'queue-create', queue: text(queue), options: plain(options) });
  }

  async delete(queue: string): Promise<void> {
    await this.#call({ call: 'queue-delete', queue: text(queue) });
    this.#routes.delete(queue);
  }

  async names(): Promise<readonly string[]> {
    return (await this.#call({ call: 'queue-names' }, { canRepeat: true })) as readonly string[];
  }

  async describe(queue: string): Promise<QueueDescription> {
    return (await this.#call({ call: 'queue-describe', queue: text(queue) }, { canRepeat: true })) as QueueDescription;
  }

  async createGroup(
    queue: string,
    group: string,
    settings: Partial<QueueSettings> = {},
    start: 'earliest' | 'latest' = 'earliest',
  ): Promise<void> {
    const named = { queue: text(queue), group: text(group) };
    await this.#call({ call: 'group-create', ...named, settings: plain(settings), start });
  }

  async changeGroup(queue: string, group: string, settings: Partial<QueueSettings>): Promise<void> {
    await this.#call({ call: 'group-change', queue: text(queue), group: text(group), settings: plain(settings) });
  }

  async deleteGroup(queue: string, group: string): Promise<void> {
    await this.#call({ call: 'group-delete', queue: text(queue), group: text(group) });
  }

  async produce(queue: string, messages: readonly QueueMessage[]): Promise<readonly StoredPlace[]> {
    try {
      return await this.#produce(queue, messages);
    } catch (error) {
      // Nothing was stored: the queue was deleted, perhaps made anew, since it was asked for.
      const isGone = error instanceof StorageError && error.code === 'STORAGE_PARTITION_UNKNOWN';
      if (!isGone || messages.length > 1) throw error;
      return this.#produce(queue, messages);
    }
  }

  async route(queue: string, message: QueueMessage): Promise<string> {
    return partitionOf(await this.#routeOf(text(queue)), message).name;
  }

  attach(queue: string, options: AttachOptions): Promise<AttachedConsumer> {
    return this.#options.consumers.attach(text(queue), options);
  }

  async receive(queue: string, options: ReceiveOptions, signal?: AbortSignal): Promise<readonly Delivery[]> {
    const { group = 'default', name, countMax = 1, waitMs = 0, visibilityMs = null } = options;
    checkRange('countMax', countMax, 1, receiveCountMax);
    checkRange('waitMs', waitMs, 0, 3_600_000);
    if (signal?.aborted === true) return [];
    if (visibilityMs !== null) checkRange('visibilityMs', visibilityMs, 1, Number.MAX_SAFE_INTEGER);
    const named = { queue: text(queue), group: text(group), name: String(name) };
    const call = { call: 'receive', ...named, countMax, waitMs, visibilityMs } as const;
    let isAborted = false;
    let number = 0;
    const answer = this.#options.calls.run(call, { waitMs }, (id) => {
      number = id;
    });
    const cancel = (): void => {
      isAborted = true;
      this.#options.consumers.cancel(number);
    };
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return openDeliveries((await answer) as ArrayBuffer);
    } catch (error) {
      const isGivenUp = isAborted && error instanceof StorageError && error.code === 'STORAGE_UNAVAILABLE';
      if (isGivenUp) return [];
      throw error;
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  settle(queue: string, group: string, settlements: readonly Settlement[]): Promise<readonly boolean[]> {
    return this.#options.consumers.settle(queue, group, settlements);
  }

  async purge(queue: string, group: string): Promise<number> {
    return (await this.#call({ call: 'purge', queue: text(queue), group: text(group) })) as number;
  }

  async seek(queue: string, group: string, partition: number, offset: number): Promise<number> {
    checkRange('partition', partition, 0, Number.MAX_SAFE_INTEGER);
    checkRange('offset', offset, 0, Number.MAX_SAFE_INTEGER);
    const call = { call: 'seek', queue: text(queue), group: text(group), partition, offset } as const;
    return (await this.#call(call)) as number;
  }

  async seekToTime(queue: string, group: string, timeMs: number): Promise<void> {
    checkRange('time', timeMs, 0, Number.MAX_SAFE_INTEGER);
    await this.#call({ call: 'seek-time', queue: text(queue), group: text(group), timeMs });
  }

  #call(call: ServiceCall, options: CallOptions = {}): Promise<unknown> {
    return this.#options.calls.run(call, options);
  }

  async #produce(queue: string, messages: readonly QueueMessage[]): Promise<readonly StoredPlace[]> {
    const route = await this.#routeOf(queue);
    const nowMs = Date.now();
    // One message is the usual case: no map, and no list of places.
    if (messages.length === 1) {
      const partition = partitionOf(route, messages[0]);
      const { baseOffset } = await this.#append(queue, partition, batchOf(messages, nowMs));
      return [{ partition: partition.name, offset: baseOffset }];
    }
    const batches = new Map<StreamPartition, number[]>();
    for (const [index, message] of messages.entries()) {
      const partition = partitionOf(route, message);
      const known = batches.get(partition);
      if (known === undefined) batches.set(partition, [index]);
      else known.push(index);
    }
    const places = new Array<StoredPlace>(messages.length);
    const appends = [...batches].map(async ([partition, indexes]) => {
      const some = indexes.map((index) => messages[index]);
      const { baseOffset } = await this.#append(queue, partition, batchOf(some, nowMs));
      for (const [at, index] of indexes.entries())
        places[index] = { partition: partition.name, offset: baseOffset + at };
    });
    // All are answered before one is told, so that nothing is stored behind the caller's back.
    const failed = (await Promise.allSettled(appends)).find((each) => each.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return places;
  }

  async #append(queue: string, partition: StreamPartition, bytes: Buffer): Promise<AppendAnswer> {
    const answer = await new Promise<AppendAnswer>((resolve) => partition.append(bytes, resolve));
    if (answer.error === null) return answer;
    if (answer.error.code === 'STORAGE_PARTITION_UNKNOWN') this.#routes.delete(queue);
    throw answer.error;
  }

  #routeOf(queue: string): Promise<Route> {
    const known = this.#routes.get(queue);
    if (known !== undefined) return known;
    if (this.#routes.size >= routesMax) this.#routes.clear();
    const asked = this.#askRoute(queue);
    this.#routes.set(queue, asked);
    asked.catch(() => {
      if (this.#routes.get(queue) === asked) this.#routes.delete(queue);
    });
    return asked;
  }

  async #askRoute(queue: string): Promise<Route> {
    const places = (await this.#call({ call: 'queue-route', queue }, { canRepeat: true })) as RoutePlaces;
    const levels: StreamPartition[][] = [];
    for (const { stream, level } of places) {
      levels[level] ??= [];
      levels[level].push(await this.#options.store.open(stream));
    }
    return { levels, turn: 0 };
  }
}

/** As `partitionFor` of the definition has it. */
function partitionOf(route: Route, { key = null, priority = 0, priorityScale }: QueueMessage): StreamPartition {
  const { levels } = route;
  const count = levels.length;
  const level = priorityScale === 'centred' ? centredLevel(priority, count) : clampedLevel(priority, count);
  const partitions = levels[level];
  route.turn = (route.turn + 1) % 0x4000_0000;
  if (partitions.length === 1) return partitions[0];
  const number = key === null ? route.turn : hashBytes(key, 0, key.length) >>> 0;
  return partitions[number % partitions.length];
}

function batchOf(messages: readonly QueueMessage[], nowMs: number): Buffer {
  const builder = new BatchBuilder({}, 256);
  for (const { key = null, value = null, headers = [], timestampMs = nowMs } of messages) {
    checkBytes('key', key);
    checkBytes('value', value);
    builder.add({ timestampMs, key, value, headers });
  }
  return builder.build();
}

function checkBytes(name: string, bytes: unknown): void {
  if (bytes === null || bytes instanceof Uint8Array) return;
  throw new QueueError('QUEUE_SETTING_INVALID', `Cannot produce a message: its ${name} is neither bytes nor null`);
}

/** What cannot be sent to another thread would break everything else that is sent with it. */
function plain<T>(value: T): T {
  try {
    return structuredClone(value);
  } catch (error) {
    throw new QueueError('QUEUE_SETTING_INVALID', 'Cannot use the settings: they are no plain values', {
      cause: error,
    });
  }
}

function text(name: string): string {
  if (typeof name === 'string') return name;
  throw new QueueError('QUEUE_SETTING_INVALID', 'Cannot use a name that is no text');
}

function checkRange(name: string, value: number, low: number, high: number): void {
  if (Number.isSafeInteger(value) && value >= low && value <= high) return;
  throw new QueueError(
    'QUEUE_SETTING_INVALID',
    `Cannot use ${value} as ${name}: expected a whole number from ${low} to ${high}`,
  );
}
