/**
 * Reads entries that left the cache back from the segments, many records with one read, and checks every CRC. Thread: the
 * Raft worker; used by the segment log.
 */

import { assert } from '../../std/assert.ts';
import type { Entry } from '../consensus/types.ts';
import { CorruptionError } from './log-errors.ts';
import { isRecord, readEntries, recordHeaderBytes, recordKind, recordKinds, recordLength } from './record.ts';
import { findSegment, type Segment } from './segment.ts';

/** One read takes no more than this, unless a single record is longer. */
const spanBytesMax = 1024 * 1024;

/**
 * Appends entries of [low, high) to `target` as long as their data fits in `bytesMax`, at least one when `target` is empty;
 * answers how many bytes of data it appended. Throws `CorruptionError`, and what the file throws.
 */
export function readStoredEntries(
  segments: readonly Segment[],
  low: number,
  high: number,
  bytesMax: number,
  target: Entry[],
): number {
  let next = low;
  let bytes = 0;
  while (next < high) {
    const segment = findSegment(segments, next);
    assert(segment !== null, `entry ${next} of the log is in a segment`);
    for (const entry of readSpan(segment, next, high, bytesMax - bytes)) {
      if (bytes + entry.data.length > bytesMax && target.length > 0) return bytes;
      target.push(entry);
      bytes += entry.data.length;
      next = entry.index + 1;
    }
  }
  return bytes;
}

/** Entries of one segment from `low` on, in records that lie side by side. */
function readSpan(segment: Segment, low: number, high: number, bytesWanted: number): Entry[] {
  const { index, file, name, seed } = segment;
  const firstRow = index.find(low);
  const start = index.positionOf(firstRow);
  const spanMax = Math.min(spanBytesMax, bytesWanted + 4096);
  let endRow = firstRow + 1;
  let end = start + index.sizeOf(firstRow);
  while (endRow < index.rows && index.firstOf(endRow) < high) {
    const rowEnd = index.positionOf(endRow) + index.sizeOf(endRow);
    if (rowEnd - start > spanMax) break;
    end = rowEnd;
    endRow += 1;
  }
  const span = Buffer.allocUnsafeSlow(end - start);
  const length = file.read(span, start);
  if (length < span.length) throw new CorruptionError(name, start + length, 'the file ends inside of a record');
  const result: Entry[] = [];
  for (let row = firstRow; row < endRow; row += 1) {
    const at = index.positionOf(row) - start;
    const first = index.firstOf(row);
    const entries =
      isRecord(span, at, start, seed) && recordKind(span, at) === recordKinds.entries
        ? readEntries(span, at + recordHeaderBytes, at + recordHeaderBytes + recordLength(span, at))
        : null;
    if (entries === null || entries[0].index !== first || entries.length <= index.lastOf(row) - first) {
      throw new CorruptionError(name, start + at, `the record of entry ${first} is not what was written`);
    }
    // A record that was cut short by later entries still holds the void ones at its end.
    const from = Math.max(0, low - first);
    const to = Math.min(high, index.lastOf(row) + 1) - first;
    for (let at = from; at < to; at += 1) result.push(entries[at]);
  }
  return result;
}
