/**
 * Writing and reading the compact binary forms of the placement centre: numbers as variable-length integers, byte strings
 * and text with their length before them. Pure; any thread. Used by every codec of this folder.
 */
import type { Bytes } from '../ports.ts';
import { MalformedError } from './errors.ts';

const latin1Slice = Buffer.prototype.latin1Slice;
const TWO_TO_32 = 0x1_0000_0000;

/** One character per byte, so that the order of texts is the order of bytes: for keys of a Map. */
export function latin1Of(bytes: Bytes): string {
  return latin1Slice.call(bytes, 0, bytes.length);
}

/** Undoes `latin1Of`. */
export function bytesOfLatin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

const SLAB_BYTES = 64 * 1024;
let slab = new ArrayBuffer(SLAB_BYTES);
let slabEnd = 0;

/**
 * Memory for small byte strings that live for a short time, cut from larger pieces: plain arrays of it cost a fifth of
 * what `Buffer.allocUnsafe` does. A string that is kept keeps its piece, and one that is sent to another thread must be
 * copied first.
 */
export function allocate(size: number): Uint8Array {
  if (size > SLAB_BYTES / 8) {
    const { buffer } = Buffer.allocUnsafeSlow(size);
    return new Uint8Array(buffer, 0, size);
  }
  if (slabEnd + size > SLAB_BYTES) {
    slab = new ArrayBuffer(SLAB_BYTES);
    slabEnd = 0;
  }
  const bytes = new Uint8Array(slab, slabEnd, size);
  slabEnd += size;
  return bytes;
}

/** Writes a number from 0 to 2^53 - 1 as 8 bytes that sort like it. */
export function writeUint53(target: Uint8Array, value: number, position: number): void {
  writeUint32(target, Math.floor(value / TWO_TO_32), position);
  writeUint32(target, value >>> 0, position + 4);
}

function writeUint32(target: Uint8Array, value: number, position: number): void {
  target[position] = value >>> 24;
  target[position + 1] = value >>> 16;
  target[position + 2] = value >>> 8;
  target[position + 3] = value;
}

export function uint53Key(value: number): Uint8Array {
  const key = allocate(8);
  writeUint53(key, value, 0);
  return key;
}

export function readUint53(source: Bytes, position: number): number {
  return readUint32(source, position) * TWO_TO_32 + readUint32(source, position + 4);
}

function readUint32(source: Bytes, position: number): number {
  const low = (source[position + 1] << 16) | (source[position + 2] << 8) | source[position + 3];
  return source[position] * 0x100_0000 + low;
}

/** Grows as needed and is used again after `finish`. */
export class ByteWriter {
  private buffer: Buffer;
  private end = 0;

  constructor(capacity = 1024) {
    this.buffer = Buffer.allocUnsafeSlow(capacity);
  }

  get length(): number {
    return this.end;
  }

  byte(value: number): void {
    this.reserve(1);
    this.buffer[this.end++] = value;
  }

  /** 0 to 2^53 - 1, seven bits per byte, the lowest first. Throws `RangeError` for anything else. */
  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`Cannot write the number ${value}`);
    this.reserve(8);
    const { buffer } = this;
    let end = this.end;
    while (value > 0x7fff_ffff) {
      buffer[end++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    while (value > 127) {
      buffer[end++] = (value & 127) | 0x80;
      value >>>= 7;
    }
    buffer[end++] = value;
    this.end = end;
  }

  float64(value: number): void {
    this.reserve(8);
    this.end = this.buffer.writeDoubleLE(value, this.end);
  }

  /** Without a length. */
  raw(bytes: Bytes): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.end);
    this.end += bytes.length;
  }

  bytes(bytes: Bytes): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** Throws `RangeError` for lone surrogates: as UTF-8 they would all become the same character. */
  text(text: string): void {
    if (!text.isWellFormed()) throw new RangeError('A text is not well-formed Unicode');
    const length = Buffer.byteLength(text);
    this.varint(length);
    this.reserve(length);
    this.end += this.buffer.write(text, this.end, length);
  }

  /** A copy of all that was written; the writer is empty afterwards. */
  finish(): Uint8Array {
    const copy = allocate(this.end);
    copy.set(new Uint8Array(this.buffer.buffer, 0, this.end));
    this.end = 0;
    return copy;
  }

  /** A copy of the first `length` bytes that were written; the rest stays. */
  take(length: number): Uint8Array {
    const copy = allocate(length);
    copy.set(new Uint8Array(this.buffer.buffer, 0, length));
    this.buffer.copyWithin(0, length, this.end);
    this.end -= length;
    return copy;
  }

  /** Forgets what was written, after an error. */
  reset(): void {
    this.end = 0;
  }

  private reserve(size: number): void {
    if (this.end + size <= this.buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.end + size));
    this.buffer.copy(larger, 0, 0, this.end);
    this.buffer = larger;
  }
}

/** Every method throws `MalformedError` when there is less than it needs. */
export class ByteReader {
  private readonly source: Bytes;
  private position: number;

  constructor(source: Bytes, position = 0) {
    this.source = source;
    this.position = position;
  }

  get isAtEnd(): boolean {
    return this.position === this.source.length;
  }

  byte(): number {
    if (this.position >= this.source.length) throw new MalformedError('Bytes end too early');
    return this.source[this.position++];
  }

  flag(): boolean {
    const value = this.byte();
    if (value > 1) throw new MalformedError(`A flag is ${value}`);
    return value === 1;
  }

  varint(): number {
    let byte = this.byte();
    if (byte < 128) return byte;
    let value = byte & 127;
    let factor = 128;
    for (let count = 1; count < 8; count++) {
      byte = this.byte();
      value += (byte & 127) * factor;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      factor *= 128;
    }
    throw new MalformedError('A number has more than 53 bits');
  }

  float64(): number {
    const { buffer, byteOffset } = this.source;
    return new DataView(buffer, byteOffset + this.skip(8), 8).getFloat64(0, true);
  }

  /** A view of `length` bytes, not a copy. */
  raw(length: number): Bytes {
    const start = this.skip(length);
    return new Uint8Array(this.source.buffer, this.source.byteOffset + start, length);
  }

  /** A view, not a copy. */
  bytes(): Bytes {
    return this.raw(this.varint());
  }

  text(): string {
    const length = this.varint();
    const start = this.skip(length);
    return Buffer.prototype.utf8Slice.call(this.source, start, start + length);
  }

  rest(): Bytes {
    return this.raw(this.source.length - this.position);
  }

  /** How many of something follow; at least one byte each, so that a wrong count cannot make anybody allocate much. */
  count(): number {
    const count = this.varint();
    if (count > this.source.length - this.position) throw new MalformedError('A list is longer than its bytes');
    return count;
  }

  end(): void {
    if (this.position !== this.source.length) throw new MalformedError('Bytes follow after the end');
  }

  private skip(length: number): number {
    const start = this.position;
    if (length > this.source.length - start) throw new MalformedError('Bytes end too early');
    this.position = start + length;
    return start;
  }
}
