/**
 * What the records of an acknowledgement set say, one after the other: the state after a restart. Pure. Thread: the owner of the set,
 * when it is opened. Plain Maps: this is not the hot path.
 */
import type { Burial, SetRecordReader } from './set-records.ts';

export interface ReplayedEntry {
  /** Deliveries that count. */
  count: number;
  /** Wall time in milliseconds; 0: now. */
  due: number;
  firstFailure: number;
}

export class ReplayedPartition {
  /** Everything below is known: settled, or one of the entries. */
  end: number;
  /** Ascending by offset. */
  readonly entries = new Map<number, ReplayedEntry>();

  constructor(end: number) {
    this.end = end;
  }
}

export class SetReplay implements SetRecordReader {
  readonly partitions = new Map<number, ReplayedPartition>();
  burial: Burial | null = null;
  /** Of the next batch of the dead-letter stream. */
  deathSequence = 0;
  deathEpoch = 0;
  /** More entries than that come from damage, or from settings that were far larger. */
  readonly #entriesMax: number;
  isSound = true;

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  reset(partition: number, offset: number): void {
    this.partitions.set(partition, new ReplayedPartition(offset));
  }

  deliver(partition: number, first: number, length: number, count: number): void {
    const state = this.#reach(partition, first, length);
    for (let offset = first; offset < first + length && this.isSound; offset += 1) {
      const entry = state.entries.get(offset);
      if (entry === undefined) state.entries.set(offset, { count, due: 0, firstFailure: 0 });
      else {
        entry.count = count;
        entry.due = 0;
      }
    }
  }

  settle(partition: number, first: number, length: number): void {
    const state = this.#reach(partition, first, 0);
    state.end = Math.max(state.end, first + length);
    if (length > state.entries.size) {
      for (const offset of state.entries.keys()) {
        if (offset >= first && offset < first + length) state.entries.delete(offset);
      }
      return;
    }
    for (let offset = first; offset < first + length; offset += 1) state.entries.delete(offset);
  }

  return(partition: number, first: number, length: number, count: number, due: number, firstFailure: number): void {
    const state = this.#reach(partition, first, length);
    for (let offset = first; offset < first + length && this.isSound; offset += 1) {
      state.entries.set(offset, { count, due, firstFailure });
    }
  }

  bury(burial: Burial): void {
    this.burial = burial;
    this.deathSequence = burial.sequence;
    this.deathEpoch = burial.epoch;
  }

  buried(sequence: number, epoch: number): void {
    this.burial = null;
    this.deathSequence = sequence;
    this.deathEpoch = epoch;
  }

  snapshot(): void {
    this.partitions.clear();
    this.burial = null;
  }

  /** Makes everything below `first + length` known; what is new below `first` was read and not delivered. */
  #reach(partition: number, first: number, length: number): ReplayedPartition {
    let state = this.partitions.get(partition);
    if (state === undefined) {
      // A set begins with a reset of each partition, so the first operation of another one says where it begins.
      state = new ReplayedPartition(first);
      this.partitions.set(partition, state);
    }
    if (first - state.end + length + state.entries.size > this.#entriesMax) {
      this.isSound = false;
      return state;
    }
    for (let offset = state.end; offset < first; offset += 1) {
      state.entries.set(offset, { count: 0, due: 0, firstFailure: 0 });
    }
    state.end = Math.max(state.end, first + length);
    return state;
  }
}
