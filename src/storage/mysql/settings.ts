/** Settings of the storage adapter `mysql`. Any thread. */

import type { Static } from 'typebox';
import { type DatabaseKind, databaseProperties } from '../../core/settings/database-settings.ts';
import { section, text } from '../../core/settings/schema-builders.ts';

export const mysqlKind: DatabaseKind = { name: 'MySQL', port: 3306, schemes: ['mysql', 'mariadb'] };

export const mysqlSettings = section(
  {
    ...databaseProperties(mysqlKind),
    tablePrefix: text({
      description: 'What the names of the tables begin with. Brokers with different ones share a database.',
      default: 'ringmq_',
      pattern: '^[a-z_][a-z0-9_]{0,31}$',
    }),
  },
  { description: 'Records in a database of MySQL 8.0.19, MariaDB 10.6, or newer.' },
);

export type MysqlSettings = Static<typeof mysqlSettings>;
