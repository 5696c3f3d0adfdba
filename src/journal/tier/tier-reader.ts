/**
 * Reads batches that the cold tier has: by ranges of objects, with what is around them kept for a time and what follows fetched ahead.
 * Every batch is checked as one from a file is. Thread: the journal worker, which never waits here: answers come when the tier has given
 * them, and appends go on meanwhile.
 *
 * Bounds: `cacheBytes` of blocks and descriptions; `readsMax` requests of up to `readAheadBytes` each; `readsWaitingMax` reads.
 */

import { checkBatches } from '../../core/batch/check-batches.ts';
import type { ObjectStore } from '../../core/ports/object-store.ts';
import type { ReadRequest, TimedOffset } from '../../core/ports/stream-store.ts';
import type { AbortedTransaction } from '../../core/streams/producer-state.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { BoundedCache } from '../../std/bounded-cache.ts';
import { type Limiter, limiter } from '../../std/limiter.ts';
import { storedBatchBytesMax } from '../partition-options.ts';
import { batchesStart } from '../segment/segment-format.ts';
import { corrupted } from '../segment-chain.ts';
import { findTimeIn } from '../time-search.ts';
import type { PartitionTier } from './partition-tier.ts';
import { findEntry, segmentKey, type TierEntry } from './tier-manifest.ts';
import { askTier, TierAwayError, type TierLimits, type TierReport } from './tier-options.ts';
import { decodeDescription, type TieredSegment } from './tiered-segment.ts';

/** What an entry of the cache takes beside its bytes, about. */
const entryOverhead = 200;
const answerBytesMax = 4 * 1024 * 1024;
const answerBytesMin = 32 * 1024;
const timeStepBytes = 256 * 1024;
/** Readers of which it is known where they go on. */
const readersMax = 256;

export interface TierAnswer {
  readonly slices: readonly Buffer[];
  readonly bytes: number;
  readonly nextOffset: number;
  /** In what was read. */
  readonly aborted: readonly AbortedTransaction[];
}

/** One object, and what its description says. */
interface OpenSegment {
  readonly key: string;
  readonly entry: TierEntry;
  readonly described: TieredSegment;
}

export class TierReader {
  readonly #objects: ObjectStore;
  readonly #limits: TierLimits;
  readonly #report: TierReport;
  readonly #cache: BoundedCache<Buffer | TieredSegment>;
  readonly #lane: Limiter;
  /** Under way, by block. */
  readonly #coming = new Map<string, Promise<Buffer>>();
  /** Where the last reads ended, oldest first: who goes on from there reads on. */
  readonly #ends = new Set<string>();
  #reads = 0;

  constructor(objects: ObjectStore, limits: TierLimits, report: TierReport) {
    this.#objects = objects;
    this.#limits = limits;
    this.#report = report;
    this.#cache = new BoundedCache(limits.cacheBytes);
    this.#lane = limiter(limits.readsMax);
  }

