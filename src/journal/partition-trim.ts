/**
 * Takes things out of a partition: its end (truncation), its beginning (retention, deletion). Each removal is durable in an
 * order that leaves a whole log after a crash at any point. Thread: the journal worker; called by the partition log.
 */

import { batchSizeAt, lastOffsetDeltaAt, maxTimestampAt } from '../core/batch/batch-format.ts';
import { isOutOfSpace } from '../core/files/file-errors.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { assert } from '../std/assert.ts';
import { PartitionReader } from './partition-reader.ts';
import { rebuildProducers, sizeOf } from './partition-recovery.ts';
import type { PartitionState } from './partition-state.ts';
import type { PartitionWriter } from './partition-writer.ts';
import { removeSnapshots } from './producer-snapshot.ts';
import type { Segment } from './segment/segment.ts';
import { batchesStart } from './segment/segment-format.ts';
import { indexName } from './segment/sparse-index.ts';
import { TailOfLog } from './tail-cache.ts';
import { findEntry, type TierEntry } from './tier/tier-manifest.ts';

/** Forgets all batches that end at or behind `offset`; one that begins before it goes as a whole. */
export function truncateLog(state: PartitionState, offset: number): void {
  const { chain, fileSystem } = state;
  const { active } = chain;
  assert(active.end === active.durableEnd, 'nothing is under way when a log is truncated');
  if (offset >= active.nextOffset) return;
  if (offset < state.logStartOffset) {
    const range = `the log begins at ${state.logStartOffset}`;
    throw new StorageError(
      'STORAGE_OFFSET_OUT_OF_RANGE',
      `Cannot truncate "${state.options.name}" to ${offset}: ${range}`,
    );
  }
  // What is in the tier is committed and decided, so this is for a log that was led by a broken one. The word of the tier goes first.
  state.options.tier?.truncate(offset);
  // The state of producers at a later offset would be a wrong one once the log has grown again.
  removeSnapshots(fileSystem, chain.segments[0].baseOffset, offset);
  fileSystem.syncFolder();
  state.tail.clear(state.tailOfLog);
  // Newest first, each durably: a crash leaves a shorter log without a gap.
  while (chain.segments.length > 1 && chain.active.baseOffset >= offset) {
    removeSegments(state, chain.segments.length - 1, 1);
    fileSystem.syncFolder();
  }
  cutSegment(state, chain.active, offset);
  const { nextOffset } = chain.active;
  chain.epochs.truncate(nextOffset);
  state.highWatermark = Math.min(state.highWatermark, nextOffset);
  // It was in the middle of the batch that went.
  state.logStartOffset = Math.min(state.logStartOffset, nextOffset);
  state.writeCheckpoint();
  state.producers = rebuildProducers(chain, state.logStartOffset);
  state.producers.onCommitted(state.highWatermark);
}

/** Moves the start of the log up to `offset`, and removes the segments below it. */
export function deleteBefore(state: PartitionState, offset: number): void {
  if (offset > state.highWatermark) {
    const range = `${state.highWatermark} is committed`;
    throw new StorageError(
      'STORAGE_OFFSET_OUT_OF_RANGE',
      `Cannot delete up to ${offset} of "${state.options.name}": ${range}`,
    );
  }
  if (offset <= state.startOffset) return;
  // First, so that nothing comes back of what was here alone: it is all below the new start.
  state.options.tier?.deleteBefore(offset);
  dropBefore(state, offset);
}

/** Removes the local copies of segments that the tier has, by the bounds for them. */
function dropTiered(state: PartitionState, nowMs: number): void {
  const { tier } = state.options;
  if (tier === null) return;
  const { bounds, safeEnd } = tier;
  const { segments } = state.chain;
  let bytes = sizeOf(state.chain);
  let start = state.logStartOffset;
  for (const [number, segment] of segments.entries()) {
    const next = segments[number + 1];
    const length = segment.end - batchesStart;
    const isTooMuch = bounds.bytes !== null && bytes - length >= bounds.bytes;
    const isTooOld = bounds.ms !== null && segment.maxTimestamp < nowMs - bounds.ms;
    if (next === undefined || next.baseOffset > safeEnd || !(isTooMuch || isTooOld)) break;
    start = next.baseOffset;
    bytes -= length;
  }
  dropBefore(state, start);
}

/** Moves the start of the local log, and removes the segments below it. */
function dropBefore(state: PartitionState, offset: number): void {
  if (offset <= state.logStartOffset) return;
  state.logStartOffset = offset;
  state.chain.epochs.trim(state.startOffset);
  // The tier knows for itself what was aborted in its segments.
  state.producers.trim(offset);
  // Durable first: without it the segments that are gone would be missed.
  state.writeCheckpoint();
  const { segments } = state.chain;
  let count = 0;
  while (count + 1 < segments.length && segments[count + 1].baseOffset <= offset) count += 1;
  if (count === 0) return;
  removeSegments(state, 0, count);
  removeSnapshots(state.fileSystem, segments[0].baseOffset);
  state.fileSystem.syncFolder();
}

