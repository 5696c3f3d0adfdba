/**
 * Signs of life: every worker moves a word of its own, the supervisor on the main thread sees whether it still moves.
 * It finds threads that hang in an endless loop, which no message could ask.
 */
import { assert } from '../std/assert.ts';

const lineBytes = 128;
const lineWords = lineBytes / 4;

/** One line per worker, so that beating disturbs no other worker's cache. */
export function createHeartbeats(count: number): SharedArrayBuffer {
  assert(count >= 1, 'at least one heartbeat');
  return new SharedArrayBuffer(count * lineBytes);
}

/** Thread: the worker with this index; call `beat` on a timer. */
export class Heartbeat {
  private readonly words: Int32Array;
  private readonly own: number;
  private count: number;

  constructor(buffer: SharedArrayBuffer, index: number) {
    this.words = new Int32Array(buffer);
    assert(index >= 0 && index < this.words.length / lineWords, 'heartbeat index out of range');
    this.own = index * lineWords;
    // No ordering needed. Goes on where a predecessor stopped, so that the first beat is a change.
    this.count = Atomics.load(this.words, this.own);
  }

  beat(): void {
    this.count = (this.count + 1) | 0;
    // No ordering needed, only that the store is done: a plain one might be kept back by the compiler.
    Atomics.store(this.words, this.own, this.count);
  }
}

/**
 * Remembers when it last saw each word move. It knows only what it looked at: call `stalled` several times per limit.
 * The clock is the caller's; any monotonic milliseconds will do. Thread: the supervisor.
 */
export class HeartbeatMonitor {
  private readonly words: Int32Array;
  private readonly countSeen: Int32Array;
  private readonly movedMs: Float64Array;
  private readonly lookedMs: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    const count = this.words.length / lineWords;
    this.countSeen = new Int32Array(count);
    this.movedMs = new Float64Array(count).fill(Number.NaN);
    this.lookedMs = new Float64Array(count).fill(Number.NaN);
  }

  /** Starts the age of this worker anew; call it when the worker is started or replaced. */
  reset(index: number, nowMs: number): void {
    this.countSeen[index] = this.read(index);
    this.movedMs[index] = nowMs;
    this.lookedMs[index] = nowMs;
  }

  /** Milliseconds since the word of this worker was last seen to have moved; 0 at the first look. */
  ageMs(index: number, nowMs: number): number {
    const count = this.read(index);
    if (Number.isNaN(this.movedMs[index]) || count !== this.countSeen[index]) {
      this.countSeen[index] = count;
      this.movedMs[index] = nowMs;
    }
    this.lookedMs[index] = nowMs;
    return nowMs - this.movedMs[index];
  }

  /**
   * Whether this worker has not moved for more than `limitMs`. When the supervisor itself did not look for that long
   * (a suspended machine, a blocked main thread), the wait starts anew: nobody is replaced for the supervisor's sleep.
   */
  stalled(index: number, nowMs: number, limitMs: number): boolean {
    if (nowMs - this.lookedMs[index] > limitMs) this.reset(index, nowMs);
    return this.ageMs(index, nowMs) > limitMs;
  }

  private read(index: number): number {
    assert(index >= 0 && index < this.countSeen.length, 'heartbeat index out of range');
    // No ordering needed: nothing else is read on the strength of it.
    return Atomics.load(this.words, index * lineWords);
  }
}
