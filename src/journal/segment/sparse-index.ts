/**
 * Where in a segment an offset or a time is found: every so many bytes an entry. It is a help, never the truth: what it points
 * to is checked, and it is made again from the data when it is missing, damaged or wrong. Thread: the journal worker; one
 * per open segment.
 *
 * Its file (written when a segment is sealed or closed, after the data is durable; little endian)
 *   0   8  magic "RINGINDX"
 *   8   4  format version, 1
 *   12  4  generation of the segment
 *   16  8  base offset of the segment
 *   24  8  end of the batches in the segment, in bytes
 *   32  4  count of entries
 *   36  4  CRC-32C of bytes 0 to 35 and of all that follows
 *   40     entries: offset of the first record of a batch 8, position of this batch 8, largest timestamp of the batches of the
 *          segment before it 8 (-1: none)
 */

import { crc32c } from '../../core/batch/crc32c.ts';
import { readTimestamp, readUint64, writeTimestamp, writeUint64 } from './segment-format.ts';

const headerBytes = 40;
const entryBytes = 24;
const magic = 'RINGINDX';
const version = 1;

export function indexName(baseOffset: number): string {
  return `${String(baseOffset).padStart(20, '0')}.index`;
}

/** What the file belongs to; another one's is not used. */
export interface IndexIdentity {
  readonly baseOffset: number;
  readonly generation: number;
  readonly end: number;
}

export class SparseIndex {
  readonly #intervalBytes: number;
  #offsets = new Float64Array(16);
  #positions = new Float64Array(16);
  #timestamps = new Float64Array(16);
  #length = 0;
  #nextAt = 0;

  constructor(intervalBytes: number) {
    this.#intervalBytes = intervalBytes;
  }

  get length(): number {
    return this.#length;
  }

  /** Notes the batch when the last entry is far enough behind, or `isForced`. In the order of the file. */
  add(offset: number, position: number, timestampBefore: number, isForced = false): void {
    if (position < this.#nextAt && !isForced) return;
    if (this.#length === this.#offsets.length) this.#grow();
    this.#offsets[this.#length] = offset;
    this.#positions[this.#length] = position;
    this.#timestamps[this.#length] = timestampBefore;
    this.#length += 1;
    this.#nextAt = position + this.#intervalBytes;
  }

  /** Takes over the entries of `other` from `position` on. */
  appendFrom(other: SparseIndex, position: number): void {
    for (let entry = 0; entry < other.#length; entry += 1) {
      if (other.#positions[entry] < position) continue;
      this.add(other.#offsets[entry], other.#positions[entry], other.#timestamps[entry], true);
    }
  }

  /** Number of the last entry at or below `offset`; -1 when there is none. */
  find(offset: number): number {
    return lastBelow(this.#offsets, this.#length, offset + 1);
  }

  /** Number of the last entry before which all timestamps are smaller than `timestamp`; -1 when there is none. */
  findTime(timestamp: number): number {
    return lastBelow(this.#timestamps, this.#length, timestamp);
  }

  offsetOf(entry: number): number {
    return this.#offsets[entry];
  }

  positionOf(entry: number): number {
    return this.#positions[entry];
  }

  /** Forgets what lies at `position` and behind it. */
  truncate(position: number): void {
    while (this.#length > 0 && this.#positions[this.#length - 1] >= position) this.#length -= 1;
    this.#nextAt = this.#length === 0 ? 0 : this.#positions[this.#length - 1] + this.#intervalBytes;
  }

  encode(identity: IndexIdentity): Buffer {
    const bytes = Buffer.alloc(headerBytes + this.#length * entryBytes);
    bytes.write(magic, 0, 'latin1');
    bytes.writeUInt32LE(version, 8);
    bytes.writeUInt32LE(identity.generation, 12);
    writeUint64(bytes, identity.baseOffset, 16);
    writeUint64(bytes, identity.end, 24);
    bytes.writeUInt32LE(this.#length, 32);
    for (let entry = 0; entry < this.#length; entry += 1) {
      const at = headerBytes + entry * entryBytes;
      writeUint64(bytes, this.#offsets[entry], at);
      writeUint64(bytes, this.#positions[entry], at + 8);
      writeTimestamp(bytes, this.#timestamps[entry], at + 16);
    }
    bytes.writeUInt32LE(indexCrc(bytes), 36);
    return bytes;
  }

  /** Null when the bytes are not the index of this segment. */
  static decode(bytes: Buffer, identity: IndexIdentity, intervalBytes: number): SparseIndex | null {
    if (bytes.length < headerBytes || bytes.toString('latin1', 0, 8) !== magic) return null;
    const count = bytes.readUInt32LE(32);
    const isWhole = bytes.length === headerBytes + count * entryBytes && bytes.readUInt32LE(36) === indexCrc(bytes);
    if (!isWhole || bytes.readUInt32LE(8) !== version || bytes.readUInt32LE(12) !== identity.generation) return null;
    if (readUint64(bytes, 16) !== identity.baseOffset || readUint64(bytes, 24) !== identity.end) return null;
    const index = new SparseIndex(intervalBytes);
    for (let at = headerBytes; at < bytes.length; at += entryBytes) {
      index.add(readUint64(bytes, at), readUint64(bytes, at + 8), readTimestamp(bytes, at + 16), true);
    }
    return index;
  }

  #grow(): void {
    this.#offsets = larger(this.#offsets);
    this.#positions = larger(this.#positions);
    this.#timestamps = larger(this.#timestamps);
  }
}

function larger(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const copy = new Float64Array(2 * array.length);
  copy.set(array);
  return copy;
}

/** Number of the last of the ascending values that is below `limit`; -1 when there is none. */
function lastBelow(values: Float64Array, length: number, limit: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] < limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function indexCrc(bytes: Buffer): number {
  return crc32c(bytes.subarray(headerBytes), crc32c(bytes.subarray(0, 36)));
}
