/**
 * One segment file: where it ends, what of it is proven to be durable, and the writes that append to it. The format and the
 * rules of order are in `segment-format.ts`. Thread: the journal worker; owned by the partition's chain.
 */

import { isOutOfSpace } from '../../core/files/file-errors.ts';
import type { FileSystem, RandomAccessFile } from '../../core/ports/file-system.ts';
import { assert } from '../../std/assert.ts';
import {
  batchesStart,
  decodeSegmentHeader,
  encodeSegmentFront,
  encodeSlot,
  newestSlot,
  type PlacedSlot,
  type ProofSlot,
  segmentName,
  slotFlags,
  slotPositions,
} from './segment-format.ts';
import type { Damage } from './segment-scan.ts';
import { SparseIndex } from './sparse-index.ts';

/** A file that is being made, until it has a header and its name. */
export const newSegmentName = 'segment.new';

/** More of it makes the syncs that carry it slow. */
const aheadMax = 256 * 1024;
const zeros = Buffer.alloc(aheadMax);

export class Segment {
  readonly baseOffset: number;
  readonly name: string;
  readonly createdMs: number;
  readonly generation: number;
  /** Where the next batch goes, and the offset it gets. */
  end = batchesStart;
  nextOffset: number;
  maxTimestamp = -1;
  /** The same as of the last sync. */
  durableEnd = batchesStart;
  durableNextOffset: number;
  isSealed = false;
  /** Null until somebody needs it, in segments that are sealed. */
  index: SparseIndex | null = null;
  damages: readonly Damage[] = [];
  /** What is wrong with the header; null when nothing is. */
  readonly headerFault: string | null;
  readonly #fileSystem: FileSystem;
  #file: RandomAccessFile | null;
  /** Of the file; beyond `end` there are zeros. */
  #size: number;
  #slot: PlacedSlot | null;
  /** The newest slot is written and not synced: the next one goes to the same place. */
  #isSlotPending = false;

  private constructor(
    fileSystem: FileSystem,
    file: RandomAccessFile,
    baseOffset: number,
    front: {
      readonly createdMs: number;
      readonly generation: number;
      readonly headerFault: string | null;
      readonly slot: PlacedSlot | null;
    },
  ) {
    this.#fileSystem = fileSystem;
    this.#file = file;
    this.#size = file.size();
    this.#slot = front.slot;
    this.baseOffset = baseOffset;
    this.name = segmentName(baseOffset);
    this.nextOffset = baseOffset;
    this.durableNextOffset = baseOffset;
    this.createdMs = front.createdMs;
    this.generation = front.generation;
    this.headerFault = front.headerFault;
  }

