/**
 * The messages of one bucket that is in memory, as typed arrays, with a heap of what waits: by due time, then by number, which is
 * the order of acceptance. 41 bytes a message, bodies apart; arrays grow by half. Thread: the owner of the delayed messages.
 */

import { assert } from '../../std/assert.ts';

/** No body in memory. */
export const noBody = 0xffff_ffff;

export class DueEntries {
  count = 0;
  due = new Float64Array(64);
  number = new Float64Array(64);
  /** Of the record in the bucket's stream. */
  offset = new Uint32Array(64);
  /** Where the body lies in the slabs; `noBody` when it has to be read. */
  body = new Uint32Array(64).fill(noBody);
  size = new Uint32Array(64);
  /** Index in the bucket's table of targets. */
  target = new Uint32Array(64);
  state = new Uint8Array(64);
  #heap = new Uint32Array(64);
  #heapSize = 0;

  /** How many wait in the heap; those that were cancelled meanwhile count until they come up. */
  get waiting(): number {
    return this.#heapSize;
  }

  /** Adds a message that is not in the heap yet; answers its index. */
  add(dueMs: number, number: number, offset: number, size: number, target: number): number {
    const entry = this.count;
    if (entry === this.due.length) this.#grow();
    this.due[entry] = dueMs;
    this.number[entry] = number;
    this.offset[entry] = offset;
    this.body[entry] = noBody;
    this.size[entry] = size;
    this.target[entry] = target;
    this.count += 1;
    return entry;
  }

  push(entry: number): void {
    if (this.#heapSize === this.#heap.length) this.#heap = grown(this.#heap, Uint32Array);
    let at = this.#heapSize;
    this.#heapSize += 1;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!this.#isBefore(entry, this.#heap[parent])) break;
      this.#heap[at] = this.#heap[parent];
      at = parent;
    }
    this.#heap[at] = entry;
  }

  /** Due time of the first one; infinity when none waits. */
  get firstDueMs(): number {
    return this.#heapSize === 0 ? Number.POSITIVE_INFINITY : this.due[this.#heap[0]];
  }

  /** Takes the first one out. */
  pop(): number {
    assert(this.#heapSize > 0, 'a message waits');
    const first = this.#heap[0];
    this.#heapSize -= 1;
    if (this.#heapSize > 0) this.#sift(this.#heap[this.#heapSize], 0);
    return first;
  }

  /** The entry with this number, from the newest on; -1 when there is none. */
  find(number: number): number {
    return this.count === 0 ? -1 : this.number.lastIndexOf(number, this.count - 1);
  }

  #sift(entry: number, from: number): void {
    const size = this.#heapSize;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#isBefore(this.#heap[child + 1], this.#heap[child])) child += 1;
      if (!this.#isBefore(this.#heap[child], entry)) break;
      this.#heap[at] = this.#heap[child];
      at = child;
    }
    this.#heap[at] = entry;
  }

  #isBefore(one: number, other: number): boolean {
    const difference = this.due[one] - this.due[other];
    return difference === 0 ? this.number[one] < this.number[other] : difference < 0;
  }

  #grow(): void {
    this.due = grown(this.due, Float64Array);
    this.number = grown(this.number, Float64Array);
    this.offset = grown(this.offset, Uint32Array);
    this.body = grown(this.body, Uint32Array);
    this.size = grown(this.size, Uint32Array);
    this.target = grown(this.target, Uint32Array);
    this.state = grown(this.state, Uint8Array);
  }
}

interface Growable<T> {
  readonly length: number;
  set(source: T): void;
}

function grown<T extends Growable<T>>(array: T, make: new (length: number) => T): T {
  const larger = new make(Math.ceil(array.length * 1.5));
  larger.set(array);
  return larger;
}
