/** Settings of the storage adapter `postgres`. Any thread. */

import type { Static } from 'typebox';
import { type DatabaseKind, databaseProperties } from '../../core/settings/database-settings.ts';
import { section, text } from '../../core/settings/schema-builders.ts';

export const postgresKind: DatabaseKind = { name: 'PostgreSQL', port: 5432, schemes: ['postgres', 'postgresql'] };

export const postgresSettings = section(
  {
    ...databaseProperties(postgresKind),
    schema: text({
      description: 'Schema with the tables, made when it is missing. Brokers with different ones share a database.',
      default: 'ringmq',
      pattern: '^[a-z_][a-z0-9_]{0,62}$',
    }),
  },
  { description: 'Records in a database of PostgreSQL 13 or newer.' },
);

export type PostgresSettings = Static<typeof postgresSettings>;
