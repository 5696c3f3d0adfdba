/**
 * Fan-out ring: byte records from one thread to many, in one SharedArrayBuffer. A record is written once, with a mask
 * of the workers it is for. Every worker owns the producer of its own ring and a consumer on each ring of the others;
 * the main thread creates the rings and detaches dead workers. Nothing is ever dropped: a full ring refuses the claim.
 *
 * Layout, in lines of 128 bytes so that two threads never write to the same cache line, whatever the alignment of the
 * buffer (a line is 64 bytes, and neighbouring ones are prefetched together):
 *
 *     line 0         capacity, number of consumers, marker                      written once
 *     line 1         published: everything before it may be read                written by the producer
 *     line 2         space wanted (0 or 1), cursor that would give the space    written by producer and consumers
 *     line 3 + i     cursor of consumer i, 1 while the consumer is active       written by consumer i
 *     then           the records
 *
 * Record: `position u32 | length u32 | kind u32 | mask u32, u32 | word u32 | payload`, 8-byte aligned and contiguous.
 * Where a record does not fit before the end of the buffer a padding (position and length -1) fills the rest, which is
 * at least the 8 bytes that a padding takes. Its own position in each record makes a misread certain to be seen.
 *
 * Positions count 8-byte units since the ring was made, in 32 bits, and wrap: 32 GiB later the same number comes again.
 * They are only ever compared by their difference, which is at most the capacity.
 *
 * Memory: capacity + (3 + consumers) * 128 bytes per ring; N workers hold N rings.
 */
import { assert } from '../std/assert.ts';
import type { Doorbell } from './doorbell.ts';

/** Two 32-bit mask words. */
export const ringConsumerCountMax = 64;
export const ringCapacityBytesMin = 256;
/** Keeps every difference of positions and every byte offset inside a signed 32-bit integer. */
export const ringCapacityBytesMax = 1 << 30;

const lineBytes = 128;
const lineWords = lineBytes / 4;
const capacityWord = 0;
const consumerCountWord = 1;
const markerWord = 2;
const publishedWord = lineWords;
const spaceWantedWord = 2 * lineWords;
const spaceCursorWord = spaceWantedWord + 1;
const consumersLine = 3;
const activeWordOffset = 1;
const marker = 0x52_69_6e_67;

const headerBytes = 24;
const headerUnits = headerBytes / 8;
const paddingLength = -1;
// Words of a record header, counted from its start.
const lengthOffset = 1;
const kindOffset = 2;
const maskLowOffset = 3;
const maskHighOffset = 4;
const wordOffset = 5;

/**
 * Makes an empty ring. `positionStart` is where counting begins (u32); tests start close to the wrap.
 *
 * Thread: any, once; hand the buffer to the others afterwards.
 */
export function createRing(capacityBytes: number, consumerCount: number, positionStart = 0): SharedArrayBuffer {
  assert(capacityBytes >= ringCapacityBytesMin && capacityBytes <= ringCapacityBytesMax, 'ring capacity out of range');
  assert((capacityBytes & (capacityBytes - 1)) === 0, 'ring capacity is a power of two');
  assert(consumerCount >= 1 && consumerCount <= ringConsumerCountMax, 'ring consumer count out of range');
  const ring = new SharedArrayBuffer((consumersLine + consumerCount) * lineBytes + capacityBytes);
  // No ordering needed in here: handing the buffer to another thread synchronizes with it.
  const control = new Int32Array(ring, 0, (consumersLine + consumerCount) * lineWords);
  control[capacityWord] = capacityBytes;
  control[consumerCountWord] = consumerCount;
  control[markerWord] = marker;
  control[publishedWord] = positionStart;
  return ring;
}

function controlOf(ring: SharedArrayBuffer): Int32Array {
  const fixed = new Int32Array(ring, 0, lineWords);
  assert(fixed[markerWord] === marker, 'buffer is not a ring');
  const control = new Int32Array(ring, 0, (consumersLine + fixed[consumerCountWord]) * lineWords);
  assert(ring.byteLength === control.byteLength + fixed[capacityWord], 'ring size contradicts its head');
  return control;
}

