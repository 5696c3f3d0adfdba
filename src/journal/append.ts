/**
 * One append on its way through the journal. Thread: the journal worker; made by whoever submits, filled by the partition
 * log, answered by the group commit.
 */

import type { BatchHeader } from '../core/batch/batch-format.ts';
import type { AppendAnswer, AppendDone } from '../core/ports/stream-store.ts';
import type { StorageError } from '../core/streams/storage-error.ts';

export interface Append {
  /** One or more batches; not to be changed before the answer. Its bytes are copied, offsets are given to the copy. */
  readonly bytes: Buffer;
  readonly headers: readonly BatchHeader[];
  /** A leader gives offsets and its epoch; a replica keeps those of the batches. */
  readonly leaderEpoch: number | 'replica';
  readonly done: AppendDone;
  result: AppendAnswer | null;
}

export function failedAppend(error: StorageError): AppendAnswer {
  return { error, baseOffset: -1, lastOffset: -1, isDuplicate: false };
}
