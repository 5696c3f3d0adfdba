/** What the tests of half messages share: the service over a journal that can crash, and a clock that the test moves. */

import type { StreamStore } from '../../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { Pauses } from '../../../../src/core/transactions/backoff.ts';
import {
  type HalfCheck,
  HalfMessages,
  type HalfMessagesOptions,
} from '../../../../src/core/transactions/half-messages.ts';
import { ProducerRegistry } from '../../../../src/core/transactions/producer-registry.ts';
import { CrashingStore } from '../../../support/crashing-store.ts';
import type { CrashFate } from '../../../support/simulated-disk.ts';
import { recordsOf, turn } from '../../../support/stream-records.ts';

export class HalfWorld {
  nowMs = 1_800_000_000_000;
  readonly disks: CrashingStore;
  readonly given: Partial<HalfMessagesOptions>;
  readonly checks: HalfCheck[] = [];
  onCheck: (check: HalfCheck) => void = (check) => void this.checks.push(check);
  wrap: (store: StreamStore) => StreamStore = (store) => store;
  halves!: HalfMessages;

  constructor(seed = 1, given: Partial<HalfMessagesOptions> = {}) {
    this.disks = new CrashingStore(seed, () => this.nowMs);
    this.given = given;
  }

  get store(): StreamStore {
    return this.disks.store;
  }

  async open(): Promise<HalfMessages> {
    const store = this.wrap(this.store);
    const now = (): number => this.nowMs;
    const pauses = new Pauses(this.nowMs);
    const opened: { halves: HalfMessages | null } = { halves: null };
    const opening = (async () => {
      while (opened.halves === null) {
        try {
          const producers = await ProducerRegistry.open({ store, now, pauses });
          const onCheck = (check: HalfCheck): void => this.onCheck(check);
          const options = { store, producers, pauses, now, onCheck, firstCheckMs: 1000, checkMs: 2000, checksMax: 3 };
          opened.halves = await HalfMessages.open({ ...options, ...this.given });
        } catch (error) {
          if (!(error instanceof StorageError && error.canRetry)) throw error;
          await turn();
        }
      }
      return opened.halves;
    })();
    for (let turns = 0; opened.halves === null && turns < 10_000; turns += 1) {
      await turn();
      if (turns % 20 === 19) this.nowMs += 1;
      pauses.tick(this.nowMs);
    }
    this.halves = await opening;
    return this.halves;
  }

  async crash(fate: CrashFate | 'kill' = 'mixed'): Promise<HalfMessages> {
    this.halves.close();
    this.disks.crash(fate);
    return this.open();
  }

  prepare(target: string, value: string): Promise<number> {
    const record = { timestampMs: this.nowMs, key: Buffer.from('k'), value: Buffer.from(value) };
    return new Promise((resolve, reject) => {
      this.halves.prepare('group', target, record, (error, number) => {
        if (error === null) resolve(number);
        else reject(error);
      });
    });
  }

  async settle(): Promise<void> {
    for (let rest = 0, turns = 1; rest < 3; turns += 1) {
      this.halves.tick();
      await turn();
      if (turns % 20 === 0) this.nowMs += 1;
      rest = this.halves.isIdle ? rest + 1 : 0;
    }
  }

  async pass(ms: number, stepMs = 100): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.nowMs += Math.min(left, stepMs);
      await this.settle();
    }
  }

  async values(target: string): Promise<(string | null)[]> {
    return (await recordsOf(await this.store.open(target))).map(({ value }) => value);
  }

  async close(): Promise<void> {
    this.halves.close();
    await this.disks.close();
  }
}
