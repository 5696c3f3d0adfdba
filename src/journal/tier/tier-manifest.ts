/**
 * Which objects hold the segments of a partition that are in the cold tier. One file in the partition's folder, and the same bytes as an
 * object; whichever of the two has the larger sequence is the newer one. Pure. Thread: the journal worker, or the one of an offline tool.
 *
 * File `tier`, replaced as a whole (`atomic-file.ts`; little endian): magic "RINGTIER" 8, format version 4 (1), count of entries 4, id of
 * the partition 16, sequence 8, start offset 8, length of the name 4, zero 4, name; then of each entry, ascending and without gaps:
 * base offset 8, next offset 8, largest timestamp 8 (signed), end of the batches in the segment 8, size of the object 8, number of the
 * upload 8, CRC-32C of the segment 4, zero 4; and the CRC-32C 4.
 */

import { crc32c } from '../../core/batch/crc32c.ts';
import { readTimestamp, readUint64, writeTimestamp, writeUint64 } from '../segment/segment-format.ts';

export const manifestName = 'tier';

const magic = 'RINGTIER';
const version = 1;
const headerBytes = 56;
const entryBytes = 56;
/** More than a partition can have segments. */
const entriesMax = 16 * 1024 * 1024;

/** One segment in the tier. */
export interface TierEntry {
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly maxTimestamp: number;
  /** Where the batches end; what describes the segment follows. */
  readonly end: number;
  readonly objectBytes: number;
  /** Sixteen hexadecimal digits; a segment that is uploaded again gets others. */
  readonly upload: string;
  /** CRC-32C of the bytes below `end`. */
  readonly crc: number;
}

export interface TierManifest {
  /** A UUID: a partition that is removed and made again has another one. */
  readonly id: string;
  readonly name: string;
  readonly sequence: number;
  /** What is below it is deleted, though the object that it is in may be there. */
  readonly startOffset: number;
  readonly entries: readonly TierEntry[];
}

/** Without the CRC. */
export function encodeManifest({ id, name, sequence, startOffset, entries }: TierManifest): Buffer {
  const nameBytes = Buffer.from(name);
  const bytes = Buffer.alloc(headerBytes + nameBytes.length + entries.length * entryBytes);
  bytes.write(magic, 0, 'latin1');
  bytes.writeUInt32LE(version, 8);
  bytes.writeUInt32LE(entries.length, 12);
  idBytes(id).copy(bytes, 16);
  writeUint64(bytes, sequence, 32);
  writeUint64(bytes, startOffset, 40);
  bytes.writeUInt32LE(nameBytes.length, 48);
  nameBytes.copy(bytes, headerBytes);
  let at = headerBytes + nameBytes.length;
  for (const entry of entries) {
    writeUint64(bytes, entry.baseOffset, at);
    writeUint64(bytes, entry.nextOffset, at + 8);
    writeTimestamp(bytes, entry.maxTimestamp, at + 16);
    writeUint64(bytes, entry.end, at + 24);
    writeUint64(bytes, entry.objectBytes, at + 32);
    bytes.write(entry.upload, at + 40, 'hex');
    bytes.writeUInt32LE(entry.crc, at + 48);
    at += entryBytes;
  }
  return bytes;
}

/** Null when the bytes are no manifest, or one that cannot be. */
export function decodeManifest(bytes: Buffer): TierManifest | null {
  if (bytes.length < headerBytes || bytes.toString('latin1', 0, 8) !== magic || bytes.readUInt32LE(8) !== version) {
    return null;
  }
  const count = bytes.readUInt32LE(12);
  const nameLength = bytes.readUInt32LE(48);
  if (count > entriesMax || bytes.length !== headerBytes + nameLength + count * entryBytes) return null;
  const name = bytes.toString('utf8', headerBytes, headerBytes + nameLength);
  const entries: TierEntry[] = [];
  for (let at = headerBytes + nameLength; at < bytes.length; at += entryBytes) {
    const entry: TierEntry = {
      baseOffset: readUint64(bytes, at),
      nextOffset: readUint64(bytes, at + 8),
      maxTimestamp: readTimestamp(bytes, at + 16),
      end: readUint64(bytes, at + 24),
      objectBytes: readUint64(bytes, at + 32),
      upload: bytes.toString('hex', at + 40, at + 48),
      crc: bytes.readUInt32LE(at + 48),
    };
    const before = entries.at(-1);
    const isNext = before === undefined || before.nextOffset === entry.baseOffset;
    if (!isNext || entry.nextOffset <= entry.baseOffset || entry.objectBytes <= entry.end) return null;
    entries.push(entry);
  }
  return {
    id: idOf(bytes.subarray(16, 32)),
    name,
    sequence: readUint64(bytes, 32),
    startOffset: readUint64(bytes, 40),
    entries,
  };
}

/** With the CRC, as it lies in the file. */
export function sealManifest(manifest: TierManifest): Buffer {
  const content = encodeManifest(manifest);
  const bytes = Buffer.alloc(content.length + 4);
  content.copy(bytes);
  bytes.writeUInt32LE(crc32c(content), content.length);
  return bytes;
}

/** Null when the bytes are not what `sealManifest` made. */
export function openManifest(bytes: Buffer): TierManifest | null {
  if (bytes.length < 4) return null;
  const content = bytes.subarray(0, bytes.length - 4);
  return crc32c(content) === bytes.readUInt32LE(content.length) ? decodeManifest(content) : null;
}

/** All that belongs to a partition. */
export function objectsOf(id: string): string {
  return `${id}/`;
}

export function manifestKey(id: string): string {
  return `${id}/manifest`;
}

export function segmentKey(id: string, { baseOffset, nextOffset, upload }: TierEntry): string {
  const digits = (offset: number): string => String(offset).padStart(20, '0');
  return `${id}/${digits(baseOffset)}-${digits(nextOffset)}-${upload}`;
}

/** Index of the first entry that ends above `offset`. */
export function findEntry(entries: readonly TierEntry[], offset: number): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle].nextOffset <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function idBytes(id: string): Buffer {
  return Buffer.from(id.replaceAll('-', ''), 'hex');
}

function idOf(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return [
    [0, 8],
    [8, 12],
    [12, 16],
    [16, 20],
    [20, 32],
  ]
    .map(([from, to]) => hex.slice(from, to))
    .join('-');
}
