/** What the tests of transactions share: the coordinator over a journal that can crash, cursors, and a clock that the test moves. */

import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { batchAttributes } from '../../../../src/core/batch/batch-format.ts';
import type { AppendAnswer, StreamStore } from '../../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { Pauses } from '../../../../src/core/transactions/backoff.ts';
import { type ProducerIdentity, ProducerRegistry } from '../../../../src/core/transactions/producer-registry.ts';
import {
  TransactionCoordinator,
  type TransactionCoordinatorOptions,
  type TransactionCursors,
  type TransactionEnd,
} from '../../../../src/core/transactions/transaction-coordinator.ts';
import { CrashingStore } from '../../../support/crashing-store.ts';
import type { CrashFate } from '../../../support/simulated-disk.ts';
import { recordsOf, turn } from '../../../support/stream-records.ts';

export const startMs = 1_800_000_000_000;

/** Cursors as durable as can be, so that the test sees what the coordinator asks of them. */
export class PlainCursors implements TransactionCursors {
  readonly set = new Map<string, string>();
  readonly #staged = new Map<number, Map<string, string>>();
  /** So many calls fail. */
  failures = 0;

  stage(producerId: number, group: string, value: string): void {
    const staged = this.#staged.get(producerId) ?? new Map<string, string>();
    staged.set(group, value);
    this.#staged.set(producerId, staged);
  }

  async finish(producerId: number, outcome: TransactionEnd): Promise<void> {
    if (this.failures > 0) {
      this.failures -= 1;
      throw new StorageError('STORAGE_UNAVAILABLE', 'Cannot finish: it was planned so');
    }
    if (outcome === 'commit')
      for (const [group, value] of this.#staged.get(producerId) ?? []) this.set.set(group, value);
    this.#staged.delete(producerId);
  }
}

export class TransactionWorld {
  nowMs = startMs;
  readonly disks: CrashingStore;
  readonly cursors = new PlainCursors();
  readonly given: Partial<TransactionCoordinatorOptions>;
  pauses = new Pauses(startMs);
  coordinator!: TransactionCoordinator;
  producers!: ProducerRegistry;
  wrap: (store: StreamStore) => StreamStore = (store) => store;
  wrapped!: StreamStore;

  constructor(seed = 1, given: Partial<TransactionCoordinatorOptions> = {}) {
    this.disks = new CrashingStore(seed, () => this.nowMs);
    this.given = given;
  }

  get store(): StreamStore {
    return this.disks.store;
  }

  async open(): Promise<TransactionCoordinator> {
    this.wrapped = this.wrap(this.store);
    const { cursors, wrapped: store } = this;
    const now = (): number => this.nowMs;
    this.pauses = new Pauses(this.nowMs);
    const { pauses } = this;
    const opened: { coordinator: TransactionCoordinator | null } = { coordinator: null };
    const opening = (async () => {
      while (opened.coordinator === null) {
        try {
          this.producers = await ProducerRegistry.open({ store, now, pauses });
          const options = { store, cursors, producers: this.producers, now, pauses, ...this.given };
          opened.coordinator = await TransactionCoordinator.open(options);
        } catch (error) {
          if (!(error instanceof StorageError && error.canRetry)) throw error;
          await turn();
        }
      }
      return opened.coordinator;
    })();
    for (let turns = 0; opened.coordinator === null && turns < 10_000; turns += 1) {
      await turn();
      if (turns % 20 === 19) this.nowMs += 1;
      pauses.tick(this.nowMs);
    }
    this.coordinator = await opening;
    return this.coordinator;
  }

  async crash(fate: CrashFate | 'kill' = 'mixed'): Promise<TransactionCoordinator> {
    this.coordinator.close();
    this.disks.crash(fate);
    return this.open();
  }

  /** Lets everything come to rest; the clock goes on slowly, for attempts that failed. */
  async settle(): Promise<void> {
    for (let rest = 0, turns = 1; rest < 3; turns += 1) {
      this.coordinator.tick();
      await turn();
      if (turns % 20 === 0) this.nowMs += 1;
      rest = this.coordinator.isIdle ? rest + 1 : 0;
    }
  }

  async pass(ms: number, stepMs = 100): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.nowMs += Math.min(left, stepMs);
      await this.settle();
    }
  }

  /** Begins, however often it has to ask. */
  async begin(name: string, timeoutMs = 60_000, producer: ProducerIdentity | null = null): Promise<ProducerIdentity> {
    for (;;) {
      try {
        return await this.coordinator.initialize(name, timeoutMs, producer);
      } catch (error) {
        if ((error as { code?: string }).code !== 'TRANSACTION_CONCURRENT') throw error;
        await this.settle();
      }
    }
  }

  async write(
    partition: string,
    producer: ProducerIdentity,
    baseSequence: number,
    values: readonly string[],
    attributes: number = batchAttributes.transactional,
  ): Promise<AppendAnswer> {
    const builder = new BatchBuilder({ ...producer, baseSequence, attributes });
    for (const value of values) builder.add({ timestampMs: this.nowMs, value: Buffer.from(value) });
    const opened = await this.wrapped.open(partition);
    return new Promise((resolve) => opened.append(builder.build(), resolve));
  }

  async stable(partition: string): Promise<(string | null)[]> {
    return (await recordsOf(await this.store.open(partition), 'stable')).map(({ value }) => value);
  }

  async close(): Promise<void> {
    this.coordinator.close();
    await this.disks.close();
  }
}
