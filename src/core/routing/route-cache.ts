/**
 * From the bytes of a topic, where they lie in the received chunk, to its route, without an allocation. One cache per
 * connection worker; the publishing path looks up here first and asks the subscription index only on a miss.
 *
 * Entries are dense; buckets are chains over them. The topics lie in one arena, as the words that the hash loads anyway,
 * so that verifying takes one comparison for four bytes. Full, either way, means that everything is dropped: refilling
 * costs one miss per live topic, and there is nothing to maintain on a hit. Memory, fixed by `entriesMax` and resident as
 * it fills: 64 bytes of arena per entry, 16 of entry, 8 to 16 of buckets, the reference, and 64 KiB of scratch.
 */
import { assert } from '../../std/assert.ts';
import { hashBytesInto, randomSeed } from '../../std/hash.ts';
import { TOPIC_BYTES_MAX } from './topic.ts';

/** Arena words per entry; topics that are longer on average make the cache full earlier. */
const TOPIC_WORDS_MEAN = 16;

// Fields of an entry; one entry is a quarter of a cache line.
const HASH = 0;
const NEXT = 1;
const OFFSET = 2;
const LENGTH = 3;

export class RouteCache<R> {
  /** Entries at present. */
  size = 0;
  private readonly entriesMax: number;
  /** Keyed by a secret, so that no choice of topics makes chains long. */
  private readonly seed: number;
  private readonly bucketMask: number;
  /** Entry number plus one of the head of each chain; 0 is empty. `NEXT` counts likewise. */
  private readonly heads: Int32Array;
  private readonly entries: Int32Array;
  private readonly arena: Int32Array;
  private arenaUsed = 0;
  private readonly routes: R[] = [];
  /** The words of the topic in hand. */
  private readonly words = new Int32Array(wordCount(TOPIC_BYTES_MAX));

  constructor(entriesMax: number, seed = randomSeed()) {
    assert(entriesMax > 0 && entriesMax <= 1 << 22, 'a route cache holds 1 to 4,194,304 entries');
    this.entriesMax = entriesMax;
    this.seed = seed;
    const bucketCount = 2 ** Math.ceil(Math.log2(entriesMax * 2));
    this.bucketMask = bucketCount - 1;
    this.heads = new Int32Array(bucketCount);
    this.entries = new Int32Array(entriesMax * 4);
    this.arena = new Int32Array(entriesMax * TOPIC_WORDS_MEAN);
  }

  /** The route that was inserted for the topic `buffer[start, start + length)`, or undefined. */
  lookup(buffer: Uint8Array, start: number, length: number): R | undefined {
    if (length > TOPIC_BYTES_MAX) return undefined;
    const entry = this.find(hashBytesInto(buffer, start, start + length, this.seed, this.words), length);
    return entry === -1 ? undefined : this.routes[entry];
  }

  /**
   * Remembers a route; the bytes are copied. A topic that the whole arena cannot hold is not remembered. Returns true
   * when everything else was dropped to make room: routes that somebody still holds are no longer found here.
   */
  insert(topicBytes: Uint8Array, route: R): boolean {
    const { length } = topicBytes;
    const topicWords = wordCount(length);
    if (length > TOPIC_BYTES_MAX || topicWords > this.arena.length) return false;
    const hash = hashBytesInto(topicBytes, 0, length, this.seed, this.words);
    const present = this.find(hash, length);
    if (present !== -1) {
      this.routes[present] = route;
      return false;
    }
    const isFull = this.size === this.entriesMax || this.arenaUsed + topicWords > this.arena.length;
    if (isFull) this.clear();
    const { entries, heads, arena, words } = this;
    const entry = this.size++;
    const bucket = hash & this.bucketMask;
    entries[entry * 4 + HASH] = hash;
    entries[entry * 4 + NEXT] = heads[bucket];
    entries[entry * 4 + OFFSET] = this.arenaUsed;
    entries[entry * 4 + LENGTH] = length;
    heads[bucket] = entry + 1;
    for (let at = 0; at < topicWords; at++) arena[this.arenaUsed + at] = words[at];
    this.arenaUsed += topicWords;
    this.routes.push(route);
    return isFull;
  }

  /** Visits every route; `visit` must not insert. */
  forEach(visit: (route: R) => void): void {
    for (const route of this.routes) visit(route);
  }

  /** Forgets everything and lets the routes go. Costs as much as the entries that were inserted since the last time. */
  clear(): void {
    const { entries, heads, bucketMask } = this;
    for (let entry = 0; entry < this.size; entry++) heads[entries[entry * 4 + HASH] & bucketMask] = 0;
    this.size = 0;
    this.arenaUsed = 0;
    this.routes.length = 0;
  }

  /** The entry with this hash and the topic of `length` bytes whose words are in hand, or -1. */
  private find(hash: number, length: number): number {
    const { entries, arena, words } = this;
    let entry = this.heads[hash & this.bucketMask] - 1;
    while (entry !== -1) {
      if (entries[entry * 4 + HASH] === hash && entries[entry * 4 + LENGTH] === length) {
        const offset = entries[entry * 4 + OFFSET];
        const end = wordCount(length);
        let at = 0;
        while (at < end && arena[offset + at] === words[at]) at++;
        if (at === end) return entry;
      }
      entry = entries[entry * 4 + NEXT] - 1;
    }
    return -1;
  }
}

function wordCount(length: number): number {
  return (length >>> 2) + 1;
}
