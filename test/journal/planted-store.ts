/**
 * A store with a bug, to see that the rounds find it: each plant stands for a line that is missing or wrong in a service. Those that
 * have nothing to do with the store are planted in the host. Thread of the host.
 */
import {
  type BatchHeader,
  isControl,
  readBatchHeader,
  sealBatch,
  writeInt64,
} from '../../src/core/batch/batch-format.ts';
import type {
  AppendDone,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StoreHealth,
  StreamPartition,
  StreamSettings,
  StreamStore,
  TimedOffset,
} from '../../src/core/ports/stream-store.ts';
import { partitionNames, queueDeadLetters, type ServiceName, transactionOutputs } from './store-lines.ts';

/** Plant → the service whose checks must find it. */
export const plants = {
  'batches of producers stored again when they are sent again': 'producers',
  'transaction answered before its decision is durable': 'transactions',
  'marker written to the first partition only': 'transactions',
  'epoch not raised when a producer begins': 'transactions',
  'cursors set before the transaction ends': 'transactions',
  'delayed messages accepted before they are durable': 'delayed',
  'delayed messages written early': 'delayed',
  'intent of delayed messages written after the batch': 'delayed',
  'delayed bucket removed before all is written': 'delayed',
  'settlement confirmed before it is stored': 'queues',
  'dead letters without a sequence': 'queues',
  'half messages and roll-backs answered before they are durable': 'half',
  'intent of half messages written after the batch': 'half',
} as const satisfies Record<string, ServiceName>;

export type Plant = keyof typeof plants;

/** @throws Error when there is none of this name */
export function plantNamed(name: string): Plant {
  if (Object.hasOwn(plants, name)) return name as Plant;
  throw new Error(`Cannot plant "${name}": expected one of\n  ${Object.keys(plants).join('\n  ')}`);
}

/** What is answered before it is stored reaches the store so much later. */
const earlyMs = 40;

/** Streams whose appends are answered before they are stored. */
const early = new Map<Plant, RegExp>([
  ['transaction answered before its decision is durable', /^__transactions$/],
  ['delayed messages accepted before they are durable', /^__delayed\.\d+\.\d+$/],
  ['intent of delayed messages written after the batch', /^__delayed\.intents$/],
  ['settlement confirmed before it is stored', /^_queue-\d+-group-\d+$/],
  ['half messages and roll-backs answered before they are durable', /^__half\.log$/],
  ['intent of half messages written after the batch', /^__half\.intents$/],
]);

const minute = /^__delayed\.0\.\d+$/;

export interface PlantedStoreOptions {
  readonly plant: Plant;
  /** Milliseconds since 1970. */
  now(): number;
  defer(task: () => void): void;
}

export class PlantedStore implements StreamStore {
  readonly adapter = 'planted';
  readonly #inner: StreamStore;
  readonly #options: PlantedStoreOptions;
  readonly #partitions = new Map<string, PlantedPartition>();

