/**
 * Which offsets of a message log a session reads next, in order: merged from the postings of its topics, or all of a range when there
 * is no index for it. Pure; thread: the owner of the sessions.
 */
import type { TopicSource } from './message-survey.ts';

export class ReadPlan {
  readonly end: number;
  /** Null: all offsets. */
  readonly #sources: readonly TopicSource[] | null;
  // A heap of sources by the offset that is next in each.
  readonly #offsets: Float64Array;
  readonly #which: Int32Array;
  readonly #indexes: Int32Array;
  #size = 0;
  /** How many offsets a read of the store should bring: messages lie close together, or far apart. */
  readonly isDense: boolean;

  constructor(sources: readonly TopicSource[] | null, from: number, end: number) {
    this.end = end;
    this.#sources = sources;
    const count = sources?.length ?? 0;
    this.#offsets = new Float64Array(count);
    this.#which = new Int32Array(count);
    this.#indexes = new Int32Array(count);
    let messages = 0;
    for (const [at, { postings, first, end: last }] of (sources ?? []).entries()) {
      messages += last - first;
      this.#indexes[at] = first;
      if (first < last) this.#push(postings.offsetAt(first), at);
    }
    this.isDense = sources === null || messages * 16 > end - from;
  }

  get isScan(): boolean {
    return this.#sources === null;
  }

  /** The first offset at or behind `from` that is to be read; `end` when there is none. `from` never goes back. */
  next(from: number): number {
    const sources = this.#sources;
    if (sources === null) return Math.min(from, this.end);
    while (this.#size > 0 && this.#offsets[0] < from) this.#advance(from);
    return this.#size === 0 ? this.end : Math.min(this.#offsets[0], this.end);
  }

  /** Moves the source in front to its first offset at or behind `from`. */
  #advance(from: number): void {
    const which = this.#which[0];
    const { postings, end } = (this.#sources as readonly TopicSource[])[which];
    let index = this.#indexes[which] + 1;
    if (index < end && postings.offsetAt(index) < from) index = Math.max(index, postings.indexOf(from));
    this.#indexes[which] = index;
    if (index < end) this.#sink(postings.offsetAt(index), which);
    else this.#pop();
  }

  #pop(): void {
    this.#size -= 1;
    if (this.#size > 0) this.#sink(this.#offsets[this.#size], this.#which[this.#size]);
  }

  #push(offset: number, which: number): void {
    let at = this.#size;
    this.#size += 1;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (this.#offsets[parent] <= offset) break;
      this.#offsets[at] = this.#offsets[parent];
      this.#which[at] = this.#which[parent];
      at = parent;
    }
    this.#offsets[at] = offset;
    this.#which[at] = which;
  }

  /** Puts an entry at the top and lets it sink. */
  #sink(offset: number, which: number): void {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && this.#offsets[child + 1] < this.#offsets[child]) child += 1;
      if (this.#offsets[child] >= offset) break;
      this.#offsets[at] = this.#offsets[child];
      this.#which[at] = this.#which[child];
      at = child;
    }
    this.#offsets[at] = offset;
    this.#which[at] = which;
  }
}
