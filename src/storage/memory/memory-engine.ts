/**
 * `StoreEngine` in memory, with a bound: what does not fit is refused. Thread: the one that holds the store; the bytes of a run are kept as
 * they come, so nothing is copied.
 */

import type { StreamSettings } from '../../core/ports/stream-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import type {
  EngineClaim,
  EngineHandle,
  EngineOutcome,
  EnginePeek,
  EnginePiece,
  EnginePlaces,
  EngineRun,
  StoreEngine,
} from '../../core/streams/store-engine.ts';

const mebibyte = 1024 * 1024;
/** What a piece takes beside its bytes, about. */
const pieceOverhead = 200;

interface Piece extends EnginePiece {
  readonly content: Buffer;
}

class MemoryPartition {
  readonly id: string;
  settings: StreamSettings;
  writer = 0;
  startOffset = 0;
  endOffset = 0;
  sizeBytes = 0;
  pieces: Piece[] = [];
  producers: { readonly offset: number; readonly bytes: Buffer } | null = null;

  constructor(id: string, settings: StreamSettings) {
    this.id = id;
    this.settings = settings;
  }

  /** Index of the first piece that ends above `offset`. */
  find(offset: number): number {
    let low = 0;
    let high = this.pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.pieces[middle].endOffset <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export class MemoryEngine implements StoreEngine {
  readonly adapter = 'memory';
  readonly runBytesMax = mebibyte;
  readonly appendBytesMax = 1024 * mebibyte;
  readonly writesMax = 1;
  readonly #bytesMax: number;
  readonly #partitions = new Map<string, MemoryPartition>();
  #bytes = 0;

  /** `bytesMax`: of all stored batches, with what each of them takes beside its bytes. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  async open(): Promise<void> {
    // There is nothing to connect to.
  }

  reset(): void {
    // Nothing gets stale.
  }

  async close(): Promise<void> {
    // What refers to it goes with the store.
  }

  async names(): Promise<readonly string[]> {
    return [...this.#partitions.keys()];
  }

  async create(name: string, id: string, settings: StreamSettings): Promise<'created' | 'exists'> {
    const known = this.#partitions.get(name);
    if (known !== undefined) return known.id === id ? 'created' : 'exists';
    this.#partitions.set(name, new MemoryPartition(id, settings));
    return 'created';
  }

  async remove(name: string, id: string): Promise<void> {
    const partition = this.#partitions.get(name);
    if (partition?.id !== id) return;
    this.#forget(partition, partition.pieces.length);
    this.#partitions.delete(name);
  }

  async claim(name: string): Promise<EngineClaim | null> {
    const partition = this.#partitions.get(name);
    if (partition === undefined) return null;
    partition.writer += 1;
    const { id, writer, settings, startOffset, endOffset, sizeBytes } = partition;
    const producers = partition.producers?.bytes ?? null;
    return { handle: { name, id, writer }, settings, startOffset, endOffset, sizeBytes, producers };
  }

  async peek(name: string): Promise<EnginePeek | null> {
    const partition = this.#partitions.get(name);
    if (partition === undefined) return null;
    const { id, writer, settings, startOffset, endOffset, sizeBytes } = partition;
    const [oldest = null] = await this.pieces({ name, id, writer }, startOffset, 1);
    return { id, writer, settings, startOffset, endOffset, sizeBytes, oldest };
  }

  async places(handle: EngineHandle): Promise<EnginePlaces | null> {
    const partition = this.#partitions.get(handle.name);
    if (partition?.id !== handle.id) return null;
    const { startOffset, endOffset, sizeBytes } = partition;
    return { startOffset, endOffset, sizeBytes };
  }

  async change(handle: EngineHandle, settings: StreamSettings): Promise<void> {
    const partition = this.#partitions.get(handle.name);
    if (partition?.id === handle.id) partition.settings = settings;
  }

  async append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]> {
    return runs.map((run) => this.#append(run));
  }

  async read(handle: EngineHandle, offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    const partition = this.#own(handle);
    if (partition === null) return [];
    const found: Buffer[] = [];
    let bytes = 0;
    for (let at = partition.find(offset); at < partition.pieces.length && bytes < bytesMax; at += 1) {
      const { content } = partition.pieces[at];
      found.push(content);
      bytes += content.length;
    }
    return found;
  }

  async pieces(handle: EngineHandle, from: number, limit: number): Promise<readonly EnginePiece[]> {
    const partition = this.#own(handle);
    if (partition === null) return [];
    const at = partition.find(from);
    return partition.pieces.slice(at, at + limit);
  }

  async findTime(handle: EngineHandle, from: number, timestamp: number): Promise<number | null> {
    const partition = this.#own(handle);
    if (partition === null) return null;
    for (let at = partition.find(from); at < partition.pieces.length; at += 1) {
      const { baseOffset, maxTimestamp } = partition.pieces[at];
      if (maxTimestamp >= timestamp) return baseOffset;
    }
    return null;
  }

  async deleteBefore(handle: EngineHandle, offset: number): Promise<'deleted' | 'fenced'> {
    const partition = this.#written(handle);
    if (partition === null) return 'fenced';
    partition.startOffset = Math.max(partition.startOffset, offset);
    this.#forget(partition, partition.find(offset));
    return 'deleted';
  }

  async saveProducers(handle: EngineHandle, offset: number, snapshot: Buffer): Promise<void> {
    const partition = this.#written(handle);
    if (partition === null || (partition.producers?.offset ?? 0) > offset) return;
    partition.producers = { offset, bytes: snapshot };
  }

  #append(run: EngineRun): EngineOutcome {
    const partition = this.#written(run.handle);
    if (partition === null) return 'fenced';
    if (partition.endOffset !== run.baseOffset) return 'conflict';
    const { baseOffset, endOffset, maxTimestamp, bytes: content } = run;
    if (this.#bytes + content.length + pieceOverhead > this.#bytesMax) {
      return new StorageError('STORAGE_DISK_FULL', `Cannot append to "${run.handle.name}": ${this.#bytesMax} are full`);
    }
    this.#bytes += content.length + pieceOverhead;
    partition.pieces.push({ baseOffset, endOffset, maxTimestamp, bytes: content.length, content });
    partition.endOffset = endOffset;
    partition.sizeBytes += content.length;
    return 'stored';
  }

  /** Drops the oldest pieces. */
  #forget(partition: MemoryPartition, count: number): void {
    for (const { bytes } of partition.pieces.splice(0, count)) {
      partition.sizeBytes -= bytes;
      this.#bytes -= bytes + pieceOverhead;
    }
  }

  #own({ name, id }: EngineHandle): MemoryPartition | null {
    const partition = this.#partitions.get(name);
    return partition?.id === id ? partition : null;
  }

  /** Null when there is a newer writer. */
  #written(handle: EngineHandle): MemoryPartition | null {
    const partition = this.#own(handle);
    return partition?.writer === handle.writer ? partition : null;
  }
}