  constructor(inner: StreamStore, options: PlantedStoreOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  /** Stores what was answered some time ago. */
  tick(): void {
    for (const partition of this.#partitions.values()) partition.storeUntil(this.#options.now() - earlyMs);
  }

  health(): StoreHealth {
    return this.#inner.health();
  }

  onHealth(listener: (health: StoreHealth) => void): () => void {
    return this.#inner.onHealth(listener);
  }

  async create(name: string, settings?: StreamSettings): Promise<StreamPartition> {
    return this.#wrap(await this.#inner.create(name, settings));
  }

  async open(name: string): Promise<StreamPartition> {
    return this.#partitions.get(name) ?? this.#wrap(await this.#inner.open(name));
  }

  async remove(name: string): Promise<void> {
    const isGone = this.#partitions.get(name)?.isGone ?? false;
    this.#partitions.delete(name);
    if (!isGone) await this.#inner.remove(name);
  }

  names(): Promise<readonly string[]> {
    return this.#inner.names();
  }

  change(name: string, settings: StreamSettings): Promise<void> {
    return this.#inner.change(name, settings);
  }

  settings(name: string): Promise<StreamSettings> {
    return this.#inner.settings(name);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #wrap(inner: StreamPartition): Promise<StreamPartition> {
    const { logEndOffset } = await inner.places();
    const known = this.#partitions.get(inner.name);
    if (known !== undefined) return known;
    const remove = (): Promise<void> => this.#inner.remove(inner.name);
    const wrapped = new PlantedPartition(inner, this.#options, logEndOffset, remove);
    this.#partitions.set(inner.name, wrapped);
    return wrapped;
  }
}

class PlantedPartition implements StreamPartition {
  readonly name: string;
  /** Removed behind the back of its service. */
  isGone = false;
  readonly #inner: StreamPartition;
  readonly #options: PlantedStoreOptions;
  readonly #remove: () => Promise<void>;
  readonly #isEarly: boolean;
  readonly #held: { readonly bytes: Buffer; readonly sinceMs: number }[] = [];
  #end: number;

  constructor(inner: StreamPartition, options: PlantedStoreOptions, end: number, remove: () => Promise<void>) {
    this.name = inner.name;
    this.#inner = inner;
    this.#options = options;
    this.#end = end;
    this.#remove = remove;
    this.#isEarly = early.get(options.plant)?.test(inner.name) ?? false;
  }

  append(bytes: Buffer, done: AppendDone): void {
    const header = readBatchHeader(bytes);
    const { plant, now } = this.#options;
    if (this.isGone || this.#isEarly) {
      if (!this.isGone) this.#held.push({ bytes: Buffer.from(bytes), sinceMs: now() });
      this.#pretend(header, done);
    } else if (plant === 'marker written to the first partition only' && this.#isOtherMarker(header)) {
      this.#pretend(header, done);
    } else if (this.#isAnonymous()) this.#inner.append(anonymous(bytes, header), done);
    else this.#inner.append(bytes, done);
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    const answer = await this.#inner.read(request);
    const isRead = answer.nextOffset >= answer.highWatermark && answer.highWatermark > 0;
    if (this.#options.plant === 'delayed bucket removed before all is written' && minute.test(this.name) && isRead) {
      this.isGone = true;
      await this.#remove();
    }
    return answer;
  }

  async places(): Promise<PartitionPlaces> {
    if (!this.isGone) return this.#inner.places();
    const end = this.#end;
    return { logStartOffset: 0, logEndOffset: end, highWatermark: end, lastStableOffset: end, sizeBytes: 0 };
  }

  offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    return this.#inner.offsetForTime(timestamp);
  }

  deleteBefore(offset: number): Promise<number> {
    return this.#inner.deleteBefore(offset);
  }

  onCommitted(listener: () => void): () => void {
    return this.#inner.onCommitted(listener);
  }

  storeUntil(sinceMs: number): void {
    while (this.#held.length > 0 && this.#held[0].sinceMs <= sinceMs) {
      const held = this.#held.shift();
      // What becomes of it is part of the bug.
      if (held !== undefined) this.#inner.append(held.bytes, () => undefined);
    }
  }

  /** Answers as if it were stored. */
  #pretend({ lastOffset, baseOffset }: BatchHeader, done: AppendDone): void {
    const first = this.#end;
    this.#end += lastOffset - baseOffset + 1;
    const answer = { error: null, baseOffset: first, lastOffset: this.#end - 1, isDuplicate: false };
    this.#options.defer(() => done(answer));
  }

  #isOtherMarker({ attributes }: BatchHeader): boolean {
    return isControl(attributes) && this.name !== transactionOutputs[0];
  }

  #isAnonymous(): boolean {
    const { plant } = this.#options;
    if (plant === 'dead letters without a sequence') return this.name === queueDeadLetters;
    return plant === 'batches of producers stored again when they are sent again' && this.name === partitionNames[0];
  }
}

/** The same batch without its producer, which a store cannot tell from a new one. */
function anonymous(bytes: Buffer, { attributes }: BatchHeader): Buffer {
  const copy = Buffer.from(bytes);
  if (isControl(attributes)) return copy;
  writeInt64(copy, -1, 43);
  copy.writeInt16BE(-1, 51);
  copy.writeInt32BE(-1, 53);
  sealBatch(copy, 0, copy.length);
  return copy;
}
