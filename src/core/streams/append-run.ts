/**
 * Appends of one partition that are stored with one write of the engine: their batches are checked against the producers one after the
 * other and get their offsets in a copy. Pure. Thread: the one that holds the store; owned by the front of the partition.
 */

import { assert } from '../../std/assert.ts';
import { assignPlace, type BatchHeader, isControl, maxTimestampAt } from '../batch/batch-format.ts';
import { readControlType } from '../batch/control-batch.ts';
import type { AppendAnswer, AppendDone } from '../ports/stream-store.ts';
import type { ProducerState, Undo } from './producer-state.ts';
import { StorageError } from './storage-error.ts';
import type { EngineBatch, EngineHandle, EngineRun } from './store-engine.ts';

/** One append on its way. */
export interface WaitingAppend {
  readonly bytes: Buffer;
  readonly headers: readonly BatchHeader[];
  readonly done: AppendDone;
  /** When it came; milliseconds. */
  readonly since: number;
}

interface Decided {
  readonly append: WaitingAppend;
  answer: AppendAnswer;
}

export function refusal(error: StorageError): AppendAnswer {
  return { error, baseOffset: -1, lastOffset: -1, isDuplicate: false };
}

export class AppendRun {
  readonly baseOffset: number;
  /** Bytes of the batches that are to be stored. */
  bytes = 0;
  /** A write of it was lost: it may be there. */
  isUncertain = false;
  /** Whoever waits was told something; the outcome is for the state alone. */
  isAnswered = false;
  /** Of the oldest append in it. */
  since = Number.POSITIVE_INFINITY;
  readonly #producers: ProducerState;
  readonly #decided: Decided[] = [];
  readonly #accepted: { readonly append: WaitingAppend; readonly baseOffset: number }[] = [];
  readonly #undo: Undo[] = [];
  #nextOffset: number;
  #sealed: EngineRun | null = null;

  constructor(baseOffset: number, producers: ProducerState) {
    this.baseOffset = baseOffset;
    this.#nextOffset = baseOffset;
    this.#producers = producers;
  }

  get endOffset(): number {
    return this.#nextOffset;
  }

  /** In the order of the calls. */
  get appends(): readonly WaitingAppend[] {
    return this.#decided.map(({ append }) => append);
  }

  /** Decides about one more append; a refused one changes nothing. */
  add(append: WaitingAppend): void {
    const answer = this.#decide(append);
    this.#decided.push({ append, answer });
    this.since = Math.min(this.since, append.since);
  }

  /** What the engine stores; the same each time. There are bytes. */
  seal(handle: EngineHandle): EngineRun {
    this.#sealed ??= this.#build(handle);
    return this.#sealed;
  }

  /** Takes back what the batches did to the producers. */
  undo(): void {
    while (this.#undo.length > 0) this.#undo.pop()?.();
  }

  /** Tells everybody what was decided: the batches are stored. */
  answer(): void {
    if (this.isAnswered) return;
    this.isAnswered = true;
    for (const { append, answer } of this.#decided) append.done(answer);
  }

  /** Tells `error` to those whose batches are not stored, repetitions of them included. */
  refuse(error: StorageError): void {
    for (const decided of this.#decided) {
      const { answer } = decided;
      if (answer.error === null && answer.lastOffset >= this.baseOffset) decided.answer = refusal(error);
    }
    this.answer();
  }

  #decide(append: WaitingAppend): AppendAnswer {
    const before = { undo: this.#undo.length, next: this.#nextOffset };
    try {
      const repeated = this.#repeated(append);
      if (repeated !== null) return repeated;
      const baseOffset = this.#nextOffset;
      let at = 0;
      for (const header of append.headers) {
        this.#apply(append, header, at);
        at += header.size;
      }
      this.#accepted.push({ append, baseOffset });
      this.bytes += append.bytes.length;
      return { error: null, baseOffset, lastOffset: this.#nextOffset - 1, isDuplicate: false };
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      while (this.#undo.length > before.undo) this.#undo.pop()?.();
      this.#nextOffset = before.next;
      return refusal(error);
    }
  }

  #repeated(append: WaitingAppend): AppendAnswer | null {
    const { headers } = append;
    if (headers.every(({ producerId }) => producerId < 0)) return null;
    if (headers.length > 1) {
      throw new StorageError('STORAGE_BATCH_INVALID', 'Cannot append batches of a producer: there is more than one');
    }
    const stored = this.#producers.check(headers[0]);
    if (stored === null) return null;
    return { error: null, baseOffset: stored.baseOffset, lastOffset: stored.lastOffset, isDuplicate: true };
  }

  #apply(append: WaitingAppend, header: BatchHeader, at: number): void {
    const baseOffset = this.#nextOffset;
    const lastOffset = baseOffset + (header.lastOffset - header.baseOffset);
    const marker = isControl(header.attributes) ? readControlType(append.bytes, at) : null;
    this.#undo.push(this.#producers.apply({ ...header, baseOffset, lastOffset }, marker));
    this.#nextOffset = lastOffset + 1;
  }

  #build(handle: EngineHandle): EngineRun {
    assert(this.bytes > 0, 'a run that is written has batches');
    const bytes = Buffer.allocUnsafeSlow(this.bytes);
    const batches: EngineBatch[] = [];
    let at = 0;
    let maxTimestamp = Number.NEGATIVE_INFINITY;
    for (const { append, baseOffset: first } of this.#accepted) {
      append.bytes.copy(bytes, at);
      let baseOffset = first;
      for (const header of append.headers) {
        assignPlace(bytes, at, baseOffset, handle.writer);
        const lastOffset = baseOffset + (header.lastOffset - header.baseOffset);
        const batch = { baseOffset, lastOffset, maxTimestamp: maxTimestampAt(bytes, at), at, size: header.size };
        maxTimestamp = Math.max(maxTimestamp, batch.maxTimestamp);
        batches.push(batch);
        baseOffset = lastOffset + 1;
        at += header.size;
      }
    }
    return { handle, baseOffset: this.baseOffset, endOffset: this.#nextOffset, maxTimestamp, bytes, batches };
  }
}
