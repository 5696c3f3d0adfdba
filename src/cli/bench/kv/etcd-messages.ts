/**
 * The few messages of etcd's v3 key-value service that a load needs, as protobuf bytes: field numbers 1 and 2 are key and
 * value of a put; 1 is the key and 7 `serializable` of a range; field 2 of a range's answer holds what was found. Pure.
 */

const FIELD_KEY = 0x0a; // field 1, length-delimited
const FIELD_VALUE = 0x12; // field 2, length-delimited
const FIELD_SERIALIZABLE = 0x38; // field 7, varint
const FIELD_FOUND = 2;

const wireVarint = 0;
const wireFixed64 = 1;
const wireBytes = 2;
const wireFixed32 = 5;

export function encodePut(key: Uint8Array, value: Uint8Array): Buffer {
  const target = Buffer.allocUnsafe(2 + 2 * 5 + key.length + value.length);
  const end = writeBytes(target, writeBytes(target, 0, FIELD_KEY, key), FIELD_VALUE, value);
  return target.subarray(0, end);
}

export function encodeRange(key: Uint8Array, isSerializable: boolean): Buffer {
  const target = Buffer.allocUnsafe(3 + 5 + key.length);
  let end = writeBytes(target, 0, FIELD_KEY, key);
  if (isSerializable) {
    target[end++] = FIELD_SERIALIZABLE;
    target[end++] = 1;
  }
  return target.subarray(0, end);
}

/** Whether the answer to a range holds a pair. Throws on bytes that are no message. */
export function hasFound(answer: Uint8Array): boolean {
  let at = 0;
  while (at < answer.length) {
    const tag = readVarint(answer, at);
    at = tag.next;
    if (tag.value >>> 3 === FIELD_FOUND) return true;
    at = skipField(answer, at, tag.value & 7);
  }
  return false;
}

function writeBytes(target: Buffer, at: number, tag: number, bytes: Uint8Array): number {
  target[at++] = tag;
  let rest = bytes.length;
  for (; rest > 127; rest >>>= 7) target[at++] = (rest & 127) | 128;
  target[at++] = rest;
  target.set(bytes, at);
  return at + bytes.length;
}

function skipField(source: Uint8Array, at: number, wireType: number): number {
  if (wireType === wireVarint) return readVarint(source, at).next;
  if (wireType === wireFixed64) return at + 8;
  if (wireType === wireFixed32) return at + 4;
  if (wireType !== wireBytes) throw new Error(`Cannot read an answer: wire type ${wireType}`);
  const length = readVarint(source, at);
  return length.next + length.value;
}

/** Values beyond 2^53 lose their low bits: only tags and lengths are looked at. */
function readVarint(source: Uint8Array, at: number): { value: number; next: number } {
  let value = 0;
  let factor = 1;
  for (let next = at; next < source.length && next < at + 10; next++) {
    const byte = source[next];
    value += (byte & 127) * factor;
    if (byte < 128) return { value, next: next + 1 };
    factor *= 128;
  }
  throw new Error('Cannot read an answer: it ends inside a number');
}
