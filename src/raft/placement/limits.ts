/**
 * Every limit of the placement centre's state. Read on the Raft worker and by the API. They decide which commands are
 * refused, so they are part of the replicated state machine: all replicas of a group must have the same.
 */

const KIB = 1024;
const MIB = 1024 * KIB;
const DAY_MS = 86_400_000;

export const limits = {
  /** Of a user's key; the store takes 1,978 bytes with what is put before it. */
  keyBytesMax: KIB,
  /** Of the key of a typed record. */
  recordKeyBytesMax: 1_900,
  valueBytesMax: MIB,
  /** Keys and values of one transaction together. */
  requestBytesMax: 1.5 * MIB,
  /** Compares, and operations of each branch. */
  operationsMax: 128,
  /** Items of one answer; what `limit: 0` means too. */
  rangeItemsMax: 1_000,
  /** Bytes of the items of one query, or of all ranges of one transaction; at least one item is given. */
  rangeBytesMax: 2 * MIB,
  /** Keys and bytes that the deletes of one transaction may remove: one revision is held in memory as a whole. */
  deletedKeysMax: 10_000,
  deletedBytesMax: 16 * MIB,
  /** Keys of one lease, which all go in one revision. */
  leaseKeysMax: 10_000,
  ttlMsMin: 100,
  leaseTtlMsMax: 365 * DAY_MS,
  nodeTtlMsMax: DAY_MS,
  /** Characters of the names of tenants, topics and nodes. */
  nameLengthMax: 255,
  partitionsMax: 1_000,
  replicationFactorMax: 16,
  /** Entries of the log that commands are remembered for, so that a repeat of them is known. */
  requestsKept: 10_000,
  /** Revisions that no compaction removes; not less than what is remembered, since one entry makes one at most. */
  revisionsKept: 10_000,
} as const;

/** Events that wait for one watcher whose last batch is not done; beyond it they are read again from the change log. */
export const watcherEventsMax = 1_000;
/** A watcher that is still busy with a batch after so many further revisions is ended with `SLOW_WATCHER`. */
export const watcherLagMax = 10_000;
/** Revisions that are read at once for a watcher that is behind. */
export const watcherSliceRevisions = 256;
/** An idle watcher is told the revision after so many that were not for it. */
export const watcherProgressRevisions = 1_000;
/** Bytes of one chunk of a snapshot. */
export const snapshotChunkBytes = 256 * KIB;
/** Rows that are removed from the store per flush: of compacted revisions, and of a half that is not used any more. */
export const purgedRowsPerFlush = 2_000;
/** Memory for records and leases that were written lately, besides what is in the store. */
export const recentRecordBytes = 8 * MIB;
export const recentLeaseBytes = MIB;
