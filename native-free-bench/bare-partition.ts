/** A partition that only keeps buffers, for benchmarks of what stands on a store. One thread. */
import { assignPlace, readBatchHeader } from '../src/core/batch/batch-format.ts';
import type {
  AppendDone,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StreamPartition,
} from '../src/core/ports/stream-store.ts';

interface Kept {
  readonly base: number;
  readonly last: number;
  readonly bytes: Buffer;
}

/** Stores a batch by keeping it: a storage would be measured as well. */
export class BarePartition implements StreamPartition {
  readonly name: string;
  #batches: Kept[] = [];
  #start = 0;
  #end = 0;
  #listener: () => void = () => undefined;

  constructor(name: string) {
    this.name = name;
  }

  append(bytes: Buffer, done: AppendDone): void {
    const stored = Buffer.from(bytes);
    assignPlace(stored, 0, this.#end, 0);
    const { baseOffset, lastOffset } = readBatchHeader(stored);
    this.#batches.push({ base: baseOffset, last: lastOffset, bytes: stored });
    this.#end = lastOffset + 1;
    queueMicrotask(() => {
      done({ error: null, baseOffset, lastOffset, isDuplicate: false });
      this.#listener();
    });
  }

  async read({ offset, bytesMax }: ReadRequest): Promise<ReadAnswer> {
    let at = 0;
    let high = this.#batches.length;
    while (at < high) {
      const middle = (at + high) >>> 1;
      if (this.#batches[middle].last < offset) at = middle + 1;
      else high = middle;
    }
    const slices: Buffer[] = [];
    let bytes = 0;
    let nextOffset = offset;
    for (; at < this.#batches.length && (bytes === 0 || bytes + this.#batches[at].bytes.length <= bytesMax); at += 1) {
      slices.push(this.#batches[at].bytes);
      bytes += this.#batches[at].bytes.length;
      nextOffset = this.#batches[at].last + 1;
    }
    const end = this.#end;
    return {
      slices,
      bytes,
      nextOffset,
      logStartOffset: this.#start,
      highWatermark: end,
      lastStableOffset: end,
      aborted: [],
    };
  }

  async places(): Promise<PartitionPlaces> {
    const end = this.#end;
    return { logStartOffset: this.#start, logEndOffset: end, highWatermark: end, lastStableOffset: end, sizeBytes: 0 };
  }

  async offsetForTime(): Promise<null> {
    return null;
  }

  async deleteBefore(offset: number): Promise<number> {
    this.#start = Math.max(this.#start, offset);
    this.#batches = this.#batches.filter(({ last }) => last >= this.#start);
    return this.#start;
  }

  onCommitted(listener: () => void): () => void {
    this.#listener = listener;
    return () => undefined;
  }
}
