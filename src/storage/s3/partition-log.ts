/**
 * One partition in object storage, as one writer of it knows it: which objects make it up, and what is done with them. Thread:
 * the one that holds the store; owned by the engine beside this file.
 *
 * The fence. A run is stored under a key that follows from its base offset, on the condition that the key is free; so of two
 * writers that both mean to store an offset one is refused. Keys become free again when runs were merged or deleted, and
 * `deleteAfterMs` passed since. So a writer asks beside an upload whether there is a newer one, unless it did a moment ago: when
 * there is, it is out; and what it stored longer than `writerTrustMs` after the last good answer counts as lost.
 */

import { StorageError } from '../../core/streams/storage-error.ts';
import {
  type EngineHandle,
  EngineLostError,
  type EngineOutcome,
  type EnginePlaces,
  type EngineRun,
} from '../../core/streams/store-engine.ts';
import type { Logger } from '../../observability/log.ts';
import { assert } from '../../std/assert.ts';
import type { Limiter } from '../../std/limiter.ts';
import type { BlockCache } from './block-cache.ts';
import {
  buildChain,
  type Chain,
  findPiece,
  joinPieces,
  type Listing,
  neededRuns,
  type Piece,
  planMerge,
  readListing,
} from './chain.ts';
import type { Janitor } from './janitor.ts';
import {
  emptyBody,
  encodeObject,
  type ObjectHeader,
  producersKey,
  runKey,
  segmentKey,
  startKey,
  writerKey,
} from './object-format.ts';
import { ObjectReader, requestsAtOnce } from './object-reader.ts';
import type { ObjectStore } from './object-store.ts';
import type { S3Settings } from './settings.ts';

/** A writer that writes asks so often whether it is the newest one. */
const writerCheckMs = 1000;
/** How long it trusts that it is, at most; well below `deleteAfterMs`. */
const writerTrustMs = 120_000;
/** How long objects stay that nobody needs. */
export const defaultDeleteAfterMs = 600_000;
/** Merges up to this size are small ones. */
const smallMergeBytes = 8 * 1024 * 1024;
/** A segment is large, and nobody waits for it. */
const segmentLimitMs = 120_000;

/** What all partitions of a store share. */
export interface LogHost {
  readonly settings: S3Settings;
  readonly objects: ObjectStore;
  readonly cache: BlockCache;
  readonly janitor: Janitor;
  readonly log: Logger;
  /** What is merged lies in memory twice: many small merges run at once, and few large ones. */
  readonly smallMerges: Limiter;
  readonly largeMerges: Limiter;
  /** How long objects stay that nobody needs. */
  readonly deleteAfterMs: number;
  /** Milliseconds of a clock that goes on while the machine sleeps and does not go back. */
  now(): number;
}

export class PartitionLog {
  readonly handle: EngineHandle;
  readonly #host: LogHost;
  readonly #reader: ObjectReader;
  #startOffset = 0;
  #startKey: string | null = null;
  #endOffset = 0;
  #sizeBytes = 0;
  #pieces: readonly Piece[] = [];
  /** Beginning of the last request that said that there is no newer writer. */
  #checkedAt: number;
  #uploadedAt = Number.NEGATIVE_INFINITY;
  #isMerging = false;
  readonly #unmergeable = new WeakSet<Piece>();
  /** There is a newer writer. */
  #isRetired = false;
  #segmentBytes: number;

  private constructor(host: LogHost, handle: EngineHandle, checkedAt: number) {
    this.#host = host;
    this.handle = handle;
    this.#reader = new ObjectReader(host, handle.name);
    this.#checkedAt = checkedAt;
    this.#segmentBytes = host.settings.segmentBytes;
  }

  /** Reads what there is. `checkedAt`: when the writer was claimed, or known to be the newest. */
  static async open(
    host: LogHost,
    handle: EngineHandle,
    checkedAt: number,
  ): Promise<{ readonly log: PartitionLog; readonly producers: Buffer | null }> {
    const log = new PartitionLog(host, handle, checkedAt);
    const listing = await log.#load(true);
    if (listing.producers === null) return { log, producers: null };
    const producers = await host.objects.get(listing.producers);
    if (producers === null) throw new EngineLostError('The list of objects changed while it was read');
    return { log, producers: producers.bytes };
  }

