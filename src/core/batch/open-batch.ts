/**
 * Compressed batches as batches whose records can be walked over, for those who need single records: queues, and people who look at
 * streams. Whole batches are passed on as they are, unopened. Any thread; the work is done in the call, so the output is bounded.
 */
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { batchAttributes, batchHeaderBytes, batchLengthEnd, batchSizeAt } from './batch-format.ts';

/** Opens compressions 2 and 3, for which Node has nothing. Answers at most `bytesMax` bytes, or throws. */
export type Decompress = (compression: number, bytes: Buffer, bytesMax: number) => Buffer;

/** By the number in the attributes of a batch. */
const compressionNames = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

/** The records of the batch cannot be had: they are too many, are none, or need what is not there. */
export class BatchUnreadableError extends Error {
  override readonly name = 'BatchUnreadableError';
}

export interface OpenedBatch {
  readonly bytes: Buffer;
  /** Where the batch begins in `bytes`. */
  readonly at: number;
}

/**
 * The batch at `at` itself when it is not compressed, or a copy that is not, with at most `bytesMax` bytes of records. The CRC of the
 * copy is that of the original.
 *
 * @throws BatchUnreadableError
 */
export function openBatch(slice: Buffer, at: number, bytesMax: number, decompress: Decompress | null): OpenedBatch {
  const attributes = slice.readInt16BE(at + 21);
  const compression = attributes & batchAttributes.compression;
  if (compression === 0) return { bytes: slice, at };
  const size = batchSizeAt(slice, at);
  let records: Buffer;
  try {
    records = inflate(compression, slice.subarray(at + batchHeaderBytes, at + size), bytesMax, decompress);
  } catch (error) {
    throw new BatchUnreadableError(describe(compression, error, bytesMax), { cause: error });
  }
  const bytes = Buffer.allocUnsafeSlow(batchHeaderBytes + records.length);
  slice.copy(bytes, 0, at, at + batchHeaderBytes);
  records.copy(bytes, batchHeaderBytes);
  bytes.writeInt32BE(bytes.length - batchLengthEnd, 8);
  bytes.writeInt16BE(attributes & ~batchAttributes.compression, 21);
  return { bytes, at: 0 };
}

function inflate(compression: number, bytes: Buffer, bytesMax: number, decompress: Decompress | null): Buffer {
  if (compression === 1) return gunzipSync(bytes, { maxOutputLength: bytesMax });
  if (compression === 4) return zstdDecompressSync(bytes, { maxOutputLength: bytesMax });
  if (decompress === null) throw new Error('there is no decompressor for it');
  return decompress(compression, bytes, bytesMax);
}

function describe(compression: number, thrown: unknown, bytesMax: number): string {
  const name = compressionNames[compression] ?? 'unknown';
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const isTooLong = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
  const reason = isTooLong ? `its records have more than ${bytesMax} bytes` : error.message;
  return `Cannot open a batch of compression ${compression} (${name}): ${reason}`;
}
