/**
 * The SQL of the engine: each a statement that is prepared once on a connection and is a transaction of its own, so that it needs one
 * way to the server and back, and can never stay half done. Pure. Any thread; used by the engine.
 */

import type { Statement } from './connection.ts';
import { quoted } from './schema.ts';

/** Pieces that one statement of the clean-up deletes. */
export const purgeAtOnce = 256;

/** Of `bigint`. */
const offsetMax = '9223372036854775807';

export type Statements = Readonly<Record<keyof ReturnType<typeof texts>, Statement>>;

export function statementsFor(schema: string): Statements {
  const entries = Object.entries(texts(quoted(schema))).map(([name, text]) => [name, { name: `ringmq_${name}`, text }]);
  return Object.fromEntries(entries) as Statements;
}

/** The first piece that ends above an offset begins at or above it, or is the last one that begins below. */
const firstAbove = (schema: string, offset: string): string => `base_offset >= coalesce((
    SELECT base_offset FROM ${schema}.pieces WHERE partition_key = $1 AND base_offset <= ${offset}
    ORDER BY base_offset DESC LIMIT 1), ${offset}) AND end_offset > ${offset}`;

function texts(schema: string) {
  return {
    names: `SELECT name FROM ${schema}.partitions`,

    /** $1 name, $2 id, $3 settings. */
    create: `INSERT INTO ${schema}.partitions (name, id, settings)
      SELECT $1::varchar, $2::varchar, $3::jsonb
      WHERE NOT EXISTS (SELECT FROM ${schema}.removed WHERE id = $2::varchar)
      ON CONFLICT DO NOTHING RETURNING partition_key`,
    /** $1 name. */
    idOf: `SELECT id FROM ${schema}.partitions WHERE name = $1`,

    /** $1 name, $2 id. */
    remove: `WITH gone AS (DELETE FROM ${schema}.partitions WHERE name = $1 AND id = $2 RETURNING partition_key, id)
      INSERT INTO ${schema}.removed (partition_key, id) SELECT partition_key, id FROM gone
      ON CONFLICT DO NOTHING`,

    /** $1 name. */
    peek: `SELECT partition_key, id, writer, settings, start_offset, end_offset, size_bytes
      FROM ${schema}.partitions WHERE name = $1`,
    /** $1 name. */
    writerOf: `SELECT writer FROM ${schema}.partitions WHERE name = $1`,
    /** $1 name, $2 the writer before: a claim that was lost and arrives late must not put out the one that was sent after it. */
    claim: `UPDATE ${schema}.partitions SET writer = writer + 1 WHERE name = $1 AND writer = $2
      RETURNING partition_key, id, writer, settings, start_offset, end_offset, size_bytes`,
    /** $1 key. */
    producers: `SELECT snapshot FROM ${schema}.producers WHERE partition_key = $1`,
    /** $1 id. */
    places: `SELECT start_offset, end_offset, size_bytes, writer FROM ${schema}.partitions WHERE id = $1`,
    /** $1 id, $2 writer, $3 settings. */
    change: `UPDATE ${schema}.partitions SET settings = $3::jsonb WHERE id = $1 AND writer = $2`,

    /**
     * Runs: $1 ids, $2 writers, $3 base offsets, $4 end offsets, $5 timestamps, $6 where they begin in the bytes, counted from 1, $7 sizes;
     * $8 the bytes of all. Answers the ids of those that were stored. Rows are locked in one order, so that two brokers that
     * write the same partitions wait for each other, and do not stop each other.
     */
    append: `WITH run AS (
        SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[])
          AS run (id, writer, base_offset, end_offset, max_timestamp, at, size)
      ), held AS (
        SELECT run.*, p.partition_key FROM run JOIN ${schema}.partitions p ON p.id = run.id
        WHERE p.end_offset = run.base_offset AND p.writer = run.writer
        ORDER BY p.partition_key FOR UPDATE OF p
      ), moved AS (
        UPDATE ${schema}.partitions p
        SET end_offset = held.end_offset, size_bytes = p.size_bytes + held.size,
          max_timestamp = greatest(p.max_timestamp, held.max_timestamp)
        FROM held
        WHERE p.partition_key = held.partition_key AND p.end_offset = held.base_offset AND p.writer = held.writer
        RETURNING held.*, p.max_timestamp AS reached_timestamp
      ), stored AS (
        INSERT INTO ${schema}.pieces
          (partition_key, base_offset, end_offset, max_timestamp, reached_timestamp, size, bytes)
        SELECT partition_key, base_offset, end_offset, max_timestamp, reached_timestamp, size,
          substring($8::bytea FROM at FOR size)
        FROM moved
      )
      SELECT id FROM moved`,

    /** $1 key, $2 offset, $3 bytes, $4 pieces at most. The sizes are looked at first, so that no more is sent than was asked for. */
    read: `SELECT piece.bytes FROM (
        SELECT base_offset, sum(size) OVER (ORDER BY base_offset) - size AS before FROM (
          SELECT base_offset, size FROM ${schema}.pieces
          WHERE partition_key = $1 AND ${firstAbove(schema, '$2')}
          ORDER BY base_offset LIMIT $4
        ) AS near
      ) AS chosen JOIN ${schema}.pieces piece ON piece.partition_key = $1 AND piece.base_offset = chosen.base_offset
      WHERE chosen.before < $3 ORDER BY chosen.base_offset`,

    /** $1 key, $2 offset, $3 limit. */
    pieces: `SELECT base_offset, end_offset, max_timestamp, size FROM ${schema}.pieces
      WHERE partition_key = $1 AND ${firstAbove(schema, '$2')} ORDER BY base_offset LIMIT $3`,

    /**
     * $1 key, $2 offset, $3 timestamp. The timestamp that was reached grows with the offsets, so the index leads to the first piece that can
     * have it; those behind it are passed over whose own records are older.
     */
    findTime: `SELECT base_offset FROM ${schema}.pieces
      WHERE partition_key = $1 AND end_offset > $2 AND max_timestamp >= $3 AND reached_timestamp >= greatest($3, (
        SELECT reached_timestamp FROM ${schema}.pieces WHERE partition_key = $1 AND base_offset <= $2
        ORDER BY base_offset DESC LIMIT 1))
      ORDER BY reached_timestamp, base_offset LIMIT 1`,

    /** $1 id, $2 writer, $3 offset. What lies below does not count any more; it is deleted later. */
    deleteBefore: `UPDATE ${schema}.partitions p
      SET start_offset = greatest(start_offset, $3), size_bytes = size_bytes - coalesce((
        SELECT sum(size) FROM ${schema}.pieces piece
        WHERE piece.partition_key = p.partition_key AND piece.end_offset > p.start_offset AND piece.end_offset <= $3
          AND piece.base_offset < $3), 0)
      WHERE id = $1 AND writer = $2 RETURNING partition_key`,

    /** $1 id, $2 writer, $3 offset, $4 snapshot. */
    saveProducers: `WITH mine AS (
        SELECT partition_key FROM ${schema}.partitions WHERE id = $1 AND writer = $2 FOR SHARE
      )
      INSERT INTO ${schema}.producers AS old (partition_key, log_offset, snapshot)
      SELECT partition_key, $3::bigint, $4::bytea FROM mine
      ON CONFLICT (partition_key) DO UPDATE SET log_offset = excluded.log_offset, snapshot = excluded.snapshot
      WHERE old.log_offset <= excluded.log_offset`,

    /** $1 key. Of a partition that is there: what lies below its start. Of another one: everything. */
    purgePieces: `WITH bound AS (
        SELECT coalesce((SELECT start_offset FROM ${schema}.partitions WHERE partition_key = $1), ${offsetMax}) AS below
      )
      DELETE FROM ${schema}.pieces WHERE partition_key = $1 AND base_offset IN (
        SELECT base_offset FROM ${schema}.pieces
        WHERE partition_key = $1 AND base_offset < (SELECT below FROM bound) AND end_offset <= (SELECT below FROM bound)
        ORDER BY base_offset LIMIT ${purgeAtOnce}) RETURNING 1`,
    /** $1 key, when no pieces are left. */
    purgeProducers: `DELETE FROM ${schema}.producers WHERE partition_key = $1
      AND NOT EXISTS (SELECT FROM ${schema}.partitions WHERE partition_key = $1)`,
    /** $1 key. */
    purged: `UPDATE ${schema}.removed SET is_purged = true WHERE partition_key = $1`,
    unpurged: `SELECT partition_key FROM ${schema}.removed WHERE NOT is_purged`,
    forget: `DELETE FROM ${schema}.removed WHERE is_purged AND removed_at < now() - interval '1 day'`,
  };
}
