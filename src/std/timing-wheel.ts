/**
 * Coarse timers for very many deadlines that are mostly moved or cancelled: keep-alive, session expiry, delayed wills.
 *
 * One slot per tick; a timer that lies further ahead than the wheel waits in its slot for more rounds. Starting,
 * moving and cancelling cost O(1) and allocate nothing. Thread: whoever owns the wheel and calls `advance`.
 */
import { assert } from './assert.ts';

/** A deadline. Embed one per thing that expires and use it again; `callback` runs on the wheel's thread. */
export class WheelTimer {
  callback: () => void;
  /** Tick at which it is due, or -1 when it is not running. */
  dueTick = -1;
  previous: WheelTimer | null = null;
  next: WheelTimer | null = null;

  constructor(callback: () => void) {
    this.callback = callback;
  }
}

export class TimingWheel {
  readonly tickMs: number;
  /** Ticks since the wheel was made; the cheapest clock there is. */
  tick = 0;
  /** Timers that run. */
  running = 0;
  /** Ticks whose timers have run. */
  private doneTick = 0;
  private readonly slots: (WheelTimer | null)[];
  private readonly mask: number;

  constructor(tickMs: number, slotCount = 1024) {
    assert((slotCount & (slotCount - 1)) === 0, 'the slot count is a power of two');
    this.tickMs = tickMs;
    this.mask = slotCount - 1;
    this.slots = new Array<WheelTimer | null>(slotCount).fill(null);
  }

  /** Starts or moves `timer`: it runs `delayMs` from now, never early and up to one tick late. */
  start(timer: WheelTimer, delayMs: number): void {
    if (timer.dueTick !== -1) this.cancel(timer);
    this.running++;
    // One tick more, since the present tick has begun at an unknown time.
    timer.dueTick = this.tick + Math.ceil(Math.max(0, delayMs) / this.tickMs) + 1;
    const slot = timer.dueTick & this.mask;
    const head = this.slots[slot] ?? null;
    timer.previous = null;
    timer.next = head;
    if (head !== null) head.previous = timer;
    this.slots[slot] = timer;
  }

  cancel(timer: WheelTimer): void {
    if (timer.dueTick === -1) return;
    this.running--;
    const { previous, next } = timer;
    if (next !== null) next.previous = previous;
    if (previous !== null) previous.next = next;
    else this.slots[timer.dueTick & this.mask] = next;
    timer.dueTick = -1;
    timer.previous = null;
    timer.next = null;
  }

  /** Moves the clock to `tick` and runs everything that became due, in the order of the ticks. */
  advance(tick: number): void {
    // First, so that what a callback starts is counted from now and not from the tick that is being caught up.
    this.tick = Math.max(this.tick, tick);
    while (this.doneTick < this.tick) {
      this.doneTick++;
      this.runSlot(this.doneTick & this.mask);
    }
  }

  /** The first of the next `ticks` ticks at which a timer is due; -1 when none is. For an owner who ticks only when it must. */
  nextDueTick(ticks: number): number {
    if (this.running === 0) return -1;
    for (let tick = this.doneTick + 1; tick <= this.doneTick + ticks; tick++) {
      for (let timer = this.slots[tick & this.mask] ?? null; timer !== null; timer = timer.next) {
        if (timer.dueTick <= tick) return tick;
      }
    }
    return -1;
  }

  private runSlot(slot: number): void {
    // Collected first: a callback may start or cancel timers in this very slot.
    let due: WheelTimer[] | null = null;
    for (let timer = this.slots[slot] ?? null; timer !== null; timer = timer.next) {
      if (timer.dueTick > this.doneTick) continue;
      due ??= [];
      due.push(timer);
    }
    if (due === null) return;
    for (const timer of due) {
      // Cancelled or moved by a callback before it.
      if (timer.dueTick === -1 || timer.dueTick > this.doneTick) continue;
      this.cancel(timer);
      timer.callback();
    }
  }
}
