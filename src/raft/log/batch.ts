/**
 * What is gathered for one write: records in a buffer that is used again and again. Entries are copied in when they
 * are appended, while the sync before is still under way; headers and CRCs follow when it is known where the batch goes.
 * Thread: the Raft worker; used by the segment log.
 */

import { assert } from '../../std/assert.ts';
import type { Entry, HardState, SnapshotPosition } from '../consensus/types.ts';
import {
  entriesHeaderBytes,
  entryHeaderBytes,
  hardStateBytes,
  type LogState,
  positionBytes,
  type RecordKind,
  recordFlags,
  recordHeaderBytes,
  recordKinds,
  roundUp8,
  sealRecord,
  writeHardState,
  writePosition,
  writeUint64,
} from './record.ts';
import type { Segment } from './segment.ts';
import { truncateEntries } from './segment.ts';

const bufferBytesStart = 256 * 1024;
/** A buffer that grew beyond this is given back after use. */
const bufferBytesKept = 4 * 1024 * 1024;

interface StagedRecord {
  readonly kind: RecordKind;
  /** Offset in the buffer. */
  readonly at: number;
  /** Bytes of the body. */
  length: number;
  /** Of entries: the first index, how many, their term. */
  readonly first: number;
  count: number;
  readonly term: number;
}

export class Batch {
  readonly #recordBytes: number;
  #buffer = Buffer.allocUnsafeSlow(bufferBytesStart);
  #records: StagedRecord[] = [];
  #size = 0;

  /** `recordBytes`: a record of entries that reached this size takes no more of them. */
  constructor(recordBytes: number) {
    this.#recordBytes = recordBytes;
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  /** Bytes that it takes in the file. */
  get size(): number {
    return this.#size;
  }

  addEntries(entries: readonly Entry[]): void {
    let record = this.#records.at(-1) ?? null;
    for (const entry of entries) {
      const { data } = entry;
      if (record === null || !this.#mayJoin(record, entry)) record = this.#openEntries(entry);
      const at = record.at + recordHeaderBytes + record.length;
      this.#reserve(at + entryHeaderBytes + data.length);
      const buffer = this.#buffer;
      buffer.writeUInt32LE(data.length, at);
      buffer.writeUInt32LE(entry.kind, at + 4);
      buffer.set(data, at + entryHeaderBytes);
      record.length += entryHeaderBytes + data.length;
      record.count += 1;
      this.#size = record.at + roundUp8(recordHeaderBytes + record.length);
    }
  }

  addHardState(hardState: HardState): void {
    const at = this.#open(recordKinds.hardState, hardStateBytes);
    writeHardState(this.#buffer, hardState, at);
  }

  addPosition(position: SnapshotPosition): void {
    const at = this.#open(recordKinds.position, positionBytes(position));
    writePosition(this.#buffer, position, at);
  }

  addReset(position: SnapshotPosition): void {
    const at = this.#open(recordKinds.reset, positionBytes(position));
    writePosition(this.#buffer, position, at);
  }

  /**
   * Writes it to the end of the segment as batch `number`, and enters what it holds into the index; `segments` are all of
   * them with this one at the end. The batch is empty then, also when the write failed.
   */
  write(segment: Segment, segments: readonly Segment[], number: number, isBegun: boolean): void {
    assert(this.#records.length > 0, 'a batch that is written has records');
    const { seed, end } = segment;
    const buffer = this.#buffer;
    const last = this.#records.length - 1;
    for (const [row, record] of this.#records.entries()) {
      const bodyEnd = record.at + recordHeaderBytes + record.length;
      buffer.fill(0, bodyEnd, roundUp8(bodyEnd));
      if (record.kind === recordKinds.entries) buffer.writeUInt32LE(record.count, record.at + recordHeaderBytes + 16);
      const flags = (row === 0 && !isBegun ? recordFlags.first : 0) | (row === last ? recordFlags.last : 0);
      sealRecord(buffer, record.at, record.length, record.kind, flags, number, end + record.at, seed);
    }
    const records = this.#records;
    const size = this.#size;
    this.#records = [];
    this.#size = 0;
    segment.file.write(buffer.subarray(0, size), end);
    segment.end += size;
    if (buffer.length > bufferBytesKept) this.#buffer = Buffer.allocUnsafeSlow(bufferBytesStart);
    for (const { kind, first, count, term, at, length } of records) {
      if (kind === recordKinds.reset) truncateEntries(segments, 0);
      if (kind !== recordKinds.entries) continue;
      truncateEntries(segments, first);
      segment.index.add(first, count, term, end + at, roundUp8(recordHeaderBytes + length));
    }
  }

  #mayJoin(record: StagedRecord, entry: Entry): boolean {
    return (
      record.kind === recordKinds.entries &&
      record.term === entry.term &&
      record.first + record.count === entry.index &&
      record.length < this.#recordBytes
    );
  }

  #openEntries(entry: Entry): StagedRecord {
    const body = this.#open(recordKinds.entries, entriesHeaderBytes, entry.index, entry.term);
    writeUint64(this.#buffer, entry.term, body);
    writeUint64(this.#buffer, entry.index, body + 8);
    writeUint64(this.#buffer, 0, body + 16);
    return this.#records[this.#records.length - 1];
  }

  /** Begins a record behind the others; answers where its body is. */
  #open(kind: RecordKind, length: number, first = 0, term = 0): number {
    const at = this.#size;
    this.#reserve(at + recordHeaderBytes + length);
    this.#records.push({ kind, at, length, first, count: 0, term });
    this.#size = at + roundUp8(recordHeaderBytes + length);
    return at + recordHeaderBytes;
  }

  /** Room for `bytes` and the padding behind them. */
  #reserve(bytes: number): void {
    if (bytes + 8 <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(bytes + 8, 2 * this.#buffer.length));
    this.#buffer.copy(larger, 0, 0, this.#size);
    this.#buffer = larger;
  }
}

/** The record with which a segment begins, flagged as the first of its batch; `isWhole`: and as the last. */
export function startRecord(state: LogState, number: number, seed: number, position: number, isWhole: boolean): Buffer {
  const length = hardStateBytes + 8 + positionBytes(state.position);
  const bytes = Buffer.alloc(roundUp8(recordHeaderBytes + length));
  writeHardState(bytes, state.hardState, recordHeaderBytes);
  writeUint64(bytes, state.lastIndex, recordHeaderBytes + hardStateBytes);
  writePosition(bytes, state.position, recordHeaderBytes + hardStateBytes + 8);
  const flags = recordFlags.first | (isWhole ? recordFlags.last : 0);
  sealRecord(bytes, 0, length, recordKinds.start, flags, number, position, seed);
  return bytes;
}

const markBuffer = Buffer.alloc(recordHeaderBytes);

/** Says that all batches before `number` are durable. Valid until the next call. */
export function markRecord(number: number, seed: number, position: number): Buffer {
  sealRecord(markBuffer, 0, 0, recordKinds.mark, recordFlags.first | recordFlags.last, number, position, seed);
  return markBuffer;
}
