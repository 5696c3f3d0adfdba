/**
 * What a partition must know beside its batches: where the log begins, up to where it was committed, and at which offset each
 * leader epoch began. Thread: the journal worker; owned by the partition log.
 *
 * File `checkpoint`, replaced as a whole (`atomic-file.ts`; little endian): magic "RINGCKPT" 8, format version 4 (1), count of
 * epochs 4, log start offset 8, high watermark 8, then of each epoch, ascending: epoch 4, zero 4, start offset 8; CRC-32C 4.
 *
 * Order: an epoch is in the file before a batch of it is written, and the log start before a segment below it is removed.
 * When the log is truncated the batches go first; epochs that begin at or behind the end of the log are dropped when it is opened.
 */

import type { FileSystem } from '../core/ports/file-system.ts';
import { readWholeFile, replaceFile } from './atomic-file.ts';
import { readUint64, writeUint64 } from './segment/segment-format.ts';

export const checkpointName = 'checkpoint';

const magic = 'RINGCKPT';
const version = 1;

export interface EpochStart {
  readonly epoch: number;
  readonly startOffset: number;
}

export interface Checkpoint {
  readonly logStartOffset: number;
  readonly highWatermark: number;
  readonly epochs: readonly EpochStart[];
}

export function writeCheckpoint(fileSystem: FileSystem, checkpoint: Checkpoint): void {
  const { epochs } = checkpoint;
  const bytes = Buffer.alloc(32 + 16 * epochs.length);
  bytes.write(magic, 0, 'latin1');
  bytes.writeUInt32LE(version, 8);
  bytes.writeUInt32LE(epochs.length, 12);
  writeUint64(bytes, checkpoint.logStartOffset, 16);
  writeUint64(bytes, checkpoint.highWatermark, 24);
  for (const [number, { epoch, startOffset }] of epochs.entries()) {
    bytes.writeUInt32LE(epoch, 32 + 16 * number);
    writeUint64(bytes, startOffset, 40 + 16 * number);
  }
  replaceFile(fileSystem, checkpointName, bytes);
}

export function readCheckpoint(fileSystem: FileSystem): Checkpoint | 'missing' | 'damaged' {
  const bytes = readWholeFile(fileSystem, checkpointName);
  if (typeof bytes === 'string') return bytes;
  if (bytes.length < 32 || bytes.toString('latin1', 0, 8) !== magic || bytes.readUInt32LE(8) !== version) {
    return 'damaged';
  }
  const count = bytes.readUInt32LE(12);
  if (bytes.length !== 32 + 16 * count) return 'damaged';
  const epochs = Array.from({ length: count }, (_, number) => ({
    epoch: bytes.readUInt32LE(32 + 16 * number),
    startOffset: readUint64(bytes, 40 + 16 * number),
  }));
  return { logStartOffset: readUint64(bytes, 16), highWatermark: readUint64(bytes, 24), epochs };
}

/** The leader epochs of a log and where each begins, in memory. */
export class EpochTable {
  #entries: EpochStart[];

  constructor(entries: readonly EpochStart[]) {
    this.#entries = [...entries];
  }

  get entries(): readonly EpochStart[] {
    return this.#entries;
  }

  /** -1 for a log that never had one. */
  get latestEpoch(): number {
    return this.#entries.at(-1)?.epoch ?? -1;
  }

  /** Epoch of the batch that begins at `offset`; -1 when none is known. */
  epochOf(offset: number): number {
    for (let at = this.#entries.length - 1; at >= 0; at -= 1) {
      if (this.#entries[at].startOffset <= offset) return this.#entries[at].epoch;
    }
    return -1;
  }

  /** The entries that concern the batches in [from, to). */
  within(from: number, to: number): readonly EpochStart[] {
    const entries = this.#entries;
    return entries.filter(
      ({ startOffset }, at) => startOffset < to && (entries[at + 1]?.startOffset ?? Number.POSITIVE_INFINITY) > from,
    );
  }

  /** Adds a newer epoch; answers whether it was one. An epoch without a batch gives its place to the next. */
  begin(epoch: number, startOffset: number): boolean {
    if (epoch <= this.latestEpoch) return false;
    while ((this.#entries.at(-1)?.startOffset ?? -1) >= startOffset) this.#entries.pop();
    this.#entries.push({ epoch, startOffset });
    return true;
  }

  replace(entries: readonly EpochStart[]): void {
    this.#entries = [...entries];
  }

  /** Forgets what begins at or behind `endOffset`; answers whether there was something. */
  truncate(endOffset: number): boolean {
    const kept = this.#entries.filter(({ startOffset }) => startOffset < endOffset);
    const isChanged = kept.length < this.#entries.length;
    this.#entries = kept;
    return isChanged;
  }

  /** Forgets epochs that end below `startOffset`. */
  trim(startOffset: number): void {
    while (this.#entries.length > 1 && this.#entries[1].startOffset <= startOffset) this.#entries.shift();
  }

  /**
   * The largest known epoch up to `epoch`, and the offset behind its last batch: where a follower that was led by `epoch`
   * must cut its log before it follows this one. Null when no epoch up to it is known.
   */
  endOffsetFor(epoch: number, logEndOffset: number): { readonly epoch: number; readonly endOffset: number } | null {
    for (let at = this.#entries.length - 1; at >= 0; at -= 1) {
      const entry = this.#entries[at];
      if (entry.epoch > epoch) continue;
      return { epoch: entry.epoch, endOffset: this.#entries[at + 1]?.startOffset ?? logEndOffset };
    }
    return null;
  }
}
