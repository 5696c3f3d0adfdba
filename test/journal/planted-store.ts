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
  StreamPartition,
  StreamSettings,
  StreamStore,
} from '../../src/core/ports/stream-store.ts';
import { ForwardingPartition, ForwardingStore } from '../../src/core/streams/forwarding-store.ts';
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

export class PlantedStore extends ForwardingStore {
  readonly #options: PlantedStoreOptions;
  readonly #partitions = new Map<string, PlantedPartition>();

  constructor(inner: StreamStore, options: PlantedStoreOptions) {
    super(inner);
    this.#options = options;
  }

  /** Stores what was answered some time ago. */
  tick(): void {
    for (const partition of this.#partitions.values()) partition.storeUntil(this.#options.now() - earlyMs);
  }

  override async create(name: string, settings?: StreamSettings): Promise<StreamPartition> {
    return this.#ready(await super.create(name, settings));
  }

  override async open(name: string): Promise<StreamPartition> {
    return this.#partitions.get(name) ?? this.#ready(await super.open(name));
  }

  override async remove(name: string): Promise<void> {
    const isGone = this.#partitions.get(name)?.isGone ?? false;
    this.#partitions.delete(name);
    if (!isGone) await super.remove(name);
  }

  protected override wrap(partition: StreamPartition): PlantedPartition {
    return new PlantedPartition(partition, this.#options, () => this.inner.remove(partition.name));
  }

  async #ready(partition: StreamPartition): Promise<StreamPartition> {
    const planted = partition as PlantedPartition;
    await planted.begin();
    this.#partitions.set(planted.name, planted);
    return planted;
  }
}

class PlantedPartition extends ForwardingPartition {
  /** Removed behind the back of its service. */
  isGone = false;
  readonly #options: PlantedStoreOptions;
  readonly #remove: () => Promise<void>;
  readonly #isEarly: boolean;
  readonly #held: { readonly bytes: Buffer; readonly sinceMs: number }[] = [];
  #end = -1;

  constructor(inner: StreamPartition, options: PlantedStoreOptions, remove: () => Promise<void>) {
    super(inner);
    this.#options = options;
    this.#remove = remove;
    this.#isEarly = early.get(options.plant)?.test(inner.name) ?? false;
  }

  /** Finds out where it ends; before the first append. */
  async begin(): Promise<void> {
    const { logEndOffset } = await this.inner.places();
    if (this.#end < 0) this.#end = logEndOffset;
  }

  override append(bytes: Buffer, done: AppendDone): void {
    const header = readBatchHeader(bytes);
    const { plant, now } = this.#options;
    if (this.isGone || this.#isEarly) {
      if (!this.isGone) this.#held.push({ bytes: Buffer.from(bytes), sinceMs: now() });
      this.#pretend(header, done);
    } else if (plant === 'marker written to the first partition only' && this.#isOtherMarker(header)) {
      this.#pretend(header, done);
    } else if (this.#isAnonymous()) this.inner.append(anonymous(bytes, header), done);
    else this.inner.append(bytes, done);
  }

  override async read(request: ReadRequest): Promise<ReadAnswer> {
    const answer = await this.inner.read(request);
    const isRead = answer.nextOffset >= answer.highWatermark && answer.highWatermark > 0;
    if (this.#options.plant === 'delayed bucket removed before all is written' && minute.test(this.name) && isRead) {
      this.isGone = true;
      await this.#remove();
    }
    return answer;
  }

  override async places(): Promise<PartitionPlaces> {
    if (!this.isGone) return this.inner.places();
    const end = this.#end;
    return { logStartOffset: 0, logEndOffset: end, highWatermark: end, lastStableOffset: end, sizeBytes: 0 };
  }

  storeUntil(sinceMs: number): void {
    while (this.#held.length > 0 && this.#held[0].sinceMs <= sinceMs) {
      const held = this.#held.shift();
      // What becomes of it is part of the bug.
      if (held !== undefined) this.inner.append(held.bytes, () => undefined);
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
