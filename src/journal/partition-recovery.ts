/**
 * Opens a partition: finishes what a crash interrupted, finds the end of the log, and tells a torn tail from damage by the
 * rule in `segment/segment-format.ts`. After a clean shutdown it reads what is in front of each segment; after a crash also the
 * last segment. Thread: the journal worker; called by the partition log.
 */

import { isControl, leaderEpochAt, readBatchHeader } from '../core/batch/batch-format.ts';
import { readControlType } from '../core/batch/control-batch.ts';
import type { FileSystem } from '../core/ports/file-system.ts';
import { ProducerState } from '../core/streams/producer-state.ts';
import { assert } from '../std/assert.ts';
import { temporarySuffix } from './atomic-file.ts';
import { type Checkpoint, EpochTable, readCheckpoint, writeCheckpoint } from './checkpoint.ts';
import { type PartitionOptions, storedBatchBytesMax } from './partition-options.ts';
import { PartitionReader } from './partition-reader.ts';
import { PartitionState } from './partition-state.ts';
import { readProducerSnapshot, removeSnapshots, writeProducerSnapshot } from './producer-snapshot.ts';
import { newSegmentName, Segment } from './segment/segment.ts';
import { baseOffsetOf, batchesStart, segmentName } from './segment/segment-format.ts';
import { scanSegment } from './segment/segment-scan.ts';
import { indexName } from './segment/sparse-index.ts';
import { corrupted, SegmentChain } from './segment-chain.ts';
import { TailOfLog } from './tail-cache.ts';

/** What is read at once when all batches of a range are gone through. */
const stepBytes = 1024 * 1024;

/**
 * `isClean`: the directory was closed in order, so that what is behind the last proof of a segment is nothing.
 *
 * @throws StorageError STORAGE_CORRUPTED when nothing can be said about the end of the log, and the disk's errors
 */
export function recoverPartition(
  fileSystem: FileSystem,
  options: PartitionOptions,
  nowMs: number,
  isClean: boolean,
): PartitionState {
  return new Recovery(fileSystem, options, nowMs, isClean).run();
}

class Recovery {
  readonly #fileSystem: FileSystem;
  readonly #options: PartitionOptions;
  readonly #nowMs: number;
  readonly #isClean: boolean;

  constructor(fileSystem: FileSystem, options: PartitionOptions, nowMs: number, isClean: boolean) {
    this.#fileSystem = fileSystem;
    this.#options = options;
    this.#nowMs = nowMs;
    this.#isClean = isClean;
  }

