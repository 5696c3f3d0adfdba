/**
 * Which other connection workers have a filter that matches a topic, in one `SharedArrayBuffer`, with no message
 * between threads. Every connection worker has a view of its own; main creates the buffer and clears a dead worker.
 *
 * Tuple space search. Every filter has a *shape*: its number of levels, which of them are `+`, and whether it ends with
 * `#`. All filters of one shape that match a topic have the same text once the topic's levels are replaced by `+` where
 * the shape has it, so one hash per shape answers for any number of filters. Two things are shared:
 *
 * - the shapes in use, one short list per worker, written by its owner alone;
 * - buckets of one bit per worker: bit w of bucket h says that worker w has a filter with hash h. The bits of all workers
 *   lie together, so a publisher makes one load per shape (two beyond 32 workers).
 *
 * False positives are harmless: the receiving worker finds no subscriber. False negatives are a defect.
 *
 * Ordering. `add` stores the shape, moves the shape version, sets the bit, moves the epoch, in this order; a publisher
 * loads the epoch, then the shape version, then shapes and bits. `Atomics` operations are sequentially consistent, so a
 * publisher that saw the epoch of an `add`, or a later one, also sees what that `add` wrote before it: a mask computed at
 * epoch >= E holds every filter whose `add` had returned at epoch <= E. An `add` that changes no shared word does not
 * move the epoch: its bits were there at an earlier epoch already, so the statement holds for it too.
 *
 * Memory: 2^bucketBits * (workers rounded up to a power of two) / 8 bytes shared (2 MiB for two workers by default), up
 * to 4 KiB of shapes per worker, and 2^bucketBits private bytes per worker; all of it is resident only where touched.
 */
import { assert } from '../../std/assert.ts';
import { randomSeed } from '../../std/hash.ts';
import { FilterShape, shapeEndsBelow, shapeFitsHidden, shapeLevels, TopicLevels } from './filter-shape.ts';
import { isHiddenTopic } from './topic.ts';

/** The masks have 64 bits. */
export const INTEREST_WORKERS_MAX = 64;

export interface InterestTableOptions {
  /** Binary logarithm of the number of buckets, 6 to 26; take about eight buckets per expected filter. Default 23. */
  readonly bucketBits?: number;
  /** Shapes that one worker lists, and that one publisher searches. Default 1,024. */
  readonly shapesMax?: number;
  /** Seed of the hashes, the same for all workers. Default: random. */
  readonly seed?: number;
}

// The header, in words of 32 bits. What changes often lies on cache lines of its own.
const WORKER_COUNT = 0;
const BUCKET_BITS = 1;
const SHAPES_MAX = 2;
const SEED = 3;
/** Moves when any worker's list of shapes changes. */
const SHAPE_VERSION = 16;
/** Two words, one bit per worker: it has more shapes than its list holds and wants every message. */
const EVERYTHING = 17;
/** Two words, one bit per worker: it is held, and wants every message until it is let go. */
const HELD = 19;
const EPOCH = 32;
const LINES = 48;
// The line of a worker: how far its list of shapes reaches, padded to a cache line, then the list.
const LINE_HEAD_WORDS = 16;

/** Place of a shape that the list has no room for. */
const UNLISTED = -1;

interface OwnShape {
  /** Position in this worker's list, or `UNLISTED`; it stays the same as long as a filter has this shape. */
  readonly position: number;
  filterCount: number;
}

/** Where the parts lie, derived from the header. */
interface Layout {
  readonly lineWords: number;
  readonly bucketsAt: number;
  /** Binary logarithm of the bits per bucket. */
  readonly widthBits: number;
  readonly words: number;
}

function layoutOf(workerCount: number, bucketBits: number, shapesMax: number): Layout {
  const lineWords = LINE_HEAD_WORDS + Math.ceil(shapesMax / 16) * 16;
  const bucketsAt = LINES + workerCount * lineWords;
  const widthBits = Math.ceil(Math.log2(workerCount));
  return { lineWords, bucketsAt, widthBits, words: bucketsAt + 2 ** (bucketBits + widthBits - 5) };
}

