/**
 * A stream store that refuses appends, or hides their fate, when its owner's chance says so; for tests of what services make of
 * it. Everything else goes to the store inside.
 */

import type {
  AppendAnswer,
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
import { StorageError, type StorageErrorCode } from '../../src/core/streams/storage-error.ts';

/**
 * `refuse`: nothing is stored, STORAGE_UNAVAILABLE. `hide`: it is stored, and the answer is STORAGE_UNCERTAIN. `lose`: it is not, and
 * the answer is the same.
 */
export type AppendFate = 'store' | 'refuse' | 'hide' | 'lose';

export interface FaultPlan {
  fateOf(partition: string): AppendFate;
  /** Null, or why a call that is not an append fails. */
  failureOf?(partition: string): StorageErrorCode | null;
  /** What is appended instead. */
  change?(partition: string, bytes: Buffer): Buffer;
}

export class FaultyStore implements StreamStore {
  readonly adapter = 'faulty';
  readonly #inner: StreamStore;
  readonly #plan: FaultPlan;
  readonly #partitions = new Map<StreamPartition, FaultyPartition>();

  constructor(inner: StreamStore, plan: FaultPlan) {
    this.#inner = inner;
    this.#plan = plan;
  }

  health(): StoreHealth {
    return this.#inner.health();
  }

  onHealth(listener: (health: StoreHealth) => void): () => void {
    return this.#inner.onHealth(listener);
  }

  async create(name: string, settings?: StreamSettings): Promise<StreamPartition> {
    failWhenPlanned(this.#plan, name);
    return this.#wrap(await this.#inner.create(name, settings));
  }

  async open(name: string): Promise<StreamPartition> {
    failWhenPlanned(this.#plan, name);
    return this.#wrap(await this.#inner.open(name));
  }

  async remove(name: string): Promise<void> {
    failWhenPlanned(this.#plan, name);
    return this.#inner.remove(name);
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

  #wrap(partition: StreamPartition): StreamPartition {
    const known = this.#partitions.get(partition);
    if (known !== undefined) return known;
    const wrapped = new FaultyPartition(partition, this.#plan);
    this.#partitions.set(partition, wrapped);
    return wrapped;
  }
}

class FaultyPartition implements StreamPartition {
  readonly name: string;
  readonly #inner: StreamPartition;
  readonly #plan: FaultPlan;

  constructor(inner: StreamPartition, plan: FaultPlan) {
    this.name = inner.name;
    this.#inner = inner;
    this.#plan = plan;
  }

  append(bytes: Buffer, done: AppendDone): void {
    const fate = this.#plan.fateOf(this.name);
    if (fate === 'refuse' || fate === 'lose') {
      const answer = failed(fate === 'refuse' ? 'STORAGE_UNAVAILABLE' : 'STORAGE_UNCERTAIN');
      setImmediate(() => done(answer));
      return;
    }
    const changed = this.#plan.change?.(this.name, bytes) ?? bytes;
    this.#inner.append(changed, (answer) => done(fate === 'hide' ? failed('STORAGE_UNCERTAIN') : answer));
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    failWhenPlanned(this.#plan, this.name);
    return this.#inner.read(request);
  }

  async places(): Promise<PartitionPlaces> {
    failWhenPlanned(this.#plan, this.name);
    return this.#inner.places();
  }

  offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    return this.#inner.offsetForTime(timestamp);
  }

  async deleteBefore(offset: number): Promise<number> {
    failWhenPlanned(this.#plan, this.name);
    return this.#inner.deleteBefore(offset);
  }

  onCommitted(listener: () => void): () => void {
    return this.#inner.onCommitted(listener);
  }
}

function failWhenPlanned(plan: FaultPlan, name: string): void {
  const code = plan.failureOf?.(name) ?? null;
  if (code !== null) throw new StorageError(code, `Cannot use "${name}": it was planned so`);
}

function failed(code: StorageErrorCode): AppendAnswer {
  const error = new StorageError(code, 'Cannot append: it was planned so');
  return { error, baseOffset: -1, lastOffset: -1, isDuplicate: false };
}
