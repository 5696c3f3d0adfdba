/** A partition of the broker's own, made by whoever needs it first. Any thread. */
import type { StreamPartition, StreamStore } from '../../../core/ports/stream-store.ts';
import { isCodeOf } from '../streams/storage-codes.ts';

/** Rejects with StorageError. */
export async function openOrCreate(store: StreamStore, name: string): Promise<StreamPartition> {
  try {
    return await store.open(name);
  } catch (error) {
    if (!isCodeOf(error, 'STORAGE_PARTITION_UNKNOWN')) throw error;
  }
  try {
    return await store.create(name);
  } catch (error) {
    // Another worker was first.
    if (!isCodeOf(error, 'STORAGE_PARTITION_EXISTS')) throw error;
    return store.open(name);
  }
}
