/**
 * What a stream store answers instead of doing what it was asked: one error class with a closed list of codes. Thread: any; between
 * threads code and message travel, and the class is made again. Used by the journal, all storage adapters and the core services.
 */

/** Code → what it means. */
export const storageErrorCodes = {
  STORAGE_BATCH_INVALID: 'The bytes are not a sound record batch.',
  STORAGE_CLOSED: 'The store was closed.',
  STORAGE_CORRUPTED: 'Stored bytes are not what was made durable. File and offset are named; other ranges are served.',
  STORAGE_DISK_FULL: 'There is too little room left where the records are kept.',
  STORAGE_LEADER_FENCED: 'A newer leader epoch of this partition is known.',
  STORAGE_NAME_INVALID:
    'A partition has 1 to 249 characters out of letters, digits, ".", "_" and "-", and is not "." or "..".',
  STORAGE_OFFSET_OUT_OF_RANGE: 'The offset is below the start of the log, or above its end.',
  STORAGE_PARTITION_EXISTS: 'There is a partition of this name already.',
  STORAGE_PARTITION_FAILED: 'The partition is out of service after a disk error. Reopen it when the disk is sound.',
  STORAGE_PARTITION_UNKNOWN: 'There is no partition of this name.',
  STORAGE_PRODUCER_FENCED: 'A newer epoch of this producer id is known.',
  STORAGE_SEQUENCE_OUT_OF_ORDER: 'Batches of this producer before this one are missing.',
  STORAGE_SETTING_UNSUPPORTED: 'The storage adapter cannot do what a setting asks for.',
  STORAGE_UNAVAILABLE: 'The storage engine does not answer, and too much waits for it already. Nothing was stored.',
  STORAGE_UNCERTAIN: 'The storage engine was lost while it stored the batches: they may be there or not.',
} as const;

export type StorageErrorCode = keyof typeof storageErrorCodes;

const retryable: ReadonlySet<StorageErrorCode> = new Set([
  'STORAGE_DISK_FULL',
  'STORAGE_PARTITION_FAILED',
  'STORAGE_UNAVAILABLE',
  'STORAGE_UNCERTAIN',
]);

export class StorageError extends Error {
  override readonly name = 'StorageError';
  readonly code: StorageErrorCode;
  /** The same call can succeed later. After STORAGE_UNCERTAIN only a batch with a producer id is stored once. */
  readonly canRetry: boolean;
  /** Of a damage: name of the file in the partition's folder, and byte offset in it; else null. */
  readonly file: string | null;
  readonly position: number | null;

  constructor(
    code: StorageErrorCode,
    message: string,
    details: { readonly file?: string; readonly position?: number; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: details.cause });
    this.code = code;
    this.canRetry = retryable.has(code);
    this.file = details.file ?? null;
    this.position = details.position ?? null;
  }
}
