/**
 * The producer state in a file. Thread: the journal worker; written when a segment is sealed and when the log is closed, read when
 * it is opened.
 *
 * File `<offset, 20 digits>.producers`, replaced as a whole (`atomic-file.ts`; little endian): magic "RINGPROD" 8, format
 * version 4 (1), counts of producers, ongoing, ended and aborted transactions 4 each, zero 4, offset 8; then
 *   of each producer     id 8, epoch 4, count of batches 4, last timestamp 8 (signed); of each batch
 *                        base sequence 4, last sequence 4, base offset 8, last offset 8, timestamp 8 (signed)
 *   of each ongoing one  producer id 8, first offset 8
 *   of each ended one    first offset 8, last offset 8
 *   of each aborted one  producer id 8, first offset 8, last offset 8, last stable offset 8
 * and the CRC-32C 4.
 */

import type { FileSystem } from '../core/ports/file-system.ts';
import type {
  AbortedTransaction,
  EndedTransaction,
  ProducerEntry,
  ProducerSnapshot,
  RememberedBatch,
} from '../core/streams/producer-state.ts';
import { type Durability, readWholeFile, replaceFile } from './atomic-file.ts';
import { readTimestamp, readUint64, writeTimestamp, writeUint64 } from './segment/segment-format.ts';

const magic = 'RINGPROD';
const version = 1;
const headerBytes = 40;
const producerBytes = 24;
const batchBytes = 32;
const pairBytes = 16;
const abortedBytes = 32;

export function snapshotName(offset: number): string {
  return `${String(offset).padStart(20, '0')}.producers`;
}

/** Offset in a file name; -1 for another name. */
export function snapshotOffsetOf(name: string): number {
  return /^\d{20}\.producers$/.test(name) ? Number(name.slice(0, 20)) : -1;
}

/** Durable when it returns, unless `durability` says otherwise. */
export function writeProducerSnapshot(
  fileSystem: FileSystem,
  snapshot: ProducerSnapshot,
  durability: Durability = 'full',
): void {
  replaceFile(fileSystem, snapshotName(snapshot.offset), encodeSnapshot(snapshot), durability);
}

/** The newest sound snapshot at or below `offset`; null when there is none. */
export function readProducerSnapshot(fileSystem: FileSystem, offset: number): ProducerSnapshot | null {
  const offsets = fileSystem.list().map(snapshotOffsetOf);
  for (const candidate of offsets.filter((found) => found >= 0 && found <= offset).sort((a, b) => b - a)) {
    const bytes = readWholeFile(fileSystem, snapshotName(candidate));
    const snapshot = typeof bytes === 'string' ? null : decodeSnapshot(bytes);
    if (snapshot !== null && snapshot.offset === candidate) return snapshot;
  }
  return null;
}

/**
 * Removes what is not needed to know the producers at any offset in [from, to]: those above `to`, whose batches are gone, and
 * those that are older than the newest one at or below `from`. Durable after `syncFolder`.
 */
export function removeSnapshots(fileSystem: FileSystem, from: number, to = Number.POSITIVE_INFINITY): void {
  const offsets = fileSystem.list().map(snapshotOffsetOf);
  const found = offsets.filter((offset) => offset >= 0);
  const oldest = Math.max(...found.filter((offset) => offset <= from), 0);
  for (const offset of found) if (offset < oldest || offset > to) fileSystem.remove(snapshotName(offset));
}

