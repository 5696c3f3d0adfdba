/**
 * From the bytes of a topic, where they lie in the received chunk, to its route, without an allocation. One cache per
 * connection worker; the publishing path looks up here first and asks the subscription index only on a miss.
 *
 * Entries are dense; buckets are chains over them. The topics lie in one arena. Full, either way, means that everything
 * is dropped: refilling costs one miss per live topic, and there is nothing to maintain on a hit. Memory, fixed by
 * `entriesMax` and touched as it fills: 64 bytes of arena, 16 of entry, 8 to 16 of buckets, and the reference.
 */
import { assert } from '../../std/assert.ts';
import { hashBytes, randomSeed } from '../../std/hash.ts';

/** Arena bytes per entry; topics that are longer on average make the cache full earlier. */
const TOPIC_BYTES_MEAN = 64;

// Fields of an entry; one entry is a quarter of a cache line.
const HASH = 0;
const NEXT = 1;
const OFFSET = 2;
const LENGTH = 3;

export class RouteCache<R extends object> {
  /** Entries at present. */
  size = 0;
  private readonly entriesMax: number;
  /** Keyed by a secret, so that no choice of topics makes chains long. */
  private readonly seed: number;
  private readonly bucketMask: number;
  /** Entry number plus one of the head of each chain; 0 is empty. `NEXT` counts likewise. */
  private readonly heads: Int32Array;
  private readonly entries: Int32Array;
  private readonly arena: Uint8Array;
  private arenaUsed = 0;
  private readonly routes: R[] = [];
  /** Number of the entry found last: publishers tend to stay with their topic. */
  private recent = -1;

  constructor(entriesMax: number, seed = randomSeed()) {
    assert(entriesMax > 0 && entriesMax <= 1 << 24, 'a route cache holds 1 to 16,777,216 entries');
    this.entriesMax = entriesMax;
    this.seed = seed;
    const bucketCount = 2 ** Math.ceil(Math.log2(entriesMax * 2));
    this.bucketMask = bucketCount - 1;
    this.heads = new Int32Array(bucketCount);
    this.entries = new Int32Array(entriesMax * 4);
    this.arena = new Uint8Array(entriesMax * TOPIC_BYTES_MEAN);
  }

  /** The route that was inserted for the topic `buffer[start, start + length)`, or undefined. */
  lookup(buffer: Uint8Array, start: number, length: number): R | undefined {
    const recent = this.recent;
    if (recent !== -1 && this.holds(recent, buffer, start, length)) return this.routes[recent];
    const entry = this.find(hashBytes(buffer, start, start + length, this.seed), buffer, start, length);
    if (entry === -1) return undefined;
    this.recent = entry;
    return this.routes[entry];
  }

  /** Remembers a route; the bytes are copied. A topic that the whole arena cannot hold is not remembered. */
  insert(topicBytes: Uint8Array, route: R): void {
    const length = topicBytes.length;
    if (length > this.arena.length) return;
    const hash = hashBytes(topicBytes, 0, length, this.seed);
    const present = this.find(hash, topicBytes, 0, length);
    if (present !== -1) {
      this.routes[present] = route;
      return;
    }
    if (this.size === this.entriesMax || this.arenaUsed + length > this.arena.length) this.clear();
    const { entries, heads } = this;
    const entry = this.size++;
    const bucket = hash & this.bucketMask;
    entries[entry * 4 + HASH] = hash;
    entries[entry * 4 + NEXT] = heads[bucket];
    entries[entry * 4 + OFFSET] = this.arenaUsed;
    entries[entry * 4 + LENGTH] = length;
    heads[bucket] = entry + 1;
    this.arena.set(topicBytes, this.arenaUsed);
    this.arenaUsed += length;
    this.routes.push(route);
  }

  /** Forgets everything and lets the routes go. Costs as much as the entries that were inserted since the last time. */
  clear(): void {
    const { entries, heads, bucketMask } = this;
    for (let entry = 0; entry < this.size; entry++) heads[entries[entry * 4 + HASH] & bucketMask] = 0;
    this.size = 0;
    this.arenaUsed = 0;
    this.routes.length = 0;
    this.recent = -1;
  }

  private find(hash: number, buffer: Uint8Array, start: number, length: number): number {
    const { entries } = this;
    let entry = this.heads[hash & this.bucketMask] - 1;
    while (entry !== -1) {
      if (entries[entry * 4 + HASH] === hash && this.holds(entry, buffer, start, length)) return entry;
      entry = entries[entry * 4 + NEXT] - 1;
    }
    return -1;
  }

  /** Compares from the end, since topics differ there first. */
  private holds(entry: number, buffer: Uint8Array, start: number, length: number): boolean {
    if (this.entries[entry * 4 + LENGTH] !== length) return false;
    const { arena } = this;
    const offset = this.entries[entry * 4 + OFFSET];
    for (let at = length - 1; at >= 0; at--) if (arena[offset + at] !== buffer[start + at]) return false;
    return true;
  }
}
