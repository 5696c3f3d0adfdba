/**
 * What a partition knows of its producers: the newest batches of each, so that a batch that is sent twice is stored once,
 * and the transactions that are under way or were aborted. It follows from the batches alone; a snapshot saves reading them all.
 * Pure. Thread: the journal worker; owned by the partition log.
 *
 * Undecided: the *last stable offset* is where the oldest transaction begins whose end marker is not committed (below the
 * high watermark); readers of committed data stop there.
 */

import { type BatchHeader, isControl, isTransactional } from '../batch/batch-format.ts';
import type { ControlType } from '../batch/control-batch.ts';
import { StorageError } from './storage-error.ts';

/** How many batches of a producer can be sent again. */
export const rememberedBatches = 5;
const sequenceMax = 0x7fff_ffff;

export interface RememberedBatch {
  readonly baseSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly timestamp: number;
}

export interface ProducerEntry {
  readonly epoch: number;
  /** Of the newest batch or marker, as the producer gave it. */
  readonly lastTimestamp: number;
  /** Oldest first, at most `rememberedBatches`. */
  readonly batches: readonly RememberedBatch[];
}

export interface AbortedTransaction {
  readonly producerId: number;
  readonly firstOffset: number;
  /** Of the marker. */
  readonly lastOffset: number;
  /** No transaction that ended later began below it. */
  readonly lastStableOffset: number;
}

/** All of the state, as it is stored. */
export interface ProducerSnapshot {
  /** The batches below it are in the state. */
  readonly offset: number;
  readonly producers: readonly (readonly [number, ProducerEntry])[];
  /** Producer id and first offset of transactions that have no marker yet, by first offset. */
  readonly ongoing: readonly (readonly [number, number])[];
  /** Ended, and the marker was not committed yet; by last offset. */
  readonly ended: readonly EndedTransaction[];
  /** By last offset. */
  readonly aborted: readonly AbortedTransaction[];
}

export interface EndedTransaction {
  readonly firstOffset: number;
  /** Of the marker. */
  readonly lastOffset: number;
}

/** Takes back what one batch changed. */
export type Undo = () => void;

export class ProducerState {
  readonly #producers = new Map<number, ProducerEntry>();
  /** In the order of first offsets, which is that of insertion. */
  #ongoing = new Map<number, number>();
  /** Ended, and the marker is not committed yet. */
  #ended: EndedTransaction[] = [];
  #aborted: AbortedTransaction[] = [];
  /** When `expire` met an entry first; each batch makes a new entry. */
  readonly #metMs = new WeakMap<ProducerEntry, number>();

  static from(snapshot: ProducerSnapshot): ProducerState {
    const state = new ProducerState();
    for (const [id, entry] of snapshot.producers) state.#producers.set(id, entry);
    for (const [id, firstOffset] of snapshot.ongoing) state.#ongoing.set(id, firstOffset);
    state.#ended = [...snapshot.ended];
    state.#aborted = [...snapshot.aborted];
    return state;
  }

  get producerCount(): number {
    return this.#producers.size;
  }

  get(producerId: number): ProducerEntry | null {
    return this.#producers.get(producerId) ?? null;
  }

  /**
   * Whether a batch of a producer may be appended: null when it may, or the batch that it repeats.
   *
   * @throws StorageError STORAGE_SEQUENCE_OUT_OF_ORDER, STORAGE_PRODUCER_FENCED
   */
  check(header: BatchHeader): RememberedBatch | null {
    const { producerId, producerEpoch, baseSequence } = header;
    const entry = this.#producers.get(producerId);
    if (producerId < 0 || entry === undefined) return null;
    if (producerEpoch < entry.epoch) {
      const what = `epoch ${producerEpoch} of producer ${producerId}: epoch ${entry.epoch} is known`;
      throw new StorageError('STORAGE_PRODUCER_FENCED', `Cannot append a batch of ${what}`);
    }
    if (isControl(header.attributes)) return null;
    const isNewEpoch = producerEpoch > entry.epoch;
    if (!isNewEpoch) {
      const lastSequence = lastSequenceOf(header);
      const same = entry.batches.find((b) => b.baseSequence === baseSequence && b.lastSequence === lastSequence);
      if (same !== undefined) return same;
    }
    const last = isNewEpoch ? -1 : (entry.batches.at(-1)?.lastSequence ?? -1);
    const expected = last === sequenceMax ? 0 : last + 1;
    if (baseSequence !== expected) {
      const what = `sequence ${baseSequence} of producer ${producerId}: sequence ${expected} is next`;
      throw new StorageError('STORAGE_SEQUENCE_OUT_OF_ORDER', `Cannot append ${what}`);
    }
    return null;
  }

