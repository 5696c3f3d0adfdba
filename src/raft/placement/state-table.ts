/**
 * One table of the replicated state: typed rows in the store, and over them, in memory, what was applied and is not yet
 * committed. Thread: the Raft worker; on other threads the same class reads the store alone. Used by `state-core.ts`.
 *
 * Two generations lie over the store: `collecting` takes what is applied now, `flushing` is what the commit under way
 * writes. A row is looked up in that order, then among those of the newest commits, then in the store. Keys are compared as texts with one character per byte (`latin1Of`).
 *
 * ```
 * store key = half(1) table(1) key
 * ```
 */
import type { Hash } from 'node:crypto';
import { assert } from '../../std/assert.ts';
import type { Bytes, StoreChange, StorePair } from '../ports.ts';
import { allocate, latin1Of } from './bytes.ts';

/** How rows become bytes. Decoding throws `CorruptionError` or `MalformedError`. */
export interface RowCodec<T> {
  encode(row: T): Bytes;
  decode(key: Bytes, bytes: Bytes): T;
}

/** What a table reads of a store. */
export interface StoreReads {
  get(key: Bytes): Bytes | null;
  range(start: Bytes, end: Bytes | null, limit: number, isReverse?: boolean): readonly StorePair[];
  count(start: Bytes, end: Bytes | null): number;
}

export interface Row<T> {
  readonly key: Bytes;
  readonly value: T;
}

interface Slot<T> {
  readonly key: Bytes;
  readonly text: string;
  /** Null: removed. */
  readonly value: T | null;
}

/** Bytes before the key in the store. */
export const prefixBytes = 2;
/** Memory of a remembered row besides its bytes, about. */
const RECENT_ROW_BYTES = 128;
const PAGE_ROWS_FIRST = 32;
const PAGE_ROWS_MAX = 512;
/** A page with more bytes than that is not followed by a larger one. */
const PAGE_BYTES = 256 * 1024;

/** The slots of one generation, with their order made when a range asks for it. */
class Generation<T> {
  readonly slots = new Map<string, Slot<T>>();
  private sorted: string[] = [];
  private fresh: string[] = [];

  set(slot: Slot<T>): void {
    const { size } = this.slots;
    this.slots.set(slot.text, slot);
    if (this.slots.size !== size) this.fresh.push(slot.text);
  }

  /** Slots with start <= text < end, in order. */
  between(start: string, end: string | null): Slot<T>[] {
    if (this.fresh.length > 0) this.sort();
    const { sorted } = this;
    const found: Slot<T>[] = [];
    for (let index = lowerBound(sorted, start); index < sorted.length; index++) {
      const text = sorted[index];
      if (end !== null && text >= end) break;
      found.push(this.slots.get(text)!);
    }
    return found;
  }

  /** New keys usually come in small numbers between two ranges, so they are sorted alone and merged. */
  private sort(): void {
    const fresh = this.fresh.sort();
    this.fresh = [];
    const { sorted } = this;
    if (sorted.length === 0 || sorted[sorted.length - 1] < fresh[0]) {
      this.sorted = sorted.length === 0 ? fresh : sorted.concat(fresh);
      return;
    }
    const merged: string[] = [];
    let index = 0;
    for (const text of fresh) {
      while (index < sorted.length && sorted[index] < text) merged.push(sorted[index++]);
      merged.push(text);
    }
    while (index < sorted.length) merged.push(sorted[index++]);
    this.sorted = merged;
  }
}

/**
 * Rows of the newest commits in the form that was stored, so that a key that is written often costs no look into the
 * store. Two generations: when the newer one is full, the older one goes as a whole.
 */
class RecentRows {
  private readonly bytesMax: number;
  private newer = new Map<string, Bytes | null>();
  private older = new Map<string, Bytes | null>();
  private newerBytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Null: removed; undefined: not known here. */
  get(text: string): Bytes | null | undefined {
    const bytes = this.newer.get(text);
    return bytes === undefined ? this.older.get(text) : bytes;
  }

  set(text: string, bytes: Bytes | null): void {
    this.newer.set(text, bytes);
    // A row that is written again is counted again, which only ends the generation sooner.
    this.newerBytes += RECENT_ROW_BYTES + text.length + (bytes === null ? 0 : bytes.length);
    if (this.newerBytes < this.bytesMax / 2) return;
    this.older = this.newer;
    this.newer = new Map();
    this.newerBytes = 0;
  }

  clear(): void {
    this.newer.clear();
    this.older.clear();
    this.newerBytes = 0;
  }
}

export class StateTable<T> {
  private readonly store: StoreReads;
  private readonly tag: number;
  private readonly codec: RowCodec<T>;
  private half: number;
  private readonly recent: RecentRows | null;
  private collecting = new Generation<T>();
  private flushing: Generation<T> | null = null;

  /** `recentBytes`: memory for rows that were written lately; 0 for a table whose rows are not looked up one by one. */
  constructor(store: StoreReads, half: number, tag: number, codec: RowCodec<T>, recentBytes = 0) {
    this.store = store;
    this.half = half;
    this.tag = tag;
    this.codec = codec;
    this.recent = recentBytes === 0 ? null : new RecentRows(recentBytes);
  }

  get(key: Bytes): T | null {
    return this.find(latin1Of(key), key);
  }

  /** `get` for callers that have the key as text already. */
  find(text: string, key: Bytes): T | null {
    const slot = this.collecting.slots.get(text) ?? this.flushing?.slots.get(text);
    if (slot !== undefined) return slot.value;
    let bytes = this.recent?.get(text);
    if (bytes === undefined) bytes = this.store.get(this.storeKey(key));
    return bytes === null ? null : this.codec.decode(key, bytes);
  }

