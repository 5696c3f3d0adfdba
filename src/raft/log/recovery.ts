/**
 * Reads the log of a replica back when it is opened: replays the batches, finds where the log ends, and tells a torn tail
 * from damage by the rule in `record.ts`. What it cuts is cut durably before it returns. Thread: the Raft worker; called
 * by `openSegmentLog`.
 */

import type { FileSystem, RandomAccessFile } from '../ports.ts';
import { CorruptionError } from './log-errors.ts';
import {
  decodeSegmentHeader,
  entriesHeaderBytes,
  hardStateBytes,
  isRecord,
  type LogState,
  readEntries,
  readEntriesHeader,
  readHardState,
  readPosition,
  readUint64,
  recordBatch,
  recordFlags,
  recordFlagsOf,
  recordHeaderBytes,
  recordKind,
  recordKinds,
  recordLength,
  recordSize,
  recordsStart,
  sequenceOf,
  spareName,
} from './record.ts';
import { Segment, truncateEntries } from './segment.ts';

const zeros = Buffer.alloc(256 * 1024);

/** A batch that was never acknowledged and was removed when the log was opened. */
export interface TornTail {
  readonly file: string;
  readonly offset: number;
  /** How far behind `offset` there was something. */
  readonly bytes: number;
}

export interface RecoveredLog {
  /** Oldest first; the last one takes the next batch, unless it is full. */
  readonly segments: Segment[];
  readonly state: LogState;
  /** Number of the next batch. */
  readonly nextBatch: number;
  readonly cut: TornTail | null;
}

/** `names` are the segments in the folder, at least one. Throws `CorruptionError` and `LogUnusableError`. */
export function recoverLog(fileSystem: FileSystem, names: readonly string[], replica: number): RecoveredLog {
  const recovery = new Recovery(fileSystem, replica);
  try {
    return recovery.run(names);
  } catch (error) {
    recovery.close();
    throw error;
  }
}

/** What is left of a removal that was not durable when the power went: files below a gap in the numbers. */
function splitAtGap(names: readonly string[]): {
  readonly leftover: readonly string[];
  readonly run: readonly string[];
} {
  let start = names.length - 1;
  while (start > 0 && sequenceOf(names[start - 1]) === sequenceOf(names[start]) - 1) start -= 1;
  return { leftover: names.slice(0, start), run: names.slice(start) };
}

class Recovery {
  readonly #fileSystem: FileSystem;
  readonly #replica: number;
  readonly #files: RandomAccessFile[] = [];
  readonly #segments: Segment[] = [];
  /** Segments that were prepared and hold no complete batch. */
  readonly #unused: Segment[] = [];
  #state: LogState | null = null;
  /** The first index that the files hold, or would hold: entries before it were in segments that are gone. */
  #base = 0;
  /** Number of the batch that should come next; 0 until the first is seen. */
  #expected = 0;
  /** Where the last complete batch began, in the last of `#segments`. */
  #lastBatchAt = recordsStart;
  #bytes: Buffer = Buffer.alloc(0);
  #cut: TornTail | null = null;

  constructor(fileSystem: FileSystem, replica: number) {
    this.#fileSystem = fileSystem;
    this.#replica = replica;
  }