/** Removes segments that are too old or too many, here and in the tier, and producers that were not heard of for long. */
export function retain(state: PartitionState, writer: PartitionWriter, nowMs: number): void {
  const { retentionBytes, retentionMs, producerExpiryMs, segmentMs } = state.options;
  const { chain } = state;
  state.producers.expire(nowMs, producerExpiryMs);
  const { active } = chain;
  const isExpired = (segment: Segment): boolean =>
    retentionMs !== null && segment.nextOffset <= state.highWatermark && segment.maxTimestamp < nowMs - retentionMs;
  if (active.hasBatches && (isExpired(active) || nowMs - active.createdMs >= segmentMs)) rollIfRoom(writer, nowMs);
  let start = state.startOffset;
  const inTier = tieredBefore(state);
  let bytes = sizeOf(chain) + inTier.reduce((sum, { end }) => sum + end - batchesStart, 0);
  let isBehindTier = true;
  for (const { nextOffset, end, maxTimestamp } of inTier) {
    const length = end - batchesStart;
    const isTooMuch = retentionBytes !== null && bytes - length >= retentionBytes;
    const isTooOld = retentionMs !== null && maxTimestamp < nowMs - retentionMs;
    isBehindTier = isTooMuch || isTooOld;
    if (!isBehindTier) break;
    start = nextOffset;
    bytes -= length;
  }
  for (const [number, segment] of isBehindTier ? chain.segments.entries() : []) {
    const next = chain.segments[number + 1];
    const length = segment.end - batchesStart;
    const isTooMuch = retentionBytes !== null && bytes - length >= retentionBytes;
    if (next === undefined || next.baseOffset > state.highWatermark || !(isTooMuch || isExpired(segment))) break;
    start = next.baseOffset;
    bytes -= length;
  }
  deleteBefore(state, start);
  dropTiered(state, nowMs);
}

/** What the tier alone has, in order. */
function tieredBefore(state: PartitionState): readonly TierEntry[] {
  const { tier } = state.options;
  const first = state.chain.segments[0].baseOffset;
  if (tier === null || state.startOffset >= first) return [];
  return tier.entries.slice(0, findEntry(tier.entries, first));
}

/** Takes segments out of the chain and away from the disk; durable after `syncFolder`. */
export function removeSegments(state: PartitionState, start: number, count: number): void {
  const names = new Set(state.fileSystem.list());
  for (const { name, baseOffset } of state.chain.splice(start, count)) {
    state.fileSystem.remove(name);
    if (names.has(indexName(baseOffset))) state.fileSystem.remove(indexName(baseOffset));
  }
}

/** A full disk must not stop the removal that makes room on it. */
function rollIfRoom(writer: PartitionWriter, nowMs: number): void {
  try {
    writer.roll(nowMs);
  } catch (error) {
    if (!isOutOfSpace(error)) throw error;
  }
}

function cutSegment(state: PartitionState, segment: Segment, offset: number): void {
  if (offset >= segment.nextOffset) {
    segment.truncate(segment.end, segment.nextOffset, segment.maxTimestamp);
    return;
  }
  const { chain } = state;
  chain.use(segment);
  const damage = segment.damages.find((item) => item.firstOffset <= offset && offset < item.nextOffset);
  if (damage !== undefined) {
    segment.truncate(damage.position, damage.firstOffset, segment.maxTimestamp);
    return;
  }
  const place = placeBefore(state, segment, offset);
  segment.truncate(place.position, place.offset, place.maxTimestamp);
}

/** Where the batch begins that `offset` is in. */
function placeBefore(
  state: PartitionState,
  segment: Segment,
  offset: number,
): { readonly position: number; readonly offset: number; readonly maxTimestamp: number } {
  const reader = new PartitionReader(state.chain, new TailOfLog());
  let position = batchesStart;
  let next = segment.baseOffset;
  let maxTimestamp = -1;
  while (next < offset) {
    const damage = segment.damages.find((item) => item.firstOffset === next && item.nextOffset > next);
    if (damage !== undefined) {
      position = damage.end;
      next = damage.nextOffset;
      continue;
    }
    const { slices } = reader.read(next, segment.durableNextOffset, 1024 * 1024);
    for (const slice of slices) {
      for (let at = 0; at < slice.length; ) {
        const end = next + lastOffsetDeltaAt(slice, at) + 1;
        if (end > offset) return { position, offset: next, maxTimestamp };
        maxTimestamp = Math.max(maxTimestamp, maxTimestampAt(slice, at));
        position += batchSizeAt(slice, at);
        at += batchSizeAt(slice, at);
        next = end;
      }
    }
  }
  return { position, offset: next, maxTimestamp };
}
