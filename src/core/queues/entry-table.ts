/**
 * The messages of an acknowledgement set that are read and not settled, as columns of typed arrays: a message is a slot,
 * and passing through the queue allocates nothing here. Thread: the owner of the set; used by it and its parts.
 *
 * What is below the read position of a partition and has no slot is settled: settled ranges need no memory at all, however
 * far apart the holes are.
 */
import { assert } from '../../std/assert.ts';
import { OffsetIndex } from './offset-index.ts';
import type { StoredMessage } from './stored-message.ts';

/** No slot, no consumer, no key. */
export const nothing = -1;

/** The list that a slot is in. */
export interface SlotKeeper {
  remove(slot: number): void;
}

export class EntryTable {
  state: Uint8Array;
  partition: Uint16Array;
  /** Deliveries that count. */
  count: Uint32Array;
  /** Number of the consumer that has it. */
  consumer: Int32Array;
  /** Lock of its key. */
  key: Int32Array;
  /** Why it is dying: index of `deathReasons`. */
  reason: Uint8Array;
  /** Links of the one list that a slot is in. */
  next: Int32Array;
  previous: Int32Array;
  list: (SlotKeeper | null)[];
  /** Links of all slots of a partition, by offset. */
  nextByOffset: Int32Array;
  previousByOffset: Int32Array;
  offset: Float64Array;
  /** In which order messages came; decides who is first among ready ones of different partitions. */
  order: Float64Array;
  /** Of the present delivery; 0 when there is none. */
  tag: Float64Array;
  /** Of the message; 0 while it was not read. */
  timestamp: Float64Array;
  /** Wall time in milliseconds of the first failed delivery; 0 when there was none. */
  firstFailure: Float64Array;
  /** Wall time in milliseconds at which a delayed message is due. */
  due: Float64Array;
  message: (StoredMessage | null)[];
  size = 0;
  readonly #firstOf: Int32Array;
  readonly #lastOf: Int32Array;
  readonly #countOf: Int32Array;
  readonly #indexes: OffsetIndex[];
  readonly #growers: ((capacity: number) => void)[] = [];
  #free = nothing;
  #capacity: number;
  #orderNext = 1;

  constructor(partitionCount: number, capacity = 1024) {
    this.#capacity = capacity;
    this.state = new Uint8Array(capacity);
    this.partition = new Uint16Array(capacity);
    this.count = new Uint32Array(capacity);
    this.consumer = new Int32Array(capacity);
    this.key = new Int32Array(capacity);
    this.reason = new Uint8Array(capacity);
    this.next = new Int32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.list = new Array<SlotKeeper | null>(capacity).fill(null);
    this.nextByOffset = new Int32Array(capacity);
    this.previousByOffset = new Int32Array(capacity);
    this.offset = new Float64Array(capacity);
    this.order = new Float64Array(capacity);
    this.tag = new Float64Array(capacity);
    this.timestamp = new Float64Array(capacity);
    this.firstFailure = new Float64Array(capacity);
    this.due = new Float64Array(capacity);
    this.message = new Array<StoredMessage | null>(capacity).fill(null);
    this.#firstOf = new Int32Array(partitionCount).fill(nothing);
    this.#lastOf = new Int32Array(partitionCount).fill(nothing);
    this.#countOf = new Int32Array(partitionCount);
    this.#indexes = Array.from({ length: partitionCount }, () => new OffsetIndex());
    this.#freeFrom(0);
  }

  get capacity(): number {
    return this.#capacity;
  }

  /** `grow` is told each new capacity, for columns that others keep by slot. */
  onGrow(grow: (capacity: number) => void): void {
    this.#growers.push(grow);
  }

  countOf(partition: number): number {
    return this.#countOf[partition];
  }

  /** The slot with the lowest offset; `nothing` when there is none. */
  firstOf(partition: number): number {
    return this.#firstOf[partition];
  }

