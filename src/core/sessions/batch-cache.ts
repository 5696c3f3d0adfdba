/**
 * The batches of one message log that this thread has lately read or written, so that sessions that come back together read once, and
 * a message is found by its offset without walking. Bounded in bytes. Thread: the owner of the sessions; one per message log.
 */
import { batchHeaderBytes, isCompressed, isControl, readBatchHeader } from '../batch/batch-format.ts';
import { RecordCursor } from '../batch/record-cursor.ts';
import { VarintReader } from '../batch/varint.ts';
import type { StreamPartition } from '../ports/stream-store.ts';

/** What an entry takes beside its bytes. */
const entryBytes = 256;

/** One batch and where its records are. Never changed. */
export class StoredBatch {
  readonly bytes: Buffer;
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly baseTimestamp: number;
  /** Behind the last record. */
  readonly limit: number;
  /** By offset minus base offset; -1: no record. */
  readonly starts: Int32Array;
  /** Cache's clock when it was last found. */
  usedAt = 0;

  constructor(bytes: Buffer, at: number) {
    const { baseOffset, lastOffset, size, baseTimestamp, attributes, recordCount } = readBatchHeader(bytes, at);
    this.bytes = bytes;
    this.baseOffset = baseOffset;
    this.nextOffset = lastOffset + 1;
    this.baseTimestamp = baseTimestamp;
    this.limit = at + size;
    const span = lastOffset + 1 - baseOffset;
    this.starts = new Int32Array(span);
    if (isControl(attributes) || isCompressed(attributes) || recordCount === 0) this.starts.fill(-1);
    else if (recordCount === span) startsOfDense(this.starts, bytes, at + batchHeaderBytes, this.limit);
    else startsOfSparse(this.starts, bytes, at);
  }

  /** Where the record of this offset begins, or -1. The offset lies in the batch. */
  startOf(offset: number): number {
    return this.starts[offset - this.baseOffset];
  }

  get size(): number {
    return this.limit + entryBytes + this.starts.length * 4;
  }
}

const reader = new VarintReader();

function startsOfDense(starts: Int32Array, bytes: Buffer, from: number, limit: number): void {
  let at = from;
  for (let index = 0; index < starts.length; index += 1) {
    reader.reset(bytes, at, limit);
    const length = reader.next();
    const next = reader.at + length;
    if (!reader.isSound || length < 1 || next > limit) {
      starts.fill(-1, index);
      return;
    }
    starts[index] = at;
    at = next;
  }
}

function startsOfSparse(starts: Int32Array, bytes: Buffer, at: number): void {
  starts.fill(-1);
  const cursor = new RecordCursor().reset(bytes, at);
  while (cursor.next()) if (cursor.offsetDelta < starts.length) starts[cursor.offsetDelta] = cursor.start;
}

export class BatchCache {
  readonly #partition: StreamPartition;
  readonly #bytesMax: number;
  /** Ascending, not overlapping. */
  #batches: StoredBatch[] = [];
  #bytes = 0;
  #clock = 0;
  readonly #loads = new Map<number, Promise<StoredBatch | null>>();
  /** Reads of the store, for metrics and tests. */
  reads = 0;

  constructor(partition: StreamPartition, bytesMax: number) {
    this.#partition = partition;
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The batch that has the offset, when it is in memory. */
  find(offset: number): StoredBatch | null {
    const at = this.#place(offset);
    if (at < 0) return null;
    const batch = this.#batches[at];
    if (offset >= batch.nextOffset) return null;
    this.#clock += 1;
    batch.usedAt = this.#clock;
    return batch;
  }

  /**
   * Reads from `offset` on; the first batch, or null at the end of the log. Callers that ask for the same share one read, and hold on to
   * what they get: with many readers it may not stay in memory until their turn. Rejects with StorageError.
   */
  load(offset: number, bytesMax: number): Promise<StoredBatch | null> {
    const known = this.#loads.get(offset);
    if (known !== undefined) return known;
    const load = this.#load(offset, Math.min(bytesMax, this.#bytesMax >>> 2)).finally(() => this.#loads.delete(offset));
    this.#loads.set(offset, load);
    return load;
  }

  /** Takes a batch that was just written or read. Its bytes must not be changed any more. */
  put(batch: StoredBatch): void {
    const at = this.#place(batch.baseOffset);
    if (at >= 0 && this.#batches[at].nextOffset > batch.baseOffset) return;
    this.#clock += 1;
    batch.usedAt = this.#clock;
    if (at + 1 === this.#batches.length) this.#batches.push(batch);
    else this.#batches.splice(at + 1, 0, batch);
    this.#bytes += batch.size;
    if (this.#bytes > this.#bytesMax) this.#shrink();
  }

  async #load(offset: number, bytesMax: number): Promise<StoredBatch | null> {
    this.reads += 1;
    const { slices } = await this.#partition.read({ offset, bytesMax });
    let first: StoredBatch | null = null;
    for (const slice of slices) {
      for (let at = 0; at < slice.length; ) {
        const batch = new StoredBatch(slice.subarray(at), 0);
        at += batch.limit;
        if (first === null && offset < batch.nextOffset) first = batch;
        this.put(batch);
      }
    }
    return first;
  }

  /** Of the last batch that begins at or before the offset; -1. */
  #place(offset: number): number {
    const batches = this.#batches;
    let low = 0;
    let high = batches.length;
    // Most look at the end.
    if (high > 0 && batches[high - 1].baseOffset <= offset) return high - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (batches[middle].baseOffset <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Lets about a third go, those that were not found for longest, so that a batch costs O(log n) on average. */
  #shrink(): void {
    const order = Float64Array.from(this.#batches, ({ usedAt }) => usedAt).sort();
    let threshold = order[Math.floor(order.length / 3)];
    for (;;) {
      const kept = this.#batches.filter(({ usedAt }) => usedAt > threshold);
      if (kept.length === 0) kept.push(...this.#batches.slice(-1));
      this.#batches = kept;
      this.#bytes = kept.reduce((sum, { size }) => sum + size, 0);
      if (this.#bytes <= this.#bytesMax || kept.length === 1) return;
      threshold = kept.reduce((sum, { usedAt }) => sum + usedAt, 0) / kept.length;
    }
  }
}