  run(names: readonly string[]): RecoveredLog {
    const { leftover, run } = splitAtGap(names);
    for (const name of run) this.#readSegment(name);
    const state = this.#state;
    const oldest = run[0];
    if (state === null) throw new CorruptionError(oldest, recordsStart, 'the oldest segment has no complete batch');
    if (state.position.index + 1 < this.#base) {
      const missing = `entries ${state.position.index + 1} to ${this.#base - 1} are missing in front of it`;
      throw new CorruptionError(oldest, recordsStart, missing);
    }
    this.#repairTail();
    this.#removeFiles(leftover);
    return { segments: this.#segments, state, nextBatch: this.#expected, cut: this.#cut };
  }

  close(): void {
    for (const file of this.#files) file.close();
  }

  #readSegment(name: string): void {
    const file = this.#fileSystem.open(name, { create: false });
    this.#files.push(file);
    const size = file.size();
    if (this.#bytes.length < size) this.#bytes = Buffer.allocUnsafeSlow(size);
    const bytes = this.#bytes.subarray(0, file.read(this.#bytes.subarray(0, size), 0));
    const { seed } = decodeSegmentHeader(bytes, name, this.#replica);
    const segment = new Segment(name, sequenceOf(name), file, seed, size);
    const previous = this.#segments.at(-1) ?? null;
    const end = this.#replayBatches(segment, bytes);
    const isUsed = end > recordsStart;
    if (!isUsed && previous === null) {
      throw new CorruptionError(name, recordsStart, 'the oldest segment has no complete batch');
    }
    if (isUsed && this.#unused.length > 0) {
      throw new CorruptionError(this.#unused[0].name, recordsStart, 'a later segment holds batches, this one none');
    }
    this.#searchRest(isUsed || previous === null ? segment : previous, segment, bytes);
    (isUsed ? this.#segments : this.#unused).push(segment);
  }

  /** Replays complete batches; answers where they end. */
  #replayBatches(segment: Segment, bytes: Buffer): number {
    let batchAt = recordsStart;
    let at = recordsStart;
    let records: number[] = [];
    while (isRecord(bytes, at, 0, segment.seed) && recordKind(bytes, at) !== recordKinds.mark) {
      const number = recordBatch(bytes, at);
      if (this.#expected === 0) this.#expected = number;
      const flags = recordFlagsOf(bytes, at);
      const isBegin = (flags & recordFlags.first) !== 0;
      if (number !== this.#expected || isBegin !== (at === batchAt)) break;
      records.push(at);
      at += recordSize(bytes, at);
      if ((flags & recordFlags.last) === 0) continue;
      for (const record of records) this.#apply(segment, bytes, record);
      records = [];
      this.#lastBatchAt = batchAt;
      batchAt = at;
      this.#expected += 1;
    }
    segment.end = batchAt;
    return batchAt;
  }

  #apply(segment: Segment, bytes: Buffer, at: number): void {
    const body = at + recordHeaderBytes;
    const end = body + recordLength(bytes, at);
    const kind = recordKind(bytes, at);
    if ((kind === recordKinds.start) !== (at === recordsStart))
      throw refusal(segment, at, 'a start record is misplaced');
    if (kind === recordKinds.start) {
      this.#applyStart(segment, bytes, at, body, end);
      return;
    }
    const state = this.#state;
    if (state === null) throw refusal(segment, at, 'the segment does not begin with a start record');
    if (kind === recordKinds.entries) {
      this.#applyEntries(segment, bytes, at, body, end, state);
      return;
    }
    if (kind === recordKinds.hardState) {
      if (end - body !== hardStateBytes) throw refusal(segment, at, 'a hard state has a wrong length');
      this.#state = { ...state, hardState: readHardState(bytes, body) };
      return;
    }
    if (kind !== recordKinds.position && kind !== recordKinds.reset) {
      throw refusal(segment, at, `a record has the unknown kind ${kind}`);
    }
    const position = readPosition(bytes, body, end);
    if (position === null) throw refusal(segment, at, 'a position has a wrong length');
    if (kind === recordKinds.reset) {
      truncateEntries([...this.#segments, segment], 0);
      this.#base = position.index + 1;
      this.#state = { ...state, position, lastIndex: position.index };
      return;
    }
    if (position.index > state.lastIndex) throw refusal(segment, at, 'a position is behind the last entry');
    this.#state = { ...state, position };
  }

  #applyStart(segment: Segment, bytes: Buffer, at: number, body: number, end: number): void {
    const position = readPosition(bytes, body + hardStateBytes + 8, end);
    if (position === null) throw refusal(segment, at, 'a start record has a wrong length');
    const hardState = readHardState(bytes, body);
    const started: LogState = { hardState, position, lastIndex: readUint64(bytes, body + hardStateBytes) };
    if (this.#state === null) {
      this.#state = started;
      this.#base = started.lastIndex + 1;
    } else if (JSON.stringify(started) !== JSON.stringify(this.#state)) {
      throw refusal(segment, at, 'the segment does not continue the one before it');
    }
  }

  #applyEntries(segment: Segment, bytes: Buffer, at: number, body: number, end: number, state: LogState): void {
    if (end - body < entriesHeaderBytes) throw refusal(segment, at, 'a record of entries has a wrong length');
    const { term, first, count } = readEntriesHeader(bytes, body);
    if (count === 0 || readEntries(bytes, body, end) === null) {
      throw refusal(segment, at, 'entries do not fill their record');
    }
    if (first > state.lastIndex + 1 || first <= state.position.index) {
      throw refusal(segment, at, `entries begin at ${first}, the log ends at ${state.lastIndex}`);
    }
    if (first < this.#base) this.#base = first;
    truncateEntries([...this.#segments, segment], first);
    segment.index.add(first, count, term, at, recordSize(bytes, at));
    this.#state = { ...state, lastIndex: first + count - 1 };
  }

  /**
   * Looks at what lies behind the last batch of `segment`. Throws when a record there proves that the batch that was not
   * found was durable once: then it is damaged at the end of `blamed`. Otherwise it is what will be cut, if anything is.
   */
  #searchRest(blamed: Segment, segment: Segment, bytes: Buffer): void {
    const { end, seed } = segment;
    let isTorn = false;
    let isMarked = false;
    for (let at = end; at + recordHeaderBytes <= bytes.length; at += 8) {
      if (!isRecord(bytes, at, 0, seed)) continue;
      const number = recordBatch(bytes, at);
      if (number > this.#expected) {
        const proof = `batch ${number} is in "${segment.name}" at byte ${at}`;
        const reason = `batch ${this.#expected} is not readable, and was durable: ${proof}`;
        throw new CorruptionError(blamed.name, blamed.end, reason);
      }
      if (recordKind(bytes, at) !== recordKinds.mark) isTorn = true;
      else if (number === this.#expected) isMarked = true;
    }
    // A batch of one record that is not whole shows as bytes that are neither zeros nor, behind a mark, old ones.
    if (end > recordsStart && !isMarked && !isZero(bytes.subarray(end, end + 8))) isTorn = true;
    if (!isTorn) return;
    let last = bytes.length;
    while (last > end && bytes[last - 1] === 0) last -= 1;
    this.#cut = { file: segment.name, offset: end, bytes: last - end };
  }

  /** Makes the end of the log what was read: see the rule in `record.ts`. */
  #repairTail(): void {
    const current = this.#segments[this.#segments.length - 1];
    const { file, end } = current;
    const tail = Buffer.allocUnsafeSlow(current.size - this.#lastBatchAt);
    file.read(tail, this.#lastBatchAt);
    file.write(tail.subarray(0, end - this.#lastBatchAt), this.#lastBatchAt);
    for (let at = end - this.#lastBatchAt; at < tail.length; at += zeros.length) {
      const part = tail.subarray(at, at + zeros.length);
      if (isZero(part)) continue;
      part.fill(0);
      file.write(part, this.#lastBatchAt + at);
    }
    file.syncNow();
  }

  /** Segments without a batch go back to being spare; leftovers of a removal go. */
  #removeFiles(leftover: readonly string[]): void {
    let hasSpare = this.#fileSystem.list().includes(spareName);
    for (const segment of this.#unused) {
      segment.file.close();
      if (hasSpare) this.#fileSystem.remove(segment.name);
      else this.#fileSystem.rename(segment.name, spareName);
      hasSpare = true;
    }
    for (const name of leftover) this.#fileSystem.remove(name);
    // Also without a change: a process that died may have named the newest segment and not come to the sync.
    this.#fileSystem.syncFolder();
  }
}

function refusal(segment: Segment, at: number, reason: string): CorruptionError {
  return new CorruptionError(segment.name, at, reason);
}

/** Whether `bytes`, no more than `zeros` has, are all zero. */
function isZero(bytes: Buffer): boolean {
  return bytes.equals(zeros.subarray(0, bytes.length));
}