/** Creates the shared table, empty. Main thread, once at start. */
export function createInterestTable(workerCount: number, options: InterestTableOptions = {}): SharedArrayBuffer {
  const { bucketBits = 23, shapesMax = 1024, seed = randomSeed() } = options;
  assert(workerCount >= 1 && workerCount <= INTEREST_WORKERS_MAX, 'an interest table is for 1 to 64 workers');
  assert(bucketBits >= 6 && bucketBits <= 26, 'an interest table has 2^6 to 2^26 buckets');
  assert(shapesMax >= 1 && shapesMax <= 4096, 'an interest table lists 1 to 4,096 shapes per worker');
  const buffer = new SharedArrayBuffer(layoutOf(workerCount, bucketBits, shapesMax).words * 4);
  const words = new Int32Array(buffer);
  // Plain stores: no other thread has the buffer yet, and handing it over orders them.
  words[WORKER_COUNT] = workerCount;
  words[BUCKET_BITS] = bucketBits;
  words[SHAPES_MAX] = shapesMax;
  words[SEED] = seed;
  return buffer;
}

/** Whether `epoch` is `other` or later. Epochs are int32 that wrap around: never compare them with `<`. */
export function epochReached(epoch: number, other: number): boolean {
  return ((epoch - other) | 0) >= 0;
}

export class InterestTable {
  /** Workers 0 to 31 as of the last `workersFor`, an int32 bit mask. */
  maskLow = 0;
  /** Workers 32 to 63 as of the last `workersFor`, an int32 bit mask. */
  maskHigh = 0;

  private readonly words: Int32Array;
  private readonly layout: Layout;
  private readonly workerCount: number;
  private readonly workerIndex: number;
  private readonly shapesMax: number;
  private readonly seed: number;
  private readonly bucketShift: number;

  // What this worker wants: the private side of its bits.
  private readonly ownShapes = new Map<number, OwnShape>();
  private readonly freePositions: number[] = [];
  private listLength = 0;
  private unlistedShapeCount = 0;
  /** Filters of this worker per bucket up to 255; what is beyond lies in `overflow`. */
  private readonly filterCounts: Uint8Array;
  private readonly overflow = new Map<number, number>();
  private readonly filterShape = new FilterShape();

  // What the others want: a copy of their lists, made again when the shape version moves.
  private readonly topicLevels = new TopicLevels();
  private shapeVersion = -1;
  private readonly shapes: number[] = [];
  private readonly shapeWorkersLow: number[] = [];
  private readonly shapeWorkersHigh: number[] = [];
  /** Positions in `shapes` that can match, by the number of levels of a topic. */
  private readonly fitting: number[][] = [];
  /** Workers whose shapes this copy could not hold. */
  private unsearchedLow = 0;
  private unsearchedHigh = 0;

  /** The view of worker `workerIndex`, which must have been cleared since a former view of it added a filter. */
  constructor(buffer: SharedArrayBuffer, workerIndex: number) {
    this.words = new Int32Array(buffer);
    this.workerCount = this.words[WORKER_COUNT];
    this.workerIndex = workerIndex;
    assert(workerIndex >= 0 && workerIndex < this.workerCount, 'a worker index lies in the interest table');
    const bucketBits = this.words[BUCKET_BITS];
    this.shapesMax = this.words[SHAPES_MAX];
    this.seed = this.words[SEED];
    this.bucketShift = 32 - bucketBits;
    this.layout = layoutOf(this.workerCount, bucketBits, this.shapesMax);
    this.filterCounts = new Uint8Array(2 ** bucketBits);
  }

  /** The present epoch; load it before `workersFor` and keep it with the mask. */
  epoch(): number {
    // Sequentially consistent, so that it is ordered before the loads of `workersFor` that follow.
    return Atomics.load(this.words, EPOCH);
  }

  /** Moves the epoch and returns the new one; everything derived at an earlier epoch becomes stale on all workers. */
  bumpEpoch(): number {
    // A read-modify-write, since all workers write here; ordered after whatever this thread wrote before.
    return (Atomics.add(this.words, EPOCH, 1) + 1) | 0;
  }

