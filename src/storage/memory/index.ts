/** The memory adapter, as the registry sees it. Any thread. */
import type { StorageAdapter } from '../../core/ports/storage-adapter.ts';
import { type MemorySettings, memorySettings } from './settings.ts';

export const memory: StorageAdapter = {
  name: 'memory',
  settings: memorySettings,
  open: async (settings, { limits }) => {
    const { openMemoryStore } = await import('./memory-store.ts');
    return openMemoryStore(settings as MemorySettings, limits);
  },
};
