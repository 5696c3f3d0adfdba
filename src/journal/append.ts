/**
 * One append on its way through the journal. Thread: the journal worker; made by whoever submits, filled by the partition
 * log, answered by the group commit.
 */

import type { BatchHeader } from './batch/batch-format.ts';
import type { JournalError } from './journal-error.ts';

export interface AppendResult {
  /** Null when the batches are durable. The other fields mean nothing otherwise. */
  readonly error: JournalError | null;
  /** Of the first batch; of the stored one when it was a repetition. */
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly isDuplicate: boolean;
}

/** Called once, in the order of submission within a log directory. */
export type AppendDone = (result: AppendResult) => void;

export interface Append {
  /** One or more batches; not to be changed before the answer. Its bytes are copied, offsets are given to the copy. */
  readonly bytes: Buffer;
  readonly headers: readonly BatchHeader[];
  /** A leader gives offsets and its epoch; a replica keeps those of the batches. */
  readonly leaderEpoch: number | 'replica';
  readonly done: AppendDone;
  result: AppendResult | null;
}

export function failedAppend(error: JournalError): AppendResult {
  return { error, baseOffset: -1, lastOffset: -1, isDuplicate: false };
}
