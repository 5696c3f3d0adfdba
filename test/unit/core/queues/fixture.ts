/**
 * A world for the queue services: a stream store in memory whose appends take time, fail, and are lost in a crash, with a clock, timers
 * and turns that the test moves. Producers are checked by the real state. One seed, one run.
 */

import { BatchBuilder, type NewRecord } from '../../../../src/core/batch/batch-builder.ts';
import { assignPlace, isControl, readBatchHeader } from '../../../../src/core/batch/batch-format.ts';
import { readControlType } from '../../../../src/core/batch/control-batch.ts';
import { RecordCursor } from '../../../../src/core/batch/record-cursor.ts';
import { validateBatches } from '../../../../src/core/batch/validate-batch.ts';
import type {
  AppendAnswer,
  AppendDone,
  CommittedListener,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StoreHealth,
  StreamPartition,
  StreamSettings,
  StreamStore,
  TimedOffset,
} from '../../../../src/core/ports/stream-store.ts';
import type { QueueContext } from '../../../../src/core/queues/queue-context.ts';
import { ProducerState } from '../../../../src/core/streams/producer-state.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { TimingWheel } from '../../../../src/std/timing-wheel.ts';

/** A small generator with a seed. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed ^ 0x5bd1e995) | 0;
  }

  readonly share = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };

  below(limit: number): number {
    return Math.floor(this.share() * limit);
  }

  hit(probability: number): boolean {
    return this.share() < probability;
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)];
  }
}

interface StoredBatch {
  readonly base: number;
  readonly last: number;
  readonly bytes: Buffer;
}

/** What survives a crash, for one partition. */
class Disk {
  batches: StoredBatch[] = [];
  producers = new ProducerState();
  start = 0;
  end = 0;
  settings: StreamSettings = {};

  /** Throws StorageError. */
  append(bytes: Buffer): AppendAnswer {
    const headers = validateBatches(bytes, 'producer', { batchBytesMax: 16 * 1024 * 1024 });
    let first = -1;
    let isDuplicate = false;
    let at = 0;
    for (const found of headers) {
      const known = this.producers.check(found);
      const slice = Buffer.from(bytes.subarray(at, at + found.size));
      at += found.size;
      if (known !== null) {
        isDuplicate = true;
        if (first === -1) first = known.baseOffset;
        continue;
      }
      assignPlace(slice, 0, this.end, 0);
      const header = readBatchHeader(slice);
      this.producers.apply(header, isControl(header.attributes) ? readControlType(slice) : null);
      this.batches.push({ base: header.baseOffset, last: header.lastOffset, bytes: slice });
      if (first === -1) first = header.baseOffset;
      this.end = header.lastOffset + 1;
      this.producers.onCommitted(this.end);
    }
    return { error: null, baseOffset: first, lastOffset: this.end - 1, isDuplicate };
  }

  stable(): number {
    return this.producers.lastStableOffset(this.end);
  }
}

/** Everything of the outside that a crash does not end. */
export class World {
  readonly chance: Chance;
  readonly disks = new Map<string, Disk>();
  wall = 1_700_000_000_000;
  mono = 0;
  /** Probability that an append is refused and can be tried again, that its answer is lost, and that a crash stores it. */
  refusals = 0;
  losses = 0;
  /** Appends are answered this many turns later, at most. */
  turnsMax = 0;
  /** Refuses appends to these streams for good. */
  readonly refused = new Map<string, StorageError>();
  tasks: (() => void)[] = [];
  wheel = new TimingWheel(10);
  readonly context: QueueContext;
  appends = 0;
  store: TestStore;

  constructor(seed = 1) {
    this.chance = new Chance(seed);
    const world = this;
    this.context = {
      clock: { now: () => this.wall, monotonic: () => this.mono },
      get timers() {
        return world.wheel;
      },
      random: this.chance.share,
      defer: (task) => this.tasks.push(task),
    };
    this.store = new TestStore(this);
  }

  /** Runs what was deferred, and what comes of it, until nothing happens any more. */
  async settle(): Promise<void> {
    for (let idle = 0; idle < 3; ) {
      const count = this.tasks.length;
      this.turn();
      await microtasks();
      idle = count === 0 && this.tasks.length === 0 ? idle + 1 : 0;
    }
  }

  /** One turn of the loop. */
  turn(): void {
    const tasks = this.tasks;
    this.tasks = [];
    for (const task of tasks) task();
  }

