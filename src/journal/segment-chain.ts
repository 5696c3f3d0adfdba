/**
 * The segments of a partition, oldest first; the last one takes the next batch. Keeps few of the older ones open. Thread: the
 * journal worker; owned by the partition log.
 */

import type { FileSystem } from '../core/ports/file-system.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { readWholeFile, replaceFile } from './atomic-file.ts';
import type { EpochTable } from './checkpoint.ts';
import { type PartitionOptions, storedBatchBytesMax } from './partition-options.ts';
import { Segment } from './segment/segment.ts';
import { scanSegment } from './segment/segment-scan.ts';
import { indexName, SparseIndex } from './segment/sparse-index.ts';

/** Older segments whose file is open and whose index is in memory. */
const openSegmentsMax = 4;

export class SegmentChain {
  readonly fileSystem: FileSystem;
  readonly options: PartitionOptions;
  readonly epochs: EpochTable;
  /** Never empty. */
  readonly segments: Segment[];
  /** Most recently used last. */
  #opened: Segment[] = [];

  constructor(fileSystem: FileSystem, options: PartitionOptions, epochs: EpochTable, segments: Segment[]) {
    this.fileSystem = fileSystem;
    this.options = options;
    this.epochs = epochs;
    this.segments = segments;
  }

  get active(): Segment {
    return this.segments[this.segments.length - 1];
  }

  /** Number of the segment whose range `offset` is in; -1 when it is below the first one. */
  find(offset: number): number {
    let low = 0;
    let high = this.segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.segments[middle].baseOffset <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The index of a segment, with the file open. It is read, or made again from the data. Throws the disk's errors. */
  use(segment: Segment): SparseIndex {
    const index = this.peek(segment);
    if (index !== null) return index;
    const made = this.rescan(segment);
    if (segment.isSealed) this.#tryWriteIndex(segment);
    return made;
  }

  /** The index when it is in memory or in its file; null when all of the segment would have to be read for it. */
  peek(segment: Segment): SparseIndex | null {
    this.touch(segment);
    segment.index ??= this.#readIndex(segment);
    return segment.index;
  }

  /** Reads all of a segment again, notes what is damaged in it, and makes its index anew. */
  rescan(segment: Segment): SparseIndex {
    const { indexIntervalBytes: intervalBytes } = this.options;
    const found = scanSegment(segment.file(), segment.durableEnd, {
      baseOffset: segment.baseOffset,
      provenEnd: segment.durableEnd,
      provenNextOffset: segment.durableNextOffset,
      goesOn: false,
      intervalBytes,
      batchBytesMax: storedBatchBytesMax,
      epochOf: (offset) => this.epochs.epochOf(offset),
    });
    if (segment.index !== null) found.index.appendFrom(segment.index, segment.durableEnd);
    segment.index = found.index;
    const known = segment.damages;
    segment.damages = found.damages;
    for (const damage of found.damages) {
      if (known.some(({ position }) => position === damage.position)) continue;
      this.tellDamage(segment, damage.position, damage.firstOffset, damage.nextOffset, 'the batch is damaged');
    }
    return found.index;
  }

  tellDamage(segment: { readonly name: string }, position: number, first: number, next: number, reason: string): void {
    const { name: partition, onEvent } = this.options;
    onEvent({
      type: 'corruption',
      partition,
      file: segment.name,
      position,
      firstOffset: first,
      nextOffset: next,
      reason,
    });
  }

  /** For the next opening; a help only, so it is not synced. */
  writeIndex(segment: Segment): void {
    const { index, baseOffset, generation, end, damages } = segment;
    // The places of damage are not in the file: without it they are found again.
    if (index === null || damages.length > 0) return;
    replaceFile(this.fileSystem, indexName(baseOffset), index.encode({ baseOffset, generation, end }), 'none');
  }

  /** Begins the next segment. All that was written is durable; so is the new file when it returns. */
  addSegment(nowMs: number): void {
    const before = this.active;
    const segment = Segment.create(this.fileSystem, before.nextOffset, nowMs, this.options.indexIntervalBytes);
    this.segments.push(segment);
    this.touch(before);
  }

  /** Takes out segments that are gone or replaced; their files are the caller's business. */
  splice(start: number, count: number, ...replacement: Segment[]): Segment[] {
    const removed = this.segments.splice(start, count, ...replacement);
    for (const segment of removed) segment.putAway();
    this.#opened = this.#opened.filter((segment) => !removed.includes(segment));
    return removed;
  }

  close(): void {
    for (const segment of this.segments) segment.putAway();
    this.#opened = [];
  }

  /** So that it need not be made again when it has left the memory. */
  #tryWriteIndex(segment: Segment): void {
    try {
      this.writeIndex(segment);
    } catch {
      // Only a help: a full or failing disk must not keep anybody from reading what can be read.
    }
  }

  #readIndex(segment: Segment): SparseIndex | null {
    const { baseOffset, generation, end } = segment;
    const bytes = readWholeFile(this.fileSystem, indexName(baseOffset));
    if (typeof bytes === 'string') return null;
    return SparseIndex.decode(bytes, { baseOffset, generation, end }, this.options.indexIntervalBytes);
  }

  /** Keeps the file of an older segment open for now. */
  touch(segment: Segment): void {
    if (segment === this.active) return;
    if (this.#opened.at(-1) === segment) return;
    this.#opened = this.#opened.filter((other) => other !== segment);
    this.#opened.push(segment);
    if (this.#opened.length <= openSegmentsMax) return;
    const oldest = this.#opened.shift();
    if (oldest === undefined || oldest === this.active) return;
    oldest.putAway();
    // What is damaged stays known; with the index it would have to be found again.
    if (oldest.damages.length === 0) oldest.index = null;
  }
}

export function corrupted(file: string, position: number, reason: string): StorageError {
  const message = `Cannot read "${file}" at byte ${position}: ${reason}`;
  return new StorageError('STORAGE_CORRUPTED', message, { file, position });
}
