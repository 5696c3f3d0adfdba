/**
 * Compacts the partitions that want it, one at a time, a step between rounds, so that appends go on. Thread: the journal worker; owned
 * by the stream store.
 */

import { StorageError } from '../core/streams/storage-error.ts';
import type { Compaction } from './compaction/compaction.ts';
import type { JournalPartition } from './stream-partition.ts';

const defaultSegmentBytes = 256 * 1024 * 1024;
/** A log is compacted when it has grown by so much of what the last compaction left. */
const growthMin = 0.5;
/** Tombstones are kept so long. */
const tombstoneMs = 24 * 60 * 60 * 1000;

export class StreamCompaction {
  /** Bytes that the last compaction left. */
  readonly #cleanBytes = new WeakMap<JournalPartition, number>();
  readonly #now: () => number;
  #isRunning = false;
  #isStopped = false;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Compacts all that have grown enough; does nothing while it is at it. */
  async run(partitions: readonly JournalPartition[]): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      for (const partition of partitions) {
        if (partition.settings.isCompacted === true && !this.#isStopped) await this.#compact(partition);
      }
    } finally {
      this.#isRunning = false;
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #compact(partition: JournalPartition): Promise<void> {
    try {
      const { sizeBytes } = await partition.places();
      const clean = this.#cleanBytes.get(partition) ?? 0;
      const { segmentBytes = defaultSegmentBytes } = partition.settings;
      if (sizeBytes - clean < Math.max(segmentBytes, clean * growthMin)) return;
      const compaction = await partition.between((log) => log.compact({ nowMs: this.#now(), tombstoneMs }));
      while (!this.#isStopped && (await this.#step(partition, compaction)));
      this.#cleanBytes.set(partition, (await partition.places()).sizeBytes);
    } catch (error) {
      // It was removed or closed, its disk is full, or it is out of service and has said so.
      if (!(error instanceof StorageError)) throw error;
    }
  }

  async #step(partition: JournalPartition, compaction: Compaction): Promise<boolean> {
    await new Promise(setImmediate);
    return partition.between(() => compaction.step());
  }
}