  /** Lets time pass, a tick after the other. */
  async pass(ms: number): Promise<void> {
    const end = this.mono + ms;
    await this.settle();
    while (this.mono < end) {
      const step = Math.min(Math.max(10, Math.floor(ms / 200)), end - this.mono);
      this.mono += step;
      this.wall += step;
      this.wheel.advance(Math.floor(this.mono / 10));
      await this.settle();
    }
    // Timers may be one tick late.
    this.wheel.advance(Math.floor(this.mono / 10) + 2);
    await this.settle();
  }

  /** The process dies: appends that were not answered are stored or not, timers and turns are gone. */
  crash(): void {
    this.store.die();
    this.tasks = [];
    this.wheel = new TimingWheel(10);
    this.wheel.advance(Math.floor(this.mono / 10));
    this.store = new TestStore(this);
  }

  disk(name: string): Disk {
    const disk = this.disks.get(name);
    if (disk === undefined) throw new StorageError('STORAGE_PARTITION_UNKNOWN', `There is no "${name}"`);
    return disk;
  }

  /** All records of a stream. */
  records(name: string): TestRecord[] {
    const cursor = new RecordCursor();
    const found: TestRecord[] = [];
    for (const { bytes } of this.disk(name).batches) {
      if (isControl(readBatchHeader(bytes).attributes)) continue;
      cursor.reset(bytes);
      while (cursor.next()) {
        const { offset, timestamp, key, value } = cursor;
        const headers = cursor.headers().map((each) => [each.key.toString(), each.value?.toString() ?? ''] as const);
        found.push({ offset, timestamp, key: key?.toString() ?? null, value: value?.toString() ?? null, headers });
      }
    }
    return found;
  }
}

export interface TestRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: readonly (readonly [string, string])[];
}

export async function microtasks(): Promise<void> {
  for (let count = 0; count < 12; count += 1) await Promise.resolve();
}

class TestPartition implements StreamPartition {
  readonly name: string;
  readonly #world: World;
  readonly #store: TestStore;
  readonly #queue: { readonly bytes: Buffer; readonly given: Buffer; readonly done: AppendDone }[] = [];
  #isPumping = false;
  readonly listeners = new Set<CommittedListener>();

  constructor(name: string, world: World, store: TestStore) {
    this.name = name;
    this.#world = world;
    this.#store = store;
  }

  append(bytes: Buffer, done: AppendDone): void {
    this.#world.appends += 1;
    this.#queue.push({ bytes: Buffer.from(bytes), given: bytes, done });
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#later(this.#world.chance.below(this.#world.turnsMax + 1));
  }

  async read({ offset, bytesMax, isolation = 'committed' }: ReadRequest): Promise<ReadAnswer> {
    this.#check();
    const disk = this.#world.disk(this.name);
    if (offset < disk.start || offset > disk.end) {
      throw new StorageError('STORAGE_OFFSET_OUT_OF_RANGE', `${offset} is not in [${disk.start}, ${disk.end}]`);
    }
    const end = isolation === 'stable' ? disk.stable() : disk.end;
    const slices: Buffer[] = [];
    let bytes = 0;
    let next = offset;
    for (const batch of disk.batches) {
      if (batch.last < offset || batch.last >= end) continue;
      if (bytes > 0 && bytes + batch.bytes.length > bytesMax) break;
      slices.push(batch.bytes);
      bytes += batch.bytes.length;
      next = batch.last + 1;
    }
    return {
      slices,
      bytes,
      nextOffset: next,
      logStartOffset: disk.start,
      highWatermark: disk.end,
      lastStableOffset: disk.stable(),
      aborted: isolation === 'stable' ? disk.producers.abortedIn(offset, next) : [],
    };
  }

  async places(): Promise<PartitionPlaces> {
    this.#check();
    const { start, end, batches } = this.#world.disk(this.name);
    const sizeBytes = batches.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const lastStableOffset = this.#world.disk(this.name).stable();
    return { logStartOffset: start, logEndOffset: end, highWatermark: end, lastStableOffset, sizeBytes };
  }