  /** Takes a batch in, with the offsets it got. `marker` is what a control batch says. */
  apply(header: BatchHeader, marker: ControlType | null): Undo {
    const { producerId } = header;
    if (producerId < 0) return nothing;
    const before = this.#producers.get(producerId);
    const undoEntry = (): void => {
      if (before === undefined) this.#producers.delete(producerId);
      else this.#producers.set(producerId, before);
    };
    if (isControl(header.attributes)) {
      this.#producers.set(producerId, afterMarker(before, header));
      const undoEnd = this.#end(header, marker === 'abort');
      return () => {
        undoEnd();
        undoEntry();
      };
    }
    if (header.recordCount > 0) this.#producers.set(producerId, afterBatch(before, header));
    if (!isTransactional(header.attributes) || this.#ongoing.has(producerId)) return undoEntry;
    this.#ongoing.set(producerId, header.baseOffset);
    return () => {
      this.#ongoing.delete(producerId);
      undoEntry();
    };
  }

  /** Where the oldest transaction begins that is not decided and committed; `highWatermark` when there is none. */
  lastStableOffset(highWatermark: number): number {
    let stable = highWatermark;
    for (const firstOffset of this.#ongoing.values()) {
      stable = Math.min(stable, firstOffset);
      break;
    }
    for (const ended of this.#ended) stable = Math.min(stable, ended.firstOffset);
    return stable;
  }

  /** Markers below the high watermark are decided for good. */
  onCommitted(highWatermark: number): void {
    if (this.#ended.length === 0) return;
    this.#ended = this.#ended.filter(({ lastOffset }) => lastOffset >= highWatermark);
  }

  /** First offset of the transaction of a producer that is under way; null when there is none. */
  ongoingOf(producerId: number): number | null {
    return this.#ongoing.get(producerId) ?? null;
  }

  /** The aborted transactions that have batches in [from, to). */
  abortedIn(from: number, to: number): AbortedTransaction[] {
    let low = 0;
    let high = this.#aborted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#aborted[middle].lastOffset < from) low = middle + 1;
      else high = middle;
    }
    const found: AbortedTransaction[] = [];
    for (let at = low; at < this.#aborted.length; at += 1) {
      const aborted = this.#aborted[at];
      if (aborted.firstOffset < to) found.push(aborted);
      if (aborted.lastStableOffset >= to) break;
    }
    return found;
  }

  /** Forgets aborted transactions below the start of the log. */
  trim(logStartOffset: number): void {
    if ((this.#aborted[0]?.lastOffset ?? logStartOffset) >= logStartOffset) return;
    this.#aborted = this.#aborted.filter(({ lastOffset }) => lastOffset >= logStartOffset);
  }

  /**
   * Forgets producers that have sent nothing for `expiryMs` and have no transaction; answers how many. To be called again and again:
   * an entry counts as new when it is met for the first time, whatever the timestamps of its records say, which are the producer's own.
   */
  expire(nowMs: number, expiryMs: number): number {
    const size = this.#producers.size;
    for (const [id, entry] of this.#producers) {
      const sinceMs = this.#metMs.get(entry);
      if (sinceMs === undefined) this.#metMs.set(entry, nowMs);
      else if (nowMs - sinceMs >= expiryMs && !this.#ongoing.has(id)) this.#producers.delete(id);
    }
    return size - this.#producers.size;
  }

  snapshot(offset: number): ProducerSnapshot {
    return {
      offset,
      producers: [...this.#producers],
      ongoing: [...this.#ongoing],
      ended: this.#ended,
      aborted: this.#aborted,
    };
  }

  #end(header: BatchHeader, isAbort: boolean): Undo {
    const { producerId, lastOffset } = header;
    const firstOffset = this.#ongoing.get(producerId);
    if (firstOffset === undefined) return nothing;
    this.#ongoing.delete(producerId);
    const ended = { firstOffset, lastOffset };
    this.#ended.push(ended);
    if (isAbort) {
      this.#aborted.push({ producerId, ...ended, lastStableOffset: this.#firstUndecided(lastOffset + 1) });
    }
    return () => {
      this.#ongoing.set(producerId, firstOffset);
      this.#ongoing = new Map([...this.#ongoing].sort(([, one], [, other]) => one - other));
      this.#ended = this.#ended.filter((item) => item !== ended);
      if (isAbort) this.#aborted.pop();
    };
  }

  #firstUndecided(end: number): number {
    for (const firstOffset of this.#ongoing.values()) return firstOffset;
    return end;
  }
}

function nothing(): void {
  // The batch changed nothing.
}

function lastSequenceOf(header: BatchHeader): number {
  const last = header.baseSequence + (header.lastOffset - header.baseOffset);
  return last > sequenceMax ? last - sequenceMax - 1 : last;
}

function afterMarker(before: ProducerEntry | undefined, header: BatchHeader): ProducerEntry {
  const isSame = before !== undefined && before.epoch === header.producerEpoch;
  return {
    epoch: header.producerEpoch,
    lastTimestamp: header.maxTimestamp,
    batches: isSame ? before.batches : [],
  };
}

function afterBatch(before: ProducerEntry | undefined, header: BatchHeader): ProducerEntry {
  const isSame = before !== undefined && before.epoch === header.producerEpoch;
  const batch: RememberedBatch = {
    baseSequence: header.baseSequence,
    lastSequence: lastSequenceOf(header),
    baseOffset: header.baseOffset,
    lastOffset: header.lastOffset,
    timestamp: header.maxTimestamp,
  };
  const kept = isSame ? before.batches.slice(1 - rememberedBatches) : [];
  return {
    epoch: header.producerEpoch,
    lastTimestamp: header.maxTimestamp,
    batches: [...kept, batch],
  };
}