  /** A new slot behind all others of the partition: offsets ascend. */
  add(partition: number, offset: number, state: number, message: StoredMessage | null): number {
    const last = this.#lastOf[partition];
    assert(last === nothing || this.offset[last] < offset, 'messages of a partition come in the order of offsets');
    if (this.#free === nothing) this.#grow();
    const slot = this.#free;
    this.#free = this.next[slot];
    this.state[slot] = state;
    this.partition[slot] = partition;
    this.count[slot] = 0;
    this.consumer[slot] = nothing;
    this.key[slot] = nothing;
    this.next[slot] = nothing;
    this.previous[slot] = nothing;
    this.offset[slot] = offset;
    this.order[slot] = this.#orderNext;
    this.tag[slot] = 0;
    this.timestamp[slot] = message === null ? 0 : message.timestamp;
    this.firstFailure[slot] = 0;
    this.due[slot] = 0;
    this.message[slot] = message;
    this.previousByOffset[slot] = last;
    this.nextByOffset[slot] = nothing;
    if (last === nothing) this.#firstOf[partition] = slot;
    else this.nextByOffset[last] = slot;
    this.#lastOf[partition] = slot;
    this.#countOf[partition] += 1;
    this.#orderNext += 1;
    this.size += 1;
    this.#indexes[partition].add(offset, slot, this.offset);
    return slot;
  }

  remove(slot: number): void {
    const partition = this.partition[slot];
    this.#indexes[partition].remove(this.offset[slot], this.offset);
    const next = this.nextByOffset[slot];
    const previous = this.previousByOffset[slot];
    if (next === nothing) this.#lastOf[partition] = previous;
    else this.previousByOffset[next] = previous;
    if (previous === nothing) this.#firstOf[partition] = next;
    else this.nextByOffset[previous] = next;
    this.#countOf[partition] -= 1;
    this.size -= 1;
    this.message[slot] = null;
    this.tag[slot] = 0;
    this.next[slot] = this.#free;
    this.#free = slot;
  }

  /** The slot of a message; `nothing` when it is settled or not read yet. */
  find(partition: number, offset: number): number {
    return partition >= 0 && partition < this.#indexes.length
      ? this.#indexes[partition].find(offset, this.offset)
      : nothing;
  }

  #freeFrom(start: number): void {
    for (let slot = this.#capacity - 1; slot >= start; slot -= 1) {
      this.next[slot] = this.#free;
      this.#free = slot;
    }
  }

  #grow(): void {
    const before = this.#capacity;
    const capacity = 2 * before;
    this.#capacity = capacity;
    this.state = grown(this.state, new Uint8Array(capacity));
    this.partition = grown(this.partition, new Uint16Array(capacity));
    this.count = grown(this.count, new Uint32Array(capacity));
    this.consumer = grown(this.consumer, new Int32Array(capacity));
    this.key = grown(this.key, new Int32Array(capacity));
    this.reason = grown(this.reason, new Uint8Array(capacity));
    this.next = grown(this.next, new Int32Array(capacity));
    this.previous = grown(this.previous, new Int32Array(capacity));
    this.nextByOffset = grown(this.nextByOffset, new Int32Array(capacity));
    this.previousByOffset = grown(this.previousByOffset, new Int32Array(capacity));
    this.offset = grown(this.offset, new Float64Array(capacity));
    this.order = grown(this.order, new Float64Array(capacity));
    this.tag = grown(this.tag, new Float64Array(capacity));
    this.timestamp = grown(this.timestamp, new Float64Array(capacity));
    this.firstFailure = grown(this.firstFailure, new Float64Array(capacity));
    this.due = grown(this.due, new Float64Array(capacity));
    for (let slot = before; slot < capacity; slot += 1) {
      this.list.push(null);
      this.message.push(null);
    }
    for (const grow of this.#growers) grow(capacity);
    this.#freeFrom(before);
  }
}

/** `target` with the values of `source` in front. */
export function grown<Column extends { set(source: Column): void }>(source: Column, target: Column): Column {
  target.set(source);
  return target;
}
