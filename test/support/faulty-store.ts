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
  StreamPartition,
  StreamSettings,
  StreamStore,
} from '../../src/core/ports/stream-store.ts';
import { ForwardingPartition, ForwardingStore } from '../../src/core/streams/forwarding-store.ts';
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

export class FaultyStore extends ForwardingStore {
  readonly #plan: FaultPlan;

  constructor(inner: StreamStore, plan: FaultPlan) {
    super(inner);
    this.#plan = plan;
  }

  override async create(name: string, settings?: StreamSettings): Promise<StreamPartition> {
    failWhenPlanned(this.#plan, name);
    return super.create(name, settings);
  }

  override async open(name: string): Promise<StreamPartition> {
    failWhenPlanned(this.#plan, name);
    return super.open(name);
  }

  override async remove(name: string): Promise<void> {
    failWhenPlanned(this.#plan, name);
    return super.remove(name);
  }

  protected override wrap(partition: StreamPartition): StreamPartition {
    return new FaultyPartition(partition, this.#plan);
  }
}

class FaultyPartition extends ForwardingPartition {
  readonly #plan: FaultPlan;

  constructor(inner: StreamPartition, plan: FaultPlan) {
    super(inner);
    this.#plan = plan;
  }

  override append(bytes: Buffer, done: AppendDone): void {
    const fate = this.#plan.fateOf(this.name);
    if (fate === 'refuse' || fate === 'lose') {
      const answer = failed(fate === 'refuse' ? 'STORAGE_UNAVAILABLE' : 'STORAGE_UNCERTAIN');
      setImmediate(() => done(answer));
      return;
    }
    const changed = this.#plan.change?.(this.name, bytes) ?? bytes;
    super.append(changed, (answer) => done(fate === 'hide' ? failed('STORAGE_UNCERTAIN') : answer));
  }

  override async read(request: ReadRequest): Promise<ReadAnswer> {
    failWhenPlanned(this.#plan, this.name);
    return super.read(request);
  }

  override async places(): Promise<PartitionPlaces> {
    failWhenPlanned(this.#plan, this.name);
    return super.places();
  }

  override async deleteBefore(offset: number): Promise<number> {
    failWhenPlanned(this.#plan, this.name);
    return super.deleteBefore(offset);
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