  run(): PartitionState {
    // A process that died may have left renames that are seen and not durable: nothing may be removed on their word.
    this.#fileSystem.syncFolder();
    this.#removeTemporary();
    const stored = readCheckpoint(this.#fileSystem);
    const bases = this.#fileSystem
      .list()
      .map(baseOffsetOf)
      .filter((base) => base >= 0);
    const isNew = stored === 'missing' && bases.length === 0;
    const checkpoint = typeof stored === 'string' ? emptyCheckpoint(bases[0] ?? 0) : stored;
    if (isNew) writeCheckpoint(this.#fileSystem, checkpoint);
    const epochs = new EpochTable(checkpoint.epochs);
    const chain = new SegmentChain(this.#fileSystem, this.#options, epochs, []);
    try {
      this.#openSegments(chain, bases, checkpoint);
      if (typeof stored === 'string' && !isNew) this.#rebuildCheckpoint(chain, stored);
      return this.#finish(chain, checkpoint);
    } catch (error) {
      chain.close();
      throw error;
    }
  }

  /** What a replacement or a new segment had not become when the power went. */
  #removeTemporary(): void {
    for (const name of this.#fileSystem.list()) {
      if (name === newSegmentName || name.endsWith(temporarySuffix)) this.#fileSystem.remove(name);
    }
  }

  #openSegments(chain: SegmentChain, bases: readonly number[], checkpoint: Checkpoint): void {
    const superseded: number[] = [];
    for (const [number, base] of bases.entries()) {
      const next = bases[number + 1];
      const before = chain.segments.at(-1);
      // All of it is below the start of the log, or in the clean segment that took its place.
      const isBelow = next !== undefined && next <= checkpoint.logStartOffset;
      if (isBelow || (before !== undefined && before.generation > 0 && base < before.nextOffset)) {
        superseded.push(base);
        continue;
      }
      const segment = Segment.open(this.#fileSystem, base, this.#nowMs);
      chain.segments.push(segment);
      if (segment.headerFault !== null) chain.tellDamage(segment, 0, base, base, segment.headerFault);
    }
    for (const [number, segment] of chain.segments.entries()) {
      const next = chain.segments[number + 1];
      if (next === undefined) this.#openLast(chain, segment);
      else this.#openSealed(chain, segment, next.baseOffset);
    }
    if (chain.segments.length === 0) {
      const { indexIntervalBytes } = this.#options;
      const first = Math.max(checkpoint.logStartOffset, 0);
      chain.segments.push(Segment.create(this.#fileSystem, first, this.#nowMs, indexIntervalBytes));
    }
    this.#removeOrphans(chain, superseded);
    const first = chain.segments[0].baseOffset;
    if (first <= checkpoint.logStartOffset) return;
    const reason = 'the segment before it is missing';
    chain.tellDamage(chain.segments[0], 0, checkpoint.logStartOffset, first, reason);
  }

  #openSealed(chain: SegmentChain, segment: Segment, nextBase: number): void {
    if (segment.isSealed && segment.nextOffset === nextBase) {
      segment.putAway();
      return;
    }
    if (segment.isSealed) {
      chain.tellDamage(segment, segment.end, segment.nextOffset, nextBase, 'the segment behind it is missing');
      segment.putAway();
      return;
    }
    // It was sealed before the next one was made: the proof of it is damaged. All of the file counts.
    chain.tellDamage(segment, 0, segment.baseOffset, segment.baseOffset, 'the proof slot is damaged');
    segment.adopt(segment.size, nextBase);
    chain.rescan(segment);
  }

  #openLast(chain: SegmentChain, segment: Segment): void {
    const flags = segment.slot?.flags ?? 0;
    const { name, indexIntervalBytes: intervalBytes, onEvent } = this.#options;
    if (this.#isClean && flags !== 0 && segment.size === segment.end) {
      chain.use(segment);
      return;
    }
    const scan = (provenEnd: number, provenNextOffset: number) =>
      scanSegment(segment.file(), segment.size, {
        baseOffset: segment.baseOffset,
        provenEnd,
        provenNextOffset,
        goesOn: true,
        intervalBytes,
        batchBytesMax: storedBatchBytesMax,
        epochOf: (offset) => chain.epochs.epochOf(offset),
      });
    const found = scan(segment.durableEnd, segment.durableNextOffset);
    if (segment.slot === null) {
      chain.tellDamage(segment, 0, segment.baseOffset, segment.baseOffset, 'both proof slots are damaged');
      // Without a proof nobody can say whether what is unreadable was durable.
      if (found.tornBytes > 0) throw corrupted(segment.name, found.end, 'the end of the log is unknown');
    }
    segment.index = found.index;
    segment.damages = found.damages;
    for (const damage of found.damages) {
      chain.tellDamage(segment, damage.position, damage.firstOffset, damage.nextOffset, 'the batch is damaged');
    }
    if (found.tornBytes > 0) {
      onEvent({ type: 'torn-tail', partition: name, file: segment.name, position: found.end, bytes: found.tornBytes });
    }
    segment.repair(found.end, found.nextOffset, found.maxTimestamp);
  }

  /** Segments whose removal was not durable, and helps of segments that are gone. */
  #removeOrphans(chain: SegmentChain, superseded: readonly number[]): void {
    for (const base of superseded) this.#fileSystem.remove(segmentName(base));
    const helps = new Set(chain.segments.map(({ baseOffset }) => indexName(baseOffset)));
    for (const name of this.#fileSystem.list()) {
      if (name.endsWith('.index') && !helps.has(name)) this.#fileSystem.remove(name);
    }
    removeSnapshots(this.#fileSystem, chain.segments[0].baseOffset, chain.active.nextOffset);
    this.#fileSystem.syncFolder();
  }

  #rebuildCheckpoint(chain: SegmentChain, what: 'missing' | 'damaged'): void {
    const first = chain.segments[0].baseOffset;
    chain.tellDamage({ name: 'checkpoint' }, 0, first, first, `the checkpoint is ${what}`);
    const epochs = new EpochTable([]);
    eachBatch(chain, new PartitionReader(chain, new TailOfLog()), first, (bytes, at, offset) => {
      epochs.begin(leaderEpochAt(bytes, at), offset);
    });
    chain.epochs.replace(epochs.entries);
    writeCheckpoint(this.#fileSystem, { logStartOffset: first, highWatermark: first, epochs: epochs.entries });
  }

  #finish(chain: SegmentChain, checkpoint: Checkpoint): PartitionState {
    const { nextOffset } = chain.active;
    const logStartOffset = Math.min(checkpoint.logStartOffset, nextOffset);
    const highWatermark = this.#options.isReplicated ? Math.min(checkpoint.highWatermark, nextOffset) : nextOffset;
    // An epoch whose first batch did not survive must not come back when the log has grown past it.
    if (chain.epochs.truncate(nextOffset)) {
      writeCheckpoint(this.#fileSystem, { logStartOffset, highWatermark, epochs: chain.epochs.entries });
    }
    const producers = rebuildProducers(chain, logStartOffset);
    producers.onCommitted(highWatermark);
    return new PartitionState(chain, producers, { logStartOffset, highWatermark });
  }
}

/** The state of all producers at the end of the log: the newest snapshot, and the batches behind it. */
export function rebuildProducers(chain: SegmentChain, logStartOffset: number): ProducerState {
  const { nextOffset } = chain.active;
  const snapshot = readProducerSnapshot(chain.fileSystem, nextOffset);
  const producers = snapshot === null ? new ProducerState() : ProducerState.from(snapshot);
  // Also what is below the start of the log, as long as it is there: sequences and transactions go on from it.
  const from = Math.max(snapshot?.offset ?? 0, chain.segments[0].baseOffset);
  eachBatch(chain, new PartitionReader(chain, new TailOfLog()), from, (bytes, at) => {
    const header = readBatchHeader(bytes, at);
    producers.apply(header, isControl(header.attributes) ? readControlType(bytes, at) : null);
  });
  producers.trim(logStartOffset);
  return producers;
}

/** Goes through all durable batches from `from` on; what is damaged is passed over here, and was told when it was found. */
export function eachBatch(
  chain: SegmentChain,
  reader: PartitionReader,
  from: number,
  take: (bytes: Buffer, at: number, offset: number) => void,
): void {
  const end = chain.active.durableNextOffset;
  for (let offset = from; offset < end; ) {
    const next = readNext(chain, reader, offset, end);
    for (const slice of next.slices) {
      for (let at = 0; at < slice.length; ) {
        const header = readBatchHeader(slice, at);
        take(slice, at, header.baseOffset);
        at += header.size;
      }
    }
    assert(next.nextOffset > offset, 'each step reads something');
    offset = next.nextOffset;
  }
}

function readNext(chain: SegmentChain, reader: PartitionReader, offset: number, end: number) {
  try {
    return reader.read(offset, end, stepBytes);
  } catch (error) {
    const nextOffset = behindDamage(chain, offset);
    if (nextOffset === null) throw error;
    return { slices: [], bytes: 0, nextOffset };
  }
}

/** What can be read behind the damage that `offset` is in; null when it is not in one. */
export function behindDamage(chain: SegmentChain, offset: number): number | null {
  const number = chain.find(offset);
  const damage = chain.segments[number]?.damages.find((item) => item.firstOffset <= offset && offset < item.nextOffset);
  if (damage !== undefined) return damage.nextOffset;
  // Between the end of a segment and the next one, when a file is missing.
  const next = chain.segments[number + 1];
  const isMissing = next !== undefined && (number < 0 || offset >= chain.segments[number].nextOffset);
  return isMissing ? next.baseOffset : null;
}

function emptyCheckpoint(logStartOffset: number): Checkpoint {
  return { logStartOffset, highWatermark: logStartOffset, epochs: [] };
}

/** Stores the state of the producers for the next opening, at the end of the log. */
export function storeProducers(state: PartitionState): void {
  const { chain, producers, fileSystem } = state;
  const { nextOffset } = chain.active;
  writeProducerSnapshot(fileSystem, producers.snapshot(nextOffset));
}

/** All bytes of all segments. */
export function sizeOf(chain: SegmentChain): number {
  return chain.segments.reduce((sum, segment) => sum + segment.end - batchesStart, 0);
}
