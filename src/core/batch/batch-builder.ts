/**
 * Makes a record batch out of records, for messages that did not arrive as one. Any thread.
 */

import { assert } from '../../std/assert.ts';
import { batchHeaderBytes, writeBatchHeader } from './batch-format.ts';
import { varintSize, writeVarint } from './varint.ts';

export interface NewRecord {
  readonly timestampMs: number;
  readonly key?: Uint8Array | null;
  readonly value?: Uint8Array | null;
  readonly headers?: readonly NewRecordHeader[];
}

export interface NewRecordHeader {
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
}

export interface BatchBuilderOptions {
  /** Bits as in `batchAttributes`; no compression. Default 0. */
  readonly attributes?: number;
  /** Default -1: not known. */
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
}

const noHeaders: readonly NewRecordHeader[] = [];

/** Used once for each batch, or again after `build`. */
export class BatchBuilder {
  readonly #options: BatchBuilderOptions;
  #bytes: Buffer;
  #end = batchHeaderBytes;
  #count = 0;
  #lastDelta = -1;
  #baseTimestamp = 0;
  #maxTimestamp = 0;

  constructor(options: BatchBuilderOptions = {}, bytesExpected = 1024) {
    this.#options = options;
    this.#bytes = Buffer.allocUnsafeSlow(batchHeaderBytes + bytesExpected);
  }

  get recordCount(): number {
    return this.#count;
  }

  /** Bytes of the batch as it is now. */
  get size(): number {
    return this.#end;
  }

  /** `offsetDelta` is the next one unless it is given; gaps are for compaction alone. */
  add(record: NewRecord, offsetDelta = this.#lastDelta + 1): void {
    assert(offsetDelta > this.#lastDelta, 'the offsets of a batch ascend');
    const { timestampMs, key = null, value = null, headers = noHeaders } = record;
    if (this.#count === 0) {
      this.#baseTimestamp = timestampMs;
      this.#maxTimestamp = timestampMs;
    }
    const delta = timestampMs - this.#baseTimestamp;
    let length = 1 + varintSize(delta) + varintSize(offsetDelta) + varintSize(headers.length);
    length += fieldSize(key) + fieldSize(value);
    for (const header of headers) length += fieldSize(header.key) + fieldSize(header.value);
    this.#reserve(length + 5);
    let at = writeVarint(this.#bytes, length, this.#end);
    this.#bytes[at] = 0;
    at = writeVarint(this.#bytes, delta, at + 1);
    at = writeVarint(this.#bytes, offsetDelta, at);
    at = this.#writeField(key, at);
    at = this.#writeField(value, at);
    at = writeVarint(this.#bytes, headers.length, at);
    for (const header of headers) at = this.#writeField(header.value, this.#writeField(header.key, at));
    this.#end = at;
    this.#count += 1;
    this.#lastDelta = offsetDelta;
    this.#maxTimestamp = Math.max(this.#maxTimestamp, timestampMs);
  }

  /** A batch without records for a range of offsets that compaction has emptied. */
  buildEmpty(lastOffsetDelta: number): Buffer {
    assert(this.#count === 0, 'an empty batch has no records');
    this.#baseTimestamp = -1;
    this.#maxTimestamp = -1;
    return this.build(lastOffsetDelta);
  }

  /** The batch, in memory of its own; the builder is empty again. `lastOffsetDelta` can only make its range larger. */
  build(lastOffsetDelta = this.#lastDelta): Buffer {
    assert(lastOffsetDelta >= Math.max(0, this.#lastDelta), 'a batch covers its records');
    const bytes = this.#bytes.subarray(0, this.#end);
    const { attributes = 0, producerId = -1, producerEpoch = -1, baseSequence = -1 } = this.#options;
    const baseTimestamp = this.#baseTimestamp;
    const maxTimestamp = this.#maxTimestamp;
    const numbers = { attributes, lastOffsetDelta, baseTimestamp, maxTimestamp, recordCount: this.#count };
    writeBatchHeader(bytes, { ...numbers, producerId, producerEpoch, baseSequence });
    const batch = Buffer.from(bytes);
    this.#end = batchHeaderBytes;
    this.#count = 0;
    this.#lastDelta = -1;
    this.#baseTimestamp = 0;
    this.#maxTimestamp = 0;
    return batch;
  }

  #writeField(field: Uint8Array | null, at: number): number {
    if (field === null) return writeVarint(this.#bytes, -1, at);
    const start = writeVarint(this.#bytes, field.length, at);
    this.#bytes.set(field, start);
    return start + field.length;
  }

  #reserve(length: number): void {
    if (this.#end + length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, this.#end + length));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}

function fieldSize(field: Uint8Array | null): number {
  return field === null ? 1 : varintSize(field.length) + field.length;
}
