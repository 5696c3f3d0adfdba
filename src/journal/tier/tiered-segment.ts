/**
 * What lies behind the segment in its object: a description of it, so that an object says by itself what it is. Pure. Thread: the journal
 * worker, or the one of an offline tool.
 *
 * An object is the segment file up to the end of its batches, byte for byte, and then (little endian):
 *   0   8  magic "RINGCOLD"
 *   8   4  format version, 1
 *   12  4  length of the facts
 *   16  4  length of the index
 *   20  4  length of the state of producers
 *   24     the facts, JSON; the index, as its file is without its last CRC; the state of producers at the end of the segment, as its file
 *          is without its CRC, or nothing
 *       4  CRC-32C of all of the description before
 *       4  length of the description
 *       8  magic "RINGCEND"
 */

import { crc32c } from '../../core/batch/crc32c.ts';
import type { AbortedTransaction } from '../../core/streams/producer-state.ts';
import type { EpochStart } from '../checkpoint.ts';
import { SparseIndex } from '../segment/sparse-index.ts';
import type { TierEntry } from './tier-manifest.ts';

const magic = 'RINGCOLD';
const endMagic = 'RINGCEND';
const version = 1;
const headerBytes = 24;
const trailerBytes = 16;

/** Of one segment; final, since only what is committed and decided is uploaded. */
export interface SegmentFacts {
  readonly partition: string;
  readonly id: string;
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly maxTimestamp: number;
  readonly createdMs: number;
  readonly generation: number;
  /** Where the batches end. */
  readonly end: number;
  /** CRC-32C of the bytes below `end`. */
  readonly crc: number;
  readonly records: number;
  /** Those that concern the segment, ascending. */
  readonly epochs: readonly EpochStart[];
  /** With batches in the segment; by marker. */
  readonly aborted: readonly AbortedTransaction[];
}

export interface TieredSegment {
  readonly facts: SegmentFacts;
  readonly index: SparseIndex;
  /** Empty: none was kept. */
  readonly producers: Buffer;
}

export function encodeDescription(facts: SegmentFacts, index: SparseIndex, producers: Buffer): Buffer {
  const { baseOffset, generation, end } = facts;
  const text = Buffer.from(JSON.stringify(facts));
  const places = index.encode({ baseOffset, generation, end });
  const header = Buffer.alloc(headerBytes);
  header.write(magic, 0, 'latin1');
  header.writeUInt32LE(version, 8);
  header.writeUInt32LE(text.length, 12);
  header.writeUInt32LE(places.length, 16);
  header.writeUInt32LE(producers.length, 20);
  const body = Buffer.concat([header, text, places, producers]);
  const trailer = Buffer.alloc(trailerBytes);
  trailer.writeUInt32LE(crc32c(body), 0);
  trailer.writeUInt32LE(body.length + trailerBytes, 4);
  trailer.write(endMagic, 8, 'latin1');
  return Buffer.concat([body, trailer]);
}

/** Null when the bytes are not the description of this entry's segment. */
export function decodeDescription(bytes: Buffer, id: string, entry: TierEntry): TieredSegment | null {
  const bodyLength = bytes.length - trailerBytes;
  if (bodyLength < headerBytes || bytes.toString('latin1', 0, 8) !== magic) return null;
  if (bytes.readUInt32LE(8) !== version || bytes.toString('latin1', bodyLength + 8) !== endMagic) return null;
  if (bytes.readUInt32LE(bodyLength + 4) !== bytes.length) return null;
  if (crc32c(bytes.subarray(0, bodyLength)) !== bytes.readUInt32LE(bodyLength)) return null;
  const textEnd = headerBytes + bytes.readUInt32LE(12);
  const indexEnd = textEnd + bytes.readUInt32LE(16);
  if (indexEnd + bytes.readUInt32LE(20) !== bodyLength) return null;
  // The checksum says that it is what was written.
  const facts = JSON.parse(bytes.toString('utf8', headerBytes, textEnd)) as SegmentFacts;
  const { baseOffset, nextOffset, end, generation } = facts;
  const isSame = baseOffset === entry.baseOffset && nextOffset === entry.nextOffset && end === entry.end;
  if (!isSame || facts.id !== id || facts.crc !== entry.crc) return null;
  const index = SparseIndex.decode(bytes.subarray(textEnd, indexEnd), { baseOffset, generation, end }, 1);
  return index === null ? null : { facts, index, producers: bytes.subarray(indexEnd, bodyLength) };
}
