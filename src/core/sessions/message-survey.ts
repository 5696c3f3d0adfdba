/**
 * What waits for a session in one message log, by the index: count, bytes, and where a limit cuts. Costs a few searches for each
 * topic that its filters match, whatever the number of messages. Pure; thread: the owner of the sessions.
 */
import type { IndexSpan, Postings } from './topic-index.ts';

/** One topic in one span, as a session sees it. */
export interface TopicSource {
  readonly topic: string;
  readonly postings: Postings;
  /** Of the first message that the session may get. */
  readonly first: number;
  /** Behind the last one. */
  readonly end: number;
}

/** A filter of the session, and from which offset of the log on it holds. */
export interface FilterSince {
  readonly filter: string;
  readonly since: number;
}

/** Sources of [from, to) in a span; null when there are more than `sourcesMax`. */
export function sourcesIn(
  span: IndexSpan,
  filters: readonly FilterSince[],
  from: number,
  to: number,
  sourcesMax: number,
): TopicSource[] | null {
  const found = new Map<string, TopicSource>();
  for (const { filter, since } of filters) {
    if (found.size > sourcesMax) return null;
    const start = Math.max(from, since);
    if (start >= to) continue;
    span.match(filter, (topic, postings) => {
      const first = postings.indexOf(start);
      const end = postings.indexOf(to);
      const known = found.get(topic);
      if (first < end && (known === undefined || known.first > first))
        found.set(topic, { topic, postings, first, end });
    });
  }
  return found.size > sourcesMax ? null : [...found.values()];
}

export class Survey {
  count = 0;
  bytes = 0;
  readonly #sources: readonly TopicSource[];
  readonly #from: number;
  readonly #to: number;

  constructor(sources: readonly TopicSource[], from: number, to: number) {
    this.#sources = sources;
    this.#from = from;
    this.#to = to;
    this.#measure(from, to);
  }

  /** Offset of the first message, or `to`. */
  get firstOffset(): number {
    let first = this.#to;
    for (const source of this.#sources) first = Math.min(first, source.postings.offsetAt(source.first));
    return first;
  }

  /** The lowest offset x so that what lies in [x, to) is at most `countMax` messages and `bytesMax` bytes. */
  newest(countMax: number, bytesMax: number): number {
    let low = this.#from;
    let high = this.#to;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      this.#measure(middle, this.#to);
      if (this.count <= countMax && this.bytes <= bytesMax) high = middle;
      else low = middle + 1;
    }
    this.#measure(low, this.#to);
    return low;
  }

  /** The highest offset x so that what lies in [from, x) is at most `countMax` messages and `bytesMax` bytes. */
  oldest(countMax: number, bytesMax: number): number {
    let low = this.#from;
    let high = this.#to;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      this.#measure(this.#from, middle);
      if (this.count <= countMax && this.bytes <= bytesMax) low = middle;
      else high = middle - 1;
    }
    this.#measure(this.#from, low);
    return low;
  }

  /** Sets count and bytes of [from, to). */
  #measure(from: number, to: number): void {
    this.count = 0;
    this.bytes = 0;
    for (const { postings, first, end } of this.#sources) {
      const low = from === this.#from ? first : Math.min(end, Math.max(first, postings.indexOf(from)));
      const high = to === this.#to ? end : Math.max(low, Math.min(end, postings.indexOf(to)));
      this.count += high - low;
      this.bytes += postings.bytesBefore(high) - postings.bytesBefore(low);
    }
  }
}
