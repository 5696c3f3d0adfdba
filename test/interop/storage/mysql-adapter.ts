/** MariaDB, in place of MySQL, for the tests of adapters over database servers. Thread of the test. */
import mysql, { type RowDataPacket } from 'mysql2/promise';
import { MysqlEngine } from '../../../src/storage/mysql/engine.ts';
import { startMysql } from '../../support/servers/mysql.ts';
import type { DatabaseAdapter } from './database-adapter.ts';

export const mysqlAdapter: DatabaseAdapter = {
  name: 'mysql',
  product: 'MySQL',
  scheme: 'mysql',
  start: startMysql,
  engine: (settings, place) => new MysqlEngine({ ...settings, tablePrefix: place }),
  administer: async ({ port, user, password, database }, statements) => {
    const connection = await mysql.createConnection({ host: '127.0.0.1', port, user, password, database });
    for (const statement of statements) await connection.query(statement);
    await connection.end();
  },
  count: async ({ port, user, password, database }, place, table) => {
    const connection = await mysql.createConnection({ host: '127.0.0.1', port, user, password, database });
    const [rows] = await connection.query<RowDataPacket[]>(`SELECT COUNT(*) AS count FROM ${place}${table}`);
    await connection.end();
    return Number(rows[0]['count']);
  },
  sql: {
    makeUser: (name, password) => [
      `CREATE USER '${name}'@'127.0.0.1' IDENTIFIED BY '${password}'`,
      `GRANT SELECT ON ringmq.* TO '${name}'@'127.0.0.1'`,
    ],
    makeOwner: (name, password) => [
      `CREATE USER '${name}'@'%' IDENTIFIED BY '${password}'`,
      `GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX ON ringmq.* TO '${name}'@'%'`,
    ],
    makeGuest: (name, password) => [
      `CREATE USER '${name}'@'%' IDENTIFIED BY '${password}'`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ringmq.* TO '${name}'@'%'`,
    ],
    makeLimitedUser: (name, password, place) => [
      `CREATE USER '${name}'@'127.0.0.1' IDENTIFIED BY '${password}'`,
      ...['migrations', 'partitions', 'producers', 'removed'].map(
        (table) => `GRANT SELECT, INSERT, UPDATE, DELETE ON ringmq.${place}${table} TO '${name}'@'127.0.0.1'`,
      ),
      `GRANT SELECT, INSERT, UPDATE ON ringmq.${place}pieces TO '${name}'@'127.0.0.1'`,
    ],
    makeNewer: (place) => [`INSERT INTO ${place}migrations (version) VALUES (1000)`],
    spoil: (place) => [`ALTER TABLE ${place}pieces CHANGE COLUMN size length INT NOT NULL`],
    makeUnsafe: ['SET GLOBAL innodb_flush_log_at_trx_commit = 2'],
    makeSafe: ['SET GLOBAL innodb_flush_log_at_trx_commit = 1'],
  },
};