  async offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    const found = this.#world.records(this.name).find((record) => record.timestamp >= timestamp);
    return found === undefined ? null : { offset: found.offset, timestamp: found.timestamp };
  }

  async deleteBefore(offset: number): Promise<number> {
    this.#check();
    const disk = this.#world.disk(this.name);
    disk.start = Math.max(disk.start, Math.min(offset, disk.end));
    disk.batches = disk.batches.filter((batch) => batch.last >= disk.start);
    return disk.start;
  }

  onCommitted(listener: CommittedListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** What was not answered is stored or not, in order. */
  die(): void {
    for (const { bytes } of this.#queue) {
      if (this.#world.chance.hit(0.5)) return;
      if (this.#world.refused.has(this.name)) return;
      try {
        this.#world.disk(this.name).append(bytes);
      } catch {
        return;
      }
    }
  }

  #check(): void {
    if (this.#store.isDead) throw new StorageError('STORAGE_CLOSED', 'The process has died');
  }

  #later(turns: number): void {
    this.#world.tasks.push(() => {
      if (this.#store.isDead) return;
      if (turns > 0) this.#later(turns - 1);
      else this.#answerNext();
    });
  }

  #answerNext(): void {
    const next = this.#queue.shift();
    if (next === undefined) return;
    if (this.#queue.length > 0) this.#later(this.#world.chance.below(this.#world.turnsMax + 1));
    else this.#isPumping = false;
    if (!next.given.equals(next.bytes)) throw new Error(`An append to "${this.name}" was changed before its answer`);
    next.done(this.#answer(next.bytes));
    // A store may say how far there is something new, or not.
    const { end } = this.#world.disk(this.name);
    for (const listener of this.listeners) listener(end % 2 === 0 ? end : undefined);
  }

  #answer(bytes: Buffer): AppendAnswer {
    const { chance, refusals, losses, refused } = this.#world;
    const none = { baseOffset: -1, lastOffset: -1, isDuplicate: false };
    const forGood = refused.get(this.name);
    if (forGood !== undefined) return { error: forGood, ...none };
    if (chance.hit(refusals)) return { error: new StorageError('STORAGE_UNAVAILABLE', 'refused by chance'), ...none };
    try {
      const answer = this.#world.disk(this.name).append(bytes);
      if (chance.hit(losses)) return { error: new StorageError('STORAGE_UNCERTAIN', 'the answer is lost'), ...none };
      return answer;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return { error, ...none };
    }
  }
}

/** The store of one life of the process. */
export class TestStore implements StreamStore {
  readonly adapter = 'test';
  isDead = false;
  readonly #world: World;
  readonly #partitions = new Map<string, TestPartition>();

  constructor(world: World) {
    this.#world = world;
  }

  health(): StoreHealth {
    return { state: 'ready', reason: '', since: 0 };
  }

  onHealth(): () => void {
    return () => undefined;
  }

  async create(name: string, settings: StreamSettings = {}): Promise<StreamPartition> {
    if (this.#world.disks.has(name)) throw new StorageError('STORAGE_PARTITION_EXISTS', `There is "${name}"`);
    const disk = new Disk();
    disk.settings = settings;
    this.#world.disks.set(name, disk);
    return this.open(name);
  }

  async open(name: string): Promise<TestPartition> {
    this.#world.disk(name);
    const known = this.#partitions.get(name) ?? new TestPartition(name, this.#world, this);
    this.#partitions.set(name, known);
    return known;
  }

  async remove(name: string): Promise<void> {
    this.#world.disk(name);
    this.#world.disks.delete(name);
    this.#partitions.delete(name);
  }

  async names(): Promise<readonly string[]> {
    return [...this.#world.disks.keys()].sort();
  }

  async change(name: string, settings: StreamSettings): Promise<void> {
    this.#world.disk(name).settings = settings;
  }

  async settings(name: string): Promise<StreamSettings> {
    return this.#world.disk(name).settings;
  }

  async close(): Promise<void> {}

  die(): void {
    this.isDead = true;
    for (const partition of this.#partitions.values()) partition.die();
  }
}

export interface NewMessage {
  readonly key?: string | null;
  readonly value: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly timestampMs?: number;
}

/** One batch of messages. */
export function batchOf(world: World, messages: readonly (NewMessage | string)[]): Buffer {
  const builder = new BatchBuilder();
  for (const message of messages) {
    const full = typeof message === 'string' ? { value: message } : message;
    const record: NewRecord = {
      timestampMs: full.timestampMs ?? world.wall,
      key: full.key === undefined || full.key === null ? null : Buffer.from(full.key),
      value: Buffer.from(full.value),
      headers: (full.headers ?? []).map(([key, value]) => ({ key: Buffer.from(key), value: Buffer.from(value) })),
    };
    builder.add(record);
  }
  return builder.build();
}

/** Stores messages at once, as another thread would; readers are told. */
export async function publish(world: World, stream: string, messages: readonly (NewMessage | string)[]): Promise<void> {
  world.disk(stream).append(batchOf(world, messages));
  const partition = await world.store.open(stream);
  for (const listener of partition.listeners) listener();
}
