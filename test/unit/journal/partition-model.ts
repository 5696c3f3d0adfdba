/** What a partition must be by what was submitted and answered: the other side of the crash runs. Knows nothing of files. */

import { type BatchHeader, isTransactional, readBatchHeader } from '../../../src/core/batch/batch-format.ts';
import { RecordCursor } from '../../../src/core/batch/record-cursor.ts';
import type { AppendAnswer } from '../../../src/core/ports/stream-store.ts';
import type { PartitionLog } from '../../../src/journal/partition-log.ts';
import type { Random } from '../../fuzz/random.ts';

export interface Submission {
  readonly number: number;
  readonly bytes: Buffer;
  readonly header: BatchHeader;
  readonly keys: readonly (string | null)[];
  readonly marker: 'abort' | 'commit' | null;
  state: 'waiting' | 'stored' | 'refused' | 'unknown';
  baseOffset: number;
}

interface FoundBatch {
  readonly header: BatchHeader;
  readonly bytes: Buffer;
}

const cursor = new RecordCursor();

export class PartitionModel {
  readonly name: string;
  leaderEpoch = 1;
  /** Below it records may be missing that have a newer one of their key. */
  compactedTo = 0;
  /** What is answered as stored and not truncated, by offset. */
  #stored: Submission[] = [];
  /** Without an answer yet, in the order of submission. */
  #waiting: Submission[] = [];
  /** Without an answer when the power went, or answered with a failure that leaves it open. */
  #unknown: Submission[] = [];
  #logStart = 0;
  #maybeStart: number | null = null;
  #maybeEnd: number | null = null;

  constructor(name: string) {
    this.name = name;
  }

  get isQuiet(): boolean {
    return this.#waiting.length === 0;
  }

  submitted(submission: Submission): void {
    this.#waiting.push(submission);
  }

  answered(submission: Submission, result: AppendAnswer): void {
    this.#waiting = this.#waiting.filter((other) => other !== submission);
    const { error, baseOffset, lastOffset, isDuplicate } = result;
    if (error !== null) {
      if (error.code === 'STORAGE_PARTITION_FAILED') {
        submission.state = 'unknown';
        this.#unknown.push(submission);
        return;
      }
      // It came behind one that failed.
      submission.state = 'refused';
      const isExpected = error.code === 'STORAGE_SEQUENCE_OUT_OF_ORDER' || error.code === 'STORAGE_LEADER_FENCED';
      if (!isExpected) this.#fail(`refuses ${submission.number}: ${error.message}`);
      return;
    }
    const original = this.#stored.find((item) => isSameBatch(item.bytes, submission.bytes));
    if (isDuplicate) {
      if (original?.baseOffset === baseOffset) return;
      this.#fail(`answers ${baseOffset} to a repetition of ${original?.baseOffset}`);
    }
    if (original !== undefined) this.#fail(`stores ${original.baseOffset} again at ${baseOffset}`);
    const span = submission.header.lastOffset - submission.header.baseOffset;
    const expected = this.#end();
    if (baseOffset !== expected || lastOffset !== expected + span) {
      this.#fail(`answers ${baseOffset} to ${lastOffset} where ${expected} is next`);
    }
    this.#store(submission, baseOffset);
  }

  // --- what the run asks to make its next step ---

