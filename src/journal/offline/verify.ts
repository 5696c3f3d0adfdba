/**
 * Reads all of a partition's files and says what is wrong with them, by file, position and offset. Changes nothing. Thread: the one of
 * the command; called by `ringmq ctl journal verify`.
 */

import { baseOffsetAt, batchHeaderBytes, readBatchHeader } from '../../core/batch/batch-format.ts';
import { readWholeFile, temporarySuffix } from '../atomic-file.ts';
import { checkpointName } from '../checkpoint.ts';
import { readProducerSnapshot, snapshotOffsetOf } from '../producer-snapshot.ts';
import { newSegmentName } from '../segment/segment.ts';
import {
  batchesStart,
  newestSlot,
  readUint64,
  slotBytes,
  slotFlags,
  slotPositions,
} from '../segment/segment-format.ts';
import { indexName, SparseIndex } from '../segment/sparse-index.ts';
import { readSettings, settingsFile } from '../stream-settings-file.ts';
import type { OfflinePartition, OfflineSegment } from './offline-partition.ts';

export interface JournalProblem {
  /** `damage`: stored bytes are not what they were. `note`: what a crash leaves; it is put in order when the partition is opened. */
  readonly severity: 'damage' | 'note';
  readonly partition: string;
  readonly file: string;
  readonly position: number;
  /** The offsets [firstOffset, nextOffset) that cannot be read because of it; null: none are lost. */
  readonly firstOffset: number | null;
  readonly nextOffset: number | null;
  readonly what: string;
}

export interface PartitionSummary {
  readonly partition: string;
  readonly segments: number;
  readonly batches: number;
  readonly records: number;
  /** Of sound batches. */
  readonly bytes: number;
  readonly logStartOffset: number;
  readonly logEndOffset: number;
}

type Report = (problem: JournalProblem) => void;

export function verifyPartition(partition: OfflinePartition, report: Report): PartitionSummary {
  return new Verification(partition, report).run();
}

class Verification {
  readonly #partition: OfflinePartition;
  readonly #report: Report;
  #batches = 0;
  #records = 0;
  #bytes = 0;
  #endOffset = 0;

  constructor(partition: OfflinePartition, report: Report) {
    this.#partition = partition;
    this.#report = report;
  }

  run(): PartitionSummary {
    const { checkpoint, segments, name } = this.#partition;
    if (typeof checkpoint === 'string') this.#damage(checkpointName, 0, `the checkpoint is ${checkpoint}`);
    const logStartOffset = typeof checkpoint === 'string' ? 0 : checkpoint.logStartOffset;
    this.#endOffset = logStartOffset;
    for (const [number, each] of segments.entries()) {
      const { segment, isSuperseded } = each;
      if (isSuperseded) this.#note(segment.name, 0, 'a compacted segment took its place; it was not removed yet');
      else this.#checkSegment(each, number === 0 ? logStartOffset : null);
    }
    this.#checkOthers();
    return {
      partition: name,
      segments: segments.length,
      batches: this.#batches,
      records: this.#records,
      bytes: this.#bytes,
      logStartOffset,
      logEndOffset: this.#endOffset,
    };
  }