function cursorWordOf(control: Int32Array, consumerIndex: number): number {
  assert(consumerIndex >= 0 && consumerIndex < control[consumerCountWord], 'consumer index out of range');
  return (consumersLine + consumerIndex) * lineWords;
}

/**
 * The writing side. `claim`, fill `bytes`, `publish`; nothing is visible before `publish`, so a thread that dies in
 * between leaves no trace. A successor over the same buffer goes on after the last published record.
 *
 * Thread: exactly one at a time.
 */
export class RingProducer {
  /** Longest payload: a quarter of the capacity, so that padding plus record always fit an empty ring. */
  readonly recordBytesMax: number;
  /** The record area; offsets from `claim` count from its start. Write with `Buffer.copy`. */
  readonly bytes: Buffer;
  private readonly control: Int32Array;
  private readonly records: Int32Array;
  private readonly capacityUnits: number;
  private readonly unitMask: number;
  private published: number;
  /** Claims may end here without a look at the cursors. */
  private limit: number;
  private claimStart = 0;
  /** -1 when nothing is claimed. */
  private claimLength = -1;
  /** Where the last refused claim would have ended. */
  private refusedEnd: number;
  private laggardsLow = 0;
  private laggardsHigh = 0;

  constructor(ring: SharedArrayBuffer) {
    this.control = controlOf(ring);
    const capacityBytes = this.control[capacityWord];
    this.recordBytesMax = capacityBytes / 4;
    this.bytes = Buffer.from(ring, this.control.byteLength, capacityBytes);
    this.records = new Int32Array(ring, this.control.byteLength, capacityBytes / 4);
    this.capacityUnits = capacityBytes / 8;
    this.unitMask = this.capacityUnits - 1;
    // Acquire: a predecessor's records happened before whatever this thread publishes after them.
    this.published = Atomics.load(this.control, publishedWord);
    this.limit = this.published;
    this.refusedEnd = this.published;
  }

