/**
 * A record batch of format 2, byte for byte as producers send it and consumers get it. All numbers are big endian.
 *
 *   0    8  base offset                   given by the broker; outside of the CRC
 *   8    4  length of what follows        outside of the CRC
 *   12   4  leader epoch                  given by the broker; outside of the CRC
 *   16   1  magic, 2
 *   17   4  CRC-32C of bytes 21 to the end
 *   21   2  attributes: bits 0-2 compression (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd), 3 timestamps are of the append,
 *           4 transactional, 5 control
 *   23   4  last offset delta
 *   27   8  base timestamp
 *   35   8  largest timestamp
 *   43   8  producer id, -1 none
 *   51   2  producer epoch
 *   53   4  base sequence, -1 none
 *   57   4  count of records
 *   61      records, compressed as one when the attributes say so
 *
 * Any thread; used by all of `src/journal`. What is read here is a view; nothing is copied.
 */

import { crc32c } from './crc32c.ts';

export const batchMagic = 2;
/** Of the smallest batch, one without records. */
export const batchHeaderBytes = 61;
/** What lies in front of the part that the length counts. */
export const batchLengthEnd = 12;
export const crcStart = 21;

export const batchAttributes = { compression: 7, appendTime: 8, transactional: 16, control: 32 } as const;

const two32 = 0x1_0000_0000;

export interface BatchHeader {
  readonly baseOffset: number;
  /** Bytes of the whole batch. */
  readonly size: number;
  readonly leaderEpoch: number;
  readonly attributes: number;
  readonly lastOffset: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  /** -1 when the producer is not known. */
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly recordCount: number;
}

/** That of a batch without a place in a log. */
export interface NewBatchHeader extends Omit<BatchHeader, 'baseOffset' | 'size' | 'leaderEpoch' | 'lastOffset'> {
  readonly lastOffsetDelta: number;
}

/** A signed 64-bit number; exact up to 2^53. */
export function readInt64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * two32 + bytes.readUInt32BE(at + 4);
}

export function writeInt64(target: Buffer, value: number, at: number): void {
  target.writeInt32BE(Math.floor(value / two32), at);
  // The remainder of a negative number is negative; >>> makes it what the low half holds.
  target.writeUInt32BE((value % two32) >>> 0, at + 4);
}

/** Bytes of the batch at `at`; 0 when there is no room for a header or the length cannot be one. */
export function batchSizeAt(bytes: Buffer, at: number): number {
  if (at + batchLengthEnd > bytes.length) return 0;
  const length = bytes.readInt32BE(at + 8);
  return length < batchHeaderBytes - batchLengthEnd ? 0 : batchLengthEnd + length;
}

/** The header of the batch at `at`, of which at least the header must be there. */
export function readBatchHeader(bytes: Buffer, at = 0): BatchHeader {
  const baseOffset = readInt64(bytes, at);
  return {
    baseOffset,
    size: batchLengthEnd + bytes.readInt32BE(at + 8),
    leaderEpoch: bytes.readInt32BE(at + 12),
    attributes: bytes.readInt16BE(at + 21),
    lastOffset: baseOffset + bytes.readInt32BE(at + 23),
    baseTimestamp: readInt64(bytes, at + 27),
    maxTimestamp: readInt64(bytes, at + 35),
    producerId: readInt64(bytes, at + 43),
    producerEpoch: bytes.readInt16BE(at + 51),
    baseSequence: bytes.readInt32BE(at + 53),
    recordCount: bytes.readInt32BE(at + 57),
  };
}

export function baseOffsetAt(bytes: Buffer, at: number): number {
  return readInt64(bytes, at);
}

export function leaderEpochAt(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + 12);
}

export function lastOffsetDeltaAt(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + 23);
}

export function maxTimestampAt(bytes: Buffer, at: number): number {
  return readInt64(bytes, at + 35);
}

export function isCompressed(attributes: number): boolean {
  return (attributes & batchAttributes.compression) !== 0;
}

export function isTransactional(attributes: number): boolean {
  return (attributes & batchAttributes.transactional) !== 0;
}

export function isControl(attributes: number): boolean {
  return (attributes & batchAttributes.control) !== 0;
}

/** Whether `size` bytes at `at` have the magic and the CRC of a batch. They must be there. */
export function hasSoundCrc(bytes: Buffer, at: number, size: number): boolean {
  if (bytes[at + 16] !== batchMagic) return false;
  return crc32c(bytes.subarray(at + crcStart, at + size)) === bytes.readUInt32BE(at + 17);
}

/** Gives the batch at `at` its place in the log. Neither is covered by the CRC. */
export function assignPlace(bytes: Buffer, at: number, baseOffset: number, leaderEpoch: number): void {
  writeInt64(bytes, baseOffset, at);
  bytes.writeInt32BE(leaderEpoch, at + 12);
}

/** Writes the header of a batch that fills `bytes` and whose records are there, and its CRC. It has no place yet. */
export function writeBatchHeader(bytes: Buffer, header: NewBatchHeader): void {
  bytes.fill(0, 0, 16);
  bytes.writeInt32BE(bytes.length - batchLengthEnd, 8);
  bytes[16] = batchMagic;
  bytes.writeInt16BE(header.attributes, 21);
  bytes.writeInt32BE(header.lastOffsetDelta, 23);
  writeInt64(bytes, header.baseTimestamp, 27);
  writeInt64(bytes, header.maxTimestamp, 35);
  writeInt64(bytes, header.producerId, 43);
  bytes.writeInt16BE(header.producerEpoch, 51);
  bytes.writeInt32BE(header.baseSequence, 53);
  bytes.writeInt32BE(header.recordCount, 57);
  sealBatch(bytes, 0, bytes.length);
}

/** Makes the time of the append the time of all records of the batch at `at`, with a new CRC. */
export function assignAppendTime(bytes: Buffer, at: number, nowMs: number): void {
  bytes.writeInt16BE(bytes.readInt16BE(at + 21) | batchAttributes.appendTime, at + 21);
  writeInt64(bytes, nowMs, at + 35);
  sealBatch(bytes, at, batchSizeAt(bytes, at));
}

/** Writes the CRC of a batch whose other bytes are complete. */
export function sealBatch(bytes: Buffer, at: number, size: number): void {
  bytes.writeUInt32BE(crc32c(bytes.subarray(at + crcStart, at + size)), at + 17);
}
