/**
 * Bytes that can copy themselves: how this folder uses a Buffer without importing `node:`.
 *
 * Pure; called on connection workers by the encoders of this folder.
 */

/** What the encoders need of a source. A `Buffer` is one; its `copy` allocates nothing, unlike `set(subarray())`. */
export interface Bytes extends Uint8Array {
  copy(target: Uint8Array, targetStart: number, sourceStart: number, sourceEnd: number): number;
}

/** Below this many bytes a loop beats the call of `copy` (measured: about 24 bytes on x64). */
const LOOP_BYTES_MAX = 24;

/** Copies `source[start, end)` to `target` at `offset`; returns the offset after the last byte written. */
export function copyBytes(source: Bytes, start: number, end: number, target: Uint8Array, offset: number): number {
  if (end - start > LOOP_BYTES_MAX) {
    source.copy(target, offset, start, end);
    return offset + end - start;
  }
  let position = offset;
  for (let index = start; index < end; index++) target[position++] = source[index];
  return position;
}

/** The big-endian 16-bit number at `position`. */
export function readUint16(buffer: Uint8Array, position: number): number {
  return (buffer[position] << 8) | buffer[position + 1];
}

/** The big-endian 32-bit number at `position`, unsigned. */
export function readUint32(buffer: Uint8Array, position: number): number {
  return readUint16(buffer, position) * 0x10000 + readUint16(buffer, position + 2);
}

export function writeUint16(buffer: Uint8Array, position: number, value: number): number {
  buffer[position] = value >>> 8;
  buffer[position + 1] = value;
  return position + 2;
}

export function writeUint32(buffer: Uint8Array, position: number, value: number): number {
  writeUint16(buffer, position, value >>> 16);
  return writeUint16(buffer, position + 2, value & 0xffff);
}