  /** This worker wants what `filter` (valid) matches. Filters are counted: every `add` needs its own `remove`. */
  add(filter: string): void {
    const { filterShape } = this;
    filterShape.parse(filter, this.seed);
    const { key } = filterShape;
    let shape = this.ownShapes.get(key);
    const isNewShape = shape === undefined;
    if (shape === undefined) {
      shape = { position: this.listShape(key), filterCount: 0 };
      this.ownShapes.set(key, shape);
    }
    shape.filterCount++;
    if (shape.position === UNLISTED) return;
    const bucket = filterShape.hash >>> this.bucketShift;
    const count = this.filterCounts[bucket];
    if (count === 255) this.overflow.set(bucket, (this.overflow.get(bucket) ?? 0) + 1);
    else this.filterCounts[bucket] = count + 1;
    if (count === 0) setBit(this.words, this.layout, bucket, this.workerIndex);
    // After the shape and the bit: see "Ordering" above. Other filters' use of the bucket does not make up for a new
    // shape, since nobody looked into the bucket under this shape before.
    if (count === 0 || isNewShape) this.bumpEpoch();
  }

  /** Takes back one `add` of the same filter. */
  remove(filter: string): void {
    const { filterShape } = this;
    filterShape.parse(filter, this.seed);
    const { key } = filterShape;
    const shape = this.ownShapes.get(key);
    assert(shape !== undefined, 'a filter that is removed was added');
    shape.filterCount--;
    let changed = false;
    if (shape.position !== UNLISTED) changed = this.releaseBucket(filterShape.hash >>> this.bucketShift);
    if (shape.filterCount === 0) {
      this.ownShapes.delete(key);
      this.unlistShape(shape.position);
      changed = true;
    }
    // Stale masks only send too much; the epoch moves so that they do not do so for ever.
    if (changed) this.bumpEpoch();
  }

  /** Sets `maskLow` and `maskHigh` to the other workers that may have a filter that matches the valid `topic`. */
  workersFor(topic: string): void {
    const { words, layout, topicLevels, shapes } = this;
    // Loaded before the lists, so that a list that changes meanwhile is read again the next time.
    const version = Atomics.load(words, SHAPE_VERSION);
    if (version !== this.shapeVersion) this.readShapes(version);
    // Ordered after the caller's load of the epoch, as all loads below.
    let low = Atomics.load(words, EVERYTHING) | Atomics.load(words, HELD) | this.unsearchedLow;
    let high = Atomics.load(words, EVERYTHING + 1) | Atomics.load(words, HELD + 1) | this.unsearchedHigh;
    if (shapes.length > 0) {
      topicLevels.parse(topic, this.seed);
      const hidden = isHiddenTopic(topic);
      const fitting = this.fitting[topicLevels.count];
      for (let at = 0; at < fitting.length; at++) {
        const index = fitting[at];
        const shape = shapes[index];
        if (hidden && !shapeFitsHidden(shape)) continue;
        const bucket = topicLevels.hash(shape) >>> this.bucketShift;
        low |= lowBits(words, layout, bucket) & this.shapeWorkersLow[index];
        if (layout.widthBits === 6) high |= highBits(words, layout, bucket) & this.shapeWorkersHigh[index];
      }
    }
    this.maskLow = this.workerIndex < 32 ? low & ~(1 << this.workerIndex) : low;
    this.maskHigh = this.workerIndex < 32 ? high : high & ~(1 << (this.workerIndex - 32));
  }

  /**
   * Worker `workerIndex` counts as wanting everything until `letGo`: whoever computes a mask from the return on has it in it. Main
   * thread, before `clear`, where what the worker wanted must not be missed before its successor has said it again.
   */
  static hold(buffer: SharedArrayBuffer, workerIndex: number): void {
    const words = new Int32Array(buffer);
    // A read-modify-write, since all workers have bits here; ordered before the epoch.
    Atomics.or(words, HELD + (workerIndex >>> 5), 1 << (workerIndex & 31));
    Atomics.add(words, EPOCH, 1);
  }

