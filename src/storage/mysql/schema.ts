/**
 * The tables, and how they came to be: one migration after the other, each once, whoever starts first. Thread: the one that holds the
 * store; called by the engine when it opens.
 */

import { EngineFailedError, EngineLostError } from '../../core/streams/store-engine.ts';
import type { MysqlConnection } from './connection.ts';
import { setupError } from './errors.ts';

const tableOptions = 'ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET ascii COLLATE ascii_bin';
const lockS = 30;

/**
 * Each brings the tables from the version of its place to the next one. Never changed, only added to. A statement can be repeated:
 * the server commits each at once, so that a migration can stop in the middle.
 */
const migrations: readonly ((prefix: string) => readonly string[])[] = [
  (prefix) => [
    `CREATE TABLE IF NOT EXISTS ${prefix}partitions (
      partition_key BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
      id VARCHAR(36) NOT NULL UNIQUE,
      name VARCHAR(249) NOT NULL UNIQUE,
      settings TEXT NOT NULL,
      writer INT NOT NULL DEFAULT 0 COMMENT 'Epoch of the newest writer; older ones cannot store anything',
      start_offset BIGINT NOT NULL DEFAULT 0,
      end_offset BIGINT NOT NULL DEFAULT 0,
      size_bytes BIGINT NOT NULL DEFAULT 0,
      max_timestamp BIGINT NOT NULL DEFAULT -1,
      looks BIGINT NOT NULL DEFAULT 0 COMMENT 'Counts what makes sure that the row is on the disk as it is read'
    ) ${tableOptions}`,
    // A piece is one or more record batches that were stored together.
    `CREATE TABLE IF NOT EXISTS ${prefix}pieces (
      partition_key BIGINT NOT NULL,
      base_offset BIGINT NOT NULL,
      end_offset BIGINT NOT NULL COMMENT 'Offset behind the last record',
      max_timestamp BIGINT NOT NULL,
      reached_timestamp BIGINT NOT NULL COMMENT 'Largest timestamp up to here, or a later one: never goes back',
      size INT NOT NULL,
      bytes LONGBLOB NOT NULL,
      PRIMARY KEY (partition_key, base_offset),
      KEY by_time (partition_key, reached_timestamp, base_offset)
    ) ${tableOptions}`,
    `CREATE TABLE IF NOT EXISTS ${prefix}producers (
      partition_key BIGINT NOT NULL PRIMARY KEY,
      log_offset BIGINT NOT NULL,
      snapshot LONGBLOB NOT NULL
    ) ${tableOptions}`,
    // Their pieces go in the background; the ids stay for a day, so that a late call cannot bring them back.
    `CREATE TABLE IF NOT EXISTS ${prefix}removed (
      partition_key BIGINT NOT NULL PRIMARY KEY,
      id VARCHAR(36) NOT NULL UNIQUE,
      removed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
      is_purged TINYINT NOT NULL DEFAULT 0
    ) ${tableOptions}`,
  ],
];

const schemaVersion = migrations.length;

/** Makes or extends the tables, and makes sure of the rights on them. @throws EngineFailedError, EngineLostError */
export async function prepareSchema(connection: MysqlConnection, prefix: string): Promise<void> {
  try {
    const found = await versionOf(connection, prefix);
    if (found < schemaVersion) await migrate(connection, prefix);
    if (found > schemaVersion) {
      const known = `this one knows versions up to ${schemaVersion}`;
      throw new EngineFailedError(`the tables "${prefix}…" have version ${found}, of a newer RingMQ: ${known}`);
    }
    await checkRights(connection, prefix);
  } catch (error) {
    throw setupError(causeOf(error));
  }
}

/** 0 when there are no tables. */
async function versionOf(connection: MysqlConnection, prefix: string): Promise<number> {
  const tables = 'SELECT 1 FROM information_schema.tables WHERE table_schema = database() AND table_name = ?';
  const found = await connection.rows(tables, [`${prefix}migrations`]);
  if (found.length === 0) return 0;
  const [[version]] = await connection.rows(`SELECT COALESCE(MAX(version), 0) FROM ${prefix}migrations`);
  return Number(version);
}

async function migrate(connection: MysqlConnection, prefix: string): Promise<void> {
  // Brokers that start together migrate one after the other. The lock goes with the connection at the latest.
  const lock = `CONCAT('ringmq ', LEFT(SHA2(CONCAT(database(), '.${prefix}'), 256), 40))`;
  const [[isMine]] = await connection.rows(`SELECT GET_LOCK(${lock}, ${lockS})`);
  if (isMine !== 1) throw new EngineLostError('MySQL: another broker is making the tables');
  await connection.command(
    `CREATE TABLE IF NOT EXISTS ${prefix}migrations (version INT NOT NULL PRIMARY KEY, applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ${tableOptions}`,
  );
  const from = await versionOf(connection, prefix);
  for (const [at, migration] of migrations.entries()) {
    if (at < from) continue;
    for (const text of migration(prefix)) await connection.command(text);
    await connection.change(`INSERT INTO ${prefix}migrations (version) VALUES (?)`, [at + 1]);
  }
  await connection.rows(`SELECT RELEASE_LOCK(${lock})`);
}

/** Each statement needs the rights that the engine needs, and touches no row. */
async function checkRights(connection: MysqlConnection, prefix: string): Promise<void> {
  const columns = {
    partitions: 'id, name, settings, writer, start_offset, end_offset, size_bytes, max_timestamp, looks',
    pieces: 'partition_key, base_offset, end_offset, max_timestamp, reached_timestamp, size, bytes',
    producers: 'partition_key, log_offset, snapshot',
    removed: 'partition_key, id, removed_at, is_purged',
  };
  for (const [table, list] of Object.entries(columns)) {
    const name = `${prefix}${table}`;
    await connection.change(`INSERT INTO ${name} (${list}) SELECT ${list} FROM ${name} WHERE 1 = 0`);
    await connection.change(`UPDATE ${name} SET partition_key = partition_key WHERE 1 = 0`);
    await connection.change(`DELETE FROM ${name} WHERE 1 = 0`);
  }
}

/** The server's own error, which says more about tables and rights than what it means for a record. */
function causeOf(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof EngineFailedError) return error;
  const { cause } = error;
  return cause instanceof Error && 'errno' in cause ? cause : error;
}
