/** What the tests of delayed messages share: the service over a journal that can crash, and a clock that the test moves. */

import {
  type CancelOutcome,
  type DelayedHandle,
  DelayedMessages,
  type DelayedMessagesOptions,
} from '../../../../src/core/delayed/delayed-messages.ts';
import type { StreamStore } from '../../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { Pauses } from '../../../../src/core/transactions/backoff.ts';
import { ProducerRegistry } from '../../../../src/core/transactions/producer-registry.ts';
import { CrashingStore } from '../../../support/crashing-store.ts';
import type { CrashFate } from '../../../support/simulated-disk.ts';
import { recordsOf, type SeenRecord, turn } from '../../../support/stream-records.ts';

export const startMs = 1_800_000_000_000;

type Given = Partial<Omit<DelayedMessagesOptions, 'store' | 'producers' | 'now' | 'pauses'>>;

export class DelayedWorld {
  nowMs = startMs;
  readonly disks: CrashingStore;
  readonly given: Given;
  delayed!: DelayedMessages;
  pauses = new Pauses(startMs);
  /** How often it was tried to open; 0 when it is open. */
  attempts = 0;
  /** Wraps the store, to plant faults. */
  wrap: (store: StreamStore) => StreamStore = (store) => store;

  constructor(seed = 1, given: Given = {}) {
    this.disks = new CrashingStore(seed, () => this.nowMs);
    this.given = given;
  }

  get store(): StreamStore {
    return this.disks.store;
  }

  async open(): Promise<DelayedMessages> {
    const store = this.wrap(this.store);
    const now = (): number => this.nowMs;
    this.pauses = new Pauses(this.nowMs);
    const { pauses } = this;
    const openOnce = async (): Promise<DelayedMessages> => {
      this.attempts += 1;
      const producers = await ProducerRegistry.open({ store, now, pauses });
      return DelayedMessages.open({ store, producers, now, pauses, ...this.given });
    };
    const opening = untilItWorks(openOnce);
    let isOpen = false;
    opening.then(
      () => {
        isOpen = true;
      },
      () => {
        isOpen = true;
      },
    );
    // Attempts that failed go on with the clock.
    for (let turns = 0; !isOpen; turns += 1) {
      await turn();
      if (turns % 20 === 19) this.nowMs += 1;
      this.pauses.tick(this.nowMs);
    }
    this.attempts = 0;
    this.delayed = await opening;
    return this.delayed;
  }

  async crash(fate: CrashFate | 'kill' = 'mixed'): Promise<DelayedMessages> {
    this.delayed.close();
    this.disks.crash(fate);
    return this.open();
  }

  accept(dueMs: number, target: string, value: string): Promise<DelayedHandle> {
    return new Promise((resolve, reject) => {
      const record = { timestampMs: dueMs, key: Buffer.from(`k-${value}`), value: Buffer.from(value) };
      this.delayed.acceptAt(dueMs, { target, record }, (error, handle) => {
        if (handle === null) reject(error);
        else resolve(handle);
      });
    });
  }

  cancel(handle: DelayedHandle): Promise<CancelOutcome> {
    return new Promise((resolve, reject) => {
      this.delayed.cancel(handle, (error, outcome) => {
        if (outcome === null) reject(error);
        else resolve(outcome);
      });
    });
  }

  /** Lets everything come to rest at the present time. */
  async settle(): Promise<void> {
    for (let rest = 0, turns = 1; rest < 3; turns += 1) {
      this.delayed.tick();
      await turn();
      // Attempts that failed wait for the clock.
      if (turns % 50 === 0) this.nowMs += 1;
      rest = this.delayed.isIdle ? rest + 1 : 0;
    }
  }

  /** Moves the clock in steps, and rests after each. */
  async pass(ms: number, stepMs = 10): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.nowMs += Math.min(left, stepMs);
      await this.settle();
    }
  }

  async seen(target: string): Promise<SeenRecord[]> {
    return recordsOf(await this.store.open(target));
  }

  async values(target: string): Promise<(string | null)[]> {
    return (await this.seen(target)).map(({ value }) => value);
  }

  async close(): Promise<void> {
    this.delayed.close();
    await this.disks.close();
  }
}

/** What the owner does when the store is away. */
async function untilItWorks<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof StorageError && error.canRetry)) throw error;
      await turn();
    }
  }
}
