/** Finds a record by its time in batches that were checked. Pure. Thread: the journal worker; used over files and over the tier. */

import { isCompressed, readBatchHeader } from '../core/batch/batch-format.ts';
import { RecordCursor } from '../core/batch/record-cursor.ts';
import type { TimedOffset } from '../core/ports/stream-store.ts';

const cursor = new RecordCursor();

/** The first record at or behind `from` with this timestamp or a later one; of a compressed batch its first offset. Null: there is none. */
export function findTimeIn(slices: readonly Buffer[], from: number, timestamp: number): TimedOffset | null {
  for (const slice of slices) {
    for (let at = 0; at < slice.length; ) {
      const header = readBatchHeader(slice, at);
      if (header.maxTimestamp >= timestamp && header.recordCount > 0) {
        const record = firstRecord(slice, at, from, timestamp);
        if (record !== null) return record;
      }
      at += header.size;
    }
  }
  return null;
}

function firstRecord(bytes: Buffer, at: number, from: number, timestamp: number): TimedOffset | null {
  const { attributes, baseOffset, maxTimestamp } = readBatchHeader(bytes, at);
  if (isCompressed(attributes)) return { offset: Math.max(from, baseOffset), timestamp: maxTimestamp };
  cursor.reset(bytes, at);
  while (cursor.next()) {
    if (cursor.timestamp >= timestamp && cursor.offset >= from) {
      return { offset: cursor.offset, timestamp: cursor.timestamp };
    }
  }
  return null;
}
