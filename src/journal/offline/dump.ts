/**
 * The records of a partition, from its files. Changes nothing. Thread: the one of the command; called by `ringmq ctl journal dump`.
 */

import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import {
  type BatchHeader,
  batchAttributes,
  batchHeaderBytes,
  batchLengthEnd,
  isCompressed,
  isControl,
  isTransactional,
  readBatchHeader,
} from '../../core/batch/batch-format.ts';
import { readControlType } from '../../core/batch/control-batch.ts';
import { RecordCursor, type RecordHeader } from '../../core/batch/record-cursor.ts';
import { batchesStart } from '../segment/segment-format.ts';
import type { OfflinePartition } from './offline-partition.ts';

export interface DumpedRecord {
  readonly type: 'record';
  readonly partition: string;
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
  readonly batch: DumpedBatch;
}

/** A batch whose records are not shown: they are gone, or in a compression that Node cannot undo. */
export interface DumpedRange {
  readonly type: 'range';
  readonly partition: string;
  readonly batch: DumpedBatch;
  readonly what: string;
}

/** Offsets that cannot be read. */
export interface DumpedDamage {
  readonly type: 'damage';
  readonly partition: string;
  readonly file: string;
  readonly position: number;
  readonly firstOffset: number;
  readonly nextOffset: number;
}

export interface DumpedBatch {
  readonly file: string;
  readonly position: number;
  readonly header: BatchHeader;
  readonly codec: string;
  readonly isTransactional: boolean;
  readonly control: 'abort' | 'commit' | 'unknown' | null;
}

export type Dumped = DumpedRecord | DumpedRange | DumpedDamage;

const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd', 'unknown', 'unknown', 'unknown'];
/** More than that is not unpacked: a batch that says so is a bomb. */
const unpackedBytesMax = 1024 * 1024 * 1024;

/** Tells `take` of the records from `from` on, in order, until it answers false. What is damaged is told in its place. */
export function dumpPartition(partition: OfflinePartition, from: number, take: (item: Dumped) => boolean): void {
  for (const each of partition.segments) {
    const { segment, nextBase, isSuperseded } = each;
    if (isSuperseded || (nextBase !== null && nextBase <= from)) continue;
    let isStopped = false;
    let expected = segment.baseOffset;
    let lastEnd = batchesStart;
    const offer = (item: Dumped): boolean => {
      if (!isStopped) isStopped = !take(item);
      return isStopped;
    };
    const tellGap = (position: number, nextOffset: number): void => {
      if (nextOffset <= Math.max(expected, from) || isStopped) return;
      const { name: partitionName } = partition;
      const place = { file: segment.name, position, firstOffset: expected, nextOffset };
      offer({ type: 'damage', partition: partitionName, ...place });
    };
    const { nextOffset } = partition.scan(each, (bytes, size, position) => {
      const header = readBatchHeader(bytes);
      tellGap(lastEnd, header.baseOffset);
      expected = header.lastOffset + 1;
      lastEnd = position + size;
      if (header.lastOffset < from || isStopped) return isStopped;
      // The bytes are valid for the time of this call alone.
      const batch = Buffer.from(bytes.subarray(0, size));
      for (const item of itemsOf(partition.name, segment.name, position, batch, header)) {
        if (item.type === 'record' && item.offset < from) continue;
        if (offer(item)) return true;
      }
      return isStopped;
    });
    tellGap(lastEnd, nextOffset);
    if (isStopped) return;
  }
}

function* itemsOf(
  partition: string,
  file: string,
  position: number,
  bytes: Buffer,
  header: BatchHeader,
): Generator<DumpedRecord | DumpedRange> {
  const { attributes } = header;
  const batch: DumpedBatch = {
    file,
    position,
    header,
    codec: codecs[attributes & batchAttributes.compression],
    isTransactional: isTransactional(attributes),
    control: isControl(attributes) ? (readControlType(bytes) ?? 'unknown') : null,
  };
  if (header.recordCount === 0) {
    yield { type: 'range', partition, batch, what: 'compaction has removed its records' };
    return;
  }
  const plain = isCompressed(attributes) ? unpack(bytes, batch.codec) : bytes;
  if (typeof plain === 'string') {
    yield { type: 'range', partition, batch, what: plain };
    return;
  }
  const cursor = new RecordCursor().reset(plain);
  while (cursor.next()) {
    const { offset, timestamp, key, value } = cursor;
    yield { type: 'record', partition, offset, timestamp, key, value, headers: cursor.headers(), batch };
  }
  if (!cursor.isSound) yield { type: 'range', partition, batch, what: 'its records are not what it says' };
}

/** The batch without its compression, or why not. */
function unpack(bytes: Buffer, codec: string): Buffer | string {
  const packed = bytes.subarray(batchHeaderBytes);
  try {
    let records: Buffer;
    if (codec === 'gzip') records = gunzipSync(packed, { maxOutputLength: unpackedBytesMax });
    else if (codec === 'zstd') records = zstdDecompressSync(packed, { maxOutputLength: unpackedBytesMax });
    else return `its records are compressed with ${codec}, which cannot be unpacked here`;
    const plain = Buffer.concat([bytes.subarray(0, batchHeaderBytes), records]);
    plain.writeInt32BE(plain.length - batchLengthEnd, 8);
    plain.writeInt16BE(plain.readInt16BE(21) & ~batchAttributes.compression, 21);
    return plain;
  } catch (error) {
    return `its records cannot be unpacked: ${(error as Error).message}`;
  }
}
