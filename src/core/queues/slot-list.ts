/**
 * A list of slots, linked through the columns of the entry table: each slot is in one list at most. Thread: the owner of
 * the table; used for what is ready, held by key, in flight at a consumer, parked, loading and dying.
 */
import { assert } from '../../std/assert.ts';
import { type EntryTable, nothing, type SlotKeeper } from './entry-table.ts';

export class SlotList implements SlotKeeper {
  head = nothing;
  tail = nothing;
  count = 0;
  readonly #table: EntryTable;

  constructor(table: EntryTable) {
    this.#table = table;
  }

  push(slot: number): void {
    const table = this.#table;
    assert(table.list[slot] === null, 'a message is in one list at a time');
    table.list[slot] = this;
    table.previous[slot] = this.tail;
    table.next[slot] = nothing;
    if (this.tail === nothing) this.head = slot;
    else table.next[this.tail] = slot;
    this.tail = slot;
    this.count += 1;
  }

  /** The first slot, taken out; `nothing` when there is none. */
  shift(): number {
    const slot = this.head;
    if (slot !== nothing) this.remove(slot);
    return slot;
  }

  remove(slot: number): void {
    const table = this.#table;
    assert(table.list[slot] === this, 'the message is in this list');
    const next = table.next[slot];
    const previous = table.previous[slot];
    if (next === nothing) this.tail = previous;
    else table.previous[next] = previous;
    if (previous === nothing) this.head = next;
    else table.next[previous] = next;
    table.list[slot] = null;
    this.count -= 1;
  }
}

/** Takes a slot out of the list that it is in. */
export function unlist(table: EntryTable, slot: number): void {
  const list = table.list[slot];
  if (list !== null) list.remove(slot);
}
