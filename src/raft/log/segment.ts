/** One file of the log with what is known about it. Thread: the Raft worker; used by the parts of the segment log. */

import type { RandomAccessFile } from '../ports.ts';
import { EntryIndex } from './entry-index.ts';
import { recordsStart } from './record.ts';

export class Segment {
  readonly name: string;
  readonly sequence: number;
  readonly file: RandomAccessFile;
  /** Where every CRC in the file begins. */
  readonly seed: number;
  readonly index = new EntryIndex();
  /** Where the next batch goes. */
  end = recordsStart;
  /** Bytes of the file; from `end` on they are written ahead, so that a sync has no new length to store. */
  size: number;

  constructor(name: string, sequence: number, file: RandomAccessFile, seed: number, size: number) {
    this.name = name;
    this.sequence = sequence;
    this.file = file;
    this.seed = seed;
    this.size = size;
  }
}

/** Entries from `index` on are void, in all of `segments` (oldest first). */
export function truncateEntries(segments: readonly Segment[], index: number): void {
  for (let at = segments.length - 1; at >= 0; at -= 1) {
    const entries = segments[at].index;
    // Older segments hold smaller indexes only; one without entries says nothing about the ones before it.
    if (entries.rows > 0 && entries.lastIndex < index) return;
    entries.truncate(index);
  }
}

/** The segment that has the entry; null when none has. */
export function findSegment(segments: readonly Segment[], index: number): Segment | null {
  for (let at = segments.length - 1; at >= 0; at -= 1) {
    const entries = segments[at].index;
    if (entries.rows > 0 && entries.firstIndex <= index) return entries.lastIndex >= index ? segments[at] : null;
  }
  return null;
}
