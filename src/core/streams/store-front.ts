/**
 * `StreamStore` over a `StoreEngine`: all storage adapters but the journal. It gathers what the partitions have to write, so that one
 * call of the engine stores runs of many of them, and keeps the time bounds. Thread: the one that holds the store; made by the
 * adapters.
 *
 * Bounds: `waitingBytesMax` of appends in memory (twice, while they are written); what waits longer than `waitMsMax` is answered.
 */

import { randomUUID } from 'node:crypto';
import { toError } from '../../std/errors.ts';
import type { StoreHealth, StreamPartition, StreamSettings, StreamStore } from '../ports/stream-store.ts';
import type { AppendRun } from './append-run.ts';
import { ClosedRetention } from './closed-retention.ts';
import { EngineLink } from './engine-link.ts';
import type { FrontLimits } from './front-state.ts';
import { PartitionFront, type PartitionHost } from './partition-front.ts';
import { StorageError } from './storage-error.ts';
import { EngineFailedError, type EngineOutcome, type StoreEngine } from './store-engine.ts';
import { checkPartitionName, checkStreamSettings, unknownPartition } from './stream-settings.ts';

export interface StoreFrontOptions extends Partial<FrontLimits> {
  /** Milliseconds since 1970. Default Date.now. */
  now?(): number;
  /** Bytes of appends that may wait; more are refused with STORAGE_UNAVAILABLE. Default 64 MiB. */
  readonly waitingBytesMax?: number;
  /** The engine must be there within this time when the store is opened. Default 30 s. */
  readonly openWaitMsMax?: number;
  /** Default 30 s. */
  readonly callTimeoutMs?: number;
  /** Pause before the first and before later tries. Default 50 ms and 5 s. */
  readonly retryMsMin?: number;
  readonly retryMsMax?: number;
  /** Retention of partitions that are not open is looked after so often. Default 10 min. */
  readonly walkMs?: number;
  /** Between two of these partitions. Default 20 ms. */
  readonly walkPauseMs?: number;
  /** Told when the engine was lost and is tried again; for counting. */
  onLost?(): void;
  /** Retention is applied so often. Default 30 s. */
  readonly upkeepMs?: number;
}

/** Nobody can make a partition of this name. */
const probedName = '.';
const mebibyte = 1024 * 1024;
const dayMs = 24 * 60 * 60 * 1000;
/** Waiting appends are looked at so often, at least. */
const expireMsMax = 250;

interface Write {
  readonly partition: PartitionFront;
  readonly run: AppendRun;
}

export class StoreFront implements StreamStore {
  readonly adapter: string;
  readonly #engine: StoreEngine;
  readonly #link: EngineLink;
  readonly #host: PartitionHost;
  readonly #now: () => number;
  readonly #waitingBytesMax: number;
  readonly #partitions = new Map<string, PartitionFront>();
  /** One call about a name at a time. */
  readonly #lanes = new Map<string, Promise<unknown>>();
  readonly #ready = new Set<PartitionFront>();
  #waitingBytes = 0;
  #waitingCount = 0;
  /** Told when nobody waits for an answer. */
  #onDrained: (() => void) | null = null;
  #writes = 0;
  #isPumpDue = false;
  #isProbeDue = false;
  #isUpkeep = false;
  #isLooking = false;
  #timers: NodeJS.Timeout[] = [];
  readonly #closedRetention: ClosedRetention;
  #closing: Promise<void> | null = null;

