/**
 * Ring of byte records from one thread to another, in one SharedArrayBuffer. Smaller and quicker than the fan-out ring, and its
 * reader may hold on to what it read: it gives records back in order, but later than it takes them, so that bytes can be used where
 * they lie. Storage clients and the storage host own the ends; the main thread makes the rings, new ones for each life of an end.
 *
 * Layout, in lines of 128 bytes so that the two threads never write to the same cache line:
 *
 *     line 0    capacity, marker                                        written once
 *     line 1    published: everything before it may be read             written by the producer
 *     line 2    space wanted (0 or 1), cursor that would give it        written by both
 *     line 3    released: everything before it may be overwritten       written by the consumer
 *     then      the records
 *
 * Record: `position u32 | length u32 | kind u32 | word u32 | tag u32 | 0 u32 | payload`, 8-byte aligned and contiguous. Where a record
 * does not fit before the end of the buffer a padding (position and length -1) fills the rest. Positions count 8-byte units since
 * the ring was made, in 32 bits, and wrap; they are compared by their difference, which is at most the capacity. Its own position in
 * each record makes a misread certain to be seen.
 *
 * Memory: capacity + 512 bytes, taken from the system as it is first written to.
 */
import { assert } from '../std/assert.ts';

export const byteRingCapacityBytesMin = 256;
/** Keeps every difference of positions and every byte offset inside a signed 32-bit integer. */
export const byteRingCapacityBytesMax = 1 << 30;

const lineBytes = 128;
const lineWords = lineBytes / 4;
const controlBytes = 4 * lineBytes;
const capacityWord = 0;
const markerWord = 1;
const publishedWord = lineWords;
const spaceWantedWord = 2 * lineWords;
const spaceCursorWord = spaceWantedWord + 1;
const releasedWord = 3 * lineWords;
const marker = 0x42_79_74_65;

const headerBytes = 24;
const headerUnits = headerBytes / 8;
const paddingLength = -1;
// Words of a record header, counted from its start.
const lengthOffset = 1;
const kindOffset = 2;
const wordOffset = 3;
const tagOffset = 4;

/**
 * Makes an empty ring. `positionStart` is where counting begins (u32); tests start close to the wrap. Thread: any, once; hand the
 * buffer to the two others afterwards.
 */
export function createByteRing(capacityBytes: number, positionStart = 0): SharedArrayBuffer {
  const isInRange = capacityBytes >= byteRingCapacityBytesMin && capacityBytes <= byteRingCapacityBytesMax;
  assert(isInRange && (capacityBytes & (capacityBytes - 1)) === 0, 'ring capacity is a power of two in its range');
  const ring = new SharedArrayBuffer(controlBytes + capacityBytes);
  // No ordering needed in here: handing the buffer to another thread synchronizes with it.
  const control = new Int32Array(ring, 0, controlBytes / 4);
  control[capacityWord] = capacityBytes;
  control[markerWord] = marker;
  control[publishedWord] = positionStart;
  control[releasedWord] = positionStart;
  return ring;
}

class RingEnd {
  /** The record area; offsets of records count from its start. Write with `Buffer.copy`. */
  readonly bytes: Buffer;
  /** The same memory as numbers of 8 bytes: a payload begins at `offset / 8`. */
  readonly doubles: Float64Array;
  protected readonly control: Int32Array;
  protected readonly records: Int32Array;
  protected readonly capacityUnits: number;
  protected readonly unitMask: number;

  constructor(ring: SharedArrayBuffer) {
    this.control = new Int32Array(ring, 0, controlBytes / 4);
    assert(this.control[markerWord] === marker, 'buffer is not a ring');
    const capacityBytes = this.control[capacityWord];
    assert(ring.byteLength === controlBytes + capacityBytes, 'ring size contradicts its head');
    this.bytes = Buffer.from(ring, controlBytes, capacityBytes);
    this.doubles = new Float64Array(ring, controlBytes, capacityBytes / 8);
    this.records = new Int32Array(ring, controlBytes, capacityBytes / 4);
    this.capacityUnits = capacityBytes / 8;
    this.unitMask = this.capacityUnits - 1;
  }
}

