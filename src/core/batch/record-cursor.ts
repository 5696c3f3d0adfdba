/**
 * Walks over the records of an uncompressed batch without copying them. Any thread; used by compaction, validation, and
 * whoever reads records.
 *
 * A record: length, attributes (1 byte), timestamp delta, offset delta, key length (-1 none), key, value length (-1 none),
 * value, count of headers, then of each: key length, key, value length (-1 none), value. All numbers are zigzag varints.
 */

import { assert } from '../../std/assert.ts';
import { batchAttributes, batchHeaderBytes, batchSizeAt, isCompressed, readInt64 } from './batch-format.ts';
import { VarintReader } from './varint.ts';

export interface RecordHeader {
  readonly key: Buffer;
  readonly value: Buffer | null;
}

/** One object for all records: read what is wanted before `next` is called again. Buffers are views of the batch. */
export class RecordCursor {
  offset = 0;
  offsetDelta = 0;
  timestamp = 0;
  key: Buffer | null = null;
  value: Buffer | null = null;
  headerCount = 0;
  /** The bytes of the record, its length in front included, are [start, end) of the buffer. */
  start = 0;
  end = 0;
  readonly #reader = new VarintReader();
  #bytes: Buffer = Buffer.alloc(0);
  #batchEnd = 0;
  #left = 0;
  #baseOffset = 0;
  #baseTimestamp = 0;
  /** Timestamp of all records when it is of the append; null: each has its own. */
  #appendTime: number | null = null;
  #headersAt = 0;
  #isSound = true;

  /** False when a record was not what its batch promised; `next` answered false at that place. */
  get isSound(): boolean {
    return this.#isSound;
  }

  /** Begins with the batch at `at`, which must be whole and uncompressed. */
  reset(bytes: Buffer, at = 0): this {
    const attributes = bytes.readInt16BE(at + 21);
    assert(!isCompressed(attributes), 'the records of a compressed batch cannot be walked over');
    this.#bytes = bytes;
    this.#batchEnd = at + batchSizeAt(bytes, at);
    this.#left = bytes.readInt32BE(at + 57);
    this.#baseOffset = readInt64(bytes, at);
    this.#baseTimestamp = readInt64(bytes, at + 27);
    this.#appendTime = (attributes & batchAttributes.appendTime) === 0 ? null : readInt64(bytes, at + 35);
    this.end = at + batchHeaderBytes;
    this.#isSound = true;
    return this;
  }

  /** Goes to the next record; false behind the last one. */
  next(): boolean {
    if (this.#left <= 0) {
      if (this.end !== this.#batchEnd) this.#isSound = false;
      return false;
    }
    this.#left -= 1;
    this.#isSound = this.#read();
    if (!this.#isSound) this.#left = 0;
    return this.#isSound;
  }

  /** The headers of this record. */
  headers(): RecordHeader[] {
    const reader = this.#reader;
    reader.reset(this.#bytes, this.#headersAt, this.end);
    const headers: RecordHeader[] = [];
    for (let count = 0; count < this.headerCount; count += 1) {
      const key = this.#take(reader.next());
      const value = this.#take(reader.next());
      headers.push({ key: key ?? Buffer.alloc(0), value });
    }
    return headers;
  }

  #read(): boolean {
    const reader = this.#reader;
    const bytes = this.#bytes;
    this.start = this.end;
    reader.reset(bytes, this.start, this.#batchEnd);
    const length = reader.next();
    const end = reader.at + length;
    if (!reader.isSound || length < 1 || end > this.#batchEnd) return false;
    reader.reset(bytes, reader.at + 1, end);
    const timestampDelta = reader.next();
    this.offsetDelta = reader.next();
    this.offset = this.#baseOffset + this.offsetDelta;
    this.timestamp = this.#appendTime ?? this.#baseTimestamp + timestampDelta;
    this.key = this.#take(reader.next());
    this.value = this.#take(reader.next());
    this.headerCount = reader.next();
    this.#headersAt = reader.at;
    this.end = end;
    return reader.isSound && this.headerCount >= 0 && this.#skipHeaders() && reader.at === end;
  }

  #skipHeaders(): boolean {
    const reader = this.#reader;
    for (let count = 0; count < this.headerCount; count += 1) {
      const keyLength = reader.next();
      if (keyLength < 0 || !this.#skip(keyLength)) return false;
      const valueLength = reader.next();
      if (valueLength > 0 && !this.#skip(valueLength)) return false;
      if (!reader.isSound) return false;
    }
    return true;
  }

  #skip(length: number): boolean {
    this.#reader.at += length;
    return this.#reader.at <= this.#reader.end;
  }

  #take(length: number): Buffer | null {
    if (length < 0) return null;
    const reader = this.#reader;
    if (reader.at + length > reader.end) {
      reader.isSound = false;
      return null;
    }
    const view = this.#bytes.subarray(reader.at, reader.at + length);
    reader.at += length;
    return view;
  }
}
