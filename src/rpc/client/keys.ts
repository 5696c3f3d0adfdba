/** Keys and ranges of keys as users give them. Pure; any thread. */

/** Text stands for its UTF-8 bytes. */
export type BytesLike = string | Uint8Array;

export function toBytes(value: BytesLike): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value;
}

/** The first key that no user can have: smaller ones belong to RingMQ. */
export const firstKey: Uint8Array = Uint8Array.of(1);
/** As the end of a range: no upper bound. */
export const noEnd: Uint8Array = new Uint8Array(0);

/** The key after all keys that begin with `prefix`; `noEnd` when there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return noEnd;
  // A copy: `slice` of a Buffer is a view.
  const end = new Uint8Array(prefix.subarray(0, length));
  end[length - 1]++;
  return end;
}

/** Which keys a call is about: exactly one, those with a prefix (an empty one: all), or those from one up to another. */
export interface KeyRange {
  readonly key?: BytesLike;
  readonly prefix?: BytesLike;
  /** With `key`: the first key that is not meant; empty for no upper bound. */
  readonly end?: BytesLike;
}

export function toRange({ key, prefix, end }: KeyRange): { key: Uint8Array; end: Uint8Array | undefined } {
  if (prefix !== undefined) {
    const start = toBytes(prefix);
    return start.length === 0 ? { key: firstKey, end: noEnd } : { key: start, end: prefixEnd(start) };
  }
  return { key: toBytes(key ?? ''), end: end === undefined ? undefined : toBytes(end) };
}
