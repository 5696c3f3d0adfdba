/**
 * What the journal answers instead of doing what it was asked: one error class with a closed list of codes. Thread: the
 * journal worker; the codes travel to other threads, the class does not. Used by all of `src/journal`.
 */

/** Code → what it means. `canRetry` says whether the same call can succeed later. */
export const journalErrorCodes = {
  JOURNAL_CORRUPTED: 'Stored bytes are not what was made durable. File and offset are named; other ranges are served.',
  JOURNAL_OFFSET_OUT_OF_RANGE: 'The offset is below the start of the log, or above its end.',
  JOURNAL_BATCH_INVALID: 'The bytes are not a sound record batch.',
  JOURNAL_SEQUENCE_OUT_OF_ORDER: 'Batches of this producer before this one are missing.',
  JOURNAL_PRODUCER_FENCED: 'A newer epoch of this producer id is known.',
  JOURNAL_LEADER_FENCED: 'A newer leader epoch of this partition is known.',
  JOURNAL_DISK_FULL: 'There is too little room left in the log directory.',
  JOURNAL_PARTITION_FAILED: 'The partition is out of service after a disk error. Reopen it when the disk is sound.',
  JOURNAL_PARTITION_UNKNOWN: 'There is no partition of this name.',
  JOURNAL_PARTITION_EXISTS: 'There is a partition of this name already.',
  JOURNAL_CLOSED: 'The journal was closed.',
} as const;

export type JournalErrorCode = keyof typeof journalErrorCodes;

export class JournalError extends Error {
  override readonly name = 'JournalError';
  readonly code: JournalErrorCode;
  readonly canRetry: boolean;
  /** Of a damage: name of the file in the partition's folder, and byte offset in it; else null. */
  readonly file: string | null;
  readonly position: number | null;

  constructor(
    code: JournalErrorCode,
    message: string,
    details: { readonly file?: string; readonly position?: number; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: details.cause });
    this.code = code;
    this.canRetry = code === 'JOURNAL_DISK_FULL' || code === 'JOURNAL_PARTITION_FAILED';
    this.file = details.file ?? null;
    this.position = details.position ?? null;
  }
}
