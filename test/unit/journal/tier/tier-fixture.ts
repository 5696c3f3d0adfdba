/** A journal on a simulated disk with a cold tier in memory, for the tests of this folder. */

import { onTestFinished } from 'vitest';
import type { StreamPartition, StreamSettings } from '../../../../src/core/ports/stream-store.ts';
import type { JournalEvent } from '../../../../src/journal/journal.ts';
import { type JournalStore, openJournalStore } from '../../../../src/journal/stream-store.ts';
import type { ColdTierOptions } from '../../../../src/journal/tier/tier-options.ts';
import { MemoryObjects, ObjectService } from '../../../support/memory-objects.ts';
import type { CrashFate } from '../../../support/simulated-disk.ts';
import { batch, stored } from '../../../support/stream-batches.ts';
import { SimulatedFolders } from '../journal-fixture.ts';

export const kibibyte = 1024;

/** Some 1 KiB with a number that can be found again. */
export function numbered(number: number): string {
  return `${number}`.padEnd(kibibyte, '.');
}

export function numbersOf(records: readonly string[]): string[] {
  return records.map((record) => record.replace(/[.]+$/, ''));
}

/** `offset:number` of the records in [from, to). */
export function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, at) => `${from + at}:${from + at}`);
}

export class TierBench {
  readonly service = new ObjectService();
  readonly folders: SimulatedFolders;
  readonly events: JournalEvent[] = [];
  readonly uploaded: number[] = [];
  backlogBytes = 0;
  nowMs = 1_700_000_000_000;
  store: JournalStore;
  #objects = new MemoryObjects(this.service);
  readonly #options: Partial<ColdTierOptions> | null;

  constructor(options: Partial<ColdTierOptions> | null = {}, seed = 1) {
    this.#options = options;
    this.folders = new SimulatedFolders(seed, (task) => setImmediate(task));
    this.store = this.open();
    onTestFinished(() => this.store.close());
  }

  /** `isTiered`: without it this node has no tier. */
  open(isTiered = true): JournalStore {
    this.#objects = new MemoryObjects(this.service);
    const tier = {
      objects: this.#objects,
      partBytes: 32 * kibibyte,
      blockBytes: 4 * kibibyte,
      readAheadBytes: 16 * kibibyte,
      retryMsMin: 1,
      retryMsMax: 4,
      purgeAgainMs: 0,
      local: { bytes: 1, ms: null },
      report: {
        uploaded: (bytes: number) => this.uploaded.push(bytes),
        fetched: () => undefined,
        looked: () => undefined,
        failed: () => undefined,
        backlog: (bytes: number) => {
          this.backlogBytes = bytes;
        },
      },
      ...this.#options,
    };
    this.store = openJournalStore({
      directories: [{ path: 'disk', open: () => this.folders }],
      now: () => this.nowMs,
      onEvent: (event) => this.events.push(event),
      freeBytesMin: 0,
      upkeepMs: 1_000_000,
      defaults: { indexIntervalBytes: 2 * kibibyte },
      ...(isTiered && this.#options !== null ? { tier } : {}),
    });
    return this.store;
  }

  /** A partition of small segments whose local copies go at once. */
  create(name = 'p', settings: StreamSettings = {}): Promise<StreamPartition> {
    return this.store.create(name, { isTiered: true, segmentBytes: 40 * kibibyte, ...settings });
  }

  /** Appends records `from` to `to` - 1, each a batch; their times are their numbers. */
  async fill(partition: StreamPartition, from: number, to: number): Promise<void> {
    const all: Promise<number>[] = [];
    for (let number = from; number < to; number += 1) {
      all.push(stored(partition, batch([numbered(number)], { timestampMs: number })));
      // One round each, so that segments roll.
      if (all.length % 4 === 0) await all.at(-1);
    }
    await Promise.all(all);
  }

  /** Lets the tier do all that there is to do, and local copies go. */
  async settle(): Promise<void> {
    await this.work();
    await this.work();
  }

  async work(): Promise<void> {
    await this.store.upkeep();
    await this.cold.idle();
  }

  /** Of the store that is open. */
  get cold(): { idle(): Promise<void> } {
    return { idle: () => this.store.tierIdle() };
  }

  async restart(isTiered = true): Promise<JournalStore> {
    await this.store.close();
    return this.open(isTiered);
  }

  /** Power is lost; what was under way in the old process comes to nothing, and it does nothing more. */
  crash(fate: CrashFate = 'mixed'): JournalStore {
    this.#objects.die();
    this.folders.kill();
    this.folders.crash(fate);
    return this.open();
  }

  /** Segments on the local disk. */
  localSegments(name = 'p'): string[] {
    const names = this.folders.disks.get(name)?.list() ?? [];
    return names.filter((file) => file.endsWith('.log'));
  }
}
