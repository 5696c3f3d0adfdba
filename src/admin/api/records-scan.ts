/**
 * Reading records for people: a page of those that a filter lets through, out of a bounded piece of a partition. Lives on the main
 * thread; used by the resource about records.
 */
import { BatchUnreadableError, type OpenedBatch, openBatch } from '../../core/batch/open-batch.ts';
import { RecordCursor, type RecordHeader } from '../../core/batch/record-cursor.ts';
import type { StreamPartition } from '../../core/ports/stream-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { AbortedFilter, forEachVisibleBatch } from '../../core/transactions/aborted-filter.ts';

/** Records of one compressed batch; opening it keeps the thread meanwhile. */
const openedBytesMax = 16 * 1024 * 1024;

export interface RecordFilter {
  readonly key: Buffer | null;
  readonly header: { readonly key: Buffer; readonly value: Buffer } | null;
  /** Anywhere in the value. */
  readonly contains: Buffer | null;
  /** Milliseconds since 1970, both included. */
  readonly since: number;
  readonly until: number;
}

export interface ScanBounds {
  readonly recordsMax: number;
  /** Of what is found, as keys, values and headers; at least one record is. */
  readonly foundBytesMax: number;
  /** Of what is read. */
  readonly scannedBytesMax: number;
  readonly chunkBytes: number;
}

export interface FoundRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
}

export interface ScanAnswer {
  readonly records: readonly FoundRecord[];
  /** Where to go on. */
  readonly next: number;
  /** Nothing more can be read now. */
  readonly isEnd: boolean;
  readonly scannedBytes: number;
}

/**
 * From `offset` on, until one of the bounds is reached or nothing more is there. Records of aborted transactions and markers are passed
 * over, and with `stable` everything from the oldest undecided transaction on.
 *
 * `isWanted` is asked about what the filter lets through. Rejects with StorageError; STORAGE_BATCH_INVALID for a compressed batch that
 * cannot be opened.
 */
export async function scanRecords(
  partition: StreamPartition,
  offset: number,
  isolation: 'committed' | 'stable',
  filter: RecordFilter,
  bounds: ScanBounds,
  isWanted: (record: FoundRecord) => boolean = () => true,
): Promise<ScanAnswer> {
  const page = new Page(partition.name, filter, bounds, isWanted);
  const visible = new AbortedFilter();
  let next = offset;
  let scannedBytes = 0;
  while (scannedBytes < bounds.scannedBytesMax) {
    const answer = await partition.read({ offset: next, bytesMax: bounds.chunkBytes, isolation });
    if (answer.nextOffset <= next) return { records: page.records, next, isEnd: true, scannedBytes };
    scannedBytes += answer.bytes;
    forEachVisibleBatch(answer, visible, (bytes, at) => {
      if (!page.isFull) page.take(bytes, at, next);
    });
    next = page.isFull ? page.next : answer.nextOffset;
    if (page.isFull) break;
  }
  return { records: page.records, next, isEnd: false, scannedBytes };
}

class Page {
  readonly records: FoundRecord[] = [];
  /** Behind the last record that was looked at; for a page that is full. */
  next = 0;
  readonly #name: string;
  readonly #filter: RecordFilter;
  readonly #bounds: ScanBounds;
  readonly #isWantedToo: (record: FoundRecord) => boolean;
  readonly #cursor = new RecordCursor();
  #foundBytes = 0;

  constructor(name: string, filter: RecordFilter, bounds: ScanBounds, isWanted: (record: FoundRecord) => boolean) {
    this.#name = name;
    this.#filter = filter;
    this.#bounds = bounds;
    this.#isWantedToo = isWanted;
  }

  get isFull(): boolean {
    return this.records.length >= this.#bounds.recordsMax || this.#foundBytes >= this.#bounds.foundBytesMax;
  }

  /** The records of the batch at `at` from the offset `from` on, as far as there is room. */
  take(bytes: Buffer, at: number, from: number): void {
    const opened = this.#open(bytes, at, from);
    const cursor = this.#cursor.reset(opened.bytes, opened.at);
    while (!this.isFull && cursor.next()) {
      if (cursor.offset < from) continue;
      this.next = cursor.offset + 1;
      if (this.#isWanted(cursor)) this.#add(cursor);
    }
  }

  #open(bytes: Buffer, at: number, from: number): OpenedBatch {
    try {
      return openBatch(bytes, at, openedBytesMax, null);
    } catch (error) {
      if (!(error instanceof BatchUnreadableError)) throw error;
      const what = `Cannot show the records of "${this.#name}" from offset ${from}: ${error.message}`;
      throw new StorageError('STORAGE_BATCH_INVALID', what, { cause: error });
    }
  }

  #add(cursor: RecordCursor): void {
    const { offset, timestamp, key, value } = cursor;
    const record = { offset, timestamp, key, value, headers: cursor.headers() };
    if (!this.#isWantedToo(record)) return;
    this.records.push(record);
    this.#foundBytes += cursor.end - cursor.start;
  }

  #isWanted(cursor: RecordCursor): boolean {
    const { key, header, contains, since, until } = this.#filter;
    if (cursor.timestamp < since || cursor.timestamp > until) return false;
    if (key !== null && (cursor.key === null || !cursor.key.equals(key))) return false;
    if (contains !== null && (cursor.value === null || !cursor.value.includes(contains))) return false;
    return (
      header === null ||
      cursor.headers().some((each) => each.key.equals(header.key) && each.value?.equals(header.value))
    );
  }
}
