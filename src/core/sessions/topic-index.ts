/**
 * Which messages of one message log have which topic: what a session that comes back reads instead of the log. In memory,
 * rebuilt from the log, bounded; what it does not cover is found by reading the log. Thread: the owner of the sessions.
 *
 * The index is a list of spans of offsets. A span has a tree of topics, and for each topic its offsets and a running sum of sizes, so
 * that "how many messages and bytes of these topics lie behind offset x" costs two searches a topic, whatever the number of messages.
 * The last span grows with the log; when the index is too large the oldest span goes as a whole. Memory: 8 bytes a message; and for each topic
 * and span about 300 bytes, twice its name, and what is unused of its last 4 KiB.
 */
import { assert } from '../../std/assert.ts';
import { RetainedStore } from '../retained/retained-store.ts';

const topicBytes = 300;
/** Running sums of a span have 32 bits. */
const spanLogBytesMax = 0x7fff_ffff;
const spanCountGoal = 8;

/** Messages in a block of postings. */
const blockShift = 9;
const blockSize = 1 << blockShift;
const firstSize = 2;

/** The messages of one topic in one span. */
export class Postings {
  count = 0;
  #base: number;
  /** Offset minus base, and the sum of sizes up to and with this one, in turn. The first block grows; those behind it have their size. */
  readonly #blocks = [new Uint32Array(2 * firstSize)];
  #last = this.#blocks[0];
  #sum = 0;

  constructor(base: number) {
    this.#base = base;
  }

  offsetAt(index: number): number {
    return this.#base + this.#blocks[index >>> blockShift][2 * (index & (blockSize - 1))];
  }

  /** Answers how many bytes of memory it took more. */
  add(offset: number, size: number): number {
    const at = 2 * (this.count & (blockSize - 1));
    const grown = at === this.#last.length || (at === 0 && this.count > 0) ? this.#grow(at) : 0;
    this.count += 1;
    this.#sum += size;
    this.#last[at] = offset - this.#base;
    this.#last[at + 1] = this.#sum;
    return grown;
  }

  /** Of the first one at or behind the offset; `count` when there is none. */
  indexOf(offset: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.offsetAt(middle) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Sum of the sizes of those before `index`. */
  bytesBefore(index: number): number {
    if (index === 0) return 0;
    return this.#blocks[(index - 1) >>> blockShift][2 * ((index - 1) & (blockSize - 1)) + 1];
  }

  #grow(at: number): number {
    if (at === 0) {
      this.#last = new Uint32Array(2 * blockSize);
      this.#blocks.push(this.#last);
      return this.#last.byteLength;
    }
    const larger = new Uint32Array(2 * at);
    larger.set(this.#last);
    this.#blocks[0] = larger;
    this.#last = larger;
    return at * 4;
  }
}

export class IndexSpan {
  readonly from: number;
  /** Behind what it covers. */
  to: number;
  bytes = 0;
  logBytes = 0;
  readonly #topics = new RetainedStore<Postings>({ countMax: Number.POSITIVE_INFINITY, bytesMax: 1 });

  constructor(from: number) {
    this.from = from;
    this.to = from;
  }

  get topicCount(): number {
    return this.#topics.count;
  }

  postingsOf(topic: string): Postings {
    const known = this.#topics.get(topic);
    if (known !== undefined) return known;
    const postings = new Postings(this.from);
    this.#topics.set(topic, postings, 0);
    this.bytes += topicBytes + 2 * topic.length;
    return postings;
  }

  match(filter: string, visit: (topic: string, postings: Postings) => void): void {
    this.#topics.match(filter, visit);
  }
}

export class TopicIndex {
  readonly #bytesMax: number;
  /** Ascending, not overlapping; between them may be holes. */
  #spans: IndexSpan[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#spans.reduce((sum, span) => sum + span.bytes, 0);
  }

  get spanCount(): number {
    return this.#spans.length;
  }

  /** Begins a span that covers nothing yet. */
  open(from: number): IndexSpan {
    const span = new IndexSpan(from);
    const at = this.#spans.findIndex((other) => other.from > from);
    if (at < 0) this.#spans.push(span);
    else this.#spans.splice(at, 0, span);
    return span;
  }

  /** Forgets everything, and begins a span. */
  reset(from: number): IndexSpan {
    this.#spans = [];
    return this.open(from);
  }

  /** Whether the span is as large as one may be: go on with a new one. */
  isFull(span: IndexSpan): boolean {
    return span.bytes > this.#bytesMax / spanCountGoal || span.logBytes > spanLogBytesMax / 2;
  }

  /** Notes a message; offsets of one span ascend. */
  add(span: IndexSpan, topic: string, postings: Postings | null, offset: number, size: number): Postings {
    assert(offset >= span.to, 'the offsets of a span ascend');
    const known = postings ?? span.postingsOf(topic);
    span.bytes += known.add(offset, size);
    span.logBytes += size;
    span.to = offset + 1;
    return known;
  }

  /** Lets the oldest spans go while there is too much. `keep` stays. */
  trim(keep: IndexSpan): void {
    let bytes = this.bytes;
    while (bytes > this.#bytesMax && this.#spans.length > 1) {
      const oldest = this.#spans.findIndex((span) => span !== keep);
      bytes -= this.#spans[oldest].bytes;
      this.#spans.splice(oldest, 1);
    }
  }

  /** Spans that end at or before the offset go: the log begins there now. */
  forgetBefore(offset: number, keep: IndexSpan): void {
    this.#spans = this.#spans.filter((span) => span === keep || span.to > offset);
  }

  /** The span that covers the offset, or null. */
  spanAt(offset: number): IndexSpan | null {
    return this.#spans.find((span) => span.from <= offset && offset < span.to) ?? null;
  }

  /** Where the first span behind the offset begins; null when there is none. */
  nextFrom(offset: number): number | null {
    return this.#spans.find((span) => span.from > offset)?.from ?? null;
  }

  /** Spans that have a part of [from, to), when they cover all of it; else null. */
  covering(from: number, to: number): readonly IndexSpan[] | null {
    const found: IndexSpan[] = [];
    let at = from;
    for (const span of this.#spans) {
      if (at >= to) break;
      if (span.to <= at) continue;
      if (span.from > at) return null;
      found.push(span);
      at = span.to;
    }
    return at >= to ? found : null;
  }
}
