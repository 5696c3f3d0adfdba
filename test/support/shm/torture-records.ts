/**
 * What the records of the ring torture look like and what a reader must find: length, receivers and every byte of a
 * record follow from its producer, the producer's incarnation and a sequence number. The checker knows nothing about
 * rings. Used by `torture.worker.ts` on its threads and by the tests of the checker itself.
 */

/** Ring positions of the torture threads: both mask words, and the sign bit of each. */
export const tortureIndexes = [0, 31, 32, 63];

export class TortureError extends Error {
  override readonly name = 'TortureError';
}

/** Scrambles the identity of a record into 32 bits. */
function hash(producer: number, incarnation: number, sequence: number): number {
  let h =
    Math.imul(producer + 1, 0x9e3779b1) ^ Math.imul(incarnation + 1, 0x85ebca6b) ^ Math.imul(sequence + 1, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Whether record `sequence` is for `thread`: one half of the records each, never the producer itself. */
export function isFor(thread: number, producer: number, incarnation: number, sequence: number): boolean {
  return thread !== producer && ((hash(producer, incarnation, sequence) >>> thread) & 1) === 1;
}

/** Mostly short, some up to the longest that the ring takes. */
export function lengthOf(producer: number, incarnation: number, sequence: number, bytesMax: number): number {
  const h = hash(producer, incarnation, ~sequence);
  const share = h % 100;
  const limit = share < 45 ? 64 : share < 85 ? 512 : share < 97 ? 2048 : bytesMax;
  return (h >>> 7) % (Math.min(limit, bytesMax) + 1);
}

/** Writes the payload to the start of `target`, which has 3 bytes to spare. */
export function fillPayload(
  target: Int32Array,
  length: number,
  producer: number,
  incarnation: number,
  sequence: number,
): void {
  let state = hash(producer, incarnation, sequence) | 1;
  for (let index = 0; index << 2 < length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    target[index] = state;
  }
}

/** Checks what one thread receives from one producer: every record for it, once, in order, byte by byte. */
export class StreamChecker {
  records = 0;
  private readonly producer: number;
  private readonly thread: number;
  private readonly bytesMax: number;
  private readonly expected: Int32Array;
  private readonly expectedBytes: Buffer;
  private incarnation: number;
  /** The next sequence number that may come, or -1 before the first record of a thread that joined late. */
  private sequence: number;

  /** `late`: the thread joined while the producer was publishing, so its first record may be any that is for it. */
  constructor(producer: number, thread: number, bytesMax: number, late: boolean) {
    this.producer = producer;
    this.thread = thread;
    this.bytesMax = bytesMax;
    this.expected = new Int32Array((bytesMax >>> 2) + 1);
    this.expectedBytes = Buffer.from(this.expected.buffer);
    this.incarnation = 0;
    this.sequence = late ? -1 : 0;
  }

  /** `publishedOf(i)`: records that incarnation i published, or one less if it died right after publishing. */
  accept(
    incarnation: number,
    sequence: number,
    bytes: Buffer,
    offset: number,
    length: number,
    publishedOf: (incarnation: number) => number,
  ): void {
    const where = `producer ${this.producer}, incarnation ${incarnation}, record ${sequence}`;
    if (this.sequence < 0) {
      this.incarnation = incarnation;
      this.sequence = sequence;
    }
    if (incarnation < this.incarnation) throw new TortureError(`Cannot accept ${where}: from before the restart`);
    while (this.incarnation < incarnation) {
      this.finish(publishedOf(this.incarnation));
      this.incarnation++;
      this.sequence = 0;
    }
    this.skipOthers(sequence);
    if (sequence !== this.sequence) throw new TortureError(`Cannot accept ${where}: ${this.sequence} is next`);
    if (!isFor(this.thread, this.producer, incarnation, sequence)) {
      throw new TortureError(`Cannot accept ${where}: not for thread ${this.thread}`);
    }
    if (length !== lengthOf(this.producer, incarnation, sequence, this.bytesMax)) {
      throw new TortureError(`Cannot accept ${where}: wrong length ${length}`);
    }
    fillPayload(this.expected, length, this.producer, incarnation, sequence);
    if (this.expectedBytes.compare(bytes, offset, offset + length, 0, length) !== 0) {
      throw new TortureError(`Cannot accept ${where}: payload is corrupt`);
    }
    this.sequence = sequence + 1;
    this.records++;
  }

  /** The present incarnation published records 0 to `published` - 1 and ended. */
  finish(published: number): void {
    if (this.sequence < 0) return;
    this.skipOthers(published);
    if (this.sequence < published) {
      throw new TortureError(`Cannot finish producer ${this.producer}: record ${this.sequence} is missing`);
    }
    // One more than counted is what a producer leaves that died between publishing and counting.
    if (this.sequence > published + 1)
      throw new TortureError(`Cannot finish producer ${this.producer}: too many records`);
  }

  /** All incarnations have ended. A checker that saw nothing has checked nothing. */
  finishAll(incarnationLast: number, publishedOf: (incarnation: number) => number): void {
    if (this.sequence >= 0) {
      for (; this.incarnation < incarnationLast; this.incarnation++) {
        this.finish(publishedOf(this.incarnation));
        this.sequence = 0;
      }
      this.finish(publishedOf(incarnationLast));
    }
    if (this.records === 0) throw new TortureError(`Cannot finish producer ${this.producer}: no record was seen`);
  }

  private skipOthers(end: number): void {
    while (this.sequence < end && !isFor(this.thread, this.producer, this.incarnation, this.sequence)) this.sequence++;
  }
}
