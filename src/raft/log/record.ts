/**
 * The bytes of the log of a replica: how a segment file and its records look, and the rule by which a torn tail is told
 * from damage. Thread: the Raft worker; used by `batch.ts` (writes), `recovery.ts` and `entry-reader.ts` (read).
 *
 * The folder
 *   0000000000000001.log …   segments; the number is the segment's sequence number, without gaps, the highest is the newest
 *   spare                    the file that becomes the next segment; never read
 *   Other names are not the log's and are left alone.
 *
 * A segment (all numbers little endian)
 *   0     8  magic "RINGRAFT"
 *   8     4  format version, 1
 *   12    4  salt, random
 *   16    8  sequence number of the segment, as in its name
 *   24    8  replica that the log belongs to
 *   32   28  zeros
 *   60    4  CRC-32 of bytes 0 to 59: also the *seed* of every CRC in this file
 *   64       nothing up to byte 4,096: the header has a page of its own, which is never written again
 *   4096     records, each at a multiple of 8, without gaps, up to the end of the log; behind it zeros, or whatever a file
 *            held that was a segment before
 *
 * The header is durable before the file gets its name, so a bad one is damage, never the trace of a crash.
 *
 * A record
 *   0     4  CRC-32 of bytes 4 to the end of the body, begun with the seed: bytes of another segment, or of an earlier life
 *            of this file, have another seed and can never match
 *   4     4  length of the body
 *   8     8  number of the batch; grows by one from batch to batch over the whole log
 *   16    1  kind
 *   17    1  flags: 1 first record of its batch, 2 last record of its batch
 *   18    2  zero
 *   20    4  offset of this record in the file, so that misplaced bytes are not taken for a record
 *   24       body, then zeros up to a multiple of 8 (outside of the CRC)
 *
 * Bodies
 *   1 start      first record of every segment: term 8, vote 8, commit 8, last index 8, position: the state as of the end of
 *                the segment before, so that older segments can go
 *   2 entries    term 8, index of the first 8, count 4, zero 4; then of each entry: length 4, kind 1, zero 3, data. Entries
 *                of one record are of one term and have growing indexes. All stored ones from the first index on are void
 *   3 hardState  term 8, vote 8, commit 8
 *   4 position   position: the entries up to it are not needed any more
 *   5 reset      position: all entries are void, the log begins after it
 *   6 mark       empty; not content, see below
 *   position =   index 8, term 8, autoLeave 4, counts of voters, outgoing, learners, learnersNext 4 each, zero 4, then the
 *                replicas in this order, 8 each
 *
 * Batches, and what a crash can leave
 *   What is appended while a sync is under way is gathered into one batch. A batch is written with one write and made durable
 *   with one sync, it lies in one segment, and **it is written only after the batch before it was synced**. The next segment
 *   gets its first batch only when all of the one before is durable. Hence:
 *   (a) a crash can leave at most one batch incomplete, the last one, and nobody was told that it was durable;
 *   (b) any valid record with batch number n proves that all batches below n were durable.
 *   A *mark* makes (b) hold also for a log that came to rest: after a sync with nothing to write behind it, an empty record
 *   with the number of the next batch is put at the beginning of the next page of 4,096 bytes, so that one bad page does not
 *   take both, or at the end of the log when the file has no more pages; without a sync of its own (`close` does sync it).
 *   It is not a part of the log, and later batches overwrite it.
 *
 * The rule of recovery
 *   Records are read in order; a batch counts when all its records are valid, from the first flag to the last, with the
 *   expected number. Let n be the number of the first batch that is not so, and X the place where it should begin.
 *   - When a valid record with a number above n lies anywhere behind X, in this segment or in a later one, batch n was durable
 *     once: the log is damaged at X, and nothing is cut. The rest of the file is searched at every multiple of 8 for this,
 *     also when X looks like a regular end, since a lost sector may read as zeros.
 *   - Otherwise batch n was never acknowledged: the bytes from X on are overwritten with zeros, and that is durable before
 *     anything new is written. The last complete batch is written once more before that sync, since after a failed sync
 *     the page cache may hold what the disk does not.
 *   What cannot be told from a torn tail is damage to the very last batch while the mark behind it has not reached the disk
 *   (seconds, until the kernel writes the page back; never after a `close`).
 *
 * Taken for granted of the disk: a write damages no byte outside of its range; CRC-32 notices what else happens.
 */

import { crc32 } from 'node:zlib';
import type { Entry, EntryKind, HardState, Membership, ReplicaId, SnapshotPosition } from '../consensus/types.ts';
import { CorruptionError, LogUnusableError } from './log-errors.ts';

