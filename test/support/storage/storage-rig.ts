/**
 * The storage as the broker has it, without the broker: the real journal worker, its supervisor, and clients on the test's thread, the
 * main thread's and those of two connection workers that are not there.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServicesSettings } from '../../../src/config/services-schema.ts';
import { BatchBuilder } from '../../../src/core/batch/batch-builder.ts';
import { batchSizeAt } from '../../../src/core/batch/batch-format.ts';
import { RecordCursor } from '../../../src/core/batch/record-cursor.ts';
import type { AppendAnswer, StreamPartition } from '../../../src/core/ports/stream-store.ts';
import type { JournalThread } from '../../../src/main/storage/journal-thread.ts';
import { StorageSupervisor, type StorageSupervisorOptions } from '../../../src/main/storage/storage-supervisor.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { LazyServices } from '../../../src/workers/services/client/lazy-services.ts';
import { StorageClient } from '../../../src/workers/storage/client/storage-client.ts';
import { servicesDefaults } from './services-settings.ts';

const workerCount = 2;
const mebibyte = 1024 * 1024;

/** On a small scale. */
export const smallJournalSettings = {
  ...{ directories: [], tailBytes: 8 * mebibyte, freeBytesMin: mebibyte },
  ...{ coldReadBytesPerSMin: 32 * mebibyte, coldReadBytesPerSMax: 1024 * mebibyte },
  tier: { enabled: false },
};

export interface RigOptions extends Partial<StorageSupervisorOptions> {
  readonly adapter?: string;
  readonly settings?: unknown;
  readonly servicesSettings?: ServicesSettings;
  /** A folder that is kept. */
  readonly folder?: string;
}

export class StorageRig {
  readonly folder: string;
  readonly supervisor: StorageSupervisor;
  /** Of the two workers; the main thread's is `supervisor.client`. */
  readonly clients: readonly StorageClient[];
  readonly services: readonly LazyServices[];
  readonly #isFolderOwn: boolean;
  #isStopped = false;

  constructor(options: RigOptions = {}) {
    const { adapter = 'memory', settings, servicesSettings = servicesDefaults, folder, ...others } = options;
    this.#isFolderOwn = folder === undefined;
    this.folder = folder ?? mkdtempSync(join(tmpdir(), 'ringmq-storage-'));
    const log = { level: 'error', format: 'json' } as const;
    this.supervisor = new StorageSupervisor({
      start: {
        adapter,
        settings: settings ?? (adapter === 'memory' ? { bytesMax: 512 * mebibyte } : smallJournalSettings),
        services: servicesSettings,
        folder: this.folder,
        log,
      },
      workerCount,
      requestRingBytes: mebibyte,
      unansweredBytesMax: 64 * mebibyte,
      waitMsMax: 20_000,
      stallLimitMs: 10_000,
      restartBackoffMs: 10,
      restartBackoffMaxMs: 200,
      log: createLogger({ ...log, write: () => undefined }),
      liveWorkers: () => [0, 1],
      handLink: (worker, link) => {
        this.clients[worker].adopt(link);
        this.services[worker].adopt(link.services);
      },
      ...others,
    });
    this.clients = [0, 1].map((worker) => new StorageClient(this.supervisor.clientOptionsOf(worker)));
    this.services = this.clients.map((store) => new LazyServices({ store, ...this.supervisor.servicesOptions }));
    void this.supervisor.start();
  }

  get client(): StorageClient {
    return this.supervisor.client;
  }

  /** Value of a series of the journal worker. */
  metric(name: string): number {
    const { layout, counters } = this.supervisor.metrics;
    return counters.get(layout.slot(name));
  }

  /** Ends the thread of the journal worker where it stands; the supervisor replaces it. */
  async killHost(): Promise<void> {
    const { thread } = this.supervisor as unknown as { readonly thread: JournalThread | null };
    await thread?.terminate();
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    await Promise.all(this.services.map((client) => client.close()));
    await Promise.all(this.clients.map((client) => client.close()));
    await this.supervisor.stop(10_000);
    if (this.#isFolderOwn) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A batch of records with these values. */
export function batchOf(...values: readonly (string | Buffer)[]): Buffer {
  const builder = new BatchBuilder();
  for (const value of values) builder.add({ timestampMs: Date.now(), value: Buffer.from(value) });
  return builder.build();
}

export function append(partition: StreamPartition, bytes: Buffer): Promise<AppendAnswer> {
  return new Promise((resolve) => partition.append(bytes, resolve));
}

/** All committed records from `from` on, by offset. */
export async function readValues(
  partition: StreamPartition,
  from = 0,
  bytesMax = 65_536,
): Promise<Map<number, string>> {
  const values = new Map<number, string>();
  const cursor = new RecordCursor();
  for (let offset = from; ; ) {
    const answer = await partition.read({ offset, bytesMax });
    if (answer.nextOffset === offset) return values;
    for (const slice of answer.slices) {
      for (let at = 0; at < slice.length; at += batchSizeAt(slice, at)) {
        cursor.reset(slice, at);
        while (cursor.next())
          if (cursor.offset >= from) values.set(cursor.offset, cursor.value?.toString('latin1') ?? '');
      }
    }
    offset = answer.nextOffset;
  }
}
