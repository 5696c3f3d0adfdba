/**
 * The port of object storage: what the cold tier of a journal needs of a bucket, and no more. Implemented by storage adapters that have
 * such a service, and in memory for tests. Thread: the one that holds the store; answers come on the same thread.
 *
 * What every implementation guarantees
 *   - what `put` and `complete` have answered is there whole, for whoever asks next, and stays
 *   - the service checked the CRC-32C of what it was sent before it answered; sending something twice does no harm
 *   - whatever keeps a call from its answer is a StorageError, STORAGE_UNAVAILABLE or STORAGE_DISK_FULL: it may have been done or not.
 *     Messages name the service's code and text, never access keys or signatures
 */

export interface StoredObject {
  readonly key: string;
  readonly size: number;
}

/** One object in parts, sent one after the other or several at a time. Nothing is there before `complete` was answered. */
export interface ObjectUpload {
  /** `number` from 1 on, without gaps; all but the last have at least `partBytesMin`. */
  part(number: number, bytes: Buffer, crc: number): Promise<void>;
  complete(): Promise<void>;
  /** Gives back what was sent. What it does not reach, `abortUploads` does. */
  abort(): Promise<void>;
}

export interface ObjectStore {
  /** Parts of an upload but the last are not smaller. */
  readonly partBytesMin: number;
  /** For messages: where it is. Without secrets. */
  readonly place: string;
  /** Stores an object, in place of the one of this key. `crc`: CRC-32C of the bytes. */
  put(key: string, bytes: Buffer, crc: number): Promise<void>;
  beginUpload(key: string): Promise<ObjectUpload>;
  /** `length` bytes from `from` on, fewer when the object is shorter; null when there is none. */
  get(key: string, from?: number, length?: number): Promise<Buffer | null>;
  /** Objects whose keys begin with `under`, behind `after`, in the order of their keys; up to 1000 at a time. */
  list(under: string, after?: string): Promise<readonly StoredObject[]>;
  /** Those that are not there count as deleted. */
  delete(key: string): Promise<void>;
  /** Ends all uploads below `under` that were neither completed nor aborted; answers how many there were. */
  abortUploads(under: string): Promise<number>;
  /** Idle connections are not used any more. */
  reset(): void;
  close(): void;
}
