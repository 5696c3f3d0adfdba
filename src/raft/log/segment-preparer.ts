/**
 * Gets the next segment of the log ready before it is needed: a file of full length whose bytes were really written (a
 * sync of a file that only changes is about 30 % cheaper than one of a file that grows), with its header, under its name,
 * all durable. Works in slices, between the writes of the log, so that it never holds the thread for long. Thread: the
 * Raft worker; used by the segment log.
 */

import { isOutOfSpace } from '../../core/files/file-errors.ts';
import { toError } from '../../std/errors.ts';
import type { FileSystem, RandomAccessFile } from '../ports.ts';
import { encodeSegmentHeader, recordsStart, segmentName, spareName } from './record.ts';
import { Segment } from './segment.ts';

/** One slice; written in 0.1 ms where nothing is in the way. */
const sliceBytes = 256 * 1024;
/** Slices that one call may write to keep up with large batches. */
const slicesMax = 4;
const zeros = Buffer.alloc(sliceBytes);

export interface PreparerOptions {
  readonly segmentBytes: number;
  readonly replica: number;
  random(below: number): number;
  /** An error other than a full disk; the log must stop. */
  onError(error: Error): void;
}

export class SegmentPreparer {
  readonly #fileSystem: FileSystem;
  readonly #options: PreparerOptions;
  #file: RandomAccessFile | null = null;
  /** There is a file named `spare`, opened or not. */
  #hasSpare: boolean;
  /** Bytes of the spare file that were written. */
  #written = 0;
  #seed = 0;
  #ready: Segment | null = null;
  #isSyncing = false;
  /** The disk is full: nothing is tried until something was freed. */
  #isPaused = false;
  /** Counts the files; an answer for an earlier one is not looked at. */
  #generation = 0;

  constructor(fileSystem: FileSystem, options: PreparerOptions) {
    this.#fileSystem = fileSystem;
    this.#options = options;
    this.#hasSpare = fileSystem.list().includes(spareName);
  }

  /** Bytes on disk that no segment of the log has yet; without those of a used file that waits for its turn. */
  get sizeBytes(): number {
    return this.#ready?.size ?? this.#written;
  }

  /**
   * Does a part of the work: when it is called after each write, with the bytes that the current segment has taken, the next
   * one is ready when half of the current one is used.
   */
  advance(sequence: number, usedBytes: number): void {
    if (this.#ready !== null || this.#isSyncing || this.#isPaused) return;
    try {
      this.#open();
      const target = Math.min(this.#options.segmentBytes, 2 * usedBytes + sliceBytes);
      if (this.#written < target) this.#fill(target, sequence);
      else if (this.#written >= this.#options.segmentBytes) this.#seal(sequence);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The next segment, ready to be written to. Blocks when it was not prepared in time. `begin` runs before it is named. */
  take(sequence: number, begin: (segment: Segment) => void = () => undefined): Segment {
    const ready = this.#ready;
    this.#generation += 1;
    this.#ready = null;
    this.#isSyncing = false;
    this.#isPaused = false;
    if (ready !== null) return ready;
    this.#open();
    const file = this.#file!;
    this.#writeHeader(file, sequence);
    const segment = new Segment(segmentName(sequence), sequence, file, this.#seed, this.#written);
    begin(segment);
    file.syncNow();
    this.#publish(sequence);
    return segment;
  }

  /**
   * Makes the file of a closed segment the next spare one, if none is there. Durable after `syncFolder`. Also while a segment is
   * ready: one that was used before need not be written ahead again, so a log that is cut as fast as it grows writes
   * nothing but its batches.
   */
  recycle(name: string, size: number): boolean {
    this.#isPaused = false;
    if (this.#hasSpare || size !== this.#options.segmentBytes) return false;
    this.#fileSystem.rename(name, spareName);
    this.#hasSpare = true;
    return true;
  }

  close(): void {
    this.#generation += 1;
    this.#file?.close();
    this.#ready?.file.close();
    this.#file = null;
    this.#ready = null;
  }

  #open(): void {
    if (this.#file !== null) return;
    this.#file = this.#fileSystem.open(spareName, { create: !this.#hasSpare });
    this.#hasSpare = true;
    this.#written = this.#file.size();
  }

  #fill(target: number, sequence: number): void {
    const file = this.#file!;
    for (let slices = 0; slices < slicesMax && this.#written < target; slices += 1) {
      const length = Math.min(sliceBytes, this.#options.segmentBytes - this.#written);
      file.write(length === sliceBytes ? zeros : zeros.subarray(0, length), this.#written);
      this.#written += length;
    }
    this.#sync(() => {
      if (this.#written >= this.#options.segmentBytes) this.#seal(sequence);
    });
  }

  /** Header first, name afterwards: a segment with a bad header is never the trace of a crash. */
  #seal(sequence: number): void {
    this.#writeHeader(this.#file!, sequence);
    this.#sync(() => {
      const file = this.#file!;
      this.#ready = new Segment(segmentName(sequence), sequence, file, this.#seed, this.#written);
      this.#publish(sequence);
    });
  }

  #writeHeader(file: RandomAccessFile, sequence: number): void {
    const { page, seed } = encodeSegmentHeader(sequence, this.#options.replica, this.#options.random(0x1_0000_0000));
    file.write(page, 0);
    this.#written = Math.max(this.#written, recordsStart);
    this.#seed = seed;
  }

  #publish(sequence: number): void {
    this.#fileSystem.rename(spareName, segmentName(sequence));
    this.#fileSystem.syncFolder();
    this.#file = null;
    this.#hasSpare = false;
    this.#written = 0;
  }

  #sync(next: () => void): void {
    this.#isSyncing = true;
    const generation = this.#generation;
    this.#file!.sync((error) => {
      if (generation !== this.#generation) return;
      this.#isSyncing = false;
      try {
        if (error !== null) throw error;
        next();
      } catch (failure) {
        this.#fail(failure);
      }
    });
  }

  /** A full disk is survived: the room goes back to the segment in use, and the next one is made when it is needed. */
  #fail(thrown: unknown): void {
    if (!isOutOfSpace(thrown)) {
      this.#options.onError(toError(thrown));
      return;
    }
    this.#generation += 1;
    this.#isSyncing = false;
    this.#isPaused = true;
    this.#file?.close();
    this.#file = null;
    this.#written = 0;
    if (!this.#hasSpare) return;
    try {
      this.#fileSystem.remove(spareName);
      this.#hasSpare = false;
    } catch (error) {
      this.#options.onError(toError(error));
    }
  }
}
