/** PostgreSQL for the tests of adapters over database servers. Thread of the test. */
import { Client } from 'pg';
import { PostgresEngine } from '../../../src/storage/postgres/engine.ts';
import { startPostgres } from '../../support/servers/postgres.ts';
import type { DatabaseAdapter } from './database-adapter.ts';

export const postgresAdapter: DatabaseAdapter = {
  name: 'postgres',
  product: 'PostgreSQL',
  scheme: 'postgres',
  start: startPostgres,
  engine: (settings, place) => new PostgresEngine({ ...settings, schema: place }),
  administer: async ({ port, user, password, database }, statements) => {
    const client = new Client({ host: '127.0.0.1', port, user, password, database });
    await client.connect();
    for (const statement of statements) await client.query(statement);
    await client.end();
  },
  count: async ({ port, user, password, database }, place, table) => {
    const client = new Client({ host: '127.0.0.1', port, user, password, database });
    await client.connect();
    const { rows } = await client.query<{ readonly count: string }>(`SELECT count(*) FROM ${place}.${table}`);
    await client.end();
    return Number(rows[0].count);
  },
  sql: {
    makeUser: (name, password) => [`CREATE ROLE ${name} LOGIN PASSWORD '${password}'`],
    makeOwner: (name, password) => [
      `CREATE ROLE ${name} LOGIN PASSWORD '${password}'`,
      `GRANT CREATE ON DATABASE postgres TO ${name}`,
    ],
    makeGuest: (name, password, place) => [
      `CREATE ROLE ${name} LOGIN PASSWORD '${password}'`,
      `GRANT USAGE ON SCHEMA ${place} TO ${name}`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${place} TO ${name}`,
      `GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${place} TO ${name}`,
    ],
    makeLimitedUser: (name, password, place) => [
      `CREATE ROLE ${name} LOGIN PASSWORD '${password}'`,
      `GRANT USAGE ON SCHEMA ${place} TO ${name}`,
      `GRANT ALL ON ALL TABLES IN SCHEMA ${place} TO ${name}`,
      `GRANT ALL ON ALL SEQUENCES IN SCHEMA ${place} TO ${name}`,
      `REVOKE DELETE ON ${place}.pieces FROM ${name}`,
    ],
    makeNewer: (place) => [`INSERT INTO ${place}.migrations (version) VALUES (1000)`],
    spoil: (place) => [`ALTER TABLE ${place}.pieces RENAME COLUMN size TO length`],
    makeUnsafe: ['ALTER SYSTEM SET fsync = off', 'SELECT pg_reload_conf()', 'SELECT pg_sleep(0.3)'],
    makeSafe: ['ALTER SYSTEM SET fsync = on', 'SELECT pg_reload_conf()', 'SELECT pg_sleep(0.3)'],
  },
};