  /**
   * Reserves room for a payload of `length` bytes and returns its offset in `bytes`, or -1 when the ring is full (see
   * `requestSpace`). Claiming again without `publish` forgets the first claim.
   */
  claim(length: number): number {
    assert((length | 0) === length && length >= 0 && length <= this.recordBytesMax, 'record length out of range');
    const units = headerUnits + ((length + 7) >>> 3);
    const published = this.published;
    const unitsToEnd = this.capacityUnits - (published & this.unitMask);
    const start = units > unitsToEnd ? (published + unitsToEnd) | 0 : published;
    const end = (start + units) | 0;
    if (((this.limit - end) | 0) < 0 && !this.readCursors(end, this.capacityUnits >>> 1)) {
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

  /**
   * Makes the claimed record visible to the consumers in the mask: consumer i < 32 is bit i of `maskLow`, the others
   * bit i - 32 of `maskHigh`. `kind` (u16) and `word` (u32) are free for the caller. Ring the consumers' doorbells
   * afterwards, once per batch.
   */
  publish(maskLow: number, maskHigh: number, kind: number, word: number): void {
    const length = this.claimLength;
    assert(length >= 0, 'nothing is claimed');
    assert((kind & 0xffff) === kind, 'record kind out of range');
    this.claimLength = -1;
    const start = this.claimStart;
    const records = this.records;
    const index = (start & this.unitMask) << 1;
    records[index] = start;
    records[index + lengthOffset] = length;
    records[index + kindOffset] = kind;
    records[index + maskLowOffset] = maskLow;
    records[index + maskHighOffset] = maskHigh;
    records[index + wordOffset] = word;
    this.published = (start + headerUnits + ((length + 7) >>> 3)) | 0;
    // Release: header, payload and padding are written before the cursor that reveals them. Sequentially consistent
    // as well: `Doorbell.ring` reads the sleep flag after it, and a consumer writes its flag before it reads this.
    Atomics.store(this.control, publishedWord, this.published);
  }

  /**
   * Announces that the producer waits for space, after `claim` returned -1. True: space came free meanwhile, claim
   * again. False: the consumer that frees it is told by `RingConsumer.release` to ring this thread's doorbell; until
   * then do other work. Call `wakeLaggards` in that case.
   *
   * One announcement is good for one ring, and a ring does nothing to a thread that is awake. So a thread that is
   * about to sleep while it still waits for space calls this once more after `Doorbell.sleep`, just as it looks at its
   * rings once more; and after a ring it tries to claim again, and asks again when that is refused.
   */
  requestSpace(): boolean {
    const need = (this.refusedEnd - this.capacityUnits) | 0;
    // A quarter of the ring at least, so that a full ring costs one wake-up per quarter and not one per record. The
    // cursor asked for is never beyond `published`: a consumer that has read everything always gets there.
    const quarter = (this.published - this.capacityUnits + (this.capacityUnits >>> 2)) | 0;
    const cursor = ((need - quarter) | 0) > 0 ? need : quarter;
    // Release: the cursor is there before the flag that makes consumers look at it.
    Atomics.store(this.control, spaceCursorWord, cursor);
    // Sequentially consistent, against the store of a cursor and load of this flag in `release`: either the consumer
    // sees the flag and rings, or the cursors read below contain its move. Weaker, both could miss the other.
    Atomics.store(this.control, spaceWantedWord, 1);
    // Whoever has not reached the cursor asked for may be asleep and is woken by `wakeLaggards`, however close it is.
    if (!this.readCursors(this.refusedEnd, ((this.published - cursor) >>> 0) + 1)) return false;
    // No ordering needed: if a consumer has taken the flag already, its ring is one too many and harmless.
    Atomics.store(this.control, spaceWantedWord, 0);
    return true;
  }

  /**
   * Rings the consumers that were seen half a ring behind, or in the way of `requestSpace`. A consumer sleeps on while
   * records are for others only, and its cursor would end up gating this ring. Call it once per batch (it is nearly
   * free when there is nobody) and when `requestSpace` returned false. Consumer i must be thread i of `doorbell`.
   */
  wakeLaggards(doorbell: Doorbell): void {
    if ((this.laggardsLow | this.laggardsHigh) === 0) return;
    for (let low = this.laggardsLow; low !== 0; low &= low - 1) doorbell.ring(31 - Math.clz32(low & -low));
    for (let high = this.laggardsHigh; high !== 0; high &= high - 1) doorbell.ring(63 - Math.clz32(high & -high));
    this.laggardsLow = 0;
    this.laggardsHigh = 0;
  }

  /** Bytes that the slowest active consumer has not released yet, headers and padding included. */
  fillBytes(): number {
    return Math.min(this.readLag(this.capacityUnits >>> 1), this.capacityUnits) * 8;
  }

  /** The published cursor: 8-byte units, u32, wraps. */
  position(): number {
    return this.published >>> 0;
  }

  /** Renews the cached limit; whether a claim may end at `end`. */
  private readCursors(end: number, laggingUnits: number): boolean {
    const lagUnits = this.readLag(laggingUnits);
    // A consumer that was suspended in the middle of `attach` shows a cursor that is too old: wait for it.
    const freeUnits = lagUnits > this.capacityUnits ? 0 : this.capacityUnits - lagUnits;
    // Looking again after a quarter of the ring at the latest finds sleeping laggards before they block anything.
    const quarterUnits = this.capacityUnits >>> 2;
    this.limit = (this.published + Math.min(freeUnits, quarterUnits)) | 0;
    return ((end - this.published) | 0) <= freeUnits;
  }

  /** Units between `published` and the slowest active consumer, 0 without any; notes who lags by `laggingUnits` or more. */
  private readLag(laggingUnits: number): number {
    const control = this.control;
    const consumerCount = control[consumerCountWord];
    let lagUnitsMax = 0;
    for (let index = 0; index < consumerCount; index++) {
      const cursorWord = (consumersLine + index) * lineWords;
      // Acquire: an active consumer's cursor was stored before its flag. Sequentially consistent: see `attach`.
      if (Atomics.load(control, cursorWord + activeWordOffset) === 0) continue;
      // Acquire: the consumer's reads of the released records are over before this thread writes over them.
      const lagUnits = (this.published - Atomics.load(control, cursorWord)) >>> 0;
      if (lagUnits > lagUnitsMax) lagUnitsMax = lagUnits;
      if (lagUnits < laggingUnits) continue;
      if (index < 32) this.laggardsLow |= 1 << index;
      else this.laggardsHigh |= 1 << (index - 32);
    }
    return lagUnitsMax;
  }
}

/**
 * The reading side of one worker on one ring. `next` moves from record to record addressed to it; what it read stays
 * valid until `release`, which hands everything read back to the producer. Release once per batch, and also after a
 * batch in which `next` found nothing: it skipped the records of others.
 *
 * Thread: exactly one at a time per consumer index.
 */
export class RingConsumer {
  /** The record area; `offset` counts from its start. Read only, and copy with `Buffer.copy` what must stay. */
  readonly bytes: Buffer;
  /** Of the record that `next` moved to: start of the payload in `bytes`, its length in bytes, and the caller's own. */
  offset = 0;
  length = 0;
  kind = 0;
  word = 0;
  private readonly control: Int32Array;
  private readonly records: Int32Array;
  private readonly capacityUnits: number;
  private readonly unitMask: number;
  private readonly recordBytesMax: number;
  private readonly cursorWord: number;
  private readonly maskOffset: number;
  private readonly maskBit: number;
  private attached = false;
  /** The first unit that was not read yet. */
  private positionNext: number;
  /** Everything before it is known to be published; saves reading the producer's cache line for every record. */
  private publishedSeen: number;
  private released: number;

  constructor(ring: SharedArrayBuffer, consumerIndex: number) {
    this.control = controlOf(ring);
    const capacityBytes = this.control[capacityWord];
    this.cursorWord = cursorWordOf(this.control, consumerIndex);
    this.bytes = Buffer.from(ring, this.control.byteLength, capacityBytes);
    this.records = new Int32Array(ring, this.control.byteLength, capacityBytes / 4);
    this.capacityUnits = capacityBytes / 8;
    this.unitMask = this.capacityUnits - 1;
    this.recordBytesMax = capacityBytes / 4;
    this.maskOffset = consumerIndex < 32 ? maskLowOffset : maskHighOffset;
    this.maskBit = 1 << (consumerIndex & 31);
    this.positionNext = 0;
    this.publishedSeen = 0;
    this.released = 0;
  }

  /**
   * Takes part from now on: records published after this call are seen, earlier ones are not. Returns true when the
   * producer's doorbell must be rung (see `release`).
   *
   * Why it cannot read what the producer overwrites, although the producer caches its limit: let P be `published` when
   * the producer computed that limit. All cursors it saw were at or before P, so it overwrites nothing at or after P
   * until it looks again. If it saw our flag, it saw our cursor too and keeps everything from there. If it did not, its
   * look came before our flag, so our second load of `published`, after the flag, is P or later: we begin where it
   * does not write. The first store of the cursor only keeps the flag from ever showing a predecessor's cursor.
   */
  attach(): boolean {
    // Sequentially consistent, like all below: the argument needs one order over flag, cursor and `published`.
    assert(Atomics.load(this.control, this.cursorWord + activeWordOffset) === 0, 'consumer is attached already');
    Atomics.store(this.control, this.cursorWord, Atomics.load(this.control, publishedWord));
    // Before the load of `published` below, and after the cursor above.
    Atomics.store(this.control, this.cursorWord + activeWordOffset, 1);
    // After the flag: it is at or after the P of any limit that was computed without us.
    const position = Atomics.load(this.control, publishedWord);
    this.positionNext = position;
    this.publishedSeen = position;
    this.released = position;
    this.attached = true;
    // Sequentially consistent, before the load of the space flag, as in `release`.
    Atomics.store(this.control, this.cursorWord, position);
    return this.takeSpaceRequest(position);
  }

  /**
   * Takes a dead worker out of the ring, so that its cursor gates the producer no longer. `Doorbell.rouseAll` must
   * follow: the producer may wait for this cursor.
   *
   * Thread: the supervisor, after the worker has ended; or the consumer's own thread, as its last act.
   */
  static detach(ring: SharedArrayBuffer, consumerIndex: number): void {
    const control = controlOf(ring);
    // Release: the reads of this consumer are over before the producer may overwrite. Sequentially consistent: before
    // the wake-up that follows, so that the woken producer does not see the flag any more.
    Atomics.store(control, cursorWordOf(control, consumerIndex) + activeWordOffset, 0);
  }

  /** Moves to the next record addressed to this consumer, over those of others; false when there is none yet. */
  next(): boolean {
    const records = this.records;
    let position = this.positionNext;
    while (position !== this.publishedSeen || this.seesMore(position)) {
      const unit = position & this.unitMask;
      const index = unit << 1;
      assert(records[index] === position, 'ring record is not where it says');
      const length = records[index + lengthOffset];
      if (length === paddingLength) {
        position = (position + this.capacityUnits - unit) | 0;
        assert(((this.publishedSeen - position) | 0) >= 0, 'ring record ends behind the published ones');
        continue;
      }
      assert(length >= 0 && length <= this.recordBytesMax, 'ring record length out of range');
      position = (position + headerUnits + ((length + 7) >>> 3)) | 0;
      assert(((this.publishedSeen - position) | 0) >= 0, 'ring record ends behind the published ones');
      if ((records[index + this.maskOffset] & this.maskBit) !== 0) {
        this.positionNext = position;
        this.offset = (unit << 3) + headerBytes;
        this.length = length;
        this.kind = records[index + kindOffset];
        this.word = records[index + wordOffset] >>> 0;
        return true;
      }
    }
    this.positionNext = position;
    return false;
  }

  /**
   * Gives everything that `next` has passed back to the producer. True: the producer asked for space and this thread
   * must ring its doorbell.
   */
  release(): boolean {
    const position = this.positionNext;
    if (position === this.released) return false;
    this.released = position;
    // Release: all reads of these records are over before the producer may overwrite them. Sequentially consistent
    // with the load of the space flag that follows: see `RingProducer.requestSpace`.
    Atomics.store(this.control, this.cursorWord, position);
    return this.takeSpaceRequest(position);
  }

  /** The first unit not read yet: 8-byte units, u32, wraps. */
  position(): number {
    return this.positionNext >>> 0;
  }

  /** Bytes published and not released by this consumer, those of others, headers and padding included. */
  backlogBytes(): number {
    // No ordering needed: nothing is read on the strength of this number.
    return ((Atomics.load(this.control, publishedWord) - this.released) >>> 0) * 8;
  }

  private seesMore(position: number): boolean {
    assert(this.attached, 'consumer is not attached');
    // Acquire: the records before this cursor are complete. Sequentially consistent: a consumer that has announced its
    // sleep must see here what was published before the producer looked at the announcement (`Doorbell`).
    const published = Atomics.load(this.control, publishedWord);
    assert((published - position) >>> 0 <= this.capacityUnits, 'published cursor out of range');
    this.publishedSeen = published;
    return published !== position;
  }

  private takeSpaceRequest(position: number): boolean {
    const control = this.control;
    // Sequentially consistent, after the store of the cursor: see `RingProducer.requestSpace`.
    if (Atomics.load(control, spaceWantedWord) === 0) return false;
    // Acquire is what it needs: at least as new as the flag.
    if (((position - Atomics.load(control, spaceCursorWord)) | 0) < 0) return false;
    // Atomic exchange: of several consumers one takes the request and rings.
    return Atomics.exchange(control, spaceWantedWord, 0) === 1;
  }
}
