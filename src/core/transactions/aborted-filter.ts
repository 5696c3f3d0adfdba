/**
 * Which batches of an answer to a `stable` read are shown: those of transactions that were aborted are not, and neither are the markers.
 * One object for all reads of a reader; nothing is allocated for an answer without aborted transactions. Any thread.
 */

import { type BatchHeader, batchSizeAt, isControl, isTransactional, readBatchHeader } from '../batch/batch-format.ts';
import type { ReadAnswer } from '../ports/stream-store.ts';
import type { AbortedTransaction } from '../streams/producer-state.ts';

export class AbortedFilter {
  #aborted: readonly AbortedTransaction[] = [];

  /** Begins with an answer's list. */
  reset(aborted: readonly AbortedTransaction[]): void {
    this.#aborted = aborted;
  }

  isVisible(header: BatchHeader): boolean {
    if (isControl(header.attributes)) return false;
    if (this.#aborted.length === 0 || !isTransactional(header.attributes)) return true;
    const { producerId, lastOffset } = header;
    // By the last offset: compaction can make the range of a batch begin earlier, never end later.
    for (const aborted of this.#aborted) {
      if (aborted.producerId !== producerId) continue;
      if (lastOffset >= aborted.firstOffset && lastOffset < aborted.lastOffset) return false;
    }
    return true;
  }
}

/** Shows each visible batch of an answer, as bytes and where it begins in them; the first one may begin before the offset. */
export function forEachVisibleBatch(
  answer: Pick<ReadAnswer, 'slices' | 'aborted'>,
  filter: AbortedFilter,
  visit: (bytes: Buffer, at: number, header: BatchHeader) => void,
): void {
  filter.reset(answer.aborted);
  for (const slice of answer.slices) {
    for (let at = 0; at < slice.length; at += batchSizeAt(slice, at)) {
      const header = readBatchHeader(slice, at);
      if (filter.isVisible(header)) visit(slice, at, header);
    }
  }
}
