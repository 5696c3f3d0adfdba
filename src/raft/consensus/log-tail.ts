/**
 * The end of the log in memory: everything that is not yet durable, and what is not yet applied, so that neither sending nor
 * applying has to read the disk. Raft worker; used by `log-view.ts` alone.
 */
import { assert } from '../../std/assert.ts';
import { entryBytes } from './entry-bytes.ts';
import type { Entry, LogIndex } from './types.ts';

/** Stands where an entry was dropped, so that its data can be collected before the array is shortened. */
const dropped: Entry = { term: 0, index: 0, kind: 0, data: new Uint8Array(0) };

/** Dropped slots that may wait at the front of the array. */
const slackMax = 512;

export class LogTail {
  #entries: Entry[] = [];
  /** Slots of `#entries` that were dropped. */
  #head = 0;
  #first: LogIndex;
  #bytes = 0;

  /** @param first Index that the first entry will have. */
  constructor(first: LogIndex) {
    this.#first = first;
  }

  /** Index of the first entry held; the log's last index + 1 when nothing is. */
  get first(): LogIndex {
    return this.#first;
  }

  /** The last index of the log, also when nothing is held. */
  get last(): LogIndex {
    return this.#first + this.#entries.length - this.#head - 1;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The entry at `index`, which is held. */
  at(index: LogIndex): Entry {
    return this.#entries[this.#head + index - this.#first]!;
  }

  append(entries: readonly Entry[], from = 0): void {
    for (let i = from; i < entries.length; i++) {
      const entry = entries[i]!;
      assert(entry.index === this.last + 1, 'Entries follow each other');
      this.#entries.push(entry);
      this.#bytes += entryBytes(entry);
    }
  }

  /** Removes `index` and everything after it; the log then ends before `index`, even if that was never held here. */
  truncate(index: LogIndex): void {
    if (index <= this.#first) {
      this.reset(index);
      return;
    }
    while (this.last >= index) this.#bytes -= entryBytes(this.#entries.pop()!);
  }

  /** Forgets everything; the next entry has index `first`. */
  reset(first: LogIndex): void {
    this.#entries = [];
    this.#head = 0;
    this.#first = first;
    this.#bytes = 0;
  }

  /** Lets go of the entries up to `index`. */
  drop(index: LogIndex): void {
    while (this.#first <= index && this.#head < this.#entries.length) this.#dropFirst();
    this.#shorten();
  }

  /** Lets go of the oldest entries up to `index` until at most `bytesMax` remain. */
  shrink(index: LogIndex, bytesMax: number): void {
    while (this.#bytes > bytesMax && this.#first <= index && this.#head < this.#entries.length) this.#dropFirst();
    this.#shorten();
  }

  /** Entries in [low, high), at least one and as many as fit in `bytesMax`. `low` is held. */
  slice(low: LogIndex, high: LogIndex, bytesMax: number): readonly Entry[] {
    const start = this.#head + low - this.#first;
    const endMax = this.#head + Math.min(high, this.last + 1) - this.#first;
    let end = start;
    let bytes = 0;
    while (end < endMax) {
      bytes += entryBytes(this.#entries[end]!);
      if (bytes > bytesMax && end > start) break;
      end++;
    }
    return this.#entries.slice(start, end);
  }

  #dropFirst(): void {
    this.#bytes -= entryBytes(this.#entries[this.#head]!);
    this.#entries[this.#head] = dropped;
    this.#head++;
    this.#first++;
  }

  #shorten(): void {
    if (this.#head < slackMax || this.#head * 2 < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }
}