function encodeSnapshot(snapshot: ProducerSnapshot): Buffer {
  const { producers, ongoing, ended, aborted } = snapshot;
  const batches = producers.reduce((sum, [, entry]) => sum + entry.batches.length, 0);
  const length = headerBytes + producers.length * producerBytes + batches * batchBytes;
  const pairs = ongoing.length + ended.length;
  const bytes = Buffer.alloc(length + pairs * pairBytes + aborted.length * abortedBytes);
  bytes.write(magic, 0, 'latin1');
  bytes.writeUInt32LE(version, 8);
  bytes.writeUInt32LE(producers.length, 12);
  bytes.writeUInt32LE(ongoing.length, 16);
  bytes.writeUInt32LE(ended.length, 20);
  bytes.writeUInt32LE(aborted.length, 24);
  writeUint64(bytes, snapshot.offset, 32);
  let at = headerBytes;
  for (const [id, entry] of producers) at = encodeProducer(bytes, id, entry, at);
  for (const [first, second] of [...ongoing, ...ended.map((item) => [item.firstOffset, item.lastOffset] as const)]) {
    writeUint64(bytes, first, at);
    writeUint64(bytes, second, at + 8);
    at += pairBytes;
  }
  for (const { producerId, firstOffset, lastOffset, lastStableOffset } of aborted) {
    for (const value of [producerId, firstOffset, lastOffset, lastStableOffset]) {
      writeUint64(bytes, value, at);
      at += 8;
    }
  }
  return bytes;
}

function encodeProducer(bytes: Buffer, id: number, entry: ProducerEntry, start: number): number {
  writeUint64(bytes, id, start);
  bytes.writeInt32LE(entry.epoch, start + 8);
  bytes.writeUInt32LE(entry.batches.length, start + 12);
  writeTimestamp(bytes, entry.lastTimestamp, start + 16);
  let at = start + producerBytes;
  for (const batch of entry.batches) {
    bytes.writeInt32LE(batch.baseSequence, at);
    bytes.writeInt32LE(batch.lastSequence, at + 4);
    writeUint64(bytes, batch.baseOffset, at + 8);
    writeUint64(bytes, batch.lastOffset, at + 16);
    writeTimestamp(bytes, batch.timestamp, at + 24);
    at += batchBytes;
  }
  return at;
}

function decodeSnapshot(bytes: Buffer): ProducerSnapshot | null {
  if (bytes.length < headerBytes || bytes.toString('latin1', 0, 8) !== magic) return null;
  if (bytes.readUInt32LE(8) !== version) return null;
  const producers: [number, ProducerEntry][] = [];
  let at = headerBytes;
  for (let left = bytes.readUInt32LE(12); left > 0; left -= 1) {
    const count = bytes.readUInt32LE(at + 12);
    const start = at + producerBytes;
    const batches = Array.from({ length: count }, (_, number) => decodeBatch(bytes, start + number * batchBytes));
    const entry: ProducerEntry = {
      epoch: bytes.readInt32LE(at + 8),
      lastTimestamp: readTimestamp(bytes, at + 16),
      batches,
    };
    producers.push([readUint64(bytes, at), entry]);
    at = start + count * batchBytes;
  }
  const ongoing: [number, number][] = [];
  for (let left = bytes.readUInt32LE(16); left > 0; left -= 1) {
    ongoing.push([readUint64(bytes, at), readUint64(bytes, at + 8)]);
    at += pairBytes;
  }
  const ended: EndedTransaction[] = [];
  for (let left = bytes.readUInt32LE(20); left > 0; left -= 1) {
    ended.push({ firstOffset: readUint64(bytes, at), lastOffset: readUint64(bytes, at + 8) });
    at += pairBytes;
  }
  const aborted: AbortedTransaction[] = [];
  for (let left = bytes.readUInt32LE(24); left > 0; left -= 1) {
    aborted.push({
      producerId: readUint64(bytes, at),
      firstOffset: readUint64(bytes, at + 8),
      lastOffset: readUint64(bytes, at + 16),
      lastStableOffset: readUint64(bytes, at + 24),
    });
    at += abortedBytes;
  }
  return { offset: readUint64(bytes, 32), producers, ongoing, ended, aborted };
}

function decodeBatch(bytes: Buffer, at: number): RememberedBatch {
  return {
    baseSequence: bytes.readInt32LE(at),
    lastSequence: bytes.readInt32LE(at + 4),
    baseOffset: readUint64(bytes, at + 8),
    lastOffset: readUint64(bytes, at + 16),
    timestamp: readTimestamp(bytes, at + 24),
  };
}
