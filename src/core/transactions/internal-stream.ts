/**
 * What the services of the core need of their internal streams: opening one that may not be there yet, and reading all of it.
 * Thread: the owner of the service.
 */

import { batchSizeAt, isControl } from '../batch/batch-format.ts';
import { RecordCursor } from '../batch/record-cursor.ts';
import type { StreamPartition, StreamSettings, StreamStore } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';

/** Opens the stream, or makes it. What an adapter cannot keep as asked is kept plainly: the services do not depend on it. */
export async function openInternalStream(
  store: StreamStore,
  name: string,
  settings: StreamSettings = {},
): Promise<StreamPartition> {
  try {
    return await store.open(name);
  } catch (error) {
    if (codeOf(error) !== 'STORAGE_PARTITION_UNKNOWN') throw error;
  }
  try {
    return await store.create(name, settings);
  } catch (error) {
    if (codeOf(error) === 'STORAGE_PARTITION_EXISTS') return store.open(name);
    if (codeOf(error) !== 'STORAGE_SETTING_UNSUPPORTED') throw error;
    return store.create(name);
  }
}

/** The code of a storage error; null for anything else. */
export function codeOf(error: unknown): StorageError['code'] | null {
  return error instanceof StorageError ? error.code : null;
}

/** Whatever was thrown, as a storage error: what is unknown may have been stored or not. */
export function toStorageError(thrown: unknown): StorageError {
  if (thrown instanceof StorageError) return thrown;
  return new StorageError('STORAGE_UNCERTAIN', `Cannot use the store: ${String(thrown)}`, { cause: thrown });
}

/**
 * Reads the records of [from, end) in chunks and shows each to `visit`; answers where it ended. `end` is asked again after each
 * chunk, so that the caller can follow a log that grows. Records of control batches are passed over. With `onDamage` so are places
 * that cannot be read any more, after telling it; without, they reject.
 */
export async function readRecords(
  partition: StreamPartition,
  from: number,
  end: () => number,
  visit: (record: RecordCursor) => void,
  options: { readonly bytesMax?: number; readonly onDamage?: (error: StorageError) => void } = {},
): Promise<number> {
  const { bytesMax = 1024 * 1024, onDamage } = options;
  const cursor = new RecordCursor();
  let offset = from;
  let step = 1;
  while (offset < end()) {
    try {
      const { slices, nextOffset } = await partition.read({ offset, bytesMax });
      if (nextOffset <= offset) return offset;
      for (const slice of slices) visitBatches(slice, offset, cursor, visit);
      offset = nextOffset;
      step = 1;
    } catch (error) {
      if (codeOf(error) !== 'STORAGE_CORRUPTED' || onDamage === undefined) throw error;
      onDamage(toStorageError(error));
      // The port does not say where the damage ends: in ever larger steps nothing large is passed over for a small one.
      offset += Math.ceil(step);
      step *= 1.1;
    }
  }
  return offset;
}

function visitBatches(slice: Buffer, from: number, cursor: RecordCursor, visit: (record: RecordCursor) => void): void {
  for (let at = 0; at < slice.length; at += batchSizeAt(slice, at)) {
    if (isControl(slice.readInt16BE(at + 21))) continue;
    cursor.reset(slice, at);
    while (cursor.next()) if (cursor.offset >= from) visit(cursor);
  }
}

/** Reads all records that are committed now; answers where the log ends. */
export async function readAllRecords(
  partition: StreamPartition,
  visit: (record: RecordCursor) => void,
): Promise<number> {
  const { logStartOffset, highWatermark } = await partition.places();
  return readRecords(partition, logStartOffset, () => highWatermark, visit);
}

/** One append as a promise, for what is not done for each message. */
export function append(
  partition: StreamPartition,
  bytes: Buffer,
): Promise<{ readonly error: StorageError | null; readonly baseOffset: number }> {
  return new Promise((resolve) => partition.append(bytes, resolve));
}