  /**
   * The batches from the one with `offset` on, of one segment; at least one.
   *
   * @throws StorageError STORAGE_UNAVAILABLE when the tier does not answer, STORAGE_CORRUPTED with object and position
   */
  read(tier: PartitionTier, { offset, bytesMax }: ReadRequest): Promise<TierAnswer> {
    return this.#bounded(tier, offset, async () => {
      const segment = await this.#open(tier, offset);
      const { entry, described } = segment;
      const number = described.index.find(offset);
      const place =
        number < 0
          ? { position: batchesStart, offset: entry.baseOffset }
          : { position: described.index.positionOf(number), offset: described.index.offsetOf(number) };
      const found = await this.#collect(segment, place, offset, Math.min(bytesMax, answerBytesMax));
      const { nextOffset } = found;
      const isIn = ({ firstOffset, lastOffset }: AbortedTransaction) =>
        firstOffset < nextOffset && lastOffset >= offset;
      return { ...found, aborted: described.facts.aborted.filter(isIn) };
    });
  }

  /** The first record in [from, to) with this timestamp or a later one; null when the tier has none. Throws like `read`. */
  offsetForTime(tier: PartitionTier, timestamp: number, from: number, to: number): Promise<TimedOffset | null> {
    const { entries } = tier;
    const isWanted = (entry: TierEntry) => entry.baseOffset < to && entry.maxTimestamp >= timestamp;
    const wanted = entries.slice(findEntry(entries, from)).filter(isWanted);
    return this.#bounded(tier, from, async () => {
      for (const { baseOffset, nextOffset } of wanted) {
        const first = Math.max(baseOffset, from);
        const { index } = (await this.#open(tier, first)).described;
        const number = index.findTime(timestamp);
        for (
          let next = number < 0 ? first : Math.max(first, index.offsetOf(number));
          next < Math.min(nextOffset, to);
        ) {
          const { slices, nextOffset: behind } = await this.read(tier, { offset: next, bytesMax: timeStepBytes });
          const found = findTimeIn(slices, first, timestamp);
          if (found !== null) return found.offset < to ? found : null;
          next = behind;
        }
      }
      return null;
    });
  }

  async #bounded<T>(tier: PartitionTier, offset: number, task: () => Promise<T>): Promise<T> {
    if (this.#reads >= this.#limits.readsWaitingMax) throw unreadable(tier, offset, 'too many reads wait for the tier');
    this.#reads += 1;
    try {
      return await task();
    } catch (error) {
      if (error instanceof TierAwayError) throw unreadable(tier, offset, error.message);
      throw error;
    } finally {
      this.#reads -= 1;
    }
  }

  async #open(tier: PartitionTier, offset: number): Promise<OpenSegment> {
    if (tier.lost !== null) throw unreadable(tier, offset, `the list of what is in the tier is ${tier.lost}`);
    const entry = tier.find(offset);
    if (entry === null) {
      const range = `the tier has ${tier.manifest.startOffset} to ${tier.endOffset}`;
      throw new StorageError('STORAGE_OFFSET_OUT_OF_RANGE', `Cannot read offset ${offset} of "${tier.name}": ${range}`);
    }
    const key = segmentKey(tier.id, entry);
    const known = this.#cache.get(key);
    if (known !== undefined && !Buffer.isBuffer(known)) return { key, entry, described: known };
    const length = entry.objectBytes - entry.end;
    const bytes = await this.#fetch(key, entry.end, length);
    const described = bytes.length < length ? null : decodeDescription(bytes, tier.id, entry);
    if (described === null) throw corrupted(key, entry.end, 'the description of the segment is damaged');
    this.#cache.set(key, described, 2 * length + entryOverhead);
    return { key, entry, described };
  }

  async #collect(
    segment: OpenSegment,
    place: { readonly position: number; readonly offset: number },
    from: number,
    bytesMax: number,
  ): Promise<Omit<TierAnswer, 'aborted'>> {
    for (let isAgain = false; ; isAgain = true) {
      const found = await this.#walk(segment, place, from, bytesMax);
      if (typeof found !== 'number') return found;
      if (isAgain) throw corrupted(segment.key, found, `offset ${from} is damaged`);
      // It may have been damaged on its way.
      this.#forget(segment, found);
    }
  }

  /** The position of what could not be read, when it is that. */
  async #walk(
    segment: OpenSegment,
    place: { readonly position: number; readonly offset: number },
    from: number,
    bytesMax: number,
  ): Promise<Omit<TierAnswer, 'aborted'> | number> {
    const { key, entry, described } = segment;
    const isReadOn = this.#ends.delete(`${key}@${from}`);
    let { position, offset } = place;
    let wanted = Math.max(bytesMax, answerBytesMin);
    while (position < entry.end) {
      const rest = entry.end - position;
      const bytes = await this.#range(segment, position, Math.min(rest, wanted), isReadOn);
      const { start, end, nextOffset, stop, nextSize } = checkBatches(bytes, {
        offset,
        from,
        limit: entry.nextOffset,
        bytesMax,
        takesOne: true,
        batchBytesMax: storedBatchBytesMax,
        epochs: described.facts.epochs,
      });
      if (end > start) {
        this.#noteEnd(`${key}@${nextOffset}`);
        return { slices: [bytes.subarray(start, end)], bytes: end - start, nextOffset };
      }
      position += end;
      offset = nextOffset;
      if (stop !== 'short' || nextSize > rest - end || (end === 0 && wanted >= rest)) return position;
      // The first batch alone is longer.
      wanted = Math.max(wanted, nextSize, end === 0 ? 2 * wanted : 0);
    }
    return position;
  }

  /** Bytes of an object, out of blocks. */
  async #range(segment: OpenSegment, position: number, length: number, isReadOn: boolean): Promise<Buffer> {
    const { blockBytes, readAheadBytes } = this.#limits;
    const first = Math.floor(position / blockBytes);
    const last = Math.floor((position + length - 1) / blockBytes);
    const found: (Buffer | Promise<Buffer>)[] = [];
    let hits = 0;
    const missing = this.#missing(segment, first, last);
    if (missing.length > 0) this.#begin(segment, missing);
    for (let block = first; block <= last; block += 1) {
      const name = blockName(segment.key, block);
      const kept = this.#cache.get(name);
      if (Buffer.isBuffer(kept)) hits += 1;
      const bytes = Buffer.isBuffer(kept) ? kept : this.#coming.get(name);
      // A cache that is smaller than what is asked for.
      found.push(bytes ?? this.#fetch(segment.key, block * blockBytes, this.#blockLength(segment.entry, block)));
    }
    this.#report.looked(hits, found.length - hits);
    if (isReadOn) this.#ahead(segment, last + 1, Math.ceil(readAheadBytes / blockBytes));
    const blocks = await Promise.all(found);
    const from = position - first * blockBytes;
    const bytes = blocks.length === 1 ? blocks[0] : Buffer.concat(blocks);
    return bytes.subarray(from, from + length);
  }

  #ahead(segment: OpenSegment, first: number, count: number): void {
    const last = Math.min(first + count - 1, Math.floor((segment.entry.end - 1) / this.#limits.blockBytes));
    const missing = this.#missing(segment, first, last);
    // Not for every single block that is missing: in halves of what is ahead.
    if (missing.length * 2 >= last - first + 1 && missing.length > 0) this.#begin(segment, missing);
  }

  #missing({ key }: OpenSegment, first: number, last: number): number[] {
    const missing: number[] = [];
    for (let block = first; block <= last; block += 1) {
      const name = blockName(key, block);
      if (!this.#cache.has(name) && !this.#coming.has(name)) missing.push(block);
    }
    return missing;
  }

  /** Fetches blocks, neighbours together; whoever needs one waits for it in `#coming`. */
  #begin(segment: OpenSegment, blocks: readonly number[]): void {
    const { blockBytes, readAheadBytes } = this.#limits;
    const runMax = Math.max(1, Math.floor(readAheadBytes / blockBytes));
    for (let at = 0; at < blocks.length; ) {
      let count = 1;
      while (count < runMax && blocks[at + count] === blocks[at] + count) count += 1;
      const first = blocks[at];
      const length = (count - 1) * blockBytes + this.#blockLength(segment.entry, first + count - 1);
      const run = this.#fetch(segment.key, first * blockBytes, length);
      for (let number = 0; number < count; number += 1) {
        this.#await(blockName(segment.key, first + number), run, number * blockBytes);
      }
      at += count;
    }
  }

  #await(name: string, run: Promise<Buffer>, at: number): void {
    const { blockBytes } = this.#limits;
    const block = run.then((bytes) => {
      // A copy: a view would keep all of the run in memory for one block of it.
      const own = Buffer.from(bytes.subarray(at, at + blockBytes));
      this.#cache.set(name, own, own.length + entryOverhead);
      return own;
    });
    this.#coming.set(name, block);
    const end = (): void => {
      if (this.#coming.get(name) === block) this.#coming.delete(name);
    };
    // Who waits for it is told; when nobody does, nothing is lost.
    block.then(end, end);
  }

  /** @throws StorageError STORAGE_CORRUPTED when there is no such object, TierAwayError */
  async #fetch(key: string, from: number, length: number): Promise<Buffer> {
    return this.#lane(async () => {
      const startMs = performance.now();
      const bytes = await askTier(() => this.#objects.get(key, from, length)).catch((error: unknown) => {
        this.#report.failed();
        throw error;
      });
      if (bytes === null) throw corrupted(key, from, 'the object is missing in the tier, or shorter');
      this.#report.fetched(bytes.length, performance.now() - startMs);
      return bytes;
    });
  }

  #forget({ key, entry }: OpenSegment, position: number): void {
    const { blockBytes } = this.#limits;
    const last = Math.floor((entry.end - 1) / blockBytes);
    for (let block = Math.floor(position / blockBytes); block <= last; block += 1) {
      this.#cache.delete(blockName(key, block));
    }
  }

  /** Of a block; the last one ends with the batches. */
  #blockLength({ end }: TierEntry, block: number): number {
    return Math.min(this.#limits.blockBytes, end - block * this.#limits.blockBytes);
  }

  #noteEnd(name: string): void {
    this.#ends.delete(name);
    this.#ends.add(name);
    if (this.#ends.size <= readersMax) return;
    for (const oldest of this.#ends) {
      this.#ends.delete(oldest);
      return;
    }
  }
}

function blockName(key: string, block: number): string {
  return `${key}@${block}`;
}

function unreadable({ name }: PartitionTier, offset: number, reason: string): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `Cannot read offset ${offset} of "${name}" from the tier: ${reason}`);
}
