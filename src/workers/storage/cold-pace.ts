/**
 * The pace of cold reads of a node: reads of the journal's files whose bytes come from the disk. A few words of shared memory that the
 * journal worker and all threads with a client of the store have in common. The host says how many bytes a second may be read, and
 * when something was appended last; readers take their turns from it, in the order in which they ask, whichever thread they are on.
 * While nobody appends there is no pace: reads cost nobody anything.
 *
 * What is in the page cache is read without it: see `client/plan-reader.ts`. The limit is found by `host/cold-pace-control.ts`. Who holds a
 * turn and dies takes at most the time of that turn with it, and its line is cleared by its successor.
 */
import { assert } from '../../std/assert.ts';

/** Words of 64 bits; one more for each line behind them. */
const words = {
  /** The time at which all that was promised is over, us. */
  freeAt: 0,
  /** Bytes a second; 0: no pace. */
  limit: 1,
  /** Appends are under way, or were until a moment ago, up to this time, us. */
  activeUntil: 2,
  /** Nobody reads before this time, us. */
  heldUntil: 3,
  bytes: 4,
  reads: 5,
  waitedUs: 6,
  /** Bytes of reads that were begun: grows before `bytes` does. */
  begunBytes: 7,
  lines: 8,
} as const;

/** Cold reads of a node at the same time: each keeps one of the few file threads of the process, which syncs need as well. */
const underWayMax = 2;
/** A reader that came late, because timers are late, may make up for it: us. */
const creditUs = 10_000;

export interface ColdReadTotals {
  readonly bytes: number;
  readonly reads: number;
  readonly waitedUs: number;
}

/** `lineCount`: threads that may read, those of the doorbells. */
export function createColdPace(lineCount: number): SharedArrayBuffer {
  assert(lineCount >= 1, 'at least one thread reads');
  return new SharedArrayBuffer((words.lines + lineCount) * 8);
}

/** Time that all threads agree on, us. */
export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** Thread: any. Methods of the host and of readers are told apart below. */
export class ColdPace {
  readonly #words: BigInt64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new BigInt64Array(buffer);
    assert(this.#words.length > words.lines, 'the buffer was made by createColdPace');
  }

  /** Bytes a second; 0: there is no pace. */
  get limitBytesPerS(): number {
    return this.#get(words.limit);
  }

  totals(): ColdReadTotals {
    return { bytes: this.#get(words.bytes), reads: this.#get(words.reads), waitedUs: this.#get(words.waitedUs) };
  }

  // --- the host ---

  setLimit(bytesPerS: number): void {
    this.#set(words.limit, bytesPerS);
  }

  /** Somebody appends: the pace is in force until then. */
  activeUntil(us: number): void {
    this.#set(words.activeUntil, us);
  }

  /** No cold read begins before: to see how long syncs take without them. */
  holdUntil(us: number): void {
    this.#set(words.heldUntil, us);
  }

  // --- readers ---

  isInForce(nowUs = monotonicUs()): boolean {
    return this.limitBytesPerS > 0 && this.#get(words.activeUntil) > nowUs;
  }

  /** End of the time in which nobody begins to read, us; may be over. */
  get heldUntilUs(): number {
    return this.#get(words.heldUntil);
  }

  /** Takes a turn behind all others; answers when it begins, us. `us` of it is what `giveBack` wants. */
  reserve(bytes: number, nowUs = monotonicUs()): { readonly startUs: number; readonly us: number } {
    const limit = this.limitBytesPerS;
    const us = limit > 0 ? Math.ceil((bytes / limit) * 1e6) : 0;
    for (;;) {
      const free = Atomics.load(this.#words, words.freeAt);
      const startUs = Math.max(Number(free), nowUs - creditUs);
      const next = BigInt(startUs + us);
      // Of two that take the same turn one takes the next.
      if (Atomics.compareExchange(this.#words, words.freeAt, free, next) === free) return { startUs, us };
    }
  }

  /** A turn is not used: those behind it come earlier, if they ask after this. */
  giveBack(us: number): void {
    Atomics.sub(this.#words, words.freeAt, BigInt(us));
  }

  /** False while too many cold reads are under way. */
  begin(line: number, bytes: number): boolean {
    // Two threads may pass it at the same time: one read more for a moment does no harm.
    if (this.#underWay() >= underWayMax) return false;
    Atomics.add(this.#words, words.lines + line, 1n);
    Atomics.add(this.#words, words.begunBytes, BigInt(bytes));
    return true;
  }

  /** Every `begin` has one. `read`: how much came. */
  end(line: number, read: number): void {
    Atomics.add(this.#words, words.bytes, BigInt(read));
    Atomics.add(this.#words, words.reads, 1n);
    Atomics.sub(this.#words, words.lines + line, 1n);
  }

  waited(us: number): void {
    Atomics.add(this.#words, words.waitedUs, BigInt(Math.round(us)));
  }

  /** A thread begins: what its predecessor had under way is over. */
  clear(line: number): void {
    assert(words.lines + line < this.#words.length, 'the line of a reader is one of those of the buffer');
    Atomics.store(this.#words, words.lines + line, 0n);
  }

  /** Changes whenever a cold read of any thread may have touched the disk; null while one is under way. */
  quietMark(): number | null {
    const begun = this.#get(words.begunBytes);
    return this.#underWay() === 0 ? begun : null;
  }

  #underWay(): number {
    let count = 0;
    for (let word: number = words.lines; word < this.#words.length; word += 1) count += this.#get(word);
    return count;
  }

  #get(word: number): number {
    return Number(Atomics.load(this.#words, word));
  }

  #set(word: number, value: number): void {
    Atomics.store(this.#words, word, BigInt(Math.round(value)));
  }
}
