/**
 * The tables, and how they came to be: one migration after the other, each once, whoever starts first. Thread: the one that holds the
 * store; called by the engine when it opens.
 */

import { EngineFailedError } from '../../core/streams/store-engine.ts';
import type { PostgresConnection } from './connection.ts';
import { setupError } from './errors.ts';

/** Each brings the schema from the version of its place to the next one. Never changed, only added to. */
const migrations: readonly ((schema: string) => readonly string[])[] = [
  (schema) => [
    // One row changes with each append: room on its page keeps the new version beside the old one, and out of the indexes.
    `CREATE TABLE ${schema}.partitions (
      partition_key bigserial PRIMARY KEY,
      id varchar(36) NOT NULL UNIQUE,
      name varchar(249) COLLATE "C" NOT NULL UNIQUE,
      settings jsonb NOT NULL,
      writer integer NOT NULL DEFAULT 0,
      start_offset bigint NOT NULL DEFAULT 0,
      end_offset bigint NOT NULL DEFAULT 0,
      size_bytes bigint NOT NULL DEFAULT 0,
      max_timestamp bigint NOT NULL DEFAULT -1
    ) WITH (fillfactor = 20)`,
    `COMMENT ON COLUMN ${schema}.partitions.writer IS 'Epoch of the newest writer; older ones cannot store anything'`,
    // A piece is one or more record batches that were stored together.
    `CREATE TABLE ${schema}.pieces (
      partition_key bigint NOT NULL,
      base_offset bigint NOT NULL,
      end_offset bigint NOT NULL,
      max_timestamp bigint NOT NULL,
      reached_timestamp bigint NOT NULL,
      size integer NOT NULL,
      bytes bytea NOT NULL,
      PRIMARY KEY (partition_key, base_offset)
    )`,
    `COMMENT ON COLUMN ${schema}.pieces.end_offset IS 'Offset behind the last record'`,
    `COMMENT ON COLUMN ${schema}.pieces.reached_timestamp IS 'Largest timestamp up to here: never goes back'`,
    // Producers compress, or not, as they like.
    `ALTER TABLE ${schema}.pieces ALTER COLUMN bytes SET STORAGE EXTERNAL`,
    `CREATE INDEX pieces_by_time ON ${schema}.pieces (partition_key, reached_timestamp, base_offset)`,
    `CREATE TABLE ${schema}.producers (
      partition_key bigint PRIMARY KEY,
      log_offset bigint NOT NULL,
      snapshot bytea NOT NULL
    )`,
    // Their pieces go in the background; the ids stay for a day, so that a late call cannot bring them back.
    `CREATE TABLE ${schema}.removed (
      partition_key bigint PRIMARY KEY,
      id varchar(36) NOT NULL UNIQUE,
      removed_at timestamptz NOT NULL DEFAULT now(),
      is_purged boolean NOT NULL DEFAULT false
    )`,
  ],
];

const schemaVersion = migrations.length;

/** Makes or extends the tables, and makes sure of the rights on them. @throws EngineFailedError, EngineLostError */
export async function prepareSchema(connection: PostgresConnection, name: string): Promise<void> {
  const schema = quoted(name);
  try {
    const found = await versionOf(connection, schema);
    if (found < schemaVersion) await migrate(connection, schema);
    assertNotNewer(found, schema);
    await checkRights(connection, schema);
  } catch (error) {
    throw setupError(error);
  }
}

/** Settings allow no character that would have to be escaped. */
export function quoted(schema: string): string {
  return `"${schema}"`;
}

/** 0 when there are no tables. */
async function versionOf(connection: PostgresConnection, schema: string): Promise<number> {
  const [[table]] = await connection.query({ text: `SELECT to_regclass('${schema}.migrations')` });
  if (table === null) return 0;
  const [[version]] = await connection.query({ text: `SELECT coalesce(max(version), 0) FROM ${schema}.migrations` });
  return Number(version);
}

async function migrate(connection: PostgresConnection, schema: string): Promise<void> {
  await connection.transaction(async () => {
    // Brokers that start together migrate one after the other.
    await connection.query({ text: `SELECT pg_advisory_xact_lock(hashtext('ringmq ${schema}'))` });
    const [[there]] = await connection.query({ text: `SELECT to_regnamespace('${schema}')` });
    if (there === null) await connection.query({ text: `CREATE SCHEMA ${schema}` });
    await connection.query({
      text: `CREATE TABLE IF NOT EXISTS ${schema}.migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())`,
    });
    const from = await versionOf(connection, schema);
    for (const [at, migration] of migrations.entries()) {
      if (at < from) continue;
      for (const text of migration(schema)) await connection.query({ text });
      await connection.query({ text: `INSERT INTO ${schema}.migrations (version) VALUES (${at + 1})` });
    }
  });
}

function assertNotNewer(version: number, schema: string): void {
  if (version <= schemaVersion) return;
  const known = `this one knows versions up to ${schemaVersion}`;
  throw new EngineFailedError(`schema ${schema} has version ${version}, of a newer RingMQ: ${known}`);
}

/** Each statement needs the rights that the engine needs, and touches no row. */
async function checkRights(connection: PostgresConnection, schema: string): Promise<void> {
  const columns = {
    partitions: 'partition_key, id, name, settings, writer, start_offset, end_offset, size_bytes, max_timestamp',
    pieces: 'partition_key, base_offset, end_offset, max_timestamp, reached_timestamp, size, bytes',
    producers: 'partition_key, log_offset, snapshot',
    removed: 'partition_key, id, removed_at, is_purged',
  };
  for (const [table, list] of Object.entries(columns)) {
    const name = `${schema}.${table}`;
    await connection.query({ text: `INSERT INTO ${name} (${list}) SELECT ${list} FROM ${name} WHERE false` });
    await connection.query({ text: `UPDATE ${name} SET partition_key = partition_key WHERE false` });
    await connection.query({ text: `DELETE FROM ${name} WHERE false` });
  }
  const sequence = `${schema}.partitions_partition_key_seq`;
  const [[canCount]] = await connection.query({ text: `SELECT has_sequence_privilege('${sequence}', 'USAGE')` });
  if (canCount !== 't') throw new EngineFailedError(`the user lacks a right: USAGE on the sequence ${sequence}`);
}
