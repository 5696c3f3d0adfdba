/**
 * Objects with records: a header that says what lies where, then whole record batches, one after the other, in blocks. All
 * numbers are big endian. Pure. Any thread; used by the engine beside this file.
 *
 *   0    4  "RMQ1"
 *   4    4  CRC-32C of the header from byte 8 to its end
 *   8    4  bytes of the header
 *   12   4  count of blocks
 *   16   8  base offset
 *   24   8  end offset, that of the record behind the last one
 *   32   8  largest timestamp
 *   40      of each block: 4 bytes end offset, counted from the base offset, 4 bytes length, 4 bytes CRC-32C of the block
 *           the blocks
 *
 * Keys, all below the prefix of the store; numbers in them are padded, so that keys sort by them
 *   names/<name>/<generation>          JSON: id and settings; the newest generation counts
 *   names/<name>/<generation>-removed  it is removed
 *   data/<id>/writer/<writer>          the largest one is the newest writer
 *   data/<id>/run/<base>               what was uploaded at once. The key follows from the end of the log alone, so that of
 *                                      two writers that mean to store the same offset one finds the key taken
 *   data/<id>/seg/<base>-<end>-<time>-<bytes>  runs, merged; the largest timestamp, and the bytes without the header
 *   data/<id>/start/<offset>-<end>     the largest offset is the start of the log, which did not end below `end`
 *   data/<id>/producers/<offset>-<writer>  snapshot of the producers; the largest offset counts
 */
import { readInt64, writeInt64 } from '../../core/batch/batch-format.ts';
import { crc32c } from '../../core/batch/crc32c.ts';

const magic = 0x52_4d_51_31;
const fixedBytes = 40;
const entryBytes = 12;
/** A block is closed when it has so much. */
const blockBytesMin = 64 * 1024;
/** So much is asked for when a header is read: that of an object of 64 MiB fits. */
export const headerBytesExpected = 16 * 1024;

export interface Block {
  readonly endOffset: number;
  /** In the object. */
  readonly at: number;
  readonly size: number;
  readonly crc: number;
}

export interface ObjectHeader {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly maxTimestamp: number;
  readonly bytes: number;
  readonly blocks: readonly Block[];
}

/** Whole batches that lie together. */
export interface Part {
  readonly endOffset: number;
  readonly bytes: Buffer;
}

export interface ObjectContent {
  readonly baseOffset: number;
  readonly maxTimestamp: number;
  /** In order, without a gap. */
  readonly parts: readonly Part[];
}

export interface EncodedObject {
  readonly header: ObjectHeader;
  readonly body: Buffer;
}

/** Parts that are small are gathered into blocks that are worth a request of their own. */
export function encodeObject(content: ObjectContent): EncodedObject {
  const { baseOffset, maxTimestamp, parts } = content;
  const groups = groupParts(parts);
  const headerBytes = fixedBytes + entryBytes * groups.length;
  const dataBytes = parts.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const body = Buffer.allocUnsafeSlow(headerBytes + dataBytes);
  const endOffset = parts.at(-1)?.endOffset ?? baseOffset;
  body.writeUInt32BE(magic, 0);
  body.writeUInt32BE(headerBytes, 8);
  body.writeUInt32BE(groups.length, 12);
  writeInt64(body, baseOffset, 16);
  writeInt64(body, endOffset, 24);
  writeInt64(body, maxTimestamp, 32);
  const blocks: Block[] = [];
  let at = headerBytes;
  for (const [index, group] of groups.entries()) {
    const start = at;
    for (const part of group) at += part.bytes.copy(body, at);
    const crc = crc32c(body.subarray(start, at));
    const end = group[group.length - 1].endOffset;
    const entry = fixedBytes + entryBytes * index;
    body.writeUInt32BE(end - baseOffset, entry);
    body.writeUInt32BE(at - start, entry + 4);
    body.writeUInt32BE(crc, entry + 8);
    blocks.push({ endOffset: end, at: start, size: at - start, crc });
  }
  body.writeUInt32BE(crc32c(body.subarray(8, headerBytes)), 4);
  return { header: { baseOffset, endOffset, maxTimestamp, bytes: dataBytes, blocks }, body };
}

