/**
 * Opens the store that the settings name. Thread: the journal worker, once. The journal is loaded with the thread, which begins before
 * the settings are known; any other adapter, and what it needs, is loaded when it is chosen.
 */
import { join } from 'node:path';
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import { openJournalStore } from '../../../journal/stream-store.ts';
import type { Logger } from '../../../observability/log.ts';
import { assert } from '../../../std/assert.ts';
import { ColdPace } from '../cold-pace.ts';
import { type JournalSettings, journalName } from '../journal-settings.ts';
import type { StorageStart } from '../messages.ts';
import { openTierObjects, tierLimitsOf } from '../tier-settings.ts';
import { ColdPaceControl } from './cold-pace-control.ts';
import type { StorageMetrics } from './storage-metrics.ts';

export interface OpenedStore {
  readonly store: StreamStore;
  /** It can work on bytes in shared memory that stay as they are until its answer. */
  readonly takesSharedMemory: boolean;
}

/** Rejects with what is wrong with the settings, the disk or the engine. */
export async function openStore(start: StorageStart, log: Logger, metrics: StorageMetrics): Promise<OpenedStore> {
  const { adapter: name, settings, folder } = start;
  if (name === journalName) {
    const store = await openJournal(settings as JournalSettings, folder, log, metrics, new ColdPace(start.coldPace));
    return { store, takesSharedMemory: true };
  }
  const { storageAdapters } = await import('../../../storage/registry.ts');
  const adapter = storageAdapters.find((candidate) => candidate.name === name);
  assert(adapter !== undefined, `the configuration names a storage adapter: ${name}`);
  const store = await adapter.open(settings, {
    folder: join(folder, name),
    log,
    limits: { onLost: () => metrics.add('lost', 1) },
  });
  return { store, takesSharedMemory: false };
}

async function openJournal(
  settings: JournalSettings,
  folder: string,
  log: Logger,
  metrics: StorageMetrics,
  pace: ColdPace,
): Promise<StreamStore> {
  const { directories, tailBytes, freeBytesMin, coldReadBytesPerSMin, coldReadBytesPerSMax } = settings;
  const limits = { minBytesPerS: coldReadBytesPerSMin, maxBytesPerS: coldReadBytesPerSMax };
  const control = new ColdPaceControl(pace, limits);
  const { tier } = settings;
  const objects = tier.enabled ? await openTierObjects(tier) : null;
  if (objects !== null) log.info('Older segments go to a cold tier', { place: objects.place });
  return openJournalStore({
    directories: directories.length === 0 ? [join(folder, journalName)] : directories,
    tailBytes,
    freeBytesMin,
    onEvent: ({ type, ...fields }) => {
      log.warn('Journal reports a fault', { event: type, ...fields });
      metrics.add('faults', 1);
    },
    onRound: (round) => {
      metrics.round(round);
      control.onRound(round.writeMs);
    },
    ...(objects === null ? {} : { tier: { objects, report: metrics.tier, ...tierLimitsOf(tier) } }),
  });
}
