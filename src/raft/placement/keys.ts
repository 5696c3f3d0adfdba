/**
 * Keys of typed records: RingMQ's own part of the key space. Every part has its length before it, so no two different
 * lists of parts give the same key, and the tenant is the first part wherever there is one. Pure; any thread.
 *
 * ```
 * key  = 0x00 kind(1) part*
 * part = length(2) utf8 | number(4)         (big-endian; which of the two is fixed by the kind)
 * ```
 */
import type { Bytes } from '../../core/ports/placement.ts';
import { MalformedError, RecordInvalidError } from './errors.ts';
import { limits } from './limits.ts';

export type KeyPart = string | number;
export type KeyShape = readonly ('text' | 'number')[];

/** First byte of every key that is not the users'. */
export const RECORD_SCOPE = 0;
const HEAD_BYTES = 2;
const TEXT_BYTES_MAX = 0xffff;
const NUMBER_MAX = 0xffff_ffff;

/**
 * The key of `parts`, or with fewer parts than the kind has, the prefix of all keys that begin with them. Throws
 * `RecordInvalidError`.
 */
export function buildKey(kind: number, shape: KeyShape, parts: readonly KeyPart[]): Buffer {
  if (parts.length > shape.length) throw new RecordInvalidError(`A key has ${shape.length} parts, not ${parts.length}`);
  let size = HEAD_BYTES;
  parts.forEach((part, index) => {
    size += sizeOf(part, shape[index]);
  });
  if (size > limits.recordKeyBytesMax) {
    throw new RecordInvalidError(`A key has ${size} bytes, more than ${limits.recordKeyBytesMax}`);
  }
  const key = Buffer.allocUnsafe(size);
  key[0] = RECORD_SCOPE;
  key[1] = kind;
  let position = HEAD_BYTES;
  for (const part of parts) {
    if (typeof part === 'number') {
      position = key.writeUInt32BE(part, position);
    } else {
      const length = key.write(part, position + 2);
      key.writeUInt16BE(length, position);
      position += 2 + length;
    }
  }
  return key;
}

/** The parts of a complete key. Throws `MalformedError`. */
export function parseKey(kind: number, shape: KeyShape, bytes: Bytes): KeyPart[] {
  const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (key.length < HEAD_BYTES || key[0] !== RECORD_SCOPE || key[1] !== kind) {
    throw new MalformedError('A key is of another kind');
  }
  const parts: KeyPart[] = [];
  let position = HEAD_BYTES;
  for (const type of shape) {
    const left = key.length - position;
    const length = type === 'number' ? 4 : left >= 2 ? 2 + key.readUInt16BE(position) : 2;
    if (left < length) throw new MalformedError('A key ends too early');
    parts.push(type === 'number' ? key.readUInt32BE(position) : key.toString('utf8', position + 2, position + length));
    position += length;
  }
  if (position !== key.length) throw new MalformedError('A key has more parts than its kind');
  return parts;
}

/** The first key after all that begin with `prefix`; empty, which means no bound, when there is none. */
export function prefixEnd(prefix: Bytes): Buffer {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  const end = Buffer.from(prefix.subarray(0, length));
  if (length > 0) end[length - 1]++;
  return end;
}

function sizeOf(part: KeyPart, type: 'text' | 'number'): number {
  if (typeof part === 'number') {
    if (type !== 'number' || !Number.isInteger(part) || part < 0 || part > NUMBER_MAX) {
      throw new RecordInvalidError(`A part of a key cannot be ${part}`);
    }
    return 4;
  }
  if (type !== 'text' || !part.isWellFormed()) {
    throw new RecordInvalidError(`A part of a key is not a ${type === 'text' ? 'well-formed text' : 'number'}`);
  }
  const length = Buffer.byteLength(part);
  if (length > TEXT_BYTES_MAX) throw new RecordInvalidError(`A part of a key has ${length} bytes`);
  return 2 + length;
}
