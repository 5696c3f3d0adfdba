/**
 * The queue services of one owner: queues, their groups, and offset cursors, over any stream store. Thread: one owner for all calls; made
 * by whoever hosts the store; used by protocols, the admin API and the command line.
 */
import { toError } from '../../std/errors.ts';
import type { StreamPartition, StreamSettings, StreamStore } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import { AcknowledgementSet } from './acknowledgement-set.ts';
import { LogRewriter, type RewriteSource } from './log-rewriter.ts';
import { OffsetCursors } from './offset-cursors.ts';
import type { Decompress } from './open-batch.ts';
import { centredLevel, clampedLevel } from './priority.ts';
import type { QueueContext } from './queue-context.ts';
import {
  decodeDefinition,
  defaultGroup,
  encodeDefinition,
  type GroupDefinition,
  groupsPerQueueMax,
  lastIdOf,
  newDefinition,
  partitionFor,
  type QueueDefinition,
  type QueueOptions,
  stateStreamOf,
} from './queue-definition.ts';
import { QueueError } from './queue-error.ts';
import { type QueueSettings, queueSettings } from './queue-settings.ts';
import type { SetDescription } from './set-types.ts';
import { corrupted, StateLog, serviceProducerBase, serviceProducerSpan } from './state-log.ts';

export const queuesStream = '_ringmq.queues';
export const offsetsStream = '_ringmq.offsets';
const idsKey = Buffer.from([1]);
const queueKeyStart = 2;
/** Producer ids of the service's own streams; those of groups follow. */
const reservedIds = 16;
/** Sets that are opened at the same time at the start. */
const openingsMax = 16;

export interface QueueServiceOptions {
  readonly store: StreamStore;
  readonly context: QueueContext;
  readonly decompress?: Decompress | null;
}

export interface QueueDescription {
  readonly name: string;
  readonly ownsStreams: boolean;
  readonly deletesSettled: boolean;
  readonly levels: number;
  readonly groups: readonly SetDescription[];
}

interface OpenQueue {
  definition: QueueDefinition;
  readonly partitions: readonly StreamPartition[];
  readonly sets: Map<string, AcknowledgementSet>;
  /** Durable floors by group. */
  readonly floors: Map<string, readonly number[]>;
  turn: number;
}

