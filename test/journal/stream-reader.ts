/**
 * Reads a stream as a consumer does, over a link, and remembers what it saw: a record that was read once must be there for ever, or until
 * the stream was cut. Thread of the test.
 */
import { RecordCursor } from '../../src/core/batch/record-cursor.ts';
import { AbortedFilter, forEachVisibleBatch } from '../../src/core/transactions/aborted-filter.ts';
import type { Link } from './link.ts';

export interface ReadRecord {
  readonly offset: number;
  readonly value: string;
  readonly headers: ReadonlyMap<string, string>;
}

export class StreamReader {
  readonly stream: string;
  readonly #isolation: 'committed' | 'stable';
  /** Value by offset, of what was read and not cut. */
  readonly #seen = new Map<number, string>();
  #next = 0;
  #isReading = false;
  recordCount = 0;

  constructor(stream: string, isolation: 'committed' | 'stable' = 'committed') {
    this.stream = stream;
    this.#isolation = isolation;
  }

  /** Shows what is new, in order. Does nothing while it is doing so already. */
  async readNew(link: Link, visit: (record: ReadRecord) => void): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      for (;;) {
        const { records, nextOffset } = await this.#read(link, this.#next);
        if (link.isOver || nextOffset <= this.#next) return;
        this.#next = nextOffset;
        this.recordCount += records.length;
        for (const record of records) {
          this.#seen.set(record.offset, record.value);
          visit(record);
        }
      }
    } finally {
      this.#isReading = false;
    }
  }

  /** Reads all from the start of the log on: it must have what was read before, and nothing else. */
  async readAgain(link: Link): Promise<void> {
    const { logStartOffset } = await link.ask('places', { partition: this.stream });
    for (const offset of this.#seen.keys()) if (offset < logStartOffset) this.#seen.delete(offset);
    let found = 0;
    for (let offset = logStartOffset; offset < this.#next; ) {
      const { records, nextOffset } = await this.#read(link, offset);
      if (nextOffset <= offset) throw new Error(`Stream "${this.stream}" cannot be read beyond ${offset}`);
      for (const record of records) {
        if (record.offset >= this.#next) break;
        const before = this.#seen.get(record.offset);
        if (before !== record.value) {
          throw new Error(`Stream "${this.stream}" has "${record.value}" at ${record.offset}, where "${before}" was`);
        }
        found += 1;
      }
      offset = nextOffset;
    }
    if (found !== this.#seen.size) {
      throw new Error(`Stream "${this.stream}" has ${found} of ${this.#seen.size} records that were read before`);
    }
  }

  /** Deletes all but the newest, so that a long run does not read more and more. */
  async trim(link: Link, kept: number): Promise<void> {
    if (this.#seen.size <= 2 * kept) return;
    await link.ask('deleteBefore', { partition: this.stream, offset: Math.max(0, this.#next - kept) });
  }

  async #read(link: Link, offset: number): Promise<{ readonly records: ReadRecord[]; readonly nextOffset: number }> {
    const given = { partition: this.stream, offset, isolation: this.#isolation };
    const { slices, nextOffset, aborted } = await link.ask('read', given);
    const records: ReadRecord[] = [];
    const cursor = new RecordCursor();
    const answer = { slices: slices.map((slice) => Buffer.from(slice, 'base64')), aborted };
    forEachVisibleBatch(answer, new AbortedFilter(), (bytes, at) => {
      cursor.reset(bytes, at);
      while (cursor.next()) {
        if (cursor.offset < offset) continue;
        const headers = cursor.headers().map(({ key, value }) => [key.toString(), value?.toString() ?? ''] as const);
        records.push({ offset: cursor.offset, value: cursor.value?.toString() ?? '', headers: new Map(headers) });
      }
    });
    return { records, nextOffset };
  }
}
