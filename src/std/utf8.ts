/**
 * Checks UTF-8 where it lies, without allocating and without decoding it.
 *
 * Pure; any thread. Called by codecs on text that came from a client, before anybody makes a string of it: decoders
 * replace bad bytes silently, so that two different byte strings would become the same name.
 */

/**
 * True when `buffer[start, end)` is well-formed UTF-8 (RFC 3629): no surrogates, no overlong forms, nothing above
 * U+10FFFF, no sequence cut by `end`. With `rejectNull`, U+0000 makes it false too.
 */
export function isWellFormedUtf8(buffer: Uint8Array, start: number, end: number, rejectNull = false): boolean {
  let position = start;
  while (position < end) {
    // Four bytes at a time while all of them are ASCII. A zero byte makes `low` negative and leaves the fast lane.
    while (position + 4 <= end) {
      const a = buffer[position];
      const b = buffer[position + 1];
      const c = buffer[position + 2];
      const d = buffer[position + 3];
      const low = (a - 1) | (b - 1) | (c - 1) | (d - 1);
      if ((a | b | c | d) >= 0x80 || low < 0) break;
      position += 4;
    }
    if (position === end) return true;
    const lead = buffer[position];
    if (lead < 0x80) {
      if (lead === 0 && rejectNull) return false;
      position++;
    } else {
      const length = sequenceLength(buffer, position, lead, end);
      if (length === 0) return false;
      position += length;
    }
  }
  return true;
}

/** Length of the well-formed sequence of two to four bytes at `position`, or 0. Table 3-7 of the Unicode standard. */
function sequenceLength(buffer: Uint8Array, position: number, lead: number, end: number): number {
  if (lead < 0xc2 || lead > 0xf4) return 0; // a continuation byte, an overlong form, or above U+10FFFF
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (position + length > end) return 0;
  const second = buffer[position + 1];
  // The second byte alone decides about overlong forms (E0, F0), surrogates (ED) and the upper end (F4).
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < lowest || second > highest) return 0;
  if (length > 2 && (buffer[position + 2] & 0xc0) !== 0x80) return 0;
  if (length > 3 && (buffer[position + 3] & 0xc0) !== 0x80) return 0;
  return length;
}
