/** The MySQL and MariaDB adapter, as the registry sees it. Any thread. */
import type { StorageAdapter } from '../../core/ports/storage-adapter.ts';
import { type MysqlSettings, mysqlSettings } from './settings.ts';

export const mysql: StorageAdapter = {
  name: 'mysql',
  settings: mysqlSettings,
  open: async (settings, { limits }) => {
    const { StoreFront } = await import('../../core/streams/store-front.ts');
    const { MysqlEngine } = await import('./engine.ts');
    return StoreFront.open(new MysqlEngine(settings as MysqlSettings), limits);
  },
};
