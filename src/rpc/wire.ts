/**
 * The protobuf wire format, as the generated messages read and write it: 64-bit integers are JavaScript numbers within the
 * safe range, byte fields are views of what was received. Any thread; called by `src/rpc/generated` alone.
 *
 * It stands in for the run-time library of the generator: that one goes through BigInt and text for every 64-bit integer,
 * which cost more than everything else of a small message together.
 */
import { isUtf8 } from 'node:buffer';

/** What arrived is no message, or holds a number beyond 2^53 - 1. */
export class WireError extends Error {
  override readonly name = 'WireError';
}

/** A message while it is read. */
export type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] ? E[] : T[K] };

/** Value of byte fields that are not there. Nobody can write into it: it has no bytes. */
export const noBytes: Uint8Array = new Uint8Array(0);

/** A buffer that grew beyond this is not kept for the next message. */
const keptBytesMax = 1 << 20;
const shortTextMax = 48;
const twoTo28 = 0x10000000;
const twoTo31 = 0x80000000;
const twoTo32 = 0x100000000;

export class WireWriter {
  private buffer: Buffer = Buffer.allocUnsafeSlow(4096);
  private position = 0;
  /** Where the lengths of the messages stand that are being written. */
  private readonly forks: number[] = [];

  /** The writer of this thread, empty. Messages are encoded in one go, so one writer is enough. */
  static begin(): WireWriter {
    shared.position = 0;
    shared.forks.length = 0;
    return shared;
  }

  /** What was written, in memory of its own. */
  finish(): Buffer {
    const result = Buffer.allocUnsafe(this.position);
    this.buffer.copy(result, 0, 0, this.position);
    if (this.buffer.length > keptBytesMax) this.buffer = Buffer.allocUnsafeSlow(4096);
    this.position = 0;
    return result;
  }

  /** Begins a nested message: its length follows in `join`. */
  fork(): this {
    this.reserve(1);
    this.forks.push(this.position++);
    return this;
  }

  join(): this {
    const start = this.forks.pop();
    if (start === undefined) throw new Error('Cannot join: nothing was forked');
    const length = this.position - start - 1;
    if (length < 0x80) {
      this.buffer[start] = length;
      return this;
    }
    const lengthBytes = varintBytes(length);
    this.reserve(lengthBytes - 1);
    this.buffer.copyWithin(start + lengthBytes, start + 1, this.position);
    const end = this.position + lengthBytes - 1;
    this.position = start;
    this.uint32(length);
    this.position = end;
    return this;
  }