/**
 * The writing end: `claim`, fill `bytes`, `publish`. Nothing is visible before `publish`. Thread: exactly one, in the life of the
 * ring.
 */
export class ByteRingProducer extends RingEnd {
  /** Longest payload: a quarter of the capacity, so that padding plus record always fit an empty ring. */
  readonly recordBytesMax: number;
  private published: number;
  /** Everything before it is known to be released; saves reading the consumer's cache line for every record. */
  private releasedSeen: number;
  private claimStart = 0;
  /** -1 when nothing is claimed. */
  private claimLength = -1;
  /** Where the last refused claim would have ended. */
  private refusedEnd: number;

  constructor(ring: SharedArrayBuffer) {
    super(ring);
    this.recordBytesMax = this.capacityUnits * 2;
    this.published = this.control[publishedWord];
    this.releasedSeen = this.published;
    this.refusedEnd = this.published;
  }

  /** Bytes that the reader has not given back, headers and padding included. */
  get fillBytes(): number {
    // No ordering needed: nothing is written on the strength of this number.
    return ((this.published - Atomics.load(this.control, releasedWord)) >>> 0) * 8;
  }

  /** Reserves room for a payload and returns its offset in `bytes`, or -1 when the ring is full (see `requestSpace`). */
  claim(length: number): number {
    assert((length | 0) === length && length >= 0 && length <= this.recordBytesMax, 'record length out of range');
    const units = headerUnits + ((length + 7) >>> 3);
    const published = this.published;
    const unitsToEnd = this.capacityUnits - (published & this.unitMask);
    const start = units > unitsToEnd ? (published + unitsToEnd) | 0 : published;
    const end = (start + units) | 0;
    if ((end - this.releasedSeen) >>> 0 > this.capacityUnits && !this.hasRoom(end)) {
      this.refusedEnd = end;
      return -1;
    }
    if (start !== published) {
      const index = (published & this.unitMask) << 1;
      this.records[index] = published;
      this.records[index + lengthOffset] = paddingLength;
    }
    this.claimStart = start;
    this.claimLength = length;
    return ((start & this.unitMask) << 3) + headerBytes;
  }

  /** Makes the claimed record visible; the three numbers (u32) are free for the caller. Ring the reader's doorbell afterwards. */
  publish(kind: number, word: number, tag: number): void {
    const length = this.claimLength;
    assert(length >= 0, 'nothing is claimed');
    this.claimLength = -1;
    const start = this.claimStart;
    const records = this.records;
    const index = (start & this.unitMask) << 1;
    records[index] = start;
    records[index + lengthOffset] = length;
    records[index + kindOffset] = kind;
    records[index + wordOffset] = word;
    records[index + tagOffset] = tag;
    this.published = (start + headerUnits + ((length + 7) >>> 3)) | 0;
    // Release: header, payload and padding are written before the cursor that reveals them. Sequentially consistent as well:
    // `Doorbell.ring` reads the sleep flag after it, and the reader writes its flag before it reads this.
    Atomics.store(this.control, publishedWord, this.published);
  }

  /**
   * Announces, after `claim` returned -1, that the producer waits. True: space came free meanwhile, claim again. False: the reader is
   * told by its `release` to ring this thread's doorbell. Ask once more after `Doorbell.sleep`, as with a look at one's rings.
   */
  requestSpace(): boolean {
    const need = (this.refusedEnd - this.capacityUnits) | 0;
    // A quarter of the ring at least, so that a full ring costs one wake-up per quarter. Never beyond `published`, which is where
    // a reader gets to in the end.
    const quarter = (this.published - this.capacityUnits + (this.capacityUnits >>> 2)) | 0;
    // Release: the cursor is there before the flag that makes the reader look at it.
    Atomics.store(this.control, spaceCursorWord, ((need - quarter) | 0) > 0 ? need : quarter);
    // Sequentially consistent, against the store of the cursor and the load of this flag in `release`: either the reader sees the
    // flag and rings, or `hasRoom` sees its move.
    Atomics.store(this.control, spaceWantedWord, 1);
    if (!this.hasRoom(this.refusedEnd)) return false;
    // No ordering needed: a ring too many is harmless.
    Atomics.store(this.control, spaceWantedWord, 0);
    return true;
  }

