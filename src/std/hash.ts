/**
 * Keyed 32-bit hashes for tables whose keys clients choose. Any thread; callers: route cache, interest table.
 *
 * The function is HalfSipHash-1-3, the variant that operating system kernels use for hash tables: without the seed
 * nobody can aim at a bucket, which faster hashes such as FNV or Murmur do not give (they have collisions that hold
 * for every seed). It is not a message authentication code. Take the seed from `randomSeed`, once per table.
 */

/** A fresh seed. Threads that must agree on hashes share one through shared memory or worker data. */
export function randomSeed(): number {
  return crypto.getRandomValues(new Int32Array(1))[0];
}

/** Hashes `buffer[start, end)`; returns an int32. */
export function hashBytes(buffer: Uint8Array, start: number, end: number, seed = 0): number {
  let v0 = seed | 0;
  let v1 = secondKey(v0);
  let v2 = v0 ^ 0x6c796765;
  let v3 = v1 ^ 0x74656462;
  const wordsEnd = end - ((end - start) & 3);
  // The rounds are written out in each loop: the state stays in registers, and a call per word would cost more.
  for (let at = start; at < wordsEnd; at += 4) {
    const word = buffer[at] | (buffer[at + 1] << 8) | (buffer[at + 2] << 16) | (buffer[at + 3] << 24);
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  // The last word holds the length and up to three bytes that are left.
  let last = (end - start) << 24;
  for (let at = wordsEnd, shift = 0; at < end; at++, shift += 8) last |= buffer[at] << shift;
  return finish(v0, v1, v2, v3, last);
}

/**
 * Hashes like `hashBytes`, and stores what it loaded in `words`: four bytes per word, and a last word with the bytes that
 * are left and, in its upper byte, the length modulo 256. Two keys of one length are equal when their words are, so a
 * table that keeps words compares a quarter as often. `words` has room for `(end - start) / 4 + 1`.
 */
export function hashBytesInto(buffer: Uint8Array, start: number, end: number, seed: number, words: Int32Array): number {
  let v0 = seed | 0;
  let v1 = secondKey(v0);
  let v2 = v0 ^ 0x6c796765;
  let v3 = v1 ^ 0x74656462;
  const wordsEnd = end - ((end - start) & 3);
  let count = 0;
  for (let at = start; at < wordsEnd; at += 4) {
    const word = buffer[at] | (buffer[at + 1] << 8) | (buffer[at + 2] << 16) | (buffer[at + 3] << 24);
    words[count++] = word;
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  let last = (end - start) << 24;
  for (let at = wordsEnd, shift = 0; at < end; at++, shift += 8) last |= buffer[at] << shift;
  words[count] = last;
  return finish(v0, v1, v2, v3, last);
}

/**
 * Hashes the UTF-16 code units of `text[start, end)`; returns an int32. It differs from `hashBytes` of the same text in
 * UTF-8, and saves the conversion.
 */
export function hashString(text: string, seed = 0, start = 0, end = text.length): number {
  let v0 = seed | 0;
  let v1 = secondKey(v0);
  let v2 = v0 ^ 0x6c796765;
  let v3 = v1 ^ 0x74656462;
  const wordsEnd = end - ((end - start) & 1);
  for (let at = start; at < wordsEnd; at += 2) {
    const word = text.charCodeAt(at) | (text.charCodeAt(at + 1) << 16);
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  const last = ((end - start) << 24) | (wordsEnd < end ? text.charCodeAt(wordsEnd) : 0);
  return finish(v0, v1, v2, v3, last);
}

/** The second half of the key, spread from the first: 32 bits of secret are enough where hashes are never shown. */
function secondKey(seed: number): number {
  const mixed = Math.imul(seed ^ (seed >>> 16) ^ 0x9e3779b9, 0x85ebca6b);
  return Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
}

/** The last word and three finalisation rounds. */
function finish(a: number, b: number, c: number, d: number, last: number): number {
  let v0 = a;
  let v1 = b;
  let v2 = c;
  let v3 = d ^ last;
  for (let round = 0; ; round++) {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    if (round === 3) return v1 ^ v3;
    if (round === 0) {
      v0 ^= last;
      v2 ^= 0xff;
    }
  }
}
