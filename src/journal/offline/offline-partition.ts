/**
 * A partition of the journal as its files are, without a broker and without changing anything. Thread: the one of the command; used by
 * `verify.ts` and `dump.ts`. It follows the rules by which a partition is opened (`partition-recovery.ts`), and repairs nothing.
 */

import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { FileSystem } from '../../core/ports/file-system.ts';
import { type Checkpoint, EpochTable, readCheckpoint } from '../checkpoint.ts';
import { storedBatchBytesMax } from '../partition-options.ts';
import { Segment } from '../segment/segment.ts';
import { baseOffsetOf, batchesStart } from '../segment/segment-format.ts';
import { type ScanOptions, type ScanResult, scanSegment } from '../segment/segment-scan.ts';
import { readSettings } from '../stream-settings-file.ts';
import { ReadOnlyFiles } from './read-only-files.ts';

const indexIntervalBytes = 16 * 1024;

export interface OfflineSegment {
  readonly segment: Segment;
  /** The first offset of the segment behind it; null: it is the last one. */
  readonly nextBase: number | null;
  /** Its range is in the compacted segment before it: it is removed when the partition is opened. */
  readonly isSuperseded: boolean;
}

export class OfflinePartition {
  /** As the folder is called. */
  readonly folder: string;
  /** As the partition is called. */
  readonly name: string;
  readonly files: FileSystem;
  readonly checkpoint: Checkpoint | 'missing' | 'damaged';
  readonly epochs: EpochTable;
  readonly segments: readonly OfflineSegment[];

  /** `files`: what is at `path`; they are only read. Throws Node's errors. */
  constructor(path: string, files: FileSystem = new ReadOnlyFiles(path)) {
    this.folder = basename(path);
    this.files = files;
    const settings = readSettings(this.files);
    this.name = typeof settings === 'string' ? this.folder : settings.name;
    this.checkpoint = readCheckpoint(this.files);
    this.epochs = new EpochTable(typeof this.checkpoint === 'string' ? [] : this.checkpoint.epochs);
    this.segments = this.#openSegments();
  }

  /** Goes through the batches of a segment. */
  scan({ segment, nextBase }: OfflineSegment, take?: ScanOptions['take']): ScanResult {
    const isKnown = segment.slot !== null && (nextBase === null || segment.isSealed);
    const size = segment.size;
    const provenEnd = isKnown ? segment.durableEnd : nextBase === null ? batchesStart : Math.max(batchesStart, size);
    const provenNextOffset = isKnown ? segment.durableNextOffset : (nextBase ?? segment.baseOffset);
    const options = {
      baseOffset: segment.baseOffset,
      provenEnd,
      provenNextOffset,
      goesOn: nextBase === null && !segment.isSealed,
      intervalBytes: indexIntervalBytes,
      batchBytesMax: storedBatchBytesMax,
      epochOf: (offset: number) => this.epochs.epochOf(offset),
    };
    const file = segment.file();
    try {
      return scanSegment(file, Math.max(size, provenEnd), take === undefined ? options : { ...options, take });
    } finally {
      segment.putAway();
    }
  }

  #openSegments(): OfflineSegment[] {
    const bases = this.files
      .list()
      .map(baseOffsetOf)
      .filter((base) => base >= 0);
    const opened: OfflineSegment[] = [];
    let before: Segment | null = null;
    for (const [number, base] of bases.entries()) {
      const segment = Segment.open(this.files, base, 0);
      segment.putAway();
      const isSuperseded = before !== null && before.generation > 0 && base < before.nextOffset;
      opened.push({ segment, nextBase: bases[number + 1] ?? null, isSuperseded });
      if (!isSuperseded) before = segment;
    }
    // What is removed when the partition is opened is no neighbour of the others.
    return opened.map((each, number) => {
      const next = opened.slice(number + 1).find(({ isSuperseded }) => !isSuperseded);
      return { ...each, nextBase: next?.segment.baseOffset ?? null };
    });
  }
}

/**
 * The folders of all partitions below `data`: a log directory, or a broker's data folder with one in it. Throws Node's errors, and when
 * there is no log directory.
 */
export function findPartitions(data: string): readonly string[] {
  const inner = join(data, 'journal');
  const isDataFolder = existsSync(inner) && statSync(inner).isDirectory() && !isPartition(inner);
  const directory = isDataFolder ? inner : data;
  const folders = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return folders
    .map(({ name }) => join(directory, name))
    .filter(isPartition)
    .sort();
}

function isPartition(folder: string): boolean {
  return readdirSync(folder).some((name) => name === 'checkpoint' || baseOffsetOf(name) >= 0);
}
