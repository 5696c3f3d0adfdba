/**
 * The newest entries of the log in memory: what was appended last is what is read next, by the state machine and by the
 * followers. Holds a dense range of indexes. Thread: the Raft worker; used by the segment log.
 */

import type { Entry } from '../consensus/types.ts';

/** What an entry takes beside its data, about. */
const entryOverheadBytes = 96;

export class EntryCache {
  readonly #bytesMax: number;
  /** Entries before `#head` were dropped and are cleared away from time to time. */
  #entries: (Entry | null)[] = [];
  #head = 0;
  #first: number;
  #bytes = 0;

  constructor(bytesMax: number, first: number) {
    this.#bytesMax = bytesMax;
    this.#first = first;
  }

  /** The first index that is here; one after the last of the log when nothing is. */
  get first(): number {
    return this.#first;
  }

  get #length(): number {
    return this.#entries.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a dense range that begins at or before the end; what it replaces goes. */
  append(entries: readonly Entry[]): void {
    this.truncate(entries[0].index);
    for (const entry of entries) {
      this.#entries.push(entry);
      this.#bytes += entry.data.length + entryOverheadBytes;
    }
  }

  /** The log now ends before `index`. */
  truncate(index: number): void {
    if (index <= this.#first) {
      this.clear(index);
      return;
    }
    while (this.#first + this.#length > index) {
      const entry = this.#entries.pop();
      this.#bytes -= (entry?.data.length ?? 0) + entryOverheadBytes;
    }
  }

  /** Empties it; the next entry will have the index `next`. */
  clear(next: number): void {
    this.#entries = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#first = next;
  }

  get(index: number): Entry {
    return this.#entries[this.#head + index - this.#first]!;
  }

  /** Drops the oldest entries until the bound is kept. Only what is in the files may go: call it when all is. */
  evict(): void {
    while (this.#bytes > this.#bytesMax && this.#length > 0) this.#dropOldest();
    this.#tidy();
  }

  /** Entries up to `index` are not needed any more. */
  dropThrough(index: number): void {
    while (this.#first <= index && this.#length > 0) this.#dropOldest();
    if (this.#first <= index) this.#first = index + 1;
    this.#tidy();
  }

  #dropOldest(): void {
    this.#bytes -= this.#entries[this.#head]!.data.length + entryOverheadBytes;
    this.#entries[this.#head] = null;
    this.#head += 1;
    this.#first += 1;
  }

  /** Each entry is moved once per halving at most. */
  #tidy(): void {
    if (this.#head < 1024 || this.#head * 2 < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }
}
