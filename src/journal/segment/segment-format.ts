/**
 * The bytes of a segment file, beside the batches in it. Thread: the journal worker; used by `segment.ts` (writes) and
 * `segment-scan.ts` (reads). Numbers here are little endian; a batch is as in `batch-format.ts`.
 *
 *   0      header page: written once, durable before the file gets its name
 *   4096   proof slot 0
 *   8192   proof slot 1
 *   12288  batches without gaps, in the order of their offsets; behind the last one zeros, or nothing
 *
 * Header
 *   0   8  magic "RINGJRNL"
 *   8   4  format version, 1
 *   12  4  generation: 0 as appended; each compaction makes it larger
 *   16  8  base offset, as in the file's name
 *   24  8  created, milliseconds since 1970
 *   32     zeros
 *   60  4  CRC-32C of bytes 0 to 59
 *
 * Proof slot: how much of the file was durable when the slot was written
 *   0   8  counter; the slot with the larger one counts
 *   8   8  end: all bytes below it were durable before this slot was written
 *   16  8  next offset: what follows the last batch below `end`
 *   24  8  largest timestamp of the batches below `end`, signed; -1 without a batch
 *   32  4  flags: 1 sealed (nothing is ever appended again), 2 closed (nothing was written after this slot)
 *   36  4  generation, as in the header
 *   40  4  zero
 *   44  4  CRC-32C of bytes 0 to 43, going on from the CRC-32C of the base offset (8 bytes): a slot of another file does not
 *          match
 *
 * What a crash can leave. The batches of a round are written with one write and made durable with one sync, together with a
 * slot that says that all rounds before were durable; the next round is written only after that sync. Hence
 *   (a) what a crash can leave incomplete is the last round alone, and nobody was told that it was durable;
 *   (b) all bytes below the `end` of a valid slot were durable: whatever is unreadable there is damage, and is never cut;
 *   (c) two slots are never on their way at once, so one of them is always whole.
 * After a sync with nothing to write behind it the next slot is written without a sync of its own (closing does sync it): it
 * says that the last round was durable as well, and is what the next round would write. Until it has reached the disk, a damage
 * of the very last round that meets a crash cannot be told from a torn write. Nothing else can be mistaken.
 */

import { crc32c } from '../../core/batch/crc32c.ts';

export const segmentMagic = 'RINGJRNL';
export const segmentVersion = 1;
export const slotPositions = [4096, 8192] as const;
export const slotBytes = 48;
export const batchesStart = 12288;

const headerBytes = 64;
const two32 = 0x1_0000_0000;

export const slotFlags = { sealed: 1, closed: 2 } as const;

export interface SegmentHeader {
  readonly baseOffset: number;
  readonly generation: number;
  readonly createdMs: number;
}

export interface ProofSlot {
  readonly counter: number;
  readonly end: number;
  readonly nextOffset: number;
  readonly maxTimestamp: number;
  readonly flags: number;
  readonly generation: number;
}

/** A slot and which of the two places it is in. */
export interface PlacedSlot extends ProofSlot {
  readonly place: number;
}

export function segmentName(baseOffset: number): string {
  return `${String(baseOffset).padStart(20, '0')}.log`;
}

/** Base offset in a file name; -1 for a name that is not one of a segment. */
export function baseOffsetOf(name: string): number {
  return /^\d{20}\.log$/.test(name) ? Number(name.slice(0, 20)) : -1;
}

export function writeUint64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value % two32, at);
  target.writeUInt32LE(Math.floor(value / two32), at + 4);
}

export function readUint64(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + source.readUInt32LE(at + 4) * two32;
}

/** Signed, little endian; exact up to 2^53. */
export function writeTimestamp(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE((value % two32) >>> 0, at);
  target.writeInt32LE(Math.floor(value / two32), at + 4);
}

export function readTimestamp(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + source.readInt32LE(at + 4) * two32;
}

/** All that is in front of the batches: header and one slot, for a file that holds `slot.end` bytes. */
export function encodeSegmentFront(header: SegmentHeader, slot: ProofSlot): Buffer {
  const front = Buffer.alloc(batchesStart);
  front.write(segmentMagic, 0, 'latin1');
  front.writeUInt32LE(segmentVersion, 8);
  front.writeUInt32LE(header.generation, 12);
  writeUint64(front, header.baseOffset, 16);
  writeUint64(front, header.createdMs, 24);
  front.writeUInt32LE(crc32c(front.subarray(0, 60)), 60);
  encodeSlot(slot, header.baseOffset).copy(front, slotPositions[0]);
  return front;
}

/** The header in the first page; a text says what is wrong with it. */
export function decodeSegmentHeader(front: Buffer, baseOffset: number): SegmentHeader | string {
  if (front.length < headerBytes) return 'the header is missing';
  if (front.toString('latin1', 0, 8) !== segmentMagic) return 'the header has no magic';
  if (front.readUInt32LE(60) !== crc32c(front.subarray(0, 60))) return 'the header has a wrong CRC';
  const version = front.readUInt32LE(8);
  if (version !== segmentVersion) return `the format is version ${version}`;
  const base = readUint64(front, 16);
  if (base !== baseOffset) return `the header says that the base offset is ${base}`;
  return { baseOffset, generation: front.readUInt32LE(12), createdMs: readUint64(front, 24) };
}

export function encodeSlot(slot: ProofSlot, baseOffset: number): Buffer {
  const bytes = Buffer.alloc(slotBytes);
  writeUint64(bytes, slot.counter, 0);
  writeUint64(bytes, slot.end, 8);
  writeUint64(bytes, slot.nextOffset, 16);
  writeTimestamp(bytes, slot.maxTimestamp, 24);
  bytes.writeUInt32LE(slot.flags, 32);
  bytes.writeUInt32LE(slot.generation, 36);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 44), slotSeed(baseOffset)), 44);
  return bytes;
}

/** The newest valid slot of the front of a file, or null. */
export function newestSlot(front: Buffer, baseOffset: number): PlacedSlot | null {
  let newest: PlacedSlot | null = null;
  const seed = slotSeed(baseOffset);
  for (const [place, at] of slotPositions.entries()) {
    if (at + slotBytes > front.length) continue;
    if (front.readUInt32LE(at + 44) !== crc32c(front.subarray(at, at + 44), seed)) continue;
    const counter = readUint64(front, at);
    if (newest !== null && newest.counter > counter) continue;
    newest = {
      place,
      counter,
      end: readUint64(front, at + 8),
      nextOffset: readUint64(front, at + 16),
      maxTimestamp: readTimestamp(front, at + 24),
      flags: front.readUInt32LE(at + 32),
      generation: front.readUInt32LE(at + 36),
    };
  }
  return newest;
}

function slotSeed(baseOffset: number): number {
  const bytes = Buffer.alloc(8);
  writeUint64(bytes, baseOffset, 0);
  return crc32c(bytes);
}
