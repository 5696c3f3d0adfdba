/**
 * Where the entries of one segment lie: one row for each record of entries, in the order of the file, which is also the
 * order of the indexes since rows that become void are removed. Columns of numbers, because a log of small writes has
 * tens of thousands of rows. Thread: the Raft worker; used by the segment log, its recovery and its reader.
 */

export class EntryIndex {
  readonly #first: number[] = [];
  readonly #last: number[] = [];
  readonly #term: number[] = [];
  readonly #position: number[] = [];
  readonly #size: number[] = [];

  get rows(): number {
    return this.#first.length;
  }

  /** Index of the first entry; 0 when there is none. */
  get firstIndex(): number {
    return this.#first.length === 0 ? 0 : this.#first[0];
  }

  /** Index of the last entry; 0 when there is none. */
  get lastIndex(): number {
    return this.#last.length === 0 ? 0 : this.#last[this.#last.length - 1];
  }

  add(first: number, count: number, term: number, position: number, size: number): void {
    this.#first.push(first);
    this.#last.push(first + count - 1);
    this.#term.push(term);
    this.#position.push(position);
    this.#size.push(size);
  }

  /** Entries from `index` on are void. */
  truncate(index: number): void {
    let rows = this.#first.length;
    while (rows > 0 && this.#first[rows - 1] >= index) rows -= 1;
    this.#first.length = rows;
    this.#last.length = rows;
    this.#term.length = rows;
    this.#position.length = rows;
    this.#size.length = rows;
    if (rows > 0 && this.#last[rows - 1] >= index) this.#last[rows - 1] = index - 1;
  }

  /** The row that has `index`; -1 when none has. */
  find(index: number): number {
    if (this.#first.length === 0 || index < this.#first[0] || index > this.lastIndex) return -1;
    let low = 0;
    let high = this.#first.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#first[middle] <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  firstOf(row: number): number {
    return this.#first[row];
  }

  lastOf(row: number): number {
    return this.#last[row];
  }

  termOf(row: number): number {
    return this.#term[row];
  }

  /** Offset of the record in the file. */
  positionOf(row: number): number {
    return this.#position[row];
  }

  /** Bytes of the record in the file. */
  sizeOf(row: number): number {
    return this.#size[row];
  }
}
