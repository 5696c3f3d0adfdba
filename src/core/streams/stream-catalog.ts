/**
 * Streams over partitions: which partitions of a store make up a stream, and how one is made, grown and deleted so that a crash in
 * the middle never leaves half of one. Thread: any; each thread that administers streams has one over its own store.
 *
 * There is no register beside the store that could differ from it: the partitions of the stream `orders` are called `orders-0`,
 * `orders-1`, … and a stream is there when its partition 0 is. It has as many partitions as follow each other from 0 on without a gap.
 * So partitions are made from the last to the first and removed from the first to the last: the one call that makes or removes
 * partition 0, or closes the gap, is the moment at which the whole stream is there, larger, or gone. What a crash leaves behind
 * (partitions behind a gap) is no part of a stream; `delete` removes it, and `create` does where it is empty.
 *
 * Names that begin with `_` are internal: logs of the core services and streams of queues. Each of their partitions is shown as a
 * stream of its own, under its own name, and nothing here changes one.
 */

import type { StreamPartition, StreamSettings, StreamStore } from '../ports/stream-store.ts';
import { StorageError } from './storage-error.ts';
import { checkPartitionName } from './stream-settings.ts';

/** Code → what it means. */
export const streamErrorCodes = {
  STREAM_EXISTS: 'There is a stream of this name already.',
  STREAM_INCOMPLETE:
    'Partitions of a stream that was being deleted are still there, with records. Delete it again first.',
  STREAM_INTERNAL: 'Streams whose names begin with "_" belong to the broker.',
  STREAM_NAME_INVALID: 'A stream has 1 to 244 characters out of letters, digits, ".", "_" and "-".',
  STREAM_PARTITIONS_INVALID: 'A stream has 1 to 1,024 partitions, and never fewer than before.',
  STREAM_PARTITION_UNKNOWN: 'The stream has no partition of this number.',
  STREAM_UNKNOWN: 'There is no stream of this name.',
} as const;

export type StreamErrorCode = keyof typeof streamErrorCodes;

export class StreamError extends Error {
  override readonly name = 'StreamError';
  readonly code: StreamErrorCode;

  constructor(code: StreamErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export const streamPartitionsMax = 1024;
/** So that the name of each partition is one of a store. */
const nameLengthMax = 244;

export interface StreamSummary {
  readonly name: string;
  readonly isInternal: boolean;
  /** Names in the store, by number of the partition. */
  readonly partitions: readonly string[];
}

export class StreamCatalog {
  readonly #store: StreamStore;
  /** The change under way of each stream, so that two never mix. */
  readonly #changes = new Map<string, Promise<unknown>>();

  constructor(store: StreamStore) {
    this.#store = store;
  }

  /** Sorted by name. Rejects with StorageError. */
  async list(options: { readonly withInternal?: boolean } = {}): Promise<readonly StreamSummary[]> {
    const { withInternal = false } = options;
    const streams = streamsOf(await this.#store.names());
    return withInternal ? streams : streams.filter(({ isInternal }) => !isInternal);
  }

  /** Rejects with StreamError STREAM_UNKNOWN, or StorageError. */
  async find(name: string): Promise<StreamSummary> {
    const names = await this.#store.names();
    if (isInternalStream(name)) {
      if (!names.includes(name)) throw unknownStream(name);
      return { name, isInternal: true, partitions: [name] };
    }
    const count = countFromZero(numbersOf(name, names));
    if (count === 0) throw unknownStream(name);
    return { name, isInternal: false, partitions: partitionNames(name, 0, count) };
  }

  /** Rejects with StreamError STREAM_UNKNOWN or STREAM_PARTITION_UNKNOWN, or StorageError. */
  async openPartition(name: string, partition: number): Promise<StreamPartition> {
    return this.open(await this.find(name), partition);
  }

  /** The same of a stream that was found before. */
  async open(stream: StreamSummary, partition: number): Promise<StreamPartition> {
    return this.#store.open(partitionOf(stream, partition));
  }

  /** All partitions are kept the same way. Rejects with StreamError or StorageError; then there is no such stream. */
  create(name: string, partitionCount = 1, settings: StreamSettings = {}): Promise<StreamSummary> {
    return this.#change(name, async () => {
      checkCount(name, partitionCount);
      const numbers = numbersOf(name, await this.#store.names());
      if (numbers.has(0)) throw new StreamError('STREAM_EXISTS', `Cannot create stream "${name}": it exists`);
      for (const number of numbers) await this.#removeEmpty(name, number);
      await this.#createPartitions(name, 0, partitionCount, settings);
      return { name, isInternal: false, partitions: partitionNames(name, 0, partitionCount) };
    });
  }

  /** Settings that are not given stay. Rejects with StreamError or StorageError; asked again it goes on where it failed. */
  change(name: string, settings: StreamSettings, partitionCount?: number): Promise<StreamSummary> {
    return this.#change(name, async () => {
      const { partitions } = await this.find(name);
      const count = partitionCount ?? partitions.length;
      checkCount(name, count);
      if (count < partitions.length) {
        const reason = `it has ${partitions.length} partitions, and fewer would lose records`;
        throw new StreamError('STREAM_PARTITIONS_INVALID', `Cannot change stream "${name}": ${reason}`);
      }
      if (Object.keys(settings).length > 0) for (const each of partitions) await this.#store.change(each, settings);
      if (count > partitions.length) await this.#grow(name, partitions.length, count);
      return { name, isInternal: false, partitions: partitionNames(name, 0, count) };
    });
  }