  get places(): EnginePlaces {
    return { startOffset: this.#startOffset, endOffset: this.#endOffset, sizeBytes: this.#sizeBytes };
  }

  get pieces(): readonly Piece[] {
    return this.#pieces;
  }

  /** What the partition asks for; the settings of the store are the upper bound. */
  limitSegments(bytes: number | undefined): void {
    const { segmentBytes } = this.#host.settings;
    this.#segmentBytes = Math.min(bytes ?? segmentBytes, segmentBytes);
  }

  retire(): void {
    this.#isRetired = true;
  }

  async append(run: EngineRun): Promise<EngineOutcome> {
    try {
      if (this.#isRetired) return 'fenced';
      if (run.baseOffset !== this.#endOffset) return 'conflict';
      await this.#pace();
      const { baseOffset, maxTimestamp, bytes, batches } = run;
      const parts = batches.map(({ lastOffset, at, size }) => {
        return { endOffset: lastOffset + 1, bytes: bytes.subarray(at, at + size) };
      });
      const { header, body } = encodeObject({ baseOffset, maxTimestamp, parts });
      const key = runKey(this.handle.id, run.baseOffset);
      const checked = this.#checkWriter();
      const answer = await this.#host.objects.put(key, body, { absent: true });
      await checked;
      if (answer === 'refused') return 'conflict';
      if (this.#host.now() - this.#checkedAt > writerTrustMs) return 'lost';
      // Whoever looked after this write meanwhile may have found it already.
      if (this.#endOffset === run.baseOffset) {
        this.#reader.remember(key, header, body);
        this.#push(pieceOf(key, header, true));
      }
      void this.merge();
      return 'stored';
    } catch (error) {
      return error instanceof StorageError ? error : 'lost';
    }
  }

  /** Nothing, too, when the object is missing or its header is damaged: the front tells that from the end of the log. */
  async read(offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    if (offset >= this.#endOffset) return [];
    const first = await this.#reader.read(this.#pieces, offset, bytesMax);
    if (first !== null) return first;
    // Another writer merged the objects, or deleted them.
    await this.#load();
    const again = await this.#reader.read(this.#pieces, Math.max(offset, this.#startOffset), bytesMax);
    if (again === null) this.#host.log.error('records are missing', { partition: this.handle.name, offset });
    return again ?? [];
  }

  /** Looks for what was stored behind the end that is known here. */
  async refresh(): Promise<void> {
    const isNewest = await this.isNewestWriter();
    if (!isNewest) {
      await this.#load();
      return;
    }
    for (;;) {
      const key = runKey(this.handle.id, this.#endOffset);
      const header = await this.#reader.header(key);
      if (header === null) return;
      if (header.baseOffset === this.#endOffset) this.#push(pieceOf(key, header, true));
    }
  }

  /** Makes `offset` the start, and has what lies below it deleted. */
  async deleteBefore(offset: number): Promise<'deleted' | 'fenced'> {
    if (this.#isRetired || !(await this.isNewestWriter())) return 'fenced';
    if (offset > this.#startOffset) {
      const key = startKey(this.handle.id, offset, this.#endOffset);
      await this.#host.objects.put(key, emptyBody);
      if (this.#startKey !== null) this.#host.janitor.deleteLater([this.#startKey], 0);
      this.#startKey = key;
      this.#startOffset = offset;
    }
    const gone = this.#pieces.slice(0, findPiece(this.#pieces, offset));
    this.#replace(this.#pieces.slice(gone.length));
    this.#deleteLater(gone.flatMap(({ key }) => (key === null ? [] : [key])));
    return 'deleted';
  }

  async saveProducers(offset: number, snapshot: Buffer): Promise<void> {
    const { objects } = this.#host;
    await this.#checkWriter();
    if (this.#isRetired) return;
    const key = producersKey(this.handle.id, offset, this.handle.writer);
    await objects.put(key, snapshot);
    const known = await objects.list(`data/${this.handle.id}/producers/`);
    const newest = known.at(-1)?.key;
    const old = known.filter((each) => each.key !== newest).map((each) => each.key);
    this.#host.janitor.deleteLater(old, 0);
  }

  /** False as well when the partition is gone: then its keys are deleted. */
  async isNewestWriter(): Promise<boolean> {
    const at = this.#host.now();
    const { id, writer } = this.handle;
    const found = await this.#host.objects.list(`data/${id}/writer/`, writerKey(id, writer - 1), 2);
    if (found.length !== 1 || found[0].key !== writerKey(id, writer)) return false;
    this.#checkedAt = Math.max(at, this.#checkedAt);
    return true;
  }

  /** Merges small objects as long as there are enough of them. Errors are left to those who read or write next. */
  async merge(): Promise<void> {
    if (this.#isMerging) return;
    this.#isMerging = true;
    try {
      for (;;) {
        const plan = planMerge(this.#pieces, this.#segmentBytes, (piece) => this.#unmergeable.has(piece));
        if (plan === null || this.#isRetired) return;
        const some = this.#pieces.slice(plan.from, plan.to);
        const bytes = some.reduce((sum, piece) => sum + piece.bytes, 0);
        const lane = bytes <= smallMergeBytes ? this.#host.smallMerges : this.#host.largeMerges;
        if (!(await lane(() => this.#mergeSome(some)))) return;
      }
    } catch (error) {
      // It is tried again after the next append.
      if (!(error instanceof StorageError) && !(error instanceof EngineLostError)) throw error;
    } finally {
      this.#isMerging = false;
    }
  }

  async #mergeSome(pieces: readonly Piece[]): Promise<boolean> {
    if (this.#isRetired || !(await this.isNewestWriter())) return false;
    const collected = await this.#reader.collect(pieces);
    if ('damaged' in collected) {
      this.#unmergeable.add(collected.damaged);
      return true;
    }
    const { baseOffset, parts } = collected;
    const maxTimestamp = Math.max(...pieces.map((piece) => piece.maxTimestamp));
    const { header, body } = encodeObject({ baseOffset, maxTimestamp, parts });
    const key = segmentKey(this.handle.id, header);
    await this.#host.objects.put(key, body, {}, segmentLimitMs);
    // What was deleted meanwhile was deleted from the front.
    const from = this.#pieces.indexOf(pieces[pieces.length - 1]);
    if (from < 0) {
      this.#deleteLater([key]);
      return true;
    }
    const begin = Math.max(0, from - pieces.length + 1);
    const merged = { ...pieceOf(key, header, false), baseOffset: this.#pieces[begin].baseOffset };
    this.#host.cache.addHeader(key, header);
    this.#replace([...this.#pieces.slice(0, begin), merged, ...this.#pieces.slice(from + 1)]);
    this.#deleteLater(pieces.flatMap((piece) => (piece.key === null ? [] : [piece.key])));
    return true;
  }

  async #load(isFirst = false): Promise<Listing> {
    const { objects } = this.#host;
    const listing = readListing(await objects.list(`data/${this.handle.id}/`));
    const needed = neededRuns(listing);
    const headers = new Map<string, ObjectHeader>();
    for (let at = 0; at < needed.length; at += requestsAtOnce) {
      const step = needed.slice(at, at + requestsAtOnce);
      const found = await Promise.all(step.map((key) => this.#reader.soundHeader(key)));
      for (const [index, header] of found.entries()) {
        if (header !== null) headers.set(step[index], header);
      }
    }
    const chain = buildChain(listing, headers);
    await this.#fillHoles(chain);
    if (listing.startOffset >= this.#startOffset) {
      this.#startOffset = listing.startOffset;
      this.#startKey = listing.startKey;
    }
    // What was stored while the list was made can lack in it.
    this.#replace(isFirst ? chain.pieces : joinPieces(chain.pieces, this.#pieces));
    this.#endOffset = Math.max(this.#endOffset, chain.endOffset);
    if (isFirst) this.#deleteLater([...chain.unused, ...listing.outdated]);
    return listing;
  }

  /** A list is not made in one moment: an object that it lacks can be there all the same. */
  async #fillHoles(chain: Chain): Promise<void> {
    for (const piece of chain.pieces) {
      if (piece.key !== null) continue;
      const header = await this.#reader.soundHeader(runKey(this.handle.id, piece.baseOffset));
      if (header !== null) throw new EngineLostError('The list of objects changed while it was read');
    }
  }

  #push(piece: Piece): void {
    assert(piece.baseOffset === this.#endOffset, 'a log has no gaps');
    this.#endOffset = piece.endOffset;
    this.#replace([...this.#pieces, piece]);
  }

  #replace(pieces: readonly Piece[]): void {
    this.#pieces = pieces;
    this.#sizeBytes = pieces.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  #deleteLater(keys: readonly string[]): void {
    this.#host.janitor.deleteLater(keys, this.#host.deleteAfterMs);
  }

  /** Finds out whether this is still the newest writer, unless it was a moment ago; does not throw. */
  async #checkWriter(): Promise<void> {
    if (this.#host.now() - this.#checkedAt < writerCheckMs) return;
    try {
      if (!(await this.isNewestWriter())) this.#isRetired = true;
    } catch (error) {
      // Then the last answer holds for its time.
      if (!(error instanceof StorageError) && !(error instanceof EngineLostError)) throw error;
    }
  }

  /** Waits until the interval between uploads is over. */
  async #pace(): Promise<void> {
    const wait = this.#uploadedAt + this.#host.settings.uploadIntervalMs - this.#host.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    this.#uploadedAt = this.#host.now();
  }
}

function pieceOf(key: string, header: ObjectHeader, isRun: boolean): Piece {
  const { baseOffset, endOffset, maxTimestamp, bytes } = header;
  return { baseOffset, endOffset, maxTimestamp, bytes, key, isRun };
}