  private constructor(engine: StoreEngine, options: StoreFrontOptions) {
    const { callTimeoutMs = 30_000, retryMsMin = 50, retryMsMax = 5000 } = options;
    this.adapter = engine.adapter;
    this.#engine = engine;
    this.#now = options.now?.bind(options) ?? Date.now;
    this.#waitingBytesMax = options.waitingBytesMax ?? 64 * mebibyte;
    const now = this.#now;
    const onLost = (): void => options.onLost?.();
    this.#link = new EngineLink({ now, reset: () => engine.reset(), onLost, callTimeoutMs, retryMsMin, retryMsMax });
    this.#link.onHealth(({ state, reason }) => {
      if (state === 'failed') this.#failAll(reason);
      if (state === 'retrying') void this.#lookForEngine();
    });
    this.#closedRetention = new ClosedRetention({
      names: () => this.#call('list the partitions', () => engine.names()),
      isOpen: (name) => this.#partitions.has(name),
      peek: (name) => this.#call(`look at "${name}"`, () => engine.peek(name)),
      retain: (name) => this.#retainClosed(name),
      now,
      pause: () => new Promise((resolve) => setTimeout(resolve, options.walkPauseMs ?? 20).unref()),
      isStopped: () => this.#closing !== null || this.#link.health.state !== 'ready',
    });
    this.#host = {
      engine,
      link: this.#link,
      limits: {
        waitMsMax: options.waitMsMax ?? 30_000,
        readWaitMsMax: options.readWaitMsMax ?? 10_000,
        snapshotBytes: options.snapshotBytes ?? 16 * mebibyte,
        producerExpiryMs: options.producerExpiryMs ?? 7 * dayMs,
      },
      now,
      reserve: (bytes) => this.#reserve(bytes),
      release: (bytes) => this.#release(bytes),
      wake: (partition) => this.#wake(partition),
    };
  }

  /** Applies retention to partitions that nobody has open; done by itself every `walkMs`. */
  walk(): Promise<void> {
    return this.#closedRetention.walk();
  }

  /** Connects. @throws StorageError STORAGE_UNAVAILABLE when the engine is not there in time, and what it refuses */
  static async open(engine: StoreEngine, options: StoreFrontOptions = {}): Promise<StoreFront> {
    const store = new StoreFront(engine, options);
    try {
      await store.#link.call(`open the ${engine.adapter} store`, options.openWaitMsMax ?? 30_000, () => engine.open());
    } catch (error) {
      await engine.close();
      throw error;
    }
    store.#start(options.upkeepMs ?? 30_000, options.walkMs ?? 600_000);
    return store;
  }

  health(): StoreHealth {
    return this.#link.health;
  }

  onHealth(listener: (health: StoreHealth) => void): () => void {
    return this.#link.onHealth(listener);
  }

  async create(name: string, settings: StreamSettings = {}): Promise<StreamPartition> {
    checkPartitionName(name);
    const checked = checkStreamSettings(settings);
    return this.#inLane(name, async () => {
      const id = randomUUID();
      const outcome = await this.#call(`create "${name}"`, () => this.#engine.create(name, id, checked));
      if (outcome === 'exists') {
        throw new StorageError('STORAGE_PARTITION_EXISTS', `Cannot create partition "${name}": there is one`);
      }
      return this.#open(name);
    });
  }

  async open(name: string): Promise<StreamPartition> {
    return this.#inLane(name, () => this.#open(name));
  }

  async remove(name: string): Promise<void> {
    await this.#inLane(name, async () => {
      const partition = await this.#open(name);
      await partition.alone(() => this.#call(`remove "${name}"`, () => this.#engine.remove(name, partition.id)));
      partition.fail(unknownPartition(name));
      this.#partitions.delete(name);
    });
  }

  async names(): Promise<readonly string[]> {
    this.#assertOpen();
    const names = await this.#call('list the partitions', () => this.#engine.names());
    return [...names].sort();
  }

  async change(name: string, settings: StreamSettings): Promise<void> {
    const checked = checkStreamSettings(settings);
    await this.#inLane(name, async () => {
      const partition = await this.#open(name);
      await partition.change({ ...partition.settings, ...checked });
    });
  }

  async settings(name: string): Promise<StreamSettings> {
    return this.#inLane(name, async () => (await this.#open(name)).settings);
  }

  /** Applies retention to all open partitions; done by itself every `upkeepMs`. What fails is tried again the next time. */
  async upkeep(): Promise<void> {
    for (const partition of [...this.#partitions.values()]) {
      try {
        await partition.upkeep(this.#now());
      } catch (error) {
        // The health of the store, or the partition itself, says why.
        if (!(error instanceof StorageError)) throw error;
      }
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #start(upkeepMs: number, walkMs: number): void {
    const { waitMsMax } = this.#host.limits;
    const expire = setInterval(
      () => {
        const now = this.#now();
        for (const partition of this.#partitions.values()) partition.expire(now);
      },
      Math.max(10, Math.min(expireMsMax, waitMsMax / 4)),
    );
    const upkeep = setInterval(() => {
      if (this.#isUpkeep) return;
      this.#isUpkeep = true;
      void this.upkeep().finally(() => {
        this.#isUpkeep = false;
      });
    }, upkeepMs);
    const walk = setInterval(() => void this.walk(), walkMs);
    this.#timers = [expire, upkeep, walk];
  }

  async #close(): Promise<void> {
    const [expire, upkeep, walk] = this.#timers;
    clearInterval(upkeep);
    clearInterval(walk);
    await Promise.allSettled(this.#lanes.values());
    // Those who wait are answered: each within its time.
    if (this.#waitingCount > 0) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
      });
    }
    const partitions = [...this.#partitions.values()];
    if (this.#link.health.state === 'ready') await this.#rest(partitions);
    const closed = new StorageError('STORAGE_CLOSED', 'Cannot use the store: it is closed');
    for (const partition of partitions) partition.fail(closed);
    clearInterval(expire);
    this.#link.hurry();
    await this.#engine.close();
  }

  /** Saves what shortens the next opening; an engine that goes away meanwhile does not hold this up for ever. */
  async #rest(partitions: readonly PartitionFront[]): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#host.limits.readWaitMsMax);
    await Promise.race([Promise.all(partitions.map((partition) => partition.rest())), promise]);
    clearTimeout(timer);
  }

  async #open(name: string): Promise<PartitionFront> {
    const known = this.#partitions.get(name);
    if (known !== undefined) {
      if (known.failure?.code === 'STORAGE_LEADER_FENCED' || known.failure?.code === 'STORAGE_CORRUPTED') {
        await known.reopen();
      }
      return known;
    }
    const partition = await PartitionFront.open(this.#host, name);
    this.#partitions.set(name, partition);
    return partition;
  }

  /** Somebody must find out that the engine is there again, also when nobody has anything to ask. */
  async #lookForEngine(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    while (this.#closing === null && this.#link.health.state === 'retrying') {
      await this.#link.pause();
      if (this.#closing !== null || this.#link.health.state !== 'retrying') break;
      // Why it is not there says the health.
      await this.#link.attempt(() => this.#engine.peek(probedName)).catch(() => undefined);
    }
    this.#isLooking = false;
  }

  async #retainClosed(name: string): Promise<void> {
    await this.#inLane(name, async () => {
      if (this.#partitions.has(name)) return;
      const partition = await PartitionFront.open(this.#host, name);
      await partition.upkeep(this.#now());
      await partition.rest();
    });
  }

  #inLane<T>(name: string, task: () => Promise<T>): Promise<T> {
    this.#assertOpen();
    const before = this.#lanes.get(name) ?? Promise.resolve();
    const mine = before.then(task, task);
    this.#lanes.set(name, mine);
    const leave = (): void => {
      if (this.#lanes.get(name) === mine) this.#lanes.delete(name);
    };
    mine.then(leave, leave);
    return mine;
  }

  #call<T>(what: string, call: () => Promise<T>): Promise<T> {
    return this.#link.call(what, this.#host.limits.readWaitMsMax, call);
  }

  #assertOpen(): void {
    if (this.#closing !== null) throw new StorageError('STORAGE_CLOSED', 'Cannot use the store: it is closed');
  }

  #reserve(bytes: number): void {
    this.#assertOpen();
    // One append that is larger than all the room is taken when nothing else waits.
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > this.#waitingBytesMax) {
      throw new StorageError('STORAGE_UNAVAILABLE', 'Cannot append: too much waits to be stored');
    }
    this.#waitingBytes += bytes;
    this.#waitingCount += 1;
  }

  #release(bytes: number): void {
    this.#waitingBytes -= bytes;
    this.#waitingCount -= 1;
    if (this.#waitingCount === 0) this.#onDrained?.();
  }

  /** What one turn of the event loop submits goes into one write. */
  #wake(partition: PartitionFront): void {
    this.#ready.add(partition);
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    setImmediate(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  /** While the engine is away, what is not sent yet is better off: it is known not to be stored. */
  #probeLater(): void {
    if (this.#isProbeDue) return;
    this.#isProbeDue = true;
    void this.#link.pause().then(() => {
      this.#isProbeDue = false;
      this.#pump(true);
    });
  }

  #pump(isProbe = false): void {
    if (this.#writes >= this.#engine.writesMax || this.#ready.size === 0) return;
    if (!isProbe && this.#link.health.state === 'retrying') {
      this.#probeLater();
      return;
    }
    const ready = [...this.#ready];
    this.#ready.clear();
    const writes: Write[] = [];
    for (const partition of ready) {
      const run = partition.takeRun();
      if (run !== null) writes.push({ partition, run });
    }
    if (writes.length === 0) return;
    this.#writes += 1;
    void this.#write(writes).then(() => {
      this.#writes -= 1;
      this.#pump();
    });
  }

  async #write(writes: readonly Write[]): Promise<void> {
    const runs = writes.map(({ partition, run }) => run.seal(partition.handle()));
    const outcomes = await this.#outcomes(runs);
    if (outcomes.includes('lost')) this.#link.lostPart();
    for (const [at, { partition, run }] of writes.entries()) partition.settle(run, outcomes[at] ?? 'lost');
  }

  async #outcomes(runs: Parameters<StoreEngine['append']>[0]): Promise<readonly (EngineOutcome | EngineFailedError)[]> {
    try {
      return await this.#link.attempt(() => this.#engine.append(runs));
    } catch (thrown) {
      const error = toError(thrown);
      const isKnown = error instanceof StorageError || error instanceof EngineFailedError;
      return runs.map(() => (isKnown ? error : 'lost'));
    }
  }

  #failAll(reason: string): void {
    const message = `Cannot use the ${this.adapter} store: ${reason}`;
    const failure = new StorageError('STORAGE_PARTITION_FAILED', message);
    for (const partition of this.#partitions.values()) partition.fail(failure);
    this.#link.hurry();
  }
}
