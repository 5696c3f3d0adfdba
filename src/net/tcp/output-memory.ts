/**
 * Memory for outgoing bytes of all connections of one worker.
 *
 * Small output of a turn lies packed in a shared slab (a buffer of its own per flush doubled the cost of sparse
 * traffic); a connection that sends more gets a pooled chunk. An idle connection holds nothing. Thread: one worker.
 */

/** A chunk of output of one connection, bytes. Full chunks are written at once, without waiting for the turn's end. */
export const chunkBytes = 65_536;
/** Output of up to this many bytes begins in the slab. */
export const slabSpanBytesMax = 4_096;
const slabBytes = 262_144;
const pooledChunksMax = 512; // 512 x 64 KiB = 32 MiB per worker
const pooledSlabsMax = 4;
/** Views of the slab's beginning that are kept, by the low bits of their length. */
const keptViews = 256;

export class OutputMemory {
  /** The slab in use; spans are handed out from `slabCursor` on and are all given back when the turn is flushed. */
  slab: Buffer = Buffer.allocUnsafeSlow(slabBytes);
  slabCursor = 0;
  private readonly usedSlabs: Buffer[] = [];
  private readonly freeSlabs: Buffer[] = [];
  private readonly freeChunks: Buffer[] = [];
  private slabIsLent = false;
  private readonly views: (Uint8Array | null)[] = new Array(keptViews).fill(null);

  /**
   * The bytes of `buffer` from `start` to `end` as an array of their own. A lone message always lies at the beginning of the
   * slab, so that its array is there already when one of the same length came before.
   */
  view(buffer: Buffer, start: number, end: number): Uint8Array {
    if (start !== 0 || buffer !== this.slab)
      return new Uint8Array(buffer.buffer, buffer.byteOffset + start, end - start);
    const place = end & (keptViews - 1);
    const kept = this.views[place] as Uint8Array | null;
    if (kept !== null && kept.length === end) return kept;
    const made = new Uint8Array(buffer.buffer, buffer.byteOffset, end);
    this.views[place] = made;
    return made;
  }

  /** Makes sure that `length` bytes lie free behind `slabCursor` in `slab`. */
  makeSlabRoom(length: number): void {
    if (this.slabCursor + length <= slabBytes) return;
    if (!this.slabIsLent) this.usedSlabs.push(this.slab);
    this.nextSlab();
  }

  /** Says that the kernel has not taken a span of `slab` yet: the slab is left to it and not used again. */
  lendSlab(slab: Buffer): void {
    if (slab === this.slab) {
      this.slabIsLent = true;
      return;
    }
    // The turn has filled it and gone on to another one.
    const at = this.usedSlabs.indexOf(slab);
    if (at !== -1) this.usedSlabs.splice(at, 1);
  }

  /** Called when every span of the turn was written or moved. */
  endTurn(): void {
    while (this.usedSlabs.length > 0) {
      const slab = this.usedSlabs.pop() as Buffer;
      if (this.freeSlabs.length < pooledSlabsMax) this.freeSlabs.push(slab);
    }
    if (this.slabIsLent) this.nextSlab();
    this.slabCursor = 0;
  }

  /** A chunk of at least `length` bytes. */
  takeChunk(length: number): Buffer {
    if (length > chunkBytes) return Buffer.allocUnsafeSlow(length);
    return this.freeChunks.pop() ?? Buffer.allocUnsafeSlow(chunkBytes);
  }

  giveChunk(chunk: Buffer): void {
    if (chunk.length === chunkBytes && this.freeChunks.length < pooledChunksMax) this.freeChunks.push(chunk);
  }

  private nextSlab(): void {
    this.slab = this.freeSlabs.pop() ?? Buffer.allocUnsafeSlow(slabBytes);
    this.slabCursor = 0;
    this.slabIsLent = false;
    this.views.fill(null);
  }
}
