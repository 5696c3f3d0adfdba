/** Reads what consumers would see of a partition, for tests of services. */

import { RecordCursor } from '../../src/core/batch/record-cursor.ts';
import type { Isolation, StreamPartition } from '../../src/core/ports/stream-store.ts';
import { AbortedFilter, forEachVisibleBatch } from '../../src/core/transactions/aborted-filter.ts';

export interface SeenRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: readonly string[];
}

/** All records from `from` on, without markers; with `stable` without aborted ones. */
export async function recordsOf(
  partition: StreamPartition,
  isolation: Isolation = 'committed',
  from = 0,
): Promise<SeenRecord[]> {
  const records: SeenRecord[] = [];
  const cursor = new RecordCursor();
  const filter = new AbortedFilter();
  for (let offset = from; ; ) {
    const { slices, nextOffset, aborted } = await partition.read({ offset, bytesMax: 1 << 20, isolation });
    if (nextOffset <= offset) return records;
    forEachVisibleBatch({ slices, aborted }, filter, (bytes, at) => {
      cursor.reset(bytes, at);
      while (cursor.next()) if (cursor.offset >= offset) records.push(seenRecord(cursor));
    });
    offset = nextOffset;
  }
}

function seenRecord(cursor: RecordCursor): SeenRecord {
  const { offset, timestamp, key, value } = cursor;
  const headers = cursor.headers().map((header) => `${header.key}=${header.value}`);
  return { offset, timestamp, key: key?.toString() ?? null, value: value?.toString() ?? null, headers };
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