export class QueueService {
  readonly #options: QueueServiceOptions;
  readonly #queues = new Map<string, OpenQueue>();
  /** Queues that could not be opened, and why: the others are served all the same. */
  readonly #failed = new Map<string, { readonly definition: QueueDefinition; readonly error: Error }>();
  /** Values of all queues in the log. */
  readonly #known = new Map<string, Buffer>();
  /** As stored, while the service is opened. */
  readonly #stored = new Map<string, QueueDefinition>();
  #log: StateLog | null = null;
  #offsets: OffsetCursors | null = null;
  #waiting: { readonly key: Buffer; readonly value: Buffer | null }[] = [];
  #rewriter: LogRewriter | null = null;
  #nextId = 1;
  /** Changes of queues and groups are done one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  private constructor(options: QueueServiceOptions) {
    this.#options = options;
  }

  /**
   * Opens everything that is stored, and ends deletions that a crash has cut short. A queue that cannot be opened, since a stream of
   * it is gone for example, keeps nobody else out: see `reopenQueue`.
   *
   * @throws StorageError, QueueError QUEUE_STATE_CORRUPTED
   */
  static async open(options: QueueServiceOptions): Promise<QueueService> {
    const service = new QueueService(options);
    const { context } = options;
    const { stream, isCompacted } = await service.#openCompacted(queuesStream);
    if (!isCompacted) service.#rewriter = new LogRewriter(service.#rewriteSource());
    service.#log = await StateLog.open({
      partition: stream,
      producerBase: serviceProducerBase,
      context,
      user: {
        replay: ({ key, value, offset }) => {
          if (key === null || !service.#replay(key, value)) throw corrupted(queuesStream, offset);
        },
        collect: (add, ticket) => {
          let bytes = 0;
          for (const { key, value } of service.#waiting.splice(0)) {
            add(key, value);
            bytes += key.length + (value?.length ?? 0);
          }
          return service.#rewriter?.collect(add, bytes, ticket) ?? false;
        },
        stored: (ticket, offset) => {
          if (service.#log !== null) service.#rewriter?.stored(ticket, offset, service.#log).catch(ignoreStorage);
        },
        failed: ignore,
      },
    });
    service.#offsets = await OffsetCursors.open({
      ...(await service.#openCompacted(offsetsStream)),
      producerBase: serviceProducerBase + serviceProducerSpan,
      context,
    });
    await service.#openAll();
    return service;
  }

  /** @throws QueueError QUEUE_CLOSED */
  get offsets(): OffsetCursors {
    if (this.#offsets === null) throw new QueueError('QUEUE_CLOSED', 'Cannot use the cursors: they are not open');
    return this.#offsets;
  }

  /** Those that could not be opened included. */
  get queueCount(): number {
    return this.#queues.size + this.#failed.size;
  }

  /** Sorted. */
  queues(): string[] {
    return [...this.#queues.keys(), ...this.#failed.keys()].sort();
  }

  /** @throws QueueError QUEUE_UNKNOWN */
  definition(queue: string): QueueDefinition {
    return this.#failed.get(queue)?.definition ?? this.#queueOf(queue).definition;
  }

  /**
   * Creates a queue with the group `default`.
   *
   * @throws QueueError QUEUE_EXISTS, QUEUE_SETTING_INVALID, QUEUE_LIMIT; StorageError when a stream is missing or refused
   */
  createQueue(name: string, options: QueueOptions = {}): Promise<void> {
    return this.#exclusively(async () => {
      if (this.#queues.has(name) || this.#failed.has(name))
        throw new QueueError('QUEUE_EXISTS', `Cannot create queue "${name}": it exists`);
      const definition = newDefinition(name, this.#nextId, options);
      await this.#checkStreams(definition);
      this.#nextId = lastIdOf(definition) + 1;
      await this.#store(definition);
      try {
        await this.#openQueue(definition);
      } catch (error) {
        // Half a queue is none. When this fails, too, it is opened at the next start.
        await this.#removeStreams(definition).catch(ignoreStorage);
        throw error;
      }
    });
  }

  /** Deletes a queue, its groups, and its streams when they are its own. Consumers are told. */
  deleteQueue(name: string): Promise<void> {
    return this.#exclusively(async () => {
      const definition = { ...this.definition(name), isDeleting: true };
      await this.#store(definition);
      const sets = this.#queues.get(name)?.sets.values() ?? [];
      this.#queues.delete(name);
      this.#failed.delete(name);
      for (const set of sets) await set.close();
      await this.#removeStreams(definition);
    });
  }

  /** Tries again to open a queue that could not be opened. Does nothing for one that is open. Rejects with the reason. */
  reopenQueue(name: string): Promise<void> {
    return this.#exclusively(async () => {
      const failed = this.#failed.get(name);
      if (failed === undefined) return;
      const { definition } = failed;
      if (definition.isDeleting) await this.#removeStreams(definition);
      else await this.#openQueue(await this.#endRemovals(definition));
      this.#failed.delete(name);
    });
  }

  /** Why a queue could not be opened; null when it is open. */
  problemOf(name: string): Error | null {
    return this.#failed.get(name)?.error ?? null;
  }

  /** @throws QueueError QUEUE_UNKNOWN, QUEUE_GROUP_EXISTS, QUEUE_LIMIT, QUEUE_SETTING_INVALID */
  createGroup(
    queue: string,
    group: string,
    changes: Partial<QueueSettings> = {},
    start: 'earliest' | 'latest' = 'earliest',
  ): Promise<void> {
    return this.#exclusively(async () => {
      const open = this.#queueOf(queue);
      const { groups } = open.definition;
      if (groups.has(group)) {
        throw new QueueError('QUEUE_GROUP_EXISTS', `Cannot create group "${group}" of "${queue}": it exists`);
      }
      if (groups.size >= groupsPerQueueMax) {
        throw new QueueError('QUEUE_LIMIT', `Cannot create group "${group}": "${queue}" has ${groups.size}`);
      }
      const settings = queueSettings(changes);
      if (settings.deadLetterStream !== null) await this.#options.store.open(settings.deadLetterStream);
      const added: GroupDefinition = { id: this.#nextId, start, settings };
      this.#nextId += 1;
      const definition = { ...open.definition, groups: new Map([...groups, [group, added]]) };
      await this.#store(definition);
      open.definition = definition;
      await this.#openSet(open, group, added);
    });
  }

  /** @throws QueueError QUEUE_UNKNOWN, QUEUE_GROUP_UNKNOWN */
  deleteGroup(queue: string, group: string): Promise<void> {
    return this.#exclusively(async () => {
      const open = this.#queueOf(queue);
      const known = this.#groupOf(open, group);
      const groups = new Map(open.definition.groups);
      groups.delete(group);
      const removals = [...open.definition.removals, stateStreamOf(open.definition, known)];
      const definition = { ...open.definition, groups, removals };
      await this.#store(definition);
      open.definition = definition;
      await this.#closeSet(open, group);
      open.definition = await this.#endRemovals(definition);
    });
  }

  /** Consumers of the group are told that it ends, and add themselves again; what they had is delivered again. */
  changeGroup(queue: string, group: string, changes: Partial<QueueSettings>): Promise<void> {
    return this.#exclusively(async () => {
      const open = this.#queueOf(queue);
      const known = this.#groupOf(open, group);
      const settings = queueSettings(changes, known.settings);
      if (settings.deadLetterStream !== null) await this.#options.store.open(settings.deadLetterStream);
      const changed = { ...known, settings };
      const definition = { ...open.definition, groups: new Map([...open.definition.groups, [group, changed]]) };
      await this.#store(definition);
      open.definition = definition;
      await this.#closeSet(open, group);
      await this.#openSet(open, group, changed);
    });
  }

  /** Opens a group again that has ended with an error, when its reason is gone. */
  reopenGroup(queue: string, group = defaultGroup): Promise<void> {
    return this.changeGroup(queue, group, {});
  }

  /**
   * The acknowledgement set of a group: consumers, settlements, purge and seek.
   *
   * @throws QueueError QUEUE_UNKNOWN, QUEUE_GROUP_UNKNOWN
   */
  group(queue: string, group = defaultGroup): AcknowledgementSet {
    const set = this.#queueOf(queue).sets.get(group);
    if (set === undefined) throw unknownGroup(queue, group);
    return set;
  }

  /**
   * The same, when it is there: a queue that could not be opened is tried again, and so is a group that has ended with an error; a group
   * that is just being changed is waited for. Rejects as `group` throws, and with the reason why it cannot be opened.
   */
  async openGroup(queue: string, group = defaultGroup): Promise<AcknowledgementSet> {
    if (this.#failed.has(queue)) await this.reopenQueue(queue);
    const open = this.#queueOf(queue);
    this.#groupOf(open, group);
    const known = open.sets.get(group);
    if (known !== undefined && known.end === null) return known;
    await this.#exclusively(async () => {
      // Whoever asked before may have opened it.
      const set = this.#queueOf(queue).sets.get(group);
      if (set !== undefined && set.end === null) return;
      await this.#closeSet(open, group);
      await this.#openSet(open, group, this.#groupOf(open, group));
    });
    return this.group(queue, group);
  }

  /**
   * Where a message is to be appended. `scale`: `clamped`, or `centred` for priorities whose usual value is 4.
   *
   * @throws QueueError QUEUE_UNKNOWN
   */
  route(
    queue: string,
    key: Uint8Array | null,
    priority = 0,
    scale: 'clamped' | 'centred' = 'clamped',
  ): StreamPartition {
    const open = this.#queueOf(queue);
    const { partitions } = open.definition;
    const levels = partitions[partitions.length - 1].level + 1;
    const level = scale === 'centred' ? centredLevel(priority, levels) : clampedLevel(priority, levels);
    open.turn = (open.turn + 1) % 0x4000_0000;
    return open.partitions[partitionFor(open.definition, level, key, open.turn)];
  }

  /** All sets of all queues that are open. */
  *sets(): Generator<AcknowledgementSet> {
    for (const { sets } of this.#queues.values()) yield* sets.values();
  }

  /** @throws QueueError QUEUE_UNKNOWN */
  async describe(queue: string): Promise<QueueDescription> {
    const { definition, sets } = this.#queueOf(queue);
    const { name, ownsStreams, deletesSettled, partitions } = definition;
    const groups = await Promise.all([...sets.values()].map((set) => set.describe()));
    return { name, ownsStreams, deletesSettled, levels: partitions[partitions.length - 1].level + 1, groups };
  }

  /** Deletes what all groups have settled durably; done by itself now and then. Answers the new starts of the streams. */
  async trim(queue: string): Promise<readonly number[]> {
    const { definition, partitions, sets, floors } = this.#queueOf(queue);
    const groups = [...sets.keys()].map((group) => floors.get(group));
    const starts: number[] = [];
    for (const [index, partition] of partitions.entries()) {
      const floor = Math.min(...groups.map((each) => each?.[index] ?? 0));
      const isMine = definition.deletesSettled && groups.length > 0 && floor > 0;
      starts.push(isMine ? await partition.deleteBefore(floor) : (await partition.places()).logStartOffset);
    }
    return starts;
  }

  /** Stores what is under way, tells the consumers, and ends. The store stays open. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#last.catch(ignore);
    for (const { sets } of this.#queues.values()) for (const set of sets.values()) await set.close();
    await this.#offsets?.close();
    await this.#log?.close();
  }

  // ---- opening

  #replay(key: Buffer, value: Buffer | null): boolean {
    if (idsKey.equals(key)) {
      const id = Number(value?.toString());
      if (!Number.isSafeInteger(id)) return false;
      this.#nextId = Math.max(this.#nextId, id);
      return true;
    }
    if (key[0] !== queueKeyStart) return false;
    const name = key.toString('utf8', 1);
    if (value === null) {
      this.#stored.delete(name);
      this.#known.delete(name);
      return true;
    }
    this.#known.set(name, Buffer.from(value));
    const definition = decodeDefinition(value);
    if (definition === null || definition.name !== name) return false;
    this.#nextId = Math.max(this.#nextId, lastIdOf(definition) + 1);
    this.#stored.set(name, definition);
    return true;
  }

  async #openAll(): Promise<void> {
    const waiting = [...this.#stored.values()];
    this.#stored.clear();
    const work = async (): Promise<void> => {
      for (let definition = waiting.pop(); definition !== undefined; definition = waiting.pop()) {
        try {
          if (definition.isDeleting) await this.#removeStreams(definition);
          else await this.#openQueue(await this.#endRemovals(definition));
        } catch (thrown) {
          const error = toError(thrown);
          if (!(error instanceof StorageError || error instanceof QueueError)) throw error;
          this.#failed.set(definition.name, { definition, error });
        }
      }
    };
    await Promise.all(Array.from({ length: openingsMax }, work));
  }

  async #openQueue(definition: QueueDefinition): Promise<void> {
    const { store } = this.#options;
    const partitions: StreamPartition[] = [];
    for (const { stream } of definition.partitions) {
      partitions.push(await (definition.ownsStreams ? this.#openStream(stream, {}) : store.open(stream)));
    }
    const open: OpenQueue = { definition, partitions, sets: new Map(), floors: new Map(), turn: 0 };
    try {
      for (const [group, each] of definition.groups) await this.#openSet(open, group, each);
    } catch (error) {
      for (const set of open.sets.values()) await set.close();
      throw error;
    }
    this.#queues.set(definition.name, open);
  }

  async #openSet(open: OpenQueue, group: string, { id, settings, start }: GroupDefinition): Promise<void> {
    const { store, context, decompress = null } = this.#options;
    const { definition } = open;
    const set = await AcknowledgementSet.open({
      queue: definition.name,
      group,
      partitions: definition.partitions.map(({ level }, index) => ({ stream: open.partitions[index], level })),
      state: await this.#openStream(stateStreamOf(definition, { id, settings, start }), {}),
      producerBase: serviceProducerBase + (reservedIds + id) * serviceProducerSpan,
      deadLetters: settings.deadLetterStream === null ? null : await store.open(settings.deadLetterStream),
      settings,
      context,
      start,
      decompress,
      onFloors: (floors) => {
        open.floors.set(group, floors);
        if (this.#queues.get(definition.name) === open) this.trim(definition.name).catch(ignoreStorage);
      },
    });
    open.sets.set(group, set);
  }

  async #closeSet(open: OpenQueue, group: string): Promise<void> {
    const set = open.sets.get(group);
    open.sets.delete(group);
    open.floors.delete(group);
    await set?.close();
  }

  /** Opens an internal stream, and makes it when it is not there. */
  async #openStream(name: string, settings: StreamSettings): Promise<StreamPartition> {
    const { store } = this.#options;
    try {
      return await store.open(name);
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'STORAGE_PARTITION_UNKNOWN') throw error;
      return store.create(name, settings);
    }
  }

  /** A stream for keys and values; where the storage does not compact, the service does. */
  async #openCompacted(name: string): Promise<{ readonly stream: StreamPartition; readonly isCompacted: boolean }> {
    const { store } = this.#options;
    try {
      const stream = await this.#openStream(name, { isCompacted: true });
      return { stream, isCompacted: (await store.settings(name)).isCompacted ?? false };
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'STORAGE_SETTING_UNSUPPORTED') throw error;
      return { stream: await this.#openStream(name, {}), isCompacted: false };
    }
  }

  #rewriteSource(): RewriteSource {
    // Queues that are being created or deleted are known by what is stored of them.
    return {
      keys: () => [idsKey, ...[...this.#known.keys()].map(keyOf)],
      valueOf: (key) => {
        if (idsKey.equals(key)) return Buffer.from(String(this.#nextId));
        return this.#known.get(key.toString('utf8', 1)) ?? null;
      },
    };
  }

  async #checkStreams({ ownsStreams, partitions, groups }: QueueDefinition): Promise<void> {
    const { store } = this.#options;
    if (!ownsStreams) for (const { stream } of partitions) await store.open(stream);
    for (const { settings } of groups.values()) {
      if (settings.deadLetterStream !== null) await store.open(settings.deadLetterStream);
    }
  }

  async #removeStreams(definition: QueueDefinition): Promise<void> {
    for (const group of definition.groups.values()) await this.#removeStream(stateStreamOf(definition, group));
    if (definition.ownsStreams) for (const { stream } of definition.partitions) await this.#removeStream(stream);
    await this.#write(keyOf(definition.name), null);
  }

  /** Streams of groups that were deleted, perhaps before a crash. */
  async #endRemovals(definition: QueueDefinition): Promise<QueueDefinition> {
    if (definition.removals.length === 0) return definition;
    for (const stream of definition.removals) await this.#removeStream(stream);
    const rest = { ...definition, removals: [] };
    await this.#store(rest);
    return rest;
  }

  async #removeStream(name: string): Promise<void> {
    try {
      await this.#options.store.remove(name);
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'STORAGE_PARTITION_UNKNOWN') throw error;
    }
  }

  // ---- records

  #store(definition: QueueDefinition): Promise<void> {
    // Ids are never given twice, even when the queue that had the highest one is deleted: dead letters depend on it.
    this.#waiting.push({ key: idsKey, value: Buffer.from(String(this.#nextId)) });
    return this.#write(keyOf(definition.name), encodeDefinition(definition));
  }

  #write(key: Buffer, value: Buffer | null): Promise<void> {
    const log = this.#log;
    if (log === null) throw new QueueError('QUEUE_CLOSED', 'Cannot store the queue: the service is not open');
    const name = key.toString('utf8', 1);
    if (value === null) this.#known.delete(name);
    else this.#known.set(name, value);
    this.#waiting.push({ key, value });
    return log.whenStored(log.touch());
  }

  #exclusively(change: () => Promise<void>): Promise<void> {
    const next = this.#last.then(() => {
      if (this.#isClosed) throw new QueueError('QUEUE_CLOSED', 'Cannot change queues: the service was closed');
      return change();
    });
    this.#last = next.catch(ignore);
    return next;
  }

  #queueOf(name: string): OpenQueue {
    const queue = this.#queues.get(name);
    if (queue !== undefined) return queue;
    const failed = this.#failed.get(name);
    if (failed === undefined) throw new QueueError('QUEUE_UNKNOWN', `Cannot find queue "${name}": there is none`);
    const { message } = failed.error;
    throw new QueueError('QUEUE_STORAGE_FAILED', `Cannot open queue "${name}": ${message}`, { cause: failed.error });
  }

  #groupOf({ definition }: OpenQueue, group: string): GroupDefinition {
    const known = definition.groups.get(group);
    if (known === undefined) throw unknownGroup(definition.name, group);
    return known;
  }
}

function unknownGroup(queue: string, group: string): QueueError {
  return new QueueError('QUEUE_GROUP_UNKNOWN', `Cannot find group "${group}" of "${queue}": there is none`);
}

function keyOf(name: string): Buffer {
  return Buffer.concat([Buffer.from([queueKeyStart]), Buffer.from(name)]);
}

function ignore(): void {
  // Told to whoever waits.
}

/** What was not deleted now is deleted next time. */
function ignoreStorage(thrown: unknown): void {
  const error = toError(thrown);
  if (!(error instanceof StorageError || error instanceof QueueError)) throw error;
}
