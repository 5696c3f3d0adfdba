/**
 * The batches of one message log that this thread has lately read or written, so that sessions that come back together read once, and
 * a message is found by its offset without walking. Bounded in bytes. Thread: the owner of the sessions; one per message log.
 */
import { assert } from '../../std/assert.ts';
import { ownedCopy } from '../../std/owned-copy.ts';
import { batchHeaderBytes, isCompressed, isControl, readBatchHeader } from '../batch/batch-format.ts';
import { RecordCursor } from '../batch/record-cursor.ts';
import { VarintReader } from '../batch/varint.ts';
import type { StreamPartition } from '../ports/stream-store.ts';
import { BatchArena } from './batch-arena.ts';

/** What an entry takes beside its bytes. */
const entryBytes = 256;
/** A batch may be a view of memory that is up to so many times as large. */
const wholeShareMax = 4;
const nothing = Buffer.alloc(0);
const noStarts = new Int32Array(0);

/** One batch and where its records are. Never changed. One of the cache is valid in the turn in which it was found, and longer with `keep`. */
export class StoredBatch {
  bytes: Buffer;
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly baseTimestamp: number;
  /** Behind the last record. */
  readonly limit: number;
  /** By offset minus base offset; -1: no record. */
  starts: Int32Array;
  /** Cache's clock when it was last found. */
  usedAt = 0;
  /** Its memory is the arena's, and is used again. */
  isBorrowed: boolean;

  /** `starts`: where the records are, when that is known. */
  constructor(bytes: Buffer, at: number, starts: Int32Array | null = null, isBorrowed = false) {
    const { baseOffset, lastOffset, size, baseTimestamp, attributes, recordCount } = readBatchHeader(bytes, at);
    this.isBorrowed = isBorrowed;
    this.bytes = isBorrowed ? bytes : apart(bytes, at + size);
    this.baseOffset = baseOffset;
    this.nextOffset = lastOffset + 1;
    this.baseTimestamp = baseTimestamp;
    this.limit = at + size;
    const span = lastOffset + 1 - baseOffset;
    this.starts = starts ?? new Int32Array(span);
    if (starts !== null) return;
    if (isControl(attributes) || isCompressed(attributes) || recordCount === 0) this.starts.fill(-1);
    else if (recordCount === span) startsOfDense(this.starts, bytes, at + batchHeaderBytes, this.limit);
    else startsOfSparse(this.starts, bytes, at);
  }

  /** Where the record of this offset begins, or -1. The offset lies in the batch. */
  startOf(offset: number): number {
    const start = this.starts[offset - this.baseOffset];
    if (start !== undefined) return start;
    // Nobody may be given what is not its message.
    assert(this.starts !== noStarts, 'a batch is used in the turn in which it was found');
    return -1;
  }

  /** Makes it valid for as long as somebody has it. */
  keep(): this {
    if (!this.isBorrowed) return this;
    assert(this.starts !== noStarts, 'a batch is kept in the turn in which it was found');
    this.isBorrowed = false;
    this.bytes = ownedCopy(this.bytes, 0, this.bytes.length);
    this.starts = this.starts.slice();
    return this;
  }

  /** Its memory is used for others now. */
  drop(): void {
    this.bytes = nothing;
    this.starts = noStarts;
  }

  get size(): number {
    return this.limit + entryBytes + this.starts.length * 4;
  }
}

/**
 * Bytes that keep nothing else in memory: a view holds the whole buffer that it is a part of, the pool of small buffers or a slab of the
 * journal's tail, which may be a hundred times as large. A quarter of it may as well stay.
 */
function apart(bytes: Buffer, length: number): Buffer {
  return bytes.buffer.byteLength <= wholeShareMax * length ? bytes : ownedCopy(bytes, 0, length);
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
  readonly #arena: BatchArena<StoredBatch>;
  /** Ascending, not overlapping. */
  #batches: StoredBatch[] = [];
  /** Of those that are not in the arena. */
  #bytes = 0;
  #clock = 0;
  readonly #loads = new Map<number, Promise<StoredBatch | null>>();
  /** Reads of the store, for metrics and tests. */
  reads = 0;

  constructor(partition: StreamPartition, bytesMax: number) {
    this.#partition = partition;
    this.#bytesMax = bytesMax;
    this.#arena = new BatchArena(bytesMax >>> 1);
  }

  get bytes(): number {
    return this.#bytes + this.#arena.bytes;
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

  /** Takes a copy of a batch that was just written. `starts`: where its records begin. */
  write(bytes: Buffer, starts: Int32Array): StoredBatch {
    const arena = this.#arena;
    const fits = arena.fits(bytes.length, starts.length);
    if (fits) arena.makeRoom(bytes.length, starts.length, (batches) => this.#dropBorrowed(batches));
    const copied = fits ? arena.copy(bytes, starts) : { bytes, starts };
    const batch = new StoredBatch(copied.bytes, 0, copied.starts, true);
    if (fits) arena.note(batch);
    else batch.keep();
    this.put(batch);
    return batch;
  }

  /** Takes a batch whose bytes are not changed any more. */
  put(batch: StoredBatch): void {
    const at = this.#place(batch.baseOffset);
    if (at >= 0 && this.#batches[at].nextOffset > batch.baseOffset) return;
    this.#clock += 1;
    batch.usedAt = this.#clock;
    if (at + 1 === this.#batches.length) this.#batches.push(batch);
    else this.#batches.splice(at + 1, 0, batch);
    if (batch.isBorrowed) return;
    this.#bytes += batch.size;
    if (this.#bytes > this.#ownBytesMax) this.#shrink();
  }

  /** Of those that are not in the arena. */
  get #ownBytesMax(): number {
    return this.#bytesMax - this.#arena.bytes;
  }

  /** The arena needs their memory; those that were kept have some of their own by now. */
  #dropBorrowed(batches: readonly StoredBatch[]): void {
    const gone = new Set(batches.filter(({ isBorrowed }) => isBorrowed));
    for (const batch of gone) batch.drop();
    this.#batches = this.#batches.filter((batch) => !gone.has(batch));
    this.#bytes = ownBytesOf(this.#batches);
    if (this.#bytes > this.#ownBytesMax) this.#shrink();
  }

  /** What lies before the offset was deleted from the log. */
  forgetBefore(offset: number): void {
    const count = this.#place(offset) + 1;
    const ended = count > 0 && this.#batches[count - 1].nextOffset > offset ? count - 1 : count;
    this.#batches.splice(0, ended);
    this.#bytes = ownBytesOf(this.#batches);
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
    let own = this.#batches.filter(({ isBorrowed }) => !isBorrowed);
    const order = Float64Array.from(own, ({ usedAt }) => usedAt).sort();
    let threshold = order[Math.floor(order.length / 3)];
    do {
      const kept = own.filter(({ usedAt }) => usedAt > threshold);
      own = kept.length === 0 ? own.slice(-1) : kept;
      this.#bytes = ownBytesOf(own);
      threshold = own.reduce((sum, { usedAt }) => sum + usedAt, 0) / own.length;
    } while (this.#bytes > this.#ownBytesMax && own.length > 1);
    const left = new Set(own);
    this.#batches = this.#batches.filter((batch) => batch.isBorrowed || left.has(batch));
  }
}

function ownBytesOf(batches: readonly StoredBatch[]): number {
  return batches.reduce((sum, { isBorrowed, size }) => (isBorrowed ? sum : sum + size), 0);
}
