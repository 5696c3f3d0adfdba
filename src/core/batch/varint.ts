/**
 * Zigzag variable-length integers as record batches use them. Any thread; used by the record reader and the builder.
 * Values are plain numbers: exact up to 2^53, which is all that timestamps and lengths need.
 */

const two28 = 0x1000_0000;

/** Bytes that `value` takes. */
export function varintSize(value: number): number {
  if (value >= -64 && value < 64) return 1;
  if (value >= -8192 && value < 8192) return 2;
  let rest = value >= 0 ? value * 2 : value * -2 - 1;
  let size = 1;
  while (rest >= 128) {
    rest = Math.floor(rest / 128);
    size += 1;
  }
  return size;
}

/** Writes `value` at `at`; answers where it ends. */
export function writeVarint(target: Buffer, value: number, at: number): number {
  // Nearly all there are: lengths and counts up to 8 KiB.
  if (value >= 0 && value < 8192) {
    const zigzag = value << 1;
    if (zigzag < 128) {
      target[at] = zigzag;
      return at + 1;
    }
    target[at] = (zigzag & 127) | 128;
    target[at + 1] = zigzag >>> 7;
    return at + 2;
  }
  let rest = value >= 0 ? value * 2 : value * -2 - 1;
  while (rest >= 128) {
    target[at] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
    at += 1;
  }
  target[at] = rest;
  return at + 1;
}

/** Reads one integer after the other; `isSound` turns false, and stays so, when one runs over the end or is too long. */
export class VarintReader {
  bytes: Buffer = Buffer.alloc(0);
  at = 0;
  end = 0;
  isSound = true;

  reset(bytes: Buffer, at: number, end: number): void {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
    this.isSound = true;
  }

  next(): number {
    const { at, bytes } = this;
    // One and two bytes are nearly all there are: lengths up to 8 KiB.
    if (at + 1 < this.end) {
      const byte = bytes[at];
      if (byte < 128) {
        this.at = at + 1;
        return (byte >>> 1) ^ -(byte & 1);
      }
      const second = bytes[at + 1];
      if (second < 128) {
        this.at = at + 2;
        const zigzag = (byte & 127) | (second << 7);
        return (zigzag >>> 1) ^ -(zigzag & 1);
      }
    }
    return this.#nextLong();
  }

  #nextLong(): number {
    let low = 0;
    let high = 0;
    for (let count = 0; count < 10 && this.at < this.end; count += 1) {
      const byte = this.bytes[this.at];
      this.at += 1;
      if (count < 4) low += (byte & 127) * 128 ** count;
      else high += (byte & 127) * 128 ** (count - 4);
      if (byte < 128) {
        const value = high * two28 + low;
        return low % 2 === 0 ? value / 2 : -(value + 1) / 2;
      }
    }
    this.isSound = false;
    return 0;
  }
}
