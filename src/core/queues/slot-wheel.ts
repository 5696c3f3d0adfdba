/**
 * Deadlines of slots: when a delivery times out, when a delayed message is due. A timing wheel over columns, so that a delivery
 * starts and stops its deadline without allocating. Thread: the owner of the table; used by the acknowledgement set.
 */
import { type EntryTable, grown, nothing } from './entry-table.ts';

const spokeCount = 1024;

export class SlotWheel {
  readonly tickMs: number;
  /** Slots with a deadline. */
  count = 0;
  readonly #spokes = new Int32Array(spokeCount).fill(nothing);
  #next: Int32Array;
  #previous: Int32Array;
  /** -1: no deadline. */
  #tick: Float64Array;
  #doneTick: number;
  #due: number[] = [];

  /** `now`: monotonic milliseconds. */
  constructor(table: EntryTable, tickMs: number, now: number) {
    this.tickMs = tickMs;
    this.#doneTick = Math.floor(now / tickMs);
    this.#next = new Int32Array(table.capacity);
    this.#previous = new Int32Array(table.capacity);
    this.#tick = new Float64Array(table.capacity).fill(-1);
    table.onGrow((capacity) => {
      const before = this.#tick.length;
      this.#next = grown(this.#next, new Int32Array(capacity));
      this.#previous = grown(this.#previous, new Int32Array(capacity));
      this.#tick = grown(this.#tick, new Float64Array(capacity));
      this.#tick.fill(-1, before);
    });
  }

  /** Starts or moves a deadline to `at`, in monotonic milliseconds; it is never met early and up to one tick late. */
  start(slot: number, at: number): void {
    if (this.#tick[slot] !== -1) this.cancel(slot);
    const tick = Math.max(Math.ceil(at / this.tickMs), this.#doneTick + 1);
    const spoke = tick % spokeCount;
    const head = this.#spokes[spoke];
    this.#tick[slot] = tick;
    this.#next[slot] = head;
    this.#previous[slot] = nothing;
    if (head !== nothing) this.#previous[head] = slot;
    this.#spokes[spoke] = slot;
    this.count += 1;
  }

  cancel(slot: number): void {
    const tick = this.#tick[slot];
    if (tick === -1) return;
    const next = this.#next[slot];
    const previous = this.#previous[slot];
    if (next !== nothing) this.#previous[next] = previous;
    if (previous !== nothing) this.#next[previous] = next;
    else this.#spokes[tick % spokeCount] = next;
    this.#tick[slot] = -1;
    this.count -= 1;
  }

  /** When the first deadline is over, in monotonic milliseconds; Infinity when there is none. */
  nextAt(): number {
    if (this.count === 0) return Infinity;
    let earliest = Infinity;
    for (let tick = this.#doneTick + 1; tick <= this.#doneTick + spokeCount; tick += 1) {
      for (let slot = this.#spokes[tick % spokeCount]; slot !== nothing; slot = this.#next[slot]) {
        if (this.#tick[slot] === tick) return tick * this.tickMs;
        earliest = Math.min(earliest, this.#tick[slot]);
      }
    }
    return earliest * this.tickMs;
  }

  /** Runs `meet` for each slot whose deadline is over, the earliest first; it may start and cancel deadlines. */
  advance(now: number, meet: (slot: number) => void): void {
    const nowTick = Math.floor(now / this.tickMs);
    const first = Math.max(this.#doneTick + 1, nowTick - spokeCount + 1);
    if (nowTick <= this.#doneTick) return;
    this.#doneTick = nowTick;
    if (this.count === 0) return;
    const due = this.#due;
    for (let tick = first; tick <= nowTick; tick += 1) {
      for (let slot = this.#spokes[tick % spokeCount]; slot !== nothing; slot = this.#next[slot]) {
        if (this.#tick[slot] <= nowTick) due.push(slot);
      }
    }
    if (due.length === 0) return;
    this.#due = [];
    due.sort((one, other) => this.#tick[one] - this.#tick[other] || one - other);
    for (const slot of due) {
      // Cancelled or moved by what was met before it.
      if (this.#tick[slot] === -1 || this.#tick[slot] > nowTick) continue;
      this.cancel(slot);
      meet(slot);
    }
    due.length = 0;
    this.#due = due;
  }
}