function groupParts(parts: readonly Part[]): Part[][] {
  const groups: Part[][] = [];
  let room = 0;
  for (const part of parts) {
    if (room <= 0) {
      groups.push([]);
      room = blockBytesMin;
    }
    groups[groups.length - 1].push(part);
    room -= part.bytes.length;
  }
  return groups;
}

/** How many bytes from the start of the object on `decodeHeader` needs; 0 when it is no such object. */
export function headerBytesOf(start: Buffer): number {
  if (start.length < fixedBytes || start.readUInt32BE(0) !== magic) return 0;
  const bytes = start.readUInt32BE(8);
  return bytes === fixedBytes + entryBytes * start.readUInt32BE(12) ? bytes : 0;
}

/** Null when the header is damaged. */
export function decodeHeader(start: Buffer): ObjectHeader | null {
  const headerBytes = headerBytesOf(start);
  if (headerBytes === 0 || start.length < headerBytes) return null;
  if (crc32c(start.subarray(8, headerBytes)) !== start.readUInt32BE(4)) return null;
  const baseOffset = readInt64(start, 16);
  const blocks: Block[] = [];
  let at = headerBytes;
  for (let entry = fixedBytes; entry < headerBytes; entry += entryBytes) {
    const size = start.readUInt32BE(entry + 4);
    blocks.push({ endOffset: baseOffset + start.readUInt32BE(entry), at, size, crc: start.readUInt32BE(entry + 8) });
    at += size;
  }
  const bytes = at - headerBytes;
  return { baseOffset, endOffset: readInt64(start, 24), maxTimestamp: readInt64(start, 32), bytes, blocks };
}

/** Of objects whose key says all; not all clients and services like objects without bytes. */
export const emptyBody = '-';

const offsetDigits = 16;
const countDigits = 10;

export function offsetKey(offset: number): string {
  return `${offset}`.padStart(offsetDigits, '0');
}

export function countKey(count: number): string {
  return `${count}`.padStart(countDigits, '0');
}

export function runKey(id: string, baseOffset: number): string {
  return `data/${id}/run/${offsetKey(baseOffset)}`;
}

export function segmentKey(
  id: string,
  piece: Pick<ObjectHeader, 'baseOffset' | 'endOffset' | 'maxTimestamp' | 'bytes'>,
): string {
  const { baseOffset, endOffset, maxTimestamp, bytes } = piece;
  return `data/${id}/seg/${offsetKey(baseOffset)}-${offsetKey(endOffset)}-${maxTimestamp}-${bytes}`;
}

export function startKey(id: string, offset: number, endOffset: number): string {
  return `data/${id}/start/${offsetKey(offset)}-${offsetKey(endOffset)}`;
}

export function producersKey(id: string, offset: number, writer: number): string {
  return `data/${id}/producers/${offsetKey(offset)}-${countKey(writer)}`;
}

export function writerKey(id: string, writer: number): string {
  return `data/${id}/writer/${countKey(writer)}`;
}

/** What one key below `data/<id>/` says; null for what is none of ours. */
export type ParsedKey =
  | { readonly kind: 'run'; readonly baseOffset: number }
  | {
      readonly kind: 'seg';
      readonly baseOffset: number;
      readonly endOffset: number;
      readonly maxTimestamp: number;
      readonly bytes: number;
    }
  | { readonly kind: 'start'; readonly offset: number; readonly endOffset: number }
  | { readonly kind: 'producers'; readonly offset: number; readonly writer: number }
  | { readonly kind: 'writer'; readonly writer: number };

const keyPattern =
  /^data\/[^/]+\/(?:(run|writer)\/(\d+)|(start|producers)\/(\d+)-(\d+)|seg\/(\d+)-(\d+)-(-?\d+)-(\d+))$/;

export function parseKey(key: string): ParsedKey | null {
  const match = keyPattern.exec(key);
  if (match === null) return null;
  const [, one, oneNumber, two, first, second, ...rest] = match;
  if (one === 'run') return { kind: 'run', baseOffset: Number(oneNumber) };
  if (one === 'writer') return { kind: 'writer', writer: Number(oneNumber) };
  if (two === 'start') return { kind: 'start', offset: Number(first), endOffset: Number(second) };
  if (two === 'producers') return { kind: 'producers', offset: Number(first), writer: Number(second) };
  const [baseOffset, endOffset, maxTimestamp, bytes] = rest.map(Number);
  return { kind: 'seg', baseOffset, endOffset, maxTimestamp, bytes };
}
