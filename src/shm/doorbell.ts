/**
 * Wake-up of a thread that waits in its event loop, paid for only when it said that it sleeps. Every worker has one
 * `Doorbell` and one line of a shared buffer; it rings the others after it published to them.
 *
 * The sleeper: drain all rings; `sleep()`; look at all rings again; `awake()` if there was something after all. The
 * ringer: publish; `ring(target)`. Both stores come before both loads in one total order (sequential consistency), so
 * at least one side sees the other: either the sleeper finds the record or the ringer finds the flag.
 */
import { assert } from '../std/assert.ts';

const lineBytes = 128;
const lineWords = lineBytes / 4;
const stateAwake = 0;
const stateAsleep = 1;

/** One line per thread; see `fan-out-ring.ts` for its size. */
export function createDoorbells(count: number): SharedArrayBuffer {
  assert(count >= 1, 'at least one doorbell');
  return new SharedArrayBuffer(count * lineBytes);
}

/** Thread: the one with this index. A successor of a dead thread makes a new one over the same line. */
export class Doorbell {
  private readonly words: Int32Array;
  private readonly own: number;
  private readonly notified: () => void;
  private onRing: (() => void) | null = null;

  constructor(buffer: SharedArrayBuffer, index: number) {
    this.words = new Int32Array(buffer);
    assert(index >= 0 && index < this.words.length / lineWords, 'doorbell index out of range');
    this.own = index * lineWords;
    this.notified = () => this.handle();
  }

  /** Wakes thread `target` if it sleeps, else does next to nothing. Call it after the store that it should see. */
  ring(target: number): void {
    const word = target * lineWords;
    // Sequentially consistent, after the publishing store of the caller: see the head of this file.
    if (Atomics.load(this.words, word) !== stateAsleep) return;
    // Atomic exchange: of several ringers one pays for the notification.
    if (Atomics.compareExchange(this.words, word, stateAsleep, stateAwake) === stateAsleep) {
      Atomics.notify(this.words, word);
    }
  }

  /**
   * Wakes every thread, whatever its flag says. The supervisor calls it after a thread died and was detached from all
   * rings: the dead one may have published and not rung, have taken a request for space and not rung, or have cleared
   * a flag in `ring` and not notified, and then nobody else would wake the sleeper. Thread: any.
   */
  static rouseAll(buffer: SharedArrayBuffer): void {
    const words = new Int32Array(buffer);
    for (let word = 0; word < words.length; word += lineWords) Atomics.notify(words, word);
  }

  /**
   * Announces that this thread goes to sleep: look at all rings again afterwards, and call `awake` if there was
   * something. False when nobody listens, so that no ring would wake it.
   */
  sleep(): boolean {
    // Sequentially consistent, before the loads of the rings that the caller does next: see the head of this file.
    Atomics.store(this.words, this.own, stateAsleep);
    return this.onRing !== null;
  }

  /** Takes the announcement back. Rings cost nothing from here on. */
  awake(): void {
    // No ordering needed: a ringer that still sees the old value notifies once too often.
    Atomics.store(this.words, this.own, stateAwake);
  }

  /**
   * Calls `onRing` on this thread's event loop, awake again, after each ring; sometimes without cause, never too few.
   * Does not keep the thread alive.
   */
  listen(onRing: () => void): void {
    assert(this.onRing === null, 'doorbell is listened to already');
    this.onRing = onRing;
    // A predecessor may have died asleep.
    this.awake();
    this.arm();
  }

  /** Ends listening; nothing stays behind. */
  close(): void {
    if (this.onRing === null) return;
    this.onRing = null;
    this.awake();
    // Settles the promise that still waits.
    Atomics.notify(this.words, this.own);
  }

  /**
   * One wait is pending at any time, or its handler is about to run. The wait compares with "awake" since only this
   * thread leaves that state and it does so later; a notification wakes it whatever the word says by then.
   */
  private arm(): void {
    const wait = Atomics.waitAsync(this.words, this.own, stateAwake);
    assert(wait.async, 'doorbell changed while its thread was awake');
    void wait.value.then(this.notified);
  }

  private handle(): void {
    const onRing = this.onRing;
    if (onRing === null) return;
    this.awake();
    // Before the callback, so that a ring during it is not lost.
    this.arm();
    onRing();
  }
}