  /** `logStart` for the first segment. */
  #checkSegment(each: OfflineSegment, logStart: number | null): void {
    const { segment, nextBase } = each;
    const { name, baseOffset } = segment;
    if (logStart !== null && baseOffset > logStart) {
      this.#damage(name, 0, 'the segment before it is missing', logStart, baseOffset);
    }
    this.#checkFront(each);
    const positions = new Map<number, number>();
    const { end, nextOffset, damages, tornBytes } = this.#partition.scan(each, (bytes, size, position) => {
      const { recordCount } = readBatchHeader(bytes);
      positions.set(position, baseOffsetAt(bytes, 0));
      this.#batches += 1;
      this.#records += recordCount;
      this.#bytes += size;
      return false;
    });
    for (const damage of damages) {
      const length = damage.end - damage.position;
      this.#damage(name, damage.position, `${length} bytes are no sound batch`, damage.firstOffset, damage.nextOffset);
    }
    const isClosed = ((segment.slot?.flags ?? 0) & slotFlags.closed) !== 0;
    const wasUnderWay =
      'bytes that are no batch: they were never acknowledged, and are cut when the partition is opened';
    if (tornBytes > 0 && segment.slot === null) {
      this.#damage(
        name,
        end,
        `${tornBytes} bytes are no sound batch, and no proof slot says whether they were durable`,
      );
    } else if (tornBytes > 0 && isClosed) {
      this.#damage(name, end, `${tornBytes} bytes behind the end of a log that was closed`);
    } else if (tornBytes > 0) this.#note(name, end, `${tornBytes} ${wasUnderWay}`);
    if (nextBase !== null && segment.isSealed) {
      if (segment.size > segment.durableEnd)
        this.#note(name, segment.durableEnd, 'bytes behind the end of the segment');
      if (nextOffset < nextBase) this.#damage(name, end, 'the segment behind it is missing', nextOffset, nextBase);
      else if (nextOffset > nextBase) this.#damage(name, end, `it reaches into the segment of offset ${nextBase}`);
    }
    this.#endOffset = nextOffset;
    this.#checkIndex(each, positions);
  }

  /** Header, proof slots and the zeros between them. */
  #checkFront({ segment, nextBase }: OfflineSegment): void {
    const { name, baseOffset, headerFault } = segment;
    const file = segment.file();
    const front = Buffer.alloc(batchesStart);
    const length = file.read(front, 0);
    segment.putAway();
    if (headerFault !== null) this.#damage(name, 0, headerFault);
    if (length < batchesStart) this.#damage(name, length, 'the pages in front of the batches are cut');
    for (const [place, at] of slotPositions.entries()) {
      const slot = front.subarray(at, at + slotBytes);
      const alone = Buffer.alloc(batchesStart);
      slot.copy(alone, at);
      const isEmpty = slot.every((byte) => byte === 0);
      if (!isEmpty && newestSlot(alone, baseOffset) === null) this.#damage(name, at, `proof slot ${place} is damaged`);
    }
    const newest = newestSlot(front, baseOffset);
    if (newest === null) this.#damage(name, slotPositions[0], 'there is no proof slot');
    else if (nextBase !== null && (newest.flags & slotFlags.sealed) === 0) {
      this.#damage(name, slotPositions[newest.place], 'the proof slot that ends the segment is missing');
    }
    // The header's own CRC covers its zeros.
    const zeros = [
      64,
      slotPositions[0],
      slotPositions[0] + slotBytes,
      slotPositions[1],
      slotPositions[1] + slotBytes,
      batchesStart,
    ];
    for (let range = 0; range < zeros.length; range += 2) {
      const strange = front.subarray(zeros[range], zeros[range + 1]).findIndex((byte) => byte !== 0);
      if (strange >= 0) this.#damage(name, zeros[range] + strange, 'a byte that must be zero is not');
    }
  }

  /** What it points to must be there. `positions`: base offset of each sound batch by its place. */
  #checkIndex({ segment }: OfflineSegment, positions: ReadonlyMap<number, number>): void {
    const { baseOffset, generation, durableEnd: end } = segment;
    const { files } = this.#partition;
    const name = indexName(baseOffset);
    const bytes = readWholeFile(files, name);
    if (bytes === 'missing') return;
    if (bytes === 'damaged') {
      this.#damage(name, 0, 'the index is damaged; it is made again from the segment');
      return;
    }
    const index = SparseIndex.decode(bytes, { baseOffset, generation, end }, 1);
    if (index === null) {
      // A crash can leave the one of an earlier life of the segment.
      const isOlder = bytes.length >= 40 && (bytes.readUInt32LE(12) !== generation || readUint64(bytes, 24) !== end);
      if (isOlder) this.#note(name, 0, 'the index is of another state of the segment; it is not used');
      else this.#damage(name, 0, 'the index is damaged; it is made again from the segment');
      return;
    }
    for (let entry = 0; entry < index.length; entry += 1) {
      const found = positions.get(index.positionOf(entry));
      if (found === index.offsetOf(entry)) continue;
      // The batch itself may be what is damaged; that was told.
      if (found === undefined && this.#isHeaderAt(segment.name, index.positionOf(entry), index.offsetOf(entry)))
        continue;
      this.#damage(name, 40 + 24 * entry, `entry ${entry} points to no batch of offset ${index.offsetOf(entry)}`);
    }
  }

  #isHeaderAt(name: string, position: number, offset: number): boolean {
    const file = this.#partition.files.open(name, { create: false });
    const bytes = Buffer.alloc(batchHeaderBytes);
    const length = file.read(bytes, position);
    file.close();
    return length === bytes.length && baseOffsetAt(bytes, 0) === offset;
  }

  /** All that is no segment. */
  #checkOthers(): void {
    const { files, segments } = this.#partition;
    const indexes = new Set(segments.map(({ segment }) => indexName(segment.baseOffset)));
    for (const name of files.list()) {
      if (name === newSegmentName || name.endsWith(temporarySuffix)) {
        this.#note(name, 0, 'a file that was not finished; it is removed when the partition is opened');
      } else if (name.endsWith('.index') && !indexes.has(name)) this.#note(name, 0, 'an index without its segment');
      else if (name === settingsFile && readSettings(files) === 'damaged')
        this.#damage(name, 0, 'the settings are damaged');
      const offset = snapshotOffsetOf(name);
      if (offset >= 0 && readProducerSnapshot(files, offset)?.offset !== offset) {
        this.#damage(name, 0, 'the state of producers is damaged; an older one is used, with more batches behind it');
      }
    }
  }

  #damage(
    file: string,
    position: number,
    what: string,
    firstOffset: number | null = null,
    nextOffset = firstOffset,
  ): void {
    const { name: partition } = this.#partition;
    this.#report({ severity: 'damage', partition, file, position, firstOffset, nextOffset, what });
  }

  #note(file: string, position: number, what: string): void {
    const { name: partition } = this.#partition;
    this.#report({ severity: 'note', partition, file, position, firstOffset: null, nextOffset: null, what });
  }
}