/** Where the records of a segment begin. */
export const recordsStart = 4096;
export const recordHeaderBytes = 24;
/** In front of the entries of a record, and in front of each. */
export const entriesHeaderBytes = 24;
export const entryHeaderBytes = 8;
export const hardStateBytes = 24;

export const spareName = 'spare';
const formatVersion = 1;
const headerBytes = 64;
const headerCrcAt = 60;
const magic = 'RINGRAFT';
const two32 = 0x1_0000_0000;

export const recordKinds = { start: 1, entries: 2, hardState: 3, position: 4, reset: 5, mark: 6 } as const;
export type RecordKind = (typeof recordKinds)[keyof typeof recordKinds];

export const recordFlags = { first: 1, last: 2 } as const;

/** What a replay of the log up to some batch gives, beside the entries. */
export interface LogState {
  readonly hardState: HardState;
  readonly position: SnapshotPosition;
  readonly lastIndex: number;
}

export function segmentName(sequence: number): string {
  return `${String(sequence).padStart(16, '0')}.log`;
}

/** Sequence number in a file name; 0 for a name that is not one of a segment. */
export function sequenceOf(name: string): number {
  return /^\d{16}\.log$/.test(name) ? Number(name.slice(0, 16)) : 0;
}

export function roundUp8(length: number): number {
  return (length + 7) & ~7;
}

export function writeUint64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value % two32, at);
  target.writeUInt32LE(Math.floor(value / two32), at + 4);
}

export function readUint64(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + source.readUInt32LE(at + 4) * two32;
}

// --- the header of a segment ---

export interface SegmentHeader {
  readonly sequence: number;
  readonly replica: ReplicaId;
  /** Where every CRC in the file begins. */
  readonly seed: number;
}

/** The first page of a segment, and its seed. `salt` below 2^32. */
export function encodeSegmentHeader(
  sequence: number,
  replica: ReplicaId,
  salt: number,
): { readonly page: Buffer; readonly seed: number } {
  const page = Buffer.alloc(recordsStart);
  page.write(magic, 0, 'latin1');
  page.writeUInt32LE(formatVersion, 8);
  page.writeUInt32LE(salt, 12);
  writeUint64(page, sequence, 16);
  writeUint64(page, replica, 24);
  const seed = crc32(page.subarray(0, headerCrcAt));
  page.writeUInt32LE(seed, headerCrcAt);
  return { page, seed };
}

/** Throws `CorruptionError`, or `LogUnusableError` when the file is another version's or another replica's. */
export function decodeSegmentHeader(bytes: Buffer, name: string, replica: ReplicaId): SegmentHeader {
  if (bytes.length < headerBytes) throw new CorruptionError(name, 0, 'the header is missing');
  if (bytes.toString('latin1', 0, 8) !== magic) throw new CorruptionError(name, 0, 'the header has no magic');
  const seed = bytes.readUInt32LE(headerCrcAt);
  if (crc32(bytes.subarray(0, headerCrcAt)) !== seed) throw new CorruptionError(name, 0, 'the header has a wrong CRC');
  const version = bytes.readUInt32LE(8);
  if (version !== formatVersion) {
    throw new LogUnusableError('RAFT_LOG_VERSION', `Cannot read log file "${name}": its format is version ${version}`);
  }
  const owner = readUint64(bytes, 24);
  if (owner !== replica) {
    throw new LogUnusableError('RAFT_LOG_FOREIGN', `Cannot use log file "${name}": it belongs to replica ${owner}`);
  }
  const sequence = readUint64(bytes, 16);
  if (sequence !== sequenceOf(name)) {
    throw new CorruptionError(name, 0, `the header says that it is segment ${sequence}`);
  }
  return { sequence, replica: owner, seed };
}

// --- the header of a record ---

/**
 * Completes the record at `at` of `target`, whose body is there, for offset `position` of a file.
 */
export function sealRecord(
  target: Buffer,
  at: number,
  length: number,
  kind: RecordKind,
  flags: number,
  batch: number,
  position: number,
  seed: number,
): void {
  target.writeUInt32LE(length, at + 4);
  writeUint64(target, batch, at + 8);
  target.writeUInt32LE(kind | (flags << 8), at + 16);
  target.writeUInt32LE(position, at + 20);
  target.writeUInt32LE(crc32(target.subarray(at + 4, at + recordHeaderBytes + length), seed), at);
}

