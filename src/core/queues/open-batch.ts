/**
 * A batch whose records can be walked over: compressed ones are opened. Queues give single messages away, so that here, and not on the
 * way of whole batches, is where batches are opened. Thread: the owner of the queue; called by the partition reader.
 */
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { toError } from '../../std/errors.ts';
import { batchAttributes, batchHeaderBytes, batchLengthEnd, batchSizeAt } from '../batch/batch-format.ts';
import { QueueError } from './queue-error.ts';

/** Opens compressions 2 and 3, for which Node has nothing. Answers at most `bytesMax` bytes, or throws. */
export type Decompress = (compression: number, bytes: Buffer, bytesMax: number) => Buffer;

/** Records of one batch after decompression. */
export const openedBytesMax = 64 * 1024 * 1024;

/**
 * The batch at `at` itself when it is not compressed, or a copy that is not. The CRC of the copy is that of the original.
 *
 * @throws QueueError QUEUE_BATCH_UNREADABLE
 */
export function openBatch(slice: Buffer, at: number, decompress: Decompress | null): { bytes: Buffer; at: number } {
  const attributes = slice.readInt16BE(at + 21);
  const compression = attributes & batchAttributes.compression;
  if (compression === 0) return { bytes: slice, at };
  const size = batchSizeAt(slice, at);
  let records: Buffer;
  try {
    records = inflate(compression, slice.subarray(at + batchHeaderBytes, at + size), decompress);
  } catch (error) {
    const reason = toError(error).message;
    throw new QueueError('QUEUE_BATCH_UNREADABLE', `Cannot open a batch of compression ${compression}: ${reason}`, {
      cause: error,
    });
  }
  const bytes = Buffer.allocUnsafeSlow(batchHeaderBytes + records.length);
  slice.copy(bytes, 0, at, at + batchHeaderBytes);
  records.copy(bytes, batchHeaderBytes);
  bytes.writeInt32BE(bytes.length - batchLengthEnd, 8);
  bytes.writeInt16BE(attributes & ~batchAttributes.compression, 21);
  return { bytes, at: 0 };
}

function inflate(compression: number, bytes: Buffer, decompress: Decompress | null): Buffer {
  if (compression === 1) return gunzipSync(bytes, { maxOutputLength: openedBytesMax });
  if (compression === 4) return zstdDecompressSync(bytes, { maxOutputLength: openedBytesMax });
  if (decompress === null) throw new Error('there is no decompressor for it');
  return decompress(compression, bytes, openedBytesMax);
}