  /** Ends `hold`: what worker `workerIndex` wants has been added. Does nothing when it is not held. Main thread or that worker. */
  static letGo(buffer: SharedArrayBuffer, workerIndex: number): void {
    const words = new Int32Array(buffer);
    const bit = 1 << (workerIndex & 31);
    if ((Atomics.and(words, HELD + (workerIndex >>> 5), ~bit) & bit) === 0) return;
    // Stale masks only send too much; the epoch moves so that they do not do so for ever.
    Atomics.add(words, EPOCH, 1);
  }

  /**
   * Forgets everything that worker `workerIndex` wanted, and moves the epoch. Main thread, after that worker's thread
   * has ended and before another takes its place. Walks the whole table: some milliseconds.
   */
  static clear(buffer: SharedArrayBuffer, workerIndex: number): void {
    const words = new Int32Array(buffer);
    const layout = layoutOf(words[WORKER_COUNT], words[BUCKET_BITS], words[SHAPES_MAX]);
    const line = LINES + workerIndex * layout.lineWords;
    // Read-modify-write from here on where other workers have bits in the same word. No order matters among these: the
    // worker is dead, so a publisher that sees some of it sends too much or not, and both are right.
    Atomics.and(words, EVERYTHING + (workerIndex >>> 5), ~(1 << (workerIndex & 31)));
    for (let word = line; word < line + layout.lineWords; word++) Atomics.store(words, word, 0);
    Atomics.add(words, SHAPE_VERSION, 1);
    const mine = columnMask(layout.widthBits, workerIndex);
    const step = layout.widthBits === 6 ? 2 : 1;
    for (let word = layout.bucketsAt + (workerIndex >>> 5); word < words.length; word += step) {
      // A plain load may be stale only in the bits of other workers: those of the dead one became visible at its end.
      if ((words[word] & mine) !== 0) Atomics.and(words, word, ~mine);
    }
    // Last, so that who sees this epoch sees the cleared table.
    Atomics.add(words, EPOCH, 1);
  }

  /** Returns whether the bit was cleared. */
  private releaseBucket(bucket: number): boolean {
    const beyond = this.overflow.get(bucket);
    if (beyond !== undefined) {
      if (beyond === 1) this.overflow.delete(bucket);
      else this.overflow.set(bucket, beyond - 1);
      return false;
    }
    assert(this.filterCounts[bucket] > 0, 'a bucket that is released is in use');
    if (--this.filterCounts[bucket] > 0) return false;
    clearBit(this.words, this.layout, bucket, this.workerIndex);
    return true;
  }

  /** Publishes a shape of this worker and returns its position, or asks for everything when the list is full. */
  private listShape(key: number): number {
    const { words, workerIndex } = this;
    let position = this.freePositions.pop();
    if (position === undefined && this.listLength === this.shapesMax) {
      if (this.unlistedShapeCount++ === 0) {
        // A read-modify-write, since all workers have bits here; ordered before the epoch.
        Atomics.or(words, EVERYTHING + (workerIndex >>> 5), 1 << (workerIndex & 31));
        this.bumpEpoch();
      }
      return UNLISTED;
    }
    const line = LINES + workerIndex * this.layout.lineWords;
    position ??= this.listLength++;
    // Entry, then length, then version: a reader that sees the version sees the entry within the length. Entries never
    // move, since a reader that walks the list meanwhile could miss the one that moves.
    Atomics.store(words, line + LINE_HEAD_WORDS + position, key);
    Atomics.store(words, line, this.listLength);
    Atomics.add(words, SHAPE_VERSION, 1);
    return position;
  }

  private unlistShape(position: number): void {
    const { words, workerIndex } = this;
    if (position === UNLISTED) {
      // A read-modify-write, since all workers have bits here; late or early only sends too much.
      if (--this.unlistedShapeCount === 0) {
        Atomics.and(words, EVERYTHING + (workerIndex >>> 5), ~(1 << (workerIndex & 31)));
      }
      return;
    }
    const line = LINES + workerIndex * this.layout.lineWords;
    // Entry before version, so that who reads again because of the version does not find it.
    Atomics.store(words, line + LINE_HEAD_WORDS + position, 0);
    Atomics.add(words, SHAPE_VERSION, 1);
    this.freePositions.push(position);
  }

