/**
 * The checksum of what a state store keeps: 4 bytes of CRC-32 over the value behind each value,
 * begun with a hash of the key, checked at every
 * read. LMDB checks nothing itself, and a page that the disk changed or mixed up must not be answered from. Pure; used by
 * the stores, on any thread.
 */
import { crc32 } from 'node:zlib';
import type { Bytes } from '../ports.ts';
import { allocate } from './bytes.ts';
import { CorruptionError } from './errors.ts';

export const sealBytes = 4;

/** Writes value and checksum to `target` at `position`; answers where they end. */
export function sealInto(target: Buffer, position: number, key: Bytes, value: Bytes): number {
  target.set(value, position);
  return target.writeUInt32LE(crc32(value, seedOf(key)), position + value.length);
}

/** Checks the first `size` bytes of `sealed` and answers a copy of the value. Throws `CorruptionError`. */
export function unseal(key: Bytes, sealed: Bytes, size = sealed.length): Uint8Array {
  const valueSize = size - sealBytes;
  if (valueSize < 0) throw new CorruptionError(`The value of ${describe(key)} is shorter than its checksum`);
  const value = allocate(valueSize);
  value.set(new Uint8Array(sealed.buffer, sealed.byteOffset, valueSize));
  const low = sealed[valueSize] | (sealed[valueSize + 1] << 8) | (sealed[valueSize + 2] << 16);
  if (crc32(value, seedOf(key)) !== low + sealed[valueSize + 3] * 0x100_0000) {
    throw new CorruptionError(`The value of ${describe(key)} does not match its checksum`);
  }
  return value;
}

/** FNV-1a of the key: the checksum begins with it, which saves a second native call. */
function seedOf(key: Bytes): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index++) hash = Math.imul(hash ^ key[index], 0x01000193);
  return hash >>> 0;
}

function describe(key: Bytes): string {
  return `the stored key ${Buffer.from(key.buffer, key.byteOffset, Math.min(key.length, 64)).toString('hex')}`;
}
