/**
 * Looks at stored batches as they come back from an engine: nothing is handed out that was not checked. Pure; any thread. Used by the
 * front of a partition.
 */

import {
  type BatchHeader,
  batchHeaderBytes,
  batchSizeAt,
  hasSoundCrc,
  isCompressed,
  readBatchHeader,
} from '../batch/batch-format.ts';
import { RecordCursor } from '../batch/record-cursor.ts';
import type { TimedOffset } from '../ports/stream-store.ts';
import { StorageError } from './storage-error.ts';

export interface FoundBatch {
  readonly header: BatchHeader;
  readonly bytes: Buffer;
  /** Where it begins in them. */
  readonly at: number;
}

export interface CutBatches {
  readonly slices: readonly Buffer[];
  readonly bytes: number;
  readonly nextOffset: number;
}

/**
 * The batches in `buffers`, from the one with `offset` on; each is sound and follows the one before. Stops at damage that has sound
 * batches in front of it: whoever reads on runs into it.
 *
 * @throws StorageError STORAGE_CORRUPTED when the batch of `offset` itself cannot be read
 */
export function* checkedBatches(name: string, buffers: readonly Buffer[], offset: number): Generator<FoundBatch> {
  let next = -1;
  for (const bytes of buffers) {
    for (let at = 0; at < bytes.length; ) {
      const fault = faultAt(bytes, at, next, offset);
      if (fault !== null) {
        if (next > offset) return;
        throw corrupted(name, Math.max(next, offset), fault);
      }
      const header = readBatchHeader(bytes, at);
      next = header.lastOffset + 1;
      if (next > offset) yield { header, bytes, at };
      at += header.size;
    }
  }
  if (next <= offset) throw corrupted(name, offset, 'it is missing');
}

/** `expected` is -1 for the first batch, which begins at or below `offset`. */
function faultAt(bytes: Buffer, at: number, expected: number, offset: number): string | null {
  const size = batchSizeAt(bytes, at);
  if (size < batchHeaderBytes || at + size > bytes.length) return 'its length is wrong';
  if (!hasSoundCrc(bytes, at, size)) return 'its CRC is wrong';
  const { baseOffset, lastOffset } = readBatchHeader(bytes, at);
  if (lastOffset < baseOffset) return 'it has no offsets';
  if (expected >= 0 ? baseOffset !== expected : baseOffset > offset) return `offset ${baseOffset} is in its place`;
  return null;
}

/** Whole batches below `limit`, at most `bytesMax` bytes, but at least one. Throws like `checkedBatches`. */
export function cutBatches(
  name: string,
  buffers: readonly Buffer[],
  offset: number,
  limit: number,
  bytesMax: number,
): CutBatches {
  const slices: Buffer[] = [];
  let bytes = 0;
  let nextOffset = offset;
  let source: Buffer | null = null;
  let start = 0;
  let end = 0;
  for (const found of checkedBatches(name, buffers, offset)) {
    const { size, lastOffset } = found.header;
    if (lastOffset >= limit || (bytes > 0 && bytes + size > bytesMax)) break;
    if (found.bytes !== source) {
      if (source !== null) slices.push(source.subarray(start, end));
      source = found.bytes;
      start = found.at;
    }
    end = found.at + size;
    bytes += size;
    nextOffset = lastOffset + 1;
    if (bytes >= bytesMax) break;
  }
  if (source !== null) slices.push(source.subarray(start, end));
  return { slices, bytes, nextOffset };
}

const cursor = new RecordCursor();

/** The first record of a batch at or above `from` with this timestamp or a later one. A compressed batch answers for its records. */
export function recordForTime(found: FoundBatch, from: number, timestamp: number): TimedOffset | null {
  const { attributes, baseOffset, maxTimestamp, recordCount } = found.header;
  if (maxTimestamp < timestamp || recordCount === 0) return null;
  if (isCompressed(attributes)) return { offset: Math.max(from, baseOffset), timestamp: maxTimestamp };
  cursor.reset(found.bytes, found.at);
  while (cursor.next()) {
    if (cursor.timestamp >= timestamp && cursor.offset >= from) {
      return { offset: cursor.offset, timestamp: cursor.timestamp };
    }
  }
  return null;
}

export function corrupted(name: string, offset: number, reason: string): StorageError {
  return new StorageError('STORAGE_CORRUPTED', `Cannot read offset ${offset} of "${name}": ${reason}`);
}
