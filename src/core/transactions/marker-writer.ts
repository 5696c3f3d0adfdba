/**
 * Writes the marker that ends a transaction to one partition after the other's refusals, until it is there. Writing it twice does no harm:
 * the second one finds nothing to end, since the producer cannot go on before all markers are there. Thread: the owner of the
 * coordinator.
 */

import { buildControlBatch, type ControlMarker } from '../batch/control-batch.ts';
import type { StreamStore } from '../ports/stream-store.ts';
import type { StorageError } from '../streams/storage-error.ts';
import { backoffMs, type Pauses } from './backoff.ts';
import { append, toStorageError } from './internal-stream.ts';

export interface MarkerWriterOptions {
  readonly store: StreamStore;
  readonly pauses: Pauses;
  /** Nothing is written any more. */
  isClosed(): boolean;
}

export interface MarkerCounts {
  written: number;
  retries: number;
  /** Partitions that were removed meanwhile, or that know a newer epoch: there is nothing to end in them. */
  needless: number;
}

export class MarkerWriter {
  readonly counts: MarkerCounts = { written: 0, retries: 0, needless: 0 };
  readonly #options: MarkerWriterOptions;

  constructor(options: MarkerWriterOptions) {
    this.#options = options;
  }

  /** Resolves when all partitions have the marker: true; or false when it was closed before. */
  async writeAll(partitions: readonly string[], marker: ControlMarker): Promise<boolean> {
    const bytes = buildControlBatch(marker);
    const written = await Promise.all(partitions.map((partition) => this.#write(partition, bytes)));
    return !written.includes(false);
  }

  async #write(name: string, bytes: Buffer): Promise<boolean> {
    for (let attempts = 1; !this.#options.isClosed(); attempts += 1) {
      const error = await this.#writeOnce(name, bytes);
      if (error === null) {
        this.counts.written += 1;
        return true;
      }
      if (error.code === 'STORAGE_PARTITION_UNKNOWN' || error.code === 'STORAGE_PRODUCER_FENCED') {
        this.counts.needless += 1;
        return true;
      }
      this.counts.retries += 1;
      await this.#options.pauses.wait(backoffMs(attempts));
    }
    return false;
  }

  /** The partition is opened each time: it may have been removed and made anew. */
  async #writeOnce(name: string, bytes: Buffer): Promise<StorageError | null> {
    try {
      const partition = await this.#options.store.open(name);
      return (await append(partition, bytes)).error;
    } catch (error) {
      return toStorageError(error);
    }
  }
}