  /** The table keeps key and value: they must not change. */
  set(text: string, key: Bytes, value: T | null): void {
    this.collecting.set({ key, text, value });
  }

  /** Rows with start <= key < end in order, or from the end backwards. `end` null: to the end of the table. */
  range(start: Bytes, end: Bytes | null, limit: number, isReverse = false): Row<T>[] {
    const rows: Row<T>[] = [];
    this.scan(start, end, isReverse, limit, (row) => rows.push(row) < limit);
    return rows;
  }

  /** Calls `visit` for each row of the range until it answers false. `expected`: how many it will probably take. */
  scan(start: Bytes, end: Bytes | null, isReverse: boolean, expected: number, visit: (row: Row<T>) => boolean): void {
    const slots = this.slotsBetween(latin1Of(start), end === null ? null : latin1Of(end));
    if (isReverse) slots.reverse();
    let next = 0;
    let low = this.storeKey(start);
    let high = end === null ? this.endOfTable() : this.storeKey(end);
    let pageRows = Math.min(PAGE_ROWS_FIRST, expected + slots.length);
    while (true) {
      const page = this.store.range(low, high, pageRows, isReverse);
      let pageBytes = 0;
      for (const pair of page) {
        const key = keyOf(pair);
        const text = latin1Of(key);
        while (next < slots.length && (isReverse ? slots[next].text > text : slots[next].text < text)) {
          const slot = slots[next++];
          if (slot.value !== null && !visit(slot as Row<T>)) return;
        }
        if (next < slots.length && slots[next].text === text) {
          const slot = slots[next++];
          if (slot.value !== null && !visit(slot as Row<T>)) return;
        } else if (!visit({ key, value: this.codec.decode(key, pair.value) })) {
          return;
        }
        pageBytes += pair.value.length;
      }
      if (page.length < pageRows) break;
      const last = page[page.length - 1].key;
      if (isReverse) high = Buffer.from(last);
      else low = successor(last);
      if (pageBytes <= PAGE_BYTES) pageRows = Math.min(pageRows * 2, PAGE_ROWS_MAX);
    }
    while (next < slots.length) {
      const slot = slots[next++];
      if (slot.value !== null && !visit(slot as Row<T>)) return;
    }
  }

  count(start: Bytes, end: Bytes | null): number {
    const low = this.storeKey(start);
    const high = end === null ? this.endOfTable() : this.storeKey(end);
    let count = this.store.count(low, high);
    for (const { key, value } of this.slotsBetween(latin1Of(start), end === null ? null : latin1Of(end))) {
      const isStored = this.store.get(this.storeKey(key)) !== null;
      if (isStored !== (value !== null)) count += isStored ? -1 : 1;
    }
    return count;
  }

  /** Every row from `start` on, as it is stored. */
  digest(hash: Hash, start: Bytes = new Uint8Array(0)): void {
    this.scan(start, null, false, PAGE_ROWS_MAX, ({ key, value }) => {
      const bytes = this.codec.encode(value);
      hash.update(`${this.tag} ${key.length} ${bytes.length} `);
      hash.update(key);
      hash.update(bytes);
      return true;
    });
  }

  /** What is collected becomes what is flushed, and is written to `batch`. */
  beginFlush(batch: StoreChange[]): void {
    assert(this.flushing === null, 'one flush at a time');
    this.flushing = this.collecting;
    this.collecting = new Generation<T>();
    for (const { key, text, value } of this.flushing.slots.values()) {
      const bytes = value === null ? null : this.codec.encode(value);
      batch.push({ key: this.storeKey(key), value: bytes });
      this.recent?.set(text, bytes);
    }
  }

  /** The commit is done: the store has it. */
  endFlush(): void {
    this.flushing = null;
  }

  /** Everything is in another half of the store now, and nothing of what lay over the old one counts. */
  reset(half: number): void {
    this.half = half;
    this.collecting = new Generation<T>();
    this.flushing = null;
    this.recent?.clear();
  }

  storeKey(key: Bytes): Uint8Array {
    const storeKey = allocate(key.length + prefixBytes);
    storeKey[0] = this.half;
    storeKey[1] = this.tag;
    storeKey.set(key, prefixBytes);
    return storeKey;
  }

  private endOfTable(): Buffer {
    return Buffer.from([this.half, this.tag + 1]);
  }

  private slotsBetween(start: string, end: string | null): Slot<T>[] {
    const newer = this.collecting.slots.size === 0 ? [] : this.collecting.between(start, end);
    const older = this.flushing === null ? [] : this.flushing.between(start, end);
    if (older.length === 0) return newer;
    if (newer.length === 0) return older;
    const merged: Slot<T>[] = [];
    let index = 0;
    for (const slot of newer) {
      while (index < older.length && older[index].text < slot.text) merged.push(older[index++]);
      if (index < older.length && older[index].text === slot.text) index++;
      merged.push(slot);
    }
    while (index < older.length) merged.push(older[index++]);
    return merged;
  }
}

function keyOf({ key }: StorePair): Bytes {
  return new Uint8Array(key.buffer, key.byteOffset + prefixBytes, key.length - prefixBytes);
}

/** The smallest key that is greater. */
export function successor(key: Bytes): Buffer {
  const next = Buffer.alloc(key.length + 1);
  next.set(key);
  return next;
}

function lowerBound(sorted: readonly string[], text: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] < text) low = middle + 1;
    else high = middle;
  }
  return low;
}