  uint32(value: number): this {
    if (value >>> 0 !== value) throw new WireError(`Cannot encode "${value}": no unsigned integer of 32 bits`);
    this.reserve(5);
    const { buffer } = this;
    let position = this.position;
    while (value > 0x7f) {
      buffer[position++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    buffer[position++] = value;
    this.position = position;
    return this;
  }

  int32(value: number): this {
    return value >= 0 ? this.uint32(value) : this.int64(value);
  }

  uint64(value: number): this {
    if (!Number.isSafeInteger(value) || value < 0) throw new WireError(`Cannot encode "${value}": no unsigned integer`);
    if (value < twoTo31) return this.uint32(value);
    this.reserve(10);
    const { buffer } = this;
    let position = this.position;
    while (value >= twoTo31) {
      // The low bits of a number beyond 2^32 survive the conversion that `&` makes.
      buffer[position++] = (value & 0x7f) | 0x80;
      value = Math.floor(value / 0x80);
    }
    this.position = position;
    return this.uint32(value);
  }

  int64(value: number): this {
    if (value >= 0) return this.uint64(value);
    if (!Number.isSafeInteger(value)) throw new WireError(`Cannot encode "${value}": no integer`);
    this.reserve(10);
    let rest = BigInt.asUintN(64, BigInt(value));
    for (let i = 0; i < 9; i++) {
      this.buffer[this.position++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.buffer[this.position++] = Number(rest);
    return this;
  }

  bool(value: boolean): this {
    this.reserve(1);
    this.buffer[this.position++] = value ? 1 : 0;
    return this;
  }

  fixed32(value: number): this {
    this.reserve(4);
    this.position = this.buffer.writeUInt32LE(value, this.position);
    return this;
  }

  double(value: number): this {
    this.reserve(8);
    this.position = this.buffer.writeDoubleLE(value, this.position);
    return this;
  }

  bytes(value: Uint8Array): this {
    const { length } = value;
    this.uint32(length);
    this.reserve(length);
    const { buffer, position } = this;
    // Below some 24 bytes a loop is faster than the call.
    if (length < 24) for (let i = 0; i < length; i++) buffer[position + i] = value[i];
    else buffer.set(value, position);
    this.position = position + length;
    return this;
  }

  string(value: string): this {
    const { length } = value;
    if (length <= shortTextMax && this.shortAscii(value, length)) return this;
    const byteLength = Buffer.byteLength(value);
    this.uint32(byteLength);
    this.reserve(byteLength);
    this.position += this.buffer.write(value, this.position, byteLength, 'utf8');
    return this;
  }

  private shortAscii(value: string, length: number): boolean {
    this.reserve(length + 1);
    const { buffer } = this;
    let position = this.position;
    buffer[position++] = length;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return false;
      buffer[position++] = code;
    }
    this.position = position;
    return true;
  }

  private reserve(count: number): void {
    if (this.position + count > this.buffer.length) this.grow(count);
  }

  private grow(count: number): void {
    let size = this.buffer.length * 2;
    while (size < this.position + count) size *= 2;
    const larger = Buffer.allocUnsafeSlow(size);
    this.buffer.copy(larger, 0, 0, this.position);
    this.buffer = larger;
  }
}

const shared = new WireWriter();

function varintBytes(value: number): number {
  if (value < 0x4000) return value < 0x80 ? 1 : 2;
  if (value < 0x200000) return 3;
  return value < twoTo28 ? 4 : 5;
}

export class WireReader {
  readonly buf: Buffer;
  readonly len: number;
  pos = 0;

  constructor(bytes: Uint8Array) {
    this.buf = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.len = bytes.length;
  }

  /** Checks that a nested message ended where its length said. */
  leave(end: number): void {
    if (this.pos !== end) throw new WireError(`Cannot read message: it ends at ${this.pos} instead of ${end}`);
  }

  /** A nested message, or the whole one without `length`: answers where it ends. */
  enter(length: number | undefined): number {
    if (length === undefined) return this.len;
    const end = this.pos + length;
    if (end > this.len) throw truncated();
    return end;
  }

  uint32(): number {
    const { pos } = this;
    if (pos < this.len) {
      const first = this.buf[pos];
      if (first < 0x80) {
        this.pos = pos + 1;
        return first;
      }
    }
    const value = this.uint64();
    if (value >= twoTo32) throw new WireError('Cannot read number: beyond 2^32 - 1');
    return value;
  }

  int32(): number {
    if (this.varintLength() < 10) return this.uint64() | 0;
    return Number(BigInt.asIntN(32, this.bigVarint()));
  }

  uint64(): number {
    const { buf, len } = this;
    let pos = this.pos;
    let value = 0;
    // Beyond 2^31 shifts would wrap, hence the product.
    for (let scale = 1; ; scale *= 0x80) {
      if (pos >= len || pos - this.pos === 10) throw truncated();
      const byte = buf[pos++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    this.pos = pos;
    if (value > Number.MAX_SAFE_INTEGER) throw new WireError('Cannot read number: beyond 2^53 - 1');
    return value;
  }

  int64(): number {
    if (this.varintLength() < 10) return this.uint64();
    const value = Number(BigInt.asIntN(64, this.bigVarint()));
    if (!Number.isSafeInteger(value)) throw new WireError('Cannot read number: beyond 2^53 - 1');
    return value;
  }

  bool(): boolean {
    return this.uint64() !== 0;
  }

  fixed32(): number {
    const start = this.take(4);
    return this.buf.readUInt32LE(start);
  }

  double(): number {
    const start = this.take(8);
    return this.buf.readDoubleLE(start);
  }

  /** A view: copy what outlives the message. */
  bytes(): Uint8Array {
    const length = this.uint32();
    if (length === 0) return noBytes;
    const start = this.take(length);
    return this.buf.subarray(start, start + length);
  }

  string(): string {
    const length = this.uint32();
    const start = this.take(length);
    const end = start + length;
    const { buf } = this;
    if (length <= 12) {
      let text = '';
      let i = start;
      for (; i < end; i++) {
        const byte = buf[i];
        if (byte > 0x7f) break;
        text += String.fromCharCode(byte);
      }
      if (i === end) return text;
    }
    if (!isUtf8(buf.subarray(start, end))) throw new WireError('Cannot read text: not UTF-8');
    return buf.toString('utf8', start, end);
  }

  /** Passes over a field that the reader does not know. */
  skip(tag: number): void {
    if (tag >>> 3 === 0) throw new WireError('Cannot read field: number 0');
    const wireType = tag & 7;
    switch (wireType) {
      case 0:
        this.pos += this.varintLength();
        return;
      case 1:
        this.take(8);
        return;
      case 2:
        this.take(this.uint32());
        return;
      case 5:
        this.take(4);
        return;
      default:
        throw new WireError(`Cannot read field: wire type ${wireType}`);
    }
  }

  private take(length: number): number {
    const start = this.pos;
    if (start + length > this.len) throw truncated();
    this.pos = start + length;
    return start;
  }

  /** Does not move. */
  private varintLength(): number {
    const { buf, len, pos } = this;
    for (let i = pos; i < len && i < pos + 10; i++) if (buf[i] < 0x80) return i - pos + 1;
    throw truncated();
  }

  private bigVarint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.buf[this.pos++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
}

function truncated(): WireError {
  return new WireError('Cannot read message: it is cut off');
}
