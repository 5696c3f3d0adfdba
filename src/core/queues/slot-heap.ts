/**
 * Slots that became ready again, the one that came first on top: redelivery keeps the order of arrival. Thread: the owner
 * of the table; used by the ready queue.
 */
import { type EntryTable, grown, nothing } from './entry-table.ts';

export class SlotHeap {
  count = 0;
  readonly #table: EntryTable;
  #slots: Int32Array;
  /** Where each slot is in the heap. */
  #places: Int32Array;

  constructor(table: EntryTable) {
    this.#table = table;
    this.#slots = new Int32Array(16);
    this.#places = new Int32Array(table.capacity).fill(nothing);
    table.onGrow((capacity) => {
      const before = this.#places.length;
      this.#places = grown(this.#places, new Int32Array(capacity));
      this.#places.fill(nothing, before);
    });
  }

  /** The slot on top; `nothing` when there is none. */
  get top(): number {
    return this.count === 0 ? nothing : this.#slots[0];
  }

  has(slot: number): boolean {
    return this.#places[slot] !== nothing;
  }

  push(slot: number): void {
    if (this.count === this.#slots.length) this.#slots = grown(this.#slots, new Int32Array(2 * this.count));
    this.count += 1;
    this.#up(this.count - 1, slot);
  }

  remove(slot: number): void {
    const at = this.#places[slot];
    this.#places[slot] = nothing;
    this.count -= 1;
    if (at === this.count) return;
    const moved = this.#slots[this.count];
    this.#up(at, moved);
    this.#down(this.#places[moved], moved);
  }

  #up(at: number, slot: number): void {
    const { order } = this.#table;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const other = this.#slots[parent];
      if (order[other] <= order[slot]) break;
      this.#put(at, other);
      at = parent;
    }
    this.#put(at, slot);
  }

  #down(at: number, slot: number): void {
    const { order } = this.#table;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.count) break;
      if (child + 1 < this.count && order[this.#slots[child + 1]] < order[this.#slots[child]]) child += 1;
      const other = this.#slots[child];
      if (order[slot] <= order[other]) break;
      this.#put(at, other);
      at = child;
    }
    this.#put(at, slot);
  }

  #put(at: number, slot: number): void {
    this.#slots[at] = slot;
    this.#places[slot] = at;
  }
}