  /** Makes the file, durable with its name. Throws the disk's errors; what is left of it then has another name. */
  static create(fileSystem: FileSystem, baseOffset: number, nowMs: number, intervalBytes: number): Segment {
    const name = segmentName(baseOffset);
    if (fileSystem.list().includes(newSegmentName)) fileSystem.remove(newSegmentName);
    const file = fileSystem.open(newSegmentName, { create: true });
    try {
      const slot = emptySlot(baseOffset);
      file.write(encodeSegmentFront({ baseOffset, generation: 0, createdMs: nowMs }, slot), 0);
      file.syncNow();
      fileSystem.rename(newSegmentName, name);
      fileSystem.syncFolder();
      const front = { createdMs: nowMs, generation: 0, headerFault: null, slot: { ...slot, place: 0 } };
      const segment = new Segment(fileSystem, file, baseOffset, front);
      segment.index = new SparseIndex(intervalBytes);
      return segment;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Opens the file and reads what is in front of the batches; `end` and `nextOffset` are then what the slot proves. */
  static open(fileSystem: FileSystem, baseOffset: number, nowMs: number): Segment {
    const file = fileSystem.open(segmentName(baseOffset), { create: false });
    try {
      const bytes = Buffer.alloc(batchesStart);
      const front = bytes.subarray(0, file.read(bytes, 0));
      const header = decodeSegmentHeader(front, baseOffset);
      const slot = newestSlot(front, baseOffset);
      const segment = new Segment(fileSystem, file, baseOffset, {
        createdMs: typeof header === 'string' ? nowMs : header.createdMs,
        generation: typeof header === 'string' ? (slot?.generation ?? 0) : header.generation,
        headerFault: typeof header === 'string' ? header : null,
        slot,
      });
      if (slot !== null) segment.#take(slot);
      return segment;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** The newest slot; null when both are damaged. */
  get slot(): PlacedSlot | null {
    return this.#slot;
  }

  get size(): number {
    return this.#size;
  }

  get hasBatches(): boolean {
    return this.end > batchesStart;
  }

  /** The open file; it is opened when it was put away. */
  file(): RandomAccessFile {
    this.#file ??= this.#fileSystem.open(this.name, { create: false });
    return this.#file;
  }

  /** Gives the descriptor back; `file` opens it again. */
  putAway(): void {
    this.#file?.close();
    this.#file = null;
  }

  // --- appending; nothing is under way when one of these is called ---

  /**
   * Writes the batches of a round and, when at least `proofBytes` are not proven yet, the proof of the rounds before. Not durable
   * before `onSynced`.
   */
  append(bytes: Buffer, nextOffset: number, maxTimestamp: number, proofBytes: number): void {
    assert(!this.isSealed && this.durableEnd === this.end, 'a round is written when the one before is durable');
    const file = this.file();
    const slot = this.#slot;
    if (slot === null || slot.flags !== 0 || this.end - slot.end >= proofBytes) this.prove();
    file.write(bytes, this.end);
    this.end += bytes.length;
    this.nextOffset = nextOffset;
    this.maxTimestamp = Math.max(this.maxTimestamp, maxTimestamp);
    this.#size = Math.max(this.#size, this.end);
  }

  /** Writes zeros behind the end, so that most syncs need not store a new length. Can be done without on a full disk. */
  writeAhead(segmentBytes: number): void {
    if (this.#size - this.end > 0) return;
    const wanted = Math.min(aheadMax, Math.max(16 * 1024, this.end >>> 2), segmentBytes - this.end);
    if (wanted <= 0) return;
    try {
      this.file().write(zeros.subarray(0, wanted), this.end);
      this.#size = this.end + wanted;
    } catch (error) {
      if (!isOutOfSpace(error)) throw error;
    }
  }

  /** All that was written is durable. */
  onSynced(): void {
    this.durableEnd = this.end;
    this.durableNextOffset = this.nextOffset;
    this.#isSlotPending = false;
  }

  /** Says in a slot what is durable now; does nothing when the newest slot says it. */
  prove(flags = 0): void {
    const slot = this.#slot;
    const { durableEnd: end, durableNextOffset: nextOffset, maxTimestamp, generation } = this;
    if (slot !== null && slot.end === end && slot.nextOffset === nextOffset && slot.flags === flags) return;
    const place = slot === null ? 0 : this.#isSlotPending ? slot.place : 1 - slot.place;
    const next: ProofSlot = { counter: (slot?.counter ?? 0) + 1, end, nextOffset, maxTimestamp, flags, generation };
    this.file().write(encodeSlot(next, this.baseOffset), slotPositions[place]);
    this.#slot = { ...next, place };
    this.#isSlotPending = true;
  }

  /** Takes back a write that failed half-way, so that nothing of it can come back to life. Throws the disk's errors. */
  dropUnsynced(): void {
    const file = this.file();
    this.#forget(this.durableEnd, this.durableNextOffset);
    file.truncate(this.durableEnd);
    file.syncNow();
    this.#size = this.durableEnd;
    this.#isSlotPending = false;
  }

  /** Ends the segment, durably: the file is as long as its batches, and a slot says so. */
  seal(): void {
    this.#finish(slotFlags.sealed);
    this.isSealed = true;
  }

  /** Says, durably, that nothing is behind the end: the next opening need not read the batches. */
  markClosed(): void {
    this.#finish(this.isSealed ? slotFlags.sealed : slotFlags.closed);
  }

  /** Forgets all from `offset` on, which begins at `position`. Durable when it returns. */
  truncate(position: number, offset: number, maxTimestamp: number): void {
    const file = this.file();
    this.isSealed = false;
    this.#forget(position, offset);
    this.maxTimestamp = maxTimestamp;
    this.damages = this.damages.filter((damage) => damage.firstOffset < offset);
    // First the proof, then the bytes: the other way round a crash would leave what looks like damage.
    this.prove();
    file.syncNow();
    this.#isSlotPending = false;
    file.truncate(position);
    file.syncNow();
    this.#size = position;
  }

  /** For a segment that is followed by another one and whose slots are damaged: all of its file counts as durable. */
  adopt(end: number, nextOffset: number): void {
    this.isSealed = true;
    this.end = end;
    this.nextOffset = nextOffset;
    this.onSynced();
  }

  /** Takes over what a scan of the last segment of a log found, and makes the file what was read. */
  repair(end: number, nextOffset: number, maxTimestamp: number): void {
    const file = this.file();
    const from = Math.min(this.durableEnd, end);
    // After a failed sync the page cache may show what the disk does not have: what is not proven is written once more.
    const rewritten = Buffer.allocUnsafeSlow(Math.min(aheadMax, end - from));
    for (let at = from; at < end; at += rewritten.length) {
      const part = rewritten.subarray(0, Math.min(rewritten.length, end - at));
      file.read(part, at);
      file.write(part, at);
    }
    if (this.#slot !== null) {
      file.write(encodeSlot(this.#slot, this.baseOffset), slotPositions[this.#slot.place]);
    }
    file.truncate(end);
    file.syncNow();
    this.#size = end;
    this.isSealed = false;
    this.#isSlotPending = false;
    this.end = end;
    this.nextOffset = nextOffset;
    this.maxTimestamp = maxTimestamp;
    this.onSynced();
    this.prove();
  }

  #finish(flags: number): void {
    const file = this.file();
    assert(this.durableEnd === this.end, 'what is under way is durable first');
    if (this.#slot?.flags === flags && !this.#isSlotPending && this.#size === this.end) return;
    this.prove(flags);
    if (this.#size > this.end) file.truncate(this.end);
    file.syncNow();
    this.#size = this.end;
    this.#isSlotPending = false;
  }

  #forget(position: number, offset: number): void {
    this.end = position;
    this.nextOffset = offset;
    this.durableEnd = position;
    this.durableNextOffset = offset;
    this.index?.truncate(position);
  }

  #take(slot: ProofSlot): void {
    this.end = slot.end;
    this.nextOffset = slot.nextOffset;
    this.maxTimestamp = slot.maxTimestamp;
    this.durableEnd = slot.end;
    this.durableNextOffset = slot.nextOffset;
    this.isSealed = (slot.flags & slotFlags.sealed) !== 0;
  }
}

export function emptySlot(baseOffset: number): ProofSlot {
  return { counter: 1, end: batchesStart, nextOffset: baseOffset, maxTimestamp: -1, flags: 0, generation: 0 };
}
