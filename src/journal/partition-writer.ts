/**
 * Writes the rounds of a partition: what was submitted since the last one, checked against the producers, with its offsets,
 * in one write. Rolls segments. Thread: the journal worker; owned by the partition log.
 */

import {
  assignPlace,
  type BatchHeader,
  baseOffsetAt,
  isControl,
  lastOffsetDeltaAt,
  maxTimestampAt,
} from '../core/batch/batch-format.ts';
import { type ControlType, readControlType } from '../core/batch/control-batch.ts';
import { isOutOfSpace } from '../core/files/file-errors.ts';
import type { RandomAccessFile } from '../core/ports/file-system.ts';
import type { Undo } from '../core/streams/producer-state.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import { assert } from '../std/assert.ts';
import { toError } from '../std/errors.ts';
import { type Append, failedAppend } from './append.ts';
import { EpochTable } from './checkpoint.ts';
import type { PartitionState } from './partition-state.ts';
import { writeProducerSnapshot } from './producer-snapshot.ts';

export class PartitionWriter {
  readonly #state: PartitionState;
  /** A write failed for want of room, and what it left must go before the next one. */
  #hasRemains = false;

  constructor(state: PartitionState) {
    this.#state = state;
  }

  /**
   * Writes what can be of `appends` and answers the file to be synced; null when nothing was written. An append that has a
   * result is decided, though it is only told at the end of the round: a repetition may be one of this round.
   */
  writeRound(appends: readonly Append[], nowMs: number): RandomAccessFile | null {
    const round = new Round(this.#state);
    try {
      this.#clean();
      for (const append of appends) round.add(append);
      if (round.bytes === 0) return null;
      this.#write(round, nowMs);
      return this.#state.chain.active.file();
    } catch (thrown) {
      round.undo();
      const isFull = isOutOfSpace(thrown);
      this.#hasRemains = isFull;
      const full = `Cannot append to "${this.#state.options.name}": the disk is full`;
      const error = isFull ? new StorageError('STORAGE_DISK_FULL', full) : this.#state.fail(toError(thrown));
      refuse(appends, round.firstOffset, error);
      return null;
    }
  }

  /** Ends the active segment and begins the next one, both durably. Nothing is under way. */
  roll(nowMs: number): void {
    const { chain, producers } = this.#state;
    const { active } = chain;
    assert(active.durableEnd === active.end, 'a segment is sealed when all of it is durable');
    active.seal();
    chain.writeIndex(active);
    // Its name is durable with that of the new segment.
    writeProducerSnapshot(chain.fileSystem, producers.snapshot(active.nextOffset), 'content');
    chain.addSegment(nowMs);
  }

  #write(round: Round, nowMs: number): void {
    const { chain, options, tail, tailOfLog } = this.#state;
    const { segmentBytes, segmentMs } = options;
    const { end, hasBatches, isSealed, createdMs } = chain.active;
    const isDue = end + round.bytes > segmentBytes || nowMs - createdMs >= segmentMs;
    if (isSealed || (hasBatches && isDue)) {
      // The snapshot at the end of the old segment must not know what comes behind it.
      round.undo();
      this.roll(nowMs);
      round.redo();
    }
    const segment = chain.active;
    const position = segment.end;
    assert(position + round.bytes < 2 ** 32, 'a segment is shorter than 4 GiB');
    round.beginEpochs();
    const bytes = tail.allocate(round.bytes);
    const maxTimestamp = round.copyTo(bytes, position);
    segment.append(bytes, round.nextOffset, maxTimestamp, options.proofBytes);
    segment.writeAhead(segmentBytes);
    tail.add(tailOfLog, segment, position, bytes);
  }

  #clean(): void {
    if (!this.#hasRemains) return;
    const { active } = this.#state.chain;
    if (!active.isSealed) active.dropUnsynced();
    this.#hasRemains = false;
  }
}

/** What is gathered for one write. */
class Round {
  readonly accepted: Append[] = [];
  bytes = 0;
  readonly firstOffset: number;
  nextOffset: number;
  readonly #state: PartitionState;
  /** Both are as long as each other, until all is undone. */
  readonly #undo: Undo[] = [];
  readonly #applied: { readonly header: BatchHeader; readonly marker: ControlType | null }[] = [];
  readonly #epochs: { epoch: number; startOffset: number }[] = [];
  #epoch: number;

  constructor(state: PartitionState) {
    this.#state = state;
    this.firstOffset = state.chain.active.nextOffset;
    this.nextOffset = this.firstOffset;
    this.#epoch = state.chain.epochs.latestEpoch;
  }

