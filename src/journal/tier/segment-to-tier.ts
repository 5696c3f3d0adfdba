/**
 * Which segment of a log goes to the cold tier next, and what belongs to it. Thread: the journal worker; called by the partition log,
 * used by the upload.
 */

import { open as openFile } from 'node:fs/promises';
import type { FileSystem } from '../../core/ports/file-system.ts';
import type { AbortedTransaction } from '../../core/streams/producer-state.ts';
import { readWholeFile } from '../atomic-file.ts';
import type { EpochStart } from '../checkpoint.ts';
import type { PartitionState } from '../partition-state.ts';
import { snapshotName } from '../producer-snapshot.ts';
import type { Segment } from '../segment/segment.ts';

export interface SegmentToTier {
  readonly segment: Segment;
  /** Of the segment, as they are now. */
  readonly nextOffset: number;
  readonly end: number;
  readonly maxTimestamp: number;
  readonly epochs: readonly EpochStart[];
  /** With batches in the segment. */
  readonly aborted: readonly AbortedTransaction[];
  /** State at the end of the segment, as it was stored; empty: none. Reads a small file. */
  producers(): Buffer;
  readonly indexIntervalBytes: number;
  openFile(): Promise<SegmentBytes>;
}

/** The bytes of a segment, read without holding up the thread where the disk is a real one. */
export interface SegmentBytes {
  /** As many as there are. */
  read(target: Buffer, position: number): Promise<number>;
  close(): Promise<void>;
}

/** Null when nothing is full, committed, decided and sound behind what the tier has. */
export function nextToTier(state: PartitionState): SegmentToTier | null {
  const { chain, options, highWatermark, producers, fileSystem } = state;
  const { tier } = options;
  if (tier === null || !tier.isCertain) return null;
  const segment = tier.isEmpty ? chain.segments[0] : chain.segments[chain.find(tier.endOffset)];
  if (segment === undefined || segment === chain.active || !segment.isSealed || segment.damages.length > 0) return null;
  const { baseOffset, nextOffset, end, maxTimestamp } = segment;
  if (!tier.isEmpty && baseOffset !== tier.endOffset) return null;
  // Only then its list of aborted transactions is final.
  if (nextOffset > producers.lastStableOffset(highWatermark) || nextOffset <= state.startOffset) return null;
  return {
    segment,
    nextOffset,
    end,
    maxTimestamp,
    epochs: chain.epochs.within(baseOffset, nextOffset),
    aborted: producers.abortedIn(baseOffset, nextOffset),
    producers: () => {
      const snapshot = readWholeFile(fileSystem, snapshotName(nextOffset));
      return typeof snapshot === 'string' ? Buffer.alloc(0) : snapshot;
    },
    indexIntervalBytes: options.indexIntervalBytes,
    openFile: () => openBytes(fileSystem, segment.name),
  };
}

async function openBytes(fileSystem: FileSystem, name: string): Promise<SegmentBytes> {
  const path = fileSystem.pathOf?.(name) ?? null;
  if (path === null) {
    const file = fileSystem.open(name, { create: false });
    return { read: async (target, position) => file.read(target, position), close: async () => file.close() };
  }
  const file = await openFile(path, 'r');
  return {
    read: async (target, position) => {
      let length = 0;
      while (length < target.length) {
        const { bytesRead } = await file.read(target, length, target.length - length, position + length);
        if (bytesRead === 0) break;
        length += bytesRead;
      }
      return length;
    },
    close: () => file.close(),
  };
}