  /** With all records. Rejects with StreamError or StorageError; then it may be gone in part, and is deleted by asking again. */
  delete(name: string): Promise<void> {
    return this.#change(name, async () => {
      const numbers = numbersOf(name, await this.#store.names());
      if (numbers.size === 0) throw unknownStream(name);
      for (const number of numbers) await this.#remove(`${name}-${number}`);
    });
  }

  async #grow(name: string, from: number, count: number): Promise<void> {
    const numbers = numbersOf(name, await this.#store.names());
    for (const number of numbers) if (number >= from) await this.#removeEmpty(name, number);
    await this.#createPartitions(name, from, count, await this.#store.settings(`${name}-0`));
  }

  async #createPartitions(name: string, from: number, count: number, settings: StreamSettings): Promise<void> {
    const made: string[] = [];
    try {
      for (const each of partitionNames(name, from, count).reverse()) {
        await this.#store.create(each, settings);
        made.push(each);
      }
    } catch (error) {
      // What cannot be removed either is behind a gap, and the next attempt clears it.
      await Promise.allSettled(made.reverse().map((each) => this.#store.remove(each)));
      throw error;
    }
  }

  async #removeEmpty(name: string, number: number): Promise<void> {
    const partition = await this.#store.open(`${name}-${number}`);
    const { logStartOffset, logEndOffset } = await partition.places();
    if (logEndOffset > logStartOffset) {
      const reason = `partition "${name}-${number}" is left of a deletion, and has records; delete the stream again`;
      throw new StreamError('STREAM_INCOMPLETE', `Cannot make partitions of stream "${name}": ${reason}`);
    }
    await this.#remove(`${name}-${number}`);
  }

  /** One that somebody else has removed meanwhile is gone as well. */
  async #remove(partition: string): Promise<void> {
    try {
      await this.#store.remove(partition);
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'STORAGE_PARTITION_UNKNOWN') throw error;
    }
  }

  async #change<T>(name: string, work: () => Promise<T>): Promise<T> {
    checkStreamName(name);
    while (this.#changes.has(name)) await this.#changes.get(name);
    const run = work();
    const ended = run.catch(() => undefined).then(() => this.#changes.delete(name));
    this.#changes.set(name, ended);
    return run;
  }
}

export function isInternalStream(name: string): boolean {
  return name.startsWith('_');
}

/** @throws StreamError STREAM_PARTITION_UNKNOWN */
function partitionOf({ name, partitions }: StreamSummary, number: number): string {
  const partition = partitions[number];
  if (partition !== undefined) return partition;
  const range = partitions.length === 1 ? 'partition 0 only' : `partitions 0 to ${partitions.length - 1}`;
  throw new StreamError(
    'STREAM_PARTITION_UNKNOWN',
    `Cannot use partition ${number} of stream "${name}": it has ${range}`,
  );
}

/** Whether it may be changed from outside. @throws StreamError STREAM_INTERNAL */
export function checkIsPublic(name: string): void {
  if (!isInternalStream(name)) return;
  throw new StreamError('STREAM_INTERNAL', `Cannot change stream "${name}": it belongs to the broker`);
}

function checkStreamName(name: string): void {
  checkIsPublic(name);
  if (name.length > nameLengthMax) throw invalidName(name);
  try {
    checkPartitionName(`${name}-0`);
    checkPartitionName(name);
  } catch {
    throw invalidName(name);
  }
}

function invalidName(name: string): StreamError {
  const shown = JSON.stringify(name.slice(0, 300));
  return new StreamError(
    'STREAM_NAME_INVALID',
    `Cannot name a stream ${shown}: ${streamErrorCodes.STREAM_NAME_INVALID}`,
  );
}

function checkCount(name: string, count: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= streamPartitionsMax) return;
  const reason = `${count} is not a whole number from 1 to ${streamPartitionsMax}`;
  throw new StreamError('STREAM_PARTITIONS_INVALID', `Cannot give stream "${name}" partitions: ${reason}`);
}

function unknownStream(name: string): StreamError {
  return new StreamError('STREAM_UNKNOWN', `Cannot find stream ${JSON.stringify(name.slice(0, 300))}`);
}

function partitionNames(name: string, from: number, end: number): string[] {
  return Array.from({ length: end - from }, (_, index) => `${name}-${from + index}`);
}

/** The stream and the number of a partition; null when its name is not one of a stream. */
function split(partition: string): { readonly name: string; readonly number: number } | null {
  const match = /^(.+)-(0|[1-9]\d{0,3})$/.exec(partition);
  if (match === null) return null;
  const number = Number(match[2]);
  return number < streamPartitionsMax ? { name: match[1], number } : null;
}

/** Ascending. */
function numbersOf(name: string, partitions: readonly string[]): ReadonlySet<number> {
  const found = partitions.flatMap((partition) => {
    const parts = partition.startsWith(name) ? split(partition) : null;
    return parts !== null && parts.name === name ? [parts.number] : [];
  });
  return new Set(found.sort((a, b) => a - b));
}

function countFromZero(numbers: ReadonlySet<number>): number {
  let count = 0;
  while (numbers.has(count)) count += 1;
  return count;
}

function streamsOf(partitions: readonly string[]): StreamSummary[] {
  const numbers = new Map<string, Set<number>>();
  const streams: StreamSummary[] = [];
  for (const partition of partitions) {
    if (isInternalStream(partition)) {
      streams.push({ name: partition, isInternal: true, partitions: [partition] });
      continue;
    }
    const parts = split(partition);
    if (parts === null) continue;
    const known = numbers.get(parts.name);
    if (known === undefined) numbers.set(parts.name, new Set([parts.number]));
    else known.add(parts.number);
  }
  for (const [name, found] of numbers) {
    const count = countFromZero(found);
    if (count > 0) streams.push({ name, isInternal: false, partitions: partitionNames(name, 0, count) });
  }
  return streams.sort((a, b) => (a.name < b.name ? -1 : 1));
}