  /** Copies the lists of the other workers. Runs only when a worker gained its first or lost its last filter of a shape. */
  private readShapes(version: number): void {
    const { words, shapes, shapeWorkersLow, shapeWorkersHigh } = this;
    const positions = new Map<number, number>();
    shapes.length = shapeWorkersLow.length = shapeWorkersHigh.length = 0;
    this.unsearchedLow = this.unsearchedHigh = 0;
    for (let worker = 0; worker < this.workerCount; worker++) {
      if (worker === this.workerIndex) continue;
      const low = worker < 32 ? 1 << worker : 0;
      const high = worker < 32 ? 0 : 1 << (worker - 32);
      const line = LINES + worker * this.layout.lineWords;
      // Ordered after the load of the version: see `listShape`.
      const end = line + LINE_HEAD_WORDS + Atomics.load(words, line);
      for (let word = line + LINE_HEAD_WORDS; word < end; word++) {
        const key = Atomics.load(words, word);
        if (key === 0) continue;
        let position = positions.get(key);
        if (position === undefined && shapes.length === this.shapesMax) {
          this.unsearchedLow |= low;
          this.unsearchedHigh |= high;
          continue;
        }
        if (position === undefined) {
          position = shapes.push(key) - 1;
          positions.set(key, position);
        }
        shapeWorkersLow[position] |= low;
        shapeWorkersHigh[position] |= high;
      }
    }
    for (let count = 0; count <= TopicLevels.countMax; count++) this.fitting[count] = fittingShapes(shapes, count);
    this.shapeVersion = version;
  }
}

function fittingShapes(shapes: readonly number[], levelCount: number): number[] {
  const fitting: number[] = [];
  shapes.forEach((shape, index) => {
    const levels = shapeLevels(shape);
    if (levels === levelCount || (levels < levelCount && shapeEndsBelow(shape))) fitting.push(index);
  });
  return fitting;
}

/** The bits of one worker in each word of buckets that can have one. */
function columnMask(widthBits: number, workerIndex: number): number {
  let mask = 0;
  const step = Math.min(32, 1 << widthBits);
  for (let bit = workerIndex & 31; bit < 32; bit += step) mask |= 1 << bit;
  return mask;
}

function setBit(words: Int32Array, layout: Layout, bucket: number, worker: number): void {
  // A read-modify-write, since the bits of all workers share words; ordered before the epoch that follows.
  Atomics.or(words, wordOf(layout, bucket, worker), 1 << bitOf(layout, bucket, worker));
}

function clearBit(words: Int32Array, layout: Layout, bucket: number, worker: number): void {
  // A read-modify-write, as in `setBit`; ordered before the epoch that follows.
  Atomics.and(words, wordOf(layout, bucket, worker), ~(1 << bitOf(layout, bucket, worker)));
}

function wordOf(layout: Layout, bucket: number, worker: number): number {
  const { widthBits, bucketsAt } = layout;
  return widthBits === 6 ? bucketsAt + bucket * 2 + (worker >>> 5) : bucketsAt + (bucket >>> (5 - widthBits));
}

function bitOf(layout: Layout, bucket: number, worker: number): number {
  const { widthBits } = layout;
  return widthBits === 6 ? worker & 31 : ((bucket & ((1 << (5 - widthBits)) - 1)) << widthBits) + worker;
}

/** The bits of workers 0 to 31, and possibly those of the buckets after it above them. */
function lowBits(words: Int32Array, layout: Layout, bucket: number): number {
  // Ordered after the caller's load of the epoch: see "Ordering" above.
  return Atomics.load(words, wordOf(layout, bucket, 0)) >>> bitOf(layout, bucket, 0);
}

/** The bits of workers 32 to 63, of a table that is wide enough. */
function highBits(words: Int32Array, layout: Layout, bucket: number): number {
  // Ordered after the caller's load of the epoch: see "Ordering" above.
  return Atomics.load(words, wordOf(layout, bucket, 32));
}
