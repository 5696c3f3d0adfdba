/**
 * Which ready message is next: by level, and in a level by arrival. New messages come in order and wait in a list; those that came
 * back go through a heap, so that they take their old place. Thread: the owner of the set.
 */
import { type EntryTable, nothing } from './entry-table.ts';
import { SlotHeap } from './slot-heap.ts';
import { SlotList } from './slot-list.ts';

export class ReadyQueue {
  count = 0;
  readonly #table: EntryTable;
  readonly #levelOf: readonly number[];
  /** 0: strict. */
  readonly #guardEvery: number;
  readonly #fresh: SlotList[];
  readonly #again: SlotHeap[];
  readonly #freshOf: Int32Array;
  /** Bits of levels that have a message. */
  #mask = 0;
  /** Messages in a row that overtook one of a lower level. */
  #overtaking = 0;

  /** `levelOf`: level of each partition. */
  constructor(table: EntryTable, levelOf: readonly number[], guardEvery: number) {
    const levels = Math.max(0, ...levelOf) + 1;
    this.#table = table;
    this.#levelOf = levelOf;
    this.#guardEvery = guardEvery;
    this.#fresh = Array.from({ length: levels }, () => new SlotList(table));
    this.#again = Array.from({ length: levels }, () => new SlotHeap(table));
    this.#freshOf = new Int32Array(levelOf.length);
  }

  /** New messages of a partition that wait here. */
  freshOf(partition: number): number {
    return this.#freshOf[partition];
  }

  pushFresh(slot: number): void {
    const partition = this.#table.partition[slot];
    const level = this.#levelOf[partition];
    this.#fresh[level].push(slot);
    this.#freshOf[partition] += 1;
    this.#mask |= 1 << level;
    this.count += 1;
  }

  pushAgain(slot: number): void {
    const level = this.#levelOf[this.#table.partition[slot]];
    this.#again[level].push(slot);
    this.#mask |= 1 << level;
    this.count += 1;
  }

  /** True when the slot was here. */
  remove(slot: number): boolean {
    const partition = this.#table.partition[slot];
    const level = this.#levelOf[partition];
    const fresh = this.#fresh[level];
    const again = this.#again[level];
    if (this.#table.list[slot] === fresh) {
      fresh.remove(slot);
      this.#freshOf[partition] -= 1;
    } else if (again.has(slot)) again.remove(slot);
    else return false;
    this.count -= 1;
    if (fresh.count === 0 && again.count === 0) this.#mask &= ~(1 << level);
    return true;
  }

  /** The next message, taken out; `nothing` when there is none. */
  shift(): number {
    const mask = this.#mask;
    if (mask === 0) return nothing;
    let level = 31 - Math.clz32(mask);
    const overtakes = (mask & (mask - 1)) !== 0;
    if (overtakes && this.#guardEvery > 0) {
      this.#overtaking += 1;
      if (this.#overtaking > this.#guardEvery) {
        level = this.#oldestLevel();
        this.#overtaking = 0;
      }
    } else this.#overtaking = 0;
    const slot = this.#headOf(level);
    this.remove(slot);
    return slot;
  }

  /** The first message of a level that is not on its way again; `nothing` when there is none. For expiry. */
  headOf(level: number): number {
    return this.#fresh[level]?.head ?? nothing;
  }

  get levelCount(): number {
    return this.#fresh.length;
  }

  #headOf(level: number): number {
    const fresh = this.#fresh[level].head;
    const again = this.#again[level].top;
    if (fresh === nothing) return again;
    if (again === nothing) return fresh;
    return this.#table.order[again] < this.#table.order[fresh] ? again : fresh;
  }

  #oldestLevel(): number {
    let oldest = 0;
    let order = Infinity;
    for (let level = 0; level < this.#fresh.length; level += 1) {
      const slot = (this.#mask & (1 << level)) === 0 ? nothing : this.#headOf(level);
      if (slot === nothing || this.#table.order[slot] >= order) continue;
      oldest = level;
      order = this.#table.order[slot];
    }
    return oldest;
  }
}
