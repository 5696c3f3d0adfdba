/**
 * Checks what a producer or another replica hands in, before it gets a place in the log. Thread: the journal worker, or
 * the thread that took the bytes from the network; called by the partition log.
 */

import { StorageError } from '../streams/storage-error.ts';
import {
  type BatchHeader,
  batchAttributes,
  batchHeaderBytes,
  batchMagic,
  batchSizeAt,
  hasSoundCrc,
  isCompressed,
  isControl,
  isTransactional,
  readBatchHeader,
} from './batch-format.ts';
import { readControlType } from './control-batch.ts';
import { VarintReader } from './varint.ts';

export interface BatchLimits {
  /** Longest batch that is taken. */
  readonly batchBytesMax: number;
}

/** From a producer each offset has its record; from a replica a compacted batch may have fewer, and keeps its offsets. */
export type BatchOrigin = 'producer' | 'replica';

const reader = new VarintReader();

/**
 * The headers of all batches in `bytes`, one after the other. Magic, length, CRC and counts are right, offsets are dense.
 *
 * @throws StorageError STORAGE_BATCH_INVALID
 */
export function validateBatches(bytes: Buffer, origin: BatchOrigin, limits: BatchLimits): BatchHeader[] {
  const headers: BatchHeader[] = [];
  for (let at = 0; at < bytes.length; ) {
    const header = validateBatch(bytes, at, origin, limits);
    headers.push(header);
    at += header.size;
  }
  if (headers.length === 0) throw invalid('there is none');
  return headers;
}

function validateBatch(bytes: Buffer, at: number, origin: BatchOrigin, limits: BatchLimits): BatchHeader {
  if (at + batchHeaderBytes > bytes.length) throw invalid('it is shorter than a header');
  if (bytes[at + 16] !== batchMagic) throw invalid(`its magic is ${bytes[at + 16]} and not ${batchMagic}`);
  const size = batchSizeAt(bytes, at);
  if (size === 0 || at + size > bytes.length) throw invalid('its length is wrong');
  if (size > limits.batchBytesMax) throw invalid(`it has ${size} bytes, more than ${limits.batchBytesMax}`);
  if (!hasSoundCrc(bytes, at, size)) throw invalid('its CRC is wrong');
  const header = readBatchHeader(bytes, at);
  checkNumbers(header, origin);
  if (!isCompressed(header.attributes)) checkRecords(bytes, at, header, origin);
  if (isControl(header.attributes) && readControlType(bytes, at) === null) throw invalid('its marker is unknown');
  return header;
}

function checkNumbers(header: BatchHeader, origin: BatchOrigin): void {
  const { attributes, baseOffset, lastOffset, recordCount, producerId, producerEpoch, baseSequence } = header;
  const span = lastOffset - baseOffset + 1;
  if ((attributes & batchAttributes.compression) > 4) throw invalid('its compression is unknown');
  if (span < 1 || recordCount > span) throw invalid(`it has ${recordCount} records over ${span} offsets`);
  if (origin === 'producer' && recordCount !== span)
    throw invalid(`it has ${recordCount} records over ${span} offsets`);
  if (recordCount < 0) throw invalid('its count of records is negative');
  if (!isSafe(producerId) || !isSafe(header.baseTimestamp) || !isSafe(header.maxTimestamp)) {
    throw invalid('a number is too large');
  }
  if (producerId < -1 || (producerId >= 0 && producerEpoch < 0)) throw invalid('its producer is wrong');
  const needsSequence = producerId >= 0 && !isControl(attributes) && recordCount > 0;
  if (needsSequence && baseSequence < 0) throw invalid('its producer gives no sequence');
  if ((isTransactional(attributes) || isControl(attributes)) && producerId < 0) throw invalid('it has no producer');
}

/** Lengths fill the batch exactly, and offsets ascend; from a producer they are dense. */
function checkRecords(bytes: Buffer, at: number, header: BatchHeader, origin: BatchOrigin): void {
  const end = at + header.size;
  let next = at + batchHeaderBytes;
  let expected = 0;
  for (let record = 0; record < header.recordCount; record += 1) {
    reader.reset(bytes, next, end);
    const length = reader.next();
    next = reader.at + length;
    if (!reader.isSound || length < 6 || next > end) throw invalid(`record ${record} does not fit`);
    reader.reset(bytes, reader.at + 1, next);
    reader.next();
    const offsetDelta = reader.next();
    if (!reader.isSound || offsetDelta < expected) throw invalid(`record ${record} has a wrong offset`);
    if (origin === 'producer' && offsetDelta !== expected) throw invalid(`record ${record} has a wrong offset`);
    expected = offsetDelta + 1;
    if (!skipsField(next) || !skipsField(next)) throw invalid(`record ${record} does not fit`);
    const headers = reader.next();
    if (headers < 0) throw invalid(`record ${record} has a negative count of headers`);
    for (let field = 0; field < 2 * headers; field += 1) {
      if (!skipsField(next)) throw invalid(`record ${record} does not fit`);
    }
    if (!reader.isSound || reader.at !== next) throw invalid(`record ${record} does not fit`);
  }
  if (next !== end) throw invalid('its records do not fill it');
  if (expected > header.lastOffset - header.baseOffset + 1) throw invalid('a record lies behind its last offset');
}

function skipsField(end: number): boolean {
  const length = reader.next();
  if (!reader.isSound || length < -1) return false;
  if (length > 0) reader.at += length;
  return reader.at <= end;
}

function isSafe(value: number): boolean {
  return Number.isSafeInteger(value);
}

function invalid(reason: string): StorageError {
  return new StorageError('STORAGE_BATCH_INVALID', `Cannot append the batch: ${reason}`);
}