  private hasRoom(end: number): boolean {
    // Acquire: the reads of the released records are over before this thread writes over them. Sequentially consistent: see above.
    this.releasedSeen = Atomics.load(this.control, releasedWord);
    return (end - this.releasedSeen) >>> 0 <= this.capacityUnits;
  }
}

/**
 * The reading end. What `next` moved to stays valid until it is released, at once with `release` or later with `releaseTo`.
 * Thread: exactly one, in the life of the ring.
 */
export class ByteRingConsumer extends RingEnd {
  /** Of the record that `next` moved to: start of the payload in `bytes`, its length in bytes, and the producer's own numbers. */
  offset = 0;
  length = 0;
  kind = 0;
  word = 0;
  tag = 0;
  private positionNext: number;
  /** Everything before it is known to be published; saves reading the producer's cache line for every record. */
  private publishedSeen: number;
  private released: number;

  constructor(ring: SharedArrayBuffer) {
    super(ring);
    this.positionNext = this.control[releasedWord];
    this.publishedSeen = this.positionNext;
    this.released = this.positionNext;
  }

  /** Behind the record that `next` moved to; for `releaseTo`. */
  get position(): number {
    return this.positionNext;
  }

  /** Whether `next` would find something. Sequentially consistent: a reader that announced its sleep sees what came before. */
  get hasNext(): boolean {
    return this.positionNext !== this.publishedSeen || this.seesMore();
  }

  /** Bytes published and not given back. */
  get heldBytes(): number {
    // No ordering needed: nothing is read on the strength of this number.
    return ((Atomics.load(this.control, publishedWord) - this.released) >>> 0) * 8;
  }

  /** Moves to the next record; false when there is none yet. */
  next(): boolean {
    const records = this.records;
    while (this.positionNext !== this.publishedSeen || this.seesMore()) {
      const position = this.positionNext;
      const unit = position & this.unitMask;
      const index = unit << 1;
      assert(records[index] === position, 'ring record is not where it says');
      const length = records[index + lengthOffset];
      if (length === paddingLength) {
        this.positionNext = (position + this.capacityUnits - unit) | 0;
        continue;
      }
      assert(length >= 0 && length <= this.capacityUnits * 2, 'ring record length out of range');
      this.positionNext = (position + headerUnits + ((length + 7) >>> 3)) | 0;
      assert(((this.publishedSeen - this.positionNext) | 0) >= 0, 'ring record ends behind the published ones');
      this.offset = (unit << 3) + headerBytes;
      this.length = length;
      this.kind = records[index + kindOffset];
      this.word = records[index + wordOffset] >>> 0;
      this.tag = records[index + tagOffset] >>> 0;
      return true;
    }
    return false;
  }

  /** Gives back everything that `next` has passed. True: the producer waits for space, ring its doorbell. */
  release(): boolean {
    return this.releaseTo(this.positionNext);
  }

  /** Gives back everything before `position`, a former `position` of this reader. True: ring the producer's doorbell. */
  releaseTo(position: number): boolean {
    if (position === this.released) return false;
    assert(((position - this.released) | 0) > 0, 'records are given back in order');
    this.released = position;
    const { control } = this;
    // Release: all reads of these records are over before they may be overwritten. Sequentially consistent with the load of the
    // flag that follows: see `requestSpace`.
    Atomics.store(control, releasedWord, position);
    if (Atomics.load(control, spaceWantedWord) === 0) return false;
    // Acquire is what it needs: at least as new as the flag.
    if (((position - Atomics.load(control, spaceCursorWord)) | 0) < 0) return false;
    // No ordering needed beyond that of the load: the producer alone sets it.
    Atomics.store(control, spaceWantedWord, 0);
    return true;
  }

  private seesMore(): boolean {
    // Acquire: the records before this cursor are complete. Sequentially consistent: see `hasNext`.
    const published = Atomics.load(this.control, publishedWord);
    assert((published - this.positionNext) >>> 0 <= this.capacityUnits, 'published cursor out of range');
    this.publishedSeen = published;
    return published !== this.positionNext;
  }
}
