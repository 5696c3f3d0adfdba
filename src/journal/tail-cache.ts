/**
 * The newest batches of all partitions in memory, as they were written: what most readers ask for. Bounded; the oldest goes
 * first, whatever partition it is of. The memory can be shared with other threads; it is never used twice, so a reader may
 * keep a view for as long as it likes. Thread: the journal worker; one per journal.
 */

import type { Segment } from './segment/segment.ts';

const slabBytes = 1024 * 1024;
/** V8 begins to collect with each 32 MiB or so of new memory outside of its heap: so with each 128 MiB of chunks, in some 3 ms. */
const weightDivisor = 4;
const nothing = Buffer.alloc(0);

interface Chunk {
  readonly owner: TailOfLog;
  readonly segment: Segment;
  /** Of the first byte, in the file of the segment. */
  readonly position: number;
  /** Empty when it was dropped. */
  bytes: Buffer;
  /** See `weigh`; null when it was dropped. */
  weight: ArrayBuffer | null;
}

export class TailCache {
  readonly #bytesMax: number;
  #slab: Buffer = Buffer.alloc(0);
  #slabEnd = 0;
  #bytes = 0;
  /** Since the last chunk with a weight. */
  #unweighedBytes = 0;
  /** Oldest first; those before `#first` are gone. */
  #chunks: Chunk[] = [];
  #first = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Memory that is kept for readers now. */
  get sizeBytes(): number {
    return this.#bytes;
  }

  /** Memory for one round of a partition. */
  allocate(length: number): Buffer {
    if (length > slabBytes >>> 1) return Buffer.from(new SharedArrayBuffer(length));
    if (this.#slabEnd + length > this.#slab.length) {
      this.#slab = Buffer.from(new SharedArrayBuffer(slabBytes));
      this.#slabEnd = 0;
    }
    const start = this.#slabEnd;
    this.#slabEnd = start + length;
    return this.#slab.subarray(start, this.#slabEnd);
  }

  add(owner: TailOfLog, segment: Segment, position: number, bytes: Buffer): void {
    const chunk: Chunk = { owner, segment, position, bytes, weight: this.#weigh(bytes.length) };
    this.#chunks.push(chunk);
    owner.push(chunk);
    this.#bytes += bytes.length;
    while (this.#bytes > this.#bytesMax && this.#first < this.#chunks.length) {
      const oldest = this.#chunks[this.#first];
      this.#first += 1;
      this.#bytes -= oldest.bytes.length;
      oldest.owner.drop(oldest);
      oldest.bytes = nothing;
      oldest.weight = null;
    }
    if (this.#first > 1024 && this.#first * 2 > this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#first);
      this.#first = 0;
    }
  }

  /**
   * The garbage collector counts shared memory as nothing: what was dropped here, 100 MB a second under load, would lie around until the
   * objects around it are reason enough to collect, a gigabyte later. So some chunks have private memory beside them, which does
   * count, lives as long, and is never touched, so that it takes no memory.
   */
  #weigh(bytes: number): ArrayBuffer | null {
    this.#unweighedBytes += bytes;
    if (this.#unweighedBytes < slabBytes) return null;
    const length = Math.floor(this.#unweighedBytes / weightDivisor);
    this.#unweighedBytes = 0;
    // Of a kind that is mapped and not filled with zeros.
    return new ArrayBuffer(length, { maxByteLength: length });
  }

  /** Forgets all of one partition. */
  clear(owner: TailOfLog): void {
    if (owner.isEmpty) return;
    this.#chunks = this.#chunks.slice(this.#first).filter((chunk) => chunk.owner !== owner);
    this.#first = 0;
    this.#bytes = this.#chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0);
    owner.clear();
  }
}

/** The part of the cache that belongs to one partition: chunks in the order of the log. */
export class TailOfLog {
  #chunks: Chunk[] = [];
  #first = 0;

  get isEmpty(): boolean {
    return this.#first === this.#chunks.length;
  }

  push(chunk: Chunk): void {
    this.#chunks.push(chunk);
  }

  drop(chunk: Chunk): void {
    if (this.#chunks[this.#first] !== chunk) return;
    this.#first += 1;
    if (this.#first > 64 && this.#first * 2 > this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#first);
      this.#first = 0;
    }
  }

  clear(): void {
    this.#chunks = [];
    this.#first = 0;
  }

  /** The bytes at `position` of a segment up to the end of the chunk they are in; null when they are not in memory. */
  find(segment: Segment, position: number): Buffer | null {
    let low = this.#first;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isAtOrBelow(this.#chunks[middle], segment, position)) low = middle + 1;
      else high = middle;
    }
    if (low === this.#first) return null;
    const chunk = this.#chunks[low - 1];
    if (chunk.segment !== segment || position >= chunk.position + chunk.bytes.length) return null;
    return chunk.bytes.subarray(position - chunk.position);
  }
}

function isAtOrBelow(chunk: Chunk, segment: Segment, position: number): boolean {
  if (chunk.segment.baseOffset !== segment.baseOffset) return chunk.segment.baseOffset < segment.baseOffset;
  return chunk.position <= position;
}
