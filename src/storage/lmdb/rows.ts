/**
 * What the LMDB adapter stores. Thread: the one that holds the store. Numbers are big endian, so that keys sort by them.
 *
 *   `p` name                              a partition: CRC-32C 4, JSON
 *   `i` number 8, base offset 8           a piece: CRC-32C 4, end offset 8, largest timestamp 8, bytes 4
 *   `b` number 8, base offset 8           its batches; each has a CRC of its own, and says where it belongs
 *   `s` number 8                          producers: CRC-32C 4, offset 8, snapshot
 *   `g` number 8                          a partition that was removed, and of which something is left
 *
 * The number of a partition is never used again.
 */

import { readInt64, writeInt64 } from '../../core/batch/batch-format.ts';
import { crc32c } from '../../core/batch/crc32c.ts';
import type { StreamSettings } from '../../core/ports/stream-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import type { EnginePiece } from '../../core/streams/store-engine.ts';

export type RowKind = 'b' | 'g' | 'i' | 'p' | 's';

export interface KeptPartition {
  readonly name: string;
  readonly id: string;
  readonly number: number;
  writer: number;
  settings: StreamSettings;
  startOffset: number;
  endOffset: number;
  sizeBytes: number;
}

export function nameKey(name: string): Buffer {
  return Buffer.from(`p${name}`);
}

/** First key of a kind; `after`: the first one behind all of them. */
export function kindKey(kind: RowKind, after = false): Buffer {
  return Buffer.from([kind.charCodeAt(0) + (after ? 1 : 0)]);
}

export function numberKey(kind: RowKind, number: number): Buffer {
  const key = Buffer.alloc(9);
  key[0] = kind.charCodeAt(0);
  writeInt64(key, number, 1);
  return key;
}

export function offsetKey(kind: 'b' | 'i', number: number, offset: number): Buffer {
  const key = Buffer.alloc(17);
  key[0] = kind.charCodeAt(0);
  writeInt64(key, number, 1);
  writeInt64(key, offset, 9);
  return key;
}

export function numberOf(key: Buffer): number {
  return readInt64(key, 1);
}

export function offsetOf(key: Buffer): number {
  return readInt64(key, 9);
}

export function encodePartition(partition: KeptPartition): Buffer {
  return seal(Buffer.from(JSON.stringify(partition)));
}

export function decodePartition(key: Buffer, value: Buffer): KeptPartition {
  return JSON.parse(unseal(key, value).toString()) as KeptPartition;
}

export function encodePiece(endOffset: number, maxTimestamp: number, bytes: number): Buffer {
  const content = Buffer.alloc(20);
  writeInt64(content, endOffset, 0);
  writeInt64(content, maxTimestamp, 8);
  content.writeUInt32BE(bytes, 16);
  return seal(content);
}

export function decodePiece(key: Buffer, value: Buffer): EnginePiece {
  const content = unseal(key, value);
  return {
    baseOffset: offsetOf(key),
    endOffset: readInt64(content, 0),
    maxTimestamp: readInt64(content, 8),
    bytes: content.readUInt32BE(16),
  };
}

export function encodeProducers(offset: number, snapshot: Buffer): Buffer {
  const place = Buffer.alloc(8);
  writeInt64(place, offset, 0);
  return seal(Buffer.concat([place, snapshot]));
}

export function decodeProducers(key: Buffer, value: Buffer): { readonly offset: number; readonly bytes: Buffer } {
  const content = unseal(key, value);
  return { offset: readInt64(content, 0), bytes: content.subarray(8) };
}

function seal(content: Buffer): Buffer {
  const value = Buffer.allocUnsafe(4 + content.length);
  value.writeUInt32BE(crc32c(content), 0);
  content.copy(value, 4);
  return value;
}

function unseal(key: Buffer, value: Buffer): Buffer {
  const content = value.subarray(4);
  if (value.length >= 4 && crc32c(content) === value.readUInt32BE(0)) return content;
  throw new StorageError('STORAGE_CORRUPTED', `Cannot read row ${key.toString('hex')} of LMDB: its CRC is wrong`);
}