/** Whether a record lies at `at` of `bytes`, which begin at offset `base` of a file with this seed. */
export function isRecord(bytes: Buffer, at: number, base: number, seed: number): boolean {
  if (at + recordHeaderBytes > bytes.length) return false;
  // Fails for zeros and for nearly everything else that is no record, before a CRC is calculated.
  if (bytes.readUInt32LE(at + 20) !== base + at) return false;
  const length = bytes.readUInt32LE(at + 4);
  if (length > bytes.length - at - recordHeaderBytes) return false;
  return crc32(bytes.subarray(at + 4, at + recordHeaderBytes + length), seed) === bytes.readUInt32LE(at);
}

export function recordLength(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4);
}

/** Bytes of the whole record with its padding. */
export function recordSize(bytes: Buffer, at: number): number {
  return roundUp8(recordHeaderBytes + recordLength(bytes, at));
}

export function recordBatch(bytes: Buffer, at: number): number {
  return readUint64(bytes, at + 8);
}

export function recordKind(bytes: Buffer, at: number): number {
  return bytes.readUInt8(at + 16);
}

export function recordFlagsOf(bytes: Buffer, at: number): number {
  return bytes.readUInt8(at + 17);
}

// --- bodies ---

export function positionBytes(position: SnapshotPosition): number {
  const { voters, outgoing, learners, learnersNext } = position.membership;
  return 40 + 8 * (voters.length + outgoing.length + learners.length + learnersNext.length);
}

export function writePosition(target: Buffer, position: SnapshotPosition, at: number): void {
  const { voters, outgoing, learners, learnersNext, autoLeave } = position.membership;
  writeUint64(target, position.index, at);
  writeUint64(target, position.term, at + 8);
  target.writeUInt32LE(autoLeave ? 1 : 0, at + 16);
  target.writeUInt32LE(voters.length, at + 20);
  target.writeUInt32LE(outgoing.length, at + 24);
  target.writeUInt32LE(learners.length, at + 28);
  target.writeUInt32LE(learnersNext.length, at + 32);
  target.writeUInt32LE(0, at + 36);
  let next = at + 40;
  for (const list of [voters, outgoing, learners, learnersNext]) {
    for (const replica of list) {
      writeUint64(target, replica, next);
      next += 8;
    }
  }
}

/** `end` is where the body ends. Null when it does not fit: the CRC was right, the content cannot be. */
export function readPosition(bytes: Buffer, at: number, end: number): SnapshotPosition | null {
  if (at + 40 > end) return null;
  const counts = [20, 24, 28, 32].map((offset) => bytes.readUInt32LE(at + offset));
  if (at + 40 + 8 * counts.reduce((sum, count) => sum + count, 0) !== end) return null;
  let next = at + 40;
  const lists = counts.map((count) =>
    Array.from({ length: count }, () => {
      next += 8;
      return readUint64(bytes, next - 8);
    }),
  );
  const membership: Membership = {
    voters: lists[0],
    outgoing: lists[1],
    learners: lists[2],
    learnersNext: lists[3],
    autoLeave: bytes.readUInt32LE(at + 16) === 1,
  };
  return { index: readUint64(bytes, at), term: readUint64(bytes, at + 8), membership };
}

export function writeHardState(target: Buffer, hardState: HardState, at: number): void {
  writeUint64(target, hardState.term, at);
  writeUint64(target, hardState.vote, at + 8);
  writeUint64(target, hardState.commit, at + 16);
}

export function readHardState(bytes: Buffer, at: number): HardState {
  return { term: readUint64(bytes, at), vote: readUint64(bytes, at + 8), commit: readUint64(bytes, at + 16) };
}

/** What stands in front of the entries of a record whose body begins at `at`. */
export function readEntriesHeader(bytes: Buffer, at: number): { term: number; first: number; count: number } {
  return { term: readUint64(bytes, at), first: readUint64(bytes, at + 8), count: bytes.readUInt32LE(at + 16) };
}

/** The entries of the body [at, end), as views of `bytes`; null when they do not fill it exactly. */
export function readEntries(bytes: Buffer, at: number, end: number): Entry[] | null {
  const { term, first, count } = readEntriesHeader(bytes, at);
  const entries: Entry[] = [];
  let next = at + entriesHeaderBytes;
  for (let index = first; index < first + count; index += 1) {
    if (next + entryHeaderBytes > end) return null;
    const length = bytes.readUInt32LE(next);
    const start = next + entryHeaderBytes;
    if (start + length > end) return null;
    const kind = bytes.readUInt8(next + 4) as EntryKind;
    entries.push({ term, index, kind, data: bytes.subarray(start, start + length) });
    next = start + length;
  }
  return next === end ? entries : null;
}