  /** Decides about one append; a refused one changes nothing. */
  add(append: Append): void {
    const before = { undo: this.#undo.length, epochs: this.#epochs.length, epoch: this.#epoch, next: this.nextOffset };
    try {
      const baseOffset = this.nextOffset;
      if (this.#isRepetition(append)) return;
      this.#acceptEpoch(append);
      let at = 0;
      for (const header of append.headers) {
        this.#accept(append, header, at);
        at += header.size;
      }
      append.result = { error: null, baseOffset, lastOffset: this.nextOffset - 1, isDuplicate: false };
      this.accepted.push(append);
      this.bytes += append.bytes.length;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#undoTo(before.undo);
      this.#epochs.length = before.epochs;
      this.#epoch = before.epoch;
      this.nextOffset = before.next;
      append.result = failedAppend(error);
    }
  }

  undo(): void {
    while (this.#undo.length > 0) this.#undo.pop()?.();
  }

  /** Takes the batches into the state of the producers again. */
  redo(): void {
    for (const { header, marker } of this.#applied) this.#undo.push(this.#state.producers.apply(header, marker));
  }

  /** Stores the epochs that begin in this round, before a batch of theirs is written. */
  beginEpochs(): void {
    if (this.#epochs.length === 0) return;
    const { chain } = this.#state;
    const next = new EpochTable(chain.epochs.entries);
    for (const { epoch, startOffset } of this.#epochs) next.begin(epoch, startOffset);
    this.#state.writeCheckpoint(next.entries);
    chain.epochs.replace(next.entries);
  }

  /** Copies the batches with their places; answers the largest timestamp. */
  copyTo(target: Buffer, position: number): number {
    const { chain } = this.#state;
    const { active } = chain;
    const { index, nextOffset: firstOffset, damages } = active;
    let maxTimestamp = active.maxTimestamp;
    let offset = firstOffset;
    let at = 0;
    for (const { bytes, headers, leaderEpoch } of this.accepted) {
      bytes.copy(target, at);
      for (const header of headers) {
        if (leaderEpoch !== 'replica') assignPlace(target, at, offset, leaderEpoch);
        index?.add(offset, position + at, maxTimestamp, damages.at(-1)?.end === position + at);
        maxTimestamp = Math.max(maxTimestamp, maxTimestampAt(target, at));
        offset = baseOffsetAt(target, at) + lastOffsetDeltaAt(target, at) + 1;
        at += header.size;
      }
    }
    return maxTimestamp;
  }

  #isRepetition(append: Append): boolean {
    const [header] = append.headers;
    // None of them may go by unchecked, wherever it stands.
    if (append.leaderEpoch === 'replica' || append.headers.every(({ producerId }) => producerId < 0)) return false;
    if (append.headers.length > 1) {
      throw new StorageError('STORAGE_BATCH_INVALID', 'Cannot append batches of a producer: there is more than one');
    }
    const stored = this.#state.producers.check(header);
    if (stored === null) return false;
    append.result = { error: null, baseOffset: stored.baseOffset, lastOffset: stored.lastOffset, isDuplicate: true };
    return true;
  }

  #acceptEpoch(append: Append): void {
    if (append.leaderEpoch === 'replica') return;
    this.#beginEpoch(append.leaderEpoch);
  }

  #beginEpoch(epoch: number): void {
    if (epoch < this.#epoch) {
      const state = `epoch ${this.#epoch} is known`;
      throw new StorageError('STORAGE_LEADER_FENCED', `Cannot append with leader epoch ${epoch}: ${state}`);
    }
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#epochs.push({ epoch, startOffset: this.nextOffset });
  }

  #accept(append: Append, header: BatchHeader, at: number): void {
    if (append.leaderEpoch === 'replica') {
      if (header.baseOffset !== this.nextOffset) {
        const what = `offset ${header.baseOffset}: the log ends at ${this.nextOffset}`;
        throw new StorageError('STORAGE_OFFSET_OUT_OF_RANGE', `Cannot append a batch at ${what}`);
      }
      this.#beginEpoch(header.leaderEpoch);
    }
    const baseOffset = this.nextOffset;
    const lastOffset = baseOffset + (header.lastOffset - header.baseOffset);
    this.nextOffset = lastOffset + 1;
    // Without a producer there is nothing to remember.
    if (header.producerId < 0) return;
    const marker = isControl(header.attributes) ? readControlType(append.bytes, at) : null;
    const placed = { ...header, baseOffset, lastOffset };
    this.#applied.push({ header: placed, marker });
    this.#undo.push(this.#state.producers.apply(placed, marker));
  }

  #undoTo(length: number): void {
    while (this.#undo.length > length) this.#undo.pop()?.();
    this.#applied.length = length;
  }
}

/** Answers `error` to all that were not decided or would begin at or behind `firstOffset`, repetitions of them included. */
export function refuse(appends: readonly Append[], firstOffset: number, error: StorageError): void {
  for (const append of appends) {
    const { result } = append;
    if (result === null || (result.error === null && result.lastOffset >= firstOffset)) {
      append.result = failedAppend(error);
    }
  }
}
