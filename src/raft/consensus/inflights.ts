/** The append messages that a follower has not answered yet, in order: a ring with two limits. Raft worker. */
import { assert } from '../../std/assert.ts';
import type { LogIndex } from './types.ts';

export class Inflights {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  /** Last index and bytes of each message; `#head` is the oldest. Grows to `messagesMax` when needed. */
  #last: LogIndex[] = [];
  #sizes: number[] = [];
  #head = 0;
  #count = 0;
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    assert(messagesMax > 0, 'A follower may be sent something');
    this.#messagesMax = messagesMax;
    this.#bytesMax = bytesMax;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether nothing more may be sent. A single message may exceed the bytes. */
  get isFull(): boolean {
    return this.#count >= this.#messagesMax || this.#bytes >= this.#bytesMax;
  }

  add(last: LogIndex, bytes: number): void {
    assert(!this.isFull, 'The limits were checked before sending');
    if (this.#count === this.#last.length) this.#grow();
    const slot = (this.#head + this.#count) % this.#last.length;
    this.#last[slot] = last;
    this.#sizes[slot] = bytes;
    this.#count++;
    this.#bytes += bytes;
  }

  /** The follower holds everything up to `index`. */
  freeTo(index: LogIndex): void {
    while (this.#count > 0 && this.#last[this.#head]! <= index) {
      this.#bytes -= this.#sizes[this.#head]!;
      this.#head = (this.#head + 1) % this.#last.length;
      this.#count--;
    }
  }

  clear(): void {
    this.#head = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  #grow(): void {
    const size = Math.min(this.#messagesMax, Math.max(8, this.#count * 2));
    const last = new Array<LogIndex>(size).fill(0);
    const sizes = new Array<number>(size).fill(0);
    for (let i = 0; i < this.#count; i++) {
      const from = (this.#head + i) % this.#last.length;
      last[i] = this.#last[from]!;
      sizes[i] = this.#sizes[from]!;
    }
    this.#last = last;
    this.#sizes = sizes;
    this.#head = 0;
  }
}