  lastOfProducer(producerId: number): Submission | null {
    const all = [...this.#stored, ...this.#unknown, ...this.#waiting];
    const found = all.findLast(({ header, marker }) => header.producerId === producerId && marker === null);
    return found ?? null;
  }

  nextSequence(producerId: number): number {
    const last = this.lastOfProducer(producerId);
    if (last === null) return 0;
    return last.header.baseSequence + last.header.lastOffset - last.header.baseOffset + 1;
  }

  isInTransaction(producerId: number): boolean {
    const all = [...this.#stored, ...this.#unknown, ...this.#waiting];
    const last = all.findLast(({ header }) => header.producerId === producerId);
    return last !== undefined && last.marker === null;
  }

  // --- changes that a crash can find half done ---

  truncating(offset: number): void {
    this.#maybeEnd = offset;
  }

  truncated(end: number): void {
    this.#maybeEnd = null;
    this.#logStart = Math.min(this.#logStart, end);
    const gone = this.#stored.filter((item) => lastOffsetOf(item) >= end);
    for (const item of gone) item.state = 'unknown';
    this.#stored = this.#stored.filter((item) => !gone.includes(item));
    if (this.#end() > end) this.#fail(`is truncated to ${end}, in the middle of a batch`);
  }

  deleting(offset: number): void {
    this.#maybeStart = offset;
  }

  deleted(offset: number): void {
    this.#maybeStart = null;
    this.#logStart = Math.max(this.#logStart, offset);
  }

  onCrash(): void {
    this.#unknown.push(...this.#waiting);
    this.#waiting = [];
  }

  // --- checks ---

  /** Compares an opened log with what must be in it; answers how much survived without having been answered. */
  checkRecovered(log: PartitionLog): number {
    const start = log.logStartOffset;
    const isCut = this.#maybeEnd !== null && start === log.logEndOffset;
    if (start !== this.#logStart && start !== this.#maybeStart && !isCut)
      this.#fail(`begins at ${start}, not ${this.#logStart}`);
    this.#logStart = start;
    this.#maybeStart = null;
    const end = log.logEndOffset;
    if (this.#maybeEnd !== null && end < this.#end()) this.#truncatedByCrash(end);
    this.#maybeEnd = null;
    if (end < this.#end()) this.#fail(`ends at ${end}, but ${this.#end() - 1} was answered`);
    const found = this.#readAll(log);
    const kept = this.#adopt(found);
    if (this.#end() !== end) this.#fail(`ends at ${end}, where nothing explains it: ${this.#end()}`);
    this.#checkContent(found);
    this.#checkState(log);
    if (log.highWatermark !== end) this.#fail(`has the high watermark ${log.highWatermark} and ends at ${end}`);
    this.leaderEpoch = Math.max(this.leaderEpoch, log.leaderEpoch);
    return kept;
  }

  /** Reads of a running log: all that is answered, from a random place. */
  checkReads(log: PartitionLog, random: Random): void {
    if (log.failure !== null) return;
    const offset = random.between(log.logStartOffset, log.highWatermark);
    const { slices, nextOffset } = log.read({ offset, bytesMax: random.below(8000) });
    const known = new Map(this.#stored.map((item) => [item.baseOffset, item]));
    for (const { header, bytes } of batchesOf(slices)) {
      // Durable already; the answer waits for another partition of the round.
      const isWaiting =
        header.baseOffset >= this.#end() && this.#waiting.some((item) => isSameBatch(item.bytes, bytes));
      if (!isWaiting) this.#checkBatch(header, bytes, known);
    }
    if (offset < log.highWatermark && nextOffset <= offset) this.#fail(`reads nothing at ${offset}`);
  }

  #truncatedByCrash(end: number): void {
    const from = this.#maybeEnd ?? end;
    const lost = this.#stored.filter((item) => lastOffsetOf(item) >= end);
    for (const item of lost) {
      if (lastOffsetOf(item) < from) this.#fail(`lost ${item.baseOffset} in a truncation to ${from}`);
      item.state = 'unknown';
    }
    this.#stored = this.#stored.filter((item) => !lost.includes(item));
  }

  #readAll(log: PartitionLog): FoundBatch[] {
    const found: FoundBatch[] = [];
    let expected = -1;
    for (let offset = log.logStartOffset; offset < log.logEndOffset; ) {
      const { slices, nextOffset } = log.read({ offset, bytesMax: 5000 });
      for (const batch of batchesOf(slices)) {
        if (expected >= 0 && batch.header.baseOffset !== expected) this.#fail(`has a gap at ${expected}`);
        expected = batch.header.lastOffset + 1;
        found.push(batch);
      }
      if (nextOffset <= offset) this.#fail(`reads nothing at ${offset}`);
      offset = nextOffset;
    }
    return found;
  }

  /** What is behind the answered part must be the first of what was under way. */
  #adopt(found: readonly FoundBatch[]): number {
    const unknown = this.#unknown.sort((one, other) => one.number - other.number);
    this.#unknown = [];
    let kept = 0;
    let next = 0;
    let skipsUnknown = false;
    for (const { header, bytes } of found) {
      if (header.baseOffset < this.#end()) continue;
      while (next < unknown.length && !isSameBatch(unknown[next].bytes, bytes)) {
        // Only what was refused for its sequence, or was a repetition, can have been passed over.
        skipsUnknown ||= unknown[next].header.producerId < 0;
        next += 1;
      }
      if (next < unknown.length && skipsUnknown) this.#fail(`lost a batch before ${header.baseOffset}`);
      if (next === unknown.length) this.#fail(`has an invented batch at ${header.baseOffset}`);
      this.#store(unknown[next], header.baseOffset);
      next += 1;
      kept += 1;
    }
    return kept;
  }

  #checkContent(found: readonly FoundBatch[]): void {
    const known = new Map(this.#stored.map((item) => [item.baseOffset, item]));
    for (const { header, bytes } of found) this.#checkBatch(header, bytes, known);
    this.#checkKeys(found);
  }

  #checkBatch(header: BatchHeader, bytes: Buffer, known: ReadonlyMap<number, Submission>): void {
    const submission = known.get(header.baseOffset);
    if (submission !== undefined && isSameBatch(submission.bytes, bytes)) return;
    if (header.baseOffset >= this.compactedTo) this.#fail(`has a strange batch at ${header.baseOffset}`);
    cursor.reset(bytes);
    while (cursor.next()) {
      const owner = this.#stored.find(
        (item) => item.baseOffset <= cursor.offset && cursor.offset <= lastOffsetOf(item),
      );
      const value = cursor.value?.toString() ?? '';
      if (owner === undefined || !owner.bytes.includes(value)) this.#fail(`has a strange record at ${cursor.offset}`);
    }
  }

  /** Of each key the newest record is there, whatever was compacted; and all records without a key. */
  #checkKeys(found: readonly FoundBatch[]): void {
    if (this.compactedTo === 0) return;
    const present = new Set<number>();
    for (const { bytes } of found) {
      cursor.reset(bytes);
      while (cursor.next()) present.add(cursor.offset);
    }
    const aborted = this.#fold().aborted;
    const newest = new Map<string, number>();
    for (const item of this.#stored) {
      for (const [at, key] of item.keys.entries()) {
        const offset = item.baseOffset + at;
        if (isAborted(item, aborted)) continue;
        if (key !== null) newest.set(key, offset);
        else if (offset >= this.#logStart && !present.has(offset)) this.#fail(`lost ${offset}, which has no key`);
      }
    }
    for (const [key, offset] of newest) {
      if (offset >= this.#logStart && !present.has(offset)) this.#fail(`lost the newest of ${key}: ${offset}`);
    }
  }

  #checkState(log: PartitionLog): void {
    const { last, ongoing, aborted } = this.#fold();
    for (const [producerId, item] of last) {
      const entry = log.producer(producerId)?.batches.at(-1);
      const offset = item.baseOffset;
      if (entry?.baseOffset !== offset || entry.baseSequence !== item.header.baseSequence) {
        this.#fail(`knows of producer ${producerId} ${JSON.stringify(entry)}, not ${offset}`);
      }
    }
    const stable = Math.min(this.#end(), ...ongoing.values());
    if (log.lastStableOffset !== stable) this.#fail(`is stable to ${log.lastStableOffset}, not ${stable}`);
    const found = log.abortedIn(this.#logStart, this.#end());
    const expected = aborted.filter((item) => item.lastOffset >= this.#logStart);
    if (JSON.stringify(found.map(threeOf)) !== JSON.stringify(expected.map(threeOf))) {
      this.#fail(`has aborted ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
    }
  }

  #fold() {
    const last = new Map<number, Submission>();
    const ongoing = new Map<number, number>();
    const aborted: { producerId: number; firstOffset: number; lastOffset: number }[] = [];
    for (const item of this.#stored) {
      const { producerId, attributes } = item.header;
      if (producerId < 0) continue;
      if (item.marker === null) {
        last.set(producerId, item);
        if (isTransactional(attributes) && !ongoing.has(producerId)) ongoing.set(producerId, item.baseOffset);
        continue;
      }
      const firstOffset = ongoing.get(producerId);
      ongoing.delete(producerId);
      if (item.marker === 'abort' && firstOffset !== undefined) {
        aborted.push({ producerId, firstOffset, lastOffset: item.baseOffset });
      }
    }
    return { last, ongoing, aborted };
  }

  #store(submission: Submission, baseOffset: number): void {
    submission.state = 'stored';
    submission.baseOffset = baseOffset;
    this.#stored.push(submission);
  }

  #end(): number {
    const last = this.#stored.at(-1);
    return last === undefined ? 0 : lastOffsetOf(last) + 1;
  }

  #fail(what: string): never {
    throw new Error(`partition ${this.name} ${what}`);
  }
}

function lastOffsetOf(item: Submission): number {
  return item.baseOffset + item.header.lastOffset - item.header.baseOffset;
}

function isSameBatch(submitted: Buffer, stored: Buffer): boolean {
  return submitted.length === stored.length && submitted.subarray(16).equals(stored.subarray(16));
}

function isAborted(
  item: Submission,
  aborted: readonly { producerId: number; firstOffset: number; lastOffset: number }[],
): boolean {
  const { producerId, attributes } = item.header;
  if (!isTransactional(attributes)) return false;
  return aborted.some((one) => {
    return one.producerId === producerId && one.firstOffset <= item.baseOffset && item.baseOffset <= one.lastOffset;
  });
}

function threeOf(item: { producerId: number; firstOffset: number; lastOffset: number }): number[] {
  return [item.producerId, item.firstOffset, item.lastOffset];
}

function* batchesOf(slices: readonly Buffer[]): Generator<FoundBatch> {
  for (const slice of slices) {
    for (let at = 0; at < slice.length; ) {
      const header = readBatchHeader(slice, at);
      yield { header, bytes: slice.subarray(at, at + header.size) };
      at += header.size;
    }
  }
}
