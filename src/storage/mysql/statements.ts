/**
 * The SQL of the engine, in what MySQL and MariaDB have in common. All of it is prepared once on a connection. Pure. Any thread; used by the engine.
 */

/** Pieces that one statement of the clean-up deletes. */
export const purgeAtOnce = 64;
const runsTable = `JSON_TABLE(?, '$[*]' COLUMNS (
    partition_key BIGINT PATH '$[0]', writer INT PATH '$[1]', base_offset BIGINT PATH '$[2]',
    end_offset BIGINT PATH '$[3]', reached_timestamp BIGINT PATH '$[4]', size BIGINT PATH '$[5]')) AS run`;

export type Statements = ReturnType<typeof statementsFor>;

export function statementsFor(prefix: string) {
  const partitions = `${prefix}partitions`;
  const pieces = `${prefix}pieces`;
  const removed = `${prefix}removed`;
  const producers = `${prefix}producers`;
  const columns = '(partition_key, base_offset, end_offset, max_timestamp, reached_timestamp, size, bytes)';
  const row = '(?, ?, ?, ?, ?, ?, ?)';
  return {
    names: `SELECT name FROM ${partitions}`,
    /** Name, id, settings, id. */
    create: `INSERT INTO ${partitions} (name, id, settings)
      SELECT ?, ?, ? FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM ${removed} WHERE id = ?)`,
    /** Name. */
    idOf: `SELECT id FROM ${partitions} WHERE name = ?`,

    /** Name, id. */
    keyToRemove: `SELECT partition_key FROM ${partitions} WHERE name = ? AND id = ? FOR UPDATE`,
    /** Key. */
    remove: `DELETE FROM ${partitions} WHERE partition_key = ?`,
    /** Key, id. */
    noteRemoved: `INSERT INTO ${removed} (partition_key, id) VALUES (?, ?)`,

    /** Name. */
    writerOf: `SELECT writer FROM ${partitions} WHERE name = ?`,
    /** Name, the writer before: a claim that was lost and arrives late must not put out the one that was sent after it. */
    raiseWriter: `UPDATE ${partitions} SET writer = writer + 1 WHERE name = ? AND writer = ?`,
    /** Name. */
    claimed: `SELECT partition_key, id, writer, settings, start_offset, end_offset, size_bytes, max_timestamp
      FROM ${partitions} WHERE name = ?`,
    /** Key. */
    producers: `SELECT snapshot FROM ${producers} WHERE partition_key = ?`,

    /** Id. */
    look: `UPDATE ${partitions} SET looks = looks + 1 WHERE id = ?`,
    /** Id. */
    places: `SELECT start_offset, end_offset, size_bytes, writer FROM ${partitions} WHERE id = ?`,
    /** Settings, id, writer. */
    change: `UPDATE ${partitions} SET settings = ? WHERE id = ? AND writer = ?`,

    /** End, reached timestamp, size, key, base, writer. */
    moveEnd: `UPDATE ${partitions}
      SET end_offset = ?, max_timestamp = GREATEST(max_timestamp, ?), size_bytes = size_bytes + ?
      WHERE partition_key = ? AND end_offset = ? AND writer = ?`,
    /** Runs as JSON, by key: rows are locked in this order, so that two brokers wait for each other, and do not stop each other. */
    moveEnds: `UPDATE ${runsTable} STRAIGHT_JOIN ${partitions} p ON p.partition_key = run.partition_key
      SET p.end_offset = run.end_offset, p.max_timestamp = GREATEST(p.max_timestamp, run.reached_timestamp),
        p.size_bytes = p.size_bytes + run.size
      WHERE p.end_offset = run.base_offset AND p.writer = run.writer`,
    /** For each of `count` rows: key, base, end, timestamp, reached timestamp, size, bytes. */
    insert: (count: number): string =>
      `INSERT INTO ${pieces} ${columns} VALUES ${Array.from({ length: count }, () => row).join(', ')}`,

    /** Key, offset. The piece that begins at or below the offset. */
    pieceAt: `SELECT base_offset, reached_timestamp FROM ${pieces}
      WHERE partition_key = ? AND base_offset <= ? ORDER BY base_offset DESC LIMIT 1`,
    /** Key, base, offset, limit. */
    pieces: `SELECT base_offset, end_offset, max_timestamp, size FROM ${pieces}
      WHERE partition_key = ? AND base_offset >= ? AND end_offset > ? ORDER BY base_offset LIMIT ?`,
    /** Key, first base, last base. */
    read: `SELECT bytes FROM ${pieces}
      WHERE partition_key = ? AND base_offset BETWEEN ? AND ? ORDER BY base_offset`,
    /**
     * Key, reached timestamp, timestamp, offset. The timestamp that was reached grows with the offsets, so the index leads to the first piece
     * that can have it; those behind it are passed over whose own records are older.
     */
    findTime: `SELECT base_offset FROM ${pieces} FORCE INDEX (by_time)
      WHERE partition_key = ? AND reached_timestamp >= ? AND max_timestamp >= ? AND end_offset > ?
      ORDER BY reached_timestamp, base_offset LIMIT 1`,

    /** Id, writer. */
    lockStart: `SELECT partition_key, start_offset FROM ${partitions} WHERE id = ? AND writer = ? FOR UPDATE`,
    /** Key, old start, new start, new start. */
    sizeBetween: `SELECT COALESCE(SUM(size), 0) FROM ${pieces}
      WHERE partition_key = ? AND end_offset > ? AND end_offset <= ? AND base_offset < ?`,
    /** Start, size, key. What lies below does not count any more; it is deleted later. */
    moveStart: `UPDATE ${partitions} SET start_offset = ?, size_bytes = size_bytes - ? WHERE partition_key = ?`,

    /** Key. */
    snapshotOffset: `SELECT log_offset FROM ${producers} WHERE partition_key = ?`,
    /** Key, offset, snapshot. */
    saveProducers: `REPLACE INTO ${producers} (partition_key, log_offset, snapshot) VALUES (?, ?, ?)`,

    /** Key. */
    startOf: `SELECT start_offset FROM ${partitions} WHERE partition_key = ?`,
    /** Key, offset, offset. */
    purgePieces: `DELETE FROM ${pieces} WHERE partition_key = ? AND base_offset < ? AND end_offset <= ?
      ORDER BY base_offset LIMIT ${purgeAtOnce}`,
    /** Key. */
    purgeProducers: `DELETE FROM ${producers} WHERE partition_key = ?`,
    /** Key. */
    purged: `UPDATE ${removed} SET is_purged = 1 WHERE partition_key = ?`,
    unpurged: `SELECT partition_key FROM ${removed} WHERE is_purged = 0`,
    forget: `DELETE FROM ${removed} WHERE is_purged = 1 AND removed_at < NOW() - INTERVAL 1 DAY`,
  };
}
