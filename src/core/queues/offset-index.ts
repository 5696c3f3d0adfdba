/**
 * Offset → slot of one partition: open addressing over slots, whose offsets are looked up in the table's column.
 * Thread: the owner of the table; called by it alone.
 */

const empty = -1;

export class OffsetIndex {
  #slots = new Int32Array(64).fill(empty);
  #mask = 63;
  #shift = 26;
  #count = 0;

  add(offset: number, slot: number, offsets: Float64Array): void {
    if (2 * this.#count > this.#mask) this.#grow(offsets);
    this.#count += 1;
    this.#place(offset, slot);
  }

  find(offset: number, offsets: Float64Array): number {
    let at = this.#home(offset);
    for (;;) {
      const slot = this.#slots[at];
      if (slot === empty || offsets[slot] === offset) return slot;
      at = (at + 1) & this.#mask;
    }
  }

  remove(offset: number, offsets: Float64Array): void {
    let at = this.#home(offset);
    while (offsets[this.#slots[at]] !== offset) {
      if (this.#slots[at] === empty) return;
      at = (at + 1) & this.#mask;
    }
    this.#count -= 1;
    // Later slots of the run move up when their home allows it, so that no search stops too early.
    let hole = at;
    for (;;) {
      at = (at + 1) & this.#mask;
      const slot = this.#slots[at];
      if (slot === empty) break;
      const distance = (at - this.#home(offsets[slot])) & this.#mask;
      if (distance >= ((at - hole) & this.#mask)) {
        this.#slots[hole] = slot;
        hole = at;
      }
    }
    this.#slots[hole] = empty;
  }

  /** Spread, since dense ranges of offsets that are far apart would form one long run. */
  #home(offset: number): number {
    const mixed = Math.imul((offset % 0x1_0000_0000) | 0, 0x9e3779b1);
    return mixed >>> this.#shift;
  }

  #place(offset: number, slot: number): void {
    let at = this.#home(offset);
    while (this.#slots[at] !== empty) at = (at + 1) & this.#mask;
    this.#slots[at] = slot;
  }

  #grow(offsets: Float64Array): void {
    const before = this.#slots;
    this.#slots = new Int32Array(2 * before.length).fill(empty);
    this.#mask = this.#slots.length - 1;
    this.#shift -= 1;
    for (const slot of before) if (slot !== empty) this.#place(offsets[slot], slot);
  }
}
