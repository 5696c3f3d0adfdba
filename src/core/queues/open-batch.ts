/**
 * Batches as queues open them: single messages are given away, so that compressed batches have to be opened here. Thread: the owner of
 * the queue; called by the partition reader.
 */
import { BatchUnreadableError, type Decompress, type OpenedBatch, openBatch as open } from '../batch/open-batch.ts';
import { QueueError } from './queue-error.ts';

export type { Decompress } from '../batch/open-batch.ts';

/** Records of one batch after decompression. */
export const openedBytesMax = 64 * 1024 * 1024;

/** @throws QueueError QUEUE_BATCH_UNREADABLE */
export function openBatch(slice: Buffer, at: number, decompress: Decompress | null): OpenedBatch {
  try {
    return open(slice, at, openedBytesMax, decompress);
  } catch (error) {
    if (!(error instanceof BatchUnreadableError)) throw error;
    throw new QueueError('QUEUE_BATCH_UNREADABLE', error.message, { cause: error });
  }
}
