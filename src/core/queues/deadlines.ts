/**
 * The deadlines of a set: a wheel over its slots, and one timer that wakes up when the first of them is over. Thread: the owner of
 * the set.
 */
import type { WheelTimer } from '../../std/timing-wheel.ts';
import type { EntryTable } from './entry-table.ts';
import { type QueueContext, timerOf } from './queue-context.ts';
import { SlotWheel } from './slot-wheel.ts';

export class Deadlines {
  readonly #context: QueueContext;
  readonly #wheel: SlotWheel;
  readonly #timer: WheelTimer;
  readonly #meet: (slot: number) => void;
  /** Monotonic milliseconds at which the timer runs. */
  #wakeAt = Infinity;

  /** `meet` is called with each slot whose deadline is over, from the timer or from `advance`. */
  constructor(table: EntryTable, context: QueueContext, meet: (slot: number) => void) {
    this.#context = context;
    this.#meet = meet;
    this.#wheel = new SlotWheel(table, context.timers.tickMs, context.clock.monotonic());
    this.#timer = timerOf(() => {
      this.advance();
      this.#wakeUpAt(this.#wheel.nextAt());
    });
  }

  /** Starts or moves the deadline of a slot. */
  start(slot: number, delayMs: number): void {
    const at = this.#context.clock.monotonic() + delayMs;
    this.#wheel.start(slot, at);
    if (at < this.#wakeAt) this.#wakeUpAt(at);
  }

  cancel(slot: number): void {
    this.#wheel.cancel(slot);
  }

  advance(): void {
    this.#wheel.advance(this.#context.clock.monotonic(), this.#meet);
  }

  close(): void {
    this.#context.timers.cancel(this.#timer);
    this.#wakeAt = -Infinity;
  }

  #wakeUpAt(at: number): void {
    if (this.#wakeAt === -Infinity) return;
    this.#wakeAt = at;
    if (at === Infinity) this.#context.timers.cancel(this.#timer);
    else this.#context.timers.start(this.#timer, Math.max(0, at - this.#context.clock.monotonic()));
  }
}
