/** The Redis adapter, as the registry sees it. Any thread. */
import type { StorageAdapter } from '../../core/ports/storage-adapter.ts';
import { type RedisSettings, redisSettings } from './settings.ts';

export const redis: StorageAdapter = {
  name: 'redis',
  settings: redisSettings,
  open: async (settings, { limits, log }) => {
    const { StoreFront } = await import('../../core/streams/store-front.ts');
    const { RedisEngine } = await import('./engine.ts');
    return StoreFront.open(new RedisEngine(settings as RedisSettings, log), limits);
  },
};
