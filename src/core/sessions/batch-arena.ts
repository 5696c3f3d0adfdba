/**
 * Memory for the batches that an owner writes itself, used again and again: as objects of their own, tens of megabytes a second, they
 * would have the whole heap collected several times a second. A batch is valid until its memory comes round again, which takes as many
 * bytes as there are; who needs it longer than the turn keeps it (`StoredBatch.keep`). Thread: the owner of the sessions; one per message
 * log.
 */

const chunkCount = 4;

interface Chunk<Batch> {
  readonly memory: ArrayBuffer;
  used: number;
  batches: Batch[];
}

export class BatchArena<Batch> {
  readonly #chunkBytes: number;
  readonly #chunks: Chunk<Batch>[] = [];
  #current = -1;

  /** `bytesMax` of memory, which is taken as it is first used. */
  constructor(bytesMax: number) {
    this.#chunkBytes = Math.floor(bytesMax / chunkCount) & ~7;
  }

  /** That it has taken. */
  get bytes(): number {
    return this.#chunks.length * this.#chunkBytes;
  }

  /** Whether a batch of this size may lie here. */
  fits(bytes: number, records: number): boolean {
    return sizeIn(bytes, records) * 2 <= this.#chunkBytes;
  }

  /** Makes room for a batch that fits; what lay there before is taken away through `drop`. */
  makeRoom(bytes: number, records: number, drop: (batches: readonly Batch[]) => void): void {
    const chunk = this.#chunks[this.#current];
    if (chunk !== undefined && chunk.used + sizeIn(bytes, records) <= this.#chunkBytes) return;
    this.#current = (this.#current + 1) % chunkCount;
    const next = this.#chunks[this.#current];
    if (next === undefined) {
      this.#chunks.push({ memory: new ArrayBuffer(this.#chunkBytes), used: 0, batches: [] });
      return;
    }
    drop(next.batches);
    next.batches = [];
    next.used = 0;
  }

  /** A copy of a batch and of where its records begin, behind `makeRoom`. */
  copy(bytes: Buffer, starts: Int32Array): { readonly bytes: Buffer; readonly starts: Int32Array } {
    const chunk = this.#chunks[this.#current];
    const { memory, used } = chunk;
    const copied = Buffer.from(memory, used, bytes.length);
    bytes.copy(copied);
    const copiedStarts = new Int32Array(memory, used + aligned(bytes.length), starts.length);
    copiedStarts.set(starts);
    chunk.used = used + sizeIn(bytes.length, starts.length);
    return { bytes: copied, starts: copiedStarts };
  }

  /** The batch over what was copied last. */
  note(batch: Batch): void {
    this.#chunks[this.#current].batches.push(batch);
  }
}

function aligned(bytes: number): number {
  return (bytes + 7) & ~7;
}

function sizeIn(bytes: number, records: number): number {
  return aligned(bytes) + aligned(4 * records);
}
