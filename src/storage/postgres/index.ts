/** The PostgreSQL adapter, as the registry sees it. Any thread. */
import type { StorageAdapter } from '../../core/ports/storage-adapter.ts';
import { type PostgresSettings, postgresSettings } from './settings.ts';

export const postgres: StorageAdapter = {
  name: 'postgres',
  settings: postgresSettings,
  open: async (settings, { limits }) => {
    const { StoreFront } = await import('../../core/streams/store-front.ts');
    const { PostgresEngine } = await import('./engine.ts');
    return StoreFront.open(new PostgresEngine(settings as PostgresSettings), limits);
  },
};
