/**
 * Writes the stream of retained values anew when it has become much longer than what lives in it: a mark, then all values and the
 * removals of late, then what lies before the mark is forgotten. Thread: one connection worker of the node, its keeper.
 *
 * Nothing is lost by it. What lies before the mark was sent to this worker before it was appended, so that it is seen by `catchUp`
 * after the mark is durable, and written behind the mark, unless something newer has taken its place. A removal of late is written as
 * well, since an older value may still be appended behind the mark by a worker that is slow.
 */
import type { Logger } from '../../observability/log.ts';
import { BatchBuilder } from '../batch/batch-builder.ts';
import type { StreamPartition } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import { append } from '../transactions/internal-stream.ts';
import { encodeTombstone, encodeValue, markRecord } from './retained-record.ts';
import type { RetainedSource } from './retained-source.ts';

/** Written at a time; the next batch is made when this one is durable, so that others have their turn and their disk. */
const batchBytes = 256 * 1024;

export interface RetainedRewriteOptions {
  readonly source: RetainedSource;
  /** It begins when the stream is longer than this and than twice what lives in it. */
  readonly bytesMin: number;
  readonly log: Logger;
  done(): void;
}

export class RetainedRewrite {
  readonly #options: RetainedRewriteOptions;
  /** Length of the stream, about. */
  #streamBytes = 0;
  /** What lived in it when it was written anew last. */
  #livingBytes = 0;
  #isRunning = false;
  #isStopped = false;

  constructor(options: RetainedRewriteOptions) {
    this.#options = options;
  }

  /** The stream was read. */
  opened(streamBytes: number): void {
    this.#streamBytes += streamBytes;
  }

  /** The stream grew; answers whether it should be written anew. */
  grew(bytes: number): boolean {
    this.#streamBytes += bytes;
    return !this.#isRunning && !this.#isStopped && this.#streamBytes > this.#threshold();
  }

  stop(): void {
    this.#isStopped = true;
  }

  #threshold(): number {
    return Math.max(this.#options.bytesMin, 2 * this.#livingBytes);
  }

  async run(open: () => Promise<StreamPartition>): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      await this.#run(await open());
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      // The stream is as good as before. It is tried again when it has grown as much once more.
      this.#livingBytes = this.#streamBytes;
      if (error.code !== 'STORAGE_CLOSED') {
        this.#options.log.warn('Cannot write the retained values anew', { code: error.code, reason: error.message });
      }
    } finally {
      this.#isRunning = false;
    }
  }

  async #run(partition: StreamPartition): Promise<void> {
    const { source, done } = this.#options;
    // Several changes of a topic can have been one record.
    const { sizeBytes } = await partition.places();
    this.#streamBytes = sizeBytes;
    if (sizeBytes <= this.#threshold()) return;
    const mark = await this.#append(partition, [[null, markRecord]]);
    source.catchUp();
    const before = this.#streamBytes;
    const living = await this.#writeAll(partition, this.#records());
    if (this.#isStopped) return;
    await partition.deleteBefore(mark);
    this.#livingBytes = living;
    this.#streamBytes = living + this.#streamBytes - before;
    done();
  }

  *#records(): Generator<[Buffer, Buffer]> {
    const { source } = this.#options;
    for (const [topic, stamp] of [...source.lately()]) yield [Buffer.from(topic), encodeTombstone(stamp)];
    const nowMs = Date.now();
    for (const [topic, value] of source.all()) {
      const isOver = value.expiresAtS !== 0 && value.expiresAtS * 1000 <= nowMs;
      yield [Buffer.from(topic), isOver ? encodeTombstone(value.stamp) : encodeValue(value)];
    }
  }

  /** Answers how many bytes that were. */
  async #writeAll(partition: StreamPartition, records: Iterable<[Buffer, Buffer]>): Promise<number> {
    let batch: [Buffer, Buffer][] = [];
    let bytes = 0;
    let total = 0;
    for (const record of records) {
      if (this.#isStopped) return total;
      batch.push(record);
      bytes += record[0].length + record[1].length;
      if (bytes < batchBytes) continue;
      await this.#append(partition, batch);
      total += bytes;
      batch = [];
      bytes = 0;
    }
    if (batch.length > 0) await this.#append(partition, batch);
    return total + bytes;
  }

  async #append(partition: StreamPartition, records: readonly (readonly [Buffer | null, Buffer])[]): Promise<number> {
    const builder = new BatchBuilder({}, batchBytes + 64 * 1024);
    const timestampMs = Date.now();
    for (const [key, value] of records) builder.add({ timestampMs, key, value });
    const { error, baseOffset } = await append(partition, builder.build());
    if (error !== null) throw error;
    return baseOffset;
  }
}
