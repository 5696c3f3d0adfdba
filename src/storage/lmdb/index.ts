/** The LMDB adapter, as the registry sees it. Any thread. */
import type { StorageAdapter } from '../../core/ports/storage-adapter.ts';
import { type LmdbSettings, lmdbSettings } from './settings.ts';

export const lmdb: StorageAdapter = {
  name: 'lmdb',
  settings: lmdbSettings,
  open: async (settings, { folder, limits }) => {
    const { openLmdbStore } = await import('./lmdb-store.ts');
    return openLmdbStore(folder, settings as LmdbSettings, limits);
  },
};
